//! Recorded events: what a commit made durable, as batches.
//!
//! On disk a batch is one row (which events, of which classes, where in which
//! segment), a run of sealed messages in a segment and a run of slots. In
//! memory it is a [`RecordedBatch`], the same whether it was just recorded or
//! read back.

use crate::event::{Attributes, EventType, MemberName, Message};
use crate::hub::world::InForce;
use crate::hub::{HubFault, Shared, runs};
use crate::journal::{self, Name};
use crate::seal::{self, EventKey, Kek};
use crate::store::{Store, StoreFault};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use tokio::sync::watch;

/// The log that holds one wrapped key an event.
pub(super) const SLOTS_LOG: &str = "slots/slots";
/// The bytes of a slot.
pub(super) const SLOT: u64 = 32;

/// About how much memory a recorded event takes beside twice its message: its
/// attributes, one by one.
pub(super) const EVENT_BYTES: usize = 512;

/// Who an event is from or for, and what it is. Events of one class are decided
/// alike.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Class {
    /// The publisher; none for the hub's own messages.
    pub publisher: Option<MemberName>,
    /// Whom the hub's own message is for; none for a member's event.
    pub addressee: Option<MemberName>,
    /// The type.
    pub event_type: EventType,
    /// The schema's version.
    pub version: u32,
}

/// The row of a batch.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct BatchRow {
    /// When it was recorded, in milliseconds since 1970.
    pub at: i64,
    /// The set of agreements in force then.
    pub set: u32,
    /// The segment's log; empty once its days are over.
    pub segment: String,
    /// Where its first sealed message begins.
    pub offset: u64,
    /// The classes of its events.
    pub classes: Vec<Class>,
    /// Each event's class and the length of its sealed message.
    #[serde(with = "runs")]
    pub events: Vec<(u16, u32)>,
    /// The keys that signed them, by thumbprint; empty is the hub's own.
    pub kids: Vec<String>,
    /// Each event's key, an index into `kids`.
    #[serde(with = "runs")]
    pub signed: Vec<u16>,
    /// The journal's entry of the first event; the others follow.
    pub journal: u64,
}

impl BatchRow {
    /// The bytes of its sealed messages.
    fn length(&self) -> usize {
        self.events.iter().map(|(_, length)| *length as usize).sum()
    }

    /// The row once the payloads are gone: without what they were found by, so that
    /// it stays small for ever.
    pub(super) fn expired(self) -> BatchRow {
        let events = self.events.into_iter().map(|(class, _)| (class, 0)).collect();
        BatchRow { segment: String::new(), offset: 0, events, ..self }
    }

    /// About how much memory the batch takes when it is read, in bytes.
    fn bytes(&self) -> usize {
        self.length() * 2 + self.events.len() * EVENT_BYTES
    }
}

/// One recorded event.
pub struct RecordedEvent {
    /// Its attributes.
    pub attributes: Attributes,
    /// The publisher's signature; none on the hub's own messages, which are
    /// signed when they are sealed for their recipient.
    pub signature: Option<String>,
    /// Its body.
    pub body: Bytes,
    /// Its key: what it rests under, and what the journal's salts are made of.
    pub key: EventKey,
    /// What its names in the journal are made of: `SHA-256(signature || 0x00 ||
    /// body)` as it was published.
    pub fingerprint: [u8; 32],
}

/// A batch of recorded events: what release decides on.
pub struct RecordedBatch {
    /// The index of the first event.
    pub first: u64,
    /// When it was recorded, in milliseconds since 1970.
    pub at: i64,
    /// The set of agreements in force then.
    pub set: u32,
    /// The classes of its events.
    pub classes: Vec<Class>,
    /// Each event's class, an index into `classes`.
    pub numbers: Vec<u16>,
    /// The events; `None` where the payload was erased.
    pub events: Vec<Option<RecordedEvent>>,
    /// About how much memory it takes, in bytes.
    pub bytes: usize,
    /// Who may get some of it, once somebody has asked.
    pub(super) concerned: OnceLock<Vec<MemberName>>,
}

impl RecordedBatch {
    /// The index after the last event.
    pub fn end(&self) -> u64 {
        self.first + self.events.len() as u64
    }

    /// Whether `recipient` may get some of it: under an agreement that was in force
    /// when it was recorded, or as the addressee. For sixty recipients this is
    /// found once, since most batches are nothing to most of them.
    pub(super) fn concerns(&self, shared: &Shared, recipient: &MemberName) -> Result<bool, HubFault> {
        let concerned = match self.concerned.get() {
            Some(known) => known,
            None => {
                let found = self.concerned(&shared.set_in_force(self.set)?);
                self.concerned.get_or_init(|| found)
            }
        };
        Ok(concerned.contains(recipient))
    }

    fn concerned(&self, set: &[InForce]) -> Vec<MemberName> {
        let mut all = BTreeSet::new();
        for class in &self.classes {
            all.extend(&class.addressee);
            let grants = set.iter().filter(|agreement| agreement.grants(class));
            all.extend(grants.map(InForce::recipient));
        }
        all.into_iter().cloned().collect()
    }
}

/// The key of a batch's row.
pub(super) fn batch_key(first: u64) -> Vec<u8> {
    [b"batch/".as_slice(), &first.to_be_bytes()].concat()
}

/// What a member's event is named by.
pub(super) fn event_name(key: &EventKey, fingerprint: &[u8; 32]) -> Name {
    journal::message_name(&event_salt(key), fingerprint)
}

/// The salt of that name.
pub(super) fn event_salt(key: &EventKey) -> [u8; 32] {
    seal::hmac(key.expose(), &[b"event"])
}

/// The salt of the name that entries of deliveries to `recipient` give the event:
/// another for each recipient, so that two who read the journal can't see by it
/// that they got the same event.
pub(super) fn delivered_event_salt(key: &EventKey, recipient: &str) -> [u8; 32] {
    seal::hmac(key.expose(), &[b"delivered event", recipient.as_bytes()])
}

impl RecordedEvent {
    /// How entries of deliveries to `recipient` name the event.
    pub(super) fn name_for(&self, recipient: &str) -> Name {
        journal::message_name(&delivered_event_salt(&self.key, recipient), &self.fingerprint)
    }
}

/// The recorded events in their order: the newest in memory, the others read
/// back from the store, and a signal when there are more.
pub struct Timeline {
    store: Store,
    kek: Arc<Kek>,
    end: watch::Sender<u64>,
    recent: Mutex<Recent>,
}

/// Batches that several recipients are about to ask for.
struct Recent {
    batches: VecDeque<Arc<RecordedBatch>>,
    bytes: usize,
    /// The batch that may not be in the store yet.
    pinned: Option<Arc<RecordedBatch>>,
}

/// Keeps a batch in memory until it is durable.
pub(super) struct Pinned<'a>(&'a Timeline);

impl Drop for Pinned<'_> {
    fn drop(&mut self) {
        self.0.recent().pinned = None;
    }
}

/// The memory that recent batches may take.
const RECENT_BYTES: usize = 16 * 1024 * 1024;

impl Timeline {
    /// The timeline of `store`, which holds `end` events sealed under `kek`.
    pub(super) fn new(store: Store, kek: Arc<Kek>, end: u64) -> Timeline {
        let recent = Mutex::new(Recent { batches: VecDeque::new(), bytes: 0, pinned: None });
        Timeline { store, kek, end: watch::Sender::new(end), recent }
    }

    /// Follows the number of recorded events.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.end.subscribe()
    }

    /// The number of recorded events.
    pub fn end(&self) -> u64 {
        *self.end.borrow()
    }

    /// Adds a batch whose commit waits its turn. It is kept in memory for as long as
    /// what this returns: until then it can't be read back.
    pub(super) fn push(&self, batch: RecordedBatch) -> Option<Pinned<'_>> {
        if batch.events.is_empty() {
            return None;
        }
        let end = batch.end();
        let batch = Arc::new(batch);
        self.recent().pinned = Some(Arc::clone(&batch));
        self.remember(batch);
        self.end.send_replace(end);
        Some(Pinned(self))
    }

    fn recent(&self) -> std::sync::MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The batch whose first event is `first`.
    pub async fn batch(self: &Arc<Timeline>, first: u64) -> Result<Arc<RecordedBatch>, HubFault> {
        if let Some(batch) = self.remembered(first) {
            return Ok(batch);
        }
        let timeline = Arc::clone(self);
        let read = tokio::task::spawn_blocking(move || match timeline.read(first) {
            // Its days were over between the reading of its slots and that.
            Err(HubFault::Store(StoreFault::NotThere { .. })) => timeline.read(first),
            read => read,
        })
        .await;
        let batch = read.map_err(|_| HubFault::Stopped)??;
        let batch = Arc::new(batch);
        self.remember(Arc::clone(&batch));
        Ok(batch)
    }

    /// The index after the last event of the batch whose first event is `first`,
    /// and about how much memory it takes, in bytes; without reading its events.
    pub(super) fn extent(&self, first: u64) -> Result<(u64, usize), HubFault> {
        if let Some(batch) = self.remembered(first) {
            return Ok((batch.end(), batch.bytes));
        }
        let row = self.row(first)?;
        Ok((first + row.events.len() as u64, row.bytes()))
    }

    fn row(&self, first: u64) -> Result<BatchRow, HubFault> {
        let row = self.store.get(&batch_key(first))?;
        decode_row(&row.ok_or(HubFault::Damaged("a batch of events has no row"))?)
    }

    /// The row of the batch that holds event `index`, and the batch's first
    /// index.
    pub(super) fn row_of(&self, index: u64) -> Result<Option<(u64, BatchRow)>, HubFault> {
        let Some((key, row)) = self.store.last_at_or_before(b"batch/", &batch_key(index))? else {
            return Ok(None);
        };
        let first = key.last_chunk::<8>().map(|b| u64::from_be_bytes(*b)).unwrap_or_default();
        let row: BatchRow = decode_row(&row)?;
        Ok((index < first + row.events.len() as u64).then_some((first, row)))
    }

    /// The batch whose first event is `first`, where it is in memory.
    pub(super) fn remembered(&self, first: u64) -> Option<Arc<RecordedBatch>> {
        let recent = self.recent();
        recent.batches.iter().rev().chain(&recent.pinned).find(|batch| batch.first == first).cloned()
    }

    fn remember(&self, batch: Arc<RecordedBatch>) {
        let mut recent = self.recent();
        recent.bytes += batch.bytes;
        recent.batches.push_back(batch);
        while recent.bytes > RECENT_BYTES
            && recent.batches.len() > 1
            && let Some(oldest) = recent.batches.pop_front()
        {
            recent.bytes -= oldest.bytes;
        }
    }

    /// Lets go of every batch in memory: some of what they hold is erased. Only
    /// while nothing is being recorded, since what isn't durable is nowhere else.
    pub(super) fn forget(&self) {
        let mut recent = self.recent();
        recent.batches.clear();
        recent.bytes = 0;
    }

    pub(super) fn read(&self, first: u64) -> Result<RecordedBatch, HubFault> {
        let row = self.row(first)?;
        let (length, bytes) = (row.length(), row.bytes());
        let slots = self.store.read(SLOTS_LOG, first * SLOT, row.events.len() * SLOT as usize)?;
        let numbers: Vec<u16> = row.events.iter().map(|(class, _)| *class).collect();
        let batch = |events, bytes, classes| {
            let (at, set) = (row.at, row.set);
            let concerned = OnceLock::new();
            RecordedBatch { first, at, set, classes, numbers, events, bytes, concerned }
        };
        // Where nothing is left to open, the segment may be gone. The row says so a
        // moment before the slots do.
        if row.segment.is_empty() || slots.iter().all(|byte| *byte == 0) {
            let events = row.events.iter().map(|_| None).collect();
            return Ok(batch(events, row.events.len() * EVENT_BYTES, row.classes));
        }
        let sealed = self.store.read(&row.segment, row.offset, length)?;
        let mut rest = sealed.as_slice();
        let mut events = Vec::with_capacity(row.events.len());
        let slots = slots.as_chunks::<32>().0.iter();
        for ((index, (class, length)), slot) in (first..).zip(&row.events).zip(slots) {
            let (message, tail) =
                rest.split_at_checked(*length as usize).ok_or(HubFault::Damaged("a segment is too short"))?;
            rest = tail;
            // An erased slot is all zero: there is nothing left to open.
            if slot.iter().all(|byte| *byte == 0) {
                events.push(None);
                continue;
            }
            let key = EventKey::unwrap(slot, &self.kek, index);
            let plain = seal::open(&key, index, message)
                .map_err(|_| HubFault::Damaged("a sealed message doesn't open"))?;
            if usize::from(*class) >= row.classes.len() {
                return Err(HubFault::Damaged("a batch's row names a class that it hasn't"));
            }
            events.push(Some(RecordedEvent::read(key, Bytes::from(plain))?));
        }
        Ok(batch(events, bytes, row.classes))
    }
}

impl RecordedEvent {
    /// Reads an event from its message's bytes at rest.
    fn read(key: EventKey, plain: Bytes) -> Result<RecordedEvent, HubFault> {
        let damaged = HubFault::Damaged("a recorded message doesn't read back");
        let Ok(message) = Message::decode(&plain) else { return Err(damaged) };
        let Ok(mut attributes) = Attributes::read(&message) else { return Err(damaged) };
        let signature = attributes.remove("signature");
        let fingerprint = journal::fingerprint(signature.as_deref().unwrap_or_default(), &message.body);
        Ok(RecordedEvent { attributes, signature, body: message.body, key, fingerprint })
    }
}

/// Reads a row that is JSON.
pub(super) fn decode_row<T: serde::de::DeserializeOwned>(row: &[u8]) -> Result<T, HubFault> {
    serde_json::from_slice(row).map_err(|_| HubFault::Damaged("a row of the store doesn't read back"))
}

/// Writes a row as JSON.
pub(super) fn encode_row<T: Serialize>(row: &T) -> Vec<u8> {
    // These rows are structs of texts and numbers: they always serialize.
    serde_json::to_vec(row).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_stays_small_once_the_payloads_of_its_events_are_gone() {
        let class = Class {
            publisher: Some(MemberName::parse("province-sud").unwrap()),
            addressee: None,
            event_type: EventType::parse("nc.employment.jobseeker.registered").unwrap(),
            version: 1,
        };
        let row = BatchRow {
            at: 1_793_675_112_000,
            set: 3,
            segment: "segments/00000017.seg".into(),
            offset: 41_000_000,
            classes: vec![class.clone(), Class { version: 2, ..class }],
            events: (0..256).map(|n| (u16::from(n >= 200), 1_500 + n)).collect(),
            kids: vec!["kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k".into()],
            signed: vec![0; 256],
            journal: 9_000_000,
        };
        let expired = decode_row::<BatchRow>(&encode_row(&row.clone().expired())).unwrap();
        assert!(encode_row(&expired).len() < 500, "{} bytes", encode_row(&expired).len());
        let classes = |row: &BatchRow| row.events.iter().map(|(class, _)| *class).collect::<Vec<_>>();
        assert_eq!(classes(&expired), classes(&row));
        assert_eq!((&expired.kids, &expired.signed), (&row.kids, &row.signed));
        assert_eq!((expired.at, expired.set, expired.journal), (row.at, row.set, row.journal));
        assert_eq!(decode_row::<BatchRow>(&encode_row(&row)).unwrap().events, row.events);
    }
}
