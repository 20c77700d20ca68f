//! The task that publishes what is decided for a recipient.

use crate::bus::{Bus, Confirm, DELIVERIES};
use crate::event::{MemberName, Message};
use crate::hub::decide::Settled;
use crate::hub::{HubFault, Shared};
use crate::metrics::Stage;
use crate::tasks::stopped_for;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};

/// How long a publishing may still take once the hub is told to stop.
const GRACE: Duration = Duration::from_secs(5);

/// What the publishing task has confirmed and the deciding task hasn't saved.
#[derive(Default)]
pub(super) struct Confirmed {
    /// The events before this index are confirmed.
    pub(super) upto: u64,
    /// So many messages after these are confirmed too.
    pub(super) more: usize,
    /// The batches that are wholly confirmed, by their first event, and when.
    pub(super) unsaved: Vec<(u64, i64)>,
}

/// Messages on their way from one task to the other.
pub(super) struct Parcel {
    messages: Vec<(String, Message)>,
    /// The first event of each batch that they are made of.
    batches: Vec<u64>,
    end: u64,
    _room: OwnedSemaphorePermit,
}

impl Parcel {
    pub(super) fn new(
        messages: Vec<(String, Message)>,
        decided: &[Settled],
        end: u64,
        room: OwnedSemaphorePermit,
    ) -> Parcel {
        let batches = decided.iter().filter(|d| d.row.messages > 0).map(|d| d.row.first).collect();
        Parcel { messages, batches, end, _room: room }
    }
}

/// Publishes a recipient's messages in order, and never leaves one out.
pub(super) struct Publisher {
    pub(super) shared: Arc<Shared>,
    pub(super) recipient: MemberName,
    pub(super) bus: Arc<dyn Bus>,
    pub(super) confirmed: Arc<Mutex<Confirmed>>,
    pub(super) stop: watch::Receiver<bool>,
    pub(super) erasing: watch::Receiver<u64>,
}

impl Publisher {
    /// Publishes what comes, in order. Returns false as soon as not all of it is
    /// confirmed: the rest is dropped, and has to come again.
    pub(super) async fn run(self, mut parcels: mpsc::Receiver<Parcel>) -> Result<bool, HubFault> {
        while let Some(Parcel { mut messages, batches, end, _room }) = parcels.recv().await {
            let before = self.confirmed.lock().unwrap_or_else(PoisonError::into_inner).more;
            // They come again with others that weren't confirmed.
            let known = before.min(messages.len());
            messages.drain(..known);
            let count = messages.len();
            let done = if count == 0 { 0 } else { self.publish(messages).await? };
            let at = jiff::Timestamp::now().as_millisecond();
            let mut confirmed = self.confirmed.lock().unwrap_or_else(PoisonError::into_inner);
            if done < count {
                confirmed.more = known + done;
                return Ok(false);
            }
            confirmed.more = before - known;
            confirmed.upto = end;
            confirmed.unsaved.extend(batches.into_iter().map(|first| (first, at)));
        }
        Ok(true)
    }

    /// Publishes messages. Returns how many of the first are confirmed.
    async fn publish(&self, messages: Vec<(String, Message)>) -> Result<usize, HubFault> {
        let started = Instant::now();
        let mut erasing = self.erasing.clone();
        let published = tokio::select! {
            published = self.bus.publish(DELIVERIES, messages) => published,
            // A broker that is away must not keep a hub from stopping.
            () = stopped_for(self.stop.clone(), GRACE) => return Ok(0),
            // What waits here may be of someone who is erased.
            _ = erasing.changed() => return Ok(0),
        };
        let done = match published {
            Ok(confirms) => confirms.iter().take_while(|c| matches!(c, Confirm::Accepted)).count(),
            Err(fault) => {
                self.shared.bus_failed(&self.recipient, &fault)?;
                0
            }
        };
        self.shared.metrics.stage(Stage::Publish).add(started.elapsed(), done as u64);
        self.shared.metrics.delivered.with(self.recipient.as_str()).add(done as u64);
        if done > 0 {
            self.shared.metrics.deliveries.note();
        }
        Ok(done)
    }
}
