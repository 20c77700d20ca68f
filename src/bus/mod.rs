//! The bus: what carries messages between members and the hub.
//!
//! [`Bus`] and [`Consumer`] are what the pipeline knows; [`embedded`] runs in
//! the hub's process, durable on its store, and [`amqp`] is RabbitMQ, which
//! [`manage`] sets up. The topology and the behaviour are those of WIRE.md section 7.

pub mod amqp;
pub mod certificate;
pub mod embedded;
pub mod manage;
mod tls;

pub use tls::Tls;

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
    /// The broker doesn't answer. Only connecting for the first time says so.
    #[error("the broker can't be reached at {0}: check that it runs, the address and the network")]
    Unreachable(String),
    /// An address, or what belongs to it, can't be used.
    #[error("the broker's address or its TLS files can't be used: {0}")]
    Address(String),
    /// A message that AMQP can't carry.
    #[error("a message can't be published: {0}")]
    Unpublishable(String),
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
    /// accepted, so that what is sent again is in order. It may have arrived
    /// all the same, where the broker took it before the nack was known.
    ///
    /// On a broker in another process it waits for as long as that is away or
    /// takes no messages, and a message can be published twice; an error is
    /// for someone to mend. Dropping the future leaves unknown what of the
    /// batch was published: publish it again, in the same order.
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
    /// `up_to`. Does nothing with the tag of a message that was given back, or
    /// that comes again since the connection broke.
    fn ack<'a>(&'a mut self, up_to: u64) -> Fut<'a, Result<(), BusFault>>;

    /// Gives back everything unacknowledged with a tag of `from` or more, in
    /// order: it comes again next, with new tags, marked as redelivered. On
    /// RabbitMQ, what comes before it and isn't acknowledged when the next
    /// batch is asked for comes again as well.
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
