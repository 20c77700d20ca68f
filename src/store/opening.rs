//! Opening a folder: what a crash leaves is mended, the rest is refused.

use super::committer::{Committer, open_to_overwrite};
use super::disk::{Disk, sync_folder};
use super::fault::of_sled;
use super::head::Head;
use super::logs::Logs;
use super::{Shared, StoreFault, StoreOptions, rows};
use std::collections::{BTreeMap, HashMap};
use std::fs::{File, OpenOptions, Permissions, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// Folders of a store: a folder that has one of them, and no HEAD, has lost it.
const PARTS: [&str; 6] = ["state", "segments", "slots", "ids", "bus", "journal"];

const STATE_CACHE: u64 = 64 << 20;

const RESTORE: &str = "restore the whole data folder from one backup (taken while the hub was stopped, or as one \
                       snapshot), or, to begin anew, move the folder away";

pub(super) fn open(folder: &Path, options: StoreOptions) -> Result<(Arc<Shared>, Committer), StoreFault> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|e| StoreFault::io(folder, "created", &e))?;
    let lock = take_lock(folder)?;
    let disk = Disk {
        folder: folder.to_owned(),
        #[cfg(test)]
        faults: options.faults,
    };
    let head = read_head(&disk)?;

    let state_folder = folder.join("state");
    let state_file = state_folder.join("db");
    if head.commit > 0 && !state_file.is_file() {
        let why = format!("HEAD tells of {} commits, and state/db is missing; {RESTORE}", head.commit);
        return Err(StoreFault::refused(folder, why));
    }
    let tree = open_state(&state_folder, options.state_cache.unwrap_or(STATE_CACHE))?;
    let state = File::open(&state_file).map_err(|e| StoreFault::io(&state_file, "read", &e))?;
    if head.commit == 0 {
        std::fs::set_permissions(&state_folder, Permissions::from_mode(0o700))
            .and_then(|()| sync_folder(&state_folder))
            .and_then(|()| sync_folder(folder))
            .map_err(|e| StoreFault::io(&state_folder, "made durable", &e))?;
    }

    let found = Found::read(folder, &tree, &head)?;
    let recovered = found.head();
    if recovered.commit == head.commit && recovered != head {
        let why =
            format!("HEAD and the state both tell of commit {}, and not of the same; {RESTORE}", head.commit);
        return Err(StoreFault::refused(folder, why));
    }
    // Nothing is cut before everything is known to be there.
    let torn = found.torn_logs(&disk)?;
    mend_logs(&disk, &torn)?;
    if recovered != head {
        let text = recovered.render().map_err(|e| StoreFault::refused(folder, e.to_string()))?;
        disk.replace_head(&text).map_err(|e| StoreFault::io(&folder.join("HEAD"), "written", &e))?;
    }
    let (redone, unlinked) = found.finish_commit(&disk)?;

    let shared = Arc::new(Shared {
        folder: folder.to_owned(),
        tree,
        logs: Logs::new(folder.to_owned(), found.lengths),
        commits: AtomicU64::new(recovered.commit),
        failed: OnceLock::new(),
        _lock: lock,
    });
    let committer = Committer {
        shared: shared.clone(),
        disk,
        head: recovered,
        files: HashMap::new(),
        state,
        redone,
        unlinked,
    };
    Ok((shared, committer))
}

/// How long the lock of a store may be held by what is about to let it go: a
/// process that ends, or one that was just forked and holds it until its exec.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);
const LOCK_GLANCE: Duration = Duration::from_millis(10);

/// Takes the folder for this process, or says that another has it.
fn take_lock(folder: &Path) -> Result<File, StoreFault> {
    let path = folder.join("LOCK");
    let lock = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(|e| StoreFault::io(&path, "opened", &e))?;
    let deadline = Instant::now() + LOCK_PATIENCE;
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(lock),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => std::thread::sleep(LOCK_GLANCE),
            Err(TryLockError::WouldBlock) => return Err(StoreFault::InUse(folder.to_owned())),
            Err(TryLockError::Error(e)) => return Err(StoreFault::io(&path, "locked", &e)),
        }
    }
}

/// Reads HEAD. In a folder without a store writes that of an empty one, before
/// anything else: so a store without HEAD is one that lost it.
fn read_head(disk: &Disk) -> Result<Head, StoreFault> {
    let path = disk.folder.join("HEAD");
    match std::fs::read_to_string(&path) {
        Ok(text) => Head::parse(&text).map_err(|why| {
            StoreFault::refused(&disk.folder, format!("HEAD isn't what was written there ({why}); {RESTORE}"))
        }),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let has_content = |part: &str| {
                std::fs::read_dir(disk.folder.join(part)).is_ok_and(|mut entries| entries.next().is_some())
            };
            if let Some(part) = PARTS.iter().find(|part| has_content(part)) {
                let why = format!("there is {part}/ and no HEAD; {RESTORE}");
                return Err(StoreFault::refused(&disk.folder, why));
            }
            let head = Head::empty();
            let text = head.render().map_err(|e| StoreFault::refused(&disk.folder, e.to_string()))?;
            disk.replace_head(&text).map_err(|e| StoreFault::io(&path, "written", &e))?;
            Ok(head)
        }
        Err(error) => Err(StoreFault::io(&path, "read", &error)),
    }
}

fn open_state(folder: &Path, cache: u64) -> Result<sled::Tree, StoreFault> {
    let refused = |why: String| {
        let why = format!("sled can't open it ({why}); {RESTORE}");
        StoreFault::Refused { folder: folder.to_owned(), why }
    };
    // A store of this process that was just dropped leaves its lock a moment
    // later, when sled's own threads are done.
    let patience = Instant::now() + Duration::from_secs(5);
    loop {
        let config = sled::Config::new()
            .path(folder)
            .cache_capacity(cache)
            .flush_every_ms(None)
            .mode(sled::Mode::LowSpace)
            .use_compression(false);
        // sled panics on some damaged files.
        match catch_unwind(AssertUnwindSafe(|| config.open())) {
            Ok(Ok(db)) => return Ok((*db).clone()),
            Ok(Err(sled::Error::Io(e)))
                if e.to_string().contains("could not acquire lock") && Instant::now() < patience =>
            {
                std::thread::sleep(Duration::from_millis(5));
            }
            Ok(Err(error)) => {
                let error = of_sled(error);
                let is_whole = matches!(
                    error.kind(),
                    ErrorKind::StorageFull
                        | ErrorKind::QuotaExceeded
                        | ErrorKind::ReadOnlyFilesystem
                        | ErrorKind::PermissionDenied
                );
                // Nothing is wrong with the store itself.
                return Err(if is_whole {
                    StoreFault::io(folder, "opened for writing", &error)
                } else {
                    refused(error.to_string())
                });
            }
            Err(_) => return Err(refused("it panicked".to_owned())),
        }
    }
}

/// What the state holds for the store itself.
#[derive(Default)]
struct Found {
    commit: u64,
    rows: u64,
    lengths: BTreeMap<String, u64>,
    marks: BTreeMap<String, String>,
    redo: Vec<(String, u64, Vec<u8>)>,
    gone: Vec<String>,
}

impl Found {
    /// Reads the state from end to end, and holds it to HEAD. sled can open a
    /// cut file as an older store, or as one with holes: the commit's number
    /// shows the one, reading and counting every row the other.
    fn read(folder: &Path, tree: &sled::Tree, head: &Head) -> Result<Found, StoreFault> {
        let refused = |why: String| StoreFault::Refused { folder: folder.to_owned(), why };
        let unreadable = || refused(format!("a row of the state isn't what was written there; {RESTORE}"));
        let mut found = Found::default();
        let mut count = 0;
        for row in tree {
            let (key, value) =
                row.map_err(|e| refused(format!("the state has unreadable rows ({e}); {RESTORE}")))?;
            count += 1;
            if key.first() != Some(&rows::OWN) {
                continue;
            }
            let name = |prefix: &[u8]| {
                key.strip_prefix(prefix).and_then(|name| String::from_utf8(name.to_vec()).ok())
            };
            if *key == *rows::COMMIT {
                (found.commit, found.rows) = rows::read_pair(&value).ok_or_else(unreadable)?;
            } else if let Some(log) = name(rows::LOG) {
                let length = value.as_ref().try_into().map_err(|_| unreadable())?;
                found.lengths.insert(log, u64::from_le_bytes(length));
            } else if let Some(mark) = name(rows::MARK) {
                let value = String::from_utf8(value.to_vec()).map_err(|_| unreadable())?;
                found.marks.insert(mark, value);
            } else if key.starts_with(rows::REDO) {
                let (log, offset, bytes) = rows::read_overwriting(&value).ok_or_else(unreadable)?;
                found.redo.push((log.to_owned(), offset, bytes.to_vec()));
            } else if let Some(log) = name(rows::GONE) {
                found.gone.push(log);
            } else {
                return Err(unreadable());
            }
        }
        if found.commit < head.commit {
            return Err(refused(format!(
                "it is behind its HEAD: the state tells of {} commits and HEAD of {}; {RESTORE}",
                found.commit, head.commit
            )));
        }
        if found.commit > head.commit + 1 {
            return Err(refused(format!(
                "its HEAD is too old: the state tells of {} commits and HEAD of {}; {RESTORE}",
                found.commit, head.commit
            )));
        }
        if found.rows != count {
            return Err(refused(format!(
                "the state has {count} rows and {} were committed; {RESTORE}",
                found.rows
            )));
        }
        Ok(found)
    }

    fn head(&self) -> Head {
        let mut head = Head::empty();
        head.commit = self.commit;
        head.rows = self.rows;
        head.marks = self.marks.clone();
        for (log, length) in &self.lengths {
            head.grow(log, None, *length);
        }
        head
    }

    /// The logs that have bytes which were never committed, with the length to
    /// which each was; refuses a log that lacks committed bytes.
    fn torn_logs(&self, disk: &Disk) -> Result<Vec<(&str, u64)>, StoreFault> {
        let refused = |why: String| Err(StoreFault::Refused { folder: disk.folder.clone(), why });
        let mut torn = Vec::new();
        for (log, &length) in &self.lengths {
            let path = disk.folder.join(log);
            let actual = match std::fs::metadata(&path) {
                Ok(metadata) => metadata.len(),
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    return refused(format!(
                        "{log} is missing and {length} bytes of it were committed; {RESTORE}"
                    ));
                }
                Err(error) => return Err(StoreFault::io(&path, "read", &error)),
            };
            if actual < length {
                return refused(format!("{log} has {actual} bytes and {length} were committed; {RESTORE}"));
            }
            if actual > length {
                tracing::info!(log, bytes = actual - length, "cut off what was never committed");
                torn.push((log.as_str(), length));
            }
        }
        Ok(torn)
    }

    /// Does the overwritings and removals of the last commit, which may not have
    /// been done. Returns how many overwritings, and which removals.
    fn finish_commit(&self, disk: &Disk) -> Result<(u32, Vec<String>), StoreFault> {
        for (log, offset, bytes) in &self.redo {
            let done = match open_to_overwrite(disk, log) {
                Ok(file) => disk.write(&file, *offset, bytes).and_then(|()| disk.sync(&file)),
                // It was deleted by the same commit, and is gone already.
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
                Err(error) => Err(error),
            };
            done.map_err(|e| StoreFault::io(&disk.folder.join(log), "overwritten", &e))?;
        }
        // A name can have been used again since.
        let gone: Vec<_> = self.gone.iter().filter(|log| !self.lengths.contains_key(*log)).cloned().collect();
        for log in &gone {
            disk.unlink(log).map_err(|e| StoreFault::io(&disk.folder.join(log), "removed", &e))?;
        }
        Ok((self.redo.len() as u32, self.gone.clone()))
    }
}

/// Cuts what was never committed off the logs.
fn mend_logs(disk: &Disk, torn: &[(&str, u64)]) -> Result<(), StoreFault> {
    for (log, length) in torn {
        let path = disk.folder.join(log);
        let cut = || {
            let file = OpenOptions::new().write(true).open(&path)?;
            file.set_len(*length)?;
            file.sync_all()
        };
        cut().map_err(|e| StoreFault::io(&path, "cut to its committed length", &e))?;
    }
    Ok(())
}
