//! What a log's tiles say: roots, inclusion proofs, consistency proofs.

use super::path::{Tile, TileKind};
use super::source::{TileFault, TileSource, read_bundle, read_hashes};
use super::{WIDTH, decode_bundle};
use crate::journal::tree::{fold, tile_root};
use crate::journal::{Hash, Head};
use std::collections::BTreeMap;

/// How many tiles are kept in memory: the edges of two proofs, and more.
const KEPT_TILES: usize = 64;

/// The tree of a log at one size, read from its tiles as they are needed.
///
/// What it answers is what the tiles say, which proves nothing: roots are to be
/// compared with a signed checkpoint, proofs to be verified against it
/// ([`verify_inclusion`](crate::journal::verify_inclusion),
/// [`verify_consistency`](crate::journal::verify_consistency)).
pub struct Tree<'a> {
    source: &'a dyn TileSource,
    size: u64,
    kept: BTreeMap<Tile, Vec<Hash>>,
}

impl<'a> Tree<'a> {
    /// The tree of the first `size` entries. `size` is that of a checkpoint: a
    /// log has the tiles of those.
    pub fn new(source: &'a dyn TileSource, size: u64) -> Tree<'a> {
        Tree { source, size, kept: BTreeMap::new() }
    }

    /// The number of entries.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The size and the root of the first `size` entries.
    pub fn head(&mut self, size: u64) -> Result<Head, TileFault> {
        self.within(size)?;
        Ok(Head { size, root: self.range(0, size)? })
    }

    /// The inclusion proof of entry `index` in the tree of the first `size`
    /// entries (RFC 9162 section 2.1.3.1), from the leaf up.
    pub fn inclusion(&mut self, index: u64, size: u64) -> Result<Vec<Hash>, TileFault> {
        self.within(size)?;
        if index >= size {
            return Err(TileFault::Beyond { asked: index, size });
        }
        let mut proof = Vec::new();
        let (mut low, mut high) = (0, size);
        while high - low > 1 {
            let middle = low + split(high - low);
            if index < middle {
                proof.push(self.range(middle, high)?);
                high = middle;
            } else {
                proof.push(self.range(low, middle)?);
                low = middle;
            }
        }
        proof.reverse();
        Ok(proof)
    }

    /// The consistency proof between the trees of the first `old` and the first
    /// `new` entries (RFC 9162 section 2.1.4.1). It is empty where `old` is 0 or
    /// `new`.
    pub fn consistency(&mut self, old: u64, new: u64) -> Result<Vec<Hash>, TileFault> {
        self.within(new)?;
        if old > new {
            return Err(TileFault::Beyond { asked: old, size: new });
        }
        if old == 0 {
            return Ok(Vec::new());
        }
        let mut proof = Vec::new();
        let (mut low, mut high) = (0, new);
        // Whoever verifies has the old root: it needn't be in the proof.
        let mut is_known = true;
        while high != old {
            let middle = low + split(high - low);
            if old <= middle {
                proof.push(self.range(middle, high)?);
                high = middle;
            } else {
                proof.push(self.range(low, middle)?);
                low = middle;
                is_known = false;
            }
        }
        if !is_known {
            proof.push(self.range(low, high)?);
        }
        proof.reverse();
        Ok(proof)
    }

    /// The bytes of entry `index`, from its bundle.
    pub fn entry(&self, index: u64) -> Result<Vec<u8>, TileFault> {
        let beyond = TileFault::Beyond { asked: index, size: self.size };
        let tile = Tile::at(TileKind::Entries, index / WIDTH as u64, self.size).ok_or(beyond)?;
        let bundle = read_bundle(self.source, tile)?;
        let entries = decode_bundle(&bundle, tile.width()).ok_or(TileFault::NotABundle(tile))?;
        let beyond = TileFault::Beyond { asked: index, size: self.size };
        entries.get((index % WIDTH as u64) as usize).map(|entry| entry.to_vec()).ok_or(beyond)
    }

    fn within(&self, size: u64) -> Result<(), TileFault> {
        match size <= self.size {
            true => Ok(()),
            false => Err(TileFault::Beyond { asked: size, size: self.size }),
        }
    }

    /// The Merkle tree hash of the entries from `low` up to `high`, where a proof
    /// needs it: `low` is a multiple of a power of two that is at least
    /// `high - low`.
    fn range(&mut self, low: u64, high: u64) -> Result<Hash, TileFault> {
        let mut roots = Vec::new();
        let mut low = low;
        while let Some(height) = (high - low).checked_ilog2() {
            roots.push(self.node(height as u8, low >> height)?);
            low += 1 << height;
        }
        Ok(fold(&roots))
    }

    /// The root of full subtree `index` of those of 2^`height` entries.
    fn node(&mut self, height: u8, index: u64) -> Result<Hash, TileFault> {
        let (level, count) = (height / 8, 1u64 << (height % 8));
        let first = index << (height % 8);
        let beyond = TileFault::Beyond { asked: index, size: self.size };
        let tile = Tile::at(TileKind::Hashes(level), first / WIDTH as u64, self.size).ok_or(beyond)?;
        let hashes = match self.kept.remove(&tile) {
            Some(hashes) => hashes,
            None => read_hashes(self.source, tile)?,
        };
        let from = (first % WIDTH as u64) as usize;
        let root = hashes.get(from..from + count as usize).map(tile_root);
        if self.kept.len() >= KEPT_TILES {
            self.kept.pop_first();
        }
        self.kept.insert(tile, hashes);
        root.ok_or(TileFault::Beyond { asked: index, size: self.size })
    }
}

/// The largest power of two below `count`, which is over 1.
fn split(count: u64) -> u64 {
    1 << (count - 1).ilog2()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::leaf_hash;
    use crate::journal::tile::tests::{Files, entry, grown};
    use crate::journal::tree::tests::mth;
    use crate::journal::{verify_consistency, verify_inclusion};

    fn leaves(size: u64) -> Vec<Hash> {
        (0..size).map(|at| leaf_hash(&entry(at))).collect()
    }

    /// RFC 6962 section 2.1.1, word for word.
    fn path(m: usize, leaves: &[Hash]) -> Vec<Hash> {
        if leaves.len() <= 1 {
            return Vec::new();
        }
        let k = leaves.len().next_power_of_two() / 2;
        if m < k {
            [path(m, &leaves[..k]), vec![mth(&leaves[k..])]].concat()
        } else {
            [path(m - k, &leaves[k..]), vec![mth(&leaves[..k])]].concat()
        }
    }

    /// RFC 6962 section 2.1.2, word for word.
    fn subproof(m: usize, leaves: &[Hash], is_known: bool) -> Vec<Hash> {
        if m == leaves.len() {
            return if is_known { Vec::new() } else { vec![mth(leaves)] };
        }
        let k = leaves.len().next_power_of_two() / 2;
        if m <= k {
            [subproof(m, &leaves[..k], is_known), vec![mth(&leaves[k..])]].concat()
        } else {
            [subproof(m - k, &leaves[k..], false), vec![mth(&leaves[..k])]].concat()
        }
    }

    /// Every size to 300, in one log of 300: roots and proofs as the definition
    /// has them, and they verify.
    #[test]
    fn roots_and_proofs_are_those_of_the_definition_at_every_size_to_300() {
        let files = grown(300);
        let leaves = leaves(300);
        let mut tree = Tree::new(&files, 300);
        for size in 0..=300usize {
            let head = tree.head(size as u64).unwrap();
            assert_eq!(head.root, mth(&leaves[..size]));
            for index in (0..size).filter(|i| i % 13 == size % 13 || *i == 0 || i + 1 == size) {
                let proof = tree.inclusion(index as u64, size as u64).unwrap();
                assert_eq!(proof, path(index, &leaves[..size]), "{index} of {size}");
                assert_eq!(verify_inclusion(&leaves[index], index as u64, &head, &proof), Ok(()));
            }
            for old in (1..=size).filter(|i| i % 17 == size % 17 || *i == 1 || i + 1 >= size) {
                let before = tree.head(old as u64).unwrap();
                let proof = tree.consistency(old as u64, size as u64).unwrap();
                assert_eq!(proof, subproof(old, &leaves[..size], true), "{old} of {size}");
                assert_eq!(verify_consistency(&before, &head, &proof), Ok(()));
            }
        }
    }

    #[test]
    fn proofs_at_the_borders_of_tiles_verify() {
        let files = grown(66_000);
        let mut tree = Tree::new(&files, 66_000);
        let sizes = [1, 2, 255, 256, 257, 511, 512, 513, 65_535, 65_536, 65_537, 65_792, 66_000];
        for (at, size) in sizes.into_iter().enumerate() {
            let head = tree.head(size).unwrap();
            for index in [0, 1, 254, 255, 256, 257, 65_534, 65_535, 65_536, size / 2, size - 1] {
                if index < size {
                    let proof = tree.inclusion(index, size).unwrap();
                    let leaf = leaf_hash(&tree.entry(index).unwrap());
                    assert_eq!(leaf, leaf_hash(&entry(index)));
                    assert_eq!(verify_inclusion(&leaf, index, &head, &proof), Ok(()), "{index} of {size}");
                }
            }
            for old in &sizes[..=at] {
                let proof = tree.consistency(*old, size).unwrap();
                let before = tree.head(*old).unwrap();
                assert_eq!(verify_consistency(&before, &head, &proof), Ok(()), "{old} of {size}");
            }
        }
    }

    #[test]
    fn what_is_beyond_the_log_or_not_there_is_said() {
        let files = grown(300);
        let mut tree = Tree::new(&files, 300);
        assert!(matches!(tree.head(301), Err(TileFault::Beyond { asked: 301, size: 300 })));
        assert!(matches!(tree.inclusion(300, 300), Err(TileFault::Beyond { .. })));
        assert!(matches!(tree.inclusion(0, 0), Err(TileFault::Beyond { .. })));
        assert!(matches!(tree.consistency(3, 2), Err(TileFault::Beyond { .. })));
        assert!(matches!(tree.entry(300), Err(TileFault::Beyond { .. })));
        files.0.lock().unwrap().remove("tile/0/000");
        let fault = Tree::new(&files, 300).inclusion(3, 300).unwrap_err();
        assert_eq!(fault.to_string(), "tile/0/000 of the journal isn't there, and a log of this size has it");
        files.0.lock().unwrap().insert("tile/0/000".into(), vec![0; 8191]);
        let fault = Tree::new(&files, 300).inclusion(3, 300).unwrap_err();
        assert_eq!(fault.to_string(), "tile/0/000 of the journal has 8191 bytes instead of 8192");
        let empty = Files::default();
        assert_eq!(Tree::new(&empty, 0).head(0).unwrap().root, mth(&[]));
        assert!(Tree::new(&empty, 1).head(1).is_err());
    }
}
