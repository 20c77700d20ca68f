//! Retention: a payload is removed when it is delivered to all and its days are
//! over. Its slot is overwritten, and a segment goes with the last of them.
//!
//! What the store says of an event stays: its row, without what its payload was
//! found by, the decisions, the tag of whom it is about, the journal.

use crate::event::MemberName;
use crate::hub::decide::DecisionRow;
use crate::hub::recorded::{SLOT, SLOTS_LOG, batch_key, decode_row, encode_row};
use crate::hub::{Hub, HubFault, Shared, release};
use tokio::sync::watch;

/// About how many events expire in a commit: others wait for it.
const AT_ONCE: u64 = 1024;
/// The row of the first event that hasn't expired.
const ROW: &[u8] = b"expired-before";
/// The folder of the segments.
const SEGMENTS: &str = "segments/";

/// What expired.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expired {
    /// How many events' payloads were removed.
    pub events: u64,
    /// How many segments were deleted.
    pub segments: u64,
}

impl Hub {
    /// Removes the payloads whose days were over at `now`, as a running hub does
    /// by itself once in a while, in small steps, until `stop` says so.
    pub async fn expire(
        &self,
        now: jiff::Timestamp,
        stop: &watch::Receiver<bool>,
    ) -> Result<Expired, HubFault> {
        let shared = &self.shared;
        let days = i64::from(shared.replay_days) * 86_400_000;
        let before = now.as_millisecond().saturating_sub(days);
        let delivered = delivered_before(shared)?;
        let mut expired = Expired::default();
        while !*stop.borrow() {
            let step = step(shared, before, delivered).await?;
            expired.events += step.events;
            expired.segments += step.segments;
            if step.events == 0 {
                break;
            }
        }
        Ok(expired)
    }
}

/// The index before which every event is delivered to all that were to get it.
fn delivered_before(shared: &Shared) -> Result<u64, HubFault> {
    let mut least = shared.timeline.end();
    for member in shared.world().directory.members() {
        least = least.min(settled_before(shared, member)?);
    }
    Ok(least)
}

/// The same for one recipient: confirmations are only counted where something was
/// sent.
fn settled_before(shared: &Shared, member: &MemberName) -> Result<u64, HubFault> {
    let Some(cursor) = shared.progress(member)? else { return Ok(0) };
    let recipient = member.as_str();
    let from = release::decision_key(recipient, cursor.confirmed);
    match shared.store.scan_from(&release::decisions_prefix(recipient), &from).next() {
        Some(entry) => Ok(decode_row::<DecisionRow>(&entry?.1)?.first.min(cursor.decided)),
        None => Ok(cursor.decided),
    }
}

/// Removes the payloads of the next batches, taken in at `before` or earlier and
/// whose index is below `delivered`.
async fn step(shared: &Shared, before: i64, delivered: u64) -> Result<Expired, HubFault> {
    let from = shared.store.get(ROW)?;
    let from = from.and_then(|row| row.first_chunk::<8>().map(|b| u64::from_be_bytes(*b))).unwrap_or(0);
    let mut next = from;
    let mut rows = Vec::new();
    while next - from < AT_ONCE {
        let Some((first, row)) = shared.timeline.row_of(next)? else { break };
        let end = first + row.events.len() as u64;
        if row.at > before || end > delivered {
            break;
        }
        next = end;
        rows.push((batch_key(first), encode_row(&row.expired())));
    }
    if next == from {
        return Ok(Expired::default());
    }
    // The segment that grows stays, as does all that is in the next batch's.
    let current = match shared.timeline.row_of(next)? {
        Some((_, row)) => Some(row.segment),
        None => shared.store.logs(SEGMENTS).pop(),
    };
    let done: Vec<String> = shared
        .store
        .logs(SEGMENTS)
        .into_iter()
        .filter(|segment| current.as_ref().is_some_and(|current| segment < current))
        .collect();
    let expired = Expired { events: next - from, segments: done.len() as u64 };
    shared
        .store
        .commit(move |tx| {
            let zeros = vec![0; ((next - from) * SLOT) as usize];
            tx.overwrite(SLOTS_LOG, from * SLOT, &zeros);
            tx.put(ROW, &next.to_be_bytes());
            rows.iter().for_each(|(key, row)| tx.put(key, row));
            done.iter().for_each(|segment| tx.delete_log(segment));
            Ok(())
        })
        .await?;
    Ok(expired)
}
