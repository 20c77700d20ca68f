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

use crate::event::Message;
use crate::fault::Reason;
use crate::hub::check::Refused;
use crate::hub::recorded::{SLOT, decode_row, encode_row};
use crate::hub::{HubFault, Shared};
use crate::seal::{self, EventKey};
use crate::store::Tx;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

const SLOTS: &str = "slots/quarantine";
const PREFIX: &[u8] = b"quarantine/";
const KNOWN: &[u8] = b"quarantined/";
const CURRENT: &[u8] = b"quarantine-log";
/// A quarantine log is closed when it has this many bytes.
const LOG_BYTES: u64 = 16 * 1024 * 1024;

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
        items.push(Item { index, sealed, slot: key.wrap(&shared.quarantine_kek, index), row });
    }
    Ok(items)
}

/// Writes prepared messages within a commit.
pub(super) fn write(tx: &mut Tx<'_>, items: &[Item]) {
    for item in items {
        // Logs are named by their first message, so that a name never returns.
        let log = match current_log(tx) {
            Some(log) if tx.log_len(&log) < LOG_BYTES && tx.log_len(&log) > 0 => log,
            _ => {
                let log = format!("quarantine/{:012}.log", item.index);
                tx.put(CURRENT, log.as_bytes());
                log
            }
        };
        let offset = tx.append(&log, &item.sealed);
        tx.append(SLOTS, &item.slot);
        let row = Row { log, offset, ..item.row.clone() };
        tx.put(&key(item.index), &encode_row(&row));
        tx.put(&known_key(&row.known), &item.index.to_be_bytes());
    }
}

fn current_log(tx: &Tx<'_>) -> Option<String> {
    tx.get(CURRENT).and_then(|log| String::from_utf8(log).ok())
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
    let (expired, kept): (Vec<_>, Vec<_>) = list(shared)?.into_iter().partition(|(_, row)| row.until <= now);
    if expired.is_empty() {
        return Ok(0);
    }
    let count = expired.len();
    let slots_then = shared.store.log_len(SLOTS);
    let needed: std::collections::BTreeSet<String> = kept.into_iter().map(|(_, row)| row.log).collect();
    shared
        .store
        .commit(move |tx| {
            for (index, row) in &expired {
                tx.overwrite(SLOTS, index * SLOT, &[0; SLOT as usize]);
                tx.remove(&key(*index));
                // The same may have been refused again since.
                let known = known_key(&row.known);
                if tx.get(&known).is_some_and(|last| last == index.to_be_bytes()) {
                    tx.remove(&known);
                }
                // Where it was the one being written, the next message begins
                // another. What was refused since the list was made may be in
                // it: then it goes another time, with its last message.
                if !needed.contains(&row.log) && tx.log_len(SLOTS) == slots_then {
                    tx.delete_log(&row.log);
                }
            }
            Ok(())
        })
        .await?;
    Ok(count)
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
