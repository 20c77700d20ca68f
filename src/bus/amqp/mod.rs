//! The bus on RabbitMQ, over AMQP 0-9-1: the only room that knows lapin.
//!
//! A [`Connection`] is two AMQP connections of the same user: one that
//! publishes, and one that consumes, so that acknowledgements still reach a
//! broker that stopped reading what is published to it. Both are opened again
//! by a loop of this room's own whenever they break, and so is each channel.
//! Nothing is ever declared: that is `pirogue provision`'s.
//!
//! **Publishing** waits while the broker is away or blocks the connection, and
//! then goes on with the first message that wasn't confirmed, in order. A
//! message whose confirm was lost is published again: at least once. Each
//! publishing has a channel of its own while it lasts, so that none waits for
//! another's confirms. Dropping the future leaves unknown what of it arrived;
//! the same batch again is in order.
//!
//! **Consuming** never loses a message: what wasn't acknowledged when a channel
//! broke comes again, marked as redelivered, and with new tags. The tags count
//! on over channels. An acknowledgement with a tag of a channel that is gone
//! does nothing, since there is nothing left to acknowledge. Giving back
//! (`requeue`) closes the channel and consumes again, which keeps the order of
//! a quorum queue with a single active consumer: so what comes *before* the tag
//! and isn't acknowledged until the next batch comes again too.
//!
//! What the broker refuses for good (a wrong password, a missing permission, no
//! such queue) is an error that says what to check, and isn't tried again.

mod configured;
mod consumer;
mod fault;
mod filter;
mod link;
mod mapping;
pub mod probe;
mod publish;
mod socket;
mod target;

pub(crate) use target::percent_decoded;
pub use target::{Login, Options, vhost_of};

use super::{Bus, BusFault, Confirm, Consumer, Fut};
use crate::event::Message;
use consumer::QueueConsumer;
use link::Link;
use publish::Publisher;
use std::sync::Arc;
use target::Target;

/// A user's connection to RabbitMQ.
pub struct Connection {
    target: Arc<Target>,
    publisher: Publisher,
    consuming: Arc<Link>,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("broker", &self.target.address()).finish_non_exhaustive()
    }
}

impl Connection {
    /// A connection to the broker at `url`,
    /// `amqp[s]://USER[:PASSWORD]@HOST[:PORT][/VHOST]`, which is opened when it
    /// is first used. Without a virtual host it is `pirogue`.
    ///
    /// Fails where the URL or the options can't be used.
    pub fn new(url: &str, options: Options) -> Result<Connection, BusFault> {
        let target = Arc::new(Target::parse(url, options)?);
        let publisher = Publisher::new(Link::new(Arc::clone(&target), "publishing"));
        let consuming = Arc::new(Link::new(Arc::clone(&target), "consuming"));
        Ok(Connection { target, publisher, consuming })
    }

    /// As [`Connection::new`], and opens the connection, in one attempt. Where
    /// the broker doesn't answer it fails with [`BusFault::Unreachable`].
    pub async fn connect(url: &str, options: Options) -> Result<Connection, BusFault> {
        let connection = Connection::new(url, options)?;
        connection.publisher.link().open_once().await?;
        Ok(connection)
    }

    /// How many messages are ready in a queue, which nobody has been given. The
    /// broker counts them when it is asked (a passive `queue.declare`), while the
    /// management API's counts are some seconds old.
    pub async fn ready(&self, queue: &str) -> Result<u64, BusFault> {
        self.publisher.ready(queue).await
    }

    /// The virtual host.
    pub fn vhost(&self) -> &str {
        &self.target.vhost
    }

    /// The broker's host and port.
    pub fn address(&self) -> String {
        self.target.address()
    }
}

impl Bus for Connection {
    fn publish<'a>(
        &'a self,
        exchange: &'a str,
        batch: Vec<(String, Message)>,
    ) -> Fut<'a, Result<Vec<Confirm>, BusFault>> {
        Box::pin(self.publisher.publish(exchange, batch))
    }

    fn consume<'a>(
        &'a self,
        queue: &'a str,
        prefetch: usize,
    ) -> Fut<'a, Result<Box<dyn Consumer>, BusFault>> {
        Box::pin(async move {
            let consumer = QueueConsumer::open(Arc::clone(&self.consuming), queue, prefetch).await?;
            Ok(Box::new(consumer) as Box<dyn Consumer>)
        })
    }
}
