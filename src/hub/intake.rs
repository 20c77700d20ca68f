//! Intake: take a batch from the inbox, check it on all cores, record it, and
//! acknowledge it once it is on disk.
//!
//! Two stages: while one batch is being recorded, the next is being checked.

use crate::bus::{BatchLimits, Bus, Consumer, Delivery, INBOX};
use crate::hub::check::{Decoded, Received, Refused};
use crate::hub::world::World;
use crate::hub::{HubFault, Shared, record};
use crate::metrics::Stage;
use crate::tasks::{crunch_short, stopped};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

/// How often free disk space is looked at while there is too little.
const LOW_WATER_PAUSE: Duration = Duration::from_secs(1);
/// How many messages the bus may hand over before they are acknowledged.
const BATCHES_AHEAD: usize = 4;

/// How long what is recorded waits to be acknowledged together with what follows:
/// to a broker each acknowledgement is one more thing to make durable.
const ACKNOWLEDGED_AFTER: Duration = Duration::from_millis(20);

/// What is recorded and isn't acknowledged.
#[derive(Default)]
struct Unacknowledged {
    last_tag: Option<u64>,
    messages: usize,
    since: Option<Instant>,
}

impl Unacknowledged {
    fn add(&mut self, (last_tag, messages): (u64, usize)) {
        self.last_tag = Some(last_tag);
        self.messages += messages;
        self.since.get_or_insert_with(Instant::now);
    }

    /// Waits until it is time to acknowledge; for ever where there is nothing.
    async fn is_due(&self, many: usize) {
        match self.since {
            Some(since) if self.messages < many => tokio::time::sleep_until(since + ACKNOWLEDGED_AFTER).await,
            Some(_) => {}
            None => std::future::pending().await,
        }
    }

    /// Acknowledges all of it.
    async fn acknowledge(&mut self, consumer: &mut dyn Consumer) -> Result<(), HubFault> {
        match std::mem::take(self).last_tag {
            Some(tag) => Ok(consumer.ack(tag).await?),
            None => Ok(()),
        }
    }
}

/// A checked batch on its way to be recorded.
struct Checked {
    world: Arc<World>,
    batch: Vec<Result<Decoded, Refused>>,
    last_tag: u64,
}

/// Runs until `stop` says so, or the store fails.
pub(super) async fn run(
    shared: Arc<Shared>,
    bus: Arc<dyn Bus>,
    mut stop: watch::Receiver<bool>,
) -> Result<(), HubFault> {
    let prefetch = shared.limits.messages * BATCHES_AHEAD;
    let mut consumer = tokio::select! {
        consumer = bus.consume(INBOX, prefetch) => consumer?,
        () = stopped(&mut stop) => return Ok(()),
    };
    let (to_record, checked) = mpsc::channel(1);
    let (done, mut recorded) = mpsc::channel(8);
    let recording = tokio::spawn(record_all(Arc::clone(&shared), checked, done));
    let mut waiting = Unacknowledged::default();
    let taking = take_all(&shared, consumer.as_mut(), to_record, &mut recorded, &mut waiting, stop).await;
    // What was checked is still recorded and acknowledged.
    while let Some(batch) = recorded.recv().await {
        waiting.add(batch);
    }
    waiting.acknowledge(consumer.as_mut()).await?;
    recording.await.map_err(|_| HubFault::Stopped)??;
    taking
}

async fn take_all(
    shared: &Arc<Shared>,
    consumer: &mut dyn Consumer,
    to_record: mpsc::Sender<Checked>,
    recorded: &mut mpsc::Receiver<(u64, usize)>,
    waiting: &mut Unacknowledged,
    mut stop: watch::Receiver<bool>,
) -> Result<(), HubFault> {
    loop {
        shared.await_disk_space(LOW_WATER_PAUSE, &mut stop).await?;
        let deliveries = tokio::select! {
            biased;
            () = stopped(&mut stop) => return Ok(()),
            batch = recorded.recv() => {
                let Some(batch) = batch else { return Ok(()) };
                waiting.add(batch);
                continue;
            }
            () = waiting.is_due(shared.limits.messages) => {
                waiting.acknowledge(consumer).await?;
                continue;
            }
            deliveries = next(consumer, &shared.limits) => deliveries?,
        };
        let Some(last_tag) = deliveries.last().map(|d| d.tag) else { continue };
        shared.metrics.received.add(deliveries.len() as u64);
        let redelivered = deliveries.iter().filter(|d| d.redelivered).count();
        shared.metrics.redelivered.add(redelivered as u64);
        if redelivered > 0 {
            tracing::debug!(redelivered, "events came again whose acknowledgement wasn't written down");
        }
        let world = shared.world();
        let batch = check(shared, &world, deliveries).await;
        let mut parcel = Some(Checked { world, batch, last_tag });
        // Acknowledge while the recording stage is busy: it may be waiting for
        // a place to say what it has recorded.
        while let Some(checked) = parcel.take() {
            tokio::select! {
                permit = to_record.reserve() => match permit {
                    Ok(permit) => permit.send(checked),
                    // The recording stage ended, and says why when it is joined.
                    Err(_) => return Ok(()),
                },
                Some(batch) = recorded.recv() => {
                    waiting.add(batch);
                    parcel = Some(checked);
                }
                () = waiting.is_due(shared.limits.messages) => {
                    waiting.acknowledge(consumer).await?;
                    parcel = Some(checked);
                }
            }
        }
    }
}

async fn next(consumer: &mut dyn Consumer, limits: &BatchLimits) -> Result<Vec<Delivery>, HubFault> {
    Ok(consumer.next(limits).await?)
}

/// Checks a batch on all cores; the results are in its order.
pub(super) async fn check(
    shared: &Arc<Shared>,
    world: &Arc<World>,
    deliveries: Vec<Delivery>,
) -> Vec<Result<Decoded, Refused>> {
    let now = jiff::Timestamp::now();
    let checker = (Arc::clone(shared), Arc::clone(world));
    crunch_short(deliveries, move |share: Vec<Delivery>| {
        let (shared, world) = &checker;
        let count = share.len() as u64;
        let verified: Vec<_> = shared.metrics.stage(Stage::Verify).time(count, || {
            share.into_iter().map(|d| Received::new(d).verify(world, &shared.rules, now)).collect()
        });
        shared.metrics.stage(Stage::Decode).time(count, || {
            verified.into_iter().map(|verified| verified.and_then(|v| v.decode(world))).collect()
        })
    })
    .await
}

async fn record_all(
    shared: Arc<Shared>,
    mut checked: mpsc::Receiver<Checked>,
    done: mpsc::Sender<(u64, usize)>,
) -> Result<(), HubFault> {
    while let Some(Checked { world, batch, last_tag }) = checked.recv().await {
        let messages = batch.len();
        record::record(&shared, world, batch).await?;
        if done.send((last_tag, messages)).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}
