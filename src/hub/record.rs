//! Recording: deduplicate, number, seal at rest, and make a batch durable in
//! one commit. What the commit holds is acknowledged after it, and not before.

use crate::event::{Attributes, MemberName};
use crate::fault::Refusal;
use crate::hub::check::{Decoded, Refused};
use crate::hub::quarantine;
use crate::hub::recorded::{self, BatchRow, Class, EVENT_BYTES, RecordedBatch, RecordedEvent, SLOTS_LOG};
use crate::hub::world::World;
use crate::hub::{HubFault, Shared};
use crate::journal::{self, Entry, Leaf};
use crate::metrics::Stage;
use crate::seal::{self, EventKey};
use crate::store::{Ids, StoreFault, Tx};
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

/// A segment is closed when it has this many bytes.
const SEGMENT_BYTES: u64 = 64 * 1024 * 1024;

/// The row of how many repeats have come.
pub(super) const DUPLICATES_ROW: &[u8] = b"count/duplicates";

/// What became of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Events that were taken in.
    pub recorded: usize,
    /// Events that had been taken in before.
    pub duplicates: usize,
    /// Messages that were refused, and are in quarantine.
    pub refused: usize,
}

/// Makes a checked batch durable: what it returns is on disk.
pub(super) async fn record(
    shared: &Arc<Shared>,
    world: Arc<World>,
    batch: Vec<Result<Decoded, Refused>>,
) -> Result<Tally, HubFault> {
    let count = batch.len();
    let started = Instant::now();
    let drafting = {
        let shared = Arc::clone(shared);
        tokio::task::spawn_blocking(move || Draft::of(&shared, &world, batch))
    };
    let draft = drafting.await.map_err(|_| HubFault::Stopped)??;
    shared.metrics.stage(Stage::Record).add(started.elapsed(), count as u64);

    let started = Instant::now();
    let Draft { tally, refusals, ids, recorded, disk, quarantined } = draft;
    let segment_bytes = shared.segment_bytes;
    shared
        .store
        .commit(move |tx| {
            quarantine::write(tx, &quarantined);
            if tally.duplicates > 0 {
                let before = tx.get(DUPLICATES_ROW).and_then(|row| row.try_into().ok());
                let count = before.map_or(0, u64::from_be_bytes) + tally.duplicates as u64;
                tx.put(DUPLICATES_ROW, &count.to_be_bytes());
            }
            disk.write(tx, segment_bytes)
        })
        .await?;
    shared.metrics.stage(Stage::Commit).add(started.elapsed(), count as u64);

    shared.metrics.accepted.add(tally.recorded as u64);
    shared.metrics.duplicates.add(tally.duplicates as u64);
    for refusal in &refusals {
        shared.metrics.refused.with(refusal.reason.as_str()).add(1);
    }
    if !recorded.events.is_empty() {
        let mut table = shared.ids.lock().unwrap_or_else(PoisonError::into_inner);
        for (hash, digest) in &ids {
            table.insert(hash, digest)?;
        }
        drop(table);
        shared.timeline.push(recorded);
    }
    Ok(tally)
}

/// All that a batch's commit needs, made before it so that the committer only
/// writes.
struct Draft {
    tally: Tally,
    refusals: Vec<Refusal>,
    ids: Vec<([u8; 32], [u8; 32])>,
    recorded: RecordedBatch,
    disk: OnDisk,
    quarantined: Vec<quarantine::Item>,
}

/// The bytes of a batch.
struct OnDisk {
    first: u64,
    at: i64,
    set: u32,
    classes: Vec<Class>,
    events: Vec<(u16, u32)>,
    sealed: Vec<u8>,
    slots: Vec<u8>,
    ids: Vec<([u8; 32], [u8; 32])>,
    leaves: Vec<Leaf>,
    kids: Vec<String>,
    signed: Vec<u16>,
}

impl OnDisk {
    /// Writes the batch within a commit.
    fn write(self, tx: &mut Tx<'_>, segment_bytes: u64) -> Result<(), StoreFault> {
        if self.events.is_empty() {
            return Ok(());
        }
        let segment = current_segment(tx, segment_bytes);
        let offset = tx.append(&segment, &self.sealed);
        tx.append(SLOTS_LOG, &self.slots);
        for (hash, digest) in &self.ids {
            Ids::append(tx, hash, digest);
        }
        let journal = journal::append(tx, &self.leaves)?;
        let row = BatchRow {
            at: self.at,
            set: self.set,
            segment,
            offset,
            classes: self.classes,
            events: self.events,
            kids: self.kids,
            signed: self.signed,
            journal,
        };
        tx.put(&recorded::batch_key(self.first), &recorded::encode_row(&row));
        tx.mark("events", (self.first + row.events.len() as u64).to_string());
        Ok(())
    }
}

/// The segment to append to: the last one, or a new one when that is full.
fn current_segment(tx: &mut Tx<'_>, limit: u64) -> String {
    const ROW: &[u8] = b"segment/current";
    let number = match tx.get(ROW) {
        Some(row) => row.first_chunk::<8>().map_or(1, |b| u64::from_be_bytes(*b)),
        None => 1,
    };
    let name = |number| format!("segments/{number:08}.seg");
    if tx.log_len(&name(number)) < limit {
        return name(number);
    }
    tx.put(ROW, &(number + 1).to_be_bytes());
    name(number + 1)
}

impl Draft {
    fn of(shared: &Shared, world: &World, batch: Vec<Result<Decoded, Refused>>) -> Result<Draft, HubFault> {
        let at = jiff::Timestamp::now();
        let first = shared.timeline.end();
        let mut builder = Builder {
            shared,
            at,
            next: first,
            classes: Vec::new(),
            class_numbers: HashMap::new(),
            keys: EventKey::generate_batch(batch.len() * 2)?.into_iter(),
            ids: Vec::with_capacity(batch.len()),
            events: Vec::with_capacity(batch.len()),
            lengths: Vec::with_capacity(batch.len()),
            sealed: Vec::new(),
            slots: Vec::new(),
            leaves: Vec::with_capacity(batch.len()),
            kids: Vec::new(),
            signed: Vec::with_capacity(batch.len()),
            bytes: 0,
        };
        let mut tally = Tally::default();
        let ids = shared.ids.lock().unwrap_or_else(PoisonError::into_inner);
        let mut within: HashMap<[u8; 32], [u8; 32]> = HashMap::new();
        let mut refused = Vec::new();
        for checked in batch {
            let decoded = match checked {
                Ok(decoded) => decoded,
                Err(refusal) => {
                    refused.push(refusal);
                    continue;
                }
            };
            let attribute = |name| decoded.envelope.attributes.get(name).unwrap_or_default().as_bytes();
            let hash = ids.hash(&[attribute("source"), attribute("id")]);
            let known = match within.get(&hash) {
                Some(digest) => Some(*digest),
                None => ids.lookup(&hash)?.map(|(_, digest)| digest),
            };
            // Under a secret: who reads the disk can't guess what an event says.
            let content = seal::hmac(shared.secrets.contents.expose(), &[&decoded.digest]);
            match known {
                Some(digest) if digest == content => tally.duplicates += 1,
                Some(_) => refused.push(Refused::id_reused(decoded)),
                None => {
                    within.insert(hash, content);
                    builder.ids.push((hash, content));
                    builder.event(decoded)?;
                    tally.recorded += 1;
                }
            }
        }
        drop(ids);
        let mut new = Vec::with_capacity(refused.len());
        for refusal in refused {
            if !quarantine::is_repeat(shared, &refusal)? {
                new.push(refusal);
            }
        }
        let refused = new;
        tally.refused = refused.len();
        for refusal in &refused {
            builder.notice(world, refusal)?;
        }
        let quarantined = quarantine::items(shared, &mut builder.keys, &refused, at)?;
        let refusals = refused.into_iter().map(|r| r.refusal).collect();
        Ok(builder.finish(world.set, tally, refusals, quarantined))
    }
}

/// Collects the events of a batch in their order.
struct Builder<'a> {
    shared: &'a Shared,
    at: jiff::Timestamp,
    next: u64,
    classes: Vec<Class>,
    class_numbers: HashMap<Class, u16>,
    keys: std::vec::IntoIter<EventKey>,
    ids: Vec<([u8; 32], [u8; 32])>,
    events: Vec<Option<RecordedEvent>>,
    lengths: Vec<(u16, u32)>,
    sealed: Vec<u8>,
    slots: Vec<u8>,
    leaves: Vec<Leaf>,
    kids: Vec<String>,
    signed: Vec<u16>,
    bytes: usize,
}

impl Builder<'_> {
    /// Adds a member's event.
    fn event(&mut self, decoded: Decoded) -> Result<(), HubFault> {
        let class = Class {
            publisher: Some(decoded.member),
            addressee: None,
            event_type: decoded.context.event_type,
            version: decoded.context.schema.version,
        };
        let mut plain = Vec::new();
        decoded.received.message().encode(&mut plain);
        let body = decoded.received.message().body.clone();
        let envelope = decoded.envelope;
        let signature = Some(envelope.signature);
        self.add(class, envelope.attributes, signature, decoded.kid, decoded.fingerprint, &plain, body)
    }

    /// Adds the notice of a refusal for the member that the broker
    /// authenticated; none where no such member takes part.
    fn notice(&mut self, world: &World, refused: &Refused) -> Result<(), HubFault> {
        let message = refused.received.message();
        let Some(user) = message.user_id.as_deref().filter(|user| world.directory.contains(user)) else {
            return Ok(());
        };
        let Ok(addressee) = MemberName::parse(user) else { return Ok(()) };
        let claims = refused.received.claims();
        let record = serde_json::json!({
            "source": claims.source,
            "id": claims.id,
            "type": claims.event_type,
            "reason": refused.refusal.reason.as_str(),
            "detail": refused.refusal.detail,
            "received_at": self.at.to_string(),
        });
        let (event_type, body) = world.hub_types.encode(super::REJECTED, &record)?;
        let attributes = self.shared.hub_attributes(&event_type, &format!("record/{}", self.next), self.at);
        let content = seal::hmac(self.shared.secrets.contents.expose(), &[&attributes.digest(&body)]);
        let attribute = |name| attributes.get(name).unwrap_or_default().as_bytes();
        let ids = self.shared.ids.lock().unwrap_or_else(PoisonError::into_inner);
        self.ids.push((ids.hash(&[attribute("source"), attribute("id")]), content));
        drop(ids);
        let class = Class { publisher: None, addressee: Some(addressee), event_type, version: 1 };
        let fingerprint = journal::fingerprint("", &body);
        let message = crate::event::Message {
            headers: attributes.headers(),
            content_type: attributes.get("datacontenttype").map(str::to_owned),
            body: Bytes::from(body),
            ..Default::default()
        };
        let mut plain = Vec::new();
        message.encode(&mut plain);
        self.add(class, attributes, None, String::new(), fingerprint, &plain, message.body)
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one event, each used once")]
    fn add(
        &mut self,
        class: Class,
        attributes: Attributes,
        signature: Option<String>,
        kid: String,
        fingerprint: [u8; 32],
        plain: &[u8],
        body: Bytes,
    ) -> Result<(), HubFault> {
        let key = self.keys.next().ok_or(HubFault::Damaged("too few keys were made for a batch"))?;
        let before = self.sealed.len();
        seal::seal(&key, self.next, plain, &mut self.sealed);
        self.slots.extend_from_slice(&key.wrap(&self.shared.kek, self.next));
        let name = recorded::event_name(&key, &fingerprint);
        // One or two keys a batch: a search is the cheapest map.
        let signed = self.kids.iter().position(|known| *known == kid).unwrap_or_else(|| {
            self.kids.push(kid.clone());
            self.kids.len() - 1
        }) as u16;
        self.leaves.push(Leaf::new(&Entry::Event {
            at: self.at.as_millisecond(),
            name,
            publisher: class.publisher.as_ref().map_or("hub", MemberName::as_str).to_owned(),
            event_type: class.event_type.to_string(),
            version: class.version,
            kid,
        }));
        let number = self.class_number(class);
        self.signed.push(signed);
        self.lengths.push((number, (self.sealed.len() - before) as u32));
        self.bytes += plain.len() * 2 + EVENT_BYTES;
        self.events.push(Some(RecordedEvent { attributes, signature, body, key, name }));
        self.next += 1;
        Ok(())
    }

    fn class_number(&mut self, class: Class) -> u16 {
        if let Some(number) = self.class_numbers.get(&class) {
            return *number;
        }
        // A batch has at most some thousand messages, and so classes.
        let number = self.classes.len() as u16;
        self.classes.push(class.clone());
        self.class_numbers.insert(class, number);
        number
    }

    fn finish(
        self,
        set: u32,
        tally: Tally,
        refusals: Vec<Refusal>,
        quarantined: Vec<quarantine::Item>,
    ) -> Draft {
        let first = self.next - self.events.len() as u64;
        let at = self.at.as_millisecond();
        let numbers = self.lengths.iter().map(|(class, _)| *class).collect();
        let disk = OnDisk {
            first,
            at,
            set,
            classes: self.classes.clone(),
            events: self.lengths,
            sealed: self.sealed,
            slots: self.slots,
            ids: self.ids.clone(),
            leaves: self.leaves,
            kids: self.kids,
            signed: self.signed,
        };
        let recorded = RecordedBatch {
            first,
            at,
            set,
            classes: self.classes,
            numbers,
            events: self.events,
            bytes: self.bytes,
        };
        Draft { tally, refusals, ids: self.ids, recorded, disk, quarantined }
    }
}

/// The size at which segments are closed, unless a test sets another.
pub(super) const DEFAULT_SEGMENT_BYTES: u64 = SEGMENT_BYTES;
