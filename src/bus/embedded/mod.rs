//! The embedded bus: exchanges and queues in the hub's process, durable on its
//! store.
//!
//! A batch of messages that is published becomes one frame in the log of each
//! queue it goes to, all in one commit of the store. What is acknowledged is a
//! position that is written down lazily: with the next publishing, and after
//! 1,000 acknowledgements or 100 ms at the latest. A crash loses some of that,
//! and the messages come again. So after every start, whatever is in a queue is
//! marked as redelivered, whether or not it was delivered before.
//!
//! A log is deleted with its key when all of it is acknowledged and another was
//! begun, or nothing was published to the queue for a while.

mod acks;
mod connection;
mod consumer;
mod queue;
mod record;
mod rewrite;
#[cfg(test)]
mod tests;

use super::{Bus, BusFault, INBOX, queue_of};
use crate::event::MemberName;
use crate::store::{Sealing, Store, StoreFault};
use acks::Acks;
use queue::Queue;
pub use rewrite::Fate;
use std::collections::HashMap;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

/// How the embedded bus is set up.
#[derive(Clone, Debug)]
pub struct BrokerOptions {
    /// How many bytes of unacknowledged messages a queue holds before it
    /// answers [`super::Confirm::Nack`] (`x-max-length-bytes` with
    /// `reject-publish`).
    pub queue_bytes: u64,
    /// How many bytes of messages are kept in memory for all queues together.
    pub cache_bytes: usize,
    /// At how many bytes another log is begun.
    pub log_bytes: u64,
    /// How long nothing is published to a queue before a log that is wholly
    /// acknowledged is deleted.
    pub idle: Duration,
}

impl Default for BrokerOptions {
    /// 1 GiB a queue, 8 MiB in memory, logs of 16 MiB, 10 seconds.
    fn default() -> BrokerOptions {
        BrokerOptions {
            queue_bytes: 1 << 30,
            cache_bytes: 8 << 20,
            log_bytes: 16 << 20,
            idle: Duration::from_secs(10),
        }
    }
}

/// The embedded bus. Cheap to clone; the last clone, connection or consumer
/// that is dropped writes down what was acknowledged.
#[derive(Clone)]
pub struct Broker(Arc<Inner>);

struct Inner {
    store: Store,
    sealing: Sealing,
    options: BrokerOptions,
    queues: RwLock<HashMap<String, Arc<Queue>>>,
    /// How many bytes are cached.
    cached: Arc<AtomicUsize>,
    acks: Acks,
}

impl std::fmt::Debug for Broker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Broker").field("store", &self.0.store).finish_non_exhaustive()
    }
}

/// Locks a mutex that guards data which a panic can't leave half-changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Broker {
    /// Opens the bus on a store, with the messages that are in its queues.
    /// `sealing` is what the keys of their logs are wrapped under.
    ///
    /// Members' queues without messages aren't remembered: declare each member
    /// at each start.
    pub fn open(store: Store, sealing: Sealing, options: BrokerOptions) -> Result<Broker, BusFault> {
        let acks = Acks::start(&store, options.idle)?;
        // Offsets in a log are kept in 32 bits.
        let options = BrokerOptions { log_bytes: options.log_bytes.min(1 << 30), ..options };
        let inner =
            Inner { store, sealing, options, queues: RwLock::default(), cached: Arc::default(), acks };
        let broker = Broker(Arc::new(inner));
        let mut names: Vec<String> =
            broker.0.store.logs("bus/").iter().filter_map(|log| queue::of_log(log)).collect();
        for row in broker.0.store.scan(b"bus/") {
            names.extend(queue::of_row(&row?.0));
        }
        names.push(INBOX.to_owned());
        names.sort();
        names.dedup();
        for name in names {
            broker.0.declare(&name)?;
        }
        Ok(broker)
    }

    /// Makes the queue of a member, if there is none, and lets the member's user
    /// publish and consume.
    pub fn declare_member(&self, member: &MemberName) -> Result<(), BusFault> {
        Ok(self.0.declare(&queue_of(member))?)
    }

    /// A connection of `user`, a member's name or [`super::HUB`], who is taken
    /// to be authenticated. The hub may do everything. A member publishes its
    /// own events and consumes its own queue; all else is
    /// [`BusFault::Refused`].
    pub fn connect(&self, user: &str) -> Arc<dyn Bus> {
        Arc::new(connection::Connection::new(self.0.clone(), user))
    }

    /// How many messages and bytes of a queue aren't acknowledged; `None` when
    /// there is no such queue.
    pub fn queue_depth(&self, queue: &str) -> Option<(u64, u64)> {
        self.0.queue(queue).map(|queue| queue.depth())
    }
}

impl Inner {
    fn queue(&self, name: &str) -> Option<Arc<Queue>> {
        self.queues.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    fn declare(&self, name: &str) -> Result<(), StoreFault> {
        let mut queues = self.queues.write().unwrap_or_else(PoisonError::into_inner);
        if !queues.contains_key(name) {
            let queue = Queue::open(&self.store, &self.sealing, &self.options, &self.cached, name)?;
            let queue = Arc::new(queue);
            if queue.has_finished() {
                self.acks.mark(&queue, 0);
            }
            queues.insert(name.to_owned(), queue);
        }
        Ok(())
    }
}
