//! The bus: what carries messages between members and the hub.
//!
//! [`Bus`] and [`Consumer`] are what the pipeline knows; [`embedded`] runs in
//! the hub's process, durable on its store. The topology and the behaviour are
//! those of WIRE.md section 7 on RabbitMQ.

pub mod embedded;

use crate::event::{MemberName, Message};
use crate::store::StoreFault;
use std::pin::Pin;
use std::time::Duration;

/// The exchange to which members publish their events.
pub const EVENTS: &str = "pirogue.events";

/// The exchange to which the hub publishes deliveries.
pub const DELIVERIES: &str = "pirogue.deliveries";

/// The queue of all that members publish.
pub const INBOX: &str = "pirogue.inbox";

/// The name of the user that is the hub.
pub const HUB: &str = "hub";

/// The name of the queue from which `member` receives.
pub fn queue_of(member: &MemberName) -> String {
    format!("pirogue.to.{member}")
}

/// A future in a box, as the methods of dyn-compatible traits return it.
pub type Fut<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What the broker says of a published message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confirm {
    /// It is in its queues, durably.
    Accepted,
    /// It wasn't taken, since a queue is full: send it again later.
    Nack,
    /// No queue is bound for its routing key, and nobody will get it.
    Returned,
}

/// Why the bus doesn't do what it was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum BusFault {
    /// The user may not do that, as RabbitMQ's permissions would say.
    #[error("the bus refuses: {0}")]
    Refused(String),
    /// There is no such exchange.
    #[error("there is no exchange {0}: see the topology in WIRE.md section 7")]
    NoExchange(String),
    /// There is no such queue.
    #[error("there is no queue {0}: add its member to the hub's members folder, and reload")]
    NoQueue(String),
    /// A delivery tag that this consumer wasn't given.
    #[error("the delivery tag {0} was never given to this consumer, which is a defect to report")]
    UnknownTag(u64),
    /// The store under the embedded bus failed.
    #[error(transparent)]
    Store(#[from] StoreFault),
}

/// One authenticated connection of a user to the bus.
pub trait Bus: Send + Sync {
    /// Publishes messages, each with its routing key, `mandatory`, and waits
    /// for the confirms, which come in the order of the messages.
    ///
    /// After the first [`Confirm::Nack`] nothing later in the batch is
    /// accepted, so that what is sent again is in order.
    fn publish<'a>(
        &'a self,
        exchange: &'a str,
        batch: Vec<(String, Message)>,
    ) -> Fut<'a, Result<Vec<Confirm>, BusFault>>;

    /// Consumes a queue with at most `prefetch` messages unacknowledged (0: no
    /// limit). The single active consumer gets the messages; the next one waits
    /// until it is dropped.
    fn consume<'a>(&'a self, queue: &'a str, prefetch: usize)
    -> Fut<'a, Result<Box<dyn Consumer>, BusFault>>;
}

/// A consumer of one queue. Dropping it gives back what it hasn't acknowledged,
/// in order.
pub trait Consumer: Send {
    /// Waits for a message, then up to `limits.linger` for more. Returns at
    /// least one, and no more than the limits or the prefetch allow; a single
    /// message may be over `limits.bytes`.
    ///
    /// While as many as the prefetch are unacknowledged it waits for ever: drop
    /// it and acknowledge. Dropping the future loses nothing.
    fn next<'a>(&'a mut self, limits: &'a BatchLimits) -> Fut<'a, Result<Vec<Delivery>, BusFault>>;

    /// Acknowledges everything unacknowledged with a tag up to and including
    /// `up_to`.
    fn ack<'a>(&'a mut self, up_to: u64) -> Fut<'a, Result<(), BusFault>>;

    /// Gives back everything unacknowledged with a tag of `from` or more, in
    /// order: it comes again next, with new tags, marked as redelivered.
    fn requeue<'a>(&'a mut self, from: u64) -> Fut<'a, Result<(), BusFault>>;
}

/// How many messages [`Consumer::next`] returns.
#[derive(Clone, Copy, Debug)]
pub struct BatchLimits {
    /// At most so many messages; 0 counts as 1.
    pub messages: usize,
    /// At most so many bytes of messages, about.
    pub bytes: usize,
    /// How long to wait for more after the first message.
    pub linger: Duration,
}

/// A message as a consumer gets it.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The delivery tag: each one of a consumer is greater than those before.
    pub tag: u64,
    /// Whether it may have been delivered before.
    pub redelivered: bool,
    /// The routing key with which it was published.
    pub routing_key: String,
    /// The message.
    pub message: Message,
}
