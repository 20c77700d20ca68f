//! The tree as files: C2SP tlog-tiles (<https://c2sp.org/tlog-tiles>).
//!
//! A log is a `checkpoint` and *tiles*: runs of 256 hashes of the tree at every
//! eighth level, and bundles of 256 entries. A tile is a pure function of the
//! entries, written once.
//!
//! - [`Tile`] names one, and is its path;
//! - [`TileBuilder`] says which files to write as entries come;
//! - [`TileSource`] is where they are read from: a [`Folder`], or a server;
//! - [`Tree`] answers from them: roots, inclusion and consistency proofs.
//!
//! Why own: the crate `tlog_tiles` 0.2 brings sha2 0.10, base64 0.21 and
//! thiserror 1 beside ours (its companion `signed_note` a second ed25519-dalek),
//! and answers by the numbering of stored hashes of Go's sumdb, which tiles of
//! height 8 don't need; `sigstore-merkle` 0.15 verifies proofs and makes none,
//! over a crate that brings aws-lc. What is needed is a page each.

mod build;
mod bundle;
mod path;
mod read;
mod source;

pub use build::{TileBuilder, TileFile, Upper, right_edge};
pub use bundle::{EntryTooLong, MAX_ENTRY_BYTES, decode_bundle, encode_entry};
pub use path::{Tile, TileKind};
pub use read::Tree;
pub use source::{Folder, TileFault, TileSource, read_bundle, read_hashes};

/// The name of the checkpoint beside the tiles.
pub const CHECKPOINT: &str = "checkpoint";

/// How many hashes or entries a full tile holds.
pub const WIDTH: usize = 256;

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::sync::Mutex;

    /// A log in memory.
    #[derive(Default)]
    pub(crate) struct Files(pub Mutex<BTreeMap<String, Vec<u8>>>);

    impl Files {
        pub(crate) fn write(&self, files: Vec<TileFile>) {
            let mut all = self.0.lock().unwrap();
            for file in files {
                let before = all.insert(file.tile.to_string(), file.bytes.clone());
                assert!(before.is_none_or(|before| before == file.bytes), "{} was written before", file.tile);
            }
        }

        pub(crate) fn names(&self) -> Vec<String> {
            self.0.lock().unwrap().keys().cloned().collect()
        }
    }

    impl TileSource for Files {
        fn get(&self, path: &str) -> Result<Option<Vec<u8>>, TileFault> {
            Ok(self.0.lock().unwrap().get(path).cloned())
        }
    }

    /// An entry like no other, of some length.
    pub(crate) fn entry(at: u64) -> Vec<u8> {
        format!("entry {at}{}", ".".repeat((at % 7) as usize)).into_bytes()
    }

    /// The log of so many entries.
    pub(crate) fn grown(size: u64) -> Files {
        let files = Files::default();
        let mut builder = TileBuilder::new();
        (0..size).for_each(|at| builder.push(&entry(at)).unwrap());
        files.write(builder.full());
        files.write(builder.partial());
        files
    }
}
