//! Writing the tree as files: tiles of what is committed, made durable, and then
//! a checkpoint for them.
//!
//! The store's commit stays the truth, and tiles are a pure function of the
//! entries: what a crash left half-done is made again, byte for byte. A
//! checkpoint is signed for entries that are durable in the store and in tiles,
//! and only where the tiles' root is the one that the store committed; so the
//! tree never shrinks, and never changes, below one that was signed.

use super::tile::{CHECKPOINT, Folder, Tile, TileBuilder, TileFault, TileFile, TileKind};
use super::{
    Checkpoint, CheckpointFault, FOLDER, FRONTIER_ROW, Head, JournalFault, LogKey, SignedCheckpoint, head,
    head_of, mark, recent,
};
use crate::keys::PrivateKey;
use crate::store::{Files, Store, StoreFault};
use std::collections::BTreeSet;

/// The name of the newest checkpoint that a witness cosigned.
pub const COSIGNED: &str = "checkpoint.cosigned";

/// Tiles are written once they have about so many bytes, or nothing follows.
const SHARE_BYTES: usize = 8 << 20;

/// The journal can't be published: its files and the store don't agree, or one
/// of them can't be read or written.
#[derive(Debug, thiserror::Error)]
pub enum WriterFault {
    /// The store, or a file, can't be read or written.
    #[error(transparent)]
    Store(#[from] StoreFault),
    /// The entries can't be read.
    #[error(transparent)]
    Journal(#[from] JournalFault),
    /// The checkpoint isn't one.
    #[error(
        "{CHECKPOINT} in the folder journal/ of the data folder can't be used ({0}); restore it from a backup"
    )]
    Checkpoint(#[from] CheckpointFault),
    /// The checkpoint is of another hub.
    #[error(
        "the journal in the data folder is of the hub {found:?}, and this hub's name is {name:?}: set `name` back, \
         since who checks a journal knows it by that name"
    )]
    Origin {
        /// Whose it is.
        found: String,
        /// The hub's name.
        name: String,
    },
    /// The store is older than the checkpoint.
    #[error(
        "the store holds {committed} entries of the journal, and a checkpoint over {signed} was signed, which others \
         may have seen: the store was restored from an older backup. Restore the whole data folder from one that was \
         taken after that checkpoint; if there is none, this journal can't go on: give the hub another name and another \
         checkpoint key, remove journal/{CHECKPOINT}, and tell the members why"
    )]
    Older {
        /// How many entries the store has.
        committed: u64,
        /// How many the checkpoint is over.
        signed: u64,
    },
    /// The tiles aren't those of the checkpoint.
    #[error(
        "the tiles in the folder journal/ don't give the root of its last checkpoint, over {size} entries{}; restore \
         the data folder from a backup",
        why.as_ref().map(|why| format!(" ({why})")).unwrap_or_default()
    )]
    Tiles {
        /// The checkpoint's size.
        size: u64,
        /// What is wrong, where one tile is.
        why: Option<TileFault>,
    },
    /// The entries aren't those that were committed, or that were signed before.
    #[error(
        "the {size} entries of the journal don't give the root that the store committed: what is in tiles under the \
         last checkpoint and what is in the store aren't of one journal; restore the whole data folder from one backup"
    )]
    Root {
        /// How many entries there are.
        size: u64,
    },
    /// HEAD and the state don't say the same.
    #[error(
        "HEAD and the state don't tell of the same journal; restore the whole data folder from one backup"
    )]
    Mark,
    /// An earlier version of this program kept the journal.
    #[error(
        "the data folder holds a journal of an earlier version of this program, which kept its entries in journal/entries \
         and published none; begin with an empty data folder"
    )]
    Unpublished,
    /// An entry is too long for a bundle.
    #[error(transparent)]
    TooLong(#[from] super::tile::EntryTooLong),
}

/// Writes the tiles and the checkpoint of a store's journal. There is one at a
/// time. After a fault it is of no use: open another.
pub struct Writer {
    store: Store,
    files: Files,
    name: String,
    key: PrivateKey,
    builder: TileBuilder,
    cursor: recent::Cursor,
    /// The checkpoint that is in its place.
    signed: Option<SignedCheckpoint>,
    /// Partial tiles that are in their places.
    partial: BTreeSet<Tile>,
    /// Full tiles whose partial ones may go.
    completed: Vec<Tile>,
}

impl Writer {
    /// Opens the journal of `store` to go on with it. Its checkpoints are of the
    /// log `name` and signed by `key`.
    ///
    /// Checks that the last checkpoint, the tiles on the right edge, the store
    /// and HEAD are of one journal: a few files are read, whatever its size.
    /// Whether what the store has beyond that checkpoint continues it is seen by
    /// the first [`Writer::pass`].
    pub fn open(store: &Store, name: &str, key: PrivateKey) -> Result<Writer, WriterFault> {
        let files = store.files(FOLDER);
        let folder = Folder(files.folder().to_owned());
        if store.log_len("journal/entries") > 0 {
            return Err(WriterFault::Unpublished);
        }
        let committed = head(store)?;
        if committed.size > 0 && store.mark(super::MARK)? != Some(mark(&committed)) {
            return Err(WriterFault::Mark);
        }
        let known = last_checkpoint(&folder, name)?;
        // Without a checkpoint, what the store still holds is tiled anew.
        let size = match &known {
            Some((_, known)) => known.head.size,
            None => recent::oldest(store).unwrap_or(0) * recent::SEGMENT,
        };
        let builder = agreed(&folder, known.as_ref().map(|(_, known)| known.head), size, committed)?;
        // By another key: it was changed, and the same tree is signed again.
        let log = LogKey { name: name.to_owned(), key: key.public().clone() };
        let signed = known.and_then(|(note, _)| SignedCheckpoint::open(&note, &log).ok());
        let partial = builder.partial().iter().map(|file| file.tile).collect();
        // Those before the right edge: whoever wrote them may have ended before
        // their partial ones were removed.
        let kinds = std::iter::once(TileKind::Entries).chain((0..8).map(TileKind::Hashes));
        let last = kinds.filter_map(|kind| {
            let per_hash = if let TileKind::Hashes(level) = kind { u32::from(level) * 8 } else { 0 };
            let full = size.checked_shr(per_hash + 8).unwrap_or(0);
            Some(Tile::full(kind, full.checked_sub(1)?))
        });
        Ok(Writer {
            cursor: recent::Cursor::at(store, size)?,
            store: store.clone(),
            name: name.to_owned(),
            completed: last.collect(),
            files,
            key,
            builder,
            signed,
            partial,
        })
    }

    /// The checkpoint that is in its place; none where none was signed by this
    /// key so far.
    pub fn signed(&self) -> Option<&SignedCheckpoint> {
        self.signed.as_ref()
    }

    /// How many entries are in tiles.
    pub fn size(&self) -> u64 {
        self.builder.size()
    }

    /// Tiles what is durable in the store, and signs a checkpoint for it. Returns
    /// whether there is a new one. It blocks for as long as the disk takes.
    pub fn pass(&mut self) -> Result<bool, WriterFault> {
        // Reading alone would see a commit that isn't durable yet. One that
        // changes nothing is answered when those before it are, and costs nothing.
        let head = head_of(self.store.commit_blocking(|tx| Ok(tx.get(FRONTIER_ROW)))?)?;
        if head.size == 0 || self.signed.as_ref().is_some_and(|signed| signed.head() == head) {
            return Ok(false);
        }
        let mut files = Vec::new();
        while self.builder.size() < head.size {
            let builder = &mut self.builder;
            self.cursor.read(&self.store, head.size, |entry| Ok::<(), WriterFault>(builder.push(entry)?))?;
            files.extend(self.builder.full());
            if files.iter().map(|file| file.bytes.len()).sum::<usize>() > SHARE_BYTES {
                self.write(std::mem::take(&mut files))?;
            }
        }
        if self.builder.head() != head {
            return Err(WriterFault::Root { size: head.size });
        }
        let partial = self.builder.partial();
        let on_edge = partial.iter().map(|file| file.tile).collect();
        files.extend(partial.into_iter().filter(|file| !self.partial.contains(&file.tile)));
        self.write(files)?;
        self.partial = on_edge;
        let signed = Checkpoint::new(&self.name, head).sign(&self.key)?;
        self.files.write(&[(CHECKPOINT.to_owned(), signed.render().as_bytes())])?;
        self.signed = Some(signed);
        self.tidy()?;
        Ok(true)
    }

    fn write(&mut self, files: Vec<TileFile>) -> Result<(), StoreFault> {
        let named: Vec<_> = files.iter().map(|file| (file.tile.to_string(), file.bytes.as_slice())).collect();
        self.files.write(&named)?;
        self.completed.extend(files.iter().map(|file| file.tile).filter(Tile::is_full));
        Ok(())
    }

    /// Puts a checkpoint with the lines of witnesses in its place, where it is
    /// still the newest, and where the newest cosigned one stands. Returns
    /// whether it is still the newest.
    pub fn publish_cosigned(&mut self, cosigned: SignedCheckpoint) -> Result<bool, WriterFault> {
        let text = cosigned.render();
        let is_newest = self.signed.as_ref().is_some_and(|signed| signed.head() == cosigned.head());
        let mut files = vec![(COSIGNED.to_owned(), text.as_bytes())];
        if is_newest {
            files.push((CHECKPOINT.to_owned(), text.as_bytes()));
        }
        self.files.write(&files)?;
        if is_newest {
            self.signed = Some(cosigned);
        }
        Ok(is_newest)
    }

    /// Removes what a signed checkpoint made superfluous: partial tiles of full
    /// ones, and what the store holds of entries that are in bundles.
    fn tidy(&mut self) -> Result<(), StoreFault> {
        for tile in self.completed.drain(..) {
            self.files.remove_folder(&format!("{tile}.p"));
        }
        let tiled = self.builder.size() / recent::SEGMENT;
        // The newest log stays, so that it says how far the deleted ones went.
        let last = tiled.min((self.builder.size() - 1) / recent::SEGMENT);
        let Some(oldest) = recent::oldest(&self.store).filter(|oldest| *oldest < last) else { return Ok(()) };
        self.store.commit_blocking(move |tx| {
            (oldest..last).for_each(|number| tx.delete_log(&recent::log(number)));
            Ok(())
        })
    }
}

/// The right edge of the tiles of the first `size` entries, where they, the
/// checkpoint over `signed` and what the store committed are of one journal.
pub(super) fn agreed(
    folder: &Folder,
    signed: Option<Head>,
    size: u64,
    committed: Head,
) -> Result<TileBuilder, WriterFault> {
    if size > committed.size {
        return Err(WriterFault::Older { committed: committed.size, signed: size });
    }
    let tiles = |why| WriterFault::Tiles { size, why };
    let builder = TileBuilder::resume(folder, size).map_err(|why| tiles(Some(why)))?;
    if signed.is_some_and(|signed| builder.head() != signed) {
        return Err(tiles(None));
    }
    if signed.is_some_and(|signed| size == committed.size && signed != committed) {
        return Err(WriterFault::Root { size });
    }
    Ok(builder)
}

/// The checkpoint that was signed last: the note, and what it says.
pub(super) fn last_checkpoint(
    folder: &Folder,
    name: &str,
) -> Result<Option<(String, Checkpoint)>, WriterFault> {
    use super::tile::TileSource;
    let bytes = folder.get(CHECKPOINT).map_err(JournalFault::from)?;
    let Some(bytes) = bytes else { return Ok(None) };
    let note = String::from_utf8(bytes).map_err(|_| CheckpointFault::Form("text isn't UTF-8"))?;
    let known = Checkpoint::read_unverified(&note)?;
    match known.origin == name {
        true => Ok(Some((note, known))),
        false => Err(WriterFault::Origin { found: known.origin, name: name.to_owned() }),
    }
}

#[cfg(test)]
mod tests;
