//! What was taken in, for ever: a table in memory over the log `ids/ids`.

use super::{Store, StoreFault};
use crate::seal::{Secret32, hmac};
use std::collections::VecDeque;

/// The log of the ids.
const LOG: &str = "ids/ids";

/// The size of a record: the HMAC of the id and the digest of the content.
const RECORD: usize = 64;

/// How many bytes are read at once when the table is rebuilt.
const CHUNK: usize = 1 << 20;

const SHARDS: usize = 256;

/// The ids of all events taken in, each at the index of its event: looked up in
/// memory by 32 bits of its hash, and confirmed on disk.
///
/// It takes at most 16 bytes of memory an event.
pub struct Ids {
    store: Store,
    secret: Secret32,
    table: Table,
    count: u64,
    /// The newest records, perhaps not committed yet, that end at `count`.
    recent: VecDeque<[u8; RECORD]>,
}

impl Ids {
    /// Rebuilds the table from the store, by one sequential read. `secret` is
    /// the key of the hashes: the same for the whole life of the store.
    pub fn load(store: &Store, secret: Secret32) -> Result<Ids, StoreFault> {
        let length = store.log_len(LOG);
        if !length.is_multiple_of(RECORD as u64) {
            let why = "it doesn't end with a whole record".to_owned();
            return Err(StoreFault::Damaged { log: LOG.to_owned(), offset: length, why });
        }
        let count = length / RECORD as u64;
        let mut table = Table::with_capacity(count as usize);
        let mut index = 0;
        let mut offset = 0;
        while offset < length {
            let chunk = store.read(LOG, offset, CHUNK.min((length - offset) as usize))?;
            for record in chunk.as_chunks::<RECORD>().0 {
                table.insert(fingerprint(record), position(index)?);
                index += 1;
            }
            offset += chunk.len() as u64;
        }
        Ok(Ids { store: store.clone(), secret, table, count, recent: VecDeque::new() })
    }

    /// The hash of an id: HMAC-SHA-256 over its parts (the source, the id).
    pub fn hash(&self, parts: &[&[u8]]) -> [u8; 32] {
        hmac(self.secret.expose(), parts)
    }

    /// How many ids there are: the index of the next event.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The index and the content's digest of the event with this id hash, if it
    /// was inserted.
    pub fn lookup(&self, id_hash: &[u8; 32]) -> Result<Option<(u64, [u8; 32])>, StoreFault> {
        for index in self.table.candidates(fingerprint(id_hash)) {
            let record = self.record(u64::from(index))?;
            let (hash, digest) = record.split_at(32);
            if hash == id_hash {
                let mut exact = [0; 32];
                exact.copy_from_slice(digest);
                return Ok(Some((u64::from(index), exact)));
            }
        }
        Ok(None)
    }

    fn record(&self, index: u64) -> Result<[u8; RECORD], StoreFault> {
        let oldest_recent = self.count - self.recent.len() as u64;
        if let Some(record) = index.checked_sub(oldest_recent).and_then(|i| self.recent.get(i as usize)) {
            return Ok(*record);
        }
        let mut record = [0; RECORD];
        record.copy_from_slice(&self.store.read(LOG, index * RECORD as u64, RECORD)?);
        Ok(record)
    }

    /// Appends the record of an event in a commit. Returns the event's index.
    ///
    /// Insert it into the table too, with [`Ids::insert`] and in the same order.
    pub fn append(tx: &mut super::Tx, id_hash: &[u8; 32], digest: &[u8; 32]) -> u64 {
        let offset = tx.append_with(LOG, RECORD, |out| {
            out.extend_from_slice(id_hash);
            out.extend_from_slice(digest);
        });
        offset / RECORD as u64
    }

    /// Adds an event to the table. Returns its index: that of its record in the
    /// log, which may be committed before or after, if in the same order.
    pub fn insert(&mut self, id_hash: &[u8; 32], digest: &[u8; 32]) -> Result<u64, StoreFault> {
        let index = self.count;
        self.table.insert(fingerprint(id_hash), position(index)?);
        let mut record = [0; RECORD];
        record[..32].copy_from_slice(id_hash);
        record[32..].copy_from_slice(digest);
        self.recent.push_back(record);
        self.count += 1;
        if self.recent.len() >= 1024 {
            let committed = self.store.log_len(LOG) / RECORD as u64;
            let uncommitted = self.count.saturating_sub(committed) as usize;
            self.recent.drain(..self.recent.len().saturating_sub(uncommitted));
        }
        Ok(index)
    }

    /// How many bytes of memory the table takes.
    pub fn heap_size(&self) -> usize {
        self.table.shards.iter().map(|s| s.slots.len() * 8).sum::<usize>() + self.recent.capacity() * RECORD
    }
}

/// The part of a hash that is kept in memory: the shard and 32 bits.
fn fingerprint(hash: &[u8]) -> (u8, u32) {
    (hash[0], u32::from_le_bytes([hash[1], hash[2], hash[3], hash[4]]))
}

fn position(index: u64) -> Result<u32, StoreFault> {
    // The last value is what an empty slot holds.
    u32::try_from(index)
        .ok()
        .filter(|p| *p != u32::MAX)
        .ok_or_else(|| StoreFault::Misused(format!("the table of ids ends at {} events", u32::MAX)))
}

/// An open-addressing table in 256 parts, so that growing one is short and its
/// old and new slots together are little.
struct Table {
    shards: Vec<Shard>,
}

/// Slots in the order of their fingerprints, about: a home is the fingerprint
/// scaled to the length, so growing reads and writes in order.
#[derive(Default)]
struct Shard {
    /// The fingerprint above, the position below.
    slots: Vec<u64>,
    used: usize,
}

const EMPTY: u64 = u64::MAX;

impl Table {
    fn with_capacity(count: usize) -> Table {
        let each = Shard::slots_for(count / SHARDS);
        Table { shards: (0..SHARDS).map(|_| Shard { slots: vec![EMPTY; each], used: 0 }).collect() }
    }

    fn insert(&mut self, (shard, fingerprint): (u8, u32), position: u32) {
        self.shards[usize::from(shard)].insert(fingerprint, position);
    }

    fn candidates(&self, (shard, fingerprint): (u8, u32)) -> impl Iterator<Item = u32> {
        self.shards[usize::from(shard)].candidates(fingerprint)
    }
}

impl Shard {
    /// How many slots are allocated for `count` entries: two thirds are used
    /// after growing, five sixths before.
    fn slots_for(count: usize) -> usize {
        count + count / 2 + 8
    }

    fn home(&self, fingerprint: u32) -> usize {
        ((u64::from(fingerprint) * self.slots.len() as u64) >> 32) as usize
    }

    fn insert(&mut self, fingerprint: u32, position: u32) {
        if (self.used + 1) * 6 > self.slots.len() * 5 {
            let grown = vec![EMPTY; Shard::slots_for(self.used + 1)];
            let old = std::mem::replace(&mut self.slots, grown);
            for slot in old.into_iter().filter(|s| *s != EMPTY) {
                self.place((slot >> 32) as u32, slot);
            }
        }
        self.place(fingerprint, u64::from(fingerprint) << 32 | u64::from(position));
        self.used += 1;
    }

    fn place(&mut self, fingerprint: u32, slot: u64) {
        let mut at = self.home(fingerprint);
        while self.slots[at] != EMPTY {
            at = if at + 1 == self.slots.len() { 0 } else { at + 1 };
        }
        self.slots[at] = slot;
    }

    fn candidates(&self, fingerprint: u32) -> impl Iterator<Item = u32> {
        let home = self.home(fingerprint);
        let (before, from) = self.slots.split_at(home.min(self.slots.len()));
        from.iter()
            .chain(before)
            .take_while(|slot| **slot != EMPTY)
            .filter(move |slot| (**slot >> 32) as u32 == fingerprint)
            .map(|slot| *slot as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StoreOptions;
    use proptest::prelude::*;

    fn hash(n: u64) -> [u8; 32] {
        hmac(b"test", &[&n.to_le_bytes()])
    }

    fn append(store: &Store, numbers: std::ops::Range<u64>) {
        store
            .commit_blocking(move |tx| {
                for n in numbers {
                    Ids::append(tx, &hash(n), &hash(n + 1_000_000));
                }
                Ok(())
            })
            .unwrap();
    }

    #[test]
    fn ids_are_found_before_and_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), StoreOptions::default()).unwrap();
        let mut ids = Ids::load(&store, Secret32::new([1; 32])).unwrap();
        for n in 0..5_000 {
            assert_eq!(ids.lookup(&hash(n)).unwrap(), None);
            assert_eq!(ids.insert(&hash(n), &hash(n + 1_000_000)).unwrap(), n);
            assert_eq!(ids.lookup(&hash(n)).unwrap(), Some((n, hash(n + 1_000_000))), "not committed yet");
            if n % 1000 == 999 {
                append(&store, n - 999..n + 1);
            }
        }
        drop((ids, store));
        let store = Store::open(folder.path(), StoreOptions::default()).unwrap();
        let mut ids = Ids::load(&store, Secret32::new([1; 32])).unwrap();
        assert_eq!(ids.count(), 5_000);
        ids.insert(&hash(5_000), &hash(1_005_000)).unwrap();
        for n in 0..5_001 {
            assert_eq!(ids.lookup(&hash(n)).unwrap(), Some((n, hash(n + 1_000_000))));
        }
        assert_eq!(ids.lookup(&hash(5_001)).unwrap(), None);
    }

    #[test]
    fn two_hashes_with_the_same_fingerprint_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), StoreOptions::default()).unwrap();
        let mut ids = Ids::load(&store, Secret32::new([1; 32])).unwrap();
        let (first, mut second) = (hash(1), hash(1));
        second[31] ^= 1;
        ids.insert(&first, &[1; 32]).unwrap();
        assert_eq!(ids.lookup(&second).unwrap(), None);
        ids.insert(&second, &[2; 32]).unwrap();
        assert_eq!(ids.lookup(&first).unwrap(), Some((0, [1; 32])));
        assert_eq!(ids.lookup(&second).unwrap(), Some((1, [2; 32])));
    }

    #[test]
    fn the_table_takes_at_most_16_bytes_an_event_at_any_size() {
        for loaded in [0, 300_000] {
            let mut table = Table::with_capacity(loaded);
            for n in 0..400_000u32 {
                table.insert(fingerprint(&hash(u64::from(n))), n);
                let slots: usize = table.shards.iter().map(|s| s.slots.len()).sum();
                let events = (n as usize + 1).max(loaded);
                assert!(events < 50_000 || slots * 8 <= events * 16, "{slots} slots for {events} events");
                if n % 4096 == 0 && n > 0 {
                    let found: Vec<u32> = table.candidates(fingerprint(&hash(u64::from(n / 2)))).collect();
                    assert!(found.contains(&(n / 2)));
                }
            }
        }
    }

    #[test]
    #[ignore = "five million events: run it to measure"]
    fn five_million_ids_load_in_about_a_second() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), StoreOptions::default()).unwrap();
        for n in 0..50 {
            append(&store, n * 100_000..(n + 1) * 100_000);
        }
        let start = std::time::Instant::now();
        let ids = Ids::load(&store, Secret32::new([1; 32])).unwrap();
        println!("{:?}, {} bytes an event", start.elapsed(), ids.heap_size() as u64 / ids.count());
    }

    proptest! {
        #[test]
        fn the_table_gives_every_position_of_a_fingerprint(entries in prop::collection::vec((0..4u8, 0..8u32), 0..200)) {
            let mut table = Table::with_capacity(0);
            let spread = |f: u32| f << 29 | f;
            for (position, (shard, print)) in entries.iter().enumerate() {
                table.insert((*shard, spread(*print)), position as u32);
            }
            for key in entries.iter() {
                let mut found: Vec<u32> = table.candidates((key.0, spread(key.1))).collect();
                found.sort();
                let expected: Vec<u32> =
                    (0..).zip(&entries).filter(|(_, e)| *e == key).map(|(p, _)| p).collect();
                prop_assert_eq!(found, expected);
            }
        }
    }
}
