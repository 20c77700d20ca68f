//! Writes down what is acknowledged: with the next publishing, or on its own.

use super::lock;
use super::queue::Queue;
use crate::store::{Store, StoreFault, Tx};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long an acknowledgement waits at most.
const WAIT: Duration = Duration::from_millis(100);

/// How many acknowledgements wait at most.
const MOST: u64 = 1_000;

enum Signal {
    /// There is something to save.
    Dirty,
    /// There is much of it.
    Now,
}

/// The queues whose acknowledgements aren't written down yet.
#[derive(Default)]
pub(super) struct Unsaved {
    queues: Mutex<Vec<Arc<Queue>>>,
    watched: Mutex<Vec<Arc<Queue>>>,
    count: AtomicU64,
}

/// Sees to it that they are. Dropping it saves what is left.
pub(super) struct Acks {
    unsaved: Arc<Unsaved>,
    signals: Option<Sender<Signal>>,
    thread: Option<JoinHandle<()>>,
}

impl Acks {
    pub(super) fn start(store: &Store, idle: Duration) -> Result<Acks, StoreFault> {
        let unsaved = Arc::new(Unsaved::default());
        let (signals, received) = channel();
        let saver = Saver { store: store.clone(), unsaved: unsaved.clone(), idle };
        let thread = std::thread::Builder::new()
            .name("bus-acks".to_owned())
            .spawn(move || saver.run(&received))
            .map_err(|e| StoreFault::Aborted(format!("the bus can't have a thread ({e})")))?;
        Ok(Acks { unsaved, signals: Some(signals), thread: Some(thread) })
    }

    pub(super) fn unsaved(&self) -> &Arc<Unsaved> {
        &self.unsaved
    }

    /// Takes note that `count` messages of the queue were acknowledged.
    pub(super) fn mark(&self, queue: &Arc<Queue>, count: u64) {
        let before = self.unsaved.count.fetch_add(count, Ordering::Relaxed);
        let much = before < MOST && before + count >= MOST;
        if !queue.is_dirty.swap(true, Ordering::AcqRel) {
            lock(&self.unsaved.queues).push(queue.clone());
            if !queue.is_watched.swap(true, Ordering::AcqRel) {
                lock(&self.unsaved.watched).push(queue.clone());
            }
            self.signal(Signal::Dirty);
        }
        if much {
            self.signal(Signal::Now);
        }
    }

    fn signal(&self, signal: Signal) {
        if let Some(signals) = &self.signals {
            // It fails only when the thread is gone with the store.
            let _ = signals.send(signal);
        }
    }
}

impl Drop for Acks {
    fn drop(&mut self) {
        self.signals = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Unsaved {
    /// Writes down in a commit what is acknowledged in every queue.
    pub(super) fn save(&self, tx: &mut Tx) {
        self.count.store(0, Ordering::Relaxed);
        let queues = std::mem::take(&mut *lock(&self.queues));
        for queue in queues {
            // Before its position is read: an acknowledgement after that marks
            // it again.
            queue.is_dirty.store(false, Ordering::Release);
            queue.save_acks(tx);
        }
    }

    /// Deletes in a commit the last logs of queues that nobody uses.
    fn save_idle(&self, tx: &mut Tx) {
        lock(&self.watched).retain(|queue| {
            let keep = queue.save_idle(tx);
            queue.is_watched.store(keep, Ordering::Release);
            keep
        });
    }
}

struct Saver {
    store: Store,
    unsaved: Arc<Unsaved>,
    idle: Duration,
}

impl Saver {
    fn run(self, signals: &Receiver<Signal>) {
        let mut save_at: Option<Instant> = None;
        let idle = self.idle.clamp(WAIT, Duration::from_secs(10));
        let mut look_at = Instant::now() + idle;
        loop {
            let next = save_at.map_or(look_at, |at| at.min(look_at));
            match signals.recv_timeout(next.saturating_duration_since(Instant::now())) {
                Ok(Signal::Dirty) => {
                    save_at.get_or_insert_with(|| Instant::now() + WAIT);
                }
                Ok(Signal::Now) => save_at = Some(Instant::now()),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    self.save();
                    return;
                }
            }
            let now = Instant::now();
            if save_at.is_some_and(|at| at <= now) {
                save_at = None;
                self.save();
            }
            if look_at <= now {
                look_at = now + idle;
                self.look();
            }
        }
    }

    fn save(&self) {
        // A publishing may have done it already; a work that changes nothing
        // costs no commit.
        let unsaved = self.unsaved.clone();
        let saved = self.store.commit_blocking(move |tx| {
            unsaved.save(tx);
            Ok(())
        });
        report(saved);
    }

    fn look(&self) {
        if lock(&self.unsaved.watched).is_empty() {
            return;
        }
        let unsaved = self.unsaved.clone();
        let saved = self.store.commit_blocking(move |tx| {
            unsaved.save_idle(tx);
            Ok(())
        });
        report(saved);
    }
}

/// What isn't saved is redelivered, so a failure only needs to be known; whoever
/// publishes gets it as an error.
fn report(saved: Result<(), StoreFault>) {
    if let Err(fault) = saved {
        tracing::debug!(%fault, "acknowledgements of the bus weren't written down");
    }
}
