//! The store: logs, state, HEAD and the one committer.
//!
//! # What is on disk
//!
//! - **Logs** are files that only grow, named by a relative path such as
//!   `segments/00000001.seg`: sealed messages, wrapped keys, ids, queues.
//! - **State** (`state/`) is one sled tree of small rows: lengths of the logs,
//!   positions, one row per batch. It holds no payload and no key, since what
//!   is removed from it stays readable in its file.
//! - **Redo files** (`redo/`) are two, of which one takes a record of each
//!   commit.
//! - **HEAD** is a small text, replaced by rename when commits are settled. sled
//!   opens a missing or cut file as an empty or older store without an error;
//!   HEAD is how that is seen, and refused.
//! - **Files** are published as they are, such as the journal's tiles: written
//!   once, by whoever follows the commits.
//!
//! # A commit
//!
//! One thread takes all the work that waits, runs it in order, and makes it
//! durable as one group: bytes are appended to their logs, all that changes is
//! written as one record to a redo file, and that is fdatasynced. Then the rows
//! are there to be read, in memory, and each work is answered.
//!
//! # Settling
//!
//! Behind the commits another thread fdatasyncs the logs, gives sled the rows of
//! many commits in parts, the lengths of the logs in the last one, flushes and
//! fdatasyncs it (sled itself only calls `sync_file_range`, which doesn't empty a
//! disk's cache), and writes HEAD. From then on their records aren't needed. A
//! commit that overwrites or removes is settled before it is answered, and then
//! nothing of it is left in the redo files.
//!
//! At the next start what wasn't settled is done again from its records. What
//! they don't tell of doesn't count, and is cut off the logs.
//!
//! When a commit or its settling fails, the store is dead: every later commit
//! fails with the same sentence, until the folder is opened again.

mod changes;
mod committer;
mod disk;
mod fault;
mod files;
mod frames;
mod head;
mod ids;
mod logs;
mod opening;
mod redo;
mod rows;
mod settle;
mod state;
mod syncs;
#[cfg(test)]
mod tests;

pub use changes::Tx;
#[cfg(test)]
pub(crate) use disk::{Faults, Outcome, Step};
pub use fault::StoreFault;
pub use files::Files;
pub use frames::{Frame, FrameLog, Sealing};
pub use head::last_mark;
pub use ids::Ids;
pub use rows::{Row, Rows};
#[cfg(test)]
pub(crate) use tests::copy;

use committer::{Task, Work};
use logs::Logs;
use state::{State, after_prefix};
use std::fs::File;
use std::ops::RangeBounds;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

/// How a store is opened.
#[derive(Clone, Default)]
pub struct StoreOptions {
    /// How many bytes of state sled keeps in memory; `None` is 64 MiB.
    pub state_cache: Option<u64>,
    /// After how long commits are settled at the latest; `None` is a second.
    pub settle_after: Option<Duration>,
    #[cfg(test)]
    pub(crate) faults: Option<Arc<dyn disk::Faults>>,
}

/// The store of one data folder, used by one process at a time. Cheap to clone;
/// the folder is free again when the last clone is dropped.
#[derive(Clone)]
pub struct Store(Arc<Handle>);

/// What the committer and the readers share.
struct Shared {
    folder: PathBuf,
    disk: Arc<disk::Disk>,
    state: State,
    logs: Logs,
    commits: AtomicU64,
    /// Why the store is dead, once it is.
    failed: OnceLock<StoreFault>,
    /// Held for as long as the store is open. After `state`: fields are dropped
    /// in their order, and the folder is free when sled has left it.
    _lock: File,
}

struct Handle {
    shared: Arc<Shared>,
    work: Option<mpsc::Sender<Box<dyn Work>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        // The committer ends when it has done what waits and nobody can send.
        self.work = None;
        if let Some(thread) = lock(&self.thread).take()
            && thread.thread().id() != std::thread::current().id()
        {
            let _ = thread.join();
        }
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("folder", &self.0.shared.folder).finish_non_exhaustive()
    }
}

/// Locks a mutex that guards data which a panic can't leave half-changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Store {
    /// Opens the store in the folder `dir`; creates it when the folder is
    /// absent or holds no store.
    ///
    /// Mends what a crash leaves (bytes after the last commit, an overwriting or
    /// a removal that wasn't finished), and refuses everything else with a
    /// sentence that says what to do: a store in use, logs or state that are
    /// missing, cut or behind HEAD, a HEAD that is missing or too old.
    pub fn open(dir: &Path, options: StoreOptions) -> Result<Store, StoreFault> {
        let (shared, committer) = opening::open(dir, options)?;
        let (work, queue) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("committer".to_owned())
            .spawn(move || committer.run(&queue))
            .map_err(|error| StoreFault::io(dir, "served by a thread", &error))?;
        Ok(Store(Arc::new(Handle { shared, work: Some(work), thread: Mutex::new(Some(thread)) })))
    }

    /// Runs `work` on the committer and returns what it returned, once that is
    /// durable.
    ///
    /// Works run in the order of the calls (not of the first polls), and one
    /// sees what the earlier ones did. Those that wait together share one
    /// flush. A work that returns an error changes nothing, and the others of
    /// its group go on. Dropping the future doesn't take the work back.
    ///
    /// The work must be short, and must not wait for anything.
    pub fn commit<T, F>(&self, work: F) -> impl Future<Output = Result<T, StoreFault>> + Send + use<T, F>
    where
        T: Send + 'static,
        F: FnOnce(&mut Tx) -> Result<T, StoreFault> + Send + 'static,
    {
        let (reply, answer) = tokio::sync::oneshot::channel();
        self.send(Box::new(Task::new(work, move |result| {
            let _ = reply.send(result);
        })));
        let shared = self.0.shared.clone();
        async move { answer.await.unwrap_or_else(|_| Err(shared.stopped())) }
    }

    /// As [`Store::commit`], for a thread that may block.
    pub fn commit_blocking<T, F>(&self, work: F) -> Result<T, StoreFault>
    where
        T: Send + 'static,
        F: FnOnce(&mut Tx) -> Result<T, StoreFault> + Send + 'static,
    {
        let (reply, answer) = mpsc::sync_channel(1);
        self.send(Box::new(Task::new(work, move |result| {
            let _ = reply.send(result);
        })));
        answer.recv().unwrap_or_else(|_| Err(self.0.shared.stopped()))
    }

    fn send(&self, work: Box<dyn Work>) {
        if let Some(queue) = &self.0.work {
            // When the committer is gone, dropping the work drops its reply,
            // which tells who waits for it.
            let _ = queue.send(work);
        }
    }

    /// The value of the row `key`.
    ///
    /// Reads may see a commit a moment before it is durable; whatever is done
    /// about it must go through a later commit.
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreFault> {
        let shared = &self.0.shared;
        shared.state.get(key).map_err(|e| shared.state_fault(&e))
    }

    /// The rows whose key begins with `prefix`, in the order of their keys, read
    /// as the iterator goes.
    pub fn scan(&self, prefix: &[u8]) -> Rows {
        match after_prefix(prefix) {
            Some(end) => self.range(prefix..end.as_slice()),
            None => self.range(prefix..),
        }
    }

    /// The rows whose key is in `keys`, in the order of their keys, read as the
    /// iterator goes.
    pub fn range<K: AsRef<[u8]>>(&self, keys: impl RangeBounds<K>) -> Rows {
        Rows::new(&self.0.shared, self.0.shared.state.range(&keys))
    }

    /// The rows whose key begins with `prefix` and is `from` or after it.
    pub fn scan_from(
        &self,
        prefix: &[u8],
        from: &[u8],
    ) -> impl Iterator<Item = Result<Row, StoreFault>> + use<> {
        let prefix = prefix.to_vec();
        self.range(from..)
            .take_while(move |row| row.as_ref().map_or(true, |(key, _)| key.starts_with(&prefix)))
    }

    /// The last row whose key begins with `prefix` and is `key` or before it.
    pub fn last_at_or_before(&self, prefix: &[u8], key: &[u8]) -> Result<Option<Row>, StoreFault> {
        self.range(prefix..=key).next_back().transpose()
    }

    /// The last row whose key begins with `prefix`.
    pub fn last(&self, prefix: &[u8]) -> Result<Option<Row>, StoreFault> {
        self.scan(prefix).next_back().transpose()
    }

    /// The value of the mark `name`, as [`Tx::mark`] set it.
    pub fn mark(&self, name: &str) -> Result<Option<String>, StoreFault> {
        let value = self.get(&rows::mark(name))?;
        Ok(value.map(|v| String::from_utf8_lossy(&v).into_owned()))
    }

    /// `len` bytes of the log `log` at `offset`. Fails unless all of them are
    /// committed.
    pub fn read(&self, log: &str, offset: u64, len: usize) -> Result<Vec<u8>, StoreFault> {
        self.0.shared.logs.read(log, offset, len)
    }

    /// The committed length of the log `log` in bytes; 0 when there is none.
    pub fn log_len(&self, log: &str) -> u64 {
        self.0.shared.logs.len(log)
    }

    /// The names of the logs that begin with `prefix`, sorted.
    pub fn logs(&self, prefix: &str) -> Vec<String> {
        self.0.shared.logs.names(prefix)
    }

    /// Plain files in the folder `folder` of the data folder.
    pub fn files(&self, folder: &str) -> Files {
        Files::new(self, Arc::clone(&self.0.shared.disk), folder)
    }

    /// How many bytes are free on the disk of the folder, for this process.
    pub fn free_bytes(&self) -> Result<u64, StoreFault> {
        let folder = &self.0.shared.folder;
        fs2::available_space(folder).map_err(|e| StoreFault::io(folder, "measured for free space", &e))
    }

    /// The number of the last commit that is durable.
    pub fn commits(&self) -> u64 {
        self.0.shared.commits.load(Ordering::Acquire)
    }

    /// Why the store is dead, when it is.
    pub fn is_failed(&self) -> Option<String> {
        self.0.shared.failed.get().map(ToString::to_string)
    }
}

impl Shared {
    fn state_fault(&self, error: &sled::Error) -> StoreFault {
        StoreFault::State { folder: self.folder.join("state"), error: error.to_string() }
    }

    /// What is said when the committer is gone without an answer.
    fn stopped(&self) -> StoreFault {
        self.failed.get().cloned().unwrap_or_else(|| {
            StoreFault::Failed(format!(
                "the committer of the store in {} ended; this is a defect: start again, and report it",
                self.folder.display()
            ))
        })
    }
}
