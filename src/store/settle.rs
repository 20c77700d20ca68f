//! Settling: logs, state and HEAD are made durable behind the commits.
//!
//! What a commit promises is in the redo files; so nobody waits for this, but
//! for a commit that overwrites or removes. HEAD is written last, and says up to
//! which commit the redo files aren't needed.

use super::disk::{Disk, Step, sync_folder};
use super::fault::of_sled;
use super::head::Head;
use super::state::{Changed, Held, Parts};
use super::syncs::{Job, Syncs};
use super::{Shared, StoreFault};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How many logs are fdatasynced at once. Those that wait together share a write
/// of the file system's journal: sixty logs, one after the other, take ten times
/// as long.
const SYNCS_AT_ONCE: usize = 16;

/// How much longer the settler rests after a part of the rows than that took: what
/// it does at once, a broker or a release on the same cores has to wait for.
const REST: u32 = 6;

/// How long it rests in all at most, so that it doesn't fall behind.
const RESTS: Duration = Duration::from_millis(500);

/// How many bytes of rows sled is given before they are made durable: with the
/// pages that it writes again for them, about a segment of its file (512 KiB). It
/// writes over a segment when all in it stands elsewhere, be that in the disk's
/// cache alone, and takes a segment or two to come to that.
const UNFLUSHED: usize = if cfg!(test) { 1 } else { 128 << 10 };

/// What failed, for the sentence.
pub(super) struct Failure {
    path: PathBuf,
    action: &'static str,
    error: String,
}

impl Failure {
    /// `name` couldn't be `action`; it is a file in the data folder.
    pub(super) fn new(disk: &Disk, name: &str, action: &'static str, error: impl ToString) -> Failure {
        Failure::at(disk.folder.join(name), action, error)
    }

    /// The file `path` couldn't be `action`.
    pub(super) fn at(path: PathBuf, action: &'static str, error: impl ToString) -> Failure {
        Failure { path, action, error: error.to_string() }
    }

    /// The store is dead from now on, for this reason.
    pub(super) fn kill(self, shared: &Shared) -> StoreFault {
        let fault = StoreFault::Failed(format!(
            "the store in {} stopped, since {} couldn't be {} ({}); what was acknowledged is kept: \
             see that the disk works and has space, then start again",
            shared.folder.display(),
            self.path.display(),
            self.action,
            self.error,
        ));
        shared.failed.get_or_init(|| fault).clone()
    }
}

/// What isn't durable of the logs.
#[derive(Default)]
pub(super) struct Unsettled {
    /// Logs that were appended to or overwritten.
    pub(super) logs: BTreeMap<String, Arc<File>>,
    /// Logs that are removed, and aren't unlinked.
    pub(super) removed: Vec<String>,
}

/// What is settled at once: what isn't durable outside the redo files.
pub(super) struct Share {
    pub(super) unsettled: Unsettled,
    /// Rows that are in memory.
    pub(super) rows: Arc<Changed>,
    /// HEAD, as it is then, but for the count of rows.
    pub(super) head: Head,
}

/// A thread that settles, one share after the other. It ends when this is
/// dropped.
pub(super) struct Settler {
    work: Option<mpsc::Sender<Share>>,
    done: mpsc::Receiver<Result<(), StoreFault>>,
    thread: Option<JoinHandle<()>>,
    is_busy: bool,
    /// Somebody waits for what is being settled.
    hurry: Arc<AtomicBool>,
}

impl Settler {
    /// Starts the thread. `state` is the state's file, since sled's own flush
    /// doesn't empty a disk's cache; `held` is what it holds.
    pub(super) fn start(shared: &Arc<Shared>, state: File, held: Held) -> std::io::Result<Settler> {
        let (work, waiting) = mpsc::channel::<Share>();
        let (tell, done) = mpsc::channel();
        let hurry = Arc::new(AtomicBool::new(false));
        let mut settling = Settling {
            shared: Arc::clone(shared),
            state,
            held,
            syncs: Syncs::default(),
            hurry: Arc::clone(&hurry),
        };
        let thread = std::thread::Builder::new().name("settler".to_owned()).spawn(move || {
            while let Ok(share) = waiting.recv() {
                // What failed may be missing: nothing later may be settled on it.
                let outcome = match settling.shared.failed.get() {
                    Some(fault) => Err(fault.clone()),
                    None => settling.settle_or_die(share),
                };
                if tell.send(outcome).is_err() {
                    return;
                }
            }
        })?;
        Ok(Settler { work: Some(work), done, thread: Some(thread), is_busy: false, hurry })
    }

    /// Begins to settle. Nothing else is being settled.
    pub(super) fn begin(&mut self, share: Share) {
        self.hurry.store(false, Ordering::Relaxed);
        self.is_busy = self.work.as_ref().is_some_and(|work| work.send(share).is_ok());
    }

    /// Whether something is being settled.
    pub(super) fn is_busy(&mut self) -> bool {
        if self.is_busy && !matches!(self.done.try_recv(), Err(mpsc::TryRecvError::Empty)) {
            // A failure is told by the store that it killed.
            self.is_busy = false;
        }
        self.is_busy
    }

    /// Waits until what is being settled is. Fails where that fails.
    pub(super) fn wait(&mut self) -> Result<(), StoreFault> {
        self.hurry();
        match std::mem::take(&mut self.is_busy) {
            true => self.done.recv().unwrap_or(Ok(())),
            false => Ok(()),
        }
    }
}

impl Settler {
    /// Has it rest no more until something else is to be settled.
    fn hurry(&self) {
        self.hurry.store(true, Ordering::Relaxed);
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }
}

impl Drop for Settler {
    fn drop(&mut self) {
        self.hurry();
        self.work = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Settling {
    shared: Arc<Shared>,
    state: File,
    held: Held,
    syncs: Syncs<Failure>,
    hurry: Arc<AtomicBool>,
}

impl Settling {
    fn settle_or_die(&mut self, share: Share) -> Result<(), StoreFault> {
        // sled panics on some failures of the disk.
        let outcome = catch_unwind(AssertUnwindSafe(|| self.settle(share)))
            .unwrap_or_else(|_| Err(Failure::new(&self.shared.disk, "state", "written", "sled panicked")));
        outcome.map_err(|failure| failure.kill(&self.shared))
    }

    fn settle(&mut self, share: Share) -> Result<(), Failure> {
        let Share { unsettled: Unsettled { logs, removed }, rows, mut head } = share;
        self.sync_all(logs.into_iter().collect())?;
        let disk = &*self.shared.disk;
        let mut folders = BTreeSet::new();
        for log in removed {
            disk.unlink(&log).map_err(|e| Failure::new(disk, &log, "removed", e))?;
            folders.extend(disk.folder.join(&log).parent().map(ToOwned::to_owned));
        }
        for folder in folders {
            let synced = disk.step(Step::SyncFolder, || match sync_folder(&folder) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            });
            synced.map_err(|e| Failure::at(folder, "synced", e))?;
        }
        let tree = self.shared.state.tree();
        let mut parts = Parts::new(tree, &rows, head.commit);
        let longest = RESTS / parts.count();
        let mut unflushed = 0;
        loop {
            let began = Instant::now();
            let applied = disk.step(Step::State, || parts.apply(&mut self.held));
            let part = applied.map_err(|e| Failure::new(disk, "state", "written", e))?;
            unflushed += part.bytes;
            if part.is_last || unflushed >= UNFLUSHED {
                self.flush()?;
                unflushed = 0;
            }
            if part.is_last {
                break;
            }
            if !self.hurry.load(Ordering::Relaxed) {
                std::thread::park_timeout((began.elapsed() * REST).min(longest));
            }
        }
        head.rows = self.held.rows;
        let head = head.render().map_err(|e| Failure::new(disk, "HEAD", "written", e))?;
        disk.replace_head(&head).map_err(|e| Failure::new(disk, "HEAD", "replaced", e))?;
        self.shared.state.settled();
        Ok(())
    }

    /// Makes what sled was given durable.
    fn flush(&self) -> Result<(), Failure> {
        let flushed = self.shared.disk.step(Step::Flush, || {
            self.shared.state.tree().flush().map_err(of_sled)?;
            self.state.sync_data()
        });
        flushed.map_err(|e| Failure::new(&self.shared.disk, "state", "flushed", e))
    }

    /// fdatasyncs logs, many at once: a file system makes what waits together
    /// durable with one write of its journal.
    fn sync_all(&mut self, mut logs: Vec<(String, Arc<File>)>) -> Result<(), Failure> {
        let mut jobs: Vec<Job<Failure>> = Vec::with_capacity(logs.len().min(SYNCS_AT_ONCE));
        let share = logs.len().div_ceil(SYNCS_AT_ONCE).max(1);
        while !logs.is_empty() {
            let rest = logs.split_off(share.min(logs.len()));
            let part = std::mem::replace(&mut logs, rest);
            let disk = Arc::clone(&self.shared.disk);
            jobs.push(Box::new(move || {
                part.iter().try_for_each(|(log, file)| {
                    disk.sync(file).map_err(|e| Failure::new(&disk, log, "synced", e))
                })
            }));
        }
        let disk = Arc::clone(&self.shared.disk);
        self.syncs.run(jobs, || Failure::new(&disk, "", "synced", "a thread panicked"))
    }
}
