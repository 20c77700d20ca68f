//! The one thread that writes.

use super::changes::{Changes, Tx};
use super::head::Head;
use super::redo::Redo;
use super::settle::{Failure, Settler, Share, Unsettled};
use super::{Shared, StoreFault, rows};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs::File;
use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

/// A group isn't made larger than this many appended bytes by waiting work.
const GROUP_BYTES: usize = 32 << 20;

/// How many logs are kept open for writing.
const OPEN_FILES: usize = 128;

/// Commits are settled once their records have so many bytes,
const SETTLE_BYTES: u64 = 8 << 20;

/// or once the first of them has waited for so long, unless set otherwise.
const SETTLE_AFTER: Duration = Duration::from_secs(1);

/// So many bytes of records wait at most while the ones before them settle.
const UNSETTLED_BYTES: u64 = 4 * SETTLE_BYTES;

/// How often a committer that has nothing to do looks whether it can settle.
const GLANCE: Duration = Duration::from_millis(20);

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
    shared: Arc<Shared>,
    /// What HEAD says once all that is committed is settled.
    head: Head,
    files: HashMap<String, Arc<File>>,
    redo: Redo,
    settler: Settler,
    unsettled: Unsettled,
    /// Since when there is something that isn't settled.
    since: Option<Instant>,
    settle_after: Duration,
}

impl Committer {
    /// A committer that goes on after the commit that `head` tells of.
    /// What it commits is settled after `settle_after` at the latest.
    pub(super) fn new(
        shared: &Arc<Shared>,
        head: Head,
        redo: Redo,
        settler: Settler,
        settle_after: Option<Duration>,
    ) -> Committer {
        Committer {
            shared: Arc::clone(shared),
            head,
            files: HashMap::new(),
            redo,
            settler,
            unsettled: Unsettled::default(),
            since: None,
            settle_after: settle_after.unwrap_or(SETTLE_AFTER),
        }
    }

    pub(super) fn run(mut self, queue: &Receiver<Box<dyn Work>>) {
        while let Some(first) = self.next(queue) {
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
            self.settle_behind();
        }
        // Whoever opens the folder next needn't do it.
        if self.since.is_some()
            && self.shared.failed.get().is_none()
            && let Err(fault) = self.settle()
        {
            tracing::warn!(%fault, "what is committed isn't settled; the next start does it");
        }
    }

    /// The next work; none where nobody can send one any more. Settles while it
    /// waits.
    fn next(&mut self, queue: &Receiver<Box<dyn Work>>) -> Option<Box<dyn Work>> {
        loop {
            let Some(since) = self.since else { return queue.recv().ok() };
            let left = self.settle_after.saturating_sub(since.elapsed()).max(GLANCE);
            match queue.recv_timeout(left) {
                Ok(work) => return Some(work),
                Err(RecvTimeoutError::Timeout) => self.settle_behind(),
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        }
    }

    fn commit_or_die(&mut self, group: Changes) -> Result<(), StoreFault> {
        self.commit(group).map_err(|failure| failure.kill(&self.shared))?;
        self.shared.failed.get().cloned().map_or(Ok(()), Err)
    }

    fn commit(&mut self, group: Changes) -> Result<(), Failure> {
        // First: a disk that is full refuses most of it here, and nothing has
        // happened.
        self.append(&group)?;
        let written = self.redo.write(self.head.commit + 1, &group);
        written.map_err(|e| Failure::at(self.redo.active(), "written", e))?;
        self.since.get_or_insert_with(Instant::now);
        self.apply(group)?;
        if self.redo.is_to_wipe() { self.forget() } else { Ok(()) }
    }

    /// Appends the bytes to their logs.
    pub(super) fn append(&mut self, group: &Changes) -> Result<(), Failure> {
        if self.files.len() + group.appends.len() > OPEN_FILES {
            self.files.retain(|log, _| group.appends.contains_key(log));
        }
        let disk = &*self.shared.disk;
        for (log, append) in &group.appends {
            let failure = |action, error| Failure::new(disk, log, action, error);
            let file = match self.files.entry(log.clone()) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => {
                    let file = disk.open_log(log, append.start).map_err(|e| failure("opened", e))?;
                    new.insert(Arc::new(file))
                }
            };
            disk.write(file, append.start, &append.bytes).map_err(|e| failure("written", e))?;
            if !self.unsettled.logs.contains_key(log) {
                self.unsettled.logs.insert(log.clone(), Arc::clone(file));
            }
        }
        Ok(())
    }

    /// Brings state and logs up to a commit whose record is durable, and whose
    /// bytes are appended.
    pub(super) fn apply(&mut self, mut group: Changes) -> Result<(), Failure> {
        let rows = self.prepare(&mut group);
        let shared = Arc::clone(&self.shared);
        // Published before the state names them, so that a row that is seen
        // never points at bytes that can't be read.
        shared.logs.grow(group.appends.iter().map(|(log, append)| (log.as_str(), append.end())));
        shared.state.put(rows);
        for log in &group.deleted {
            shared.logs.forget(log);
        }
        self.overwrite(&group)?;
        shared.commits.store(self.head.commit, Ordering::Release);
        Ok(())
    }

    /// The rows of a commit, with the store's own. Brings `self.head` up to what
    /// it is after the commit.
    fn prepare(&mut self, group: &mut Changes) -> HashMap<Vec<u8>, Option<Vec<u8>>> {
        let mut rows = std::mem::take(&mut group.rows);
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
            }
        }
        for (name, value) in &group.marks {
            rows.insert(rows::mark(name), Some(value.clone().into_bytes()));
        }
        self.head.marks.append(&mut group.marks);
        self.head.commit += 1;
        rows
    }

    /// Does a commit's overwritings. Its removals are done once these are
    /// durable: a removed log leaves its key nowhere.
    pub(super) fn overwrite(&mut self, group: &Changes) -> Result<(), Failure> {
        let disk = &*self.shared.disk;
        for (log, offset, bytes) in &group.overwrites {
            let failure = |e| Failure::new(disk, log, "overwritten", e);
            let file = match self.unsettled.logs.get(log) {
                Some(file) => Arc::clone(file),
                None => {
                    let file = match disk.open_to_overwrite(log) {
                        Ok(file) => Arc::new(file),
                        // It was removed before the process ended.
                        Err(error) if error.kind() == ErrorKind::NotFound && group.deleted.contains(log) => {
                            continue;
                        }
                        Err(error) => return Err(failure(error)),
                    };
                    self.unsettled.logs.insert(log.clone(), Arc::clone(&file));
                    file
                }
            };
            disk.write(&file, *offset, bytes).map_err(failure)?;
        }
        for log in &group.deleted {
            self.files.remove(log);
            self.unsettled.removed.push(log.clone());
        }
        Ok(())
    }

    /// Settles behind the commits, if it is time to.
    fn settle_behind(&mut self) {
        let Some(since) = self.since else { return };
        let used = self.redo.used();
        if (used < SETTLE_BYTES && since.elapsed() < self.settle_after) || self.shared.failed.get().is_some()
        {
            return;
        }
        if self.settler.is_busy() {
            if used < UNSETTLED_BYTES {
                return;
            }
            // Who commits next is told where this fails.
            let _ = self.settler.wait();
        }
        self.begin();
    }

    /// Begins to settle all that is committed. Nothing is being settled.
    fn begin(&mut self) {
        self.redo.turn();
        let rows = self.shared.state.begin_settling();
        let (unsettled, head) = (std::mem::take(&mut self.unsettled), self.head.clone());
        self.settler.begin(Share { unsettled, rows, head });
        self.since = None;
    }

    /// Settles all that is committed.
    fn settle(&mut self) -> Result<(), StoreFault> {
        self.settler.wait()?;
        self.begin();
        self.settler.wait()
    }

    /// Settles what a start did again.
    pub(super) fn settle_start(&mut self) -> Result<(), StoreFault> {
        self.settle()?;
        match self.redo.is_to_wipe() {
            true => self.forget().map_err(|failure| failure.kill(&self.shared)),
            false => Ok(()),
        }
    }

    /// Settles, and leaves nothing in the redo files: what was overwritten or
    /// removed is there, too.
    fn forget(&mut self) -> Result<(), Failure> {
        // A failure has killed the store, and is told by it.
        if self.settle().is_err() {
            return Ok(());
        }
        self.redo.wipe().map_err(|e| Failure::at(self.redo.active(), "overwritten", e))
    }
}
