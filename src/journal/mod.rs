//! The journal: entries in order, and the Merkle tree over them.
//!
//! An append-only log that holds no personal data: what was taken in, what
//! was delivered or withheld, which keys and agreements the hub went by
//! (WIRE.md section 6). The tree is that of RFC 6962 section 2.1; its frontier
//! is a row of the store, written in the commit that holds the entries, so
//! that entries, root and everything else of a batch are durable together.

mod entry;
mod tree;

pub use entry::{Entry, EntryFault, Name};
pub use tree::{Frontier, Hash, leaf_hash};

use crate::store::{Store, StoreFault, Tx};
use sha2::{Digest, Sha256};

/// The log that holds the entries, each with its length before it.
pub const ENTRIES_LOG: &str = "journal/entries";
const FRONTIER_ROW: &[u8] = b"journal/frontier";

/// An encoded entry and its leaf hash, ready to be appended. Made by whoever
/// has a core to spare, so that the committer hashes only the inner nodes.
pub struct Leaf {
    bytes: Vec<u8>,
    hash: Hash,
}

impl Leaf {
    /// The leaf of `entry`.
    pub fn new(entry: &Entry) -> Leaf {
        let bytes = entry.encode();
        let hash = leaf_hash(&bytes);
        Leaf { bytes, hash }
    }
}

/// What a message's name in the journal is made of: `SHA-256(signature || 0x00
/// || body)` (WIRE.md section 6).
pub fn fingerprint(signature: &str, body: &[u8]) -> [u8; 32] {
    Sha256::new().chain_update(signature).chain_update([0]).chain_update(body).finalize().into()
}

/// How many entries the journal has, and the root over them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The number of entries.
    pub size: u64,
    /// The Merkle root (RFC 6962 section 2.1).
    pub root: Hash,
}

/// Appends `leaves` in order within the commit `tx`. Returns the index of the
/// first. The root goes into HEAD with the commit.
pub fn append(tx: &mut Tx<'_>, leaves: &[Leaf]) -> Result<u64, StoreFault> {
    let mut frontier = match tx.get(FRONTIER_ROW) {
        Some(row) => Frontier::decode(&row).ok_or_else(frontier_damaged)?,
        None => Frontier::default(),
    };
    let first = frontier.size();
    if leaves.is_empty() {
        return Ok(first);
    }
    let mut bytes = Vec::with_capacity(leaves.iter().map(|l| l.bytes.len() + 4).sum());
    for leaf in leaves {
        bytes.extend_from_slice(&(leaf.bytes.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&leaf.bytes);
        frontier.push(leaf.hash);
    }
    tx.append(ENTRIES_LOG, &bytes);
    tx.put(FRONTIER_ROW, &frontier.encode());
    tx.mark("journal", format!("{} {}", frontier.size(), tree::hex(&frontier.root())));
    Ok(first)
}

/// The journal's size and root as last committed.
pub fn head(store: &Store) -> Result<Head, StoreFault> {
    let frontier = match store.get(FRONTIER_ROW)? {
        Some(row) => Frontier::decode(&row).ok_or_else(frontier_damaged)?,
        None => Frontier::default(),
    };
    Ok(Head { size: frontier.size(), root: frontier.root() })
}

/// Reads every entry in order and hashes it again. Returns the entries, or the
/// sentence that says at which entry the journal disagrees with its root.
pub fn read_all(store: &Store) -> Result<Vec<Entry>, JournalFault> {
    let mut frontier = Frontier::default();
    let mut entries = Vec::new();
    let end = store.log_len(ENTRIES_LOG);
    let mut offset = 0;
    while offset < end {
        let at = frontier.size();
        let damaged = move |_| JournalFault::Damaged { at };
        let mut length = [0; 4];
        length.copy_from_slice(&store.read(ENTRIES_LOG, offset, 4)?);
        let length = u32::from_le_bytes(length) as usize;
        let bytes = store.read(ENTRIES_LOG, offset + 4, length)?;
        frontier.push(leaf_hash(&bytes));
        entries.push(Entry::decode(&bytes).map_err(damaged)?);
        offset += 4 + length as u64;
    }
    let head = head(store)?;
    if head != (Head { size: frontier.size(), root: frontier.root() }) {
        return Err(JournalFault::Root { read: frontier.size(), committed: head.size });
    }
    Ok(entries)
}

/// The journal doesn't say what was committed.
#[derive(Debug, thiserror::Error)]
pub enum JournalFault {
    /// The store can't be read.
    #[error(transparent)]
    Store(#[from] StoreFault),
    /// An entry isn't one.
    #[error("entry {at} of the journal is damaged; restore the store from a backup")]
    Damaged {
        /// The entry's index.
        at: u64,
    },
    /// The entries don't hash to the committed root.
    #[error(
        "the journal's {read} entries don't hash to the root that was committed over {committed}; \
         restore the store from a backup"
    )]
    Root {
        /// How many entries were read.
        read: u64,
        /// How many were committed.
        committed: u64,
    },
}

fn frontier_damaged() -> StoreFault {
    StoreFault::Damaged {
        log: ENTRIES_LOG.to_owned(),
        offset: 0,
        why: "the row of its Merkle frontier doesn't read back".to_owned(),
    }
}
