//! A consumer of a queue.

use super::Inner;
use super::queue::Queue;
use super::record::Entry;
use crate::bus::{BatchLimits, BusFault, Consumer, Delivery, Fut};
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout_at};

pub(super) struct QueueConsumer {
    broker: Arc<Inner>,
    queue: Arc<Queue>,
    /// There when this is the active consumer.
    active: Option<OwnedSemaphorePermit>,
    prefetch: usize,
    /// The tag and the size of each message that isn't acknowledged, in order.
    outstanding: VecDeque<(u64, u32)>,
    outstanding_first: u64,
    last_tag: u64,
    /// The generation of the logs that they were read from.
    generation: u64,
    /// Messages taken from the queue and not given out yet; they follow the
    /// outstanding ones.
    staged: VecDeque<Entry>,
}

impl QueueConsumer {
    /// A consumer, the active one if there is none.
    pub(super) fn new(broker: Arc<Inner>, queue: Arc<Queue>, prefetch: usize) -> QueueConsumer {
        let mut consumer = QueueConsumer {
            broker,
            active: None,
            prefetch: if prefetch == 0 { usize::MAX } else { prefetch },
            outstanding: VecDeque::new(),
            outstanding_first: 0,
            last_tag: 0,
            generation: 0,
            staged: VecDeque::new(),
            queue,
        };
        if let Ok(permit) = consumer.queue.active.clone().try_acquire_owned() {
            consumer.activate(permit);
        }
        consumer
    }

    fn activate(&mut self, permit: OwnedSemaphorePermit) {
        self.queue.begin();
        self.outstanding_first = self.queue.acked();
        self.generation = self.queue.generation();
        self.active = Some(permit);
    }

    async fn next_batch(&mut self, limits: &BatchLimits) -> Result<Vec<Delivery>, BusFault> {
        if self.active.is_none() {
            // The semaphore is never closed.
            match self.queue.active.clone().acquire_owned().await {
                Ok(permit) => self.activate(permit),
                Err(_) => return Ok(std::future::pending().await),
            }
        }
        let most = limits.messages.clamp(1, self.prefetch);
        let room = self.prefetch - self.outstanding.len().min(self.prefetch);
        if room == 0 {
            return Ok(std::future::pending().await);
        }
        let most = most.min(room);
        let mut deadline = None;
        loop {
            let (count, is_full) = self.stage(most, limits.bytes)?;
            if is_full || (count > 0 && limits.linger.is_zero()) {
                return Ok(self.give(count));
            }
            let more = self.queue.arrived.notified();
            if count == 0 {
                more.await;
            } else {
                let deadline = *deadline.get_or_insert_with(|| Instant::now() + limits.linger);
                if timeout_at(deadline, more).await.is_err() {
                    let (count, _) = self.stage(most, limits.bytes)?;
                    return Ok(self.give(count));
                }
            }
        }
    }

    /// Stages messages until a batch is full or the queue has no more. Returns
    /// how many of the staged ones make the batch, and whether it is full.
    fn stage(&mut self, most: usize, most_bytes: usize) -> Result<(usize, bool), BusFault> {
        self.follow();
        let (mut count, mut bytes) = (0, 0);
        loop {
            while let Some(entry) = self.staged.get(count) {
                bytes += entry.size as usize;
                if count > 0 && bytes > most_bytes {
                    return Ok((count, true));
                }
                count += 1;
                if count == most || bytes >= most_bytes {
                    return Ok((count, true));
                }
            }
            match self.queue.take(&self.broker.store, &mut self.staged) {
                Ok(true) => {}
                Ok(false) => return Ok((count, false)),
                // The log that it reads was written anew meanwhile.
                Err(_) if self.follow() => (count, bytes) = (0, 0),
                Err(fault) => return Err(fault.into()),
            }
        }
    }

    /// Goes by the queue's logs as they are now. Returns whether some were written
    /// anew.
    fn follow(&mut self) -> bool {
        if self.active.is_none() || self.queue.generation() == self.generation {
            return false;
        }
        let (generation, resized) = self.queue.resized();
        for (position, size) in resized.range(self.outstanding_first..) {
            if let Some(known) = self.outstanding.get_mut((position - self.outstanding_first) as usize) {
                known.1 = *size;
            }
        }
        self.generation = generation;
        self.staged.clear();
        self.queue.put_back(self.outstanding_first + self.outstanding.len() as u64);
        true
    }

    /// Gives out the first `count` staged messages.
    fn give(&mut self, count: usize) -> Vec<Delivery> {
        let first = self.outstanding_first + self.outstanding.len() as u64;
        let delivered_before = self.queue.deliver(first + count as u64);
        let mut batch = Vec::with_capacity(count);
        for (position, entry) in (first..).zip(self.staged.drain(..count)) {
            self.last_tag += 1;
            self.outstanding.push_back((self.last_tag, entry.size));
            batch.push(Delivery {
                tag: self.last_tag,
                redelivered: position < delivered_before,
                routing_key: entry.routing_key,
                message: entry.message,
            });
        }
        batch
    }

    fn known(&self, tag: u64) -> Result<(), BusFault> {
        if (1..=self.last_tag).contains(&tag) { Ok(()) } else { Err(BusFault::UnknownTag(tag)) }
    }

    fn ack_now(&mut self, up_to: u64) -> Result<(), BusFault> {
        self.known(up_to)?;
        let count = self.outstanding.partition_point(|(tag, _)| *tag <= up_to);
        if count > 0 {
            let bytes =
                |of: &VecDeque<(u64, u32)>| of.iter().take(count).map(|(_, size)| u64::from(*size)).sum();
            while !self.queue.ack(self.generation, count as u64, bytes(&self.outstanding)) {
                self.follow();
            }
            self.outstanding.drain(..count);
            self.outstanding_first += count as u64;
            self.broker.acks.mark(&self.queue, count as u64);
        }
        Ok(())
    }

    fn requeue_now(&mut self, from: u64) -> Result<(), BusFault> {
        self.known(from)?;
        let kept = self.outstanding.partition_point(|(tag, _)| *tag < from);
        if kept < self.outstanding.len() {
            self.outstanding.truncate(kept);
            self.staged.clear();
            self.queue.put_back(self.outstanding_first + kept as u64);
        }
        Ok(())
    }
}

impl Consumer for QueueConsumer {
    fn next<'a>(&'a mut self, limits: &'a BatchLimits) -> Fut<'a, Result<Vec<Delivery>, BusFault>> {
        Box::pin(self.next_batch(limits))
    }

    fn ack<'a>(&'a mut self, up_to: u64) -> Fut<'a, Result<(), BusFault>> {
        Box::pin(std::future::ready(self.ack_now(up_to)))
    }

    fn requeue<'a>(&'a mut self, from: u64) -> Fut<'a, Result<(), BusFault>> {
        Box::pin(std::future::ready(self.requeue_now(from)))
    }
}

impl Drop for QueueConsumer {
    fn drop(&mut self) {
        if self.active.is_some() {
            self.queue.end();
        }
    }
}
