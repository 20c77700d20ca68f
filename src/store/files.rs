//! Plain files beside the logs, for what is published as files: each is there
//! whole or not at all.
//!
//! Nothing of them is in the state: who writes them can make them again from
//! what is.

use super::disk::{Disk, Step, sync_folder};
use super::{Store, StoreFault};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The folder of files that aren't in their place yet.
const TEMPORARY: &str = "new";

/// Files in one folder of a store's data folder.
#[derive(Clone)]
pub struct Files {
    store: Store,
    disk: Arc<Disk>,
    folder: PathBuf,
}

impl Files {
    pub(super) fn new(store: &Store, disk: Arc<Disk>, folder: &str) -> Files {
        Files { store: store.clone(), folder: disk.folder.join(folder), disk }
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Writes `files`, each with its path in the folder, and makes them durable:
    /// all under temporary names first, then into their places. One that is
    /// there is replaced.
    ///
    /// After a failure some may be in their places; each of these is whole. The
    /// caller blocks until the disk is done, and is the only one that writes
    /// there.
    pub fn write(&self, files: &[(String, &[u8])]) -> Result<(), StoreFault> {
        let temporary = self.folder.join(TEMPORARY);
        let fault = |path: &Path| {
            let path = path.to_owned();
            move |error| StoreFault::io(&path, "written", &error)
        };
        let mut written = Vec::with_capacity(files.len());
        for (number, (path, bytes)) in files.iter().enumerate() {
            let place = self.folder.join(path);
            let beside = temporary.join(number.to_string());
            let file = self.disk.create_file(&beside).map_err(fault(&beside))?;
            self.disk.write(&file, 0, bytes).map_err(fault(&beside))?;
            written.push((file, beside, place));
        }
        // After all are written: the first of these makes most of the others
        // durable, too.
        for (file, beside, _) in &written {
            self.disk.sync(file).map_err(fault(beside))?;
        }
        let mut folders = BTreeSet::new();
        for (_, beside, place) in &written {
            let parent = place.parent().unwrap_or(&self.folder);
            self.disk.create_folders(parent).map_err(fault(parent))?;
            self.disk.step(Step::RenameFile, || std::fs::rename(beside, place)).map_err(fault(place))?;
            folders.insert(parent);
        }
        for folder in folders {
            self.disk.step(Step::SyncFolder, || sync_folder(folder)).map_err(fault(folder))?;
        }
        Ok(())
    }

    /// Removes the folder at `path` in the folder, with what is in it. That
    /// needn't be durable, and what can't be removed stays.
    pub fn remove_folder(&self, path: &str) {
        let folder = self.folder.join(path);
        let removed = self.disk.step(Step::Unlink, || std::fs::remove_dir_all(&folder));
        if let Err(error) = removed
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(folder = %folder.display(), %error, "what isn't needed any more couldn't be removed");
        }
    }

    /// The store that they are beside.
    pub fn store(&self) -> &Store {
        &self.store
    }
}
