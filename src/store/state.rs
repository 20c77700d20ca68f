//! The state: rows in memory until they are settled, and in sled from then on.
//!
//! sled writes and wakes its threads at each batch that it is given; so it is
//! given the rows of many commits at once. Until then the redo files hold them,
//! and readers find them here first.

use super::fault::of_sled;
use super::rows::{self, Row};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::{Bound, RangeBounds};
use std::sync::{Arc, PoisonError, RwLock};

/// Rows that were put, and those that were removed.
pub(super) type Changed = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// The rows.
pub(super) struct State {
    tree: sled::Tree,
    memory: RwLock<Memory>,
}

#[derive(Default)]
struct Memory {
    /// Of commits that aren't being settled.
    fresh: Changed,
    /// Of those that are. They leave it when sled has them.
    settling: Arc<Changed>,
}

impl Memory {
    fn get(&self, key: &[u8]) -> Option<&Option<Vec<u8>>> {
        self.fresh.get(key).or_else(|| self.settling.get(key))
    }
}

impl State {
    pub(super) fn new(tree: sled::Tree) -> State {
        State { tree, memory: RwLock::default() }
    }

    /// What is on the disk, for the settler.
    pub(super) fn tree(&self) -> &sled::Tree {
        &self.tree
    }

    pub(super) fn get(&self, key: &[u8]) -> sled::Result<Option<Vec<u8>>> {
        {
            let memory = self.memory.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(value) = memory.get(key) {
                return Ok(value.clone());
            }
        }
        // What leaves the memory meanwhile is there.
        Ok(self.tree.get(key)?.map(|value| value.to_vec()))
    }

    /// Adds the rows of a commit.
    pub(super) fn put(&self, rows: HashMap<Vec<u8>, Option<Vec<u8>>>) {
        self.memory.write().unwrap_or_else(PoisonError::into_inner).fresh.extend(rows);
    }

    /// The rows to settle: all that there are. Those before are settled.
    pub(super) fn begin_settling(&self) -> Arc<Changed> {
        let mut memory = self.memory.write().unwrap_or_else(PoisonError::into_inner);
        memory.settling = Arc::new(std::mem::take(&mut memory.fresh));
        Arc::clone(&memory.settling)
    }

    /// sled has the rows that were to be settled.
    pub(super) fn settled(&self) {
        self.memory.write().unwrap_or_else(PoisonError::into_inner).settling = Arc::default();
    }

    /// The rows whose key is in `keys`.
    pub(super) fn range<K: AsRef<[u8]>>(&self, keys: &impl RangeBounds<K>) -> Merged {
        let bounds = (borrowed(keys.start_bound()), borrowed(keys.end_bound()));
        let memory = self.memory.read().unwrap_or_else(PoisonError::into_inner);
        // A range that ends before it begins is empty, and no fault.
        let is_empty = match bounds {
            (Bound::Excluded(start), Bound::Excluded(end)) => start >= end,
            (
                Bound::Included(start) | Bound::Excluded(start),
                Bound::Included(end) | Bound::Excluded(end),
            ) => start > end,
            _ => false,
        };
        let mut changed = Changed::new();
        if !is_empty {
            for rows in [&*memory.settling, &memory.fresh] {
                let rows = rows.range::<[u8], _>(bounds);
                changed.extend(rows.map(|(key, value)| (key.clone(), value.clone())));
            }
        }
        drop(memory);
        let disk = self.tree.range::<&[u8], _>(bounds);
        Merged { memory: changed.into_iter().collect(), disk, front: None, back: None }
    }
}

fn borrowed<K: AsRef<[u8]>>(bound: Bound<&K>) -> Bound<&[u8]> {
    bound.map(|key| key.as_ref())
}

type OnDisk = sled::Result<(sled::IVec, sled::IVec)>;

/// Rows in the order of their keys: those in memory as they were when this was
/// made, before those on the disk.
pub(super) struct Merged {
    memory: VecDeque<(Vec<u8>, Option<Vec<u8>>)>,
    disk: sled::Iter,
    /// What was read from the disk at either end, and isn't given out.
    front: Option<OnDisk>,
    back: Option<OnDisk>,
}

fn row_of(row: OnDisk) -> sled::Result<Row> {
    row.map(|(key, value)| (key.to_vec(), value.to_vec()))
}

impl Iterator for Merged {
    type Item = sled::Result<Row>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if self.front.is_none() {
                self.front = self.disk.next().or_else(|| self.back.take());
            }
            let Some((changed, _)) = self.memory.front() else { return self.front.take().map(row_of) };
            if let Some(disk) = &self.front {
                match disk {
                    Ok((key, _)) if key.as_ref() == changed.as_slice() => self.front = None,
                    Ok((key, _)) if key.as_ref() > changed.as_slice() => {}
                    _ => return self.front.take().map(row_of),
                }
            }
            if let Some((key, Some(value))) = self.memory.pop_front() {
                return Some(Ok((key, value)));
            }
        }
    }
}

impl DoubleEndedIterator for Merged {
    fn next_back(&mut self) -> Option<Self::Item> {
        loop {
            if self.back.is_none() {
                self.back = self.disk.next_back().or_else(|| self.front.take());
            }
            let Some((changed, _)) = self.memory.back() else { return self.back.take().map(row_of) };
            if let Some(disk) = &self.back {
                match disk {
                    Ok((key, _)) if key.as_ref() == changed.as_slice() => self.back = None,
                    Ok((key, _)) if key.as_ref() < changed.as_slice() => {}
                    _ => return self.back.take().map(row_of),
                }
            }
            if let Some((key, Some(value))) = self.memory.pop_back() {
                return Some(Ok((key, value)));
            }
        }
    }
}

/// The first key after all that begin with `prefix`; none where there is none.
pub(super) fn after_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte < u8::MAX)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}

/// How many rows sled is given at once. It lets nobody read meanwhile, and takes
/// some twenty microseconds a row. Tests have parts of the little that they write.
const AT_ONCE: usize = if cfg!(test) { 3 } else { 64 };

/// What sled holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Held {
    /// The last commit of which it has all rows.
    pub(super) commit: u64,
    /// How many rows it held then.
    pub(super) whole: u64,
    /// How many it holds now.
    pub(super) rows: u64,
}

/// A part that sled has.
pub(super) struct Part {
    /// The bytes of its rows.
    pub(super) bytes: usize,
    /// Whether it was the last.
    pub(super) is_last: bool,
}

/// The rows that bring sled from one commit to a later one, in parts. The last
/// part has the store's own rows; until then these tell of the earlier commit.
pub(super) struct Parts<'a> {
    tree: &'a sled::Tree,
    rest: VecDeque<(&'a [u8], Option<&'a [u8]>)>,
    commit: u64,
}

impl<'a> Parts<'a> {
    /// The parts of `changed`, which are all rows up to `commit`.
    pub(super) fn new(tree: &'a sled::Tree, changed: &'a Changed, commit: u64) -> Parts<'a> {
        let (own, others): (Vec<_>, Vec<_>) = changed
            .iter()
            .map(|(key, value)| (key.as_slice(), value.as_deref()))
            .partition(|(key, _)| key.first() == Some(&rows::OWN));
        Parts { tree, rest: others.into_iter().chain(own).collect(), commit }
    }

    /// How many parts there are left, at least one.
    pub(super) fn count(&self) -> u32 {
        u32::try_from(self.rest.len() / AT_ONCE).unwrap_or(u32::MAX).saturating_add(1)
    }

    /// Puts the next part into sled, as one batch.
    pub(super) fn apply(&mut self, held: &mut Held) -> std::io::Result<Part> {
        let others = self.rest.iter().take(AT_ONCE).take_while(|(key, _)| key.first() != Some(&rows::OWN));
        let count = others.count();
        let is_last = self.rest.get(count).is_none_or(|(key, _)| key.first() == Some(&rows::OWN));
        let taken: Vec<_> = self.rest.drain(..if is_last { self.rest.len() } else { count }).collect();
        let mut batch = sled::Batch::default();
        let mut now = held.rows;
        let mut put = |key: &[u8], value: Option<&[u8]>| {
            let known = self.tree.contains_key(key).map_err(of_sled)?;
            match value {
                Some(value) => {
                    now += u64::from(!known);
                    batch.insert(key, value);
                }
                None if known => {
                    now -= 1;
                    batch.remove(key);
                }
                None => {}
            }
            Ok::<_, std::io::Error>(())
        };
        let bytes = taken.iter().map(|(key, value)| key.len() + value.map_or(0, <[u8]>::len)).sum();
        taken.into_iter().try_for_each(|(key, value)| put(key, value))?;
        let part = (!is_last).then(|| rows::pair(self.commit, held.whole));
        put(rows::PART, part.as_deref())?;
        now += u64::from(!self.tree.contains_key(rows::COMMIT).map_err(of_sled)?);
        let commit = if is_last { self.commit } else { held.commit };
        batch.insert(rows::COMMIT, rows::pair(commit, now));
        self.tree.apply_batch(batch).map_err(of_sled)?;
        *held = Held { commit, whole: if is_last { now } else { held.whole }, rows: now };
        Ok(Part { bytes, is_last })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(0u8..4, 1..3)
    }

    #[test]
    fn the_key_after_a_prefix_is_the_next_one() {
        assert_eq!(after_prefix(b"ab"), Some(b"ac".to_vec()));
        assert_eq!(after_prefix(b"a\xFF"), Some(b"b".to_vec()));
        assert_eq!(after_prefix(b"\xFF"), None);
        assert_eq!(after_prefix(b""), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        #[test]
        fn rows_are_the_same_wherever_they_are(
            commits in prop::collection::vec(
                (prop::collection::hash_map(key(), prop::option::of(any::<u8>()), 0..8), 0u8..3), 0..10),
            from in key(),
            to in key(),
            turns in prop::collection::vec(any::<bool>(), 20),
        ) {
            let folder = tempfile::tempdir().unwrap();
            let db = sled::Config::new().path(folder.path()).flush_every_ms(None).open().unwrap();
            let state = State::new((*db).clone());
            let mut expected: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
            let mut held = Held { commit: 0, whole: 0, rows: 0 };
            for (commit, (rows, settle)) in (1..).zip(commits) {
                for (key, value) in &rows {
                    match value {
                        Some(value) => drop(expected.insert(key.clone(), vec![*value])),
                        None => drop(expected.remove(key)),
                    }
                }
                state.put(rows.into_iter().map(|(key, value)| (key, value.map(|v| vec![v]))).collect());
                if settle > 0 {
                    state.settled();
                    let rows = state.begin_settling();
                    // Applied and still in memory, or not applied yet.
                    let before = held;
                    let mut parts = Parts::new(state.tree(), &rows, commit);
                    while !parts.apply(&mut held).unwrap().is_last {
                        prop_assert_eq!(held.rows, state.tree().len() as u64);
                        prop_assert_eq!((held.commit, held.whole), (before.commit, before.whole));
                        let part = state.tree().get(rows::PART).unwrap().unwrap();
                        prop_assert_eq!(rows::read_pair(&part), Some((commit, before.whole)));
                        for (key, value) in rows.iter() {
                            prop_assert_eq!(&state.get(key).unwrap(), value);
                        }
                    }
                    prop_assert_eq!(state.tree().get(rows::PART).unwrap(), None);
                    let count = state.tree().len() as u64;
                    prop_assert_eq!(held, Held { commit, whole: count, rows: count });
                    prop_assert_eq!(count, expected.len() as u64 + 1);
                    if settle > 1 {
                        state.settled();
                    }
                }
                for key in expected.keys().chain([&from, &to]) {
                    prop_assert_eq!(state.get(key).unwrap(), expected.get(key).cloned());
                }
            }
            let is_own = |row: &sled::Result<Row>| row.as_ref().is_ok_and(|(key, _)| key == super::rows::COMMIT);
            let all = state.range::<Vec<u8>>(&(..)).filter(|row| !is_own(row)).map(Result::unwrap);
            prop_assert!(all.eq(expected.clone()));
            // From both ends in turn, whatever the bounds.
            let inside: Vec<Row> = if from <= to {
                expected.range(from.clone()..=to.clone()).map(|(k, v)| (k.clone(), v.clone())).collect()
            } else {
                Vec::new()
            };
            let mut wanted: VecDeque<Row> = inside.into();
            let mut rows = state.range(&(from..=to));
            for turn in turns {
                let row = loop {
                    match if turn { rows.next() } else { rows.next_back() } {
                        Some(row) if is_own(&row) => {}
                        row => break row.map(Result::unwrap),
                    }
                };
                prop_assert_eq!(row, if turn { wanted.pop_front() } else { wanted.pop_back() });
            }
        }
    }
}
