//! Verifying proofs: RFC 9162 sections 2.1.3.2 and 2.1.4.2 (which are those of
//! RFC 6962, written as algorithms).

use super::Head;
use super::tree::{Hash, fold, node_hash};

/// A proof doesn't hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofFault {
    /// The entry isn't one of the tree's.
    #[error("the proof is of entry {index}, and the checkpoint is over {size} entries")]
    Beyond {
        /// Which entry.
        index: u64,
        /// How many there are.
        size: u64,
    },
    /// The later tree is the smaller.
    #[error("the log had {old} entries and has {new} now: a log never shrinks")]
    Shrunk {
        /// The size before.
        old: u64,
        /// The size after.
        new: u64,
    },
    /// There are too many hashes, or too few.
    #[error("the proof has {0} hashes, which is too many or too few for such a tree")]
    Length(usize),
    /// The hashes lead to another root.
    #[error("the proof leads to another root than the checkpoint's: entry, proof or checkpoint was changed")]
    Root,
    /// The hashes lead to another earlier root.
    #[error("the later log doesn't begin with the entries of the earlier: its past was rewritten")]
    Rewritten,
}

/// Checks that `leaf` is the hash of entry `index` of the tree of `head`, by an
/// inclusion proof from the leaf up (RFC 9162 section 2.1.3.2). The proof has to
/// have exactly the hashes that it needs.
pub fn verify_inclusion(leaf: &Hash, index: u64, head: &Head, proof: &[Hash]) -> Result<(), ProofFault> {
    if index >= head.size {
        return Err(ProofFault::Beyond { index, size: head.size });
    }
    let length = Err(ProofFault::Length(proof.len()));
    let (mut node, mut last) = (index, head.size - 1);
    let mut root = *leaf;
    for hash in proof {
        if last == 0 {
            return length;
        }
        if node & 1 == 1 || node == last {
            root = node_hash(hash, &root);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            root = node_hash(&root, hash);
        }
        node >>= 1;
        last >>= 1;
    }
    match last {
        0 if root == head.root => Ok(()),
        0 => Err(ProofFault::Root),
        _ => length,
    }
}

/// Checks that the tree of `new` begins with the entries of the tree of `old`,
/// by a consistency proof (RFC 9162 section 2.1.4.2). Between trees of the same
/// size, and from a tree without entries, the proof is empty.
pub fn verify_consistency(old: &Head, new: &Head, proof: &[Hash]) -> Result<(), ProofFault> {
    if old.size > new.size {
        return Err(ProofFault::Shrunk { old: old.size, new: new.size });
    }
    let length = Err(ProofFault::Length(proof.len()));
    if old.size == 0 || old.size == new.size {
        return match proof.is_empty() {
            false => length,
            true if old.size == 0 && old.root != fold(&[]) => Err(ProofFault::Rewritten),
            true if old.size == new.size && old.root != new.root => Err(ProofFault::Rewritten),
            true => Ok(()),
        };
    }
    // A tree of a power of two is a node of the later one: its root begins the
    // proof, and isn't sent.
    let mut hashes = proof.iter();
    let first = if old.size.is_power_of_two() { Some(&old.root) } else { hashes.next() };
    let Some(first) = first else { return length };
    let (mut node, mut last) = (old.size - 1, new.size - 1);
    while node & 1 == 1 {
        node >>= 1;
        last >>= 1;
    }
    let (mut before, mut after) = (*first, *first);
    for hash in hashes {
        if last == 0 {
            return length;
        }
        if node & 1 == 1 || node == last {
            before = node_hash(hash, &before);
            after = node_hash(hash, &after);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            after = node_hash(&after, hash);
        }
        node >>= 1;
        last >>= 1;
    }
    match last {
        0 if before != old.root => Err(ProofFault::Rewritten),
        0 if after != new.root => Err(ProofFault::Root),
        0 => Ok(()),
        _ => length,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::tile::Tree;
    use crate::journal::tile::tests::{entry, grown};
    use crate::journal::tree::leaf_hash;
    use proptest::prelude::*;

    fn hash(hex: &str) -> Hash {
        let mut hash = [0; 32];
        for (at, byte) in hash.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&hex[at * 2..at * 2 + 2], 16).unwrap();
        }
        hash
    }

    const ROOT_3: &str = "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77";
    const ROOT_8: &str = "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328";

    /// The proofs that Certificate Transparency's implementations share (those of
    /// transparency-dev/merkle's testonly).
    #[test]
    fn the_certificate_transparency_vectors_verify() {
        let head = |size, root| Head { size, root: hash(root) };
        let leaf = leaf_hash(&[]);
        let proof = [
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ]
        .map(hash);
        assert_eq!(verify_inclusion(&leaf, 0, &head(8, ROOT_8), &proof), Ok(()));
        let proof = [
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ]
        .map(hash);
        assert_eq!(
            verify_inclusion(&leaf_hash(&[0x40, 0x41, 0x42, 0x43]), 5, &head(8, ROOT_8), &proof),
            Ok(())
        );
        let proof = [hash("fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125")];
        assert_eq!(verify_inclusion(&leaf_hash(&[0x10]), 2, &head(3, ROOT_3), &proof), Ok(()));
        let root_6 = "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef";
        let proof = [
            "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ]
        .map(hash);
        assert_eq!(verify_consistency(&head(6, root_6), &head(8, ROOT_8), &proof), Ok(()));
        let root_1 = "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d";
        let proof = [
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ]
        .map(hash);
        assert_eq!(verify_consistency(&head(1, root_1), &head(8, ROOT_8), &proof), Ok(()));
    }

    #[test]
    fn the_edges_of_consistency_are_strict() {
        let files = grown(9);
        let mut tree = Tree::new(&files, 9);
        let (empty, five, nine) = (tree.head(0).unwrap(), tree.head(5).unwrap(), tree.head(9).unwrap());
        assert_eq!(verify_consistency(&empty, &nine, &[]), Ok(()));
        assert_eq!(verify_consistency(&empty, &nine, &[[0; 32]]), Err(ProofFault::Length(1)));
        assert_eq!(
            verify_consistency(&Head { root: [0; 32], ..empty }, &nine, &[]),
            Err(ProofFault::Rewritten)
        );
        assert_eq!(verify_consistency(&five, &five, &[]), Ok(()));
        assert_eq!(verify_consistency(&five, &five, &[[0; 32]]), Err(ProofFault::Length(1)));
        assert_eq!(
            verify_consistency(&five, &Head { root: [0; 32], ..five }, &[]),
            Err(ProofFault::Rewritten)
        );
        assert_eq!(verify_consistency(&nine, &five, &[]), Err(ProofFault::Shrunk { old: 9, new: 5 }));
        assert_eq!(verify_consistency(&five, &nine, &[]), Err(ProofFault::Length(0)));
        let leaf = leaf_hash(&entry(0));
        assert_eq!(verify_inclusion(&leaf, 9, &nine, &[]), Err(ProofFault::Beyond { index: 9, size: 9 }));
        assert_eq!(verify_inclusion(&leaf, 0, &empty, &[]), Err(ProofFault::Beyond { index: 0, size: 0 }));
        let one = tree.head(1).unwrap();
        assert_eq!(verify_inclusion(&leaf, 0, &one, &[]), Ok(()));
        assert_eq!(verify_inclusion(&leaf, 0, &one, &[[0; 32]]), Err(ProofFault::Length(1)));
    }

    proptest! {
        /// One bit of any part, a hash more or less, another place or size: no.
        #[test]
        fn a_changed_proof_is_refused(
            size in 2u64..300, at in any::<prop::sample::Index>(), place in any::<prop::sample::Index>(), bit in 0usize..256
        ) {
            let files = grown(size);
            let mut tree = Tree::new(&files, size);
            let head = tree.head(size).unwrap();
            let flipped = |hash: &Hash| { let mut hash = *hash; hash[bit / 8] ^= 1 << (bit % 8); hash };
            let other = |head: &Head| Head { size: head.size, root: flipped(&head.root) };
            let index = at.index(size as usize) as u64;
            let leaf = leaf_hash(&entry(index));
            let proof = tree.inclusion(index, size).unwrap();
            let no = |leaf: &Hash, index, head: &Head, proof: &[Hash]| verify_inclusion(leaf, index, head, proof).is_err();
            prop_assert!(no(&flipped(&leaf), index, &head, &proof));
            prop_assert!(no(&leaf, index, &other(&head), &proof));
            prop_assert!(no(&leaf, (index + 1) % size, &head, &proof));
            prop_assert!(no(&leaf, index, &head, &[&proof[..], &[head.root]].concat()));
            prop_assert!(no(&leaf, index, &head, &proof[1..]));
            let mut changed = proof.clone();
            let one = place.index(proof.len());
            changed[one] = flipped(&proof[one]);
            prop_assert!(no(&leaf, index, &head, &changed));

            let old = tree.head(1 + at.index(size as usize - 1) as u64).unwrap();
            let proof = tree.consistency(old.size, size).unwrap();
            let no = |old: &Head, head: &Head, proof: &[Hash]| verify_consistency(old, head, proof).is_err();
            prop_assert!(no(&other(&old), &head, &proof));
            prop_assert!(no(&old, &other(&head), &proof));
            prop_assert!(no(&old, &head, &[&proof[..], &[head.root]].concat()));
            prop_assert!(no(&old, &head, &proof[1..]));
            let mut changed = proof.clone();
            let one = place.index(proof.len());
            changed[one] = flipped(&proof[one]);
            prop_assert!(no(&old, &head, &changed));
        }

        #[test]
        fn no_proof_makes_the_verifiers_panic(
            leaf in any::<Hash>(), index in any::<u64>(), sizes in any::<[u64; 2]>(), root in any::<Hash>(),
            proof in prop::collection::vec(any::<Hash>(), 0..70)
        ) {
            let head = |size| Head { size, root };
            for [a, b] in [sizes, [sizes[0] % 300, sizes[1] % 300], [u64::MAX, u64::MAX]] {
                prop_assert!(verify_inclusion(&leaf, index, &head(a), &proof).is_err());
                prop_assert!(verify_inclusion(&leaf, a.wrapping_sub(1), &head(a), &proof).is_err());
                let _ = verify_consistency(&head(a), &head(b), &proof);
                let _ = verify_consistency(&head(b), &head(a), &proof);
                let _ = verify_consistency(&Head { size: 1 << (a % 64), root: leaf }, &head(b), &proof);
            }
        }
    }
}
