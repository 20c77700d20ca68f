//! A consumer of a queue.

use super::fault::{Cause, Doing, cause};
use super::link::{Backoff, Link, Live, next};
use super::mapping;
use crate::bus::{BatchLimits, BusFault, Consumer, Delivery, Fut};
use lapin::Channel;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::time::{Instant, timeout_at};

/// A consumer's channel, and what comes on it.
struct Subscription {
    channel: Channel,
    stream: Option<lapin::Consumer>,
    _live: Arc<Live>,
}

/// A quorum queue with a single active consumer keeps its order when a channel
/// closes, and not when its consumer is cancelled, which dropping a
/// [`lapin::Consumer`] does. So the channel is closed first.
impl Drop for Subscription {
    fn drop(&mut self) {
        let (channel, stream) = (self.channel.clone(), self.stream.take());
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                let _ = channel.close(200, "OK".into()).await;
                drop(stream);
            });
        }
    }
}

type Opening = Fut<'static, Result<Subscription, BusFault>>;

pub(super) struct QueueConsumer {
    link: Arc<Link>,
    queue: Arc<str>,
    prefetch: u16,
    subscription: Option<Subscription>,
    /// Kept over calls, so that nothing is left half open where one is dropped.
    opening: Option<Opening>,
    backoff: Backoff,
    /// Tags count on over channels: what is added to those of this one.
    base: u64,
    /// The last tag that was given out.
    given: u64,
    /// The last tag of this channel that was acknowledged.
    acked: u64,
    /// Everything from this tag on is to be given back.
    requeued: Option<u64>,
    /// What came and wasn't given out, with the size of each.
    staged: VecDeque<(Delivery, usize)>,
}

impl QueueConsumer {
    /// Consumes `queue`; fails where the broker refuses, or has no such queue.
    pub(super) async fn open(
        link: Arc<Link>,
        queue: &str,
        prefetch: usize,
    ) -> Result<QueueConsumer, BusFault> {
        mapping::short("queue", queue)?;
        let mut consumer = QueueConsumer {
            link,
            queue: queue.into(),
            prefetch: u16::try_from(prefetch).unwrap_or(u16::MAX),
            subscription: None,
            opening: None,
            backoff: Backoff::default(),
            base: 0,
            given: 0,
            acked: 0,
            requeued: None,
            staged: VecDeque::new(),
        };
        consumer.subscribe().await?;
        Ok(consumer)
    }

    async fn subscribe(&mut self) -> Result<(), BusFault> {
        if self.subscription.is_some() {
            return Ok(());
        }
        let opening = self.opening.get_or_insert_with(|| {
            Box::pin(subscribe(Arc::clone(&self.link), Arc::clone(&self.queue), self.prefetch))
        });
        let opened = opening.as_mut().await;
        self.opening = None;
        self.subscription = Some(opened?);
        self.base = self.given;
        self.acked = self.given;
        self.requeued = None;
        Ok(())
    }

    /// Forgets the channel, and what it brought: the broker gives it again.
    fn unsubscribe(&mut self) {
        self.subscription = None;
        self.staged.clear();
    }

    /// Waits for a message and stages it. Returns false where the channel
    /// broke.
    async fn receive(&mut self) -> Result<bool, BusFault> {
        let Some(stream) = self.subscription.as_mut().and_then(|open| open.stream.as_mut()) else {
            return Ok(false);
        };
        let why = match next(stream).await {
            Some(Ok(delivery)) => {
                let size = delivery.data.len();
                let message = mapping::message(&delivery.properties, delivery.data);
                let size = size + message.headers_size();
                let delivery = Delivery {
                    tag: self.base + delivery.delivery_tag,
                    redelivered: delivery.redelivered,
                    routing_key: delivery.routing_key.into(),
                    message,
                };
                self.staged.push_back((delivery, size));
                return Ok(true);
            }
            Some(Err(error)) => match cause(&error, Doing::Consuming(&self.queue)) {
                Cause::Fault(fault) => {
                    self.unsubscribe();
                    return Err(fault);
                }
                Cause::Broken(why) => why,
            },
            None => "the broker ended it".to_owned(),
        };
        tracing::debug!(queue = &*self.queue, "consuming broke off and begins again ({why})");
        self.unsubscribe();
        Ok(false)
    }

    async fn next_batch(&mut self, limits: &BatchLimits) -> Result<Vec<Delivery>, BusFault> {
        let most = limits.messages.max(1);
        if self.requeued.is_some() {
            self.unsubscribe();
        }
        'again: loop {
            self.subscribe().await?;
            if self.staged.is_empty() && !self.receive().await? {
                // A queue can be there again before it can be consumed.
                self.backoff.pause().await;
                continue;
            }
            let deadline = Instant::now() + limits.linger;
            let (mut count, mut bytes) = (0, 0);
            loop {
                while let Some((_, size)) = self.staged.get(count) {
                    if count > 0 && bytes + size > limits.bytes {
                        return Ok(self.give(count));
                    }
                    (count, bytes) = (count + 1, bytes + size);
                    if count == most || bytes >= limits.bytes {
                        return Ok(self.give(count));
                    }
                }
                match timeout_at(deadline, self.receive()).await {
                    Ok(Ok(true)) => {}
                    Ok(Ok(false)) => continue 'again,
                    Ok(Err(fault)) => return Err(fault),
                    Err(_) => return Ok(self.give(count)),
                }
            }
        }
    }

    fn give(&mut self, count: usize) -> Vec<Delivery> {
        self.backoff = Backoff::default();
        let batch: Vec<Delivery> = self.staged.drain(..count).map(|(delivery, _)| delivery).collect();
        if let Some(last) = batch.last() {
            self.given = last.tag;
        }
        batch
    }

    fn known(&self, tag: u64) -> Result<(), BusFault> {
        if (1..=self.given).contains(&tag) { Ok(()) } else { Err(BusFault::UnknownTag(tag)) }
    }

    async fn ack_now(&mut self, up_to: u64) -> Result<(), BusFault> {
        self.known(up_to)?;
        let up_to = self.requeued.map_or(up_to, |from| up_to.min(from - 1));
        let Some(open) = &self.subscription else { return Ok(()) };
        // The tag of a channel that is gone, or one that was acknowledged.
        if up_to <= self.acked {
            return Ok(());
        }
        self.acked = up_to;
        // Where this fails the channel broke: the messages come again.
        let _ = open.channel.basic_ack(up_to - self.base, BasicAckOptions { multiple: true }).await;
        Ok(())
    }

    fn requeue_now(&mut self, from: u64) -> Result<(), BusFault> {
        self.known(from)?;
        // The channel is closed with the next batch, so that what comes before
        // can still be acknowledged.
        self.requeued = Some(self.requeued.map_or(from, |before| before.min(from)));
        self.staged.clear();
        Ok(())
    }
}

async fn subscribe(link: Arc<Link>, queue: Arc<str>, prefetch: u16) -> Result<Subscription, BusFault> {
    let mut backoff = Backoff::default();
    loop {
        let error = match try_subscribe(&link, &queue, prefetch).await? {
            Ok(subscription) => return Ok(subscription),
            Err(error) => error,
        };
        match cause(&error, Doing::Consuming(&queue)) {
            Cause::Fault(fault) => return Err(fault),
            Cause::Broken(why) => {
                tracing::debug!(
                    queue = &*queue,
                    "the queue can't be consumed yet; it is tried again ({why})"
                );
            }
        }
        backoff.pause().await;
    }
}

async fn try_subscribe(
    link: &Link,
    queue: &str,
    prefetch: u16,
) -> Result<lapin::Result<Subscription>, BusFault> {
    let live = link.live().await?;
    let channel = match live.channel().await {
        Ok(channel) => channel,
        Err(error) => return Ok(Err(error)),
    };
    let mut subscription = Subscription { channel, stream: None, _live: live };
    let channel = &subscription.channel;
    let consumed = async {
        channel.basic_qos(prefetch, BasicQosOptions { global: false }).await?;
        let options = BasicConsumeOptions::default();
        // A queue's name was found short enough when the consumer was opened.
        channel.basic_consume(queue.into(), "".into(), options, FieldTable::default()).await
    };
    Ok(match consumed.await {
        Ok(stream) => {
            subscription.stream = Some(stream);
            Ok(subscription)
        }
        Err(error) => Err(error),
    })
}

impl Consumer for QueueConsumer {
    fn next<'a>(&'a mut self, limits: &'a BatchLimits) -> Fut<'a, Result<Vec<Delivery>, BusFault>> {
        Box::pin(self.next_batch(limits))
    }

    fn ack<'a>(&'a mut self, up_to: u64) -> Fut<'a, Result<(), BusFault>> {
        Box::pin(self.ack_now(up_to))
    }

    fn requeue<'a>(&'a mut self, from: u64) -> Fut<'a, Result<(), BusFault>> {
        Box::pin(std::future::ready(self.requeue_now(from)))
    }
}
