//! Rows of the state: those of the rooms, and the store's own.

use super::{Shared, StoreFault};
use std::sync::Arc;

/// The byte with which the store's own keys begin, and no other.
pub(super) const OWN: u8 = 0;

/// The row of the last commit: its number and the count of rows, 8 bytes each,
/// little-endian.
pub(super) const COMMIT: &[u8] = b"\0commit";

/// The prefix of the rows that hold the length of a log.
pub(super) const LOG: &[u8] = b"\0log/";

/// The prefix of the rows of marks.
pub(super) const MARK: &[u8] = b"\0mark/";

/// The prefix of overwritings that are decided and perhaps not done yet.
pub(super) const REDO: &[u8] = b"\0redo/";

/// The prefix of logs that are deleted and perhaps not unlinked yet.
pub(super) const GONE: &[u8] = b"\0gone/";

fn key(prefix: &[u8], name: &str) -> Vec<u8> {
    [prefix, name.as_bytes()].concat()
}

pub(super) fn log(name: &str) -> Vec<u8> {
    key(LOG, name)
}

pub(super) fn mark(name: &str) -> Vec<u8> {
    key(MARK, name)
}

pub(super) fn gone(name: &str) -> Vec<u8> {
    key(GONE, name)
}

pub(super) fn redo(number: u32) -> Vec<u8> {
    [REDO, &number.to_be_bytes()].concat()
}

/// Two numbers in a row, 16 bytes.
pub(super) fn pair(a: u64, b: u64) -> Vec<u8> {
    [a.to_le_bytes(), b.to_le_bytes()].concat()
}

pub(super) fn read_pair(value: &[u8]) -> Option<(u64, u64)> {
    let (a, b) = value.split_first_chunk::<8>()?;
    Some((u64::from_le_bytes(*a), u64::from_le_bytes(b.try_into().ok()?)))
}

/// An overwriting in a row: the offset, the length of the log's name, the
/// name, the bytes.
pub(super) fn overwriting(log: &str, offset: u64, bytes: &[u8]) -> Vec<u8> {
    [&offset.to_le_bytes()[..], &(log.len() as u32).to_le_bytes(), log.as_bytes(), bytes].concat()
}

pub(super) fn read_overwriting(value: &[u8]) -> Option<(&str, u64, &[u8])> {
    let (offset, rest) = value.split_first_chunk::<8>()?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let (log, bytes) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    Some((std::str::from_utf8(log).ok()?, u64::from_le_bytes(*offset), bytes))
}

/// Rows of the state in the order of their keys, each a key and a value, read
/// one by one.
pub struct Rows {
    shared: Arc<Shared>,
    rows: sled::Iter,
}

impl Rows {
    pub(super) fn new(shared: &Arc<Shared>, rows: sled::Iter) -> Rows {
        Rows { shared: shared.clone(), rows }
    }

    /// A row as it is given out; none for the store's own.
    fn give(&self, row: sled::Result<(sled::IVec, sled::IVec)>) -> Option<Result<Row, StoreFault>> {
        match row {
            Ok((key, _)) if key.first() == Some(&OWN) => None,
            Ok((key, value)) => Some(Ok((key.to_vec(), value.to_vec()))),
            Err(error) => Some(Err(self.shared.state_fault(&error))),
        }
    }
}

/// A row: its key and its value.
pub type Row = (Vec<u8>, Vec<u8>);

impl Iterator for Rows {
    type Item = Result<Row, StoreFault>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let row = self.rows.next()?;
            if let Some(row) = self.give(row) {
                return Some(row);
            }
        }
    }
}

impl DoubleEndedIterator for Rows {
    fn next_back(&mut self) -> Option<Self::Item> {
        loop {
            let row = self.rows.next_back()?;
            if let Some(row) = self.give(row) {
                return Some(row);
            }
        }
    }
}
