//! Which file the next payloads go to.

use crate::store::{Store, StoreFault, Tx};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

/// The files that payloads are appended to, one after the other.
pub(super) struct Segments {
    limit: u64,
    /// The number of the last one. In the store it is a row that is hardly ever
    /// written: to read it in each commit would mean to wait for sled, which
    /// lets nobody read while rows are settled.
    last: AtomicU64,
}

impl Segments {
    const ROW: &[u8] = b"segment/current";

    /// Those of `store`; a file isn't appended to any more when it has `limit`
    /// bytes.
    pub(super) fn open(store: &Store, limit: u64) -> Result<Segments, StoreFault> {
        let row = store.get(Self::ROW)?;
        let last = row.and_then(|row| row.first_chunk::<8>().map(|b| u64::from_be_bytes(*b))).unwrap_or(1);
        Ok(Segments { limit, last: last.into() })
    }

    /// The one to append to: the last one, or a new one when that is full.
    /// Commits come one after the other.
    pub(super) fn current(&self, tx: &mut Tx<'_>) -> String {
        let name = |number| format!("segments/{number:08}.seg");
        let last = self.last.load(Relaxed);
        let length = tx.log_len(&name(last));
        if (1..self.limit).contains(&length) {
            return name(last);
        }
        let number = last + u64::from(length > 0);
        self.last.store(number, Relaxed);
        tx.put(Self::ROW, &number.to_be_bytes());
        name(number)
    }
}
