//! Quarantine: what was refused is kept unchanged, sealed, for some days, with
//! its reason, and then forgotten.
//!
//! A refused message rests in a log of its own under a key of its own; its row
//! says why it was refused and holds nothing of its content. When its time is
//! over the slot is overwritten and the row removed; a log goes with its last
//! message.
//!
//! The bus brings a message again whose acknowledgement a crash lost. One that
//! was refused before is known by its HMAC, and is neither kept nor noticed
//! twice.
//!
//! Of one member no more is kept than its ceilings say: see [`holdings`]. So the
//! messages of each rest in logs of their own, which go with them.

mod holdings;

pub use holdings::{Ceilings, Dropped};
pub(in crate::hub) use holdings::{Holdings, dropped};

use crate::event::{Message, Origin, is_subject};
use crate::fault::Reason;
use crate::hub::check::Refused;
use crate::hub::recorded::{SLOT, decode_row, encode_row};
use crate::hub::{HubFault, Shared};
use crate::persons::{NO_PERSON, PersonTag, QUARANTINE_TAGS_LOG, TAG, positions};
use crate::seal::{self, EventKey};
use crate::store::{StoreFault, Tx};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

const SLOTS: &str = "slots/quarantine";
const PREFIX: &[u8] = b"quarantine/";
const KNOWN: &[u8] = b"quarantined/";
const CURRENT: &[u8] = b"quarantine-log/";
/// A quarantine log is closed when it has this many bytes.
const LOG_BYTES: u64 = 4 * 1024 * 1024;

/// What the quarantine's index says of one message.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Row {
    /// The reason.
    pub reason: String,
    /// A sentence that names the field.
    pub detail: String,
    /// When it was refused, in milliseconds since 1970.
    pub at: i64,
    /// When it is forgotten, in milliseconds since 1970.
    pub until: i64,
    /// The member that the broker authenticated.
    pub user: Option<String>,
    /// The source that the message names; none where it hasn't the form of one.
    pub source: Option<String>,
    /// The id that the message names; none where it hasn't the form of one.
    pub id: Option<String>,
    /// The type that the message names; none where it hasn't the form of one.
    pub event_type: Option<String>,
    log: String,
    offset: u64,
    length: u64,
    /// What it is known by when it comes again, base64url.
    known: String,
}

/// A refused message as it was received.
#[derive(Debug)]
pub struct Kept {
    /// What the index says of it.
    pub row: Row,
    /// The routing key that it was published with.
    pub routing_key: String,
    /// The message, unchanged.
    pub message: Message,
}

/// A message on its way into quarantine.
pub(super) struct Item {
    index: u64,
    sealed: Vec<u8>,
    slot: [u8; 32],
    tag: PersonTag,
    row: Row,
}

/// A refused message's bytes at rest: its routing key, the key's length before
/// it, and the message.
fn plain(refused: &Refused) -> Vec<u8> {
    let (message, routing_key) = (refused.received.message(), refused.received.routing_key());
    let mut plain = (routing_key.len() as u32).to_le_bytes().to_vec();
    plain.extend_from_slice(routing_key.as_bytes());
    message.encode(&mut plain);
    plain
}

/// The tag of whom a refused message says that it is about: by the member that
/// the broker authenticated, else by the one of its source.
fn tag_of(shared: &Shared, message: &Message) -> PersonTag {
    let source = message.text("cloudEvents_source").and_then(|source| Origin::parse(source).ok());
    let claimed = match &source {
        Some(Origin::Member { member, .. }) => Some(member.as_str()),
        _ => None,
    };
    let subject = message.text("cloudEvents_subject").filter(|subject| is_subject(subject));
    match (message.user_id.as_deref().or(claimed), subject) {
        (Some(member), Some(subject)) => shared.tagger.tag(member, subject),
        _ => NO_PERSON,
    }
}

/// The tags of a store that has messages in quarantine from before there were
/// tags.
pub(super) fn missing_tags(shared: &Shared) -> Result<Vec<u8>, HubFault> {
    let count = shared.store.log_len(SLOTS) / SLOT;
    let known = shared.store.log_len(QUARANTINE_TAGS_LOG) / TAG as u64;
    let mut tags = Vec::new();
    for index in known..count {
        let kept = open(shared, index)?;
        tags.extend_from_slice(&kept.map_or(NO_PERSON, |kept| tag_of(shared, &kept.message)));
    }
    Ok(tags)
}

/// The messages about `person`, refused at `until` or before.
pub(super) fn about(shared: &Shared, person: &PersonTag, until: i64) -> Result<Vec<(u64, Row)>, HubFault> {
    let mut rows = Vec::new();
    for index in positions(&shared.store, QUARANTINE_TAGS_LOG, |tag| tag == person)? {
        if let Some(row) = shared.store.get(&key(index))? {
            rows.push((index, decode_row::<Row>(&row)?));
        }
    }
    rows.retain(|(_, row)| row.at <= until);
    Ok(rows)
}

fn known_by(shared: &Shared, plain: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(seal::hmac(shared.secrets.refused.expose(), &[plain]))
}

fn known_key(known: &str) -> Vec<u8> {
    [KNOWN, known.as_bytes()].concat()
}

/// Whether the bus brings `refused` again, and it is in quarantine.
pub(super) fn is_repeat(shared: &Shared, refused: &Refused) -> Result<bool, HubFault> {
    if !refused.received.redelivered() {
        return Ok(false);
    }
    Ok(shared.store.get(&known_key(&known_by(shared, &plain(refused))))?.is_some())
}

/// Prepares `refused` for [`write()`]. Only the recording stage adds to the
/// quarantine, so the indexes are known before the commit.
pub(super) fn items(
    shared: &Shared,
    keys: &mut impl Iterator<Item = EventKey>,
    refused: &[Refused],
    at: jiff::Timestamp,
) -> Result<Vec<Item>, HubFault> {
    let next = shared.store.log_len(SLOTS) / SLOT;
    let mut items = Vec::with_capacity(refused.len());
    for (index, refused) in (next..).zip(refused) {
        let key = keys.next().ok_or(HubFault::Damaged("too few keys were made for a batch"))?;
        let (message, plain) = (refused.received.message(), plain(refused));
        let mut sealed = Vec::with_capacity(plain.len() + 16);
        seal::seal(&key, index, &plain, &mut sealed);
        let claims = refused.received.claims();
        let row = Row {
            reason: refused.refusal.reason.as_str().to_owned(),
            detail: refused.refusal.detail.clone(),
            at: at.as_millisecond(),
            until: at.as_millisecond() + i64::from(shared.quarantine_days) * 86_400_000,
            user: message.user_id.clone(),
            source: claims.source,
            id: claims.id,
            event_type: claims.event_type,
            log: String::new(),
            offset: 0,
            length: sealed.len() as u64,
            known: known_by(shared, &plain),
        };
        // The quarantine's keys are wrapped apart from the events': an index
        // of both may be the same.
        items.push(Item {
            index,
            sealed,
            slot: key.wrap(&shared.quarantine_kek, index),
            tag: tag_of(shared, message),
            row,
        });
    }
    Ok(items)
}

/// Writes prepared messages within a commit.
pub(super) fn write(tx: &mut Tx<'_>, items: &[Item]) {
    for item in items {
        // Logs are named by their first message, so that a name never returns.
        let current = [CURRENT, holdings::owner(&item.row).as_bytes()].concat();
        let log = match tx.get(&current).and_then(|log| String::from_utf8(log).ok()) {
            Some(log) if tx.log_len(&log) < LOG_BYTES && tx.log_len(&log) > 0 => log,
            _ => {
                let log = format!("quarantine/{:012}.log", item.index);
                tx.put(&current, log.as_bytes());
                log
            }
        };
        let offset = tx.append(&log, &item.sealed);
        tx.append(SLOTS, &item.slot);
        tx.append(QUARANTINE_TAGS_LOG, &item.tag);
        let row = Row { log, offset, ..item.row.clone() };
        tx.put(&key(item.index), &encode_row(&row));
        tx.put(&known_key(&row.known), &item.index.to_be_bytes());
    }
}

/// What is added to a refused message's notice where its member has as much in
/// quarantine as is kept; none where it hasn't.
pub(super) fn warning_for(shared: &Shared, refused: &Refused) -> Option<&'static str> {
    const FULL: &str =
        "The hub keeps no more refused messages of this member than it has by now: its oldest are dropped.";
    let message = refused.received.message();
    let owner = message.user_id.as_deref().unwrap_or_default();
    shared.holdings().is_full(owner, message.body.len() as u64).then_some(FULL)
}

/// Whose each of `items` is, its index and its bytes, for [`settle`].
pub(super) fn added(items: &[Item]) -> Vec<(String, u64, u64)> {
    let of = |item: &Item| (holdings::owner(&item.row).to_owned(), item.index, item.row.length);
    items.iter().map(of).collect()
}

/// Takes note of what was added, and drops what is beyond its member's ceilings by
/// it. Nothing is recorded meanwhile.
pub(super) async fn settle(shared: &Shared, added: Vec<(String, u64, u64)>) -> Result<(), HubFault> {
    let owners: BTreeSet<String> = added.iter().map(|(owner, ..)| owner.clone()).collect();
    for (owner, index, bytes) in added {
        shared.holdings().add(&owner, index, bytes);
    }
    for owner in owners {
        let (gone, next) = shared.holdings().excess(&owner);
        if gone.is_empty() {
            continue;
        }
        let mut rows = Vec::with_capacity(gone.len());
        for index in gone {
            rows.extend(holdings::row(&shared.store, index)?.map(|row| (index, row)));
        }
        // The logs of a member follow each other: only the last one of these can
        // have what stays.
        let next = next.map(|index| holdings::row(&shared.store, index)).transpose()?.flatten();
        let needed = next.into_iter().map(|row| row.log).collect();
        let (messages, bytes) = (rows.len() as u64, rows.iter().map(|(_, row)| row.length).sum());
        let whose = owner.clone();
        let at = jiff::Timestamp::now().as_millisecond();
        forget(shared, rows, needed, move |tx| holdings::note(tx, &whose, messages, bytes, at)).await?;
        shared.metrics.quarantine_dropped.with(&owner).add(messages);
        shared.holdings().tell(&owner);
    }
    Ok(())
}

fn key(index: u64) -> Vec<u8> {
    [PREFIX, &index.to_be_bytes()].concat()
}

/// The quarantine's index, oldest first: each message's number and row.
pub(super) fn list(shared: &Shared) -> Result<Vec<(u64, Row)>, HubFault> {
    let mut rows = Vec::new();
    for entry in shared.store.scan(PREFIX) {
        let (key, row) = entry?;
        let index = key.last_chunk::<8>().map_or(0, |b| u64::from_be_bytes(*b));
        rows.push((index, decode_row(&row)?));
    }
    Ok(rows)
}

/// Opens message `index` of the quarantine; none where it isn't, or no longer,
/// there.
pub(super) fn open(shared: &Shared, index: u64) -> Result<Option<Kept>, HubFault> {
    let Some(row) = shared.store.get(&key(index))? else { return Ok(None) };
    let row: Row = decode_row(&row)?;
    let damaged = || HubFault::Damaged("a quarantined message doesn't open");
    let mut slot = [0; 32];
    slot.copy_from_slice(&shared.store.read(SLOTS, index * SLOT, SLOT as usize)?);
    let sealed = shared.store.read(&row.log, row.offset, row.length as usize)?;
    let event_key = EventKey::unwrap(&slot, &shared.quarantine_kek, index);
    let plain = Bytes::from(seal::open(&event_key, index, &sealed).map_err(|_| damaged())?);
    let length = plain.first_chunk::<4>().map(|b| u32::from_le_bytes(*b) as usize).ok_or_else(damaged)?;
    let routing_key = plain.get(4..4 + length).ok_or_else(damaged)?;
    let routing_key = String::from_utf8(routing_key.to_vec()).map_err(|_| damaged())?;
    let message = Message::decode(&plain.slice(4 + length..)).map_err(|_| damaged())?;
    Ok(Some(Kept { row, routing_key, message }))
}

/// Forgets what has been kept for as long as it is to be. Returns how many
/// messages went.
pub(super) async fn expire(shared: &Shared, now: jiff::Timestamp) -> Result<usize, HubFault> {
    let now = now.as_millisecond();
    let mut rows = list(shared)?;
    rows.retain(|(_, row)| row.until <= now);
    remove(shared, rows).await
}

/// Forgets the messages of `rows`. Returns how many went.
pub(super) async fn remove(shared: &Shared, rows: Vec<(u64, Row)>) -> Result<usize, HubFault> {
    if rows.is_empty() {
        return Ok(0);
    }
    let count = rows.len();
    let gone: BTreeSet<u64> = rows.iter().map(|(index, _)| *index).collect();
    let slots_then = shared.store.log_len(SLOTS);
    let kept = list(shared)?.into_iter().filter(|(index, _)| !gone.contains(index));
    let mut needed: BTreeSet<String> = kept.map(|(_, row)| row.log).collect();
    if shared.store.log_len(SLOTS) != slots_then {
        // What was refused since may be in one: then it goes another time, with
        // its last message.
        needed.extend(rows.iter().map(|(_, row)| row.log.clone()));
    }
    forget(shared, rows, needed, |_| {}).await?;
    Ok(count)
}

/// Forgets the messages of `rows`, with their logs but those that are `needed`,
/// and does `and` in the same commit.
async fn forget(
    shared: &Shared,
    rows: Vec<(u64, Row)>,
    needed: BTreeSet<String>,
    and: impl FnOnce(&mut Tx<'_>) + Send + 'static,
) -> Result<(), HubFault> {
    let gone: Vec<(String, u64)> =
        rows.iter().map(|(index, row)| (holdings::owner(row).to_owned(), *index)).collect();
    let slots_then = shared.store.log_len(SLOTS);
    shared
        .store
        .commit(move |tx| -> Result<(), StoreFault> {
            for (index, row) in &rows {
                tx.overwrite(SLOTS, index * SLOT, &[0; SLOT as usize]);
                tx.overwrite(QUARANTINE_TAGS_LOG, index * TAG as u64, &NO_PERSON);
                tx.remove(&key(*index));
                // The same may have been refused again since.
                let known = known_key(&row.known);
                if tx.get(&known).is_some_and(|last| last == index.to_be_bytes()) {
                    tx.remove(&known);
                }
                // Where it was the one being written, the next message begins
                // another. What was refused since may be in it, as above.
                if !needed.contains(&row.log) && tx.log_len(SLOTS) == slots_then {
                    tx.delete_log(&row.log);
                }
            }
            and(tx);
            Ok(())
        })
        .await?;
    let mut holdings = shared.holdings();
    gone.iter().for_each(|(owner, index)| holdings.forget(owner, *index));
    Ok(())
}

impl Row {
    /// The size of the message at rest, in bytes.
    pub fn bytes(&self) -> u64 {
        self.length
    }

    /// The reason, where it is one that this version knows.
    pub fn reason(&self) -> Option<Reason> {
        Reason::parse(&self.reason)
    }
}
