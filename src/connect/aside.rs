//! What is set aside: a record or a message that can't be used is kept with its
//! reason, and the others go on.

use crate::event::Message;
use crate::store::{StoreFault, Tx};
use serde::{Deserialize, Serialize};

/// The log of what was set aside, each with its length before it.
pub const LOG: &str = "set-aside/items";
/// What the keys of its index begin with.
pub const INDEX: &[u8] = b"set-aside/";

/// What the index says of one thing set aside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// When, in milliseconds since 1970.
    pub at: i64,
    /// What happened to it: `unverified`, `not mapped`, …
    pub what: String,
    /// A sentence that names the field and not the value.
    pub why: String,
    /// Where it begins in the log.
    pub offset: u64,
    /// Its length in bytes.
    pub length: u64,
}

/// Something on its way to be set aside.
pub(super) struct Item {
    what: &'static str,
    why: String,
    bytes: Vec<u8>,
}

impl Item {
    /// A message.
    pub(super) fn message(what: &'static str, why: &str, message: &Message) -> Item {
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        Item { what, why: why.to_owned(), bytes }
    }

    /// A record of the member's software.
    pub(super) fn record(what: &'static str, why: &str, record: &serde_json::Value) -> Item {
        Item { what, why: why.to_owned(), bytes: record.to_string().into_bytes() }
    }
}

/// Writes items within a commit.
pub(super) fn write(tx: &mut Tx<'_>, items: &[Item]) -> Result<(), StoreFault> {
    for item in items {
        let offset = tx.append(LOG, &item.bytes);
        let row = Row {
            at: jiff::Timestamp::now().as_millisecond(),
            what: item.what.to_owned(),
            why: item.why.clone(),
            offset,
            length: item.bytes.len() as u64,
        };
        let key = [INDEX, &offset.to_be_bytes()].concat();
        tx.put(&key, &serde_json::to_vec(&row).unwrap_or_default());
        tracing::warn!(what = row.what, why = row.why, "set aside; the others go on");
    }
    Ok(())
}
