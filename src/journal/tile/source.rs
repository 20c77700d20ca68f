//! Where tiles are read from.

use super::bundle::split_bundle;
use super::path::{Tile, TileKind};
use super::{MAX_ENTRY_BYTES, WIDTH};
use crate::journal::Hash;
use std::io::{ErrorKind, Read};
use std::path::PathBuf;

/// A log's files: in a folder, or on a server.
///
/// Nothing that comes from here is trusted: whoever reads compares with a
/// checkpoint.
pub trait TileSource: Send + Sync {
    /// The bytes of the file at `path`, a tile's or `checkpoint`; none where
    /// there is no such file. A source may cut what is longer than any tile.
    fn get(&self, path: &str) -> Result<Option<Vec<u8>>, TileFault>;
}

/// A log can't be read.
#[derive(Debug, thiserror::Error)]
pub enum TileFault {
    /// A file can't be read.
    #[error("{path} of the journal can't be read: {source}")]
    Unreadable {
        /// The file, in the log.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A server doesn't answer, or not as it should.
    #[error("{path} of the journal can't be fetched: {why}")]
    Unreachable {
        /// The file, in the log.
        path: String,
        /// Why, in words.
        why: String,
    },
    /// A tile isn't there.
    #[error("{0} of the journal isn't there, and a log of this size has it")]
    Missing(Tile),
    /// A tile of hashes has another length than its width says.
    #[error("{tile} of the journal has {bytes} bytes instead of {expected}")]
    Length {
        /// The tile.
        tile: Tile,
        /// How many it has.
        bytes: usize,
        /// How many it should have.
        expected: usize,
    },
    /// A bundle doesn't hold as many entries as its width says.
    #[error("{0} of the journal doesn't hold as many entries as its width says, each after its length")]
    NotABundle(Tile),
    /// A bundle's entries don't hash to the tile of leaves.
    #[error("the entries in {0} of the journal don't hash to the leaves in the tile of level 0")]
    NotTheEntries(Tile),
    /// What was asked for is beyond the log.
    #[error("the journal has {size} entries: there is no tree of {asked}, or no entry so far")]
    Beyond {
        /// What was asked for.
        asked: u64,
        /// How many entries there are.
        size: u64,
    },
}

/// The longest bundle, in bytes.
const MAX_BUNDLE_BYTES: usize = WIDTH * (MAX_ENTRY_BYTES + 2);

/// A log in a folder.
#[derive(Clone, Debug)]
pub struct Folder(pub PathBuf);

impl TileSource for Folder {
    fn get(&self, path: &str) -> Result<Option<Vec<u8>>, TileFault> {
        let unreadable = |source| TileFault::Unreadable { path: path.to_owned(), source };
        let file = match std::fs::File::open(self.0.join(path)) {
            Ok(file) => file,
            Err(fault) if matches!(fault.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            Err(fault) => return Err(unreadable(fault)),
        };
        let mut bytes = Vec::new();
        file.take(MAX_BUNDLE_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        Ok(Some(bytes))
    }
}

/// The bytes of `tile`, and which file they are of: where a partial tile is gone,
/// the full one that took its place.
fn fetch(source: &dyn TileSource, tile: Tile) -> Result<(Tile, Vec<u8>), TileFault> {
    if let Some(bytes) = source.get(&tile.to_string())? {
        return Ok((tile, bytes));
    }
    let full = Tile::full(tile.kind(), tile.index());
    match source.get(&full.to_string())? {
        Some(bytes) => Ok((full, bytes)),
        None => Err(TileFault::Missing(tile)),
    }
}

/// The hashes of `tile`: exactly as many as its width says.
pub fn read_hashes(source: &dyn TileSource, tile: Tile) -> Result<Vec<Hash>, TileFault> {
    let (file, bytes) = fetch(source, tile)?;
    let expected = file.width() * 32;
    if bytes.len() != expected || file.kind() == TileKind::Entries {
        return Err(TileFault::Length { tile: file, bytes: bytes.len(), expected });
    }
    let mut hashes = bytes.as_chunks::<32>().0.to_vec();
    hashes.truncate(tile.width());
    Ok(hashes)
}

/// The bytes of the bundle `tile`: exactly as many entries as its width says,
/// which [`decode_bundle`](super::decode_bundle) takes apart.
pub fn read_bundle(source: &dyn TileSource, tile: Tile) -> Result<Vec<u8>, TileFault> {
    let (file, mut bytes) = fetch(source, tile)?;
    let not_one = || TileFault::NotABundle(file);
    let (entries, rest) = split_bundle(&bytes, file.width()).ok_or_else(not_one)?;
    if !rest.is_empty() {
        return Err(not_one());
    }
    let length = entries.iter().take(tile.width()).map(|entry| entry.len() + 2).sum();
    bytes.truncate(length);
    Ok(bytes)
}
