//! Publishing: a window of messages in flight, confirms in order.

use super::fault::{Cause, Doing, cause};
use super::link::{Backoff, Link, Live};
use super::mapping;
use crate::bus::{BusFault, Confirm};
use crate::event::Message;
use lapin::message::BasicReturnMessage;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions};
use lapin::types::{FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Confirmation, PublisherConfirm};
use std::collections::{HashSet, VecDeque};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use tokio::sync::Semaphore;

/// How many publishings go on at once, each on a channel: brokers allow 2,047
/// channels a connection unless set otherwise.
const CHANNELS: usize = 1000;

/// What publishes on one connection.
pub(super) struct Publisher {
    link: Link,
    channels: Semaphore,
    /// Where the last publishing ended with a nack: exchange, and the first
    /// word of the routing key.
    refused: Mutex<HashSet<(String, String)>>,
}

/// A message that is ready to be sent.
struct Prepared {
    routing_key: ShortString,
    /// Until the message is sent: lapin takes them, and a copy of a table costs as
    /// much as making it.
    properties: Mutex<Option<BasicProperties>>,
    message: Message,
}

impl Prepared {
    fn new(routing_key: &str, message: Message) -> Result<Prepared, BusFault> {
        let routing_key = mapping::short("routing key", routing_key)?;
        let properties = Mutex::new(Some(mapping::properties(&message)?));
        Ok(Prepared { routing_key, properties, message })
    }

    /// The properties. They are made again for a message that is sent again.
    fn properties(&self) -> BasicProperties {
        // What was made once can be made again.
        let made = self.properties.lock().unwrap_or_else(PoisonError::into_inner).take();
        made.or_else(|| mapping::properties(&self.message).ok()).unwrap_or_default()
    }
}

impl Publisher {
    pub(super) fn new(link: Link) -> Publisher {
        Publisher { link, channels: Semaphore::new(CHANNELS), refused: Mutex::default() }
    }

    pub(super) fn link(&self) -> &Link {
        &self.link
    }

    /// Publishes a batch, as [`crate::bus::Bus::publish`] says.
    pub(super) async fn publish(
        &self,
        exchange: &str,
        batch: Vec<(String, Message)>,
    ) -> Result<Vec<Confirm>, BusFault> {
        let exchange_name = mapping::short("exchange", exchange)?;
        let prepare = |(routing_key, message): (String, Message)| Prepared::new(&routing_key, message);
        let batch = batch.into_iter().map(prepare).collect::<Result<Vec<_>, BusFault>>()?;
        let Some(first) = batch.first() else { return Ok(Vec::new()) };
        let word = first.routing_key.as_str().split('.').next().unwrap_or_default();
        let place = (exchange.to_owned(), word.to_owned());
        let was_refused = self.refused().contains(&place);

        // The semaphore is never closed.
        let _permit = self.channels.acquire().await.ok();
        let mut confirms = Vec::with_capacity(batch.len());
        if was_refused {
            // What follows a nack can overtake it, where the queue takes
            // messages again meanwhile. So the first goes alone.
            self.send(&exchange_name, &batch[..1], &mut confirms).await?;
        }
        if !confirms.contains(&Confirm::Nack) {
            self.send(&exchange_name, &batch, &mut confirms).await?;
        }
        match confirms.iter().position(|confirm| *confirm == Confirm::Nack) {
            Some(nack) => {
                confirms.truncate(nack);
                confirms.resize(batch.len(), Confirm::Nack);
                self.refused().insert(place);
            }
            None => drop(self.refused().remove(&place)),
        }
        Ok(confirms)
    }

    /// How many messages are ready in `queue`. Waits while the broker is away.
    pub(super) async fn ready(&self, queue: &str) -> Result<u64, BusFault> {
        let name = mapping::short("queue", queue)?;
        let _permit = self.channels.acquire().await.ok();
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let mut backoff = Backoff::default();
        loop {
            let error = match self.lease().await {
                Ok(lease) => {
                    let asked = lease.channel.queue_declare(name.clone(), options, FieldTable::default());
                    match asked.await {
                        Ok(queue) => {
                            lease.end(After::GiveBack);
                            return Ok(queue.message_count().into());
                        }
                        Err(error) => error,
                    }
                }
                Err(Ok(error)) => error,
                Err(Err(fault)) => return Err(fault),
            };
            if let Cause::Fault(fault) = cause(&error, Doing::Consuming(queue)) {
                return Err(fault);
            }
            backoff.pause().await;
        }
    }

    fn refused(&self) -> std::sync::MutexGuard<'_, HashSet<(String, String)>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends what of `batch` has no confirm yet, on as many connections as it
    /// takes, until all of it has or one is a nack.
    async fn send(
        &self,
        exchange: &ShortString,
        batch: &[Prepared],
        confirms: &mut Vec<Confirm>,
    ) -> Result<(), BusFault> {
        let mut backoff = None;
        while confirms.len() < batch.len() && !confirms.contains(&Confirm::Nack) {
            let before = confirms.len();
            let lease = self.lease().await;
            let error = match lease {
                Ok(lease) => {
                    let window = self.link.target.window();
                    let mut flight = Flight::new(&lease.channel, exchange, &batch[before..], window);
                    let sent = flight.run().await;
                    confirms.extend(flight.confirms());
                    match sent {
                        Ok(()) => {
                            let has_nack = flight.has_nack;
                            drop(flight);
                            lease.end(if has_nack { After::Close } else { After::GiveBack });
                            continue;
                        }
                        Err(error) => error,
                    }
                }
                Err(Ok(error)) => error,
                Err(Err(fault)) => return Err(fault),
            };
            match cause(&error, Doing::Publishing(exchange.as_str())) {
                Cause::Fault(fault) => return Err(fault),
                Cause::Broken(why) => {
                    tracing::debug!(
                        unconfirmed = batch.len() - confirms.len(),
                        "publishing broke off and begins again with the first unconfirmed message ({why})"
                    );
                }
            }
            if confirms.len() > before {
                backoff = None;
            }
            // The first try after a success is at once: the broker may be fine.
            match &mut backoff {
                None => backoff = Some(Backoff::default()),
                Some(backoff) => backoff.pause().await,
            }
        }
        Ok(())
    }

    /// A channel with confirms: one that is idle, or a new one.
    async fn lease(&self) -> Result<Lease, Result<lapin::Error, BusFault>> {
        let live = self.link.live().await.map_err(Err)?;
        let channel = match live.idle() {
            Some(channel) => channel,
            None => {
                let channel = live.channel().await.map_err(Ok)?;
                channel.confirm_select(ConfirmSelectOptions::default()).await.map_err(Ok)?;
                channel
            }
        };
        Ok(Lease { live, channel, after: After::Await })
    }
}

/// What becomes of a channel after its use.
#[derive(Clone, Copy)]
enum After {
    /// A publishing on it was dropped: it is used again once all is confirmed.
    Await,
    /// Nothing is under way on it: it is used again.
    GiveBack,
    /// It isn't used again. RabbitMQ 3.10 looks a quorum queue's leader up once
    /// for a channel: where that is on a node that is lost, the channel refuses
    /// what is published for as long as it is there, and a new one doesn't.
    Close,
}

/// A channel in use.
struct Lease {
    live: Arc<Live>,
    channel: Channel,
    after: After,
}

impl Lease {
    /// Ends the use of the channel.
    fn end(mut self, after: After) {
        self.after = after;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let (live, channel, after) = (Arc::clone(&self.live), self.channel.clone(), self.after);
        if matches!(after, After::GiveBack) {
            live.give_back(channel);
        } else if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                match after {
                    After::Close => drop(channel.close(200, "OK".into()).await),
                    // lapin sends the close of a channel before what waits to be
                    // published on it, which the broker answers by closing the
                    // connection. So it stays open until all is confirmed.
                    _ => {
                        if channel.wait_for_confirms().await.is_ok() {
                            live.give_back(channel);
                        }
                    }
                }
            });
        }
    }
}

type Writing<'a> = Pin<Box<dyn Future<Output = lapin::Result<PublisherConfirm>> + Send + 'a>>;

/// A message on its way.
enum Step<'a> {
    Writing(Writing<'a>),
    Waiting(PublisherConfirm),
}

impl Step<'_> {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<lapin::Result<Confirmation>> {
        loop {
            match self {
                Step::Writing(writing) => match writing.as_mut().poll(context) {
                    Poll::Ready(Ok(confirm)) => *self = Step::Waiting(confirm),
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => return Poll::Pending,
                },
                Step::Waiting(confirm) => return Pin::new(confirm).poll(context),
            }
        }
    }
}

/// Messages on one channel: sent in order, their confirms awaited in order.
struct Flight<'a> {
    channel: &'a Channel,
    exchange: &'a ShortString,
    batch: &'a [Prepared],
    window: usize,
    steps: VecDeque<Step<'a>>,
    sent: usize,
    /// The confirms so far, in order; those that are returned aren't known yet.
    done: Vec<Confirm>,
    returned: Vec<BasicReturnMessage>,
    has_nack: bool,
}

impl<'a> Flight<'a> {
    fn new(channel: &'a Channel, exchange: &'a ShortString, batch: &'a [Prepared], window: usize) -> Self {
        let steps = VecDeque::with_capacity(window.min(batch.len()));
        let done = Vec::with_capacity(batch.len());
        Flight {
            channel,
            exchange,
            batch,
            window,
            steps,
            sent: 0,
            done,
            returned: Vec::new(),
            has_nack: false,
        }
    }

    /// Sends until all is confirmed. After a nack nothing more is sent, and
    /// what is in flight is awaited.
    async fn run(&mut self) -> lapin::Result<()> {
        let ended = std::future::poll_fn(|context| self.poll(context)).await;
        if ended.is_err() {
            self.collect_returned();
        }
        ended
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<lapin::Result<()>> {
        loop {
            while self.steps.len() < self.window && self.sent < self.batch.len() && !self.has_nack {
                let mut step = self.start(self.sent);
                // The first poll hands the message to lapin: what is polled in
                // order is sent in order. What has ended isn't polled again.
                match step.as_mut().poll(context) {
                    Poll::Ready(Ok(confirm)) => self.steps.push_back(Step::Waiting(confirm)),
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => self.steps.push_back(Step::Writing(step)),
                }
                self.sent += 1;
            }
            let Some(step) = self.steps.front_mut() else { return Poll::Ready(Ok(())) };
            match step.poll(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(ended) => {
                    self.steps.pop_front();
                    match ended {
                        Ok(confirmation) => self.settle(confirmation),
                        Err(error) => return Poll::Ready(Err(error)),
                    }
                }
            }
        }
    }

    fn start(&self, nth: usize) -> Writing<'a> {
        let prepared = &self.batch[nth];
        let options = BasicPublishOptions { mandatory: true, immediate: false };
        Box::pin(self.channel.basic_publish(
            self.exchange.clone(),
            prepared.routing_key.clone(),
            options,
            &prepared.message.body,
            prepared.properties(),
        ))
    }

    fn settle(&mut self, confirmation: Confirmation) {
        match confirmation {
            Confirmation::Ack(returned) => {
                self.returned.extend(returned);
                self.done.push(Confirm::Accepted);
            }
            // Without confirms nothing is known, which isn't success.
            Confirmation::Nack(_) | Confirmation::NotRequested => {
                self.has_nack = true;
                self.done.push(Confirm::Nack);
            }
        }
    }

    /// Takes the returned messages out of confirms that came and weren't
    /// awaited, after an error.
    fn collect_returned(&mut self) {
        let mut context = Context::from_waker(std::task::Waker::noop());
        for mut step in self.steps.drain(..) {
            if let Poll::Ready(Ok(Confirmation::Ack(Some(returned)))) = step.poll(&mut context) {
                self.returned.push(returned);
            }
        }
    }

    /// The confirms so far. lapin hands out a returned message with any of the
    /// confirms that one frame brought, so each is looked for here by what it
    /// is.
    fn confirms(&mut self) -> Vec<Confirm> {
        let mut done = std::mem::take(&mut self.done);
        for returned in self.returned.drain(..) {
            let is_it = |prepared: &Prepared| {
                prepared.routing_key == returned.routing_key
                    && prepared.message.message_id.as_deref()
                        == returned.properties.message_id().as_ref().map(|id| id.as_str())
                    && prepared.message.body == returned.data
            };
            let sent = done.iter_mut().zip(self.batch);
            let mut of_it =
                sent.filter(|(confirm, prepared)| **confirm == Confirm::Accepted && is_it(prepared));
            if let Some((confirm, _)) = of_it.next() {
                *confirm = Confirm::Returned;
            }
        }
        done
    }
}
