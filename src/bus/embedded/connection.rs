//! A user's connection: what it may do, and publishing.

use super::Inner;
use super::consumer::QueueConsumer;
use super::queue::{Pending, Placed, Queue};
use super::record::{self, Entry};
use crate::bus::{Bus, BusFault, Confirm, Consumer, DELIVERIES, EVENTS, Fut, HUB, INBOX};
use crate::event::Message;
use crate::store::{StoreFault, Tx};
use std::sync::Arc;

/// A frame isn't made larger than this many bytes by another message, so that a
/// log can be read back in small parts.
const FRAME: usize = 1 << 20;

pub(super) struct Connection {
    broker: Arc<Inner>,
    user: String,
}

/// What of a batch goes to one queue.
struct Part {
    queue: Arc<Queue>,
    frames: Vec<Pending>,
}

impl Connection {
    pub(super) fn new(broker: Arc<Inner>, user: &str) -> Connection {
        Connection { broker, user: user.to_owned() }
    }

    fn queue_name(&self) -> String {
        format!("pirogue.to.{}", self.user)
    }

    fn refused<T>(&self, what: &str) -> Result<T, BusFault> {
        Err(BusFault::Refused(format!("the user {} may not {what}", self.user)))
    }

    /// The checks that RabbitMQ makes before it takes a message, with the
    /// permissions of WIRE.md section 7.
    fn check_publish(&self, exchange: &str, batch: &[(String, Message)]) -> Result<(), BusFault> {
        if exchange != EVENTS && exchange != DELIVERIES {
            return Err(BusFault::NoExchange(exchange.to_owned()));
        }
        if self.user != HUB {
            if exchange != EVENTS {
                return self.refused(&format!("publish to {exchange}"));
            }
            if self.broker.queue(&self.queue_name()).is_none() {
                return self.refused("publish: it is no member of this hub");
            }
        }
        for (routing_key, message) in batch {
            let own = routing_key.strip_prefix(self.user.as_str()).is_some_and(|rest| rest.starts_with('.'));
            if self.user != HUB && !own {
                return self.refused("publish with a routing key that doesn't begin with its name and a dot");
            }
            if message.user_id.as_ref().is_some_and(|id| *id != self.user) {
                return self.refused("publish with another one's user_id");
            }
        }
        Ok(())
    }

    /// The queue that the bindings give, if there is one.
    fn route(&self, exchange: &str, routing_key: &str) -> Option<Arc<Queue>> {
        if exchange == EVENTS {
            return self.broker.queue(INBOX);
        }
        let member = routing_key.split('.').next().unwrap_or_default();
        self.broker.queue(&format!("pirogue.to.{member}"))
    }

    /// Sorts a batch by queue, and takes room for each message in its own.
    fn sort(&self, exchange: &str, batch: Vec<(String, Message)>) -> (Vec<Part>, Vec<Confirm>) {
        let mut parts: Vec<Part> = Vec::new();
        let mut confirms = Vec::with_capacity(batch.len());
        // Where the messages of a batch go rarely changes from one to the next.
        let mut last: Option<(String, Option<usize>)> = None;
        let mut full = false;
        for (routing_key, message) in batch {
            if full {
                confirms.push(Confirm::Nack);
                continue;
            }
            let target = match &last {
                Some((key, target)) if *key == routing_key => *target,
                _ => {
                    let target = self.route(exchange, &routing_key).map(|queue| {
                        parts.iter().position(|part| Arc::ptr_eq(&part.queue, &queue)).unwrap_or_else(|| {
                            parts.push(Part { queue, frames: vec![Pending::default()] });
                            parts.len() - 1
                        })
                    });
                    last = Some((routing_key.clone(), target));
                    target
                }
            };
            let Some(target) = target else {
                confirms.push(Confirm::Returned);
                continue;
            };
            let accepted = parts[target].add(routing_key, message);
            full = !accepted;
            confirms.push(if accepted { Confirm::Accepted } else { Confirm::Nack });
        }
        for part in &mut parts {
            part.frames.retain(|frame| !frame.entries.is_empty());
        }
        parts.retain(|part| !part.frames.is_empty());
        (parts, confirms)
    }

    async fn publish_batch(
        &self,
        exchange: &str,
        batch: Vec<(String, Message)>,
    ) -> Result<Vec<Confirm>, BusFault> {
        self.check_publish(exchange, &batch)?;
        let (parts, confirms) = self.sort(exchange, batch);
        if parts.is_empty() {
            return Ok(confirms);
        }
        let unsaved = self.broker.acks.unsaved().clone();
        let commit = self.broker.store.commit(move |tx| {
            let written = write(tx, parts)?;
            unsaved.save(tx);
            tx.after(move || {
                for (part, placed) in written {
                    part.queue.arrive(placed, part.frames);
                }
            });
            Ok(())
        });
        commit.await?;
        Ok(confirms)
    }
}

/// Writes the parts of a batch in a commit: all of them, or none.
fn write(tx: &mut Tx, parts: Vec<Part>) -> Result<Vec<(Part, Vec<Placed>)>, StoreFault> {
    let mut written = Vec::with_capacity(parts.len());
    let mut failed = None;
    for part in &parts {
        match part.queue.write(tx, &part.frames) {
            Ok(placed) => written.push(placed),
            Err(fault) => {
                failed = Some(fault);
                break;
            }
        }
    }
    let Some(fault) = failed else {
        let placed = written.into_iter().map(|(placed, _)| placed);
        return Ok(parts.into_iter().zip(placed).collect());
    };
    for (part, (_, before)) in parts.iter().zip(written) {
        part.queue.rewind(before);
    }
    for part in &parts {
        let bytes = part.frames.iter().map(|frame| frame.content.len() as u64).sum();
        part.queue.release(bytes);
    }
    Err(fault)
}

impl Part {
    /// Adds a message, if there is room for it in the queue.
    fn add(&mut self, routing_key: String, message: Message) -> bool {
        if self.frames.last().is_none_or(|frame| frame.content.len() >= FRAME) {
            self.frames.push(Pending::default());
        }
        let Some(frame) = self.frames.last_mut() else { return false };
        let size = record::encode(&routing_key, &message, &mut frame.content);
        if !self.queue.reserve(size) {
            frame.content.truncate(frame.content.len() - size as usize);
            return false;
        }
        frame.entries.push(Entry { routing_key, message, size });
        true
    }
}

impl Bus for Connection {
    fn publish<'a>(
        &'a self,
        exchange: &'a str,
        batch: Vec<(String, Message)>,
    ) -> Fut<'a, Result<Vec<Confirm>, BusFault>> {
        Box::pin(self.publish_batch(exchange, batch))
    }

    fn consume<'a>(
        &'a self,
        queue: &'a str,
        prefetch: usize,
    ) -> Fut<'a, Result<Box<dyn Consumer>, BusFault>> {
        Box::pin(async move {
            if self.user != HUB && queue != self.queue_name() {
                return self.refused(&format!("consume {queue}"));
            }
            let Some(queue) = self.broker.queue(queue) else {
                return Err(BusFault::NoQueue(queue.to_owned()));
            };
            let consumer = QueueConsumer::new(self.broker.clone(), queue, prefetch);
            Ok(Box::new(consumer) as Box<dyn Consumer>)
        })
    }
}
