//! Rows of the state: those of the rooms, and the store's own.

use super::state::Merged;
use super::{Shared, StoreFault};
use std::sync::Arc;

/// The byte with which the store's own keys begin, and no other.
pub(super) const OWN: u8 = 0;

/// The row of the last commit: its number and the count of rows, 8 bytes each,
/// little-endian.
pub(super) const COMMIT: &[u8] = b"\0commit";

/// The row that is there while some of the rows of later commits are: the last of
/// these commits, and the count of rows without them, 8 bytes each, little-endian.
pub(super) const PART: &[u8] = b"\0part";

/// The prefix of the rows that hold the length of a log.
pub(super) const LOG: &[u8] = b"\0log/";

/// The prefix of the rows of marks.
pub(super) const MARK: &[u8] = b"\0mark/";

fn key(prefix: &[u8], name: &str) -> Vec<u8> {
    [prefix, name.as_bytes()].concat()
}

pub(super) fn log(name: &str) -> Vec<u8> {
    key(LOG, name)
}

pub(super) fn mark(name: &str) -> Vec<u8> {
    key(MARK, name)
}

/// Two numbers in a row, 16 bytes.
pub(super) fn pair(a: u64, b: u64) -> Vec<u8> {
    [a.to_le_bytes(), b.to_le_bytes()].concat()
}

pub(super) fn read_pair(value: &[u8]) -> Option<(u64, u64)> {
    let (a, b) = value.split_first_chunk::<8>()?;
    Some((u64::from_le_bytes(*a), u64::from_le_bytes(b.try_into().ok()?)))
}

/// Rows of the state in the order of their keys, each a key and a value, read
/// one by one.
pub struct Rows {
    shared: Arc<Shared>,
    rows: Merged,
}

impl Rows {
    pub(super) fn new(shared: &Arc<Shared>, rows: Merged) -> Rows {
        Rows { shared: shared.clone(), rows }
    }

    /// A row as it is given out; none for the store's own.
    fn give(&self, row: sled::Result<Row>) -> Option<Result<Row, StoreFault>> {
        match row {
            Ok((key, _)) if key.first() == Some(&OWN) => None,
            row => Some(row.map_err(|error| self.shared.state_fault(&error))),
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
