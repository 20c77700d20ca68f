//! What is set aside: a record or a message that can't be used is kept with its
//! reason, and the others go on.
//!
//! It holds data of people, so it rests sealed, under a key of the member's
//! secret, and not without end: beyond a number of days, of items or of bytes the
//! oldest go, log by log. A log's key is overwritten before its file goes.

use crate::config;
use crate::connect::{ConnectFault, Counts};
use crate::event::Message;
use crate::store::{FrameLog, Sealing, Store, StoreFault, Tx};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What the keys of the logs' rows begin with.
const LOGS: &[u8] = b"set-aside/";
/// The row of the number of the next log, which none had before.
const NEXT: &[u8] = b"set-aside-next";
/// A log has at most this part of what may be kept, and a day's items: it goes as
/// a whole.
const PART: u64 = 8;
const DAY: i64 = 24 * 60 * 60 * 1000;

/// Something that was set aside.
#[derive(Clone, PartialEq, Eq)]
pub struct Kept {
    /// When, in milliseconds since 1970.
    pub at: i64,
    /// What happened to it: `unverified`, `not mapped`, …
    pub what: String,
    /// A sentence that names the field and not the value.
    pub why: String,
    /// A record's JSON, or a message as the bus brought it.
    pub content: Vec<u8>,
}

/// What happened to it, and nothing of what it is.
impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("Kept");
        shown.field("at", &self.at).field("what", &self.what).field("bytes", &self.content.len());
        shown.finish_non_exhaustive()
    }
}

/// What stands before the content in its frame.
#[derive(Serialize, Deserialize)]
struct Head {
    at: i64,
    what: String,
    why: String,
}

/// Something on its way to be set aside.
pub(super) struct Item {
    what: &'static str,
    why: String,
    bytes: Vec<u8>,
}

impl Item {
    /// A message.
    pub(super) fn message(what: &'static str, why: &str, message: &Message) -> Item {
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        Item { what, why: why.to_owned(), bytes }
    }

    /// A record of the member's software.
    pub(super) fn record(what: &'static str, why: &str, record: &serde_json::Value) -> Item {
        Item { what, why: why.to_owned(), bytes: record.to_string().into_bytes() }
    }

    /// Its frame: the head's length, the head, the content.
    fn frame(&self, at: i64) -> Vec<u8> {
        let head = Head { at, what: self.what.to_owned(), why: self.why.clone() };
        let head = serde_json::to_vec(&head).unwrap_or_default();
        [&(head.len() as u32).to_le_bytes(), head.as_slice(), &self.bytes].concat()
    }
}

fn read_frame(frame: &[u8]) -> Option<Kept> {
    let (length, rest) = frame.split_first_chunk::<4>()?;
    let (head, content) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    let Head { at, what, why } = serde_json::from_slice(head).ok()?;
    Some(Kept { at, what, why, content: content.to_owned() })
}

/// What the row of a log says.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Extent {
    items: u64,
    bytes: u64,
    first: i64,
    last: i64,
}

struct Log {
    number: u64,
    extent: Extent,
    frames: FrameLog,
}

impl Log {
    fn row(&self) -> Vec<u8> {
        [LOGS, &self.number.to_be_bytes()].concat()
    }
}

/// What a member has set aside. Cheap to clone.
#[derive(Clone)]
pub(super) struct Aside(Arc<Inner>);

struct Inner {
    sealing: Sealing,
    settings: config::Aside,
    counts: Arc<Counts>,
    /// Changed by the committer alone.
    logs: Mutex<Logs>,
}

#[derive(Default)]
struct Logs {
    /// The oldest first.
    all: VecDeque<Log>,
    next: u64,
    /// Whether the last one is of this start: an older one isn't written on.
    is_open: bool,
}

fn log_name(number: u64) -> String {
    format!("set-aside/{number:08}.log")
}

impl Aside {
    /// What `store` has.
    pub(super) fn open(
        store: &Store,
        sealing: Sealing,
        settings: config::Aside,
        counts: Arc<Counts>,
    ) -> Result<Aside, ConnectFault> {
        let unreadable = || ConnectFault::Unreadable("what was set aside");
        let mut logs = Logs::default();
        if let Some(next) = store.get(NEXT)? {
            logs.next = u64::from_be_bytes(next.try_into().map_err(|_| unreadable())?);
        }
        for entry in store.scan(LOGS) {
            let (key, row) = entry?;
            let number = key.last_chunk::<8>().map(|b| u64::from_be_bytes(*b)).ok_or_else(unreadable)?;
            let extent = serde_json::from_slice(&row).map_err(|_| unreadable())?;
            let (frames, _) = FrameLog::open(store, &sealing, log_name(number))?;
            logs.all.push_back(Log { number, extent, frames });
        }
        Ok(Aside(Arc::new(Inner { sealing, settings, counts, logs: Mutex::new(logs) })))
    }

    fn logs(&self) -> MutexGuard<'_, Logs> {
        self.0.logs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes items within a commit, and drops what is beyond what may be kept.
    pub(super) fn write(&self, tx: &mut Tx<'_>, items: &[Item]) -> Result<(), StoreFault> {
        if items.is_empty() {
            return Ok(());
        }
        let (mut logs, now) = (self.logs(), jiff::Timestamp::now().as_millisecond());
        for item in items {
            let log = self.0.writable(&mut logs, tx, now)?;
            let frame = log.frames.append(tx, 1, &item.frame(now))?;
            log.extent.items += 1;
            log.extent.bytes += frame.end - frame.offset;
            log.extent.last = now;
            tx.put(&log.row(), &serde_json::to_vec(&log.extent).unwrap_or_default());
            tracing::warn!(what = item.what, why = item.why, "set aside; the others go on");
        }
        self.0.drop_oldest(&mut logs, tx, now);
        Ok(())
    }

    /// Drops what has been kept for long enough at `now`.
    pub(super) async fn expire(&self, store: &Store, now: jiff::Timestamp) -> Result<(), ConnectFault> {
        let (aside, now) = (self.clone(), now.as_millisecond());
        if !self.logs().all.front().is_some_and(|log| self.0.is_over(log, now)) {
            return Ok(());
        }
        store
            .commit(move |tx| {
                aside.0.drop_oldest(&mut aside.logs(), tx, now);
                Ok(())
            })
            .await?;
        Ok(())
    }

    /// What there is, oldest first.
    pub(super) fn all(&self, store: &Store) -> Result<Vec<Kept>, ConnectFault> {
        let logs = self.logs();
        let mut all = Vec::new();
        for log in &logs.all {
            for (_, frame) in log.frames.read(store, FrameLog::START, store.log_len(log.frames.name()))? {
                all.push(read_frame(&frame).ok_or(ConnectFault::Unreadable("what was set aside"))?);
            }
        }
        Ok(all)
    }
}

impl Inner {
    /// The log that the next item goes to.
    fn writable<'l>(&self, logs: &'l mut Logs, tx: &mut Tx<'_>, now: i64) -> Result<&'l mut Log, StoreFault> {
        let config::Aside { max_items, .. } = self.settings;
        let has_room = logs.is_open
            && logs.all.back().is_some_and(|Log { extent, .. }| {
                extent.items < (max_items / PART).max(1)
                    && extent.bytes < self.settings.max_bytes() / PART
                    && now - extent.first < DAY
            });
        if !has_room {
            let number = logs.next;
            let frames = FrameLog::create(tx, &self.sealing, log_name(number), number)?;
            tx.put(NEXT, &(number + 1).to_be_bytes());
            (logs.next, logs.is_open) = (number + 1, true);
            logs.all.push_back(Log { number, extent: Extent { first: now, ..Extent::default() }, frames });
        }
        logs.all.back_mut().ok_or_else(|| StoreFault::Misused("a log that was just made is gone".to_owned()))
    }

    fn is_over(&self, log: &Log, now: i64) -> bool {
        log.extent.last + i64::from(self.settings.days) * DAY <= now
    }

    /// Drops the logs of which all is too old, and the oldest beyond a ceiling; the
    /// newest one isn't beyond any.
    fn drop_oldest(&self, logs: &mut Logs, tx: &mut Tx<'_>, now: i64) {
        let mut items: u64 = logs.all.iter().map(|log| log.extent.items).sum();
        let mut bytes: u64 = logs.all.iter().map(|log| log.extent.bytes).sum();
        while let Some(oldest) = logs.all.front() {
            let beyond = items > self.settings.max_items || bytes > self.settings.max_bytes();
            let is_beyond = beyond && logs.all.len() > 1;
            if !is_beyond && !self.is_over(oldest, now) {
                return;
            }
            if is_beyond {
                let dropped = oldest.extent.items;
                self.counts.dropped.add(dropped);
                tracing::warn!(
                    dropped,
                    max_items = self.settings.max_items,
                    max_mib = self.settings.max_mib,
                    "more was set aside than is kept ([aside]): the oldest of it went"
                );
            }
            oldest.frames.delete(tx);
            tx.remove(&oldest.row());
            items -= oldest.extent.items;
            bytes -= oldest.extent.bytes;
            logs.all.pop_front();
            logs.is_open &= !logs.all.is_empty();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::MasterKey;
    use crate::store::StoreOptions;
    use std::path::Path;

    fn open(folder: &Path, max_items: u64, max_mib: u64) -> (Store, Aside) {
        let store = Store::open(folder, StoreOptions::default()).unwrap();
        let sealing = Sealing::new(&MasterKey::from_bytes([9; 32]), "set aside");
        let settings = config::Aside { days: 30, max_items, max_mib };
        let aside = Aside::open(&store, sealing, settings, Arc::default()).unwrap();
        (store, aside)
    }

    fn add(store: &Store, aside: &Aside, items: Vec<Item>) {
        let aside = aside.clone();
        store.commit_blocking(move |tx| aside.write(tx, &items)).unwrap();
    }

    fn person(number: u64) -> Item {
        let record = serde_json::json!({ "nom": "Wamytan-Secret", "number": number });
        Item::record("not mapped", &format!("person {number}: nom"), &record)
    }

    fn numbers(store: &Store, aside: &Aside) -> Vec<u64> {
        let number = |kept: Kept| {
            let record: serde_json::Value = serde_json::from_slice(&kept.content).unwrap();
            assert_eq!((kept.what.as_str(), record["nom"].as_str()), ("not mapped", Some("Wamytan-Secret")));
            record["number"].as_u64().unwrap()
        };
        aside.all(store).unwrap().into_iter().map(number).collect()
    }

    fn logs(folder: &Path) -> usize {
        std::fs::read_dir(folder.join("set-aside")).map_or(0, Iterator::count)
    }

    /// Whether any file under `folder` has `text`.
    fn has(folder: &Path, text: &str) -> bool {
        std::fs::read_dir(folder).unwrap().any(|entry| {
            let path = entry.unwrap().path();
            if path.is_dir() {
                return has(&path, text);
            }
            std::fs::read(&path).unwrap().windows(text.len()).any(|window| window == text.as_bytes())
        })
    }

    #[test]
    fn what_is_set_aside_reads_back_after_a_restart_and_rests_sealed() {
        let folder = tempfile::tempdir().unwrap();
        let (store, aside) = open(folder.path(), 1000, 64);
        add(&store, &aside, vec![person(0), person(1)]);
        drop((store, aside));
        assert!(!has(folder.path(), "Wamytan-Secret") && !has(folder.path(), "person 0"));
        let (store, aside) = open(folder.path(), 1000, 64);
        add(&store, &aside, vec![person(2)]);
        assert_eq!(numbers(&store, &aside), [0, 1, 2]);
        let kept = aside.all(&store).unwrap().remove(1);
        assert_eq!(kept.why, "person 1: nom");
        assert!(!format!("{kept:?}").contains("Wamytan"));
    }

    #[test]
    fn beyond_a_number_of_items_the_oldest_go_and_their_files_with_them() {
        let folder = tempfile::tempdir().unwrap();
        let (store, aside) = open(folder.path(), 16, 64);
        (0..20).for_each(|number| add(&store, &aside, vec![person(number)]));
        // By logs of two.
        assert_eq!(numbers(&store, &aside), (4..20).collect::<Vec<_>>());
        assert_eq!((logs(folder.path()), aside.0.counts.dropped.get()), (8, 4));
        drop((store, aside));
        // A lower one holds from the next item on; a number isn't used twice.
        let (store, aside) = open(folder.path(), 2, 64);
        add(&store, &aside, vec![person(20)]);
        assert_eq!(numbers(&store, &aside), [20]);
        assert_eq!(logs(folder.path()), 1);
        assert!(folder.path().join("set-aside/00000010.log").exists());
    }

    #[test]
    fn beyond_a_number_of_bytes_the_oldest_go() {
        let folder = tempfile::tempdir().unwrap();
        let (store, aside) = open(folder.path(), 1000, 1);
        let large = |number: u64| {
            let record =
                serde_json::json!({ "nom": "Wamytan-Secret", "number": number, "x": "x".repeat(100_000) });
            Item::record("not mapped", "nom", &record)
        };
        (0..30).for_each(|number| add(&store, &aside, vec![large(number)]));
        let kept = numbers(&store, &aside);
        assert_eq!(kept.last(), Some(&29));
        assert!((7..=10).contains(&kept.len()), "{kept:?}");
        let bytes: u64 = aside.logs().all.iter().map(|log| log.extent.bytes).sum();
        assert!(bytes <= 1 << 20);
    }

    #[tokio::test]
    async fn what_is_old_goes_and_the_next_item_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let (store, aside) = open(folder.path(), 1000, 64);
        let now = jiff::Timestamp::now();
        let in_days = |days: i64| now + jiff::SignedDuration::from_hours(24 * days);
        add(&store, &aside, vec![person(0)]);
        aside.expire(&store, in_days(29)).await.unwrap();
        assert_eq!(numbers(&store, &aside), [0]);
        aside.expire(&store, in_days(31)).await.unwrap();
        assert_eq!((numbers(&store, &aside), logs(folder.path())), (vec![], 0));
        add(&store, &aside, vec![person(1)]);
        assert_eq!(numbers(&store, &aside), [1]);
        assert_eq!(aside.0.counts.dropped.get(), 0);
    }
}
