//! Opening a folder: what a crash leaves is mended, the rest is refused.

use super::committer::Committer;
use super::disk::{Disk, RESTORE, sync_folder};
use super::fault::of_sled;
use super::head::Head;
use super::logs::Logs;
use super::redo::{self, Record, Redo};
use super::settle::{Failure, Settler};
use super::state::{Held, State};
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
const PARTS: [&str; 7] = ["state", "segments", "slots", "ids", "bus", "journal", "redo"];

const STATE_CACHE: u64 = 64 << 20;

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
    let disk = Arc::new(disk);
    let head = read_head(&disk)?;

    let state_folder = folder.join("state");
    let state_file = state_folder.join("db");
    if head.commit > 0 {
        if !state_file.is_file() {
            let why = format!("HEAD tells of {} commits, and state/db is missing; {RESTORE}", head.commit);
            return Err(StoreFault::refused(folder, why));
        }
        redo::are_there(folder)?;
    }
    let redone = redo::read(folder, head.commit)
        .map_err(|why| StoreFault::refused(folder, format!("{why}; {RESTORE}")))?;
    let redo = Redo::open(&disk, &redone).map_err(|(path, e)| StoreFault::io(&path, "opened", &e))?;
    let tree = open_state(&state_folder, options.state_cache.unwrap_or(STATE_CACHE))?;
    let state = File::open(&state_file).map_err(|e| StoreFault::io(&state_file, "read", &e))?;
    if head.commit == 0 {
        // sled leaves its configuration to the page cache, and reads it at each start.
        std::fs::set_permissions(&state_folder, Permissions::from_mode(0o700))
            .and_then(|()| File::open(state_folder.join("conf"))?.sync_all())
            .and_then(|()| sync_folder(&state_folder))
            .and_then(|()| sync_folder(folder))
            .map_err(|e| StoreFault::io(&state_folder, "made durable", &e))?;
    }

    let found = Found::read(folder, &tree)?;
    let gone = last_deletions(&redone.records);
    found.hold_to(folder, &head, &redone.records)?;
    // Nothing is changed before everything is known to be there.
    found.has_its_logs(&disk, &redone.records, &gone)?;

    let shared = Arc::new(Shared {
        folder: folder.to_owned(),
        disk: Arc::clone(&disk),
        state: State::new(tree),
        logs: Logs::new(folder.to_owned(), found.lengths.clone()),
        commits: AtomicU64::new(found.commit),
        failed: OnceLock::new(),
        _lock: lock,
    });
    let settler = Settler::start(&shared, state, found.held())
        .map_err(|e| StoreFault::io(folder, "served by a thread", &e))?;
    let is_settled = redone.records.is_empty() && !redo.is_to_wipe();
    let mut committer = Committer::new(&shared, found.head(), redo, settler, options.settle_after);
    if !is_settled {
        tracing::info!(commits = redone.records.len(), "commits that weren't settled are done again");
        mend(&mut committer, found.commit, redone.records, &gone).map_err(|failure| failure.kill(&shared))?;
    }
    cut_logs(&shared)?;
    if !is_settled {
        committer.settle_start()?;
    }
    Ok((shared, committer))
}

/// Does again what wasn't settled: whole commits where they are after the one that
/// the state has, `state`, and before it what they say of logs. `gone` is of
/// [`last_deletions`].
fn mend(
    committer: &mut Committer,
    state: u64,
    records: Vec<Record>,
    gone: &HashMap<String, u64>,
) -> Result<(), Failure> {
    for Record { commit, mut changes } in records {
        // A log that a later commit removes needn't be there any more.
        let stays = |log: &String| gone.get(log).is_none_or(|last| *last <= commit);
        changes.overwrites.retain(|(log, _, _)| stays(log));
        let (kept, removed) =
            std::mem::take(&mut changes.appends).into_iter().partition(|(log, _)| stays(log));
        changes.appends = kept;
        committer.append(&changes)?;
        if commit <= state {
            committer.overwrite(&changes)?;
        } else {
            changes.appends.extend::<BTreeMap<_, _>>(removed);
            committer.apply(changes)?;
        }
    }
    Ok(())
}

/// The last of the commits that removes each log.
fn last_deletions(records: &[Record]) -> HashMap<String, u64> {
    let mut gone = HashMap::new();
    for Record { commit, changes } in records {
        gone.extend(changes.deleted.iter().map(|log| (log.clone(), *commit)));
    }
    gone
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

/// Removes the snapshots that a start didn't finish. sled takes such a file for the
/// newest snapshot, and then for a damaged one, for ever: a start that is killed
/// or finds the disk full would have been the store's last (sled's issue 1527).
/// One counts only under its final name, which it gets when it is on disk; what
/// it tells is in the log, too.
fn remove_unfinished_snapshots(folder: &Path) -> std::io::Result<()> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|end| end == "generating") {
            std::fs::remove_file(path)?;
        }
    }
    Ok(())
}

fn open_state(folder: &Path, cache: u64) -> Result<sled::Tree, StoreFault> {
    let refused = |why: String| {
        let why = format!("sled can't open it ({why}); {RESTORE}");
        StoreFault::Refused { folder: folder.to_owned(), why }
    };
    // A store of this process that was just dropped leaves its lock a moment
    // later, when sled's own threads are done.
    let patience = Instant::now() + Duration::from_secs(5);
    remove_unfinished_snapshots(folder).map_err(|e| StoreFault::io(folder, "cleared", &e))?;
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
    /// Some rows of the commits up to this one are there, too; and how many rows
    /// there were without them.
    part: Option<(u64, u64)>,
    lengths: BTreeMap<String, u64>,
    marks: BTreeMap<String, String>,
}

impl Found {
    /// Reads the state from end to end, and holds it to HEAD. sled can open a
    /// cut file as an older store, or as one with holes: the commit's number
    /// shows the one, reading and counting every row the other.
    fn read(folder: &Path, tree: &sled::Tree) -> Result<Found, StoreFault> {
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
            } else if *key == *rows::PART {
                found.part = Some(rows::read_pair(&value).ok_or_else(unreadable)?);
            } else if let Some(log) = name(rows::LOG) {
                let length = value.as_ref().try_into().map_err(|_| unreadable())?;
                found.lengths.insert(log, u64::from_le_bytes(length));
            } else if let Some(mark) = name(rows::MARK) {
                let value = String::from_utf8(value.to_vec()).map_err(|_| unreadable())?;
                found.marks.insert(mark, value);
            } else {
                return Err(unreadable());
            }
        }
        if found.rows != count {
            return Err(refused(format!(
                "the state has {count} rows and {} were committed; {RESTORE}",
                found.rows
            )));
        }
        Ok(found)
    }

    fn held(&self) -> Held {
        let whole = self.part.map_or(self.rows, |(_, whole)| whole);
        Held { commit: self.commit, whole, rows: self.rows }
    }

    fn head(&self) -> Head {
        let mut head = Head::empty();
        head.commit = self.commit;
        head.rows = self.held().whole;
        head.marks = self.marks.clone();
        for (log, length) in &self.lengths {
            head.grow(log, None, *length);
        }
        head
    }

    /// Refuses a state that isn't the one that HEAD tells of, brought forward by
    /// some of the records after it.
    fn hold_to(&self, folder: &Path, head: &Head, records: &[Record]) -> Result<(), StoreFault> {
        let refused = |why: String| Err(StoreFault::refused(folder, format!("{why}; {RESTORE}")));
        let (state, settled) = (self.commit, head.commit);
        let last = records.last().map_or(settled, |record| record.commit);
        if state < settled {
            let why =
                format!("it is behind its HEAD: the state tells of {state} commits and HEAD of {settled}");
            return refused(why);
        }
        if state > last {
            let why =
                format!("its HEAD is too old: the state tells of {state} commits and HEAD of {settled}");
            return refused(why);
        }
        if let Some((later, _)) = self.part.filter(|(later, _)| *later > last) {
            let why = format!(
                "the state has rows of commit {later}, and the folder {}/ no commit after {last}",
                redo::FOLDER
            );
            return refused(why);
        }
        if state == settled && self.head() != *head {
            return refused(format!("HEAD and the state both tell of commit {state}, and not of the same"));
        }
        Ok(())
    }

    /// Refuses a log that lacks committed bytes which no record holds.
    /// `gone` is of [`last_deletions`].
    fn has_its_logs(
        &self,
        disk: &Disk,
        records: &[Record],
        gone: &HashMap<String, u64>,
    ) -> Result<(), StoreFault> {
        let refused = |why: String| Err(StoreFault::refused(&disk.folder, format!("{why}; {RESTORE}")));
        // Where each log's first record begins, after its last removal.
        let mut starts: HashMap<&str, u64> = HashMap::new();
        for Record { commit, changes } in records {
            for (log, append) in &changes.appends {
                if gone.get(log).is_none_or(|last| last < commit) {
                    starts.entry(log).or_insert(append.start);
                }
            }
        }
        for (log, &length) in &self.lengths {
            if gone.get(log).is_some_and(|last| *last > self.commit) {
                continue;
            }
            let length = starts.get(log.as_str()).copied().unwrap_or(length);
            let path = disk.folder.join(log);
            match std::fs::metadata(&path) {
                Ok(metadata) if metadata.len() < length => {
                    let actual = metadata.len();
                    return refused(format!("{log} has {actual} bytes and {length} were committed"));
                }
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::NotFound && length == 0 => {}
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    return refused(format!("{log} is missing and {length} bytes of it were committed"));
                }
                Err(error) => return Err(StoreFault::io(&path, "read", &error)),
            }
        }
        Ok(())
    }
}

/// Cuts what was never committed off the logs.
fn cut_logs(shared: &Shared) -> Result<(), StoreFault> {
    for log in shared.logs.names("") {
        let path = shared.folder.join(&log);
        let length = shared.logs.len(&log);
        let cut = || {
            let actual = std::fs::metadata(&path)?.len();
            if actual > length {
                tracing::info!(log, bytes = actual - length, "cut off what was never committed");
                let file = OpenOptions::new().write(true).open(&path)?;
                file.set_len(length)?;
                file.sync_all()?;
            }
            Ok(())
        };
        cut().map_err(|e: std::io::Error| StoreFault::io(&path, "cut to its committed length", &e))?;
    }
    Ok(())
}
