//! The entries that the store holds: those that no durable tile has yet, and
//! some before them.
//!
//! They stand in logs of [`SEGMENT`] entries, `journal/recent/NUMBER.log`, each
//! entry with its length before it. A log whose entries are all in bundles
//! under a signed checkpoint is deleted, so that no entry is kept twice for
//! long.

use super::JournalFault;
use super::tile::WIDTH;
use crate::store::{Store, StoreFault, Tx};

/// How many entries a log holds: those below one tile of level 1.
pub(super) const SEGMENT: u64 = (WIDTH * WIDTH) as u64;

const PREFIX: &str = "journal/recent/";

/// The log of the entries from `number * SEGMENT` on.
pub(super) fn log(number: u64) -> String {
    format!("{PREFIX}{number:012}.log")
}

/// The number of the oldest log that is there.
pub(super) fn oldest(store: &Store) -> Option<u64> {
    let logs = store.logs(PREFIX);
    logs.first()?.strip_prefix(PREFIX)?.strip_suffix(".log")?.parse().ok()
}

/// Appends entries, the first of which is entry `index` of the journal.
pub(super) fn append<'a>(tx: &mut Tx<'_>, mut index: u64, entries: impl Iterator<Item = &'a [u8]>) {
    let mut entries = entries.peekable();
    while entries.peek().is_some() {
        let number = index / SEGMENT;
        tx.append_with(&log(number), 0, |out| {
            while index / SEGMENT == number
                && let Some(entry) = entries.next()
            {
                out.extend_from_slice(&(entry.len() as u32).to_le_bytes());
                out.extend_from_slice(entry);
                index += 1;
            }
        });
    }
}

/// A place in these logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cursor {
    /// The next entry.
    pub(super) index: u64,
    /// Where it begins in its log.
    offset: u64,
}

impl Cursor {
    /// The place of entry `index`.
    pub(super) fn at(store: &Store, index: u64) -> Result<Cursor, JournalFault> {
        let mut cursor = Cursor { index: index - index % SEGMENT, offset: 0 };
        while cursor.index < index {
            cursor.read(store, index, |_| Ok::<(), JournalFault>(()))?;
        }
        Ok(cursor)
    }

    /// Gives `each` the entries up to the end of the log or to entry `end`,
    /// whichever comes first.
    pub(super) fn read<E: From<JournalFault>>(
        &mut self,
        store: &Store,
        end: u64,
        mut each: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let store_fault = |fault: StoreFault| E::from(JournalFault::from(fault));
        let number = self.index / SEGMENT;
        let log = log(number);
        let length = store.log_len(&log).saturating_sub(self.offset);
        let bytes = store.read(&log, self.offset, length as usize).map_err(store_fault)?;
        let mut rest = bytes.as_slice();
        while self.index < end && self.index / SEGMENT == number {
            let damaged = || JournalFault::Damaged { at: self.index };
            let (size, tail) = rest.split_first_chunk::<4>().ok_or_else(damaged)?;
            let size = u32::from_le_bytes(*size) as usize;
            let (entry, tail) = tail.split_at_checked(size).ok_or_else(damaged)?;
            each(entry)?;
            rest = tail;
            self.index += 1;
            self.offset += 4 + size as u64;
        }
        if self.index.is_multiple_of(SEGMENT) {
            self.offset = 0;
        }
        Ok(())
    }
}
