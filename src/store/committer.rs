//! The one thread that writes.

use super::changes::{Changes, Tx};
use super::disk::{Disk, Step};
use super::fault::of_sled;
use super::head::Head;
use super::{Shared, StoreFault, rows};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs::File;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;

/// A group isn't made larger than this many appended bytes by waiting work.
const GROUP_BYTES: usize = 32 << 20;

/// How many logs are kept open for writing.
const OPEN_FILES: usize = 128;

/// How many logs are fdatasynced at once. Those that wait together share a write
/// of the file system's journal: sixty logs, one after the other, take ten times
/// as long.
const SYNCS_AT_ONCE: usize = 16;

/// A work that waits, with who waits for it.
pub(super) trait Work: Send {
    /// Runs it. What it changed is in `group`, or nothing if it failed.
    fn run(&mut self, shared: &Shared, group: &mut Changes);
    /// Answers, once the group is durable or has failed.
    fn answer(self: Box<Self>, group: &Result<(), StoreFault>);
    /// Answers that it wasn't run.
    fn refuse(self: Box<Self>, fault: &StoreFault);
}

pub(super) struct Task<T, F, R> {
    work: Option<F>,
    result: Result<T, StoreFault>,
    reply: R,
}

impl<T, F, R> Task<T, F, R>
where
    T: Send + 'static,
    F: FnOnce(&mut Tx) -> Result<T, StoreFault> + Send + 'static,
    R: FnOnce(Result<T, StoreFault>) + Send + 'static,
{
    pub(super) fn new(work: F, reply: R) -> Task<T, F, R> {
        let result = Err(StoreFault::Aborted("the work wasn't run".to_owned()));
        Task { work: Some(work), result, reply }
    }
}

impl<T, F, R> Work for Task<T, F, R>
where
    T: Send,
    F: FnOnce(&mut Tx) -> Result<T, StoreFault> + Send,
    R: FnOnce(Result<T, StoreFault>) + Send,
{
    fn run(&mut self, shared: &Shared, group: &mut Changes) {
        let Some(work) = self.work.take() else { return };
        let mut tx = Tx::new(shared, group);
        // A panic leaves only the work's own changes half-made, and these are
        // dropped.
        self.result = match catch_unwind(AssertUnwindSafe(|| work(&mut tx))) {
            Ok(Ok(value)) => tx.keep().map(|()| value),
            Ok(Err(fault)) => Err(fault),
            Err(_) => Err(StoreFault::Aborted("the work panicked; this is a defect: report it".to_owned())),
        };
    }

    fn answer(self: Box<Self>, group: &Result<(), StoreFault>) {
        let result = match group {
            Ok(()) => self.result,
            Err(fault) => self.result.and(Err(fault.clone())),
        };
        (self.reply)(result);
    }

    fn refuse(self: Box<Self>, fault: &StoreFault) {
        (self.reply)(Err(fault.clone()));
    }
}

pub(super) struct Committer {
    pub(super) shared: Arc<Shared>,
    pub(super) disk: Disk,
    pub(super) head: Head,
    pub(super) files: HashMap<String, File>,
    /// The state's file: sled's own flush doesn't empty a disk's cache.
    pub(super) state: File,
    /// How many redo rows the last commit left, all of them done.
    pub(super) redone: u32,
    /// Logs whose file is unlinked, and whose row says that it may not be.
    pub(super) unlinked: Vec<String>,
}

/// What failed, for the sentence.
struct Failure {
    path: PathBuf,
    action: &'static str,
    error: String,
}

impl Committer {
    pub(super) fn run(mut self, queue: &Receiver<Box<dyn Work>>) {
        while let Ok(first) = queue.recv() {
            let mut group = Changes::default();
            let mut works = Vec::new();
            let mut next = Some(first);
            let dead = self.shared.failed.get().cloned();
            while let Some(mut work) = next.take() {
                if dead.is_none() {
                    work.run(&self.shared, &mut group);
                }
                works.push(work);
                if group.bytes() < GROUP_BYTES {
                    next = queue.try_recv().ok();
                }
            }
            let after = std::mem::take(&mut group.after);
            let outcome = match dead {
                Some(fault) => {
                    for work in works {
                        work.refuse(&fault);
                    }
                    continue;
                }
                None if group.is_empty() => Ok(()),
                None => self.commit_or_die(group),
            };
            if outcome.is_ok() {
                for done in after {
                    done();
                }
            }
            for work in works {
                work.answer(&outcome);
            }
        }
    }

    fn commit_or_die(&mut self, group: Changes) -> Result<(), StoreFault> {
        // sled panics on some failures of the disk.
        let outcome = catch_unwind(AssertUnwindSafe(|| self.commit(group))).unwrap_or_else(|_| {
            let path = self.disk.folder.join("state");
            Err(Failure { path, action: "written", error: "sled panicked".to_owned() })
        });
        outcome.map_err(|failure| {
            let fault = StoreFault::Failed(format!(
                "the store in {} stopped, since {} couldn't be {} ({}); what was acknowledged is kept: \
                 see that the disk works and has space, then start again",
                self.disk.folder.display(),
                failure.path.display(),
                failure.action,
                failure.error,
            ));
            let _ = self.shared.failed.set(fault.clone());
            fault
        })
    }

    fn commit(&mut self, mut group: Changes) -> Result<(), Failure> {
        let batch = self.prepare(&mut group)?;
        let head = self.head.render().map_err(|e| failure(&self.disk, "HEAD", "written", e))?;
        self.append(&group, &head)?;
        let shared = self.shared.clone();
        // Published before the state names them, so that a row that is seen
        // never points at bytes that can't be read.
        shared.logs.grow(group.appends.iter().map(|(log, append)| (log.as_str(), append.end())));
        self.apply(batch)?;
        for log in &group.deleted {
            shared.logs.forget(log);
        }
        self.overwrite(&group)?;
        self.disk.publish_head().map_err(|e| failure(&self.disk, "HEAD", "replaced", e))?;
        shared.commits.store(self.head.commit, Ordering::Release);
        for log in &group.deleted {
            self.files.remove(log);
            match self.disk.unlink(log) {
                Ok(()) => self.unlinked.push(log.clone()),
                // Its row makes the next start try again.
                Err(error) => tracing::warn!(log, %error, "a deleted log couldn't be removed from the disk"),
            }
        }
        Ok(())
    }

    /// Appends the bytes to their logs, and makes them durable; meanwhile the
    /// next HEAD, under its temporary name.
    fn append(&mut self, group: &Changes, head: &str) -> Result<(), Failure> {
        if self.files.len() + group.appends.len() > OPEN_FILES {
            self.files.retain(|log, _| group.appends.contains_key(log));
        }
        for (log, append) in &group.appends {
            let failure = |action, error| failure(&self.disk, log, action, error);
            let file = match self.files.entry(log.clone()) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => {
                    new.insert(self.disk.open_log(log, append.start).map_err(|e| failure("opened", e))?)
                }
            };
            self.disk.write(file, append.start, &append.bytes).map_err(|e| failure("written", e))?;
        }
        let written: Vec<_> =
            group.appends.keys().filter_map(|log| self.files.get(log).map(|f| (log.as_str(), f))).collect();
        sync_all(&self.disk, &written, Some(head))
    }

    /// Makes one batch of the rows, with the store's own. Brings `self.head` up
    /// to what it will be after the commit.
    fn prepare(&mut self, group: &mut Changes) -> Result<sled::Batch, Failure> {
        let state = |e: sled::Error| failure(&self.disk, "state", "written", of_sled(e));
        let mut rows = std::mem::take(&mut group.rows);
        for number in 0..self.redone {
            rows.insert(rows::redo(number), None);
        }
        for log in self.unlinked.drain(..) {
            rows.insert(rows::gone(&log), None);
        }
        for (log, append) in &group.appends {
            let before = (append.start > 0).then_some(append.start);
            self.head.grow(log, before, append.end());
            rows.insert(rows::log(log), Some(append.end().to_le_bytes().to_vec()));
        }
        for log in &group.deleted {
            let length = self.shared.logs.len(log);
            if length > 0 {
                self.head.shrink(log, length);
                rows.insert(rows::log(log), None);
                rows.insert(rows::gone(log), Some(Vec::new()));
            }
        }
        self.redone = 0;
        for (log, offset, bytes) in &group.overwrites {
            rows.insert(rows::redo(self.redone), Some(rows::overwriting(log, *offset, bytes)));
            self.redone += 1;
        }
        for (name, value) in &group.marks {
            rows.insert(rows::mark(name), Some(value.clone().into_bytes()));
        }
        self.head.marks.append(&mut group.marks);

        let mut batch = sled::Batch::default();
        for (key, value) in rows {
            let known = self.shared.tree.contains_key(&key).map_err(state)?;
            match value {
                Some(value) => {
                    self.head.rows += u64::from(!known);
                    batch.insert(key, value);
                }
                None if known => {
                    self.head.rows -= 1;
                    batch.remove(key);
                }
                None => {}
            }
        }
        self.head.rows += u64::from(self.head.commit == 0);
        self.head.commit += 1;
        batch.insert(rows::COMMIT, rows::pair(self.head.commit, self.head.rows));
        Ok(batch)
    }

    /// Applies the batch to the state, and makes it durable.
    fn apply(&mut self, batch: sled::Batch) -> Result<(), Failure> {
        let applied = self.disk.step(Step::State, || self.shared.tree.apply_batch(batch).map_err(of_sled));
        applied.map_err(|e| failure(&self.disk, "state", "written", e))?;
        let flushed = self.disk.step(Step::Flush, || {
            self.shared.tree.flush().map_err(of_sled)?;
            self.state.sync_data()
        });
        flushed.map_err(|e| failure(&self.disk, "state", "flushed", e))
    }

    fn overwrite(&mut self, group: &Changes) -> Result<(), Failure> {
        let mut touched: HashMap<&str, File> = HashMap::new();
        for (log, offset, bytes) in &group.overwrites {
            let failure = |e| failure(&self.disk, log, "overwritten", e);
            let file = match touched.entry(log) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => new.insert(open_to_overwrite(&self.disk, log).map_err(failure)?),
            };
            self.disk.write(file, *offset, bytes).map_err(failure)?;
        }
        let written: Vec<_> = touched.iter().map(|(log, file)| (*log, file)).collect();
        sync_all(&self.disk, &written, None)
    }
}

/// fdatasyncs the logs, many at once, and writes the next HEAD if there is
/// one: a file system makes what waits together durable with one write of its
/// journal.
fn sync_all(disk: &Disk, logs: &[(&str, &File)], head: Option<&str>) -> Result<(), Failure> {
    let sync = |logs: &[(&str, &File)]| {
        logs.iter().try_for_each(|(log, file)| disk.sync(file).map_err(|e| failure(disk, log, "synced", e)))
    };
    let write = |head| disk.prepare_head(head).map_err(|e| failure(disk, "HEAD", "written", e));
    let mut parts = logs.chunks(logs.len().div_ceil(SYNCS_AT_ONCE).max(1));
    let first = parts.next().unwrap_or_default();
    std::thread::scope(|scope| {
        let syncs = parts.map(|part| scope.spawn(move || sync(part)));
        let others: Vec<_> = syncs.chain(head.map(|head| scope.spawn(move || write(head)))).collect();
        others.into_iter().fold(sync(first), |result, other| {
            let other =
                other.join().unwrap_or_else(|_| Err(failure(disk, "", "synced", "a thread panicked")));
            result.and(other)
        })
    })
}

fn failure(disk: &Disk, name: &str, action: &'static str, error: impl ToString) -> Failure {
    Failure { path: disk.folder.join(name), action, error: error.to_string() }
}

/// Opens a log that is there, to overwrite in it.
pub(super) fn open_to_overwrite(disk: &Disk, log: &str) -> io::Result<File> {
    std::fs::OpenOptions::new().write(true).open(disk.folder.join(log))
}
