//! Checking a whole log from outside: every bundle, every tile, the root.
//!
//! Tiles are held against the checkpoint from the root down: what the right edge
//! says has to give the signed root, then each full tile has to hash to its
//! place in the tile above, and each entry to its leaf. So the tile that is
//! wrong is the one that is named.

use super::tile::{
    Tile, TileFault, TileKind, TileSource, Tree, WIDTH, decode_bundle, read_bundle, read_hashes,
};
use super::tree::tile_root;
use super::verify::{ProofFault, verify_consistency};
use super::{Hash, Head, leaf_hash};
use crate::tasks::crunch;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A log isn't what its checkpoint says.
#[derive(Debug, thiserror::Error)]
pub enum CheckFault {
    /// A tile can't be read, or isn't of the form.
    #[error("{0}")]
    Tile(#[source] TileFault),
    /// The tiles on the right edge don't give the signed root.
    #[error(
        "the tiles on the right edge don't give the checkpoint's root over {size} entries; wrong is {}",
        suspects(tiles)
    )]
    Root {
        /// The checkpoint's size.
        size: u64,
        /// Those whose hashes aren't the roots of the tiles below, or the hashes
        /// of the entries; empty where all are, and the checkpoint is of another log.
        tiles: Vec<Tile>,
    },
    /// A tile doesn't hash to its place in the tile above.
    #[error("{0} is wrong: its hashes don't give the hash at its place in the tile above")]
    Hashes(Tile),
    /// An entry doesn't hash to its leaf.
    #[error("{tile} is wrong: entry {index} in it doesn't hash to its leaf")]
    Entry {
        /// The bundle.
        tile: Tile,
        /// The entry's index in the log.
        index: u64,
    },
    /// The log isn't the one that was checked before.
    #[error("this isn't the log that was checked before, or its past was rewritten: {0}")]
    Inconsistent(#[source] ProofFault),
}

impl From<TileFault> for CheckFault {
    fn from(fault: TileFault) -> CheckFault {
        CheckFault::Tile(fault)
    }
}

fn suspects(tiles: &[Tile]) -> String {
    match tiles {
        [] => "the checkpoint: it isn't of these entries".to_owned(),
        tiles => tiles.iter().map(Tile::to_string).collect::<Vec<_>>().join(", "),
    }
}

/// A log under a checkpoint, to be checked.
pub struct Check {
    source: Arc<dyn TileSource>,
    head: Head,
    /// Full tiles of level 1 and above that were held against the checkpoint:
    /// the last of each level.
    upper: BTreeMap<u8, (u64, Vec<Hash>)>,
    next: u64,
}

impl Check {
    /// Begins the check of the log at `source` against `head`, which is that of a
    /// checkpoint whose signature was verified. The right edge is checked here.
    ///
    /// With `known`, which was checked before, the log has to be consistent with
    /// it, and the check begins at its end.
    pub fn begin(source: Arc<dyn TileSource>, head: Head, known: Option<Head>) -> Result<Check, CheckFault> {
        let mut tree = Tree::new(&*source, head.size);
        if tree.head(head.size)?.root != head.root {
            return Err(CheckFault::Root { size: head.size, tiles: wrong_on_the_edge(&*source, head.size) });
        }
        let mut next = 0;
        if let Some(known) = known {
            let shrunk = ProofFault::Shrunk { old: known.size, new: head.size };
            if known.size > head.size {
                return Err(CheckFault::Inconsistent(shrunk));
            }
            let proof = tree.consistency(known.size, head.size)?;
            verify_consistency(&known, &head, &proof).map_err(CheckFault::Inconsistent)?;
            next = known.size / WIDTH as u64;
            if known.size == head.size {
                next = head.size.div_ceil(WIDTH as u64);
            }
        }
        drop(tree);
        Ok(Check { source, head, upper: BTreeMap::new(), next })
    }

    /// How many entries are checked.
    pub fn done(&self) -> u64 {
        (self.next * WIDTH as u64).min(self.head.size)
    }

    /// Checks the next share of the log, on all cores: up to 65,536 entries.
    /// `select` sees each entry's index and bytes once they are checked; what it
    /// gives is returned in order. None once all is checked.
    pub async fn step<T, F>(&mut self, select: F) -> Result<Option<Vec<T>>, CheckFault>
    where
        T: Send + 'static,
        F: Fn(u64, &[u8]) -> Option<T> + Clone + Send + 'static,
    {
        let tiles = self.head.size.div_ceil(WIDTH as u64);
        if self.next >= tiles {
            return Ok(None);
        }
        // The tiles of leaves below one tile of level 1.
        let above = self.next / WIDTH as u64;
        let end = ((above + 1) * WIDTH as u64).min(tiles);
        let roots = match Tile::at(TileKind::Hashes(1), above, self.head.size) {
            Some(_) => self.authentic(1, above)?,
            None => Vec::new(),
        };
        let jobs = (self.next..end).map(|index| (index, roots.get((index % WIDTH as u64) as usize).copied()));
        let (source, size) = (Arc::clone(&self.source), self.head.size);
        let checked = crunch(jobs.collect(), move |share: Vec<(u64, Option<Hash>)>| {
            share
                .into_iter()
                .map(|(index, root)| check_leaves(&*source, size, index, root, &select))
                .collect()
        });
        let mut selected = Vec::new();
        for part in checked.await {
            selected.extend(part?);
        }
        self.next = end;
        Ok(Some(selected))
    }

    /// The size and root up to which the log is checked, once that is known to be
    /// consistent with the checkpoint: what a later check can begin with.
    pub fn known(&self) -> Result<Head, CheckFault> {
        if self.done() == self.head.size {
            return Ok(self.head);
        }
        let mut tree = Tree::new(&*self.source, self.head.size);
        let known = tree.head(self.done())?;
        let proof = tree.consistency(known.size, self.head.size)?;
        verify_consistency(&known, &self.head, &proof).map_err(CheckFault::Inconsistent)?;
        Ok(known)
    }

    /// The hashes of a tile of level 1 or above, held against those above it.
    fn authentic(&mut self, level: u8, index: u64) -> Result<Vec<Hash>, CheckFault> {
        if let Some((kept, hashes)) = self.upper.get(&level)
            && *kept == index
        {
            return Ok(hashes.clone());
        }
        let beyond = TileFault::Beyond { asked: index, size: self.head.size };
        let tile = Tile::at(TileKind::Hashes(level), index, self.head.size).ok_or(beyond)?;
        let hashes = read_hashes(&*self.source, tile)?;
        // One that isn't full is on the right edge: it gave the root.
        if tile.is_full() {
            let above = self.authentic(level + 1, index / WIDTH as u64)?;
            if above.get((index % WIDTH as u64) as usize) != Some(&tile_root(&hashes)) {
                return Err(CheckFault::Hashes(tile));
            }
        }
        self.upper.insert(level, (index, hashes.clone()));
        Ok(hashes)
    }
}

/// Checks one tile of leaves and its bundle. `root` is what the tile has to hash
/// to; none for the last one where it isn't full, which gave the root.
fn check_leaves<T>(
    source: &dyn TileSource,
    size: u64,
    index: u64,
    root: Option<Hash>,
    select: &impl Fn(u64, &[u8]) -> Option<T>,
) -> Result<Vec<T>, CheckFault> {
    let beyond = || TileFault::Beyond { asked: index, size };
    let tile = Tile::at(TileKind::Hashes(0), index, size).ok_or_else(beyond)?;
    let leaves = read_hashes(source, tile)?;
    if tile.is_full() && root != Some(tile_root(&leaves)) {
        return Err(CheckFault::Hashes(tile));
    }
    let tile = Tile::at(TileKind::Entries, index, size).ok_or_else(beyond)?;
    let bundle = read_bundle(source, tile)?;
    let entries = decode_bundle(&bundle, tile.width()).ok_or(TileFault::NotABundle(tile))?;
    let first = index * WIDTH as u64;
    let mut selected = Vec::new();
    for (index, (entry, leaf)) in (first..).zip(entries.into_iter().zip(&leaves)) {
        if leaf_hash(entry) != *leaf {
            return Err(CheckFault::Entry { tile, index });
        }
        selected.extend(select(index, entry));
    }
    Ok(selected)
}

/// The tiles of the right edge that aren't what is below them.
fn wrong_on_the_edge(source: &dyn TileSource, size: u64) -> Vec<Tile> {
    let agrees = |tile: &Tile| -> Result<bool, TileFault> {
        let hashes = read_hashes(source, *tile)?;
        let TileKind::Hashes(level) = tile.kind() else { return Ok(true) };
        let first = tile.index() * WIDTH as u64;
        if level > 0 {
            for (index, hash) in (first..).zip(&hashes) {
                let below = Tile::full(TileKind::Hashes(level - 1), index);
                if tile_root(&read_hashes(source, below)?) != *hash {
                    return Ok(false);
                }
            }
            return Ok(true);
        }
        let Some(bundle) = Tile::at(TileKind::Entries, tile.index(), size) else { return Ok(false) };
        let bytes = read_bundle(source, bundle)?;
        let entries = decode_bundle(&bytes, bundle.width()).unwrap_or_default();
        Ok(entries.into_iter().map(leaf_hash).eq(hashes))
    };
    let edge = super::tile::right_edge(size).into_iter().filter(|tile| tile.kind() != TileKind::Entries);
    edge.filter(|tile| !agrees(tile).unwrap_or(false)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::tile::tests::{Files, entry, grown};

    fn head(size: u64) -> Head {
        Tree::new(&grown(size), size).head(size).unwrap()
    }

    async fn check(files: &Arc<Files>, head: Head, known: Option<Head>) -> Result<Vec<u64>, CheckFault> {
        let source: Arc<dyn TileSource> = Arc::clone(files) as Arc<dyn TileSource>;
        let mut check = Check::begin(source, head, known)?;
        let mut seen = Vec::new();
        while let Some(more) = check.step(|index, bytes| (bytes == entry(index)).then_some(index)).await? {
            seen.extend(more);
            assert!(check.known()?.size <= head.size);
        }
        assert_eq!(check.done(), head.size);
        Ok(seen)
    }

    #[tokio::test]
    async fn a_whole_log_checks_and_each_entry_is_seen_once() {
        for size in [0, 1, 2, 255, 256, 257, 600, 65_536, 65_537, 66_000] {
            let seen = check(&Arc::new(grown(size)), head(size), None).await.unwrap();
            assert!(seen.into_iter().eq(0..size), "{size}");
        }
    }

    #[tokio::test]
    async fn a_check_goes_on_where_the_last_one_ended() {
        let files = Arc::new(grown(66_000));
        for known in [0, 1, 256, 65_000, 65_536, 65_999, 66_000] {
            let seen = check(&files, head(66_000), Some(head(known))).await.unwrap();
            let from = if known == 66_000 { known } else { known / 256 * 256 };
            assert!(seen.into_iter().eq(from..66_000), "{known}");
        }
        let other = Head { root: [1; 32], ..head(300) };
        let fault = check(&files, head(66_000), Some(other)).await.unwrap_err();
        assert!(matches!(fault, CheckFault::Inconsistent(ProofFault::Rewritten)));
        let fault = check(&Arc::new(grown(300)), head(300), Some(head(301))).await.unwrap_err();
        assert!(matches!(fault, CheckFault::Inconsistent(ProofFault::Shrunk { old: 301, new: 300 })));
    }

    #[tokio::test]
    async fn the_tile_that_is_wrong_is_named() {
        let size = 66_000;
        for (path, said) in [
            ("tile/entries/017", "tile/entries/017 is wrong: entry"),
            ("tile/entries/257.p/208", "tile/entries/257.p/208 is wrong: entry"),
            ("tile/0/017", "tile/0/017 is wrong"),
            ("tile/1/000", "tile/1/000 is wrong"),
            ("tile/0/257.p/208", "wrong is tile/0/257.p/208"),
            ("tile/1/001.p/1", "wrong is tile/1/001.p/1"),
            ("tile/2/000.p/1", "wrong is tile/2/000.p/1"),
        ] {
            let files = Arc::new(grown(size));
            // Within the text of an entry, or a hash.
            files.0.lock().unwrap().get_mut(path).unwrap()[5] ^= 1;
            let fault = check(&files, head(size), None).await.unwrap_err();
            assert!(fault.to_string().contains(said), "{path}: {fault}");
        }
        let files = Arc::new(grown(size));
        let fault = check(&files, Head { size, root: [1; 32] }, None).await.unwrap_err();
        assert!(fault.to_string().ends_with("the checkpoint: it isn't of these entries"), "{fault}");
        files.0.lock().unwrap().remove("tile/entries/100");
        let fault = check(&files, head(size), None).await.unwrap_err();
        assert!(fault.to_string().starts_with("tile/entries/100 of the journal isn't there"), "{fault}");
    }
}
