//! How a journal stands, as its files and HEAD tell: for whoever looks at it
//! from beside, be it in use or at rest.

use super::tile::{CHECKPOINT, Folder};
use super::writer::{agreed, last_checkpoint};
use super::{FOLDER, Head, LogKey, MARK, SignedCheckpoint, WriterFault, mark_says};
use crate::keys::PublicKey;
use crate::store::last_mark;
use std::path::Path;
use std::time::SystemTime;

/// A journal whose tiles, last checkpoint and store agree.
#[derive(Clone, Debug)]
pub struct Standing {
    /// How many entries the store committed.
    pub committed: u64,
    /// The last checkpoint; none where none was signed.
    pub last: Option<LastCheckpoint>,
}

/// The checkpoint that is in its place.
#[derive(Clone, Debug)]
pub struct LastCheckpoint {
    /// The size and the root that it is over.
    pub head: Head,
    /// When it was written; none where the system doesn't tell.
    pub at: Option<SystemTime>,
    origin: String,
    note: String,
}

impl LastCheckpoint {
    /// It, where `key` signed it.
    pub fn signed_by(&self, key: &PublicKey) -> Option<SignedCheckpoint> {
        let log = LogKey { name: self.origin.clone(), key: key.clone() };
        SignedCheckpoint::open(&self.note, &log).ok()
    }
}

/// Looks at the journal of the hub `name` in the folder `data`. The store isn't
/// opened, and may be in use; a few files are read, whatever the journal's size.
///
/// Fails where the tiles on the right edge, the last checkpoint and what HEAD says
/// of the store aren't of one journal, as a start of the hub would.
pub fn standing(data: &Path, name: &str) -> Result<Standing, WriterFault> {
    let folder = Folder(data.join(FOLDER));
    // In this order: what is signed is committed, and so what is read later says
    // no less.
    let at = std::fs::metadata(folder.0.join(CHECKPOINT)).and_then(|file| file.modified()).ok();
    let known = last_checkpoint(&folder, name)?;
    let committed = match last_mark(data, MARK)? {
        Some(mark) => mark_says(&mark).ok_or(WriterFault::Mark)?,
        None => super::Frontier::default().head(),
    };
    let Some((note, known)) = known else { return Ok(Standing { committed: committed.size, last: None }) };
    agreed(&folder, Some(known.head), known.head.size, committed)?;
    let last = LastCheckpoint { head: known.head, at, origin: known.origin, note };
    Ok(Standing { committed: committed.size, last: Some(last) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::{Entry, Leaf, Writer, append};
    use crate::keys::PrivateKey;
    use crate::store::{Store, StoreOptions};

    fn key() -> PrivateKey {
        PrivateKey::from_seed(&[7; 32])
    }

    fn commit(store: &Store, entries: u64) {
        let entry = |at| Entry::Withheld {
            at: at as i64,
            event: [1; 32],
            recipient: "cafat".into(),
            agreement: "emploi:1".into(),
        };
        let leaves: Vec<Leaf> = (0..entries).map(|at| Leaf::new(&entry(at))).collect();
        store.commit_blocking(move |tx| append(tx, &leaves)).unwrap();
    }

    #[test]
    fn a_journal_is_looked_at_while_it_is_in_use_and_when_it_is_at_rest() {
        let folder = tempfile::tempdir().unwrap();
        let (data, other) = (folder.path(), PrivateKey::from_seed(&[8; 32]));
        let nothing = standing(data, "nc").unwrap();
        assert!(nothing.committed == 0 && nothing.last.is_none());
        let store = Store::open(data, StoreOptions::default()).unwrap();
        commit(&store, 300);
        let unsigned = standing(data, "nc").unwrap();
        assert!(unsigned.committed == 300 && unsigned.last.is_none());
        let mut writer = Writer::open(&store, "nc", key()).unwrap();
        writer.pass().unwrap();
        commit(&store, 7);
        let look = || {
            let seen = standing(data, "nc").unwrap();
            let last = seen.last.unwrap();
            assert_eq!((seen.committed, last.head.size), (307, 300));
            assert!(last.signed_by(key().public()).is_some() && last.signed_by(other.public()).is_none());
        };
        look();
        drop((writer, store));
        look();
        assert!(matches!(standing(data, "other"), Err(WriterFault::Origin { .. })));
        std::fs::remove_dir_all(data.join("journal/tile/0")).unwrap();
        assert!(matches!(standing(data, "nc"), Err(WriterFault::Tiles { size: 300, .. })));
        std::fs::remove_file(data.join("HEAD")).unwrap();
        assert!(matches!(standing(data, "nc"), Err(WriterFault::Older { committed: 0, signed: 300 })));
        std::fs::write(data.join("HEAD"), "{}").unwrap();
        assert!(standing(data, "nc").unwrap_err().to_string().contains("HEAD can't be used"));
    }
}
