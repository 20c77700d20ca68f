//! Merkle tree hashing, RFC 6962 section 2.1.

use super::Head;
use sha2::{Digest, Sha256};

/// A node's hash: SHA-256.
pub type Hash = [u8; 32];

/// The hash of a leaf: `SHA-256(0x00 || entry)`.
pub fn leaf_hash(entry: &[u8]) -> Hash {
    Sha256::new().chain_update([0]).chain_update(entry).finalize().into()
}

/// The hash of two nodes: `SHA-256(0x01 || left || right)`.
pub(super) fn node_hash(left: &Hash, right: &Hash) -> Hash {
    Sha256::new().chain_update([1]).chain_update(left).chain_update(right).finalize().into()
}

/// The right edge of a growing tree: the root of each full subtree, largest
/// first. It is all that appending and the root need.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    subtrees: Vec<Hash>,
}

impl Frontier {
    /// The number of leaves.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Appends a leaf.
    pub fn push(&mut self, leaf: Hash) {
        let mut node = leaf;
        // Each trailing one bit is a full subtree of the size of the new one.
        for _ in 0..self.size.trailing_ones() {
            if let Some(left) = self.subtrees.pop() {
                node = node_hash(&left, &node);
            }
        }
        self.subtrees.push(node);
        self.size += 1;
    }

    /// The root over all leaves; of no leaves, SHA-256 of nothing.
    pub fn root(&self) -> Hash {
        fold(&self.subtrees)
    }

    /// The number of leaves, and the root over them.
    pub fn head(&self) -> Head {
        Head { size: self.size(), root: self.root() }
    }

    /// The frontier's bytes: the size in 8 bytes, little-endian, then the
    /// hashes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = self.size.to_le_bytes().to_vec();
        self.subtrees.iter().for_each(|hash| out.extend_from_slice(hash));
        out
    }

    /// Reads a frontier; `None` where the bytes aren't one.
    pub fn decode(bytes: &[u8]) -> Option<Frontier> {
        let (size, rest) = bytes.split_first_chunk::<8>()?;
        let size = u64::from_le_bytes(*size);
        let (hashes, remainder) = rest.as_chunks::<32>();
        let fits = remainder.is_empty() && hashes.len() == size.count_ones() as usize;
        fits.then(|| Frontier { size, subtrees: hashes.to_vec() })
    }
}

/// The root over the roots of full subtrees, largest first; of none, SHA-256 of
/// nothing.
pub(super) fn fold(subtrees: &[Hash]) -> Hash {
    match subtrees.split_last() {
        None => Sha256::digest([]).into(),
        Some((smallest, larger)) => larger.iter().rfold(*smallest, |right, left| node_hash(left, &right)),
    }
}

/// Appends the roots of the full subtrees of `nodes`, largest first, to `roots`.
pub(super) fn subtrees(nodes: &[Hash], roots: &mut Vec<Hash>) {
    let mut rest = nodes;
    while let Some(log) = rest.len().checked_ilog2() {
        let (largest, tail) = rest.split_at(1 << log);
        roots.push(tile_root(largest));
        rest = tail;
    }
}

/// The root of a full subtree over `nodes`, as many as a power of two.
pub(super) fn tile_root(nodes: &[Hash]) -> Hash {
    let mut level = nodes.to_vec();
    while level.len() > 1 {
        level = level.chunks(2).map(|pair| node_hash(&pair[0], &pair[pair.len() - 1])).collect();
    }
    level.first().copied().unwrap_or_default()
}

/// Lowercase hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

/// The `N` bytes of as many pairs of hexadecimal digits; none where it isn't so.
pub fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != 2 * N || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; N];
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The reference leaves and roots that Certificate Transparency's
    /// implementations share.
    #[test]
    fn the_roots_are_those_of_the_certificate_transparency_vectors() {
        let leaves: [&[u8]; 8] = [
            &[],
            &[0x00],
            &[0x10],
            &[0x20, 0x21],
            &[0x30, 0x31],
            &[0x40, 0x41, 0x42, 0x43],
            &[0x50, 0x51, 0x52, 0x53, 0x54, 0x55, 0x56, 0x57],
            &[0x60, 0x61, 0x62, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0x6a, 0x6b, 0x6c, 0x6d, 0x6e, 0x6f],
        ];
        let roots = [
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
            "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
            "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
            "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
            "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
        ];
        let mut frontier = Frontier::default();
        assert_eq!(hex(&frontier.root()), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        for (leaf, root) in leaves.iter().zip(roots) {
            frontier.push(leaf_hash(leaf));
            assert_eq!(hex(&frontier.root()), root);
        }
    }

    /// The definition of RFC 6962 section 2.1, word for word.
    pub(crate) fn mth(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => Sha256::digest([]).into(),
            [leaf] => *leaf,
            _ => {
                let k = leaves.len().next_power_of_two() / 2;
                node_hash(&mth(&leaves[..k]), &mth(&leaves[k..]))
            }
        }
    }

    proptest! {
        #[test]
        fn the_frontier_agrees_with_the_definition(count in 0usize..300) {
            let leaves: Vec<Hash> = (0..count).map(|i| leaf_hash(&i.to_le_bytes())).collect();
            let mut frontier = Frontier::default();
            leaves.iter().for_each(|leaf| frontier.push(*leaf));
            prop_assert_eq!(frontier.root(), mth(&leaves));
            prop_assert_eq!(Frontier::decode(&frontier.encode()), Some(frontier));
        }

        #[test]
        fn no_bytes_make_the_decoder_panic(bytes in any::<Vec<u8>>()) {
            if let Some(frontier) = Frontier::decode(&bytes) {
                prop_assert_eq!(frontier.encode(), bytes);
            }
        }
    }
}
