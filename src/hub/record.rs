//! Recording: deduplicate, number, seal at rest, and make a batch durable in
//! one commit. What the commit holds is acknowledged after it, and not before.

use crate::event::{Attributes, MemberName};
use crate::fault::Refusal;
use crate::hub::check::{Decoded, Refused};
use crate::hub::quarantine;
use crate::hub::recorded::{self, BatchRow, Class, EVENT_BYTES, RecordedBatch, RecordedEvent, SLOTS_LOG};
use crate::hub::segments::Segments;
use crate::hub::world::World;
use crate::hub::{HubFault, Shared};
use crate::journal::{self, Entry, Leaf};
use crate::metrics::Stage;
use crate::persons::{NO_PERSON, PersonTag, TAGS_LOG};
use crate::seal::{self, EventKey, OVERHEAD};
use crate::store::{Ids, StoreFault, Tx};
use crate::tasks::FEW;
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::{Arc, OnceLock, PoisonError};
use std::time::Instant;

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
    // Of two recordings at the same time, each would take the same indexes.
    let _turn = shared.recording.lock().await;
    let started = Instant::now();
    // A few events are drafted sooner than they are handed to another thread.
    let draft = if count <= FEW {
        Draft::of(shared, &world, batch)?
    } else {
        let shared = Arc::clone(shared);
        let drafting = tokio::task::spawn_blocking(move || Draft::of(&shared, &world, batch));
        drafting.await.map_err(|_| HubFault::Stopped)??
    };
    shared.metrics.stage(Stage::Record).add(started.elapsed(), count as u64);

    let started = Instant::now();
    let Draft { tally, refusals, ids, recorded, disk, quarantined } = draft;
    let segments = Arc::clone(&shared.segments);
    let kept = quarantine::added(&quarantined);
    commit(shared, &ids, recorded, move |tx| {
        quarantine::write(tx, &quarantined);
        if tally.duplicates > 0 {
            let before = tx.get(DUPLICATES_ROW).and_then(|row| row.try_into().ok());
            let count = before.map_or(0, u64::from_be_bytes) + tally.duplicates as u64;
            tx.put(DUPLICATES_ROW, &count.to_be_bytes());
        }
        disk.write(tx, &segments)
    })
    .await?;
    shared.metrics.committed(started.elapsed(), count as u64);
    quarantine::settle(shared, kept).await?;

    shared.metrics.accepted.add(tally.recorded as u64);
    shared.metrics.duplicates.add(tally.duplicates as u64);
    for refusal in &refusals {
        shared.metrics.refused.with(refusal.reason.as_str()).add(1);
    }
    Ok(tally)
}

/// A message of the hub's own that is to be recorded.
pub(super) struct Own {
    /// Whom it is for.
    pub addressee: MemberName,
    /// Its type.
    pub event_type: &'static str,
    /// What it says.
    pub record: serde_json::Value,
}

/// Records messages of the hub's own, and does `and` in the same commit.
pub(super) async fn own<F>(shared: &Shared, world: &World, messages: Vec<Own>, and: F) -> Result<(), HubFault>
where
    F: FnOnce(&mut Tx<'_>) -> Result<(), StoreFault> + Send + 'static,
{
    let _turn = shared.recording.lock().await;
    let mut builder = Builder::new(shared, jiff::Timestamp::now(), messages.len())?;
    for Own { addressee, event_type, record } in messages {
        builder.own(world, addressee, event_type, &record)?;
    }
    let Draft { ids, recorded, disk, .. } =
        builder.finish(world.set, Tally::default(), Vec::new(), Vec::new());
    let segments = Arc::clone(&shared.segments);
    commit(shared, &ids, recorded, move |tx| {
        and(tx)?;
        disk.write(tx, &segments)
    })
    .await
}

/// Has `work` make a batch durable, with the ids of its events, and takes note of
/// it.
async fn commit<F>(
    shared: &Shared,
    ids: &[([u8; 32], [u8; 32])],
    recorded: RecordedBatch,
    work: F,
) -> Result<(), HubFault>
where
    F: FnOnce(&mut Tx<'_>) -> Result<(), StoreFault> + Send + 'static,
{
    let committing = shared.store.commit(work);
    // What releases decide on it is committed behind it, often in the same group:
    // no decision can be durable without its events, and nothing is published
    // before its decision is. So they needn't wait for this commit first.
    let _pinned = shared.timeline.push(recorded);
    committing.await?;
    let mut table = shared.ids.lock().unwrap_or_else(PoisonError::into_inner);
    for (hash, digest) in ids {
        table.insert(hash, digest)?;
    }
    Ok(())
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
    tags: Vec<u8>,
    ids: Vec<([u8; 32], [u8; 32])>,
    leaves: Vec<Leaf>,
    kids: Vec<String>,
    signed: Vec<u16>,
}

impl OnDisk {
    /// Writes the batch within a commit.
    fn write(self, tx: &mut Tx<'_>, segments: &Segments) -> Result<(), StoreFault> {
        if self.events.is_empty() {
            return Ok(());
        }
        let segment = segments.current(tx);
        let offset = tx.append(&segment, &self.sealed);
        tx.append(SLOTS_LOG, &self.slots);
        tx.append(TAGS_LOG, &self.tags);
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

impl Draft {
    fn of(shared: &Shared, world: &World, batch: Vec<Result<Decoded, Refused>>) -> Result<Draft, HubFault> {
        let at = jiff::Timestamp::now();
        // An event or a notice for each, and a key for what goes into quarantine.
        let mut builder = Builder::new(shared, at, batch.len() * 2)?;
        // One that grows is copied again and again.
        let size = |decoded: &Decoded| decoded.received.message().encoded_bound() + OVERHEAD;
        builder.sealed.reserve(batch.iter().flatten().map(size).sum());
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

/// What a member is told of a message that was refused at `at`.
pub(super) fn notice_of(refused: &Refused, at: jiff::Timestamp) -> serde_json::Value {
    let claims = refused.received.claims();
    serde_json::json!({
        "source": claims.source,
        "id": claims.id,
        "type": claims.event_type,
        "reason": refused.refusal.reason.as_str(),
        "detail": refused.refusal.detail,
        "received_at": at.to_string(),
    })
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
    tags: Vec<u8>,
    leaves: Vec<Leaf>,
    kids: Vec<String>,
    signed: Vec<u16>,
    bytes: usize,
}

impl<'a> Builder<'a> {
    /// An empty batch that begins where the timeline ends, with as many keys as
    /// may be needed.
    fn new(shared: &'a Shared, at: jiff::Timestamp, keys: usize) -> Result<Builder<'a>, HubFault> {
        Ok(Builder {
            shared,
            at,
            next: shared.timeline.end(),
            classes: Vec::new(),
            class_numbers: HashMap::new(),
            keys: EventKey::generate_batch(keys)?.into_iter(),
            ids: Vec::with_capacity(keys),
            events: Vec::with_capacity(keys),
            lengths: Vec::with_capacity(keys),
            sealed: Vec::new(),
            slots: Vec::new(),
            tags: Vec::new(),
            leaves: Vec::with_capacity(keys),
            kids: Vec::new(),
            signed: Vec::with_capacity(keys),
            bytes: 0,
        })
    }

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
        let mut notice = notice_of(refused, self.at);
        if let Some(warning) = quarantine::warning_for(self.shared, refused) {
            notice["detail"] = format!("{} {warning}", refused.refusal.detail).into();
        }
        self.own(world, addressee, super::REJECTED, &notice)
    }

    /// Adds a message of the hub's own.
    fn own(
        &mut self,
        world: &World,
        addressee: MemberName,
        event_type: &str,
        record: &serde_json::Value,
    ) -> Result<(), HubFault> {
        let (event_type, body) = world.hub_types.encode(event_type, record)?;
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
        self.tags.extend_from_slice(&tag_of(self.shared, &class, &attributes));
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
        self.events.push(Some(RecordedEvent { attributes, signature, body, key, fingerprint }));
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
            tags: self.tags,
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
            concerned: OnceLock::new(),
        };
        Draft { tally, refusals, ids: self.ids, recorded, disk, quarantined }
    }
}

/// The tag of whom an event is about: nobody's for the hub's own messages.
pub(super) fn tag_of(shared: &Shared, class: &Class, attributes: &Attributes) -> PersonTag {
    match (&class.publisher, attributes.get("subject")) {
        (Some(publisher), Some(subject)) => shared.tagger.tag(publisher.as_str(), subject),
        _ => NO_PERSON,
    }
}
