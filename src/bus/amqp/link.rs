//! A connection that is opened again when it breaks.

use super::target::{Closed, Target};
use crate::bus::BusFault;
use futures_core::Stream;
use lapin::{Channel, Event};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::JoinHandle;

/// How long to wait before another try: doubled each time.
const PAUSE: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(10)];

/// Waits longer each time, up to a bound, and never as long as others that
/// failed at the same moment.
pub(super) struct Backoff(Duration);

impl Default for Backoff {
    fn default() -> Backoff {
        Backoff(PAUSE[0])
    }
}

impl Backoff {
    /// Waits.
    pub(super) async fn pause(&mut self) {
        // Without randomness the full pause is as good.
        let share = getrandom::u32().map_or(1.0, |random| f64::from(random) / f64::from(u32::MAX));
        tokio::time::sleep(self.0.mul_f64(0.5 + share / 2.0)).await;
        self.0 = (self.0 * 2).min(PAUSE[1]);
    }
}

/// An open connection.
pub(super) struct Live {
    connection: lapin::Connection,
    /// Channels with confirms that nobody uses now.
    idle: Mutex<Vec<Channel>>,
    watching: JoinHandle<()>,
}

impl Live {
    fn new(connection: lapin::Connection, name: String) -> Live {
        let events = connection.events_listener();
        let watching = tokio::spawn(watch(events, name));
        Live { connection, idle: Mutex::default(), watching }
    }

    /// Whether it can still be used, as far as is known.
    pub(super) fn is_open(&self) -> bool {
        self.connection.status().connected()
    }

    /// A new channel.
    pub(super) async fn channel(&self) -> lapin::Result<Channel> {
        self.connection.create_channel().await
    }

    /// A channel that was given back, and is open.
    pub(super) fn idle(&self) -> Option<Channel> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        std::iter::from_fn(|| idle.pop()).find(|channel| channel.status().connected())
    }

    /// Gives back a channel on which nothing is under way.
    pub(super) fn give_back(&self, channel: Channel) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(channel);
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.watching.abort();
    }
}

/// Says in the log what the broker says of the connection. That nothing is
/// written to a blocked one is lapin's doing.
async fn watch(events: impl Stream<Item = Event>, name: String) {
    let mut events = pin!(events);
    while let Some(event) = std::future::poll_fn(|context| events.as_mut().poll_next(context)).await {
        match event {
            Event::ConnectionBlocked(why) => tracing::warn!(
                connection = name,
                "the broker takes no messages now ({why}); they wait. Give it memory or disk space if this goes on"
            ),
            Event::ConnectionUnblocked => {
                tracing::info!(connection = name, "the broker takes messages again");
            }
            _ => {}
        }
    }
}

/// A connection for one purpose, opened when it is needed and again when it
/// broke.
pub(super) struct Link {
    pub(super) target: Arc<Target>,
    role: &'static str,
    live: tokio::sync::Mutex<Option<Arc<Live>>>,
}

impl Link {
    pub(super) fn new(target: Arc<Target>, role: &'static str) -> Link {
        Link { target, role, live: tokio::sync::Mutex::default() }
    }

    /// The open connection. Waits, and tries for as long as it takes, unless
    /// the broker refuses.
    pub(super) async fn live(&self) -> Result<Arc<Live>, BusFault> {
        let mut slot = self.live.lock().await;
        if let Some(live) = slot.as_ref().filter(|live| live.is_open()) {
            return Ok(Arc::clone(live));
        }
        *slot = None;
        let mut backoff = Backoff::default();
        let mut is_failing = false;
        loop {
            match self.target.open(self.role).await {
                Ok(connection) => {
                    if is_failing {
                        tracing::info!(connection = self.role, "connected to the broker again");
                    }
                    return Ok(Arc::clone(
                        slot.insert(Arc::new(Live::new(connection, self.role.to_owned()))),
                    ));
                }
                Err(Closed::Fault(fault)) => return Err(fault),
                Err(Closed::Unreachable(why)) => {
                    if !is_failing {
                        tracing::warn!(
                            connection = self.role,
                            "the broker can't be reached; it is tried again ({why})"
                        );
                    }
                    is_failing = true;
                    backoff.pause().await;
                }
            }
        }
    }

    /// Opens the connection unless it is open, in one attempt.
    pub(super) async fn open_once(&self) -> Result<(), BusFault> {
        let mut slot = self.live.lock().await;
        if slot.as_ref().is_none_or(|live| !live.is_open()) {
            let connection = self.target.open(self.role).await.map_err(|closed| match closed {
                Closed::Fault(fault) => fault,
                Closed::Unreachable(why) => BusFault::Unreachable(why),
            })?;
            *slot = Some(Arc::new(Live::new(connection, self.role.to_owned())));
        }
        Ok(())
    }
}

/// The next item of a stream that can be moved.
pub(super) async fn next<S: Stream + Unpin>(stream: &mut S) -> Option<S::Item> {
    std::future::poll_fn(|context| Pin::new(&mut *stream).poll_next(context)).await
}
