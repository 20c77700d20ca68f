//! What the committer does to files, each step of which can fail.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A step of a commit: what a test can make fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Opening a log for writing, perhaps creating it.
    Open,
    /// Appending to a log, or overwriting in it.
    Write,
    /// fdatasync of a log.
    Sync,
    /// fsync of a folder.
    SyncFolder,
    /// Applying the batch to the state.
    State,
    /// Flushing the state.
    Flush,
    /// Writing HEAD's temporary file.
    WriteHead,
    /// fsync of HEAD's temporary file.
    SyncHead,
    /// Renaming it into place.
    RenameHead,
    /// Unlinking a deleted log.
    Unlink,
}

/// What a test makes of a step.
#[cfg_attr(not(test), expect(dead_code, reason = "only tests make steps fail"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It happens as it should.
    Happens,
    /// It fails, and nothing was done.
    NotDone,
    /// It fails, and was done all the same.
    Done,
    /// It fails half-way; for a step that can't be halved, as `NotDone`.
    Torn,
}

/// Makes steps fail, in tests.
#[cfg(test)]
pub(super) trait Faults: Send + Sync {
    /// What is to become of the next step.
    fn next(&self, step: Step) -> Outcome;
}

/// The name of a HEAD that isn't in its place yet.
const NEXT_HEAD: &str = "HEAD.new";

pub(super) struct Disk {
    pub(super) folder: PathBuf,
    #[cfg(test)]
    pub(super) faults: Option<std::sync::Arc<dyn Faults>>,
}

impl Disk {
    #[cfg(test)]
    fn outcome(&self, step: Step) -> Outcome {
        self.faults.as_ref().map_or(Outcome::Happens, |f| f.next(step))
    }

    #[cfg(not(test))]
    fn outcome(&self, _: Step) -> Outcome {
        Outcome::Happens
    }

    /// Does `work` as the step `step`.
    pub(super) fn step<T>(&self, step: Step, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        match self.outcome(step) {
            Outcome::Happens => work(),
            Outcome::Done => work().and(Err(no_space())),
            Outcome::NotDone | Outcome::Torn => Err(no_space()),
        }
    }

    /// Opens the log for writing, and cuts or creates it so that it has
    /// `length` bytes. Bytes beyond were never committed.
    pub(super) fn open_log(&self, log: &str, length: u64) -> io::Result<File> {
        let path = self.folder.join(log);
        let parent = path.parent().unwrap_or(&self.folder);
        let (file, created) = self.step(Step::Open, || {
            let mut options = OpenOptions::new();
            options.write(true).mode(0o600);
            match options.open(&path) {
                Ok(file) => Ok((file, false)),
                Err(error) if error.kind() == io::ErrorKind::NotFound && length == 0 => {
                    self.create_folders(parent)?;
                    Ok((options.create(true).truncate(false).open(&path)?, true))
                }
                Err(error) => Err(error),
            }
        })?;
        if created {
            self.step(Step::SyncFolder, || sync_folder(parent))?;
        } else if file.metadata()?.len() != length {
            file.set_len(length)?;
        }
        Ok(file)
    }

    /// Creates `folder` with its parents, each durable.
    fn create_folders(&self, folder: &Path) -> io::Result<()> {
        if folder.is_dir() {
            return Ok(());
        }
        if let Some(parent) = folder.parent().filter(|p| p.starts_with(&self.folder)) {
            self.create_folders(parent)?;
            std::fs::DirBuilder::new().mode(0o700).create(folder)?;
            sync_folder(parent)?;
        }
        Ok(())
    }

    pub(super) fn write(&self, file: &File, offset: u64, bytes: &[u8]) -> io::Result<()> {
        match self.outcome(Step::Write) {
            Outcome::Happens => file.write_all_at(bytes, offset),
            Outcome::NotDone => Err(no_space()),
            Outcome::Done => file.write_all_at(bytes, offset).and(Err(no_space())),
            Outcome::Torn => file.write_all_at(&bytes[..bytes.len() / 2], offset).and(Err(no_space())),
        }
    }

    pub(super) fn sync(&self, file: &File) -> io::Result<()> {
        self.step(Step::Sync, || file.sync_data())
    }

    /// Replaces HEAD by `text`, durably.
    pub(super) fn replace_head(&self, text: &str) -> io::Result<()> {
        self.prepare_head(text)?;
        self.publish_head()
    }

    /// Writes `text` durably where [`Disk::publish_head`] takes it.
    pub(super) fn prepare_head(&self, text: &str) -> io::Result<()> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let file = options.open(self.folder.join(NEXT_HEAD))?;
        let text = text.as_bytes();
        match self.outcome(Step::WriteHead) {
            Outcome::Happens => file.write_all_at(text, 0)?,
            Outcome::NotDone => return Err(no_space()),
            Outcome::Done => file.write_all_at(text, 0).and(Err(no_space()))?,
            Outcome::Torn => file.write_all_at(&text[..text.len() / 2], 0).and(Err(no_space()))?,
        }
        self.step(Step::SyncHead, || file.sync_all())
    }

    /// Puts what [`Disk::prepare_head`] wrote in HEAD's place, durably.
    pub(super) fn publish_head(&self) -> io::Result<()> {
        let next = self.folder.join(NEXT_HEAD);
        self.step(Step::RenameHead, || std::fs::rename(next, self.folder.join("HEAD")))?;
        self.step(Step::SyncFolder, || sync_folder(&self.folder))
    }

    pub(super) fn unlink(&self, log: &str) -> io::Result<()> {
        self.step(Step::Unlink, || match std::fs::remove_file(self.folder.join(log)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        })
    }
}

pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// What a step that a test makes fail fails with.
fn no_space() -> io::Error {
    io::Error::from(io::ErrorKind::StorageFull)
}
