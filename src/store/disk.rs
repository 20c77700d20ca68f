//! What the committer does to files, each step of which can fail.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A step of a commit: what a test can make fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
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
    /// Writing to a redo file.
    WriteRedo,
    /// fdatasync of a redo file.
    SyncRedo,
    /// Writing HEAD's temporary file.
    WriteHead,
    /// fsync of HEAD's temporary file.
    SyncHead,
    /// Renaming it into place.
    RenameHead,
    /// Renaming a file into its place.
    RenameFile,
    /// Unlinking a deleted log, or a file.
    Unlink,
}

/// What a test makes of a step.
#[cfg_attr(not(test), expect(dead_code, reason = "only tests make steps fail"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
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
pub(crate) trait Faults: Send + Sync {
    /// What is to become of the next step.
    fn next(&self, step: Step) -> Outcome;
}

/// What to do about a store that can't be what was written there.
pub(super) const RESTORE: &str = "restore the whole data folder from one backup (taken while the hub was stopped, or as \
                                  one snapshot), or, to begin anew, move the folder away";

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
    pub(super) fn create_folders(&self, folder: &Path) -> io::Result<()> {
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

    /// Creates the file at `path`, or empties it.
    pub(super) fn create_file(&self, path: &Path) -> io::Result<File> {
        self.create_folders(path.parent().unwrap_or(&self.folder))?;
        let mut options = OpenOptions::new();
        self.step(Step::Open, || options.write(true).create(true).truncate(true).mode(0o600).open(path))
    }

    /// Opens a redo file, and creates it where there is none.
    pub(super) fn open_redo(&self, path: &Path) -> io::Result<File> {
        if path.try_exists()? {
            return OpenOptions::new().write(true).open(path);
        }
        let parent = path.parent().unwrap_or(&self.folder);
        self.create_folders(parent)?;
        let mut options = OpenOptions::new();
        let file = self.step(Step::Open, || options.write(true).create_new(true).mode(0o600).open(path))?;
        self.step(Step::SyncFolder, || sync_folder(parent))?;
        Ok(file)
    }

    pub(super) fn write(&self, file: &File, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.write_as(Step::Write, file, offset, bytes)
    }

    /// Writes as the step `step`.
    pub(super) fn write_as(&self, step: Step, file: &File, offset: u64, bytes: &[u8]) -> io::Result<()> {
        match self.outcome(step) {
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
        let next = self.folder.join(NEXT_HEAD);
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).mode(0o600).open(&next)?;
        self.write_as(Step::WriteHead, &file, 0, text.as_bytes())?;
        self.step(Step::SyncHead, || file.sync_all())?;
        self.step(Step::RenameHead, || std::fs::rename(&next, self.folder.join("HEAD")))?;
        self.step(Step::SyncFolder, || sync_folder(&self.folder))
    }

    /// Opens a log that is there, to overwrite in it.
    pub(super) fn open_to_overwrite(&self, log: &str) -> io::Result<File> {
        OpenOptions::new().write(true).open(self.folder.join(log))
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
