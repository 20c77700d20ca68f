//! Which tiles to write: a pure function of the entries.

use super::WIDTH;
use super::bundle::{EntryTooLong, decode_bundle, encode_entry};
use super::path::{Tile, TileKind, hashes_at};
use super::source::{TileFault, TileSource, read_bundle, read_hashes};
use crate::journal::tree::{fold, leaf_hash, subtrees, tile_root};
use crate::journal::{Hash, Head};

/// A file of the log: which tile, and its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TileFile {
    /// The tile; its path by `to_string`.
    pub tile: Tile,
    /// What the file holds.
    pub bytes: Vec<u8>,
}

impl TileFile {
    fn of_hashes(tile: Tile, hashes: &[Hash]) -> TileFile {
        TileFile { tile, bytes: hashes.concat() }
    }
}

/// Makes the tiles of a growing log. It holds the tree's right edge: at most
/// 255 hashes a level, and the entries of the last bundle.
///
/// A writer pushes the entries in their order, writes what [`full`] gives and
/// what [`partial`] gives, makes these durable, then signs a checkpoint for
/// [`head`]. After a restart it begins again with [`resume`] at the size of the
/// last checkpoint, and makes the same files, byte for byte.
///
/// [`full`]: TileBuilder::full
/// [`partial`]: TileBuilder::partial
/// [`head`]: TileBuilder::head
/// [`resume`]: TileBuilder::resume
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TileBuilder {
    /// The full tiles of leaves so far, with what is above them.
    upper: Upper,
    /// The leaf hashes after these, at most 255.
    leaves: Vec<Hash>,
    /// The entries of those leaves.
    bundle: Vec<u8>,
    full: Vec<TileFile>,
}

impl TileBuilder {
    /// A log without entries.
    pub fn new() -> TileBuilder {
        TileBuilder::default()
    }

    /// The log as it was with `size` entries, from the tiles on its right edge:
    /// at most one a level and one bundle are read. The caller compares
    /// [`head`](TileBuilder::head) with what it knows: the root depends on every
    /// hash that was read.
    pub fn resume(source: &dyn TileSource, size: u64) -> Result<TileBuilder, TileFault> {
        let upper = Upper::resume(source, size / WIDTH as u64, size)?;
        let (mut leaves, mut bundle) = (Vec::new(), Vec::new());
        if let Some(tile) = Tile::at(TileKind::Hashes(0), size / WIDTH as u64, size) {
            leaves = read_hashes(source, tile)?;
        }
        if let Some(tile) = Tile::at(TileKind::Entries, size / WIDTH as u64, size) {
            bundle = read_bundle(source, tile)?;
            let entries = decode_bundle(&bundle, tile.width()).ok_or(TileFault::NotABundle(tile))?;
            if entries.iter().map(|entry| leaf_hash(entry)).ne(leaves.iter().copied()) {
                return Err(TileFault::NotTheEntries(tile));
            }
        }
        Ok(TileBuilder { upper, leaves, bundle, full: Vec::new() })
    }

    /// Appends an entry.
    pub fn push(&mut self, entry: &[u8]) -> Result<(), EntryTooLong> {
        self.push_hashed(entry, leaf_hash(entry))
    }

    /// Appends an entry whose leaf hash was made elsewhere, on another core for
    /// instance.
    pub fn push_hashed(&mut self, entry: &[u8], leaf: Hash) -> Result<(), EntryTooLong> {
        encode_entry(entry, &mut self.bundle)?;
        self.leaves.push(leaf);
        if self.leaves.len() == WIDTH {
            let index = self.upper.tiles();
            let bytes = std::mem::take(&mut self.bundle);
            self.full.push(TileFile { tile: Tile::full(TileKind::Entries, index), bytes });
            self.full.push(TileFile::of_hashes(Tile::full(TileKind::Hashes(0), index), &self.leaves));
            self.upper.push(tile_root(&self.leaves), &mut self.full);
            self.leaves.clear();
        }
        Ok(())
    }

    /// The full tiles that were completed since the last call, entries before
    /// their hashes.
    pub fn full(&mut self) -> Vec<TileFile> {
        std::mem::take(&mut self.full)
    }

    /// The partial tiles of the log as it is now: those that a checkpoint of its
    /// size needs beside the full ones.
    pub fn partial(&self) -> Vec<TileFile> {
        let size = self.size();
        let mut files = Vec::new();
        if let Some(tile) = Tile::at(TileKind::Entries, self.upper.tiles(), size) {
            files.push(TileFile { tile, bytes: self.bundle.clone() });
        }
        if let Some(tile) = Tile::at(TileKind::Hashes(0), self.upper.tiles(), size) {
            files.push(TileFile::of_hashes(tile, &self.leaves));
        }
        files.extend(self.upper.partial());
        files
    }

    /// The number of entries.
    pub fn size(&self) -> u64 {
        self.upper.tiles() * WIDTH as u64 + self.leaves.len() as u64
    }

    /// The size, and the root over all entries (RFC 6962 section 2.1).
    pub fn head(&self) -> Head {
        Head { size: self.size(), root: self.upper.root_with(&self.leaves) }
    }
}

/// The tree above the full tiles of leaves: the right edge of each level from
/// 1 on. For whoever has the roots of those tiles already.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Upper {
    tiles: u64,
    /// The hashes of level 1 that no full tile has yet, at most 255; then those
    /// of level 2, and so on.
    edges: Vec<Vec<Hash>>,
}

impl Upper {
    /// The edge above the first `tiles` full tiles of leaves, read from a log
    /// that has `size` entries by now.
    pub fn resume(source: &dyn TileSource, tiles: u64, size: u64) -> Result<Upper, TileFault> {
        let mut edges = Vec::new();
        for level in 1.. {
            let hashes = hashes_at(level - 1, tiles);
            if hashes == 0 {
                break;
            }
            let mut edge = Vec::new();
            let width = (hashes % WIDTH as u64) as usize;
            if let Some(tile) = Tile::at(TileKind::Hashes(level), hashes / WIDTH as u64, size)
                && width > 0
            {
                edge = read_hashes(source, tile)?;
                edge.truncate(width);
            }
            edges.push(edge);
        }
        Ok(Upper { tiles, edges })
    }

    /// Appends the root of a full tile of leaves. The full tiles of hashes that
    /// this completes go to `full`, the lowest first.
    pub fn push(&mut self, root: Hash, full: &mut Vec<TileFile>) {
        self.tiles += 1;
        let mut hash = root;
        for (at, level) in (1u8..).enumerate() {
            if at == self.edges.len() {
                self.edges.push(Vec::new());
            }
            let edge = &mut self.edges[at];
            edge.push(hash);
            if edge.len() < WIDTH {
                break;
            }
            let index = hashes_at(level, self.tiles) - 1;
            full.push(TileFile::of_hashes(Tile::full(TileKind::Hashes(level), index), edge));
            hash = tile_root(edge);
            edge.clear();
        }
    }

    /// How many full tiles of leaves there are.
    pub fn tiles(&self) -> u64 {
        self.tiles
    }

    /// The partial tiles of these levels, the lowest first.
    pub fn partial(&self) -> Vec<TileFile> {
        // As if the log ended here: its size, which can't exceed 2^64 - 1.
        let size = self.tiles.saturating_mul(WIDTH as u64);
        let edges = (1u8..).zip(&self.edges).filter(|(_, edge)| !edge.is_empty());
        edges
            .filter_map(|(level, edge)| {
                let tile = Tile::at(TileKind::Hashes(level), hashes_at(level, self.tiles), size)?;
                Some(TileFile::of_hashes(tile, edge))
            })
            .collect()
    }

    /// The root of the tree that has these full tiles, and then `leaves`.
    pub fn root_with(&self, leaves: &[Hash]) -> Hash {
        let mut roots = Vec::new();
        self.edges.iter().rev().for_each(|edge| subtrees(edge, &mut roots));
        subtrees(leaves, &mut roots);
        fold(&roots)
    }
}

/// The tiles on the right edge of a log of `size` entries that aren't full: the
/// bundle, then the hashes from level 0 on.
pub fn right_edge(size: u64) -> Vec<Tile> {
    let kinds = std::iter::once(TileKind::Entries).chain((0..8).map(TileKind::Hashes));
    kinds
        .filter_map(|kind| {
            let level = if let TileKind::Hashes(level) = kind { level } else { 0 };
            Tile::at(kind, hashes_at(level, size) / WIDTH as u64, size)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Frontier;
    use crate::journal::tile::tests::{Files, entry, grown};
    use proptest::prelude::*;

    #[test]
    fn a_log_of_70_000_entries_has_the_tiles_of_the_specification() {
        let files = grown(70_000);
        let count = |prefix: &str| {
            let names = files.names();
            let all = names.iter().filter(|name| name.starts_with(prefix));
            (all.clone().filter(|n| !n.contains(".p/")).count(), all.filter(|n| n.contains(".p/")).count())
        };
        assert_eq!(count("tile/0/"), (273, 1));
        assert_eq!(count("tile/entries/"), (273, 1));
        assert_eq!((count("tile/1/"), count("tile/2/"), count("tile/3/")), ((1, 1), (0, 1), (0, 0)));
        let edge: Vec<String> = right_edge(70_000).iter().map(|tile| tile.to_string()).collect();
        assert_eq!(edge, ["tile/entries/273.p/112", "tile/0/273.p/112", "tile/1/001.p/17", "tile/2/000.p/1"]);
        assert!(edge.iter().all(|name| files.names().contains(name)));
        let edge: Vec<String> = right_edge(65_536).iter().map(|tile| tile.to_string()).collect();
        assert_eq!(edge, ["tile/2/000.p/1"]);
    }

    #[test]
    fn the_root_and_the_edge_are_right_at_each_size_and_where_tiles_end() {
        let mut builder = TileBuilder::new();
        let mut frontier = Frontier::default();
        for size in 0..66_000u64 {
            if size < 600 || (65_530..65_540).contains(&size) {
                assert_eq!(builder.head(), Head { size, root: frontier.root() });
                let named: Vec<Tile> = builder.partial().iter().map(|file| file.tile).collect();
                assert_eq!(named, right_edge(size), "{size}");
            }
            builder.push(&entry(size)).unwrap();
            frontier.push(leaf_hash(&entry(size)));
        }
    }

    #[test]
    fn a_builder_that_resumes_makes_the_same_files() {
        for size in [0, 1, 255, 256, 257, 511, 512, 65_535, 65_536, 65_537, 65_792] {
            let mut whole = TileBuilder::new();
            let files = Files::default();
            (0..size).for_each(|at| whole.push(&entry(at)).unwrap());
            files.write(whole.full());
            files.write(whole.partial());
            let mut resumed = TileBuilder::resume(&files, size).unwrap();
            assert_eq!(resumed, whole, "{size}");
            for at in size..size + 300 {
                whole.push(&entry(at)).unwrap();
                resumed.push(&entry(at)).unwrap();
            }
            assert_eq!((resumed.full(), resumed.partial()), (whole.full(), whole.partial()), "{size}");
            assert_eq!(resumed.head(), whole.head());
        }
    }

    #[test]
    fn a_builder_resumes_where_only_the_later_full_tiles_are_left() {
        let files = grown(70_000);
        for size in [1, 200, 65_000, 65_536] {
            let resumed = TileBuilder::resume(&files, size).unwrap();
            let mut whole = TileBuilder::new();
            (0..size).for_each(|at| whole.push(&entry(at)).unwrap());
            assert_eq!(resumed.head(), whole.head());
            assert_eq!(resumed.partial(), whole.partial(), "{size}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn the_tiles_do_not_depend_on_when_they_are_written(cuts in prop::collection::vec(0u64..300, 1..8)) {
            let mut stepwise = TileBuilder::new();
            let mut once = TileBuilder::new();
            let mut full = Vec::new();
            for count in cuts {
                let from = stepwise.size();
                (from..from + count).for_each(|at| stepwise.push(&entry(at)).unwrap());
                full.extend(stepwise.full());
                let _ = stepwise.partial();
            }
            (0..stepwise.size()).for_each(|at| once.push(&entry(at)).unwrap());
            prop_assert_eq!(full, once.full());
            prop_assert_eq!(stepwise.partial(), once.partial());
        }
    }
}
