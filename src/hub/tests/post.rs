//! A bus in memory, as a broker in another process is to a hub: it stays when the
//! hub ends, and what wasn't acknowledged comes again.

use super::lock;
use crate::bus::{BatchLimits, Bus, BusFault, Confirm, Consumer, DELIVERIES, Delivery, Fut, INBOX};
use crate::event::Message;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use tokio::sync::Notify;

/// What the broker holds.
#[derive(Clone, Default)]
pub(super) struct Post(Arc<(Mutex<Held>, Notify)>);

#[derive(Default)]
struct Held {
    inbox: VecDeque<Waiting>,
    /// What the hub acknowledged, in order.
    acknowledged: Vec<Message>,
    /// What the hub published, in order.
    wire: Vec<Message>,
}

struct Waiting {
    routing_key: String,
    message: Message,
    redelivered: bool,
}

impl Post {
    /// Publishes events of a member, whose user the broker authenticated.
    pub(super) fn send(&self, events: Vec<(String, Message)>) {
        let (held, more) = &*self.0;
        let wait = |(routing_key, message)| Waiting { routing_key, message, redelivered: false };
        lock(held).inbox.extend(events.into_iter().map(wait));
        more.notify_one();
    }

    pub(super) fn acknowledged(&self) -> Vec<Message> {
        lock(&self.0.0).acknowledged.clone()
    }

    pub(super) fn wire(&self) -> Vec<Message> {
        lock(&self.0.0).wire.clone()
    }
}

impl Bus for Post {
    fn publish<'a>(
        &'a self,
        exchange: &'a str,
        batch: Vec<(String, Message)>,
    ) -> Fut<'a, Result<Vec<Confirm>, BusFault>> {
        Box::pin(async move {
            assert_eq!(exchange, DELIVERIES);
            let confirms = vec![Confirm::Accepted; batch.len()];
            lock(&self.0.0).wire.extend(batch.into_iter().map(|(_, message)| message));
            Ok(confirms)
        })
    }

    fn consume<'a>(
        &'a self,
        queue: &'a str,
        prefetch: usize,
    ) -> Fut<'a, Result<Box<dyn Consumer>, BusFault>> {
        Box::pin(async move {
            assert_eq!(queue, INBOX);
            let consumer = Inbox { post: self.clone(), prefetch, tag: 0, handed: VecDeque::new() };
            Ok(Box::new(consumer) as Box<dyn Consumer>)
        })
    }
}

struct Inbox {
    post: Post,
    prefetch: usize,
    tag: u64,
    /// What isn't acknowledged, with its tag.
    handed: VecDeque<(u64, Waiting)>,
}

impl Inbox {
    fn hand(&mut self, limits: &BatchLimits) -> Vec<Delivery> {
        let mut held = lock(&self.post.0.0);
        let mut deliveries = Vec::new();
        while deliveries.len() < limits.messages.max(1)
            && self.handed.len() < self.prefetch
            && let Some(waiting) = held.inbox.pop_front()
        {
            self.tag += 1;
            deliveries.push(Delivery {
                tag: self.tag,
                redelivered: waiting.redelivered,
                routing_key: waiting.routing_key.clone(),
                message: waiting.message.clone(),
            });
            self.handed.push_back((self.tag, waiting));
        }
        deliveries
    }
}

impl Consumer for Inbox {
    fn next<'a>(&'a mut self, limits: &'a BatchLimits) -> Fut<'a, Result<Vec<Delivery>, BusFault>> {
        Box::pin(async move {
            let post = self.post.clone();
            loop {
                let more = post.0.1.notified();
                let deliveries = self.hand(limits);
                if !deliveries.is_empty() {
                    return Ok(deliveries);
                }
                more.await;
            }
        })
    }

    fn ack<'a>(&'a mut self, up_to: u64) -> Fut<'a, Result<(), BusFault>> {
        Box::pin(async move {
            let done = self.handed.partition_point(|(tag, _)| *tag <= up_to);
            let done = self.handed.drain(..done).map(|(_, waiting)| waiting.message);
            lock(&self.post.0.0).acknowledged.extend(done);
            Ok(())
        })
    }

    fn requeue<'a>(&'a mut self, _: u64) -> Fut<'a, Result<(), BusFault>> {
        Box::pin(async move { Err(BusFault::Refused("a hub gives nothing back".to_owned())) })
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        let mut held = lock(&self.post.0.0);
        while let Some((_, waiting)) = self.handed.pop_back() {
            held.inbox.push_front(Waiting { redelivered: true, ..waiting });
        }
    }
}
