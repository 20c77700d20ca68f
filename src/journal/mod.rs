//! The journal: entries in order, the Merkle tree over them, and what shows
//! others that it is what it was.
//!
//! An append-only log that holds no personal data: what was taken in, what
//! was delivered or withheld, which keys and agreements the hub went by
//! (WIRE.md section 6). The tree is that of RFC 6962 section 2.1; its frontier
//! is a row of the store, written in the commit that holds the entries, so
//! that entries, root and everything else of a batch are durable together.
//!
//! Outside the store the tree stands in files, [`tile`]s under a signed
//! [`Checkpoint`], which a [`Writer`] makes of what is committed; [`Check`] verifies a whole log, a [`Proof`] one entry, with
//! nothing but the log's key ([`LogKey`]).

mod check;
mod checkpoint;
mod entry;
mod proof;
mod recent;
mod standing;
pub mod tile;
mod tree;
mod verify;
mod writer;

pub use check::{Check, CheckFault};
pub use checkpoint::{Checkpoint, CheckpointFault, LogKey, SignedCheckpoint, WitnessKey, cosign};
pub use entry::{Entry, EntryFault, Name};
pub use proof::{Extra, MAX_PROOF_BYTES, Proof, ProofFileFault, Proven, message_name};
pub use standing::{LastCheckpoint, Standing, standing};
pub use tree::{Frontier, Hash, hex, leaf_hash, unhex};
pub use verify::{ProofFault, verify_consistency, verify_inclusion};
pub use writer::{COSIGNED, Writer, WriterFault};

use crate::store::{Store, StoreFault, Tx};
use sha2::{Digest, Sha256};
use tile::{Folder, Tile, TileFault, TileKind, WIDTH, decode_bundle, read_bundle};

/// The folder of the tiles and the checkpoint in the data folder.
pub const FOLDER: &str = "journal";
/// The mark in HEAD that says the size and the root.
const MARK: &str = "journal";
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
    recent::append(tx, first, leaves.iter().map(|leaf| leaf.bytes.as_slice()));
    leaves.iter().for_each(|leaf| frontier.push(leaf.hash));
    tx.put(FRONTIER_ROW, &frontier.encode());
    tx.mark(MARK, mark(&frontier.head()));
    Ok(first)
}

fn mark(head: &Head) -> String {
    format!("{} {}", head.size, hex(&head.root))
}

/// What a [`mark`] says.
fn mark_says(mark: &str) -> Option<Head> {
    let (size, root) = mark.split_once(' ')?;
    Some(Head { size: size.parse().ok()?, root: unhex(root)? })
}

fn head_of(row: Option<Vec<u8>>) -> Result<Head, StoreFault> {
    let frontier = match row {
        Some(row) => Frontier::decode(&row).ok_or_else(frontier_damaged)?,
        None => Frontier::default(),
    };
    Ok(frontier.head())
}

/// The journal's size and root as last committed.
pub fn head(store: &Store) -> Result<Head, StoreFault> {
    head_of(store.get(FRONTIER_ROW)?)
}

/// Reads every entry in order, from the bundles and from the store, and hashes
/// it again. Returns the entries, or the sentence that says at which entry the
/// journal disagrees with its root.
pub fn read_all(store: &Store) -> Result<Vec<Entry>, JournalFault> {
    let head = head(store)?;
    let mut frontier = Frontier::default();
    let mut entries = Vec::new();
    let mut read = |bytes: &[u8]| {
        let at = frontier.size();
        frontier.push(leaf_hash(bytes));
        entries.push(Entry::decode(bytes).map_err(|_| JournalFault::Damaged { at })?);
        Ok::<(), JournalFault>(())
    };
    let tiled = recent::oldest(store).map_or(0, |number| number * recent::SEGMENT);
    let folder = Folder(store.files(FOLDER).folder().to_owned());
    for index in 0..tiled / WIDTH as u64 {
        let tile = Tile::full(TileKind::Entries, index);
        let bundle = read_bundle(&folder, tile)?;
        let entries = decode_bundle(&bundle, WIDTH).ok_or(TileFault::NotABundle(tile))?;
        entries.into_iter().try_for_each(&mut read)?;
    }
    let mut cursor = recent::Cursor::at(store, tiled)?;
    while cursor.index < head.size {
        cursor.read(store, head.size, &mut read)?;
    }
    if head != frontier.head() {
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
    /// A bundle of entries can't be read.
    #[error("{0}; restore the data folder from a backup")]
    Tile(#[from] TileFault),
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
        log: recent::log(0),
        offset: 0,
        why: "the row of its Merkle frontier doesn't read back".to_owned(),
    }
}
