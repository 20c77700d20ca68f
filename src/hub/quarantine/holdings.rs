//! How much the quarantine holds of each member, and how much it may.
//!
//! Without a ceiling, one member, or whoever has its password, could fill the
//! disk with messages that are refused. Beyond it the oldest of that member go;
//! those of others stay. How many went is kept for good.

use super::{PREFIX, Row, key};
use crate::hub::HubFault;
use crate::hub::recorded::{decode_row, encode_row};
use crate::store::{Store, Tx};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};

const DROPPED: &[u8] = b"quarantine-dropped/";

/// The most that is kept of one member's refused messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ceilings {
    /// So many messages.
    pub items: u64,
    /// So many bytes at rest.
    pub bytes: u64,
}

/// What went of a member's messages before their days were over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dropped {
    /// So many messages.
    pub messages: u64,
    /// So many bytes.
    pub bytes: u64,
    /// When the last went, in milliseconds since 1970.
    pub at: i64,
}

/// What the quarantine holds, by the member that the broker authenticated; nobody
/// is one too.
pub(in crate::hub) struct Holdings {
    ceilings: Ceilings,
    of: BTreeMap<String, Held>,
}

#[derive(Default)]
struct Held {
    /// Each message's index and bytes, the oldest first.
    items: VecDeque<(u64, u64)>,
    bytes: u64,
    /// Whether some went since the start.
    has_dropped: bool,
}

/// Whose message the row is of, as its holdings are named.
pub(super) fn owner(row: &Row) -> &str {
    row.user.as_deref().unwrap_or_default()
}

impl Holdings {
    /// What the store holds.
    pub(in crate::hub) fn load(store: &Store, ceilings: Ceilings) -> Result<Holdings, HubFault> {
        let mut holdings = Holdings { ceilings, of: BTreeMap::new() };
        for entry in store.scan(PREFIX) {
            let (key, row) = entry?;
            let index = key.last_chunk::<8>().map_or(0, |b| u64::from_be_bytes(*b));
            let row: Row = decode_row(&row)?;
            holdings.add(owner(&row), index, row.length);
        }
        Ok(holdings)
    }

    pub(super) fn add(&mut self, owner: &str, index: u64, bytes: u64) {
        let held = self.of.entry(owner.to_owned()).or_default();
        held.items.push_back((index, bytes));
        held.bytes += bytes;
    }

    pub(super) fn forget(&mut self, owner: &str, index: u64) {
        let Some(held) = self.of.get_mut(owner) else { return };
        if let Ok(at) = held.items.binary_search_by_key(&index, |(index, _)| *index)
            && let Some((_, bytes)) = held.items.remove(at)
        {
            held.bytes -= bytes;
        }
    }

    /// Whether with `bytes` more of `owner` something has to go.
    pub(in crate::hub) fn is_full(&self, owner: &str, bytes: u64) -> bool {
        self.of.get(owner).is_some_and(|held| {
            held.items.len() as u64 >= self.ceilings.items || held.bytes + bytes > self.ceilings.bytes
        })
    }

    /// The oldest messages of `owner` that are beyond a ceiling, and the first one
    /// that stays. The newest always does.
    pub(super) fn excess(&self, owner: &str) -> (Vec<u64>, Option<u64>) {
        let Some(held) = self.of.get(owner) else { return (Vec::new(), None) };
        let (mut items, mut bytes) = (held.items.len() as u64, held.bytes);
        let mut rest = held.items.iter().peekable();
        let mut gone = Vec::new();
        while items > 1 && (items > self.ceilings.items || bytes > self.ceilings.bytes) {
            let Some((index, length)) = rest.next() else { break };
            gone.push(*index);
            (items, bytes) = (items - 1, bytes - length);
        }
        (gone, rest.peek().map(|(index, _)| *index))
    }

    /// Says once a start that the ceiling of `owner` is reached.
    pub(super) fn tell(&mut self, owner: &str) {
        let Ceilings { items, bytes } = self.ceilings;
        let Some(held) = self.of.get_mut(owner) else { return };
        if !std::mem::replace(&mut held.has_dropped, true) {
            tracing::warn!(
                member = owner,
                max_items = items,
                max_mib = bytes >> 20,
                "the quarantine holds the most that it may of this member: from now on its oldest refused messages go"
            );
        }
    }
}

/// Notes within a commit that these messages of `owner` went.
pub(super) fn note(tx: &mut Tx<'_>, owner: &str, messages: u64, bytes: u64, at: i64) {
    let key = [DROPPED, owner.as_bytes()].concat();
    let before: Dropped = tx.get(&key).and_then(|row| serde_json::from_slice(&row).ok()).unwrap_or_default();
    let now = Dropped { messages: before.messages + messages, bytes: before.bytes + bytes, at };
    tx.put(&key, &encode_row(&now));
}

/// What went of whose messages, ever.
pub(in crate::hub) fn dropped(store: &Store) -> Result<Vec<(String, Dropped)>, HubFault> {
    let rows = store.scan(DROPPED).map(|entry| {
        let (key, row) = entry?;
        Ok((String::from_utf8_lossy(&key[DROPPED.len()..]).into_owned(), decode_row(&row)?))
    });
    rows.collect()
}

/// The row of message `index`, which is held.
pub(super) fn row(store: &Store, index: u64) -> Result<Option<Row>, HubFault> {
    store.get(&key(index))?.map(|row| decode_row(&row)).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_of_a_member_are_beyond_its_ceilings_and_the_newest_never_is() {
        let ceilings = Ceilings { items: 3, bytes: 100 };
        let mut holdings = Holdings { ceilings, of: BTreeMap::new() };
        assert_eq!(holdings.excess("sud"), (vec![], None));
        for index in 0..4 {
            holdings.add("sud", index, 10);
            holdings.add("nord", 10 + index, 30);
        }
        assert_eq!(holdings.excess("sud"), (vec![0], Some(1)));
        assert_eq!(holdings.excess("nord"), (vec![10], Some(11)));
        holdings.forget("sud", 0);
        holdings.forget("sud", 2);
        assert_eq!(holdings.excess("sud"), (vec![], Some(1)));
        assert!(!holdings.is_full("sud", 80) && holdings.is_full("sud", 81));
        assert!(!holdings.is_full("nobody", 1000));
        holdings.add("sud", 14, 200);
        assert_eq!(holdings.excess("sud"), (vec![1, 3], Some(14)));
    }
}
