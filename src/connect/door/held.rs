//! What arrived, held for the back-office until it acknowledges it.
//!
//! Sealed frames in logs of the member's store, which go when all in them was
//! acknowledged; a row for each frame says what is in it. A sequence number is
//! held once, however often it is pushed: what the sink is given again after a
//! crash is known by its number.

use crate::connect::ConnectFault;
use crate::connect::drivers::{Checkpoint, DriverFault, Fut, Pushed, Record, Sink};
use crate::event::{Context, Envelope};
use crate::store::{FrameLog, Sealing, Store, StoreFault};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, Notify, watch};

const FRAMES: &[u8] = b"door/held/";
const ACKNOWLEDGED: &[u8] = b"door/acknowledged";
const NEXT_LOG: &[u8] = b"door/log";
/// How many deliveries a frame holds at most: what is read to give one of them.
const FRAME: usize = 64;
/// The size from which a log is followed by a new one.
const LOG_BYTES: u64 = 8 << 20;
/// How long the sink waits for room before it says that there is none.
const ROOM: Duration = Duration::from_secs(5);
/// Below this much free space on the disk nothing more is held.
pub(super) const LOW_WATER: u64 = 64 << 20;

/// Up to where a back-office is: a delivery's epoch and sequence number.
/// Written `EPOCH-SEQUENCE`, `1-42`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Cursor {
    pub(super) epoch: u32,
    pub(super) sequence: u64,
}

impl Cursor {
    pub(super) fn parse(text: &str) -> Option<Cursor> {
        let (epoch, sequence) = text.split_once('-')?;
        let cursor = Cursor { epoch: epoch.parse().ok()?, sequence: sequence.parse().ok()? };
        // One spelling: no sign, no zero before.
        (cursor.to_string() == text).then_some(cursor)
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.epoch, self.sequence)
    }
}

/// One frame: its row's value, with the last cursor in the row's key.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Frame {
    log: u64,
    offset: u64,
    end: u64,
    last: Cursor,
}

impl Frame {
    fn row(&self) -> Vec<u8> {
        [FRAMES, &self.last.epoch.to_be_bytes(), &self.last.sequence.to_be_bytes()].concat()
    }
}

/// A delivery as it is held: its JSON.
struct Item {
    cursor: Cursor,
    json: Vec<u8>,
}

/// What is held.
pub(super) struct Held {
    store: Store,
    sealing: Sealing,
    most: u64,
    inner: Mutex<Inner>,
    arrived: watch::Sender<Cursor>,
    freed: Notify,
}

struct Inner {
    frames: VecDeque<Frame>,
    logs: BTreeMap<u64, Arc<FrameLog>>,
    acknowledged: Cursor,
}

impl Inner {
    fn last(&self) -> Cursor {
        self.frames.back().map_or(self.acknowledged, |frame| frame.last.max(self.acknowledged))
    }
}

/// Why deliveries can't be given or acknowledged.
#[derive(Debug)]
pub(super) enum HeldFault {
    /// What follows that cursor was acknowledged up to this one, and is gone.
    Gone(Cursor),
    /// Nothing was held under that number; this is the last one.
    Unknown(Cursor),
    /// The store failed.
    Store(StoreFault),
}

impl From<StoreFault> for HeldFault {
    fn from(fault: StoreFault) -> HeldFault {
        HeldFault::Store(fault)
    }
}

/// Deliveries, each as JSON, and the cursor of the last.
pub(super) struct Page {
    pub(super) deliveries: Vec<Vec<u8>>,
    pub(super) next: Cursor,
}

fn log_name(number: u64) -> String {
    format!("door/held/{number:08}.log")
}

impl Held {
    /// Reads what is held; at most `most` bytes of logs will be.
    pub(super) fn open(store: Store, sealing: Sealing, most: u64) -> Result<Held, ConnectFault> {
        let unreadable = || ConnectFault::Unreadable("what is held for the door");
        let acknowledged = match store.get(ACKNOWLEDGED)? {
            Some(row) => serde_json::from_slice(&row).map_err(|_| unreadable())?,
            None => Cursor::default(),
        };
        let mut frames = VecDeque::new();
        for row in store.scan(FRAMES) {
            let frame: Frame = serde_json::from_slice(&row?.1).map_err(|_| unreadable())?;
            frames.push_back(frame);
        }
        let mut logs = BTreeMap::new();
        for frame in &frames {
            if !logs.contains_key(&frame.log) {
                let (log, number) = FrameLog::open(&store, &sealing, log_name(frame.log))?;
                logs.insert(number, Arc::new(log));
            }
        }
        let inner = Inner { frames, logs, acknowledged };
        let arrived = watch::Sender::new(inner.last());
        Ok(Held { store, sealing, most, inner: Mutex::new(inner), arrived, freed: Notify::new() })
    }

    /// Tells when something arrives.
    pub(super) fn arrivals(&self) -> watch::Receiver<Cursor> {
        self.arrived.subscribe()
    }

    fn used(&self, inner: &Inner) -> u64 {
        inner.logs.values().map(|log| self.store.log_len(log.name())).sum()
    }

    /// Whether no more is taken until something is acknowledged.
    pub(super) async fn is_full(&self) -> bool {
        self.used(&*self.inner.lock().await) >= self.most
    }

    /// Up to `max` deliveries that follow `after`, or all that is held; about
    /// `bytes` of them at most, and at least one where there is one.
    pub(super) async fn page(
        &self,
        after: Option<Cursor>,
        max: usize,
        bytes: usize,
    ) -> Result<Page, HeldFault> {
        let inner = self.inner.lock().await;
        let after = match after {
            Some(after) if after < inner.acknowledged => return Err(HeldFault::Gone(inner.acknowledged)),
            after => after.unwrap_or(inner.acknowledged),
        };
        let mut page = Page { deliveries: Vec::new(), next: after };
        let mut size = 0;
        // The frames are in the order of their cursors.
        let first = inner.frames.partition_point(|frame| frame.last <= after);
        for frame in inner.frames.range(first..) {
            let Some(log) = inner.logs.get(&frame.log) else { continue };
            for (_, content) in log.read(&self.store, frame.offset, frame.end)? {
                for item in items(&content).filter(|item| item.cursor > after) {
                    if page.deliveries.len() == max || (size > 0 && size + item.json.len() > bytes) {
                        return Ok(page);
                    }
                    size += item.json.len();
                    page.next = item.cursor;
                    page.deliveries.push(item.json);
                }
            }
            if page.deliveries.len() == max {
                break;
            }
        }
        Ok(page)
    }

    /// Acknowledges everything up to `upto`: it goes, durably. What was
    /// acknowledged before changes nothing.
    pub(super) async fn acknowledge(&self, upto: Cursor) -> Result<Cursor, HeldFault> {
        let mut inner = self.inner.lock().await;
        if upto > inner.last() {
            return Err(HeldFault::Unknown(inner.last()));
        }
        if upto <= inner.acknowledged {
            return Ok(inner.acknowledged);
        }
        let done = inner.frames.partition_point(|frame| frame.last <= upto);
        let rows: Vec<_> = inner.frames.range(..done).map(Frame::row).collect();
        let left = inner.frames.get(done).map(|frame| frame.log);
        let over: Vec<u64> =
            inner.logs.keys().copied().filter(|log| left.is_none_or(|left| *log < left)).collect();
        let logs: Vec<_> = over.iter().filter_map(|log| inner.logs.get(log).cloned()).collect();
        let row = serde_json::to_vec(&upto).unwrap_or_default();
        self.store
            .commit(move |tx| {
                tx.put(ACKNOWLEDGED, &row);
                rows.iter().for_each(|row| tx.remove(row));
                logs.iter().for_each(|log| log.delete(tx));
                Ok(())
            })
            .await?;
        inner.frames.drain(..done);
        over.iter().for_each(|log| drop(inner.logs.remove(log)));
        inner.acknowledged = upto;
        self.freed.notify_waiters();
        Ok(upto)
    }

    /// Holds what isn't held yet, durably.
    async fn hold(&self, items: Vec<Item>) -> Result<(), StoreFault> {
        let mut inner = self.inner.lock().await;
        let last = inner.last();
        let items: Vec<Item> = items.into_iter().filter(|item| item.cursor > last).collect();
        let Some(newest) = items.last().map(|item| item.cursor) else { return Ok(()) };
        let contents: Vec<(Cursor, u32, Vec<u8>)> = items.chunks(FRAME).map(frame).collect();
        let current = inner.logs.last_key_value().map(|(number, log)| (*number, Arc::clone(log)));
        let current = current.filter(|(_, log)| self.store.log_len(log.name()) < LOG_BYTES.min(self.most));
        let sealing = self.sealing.clone();
        let committed = self.store.commit(move |tx| {
            let (number, log) = match current {
                Some(current) => current,
                None => {
                    let row = tx.get(NEXT_LOG).and_then(|row| row.try_into().ok());
                    let number = row.map_or(1, u64::from_be_bytes);
                    tx.put(NEXT_LOG, &(number + 1).to_be_bytes());
                    (number, Arc::new(FrameLog::create(tx, &sealing, log_name(number), number)?))
                }
            };
            let mut frames = Vec::with_capacity(contents.len());
            for (last, count, content) in contents {
                let written = log.append(tx, count, &content)?;
                let frame = Frame { log: number, offset: written.offset, end: written.end, last };
                tx.put(&frame.row(), &serde_json::to_vec(&frame).unwrap_or_default());
                frames.push(frame);
            }
            Ok((number, log, frames))
        });
        let (number, log, frames) = committed.await?;
        inner.logs.insert(number, log);
        inner.frames.extend(frames);
        drop(inner);
        self.arrived.send_replace(newest);
        Ok(())
    }

    /// Waits a moment for room; fails where there is none.
    async fn room(&self, patience: Duration) -> Result<(), DriverFault> {
        let retry = |detail: String| DriverFault::Retry { after: Some(Duration::from_millis(10)), detail };
        let freed = async {
            loop {
                let freed = self.freed.notified();
                tokio::pin!(freed);
                // Before looking, so that no notice is missed.
                freed.as_mut().enable();
                if !self.is_full().await {
                    return;
                }
                freed.await;
            }
        };
        if tokio::time::timeout(patience, freed).await.is_err() {
            return Err(retry(format!(
                "{} MiB are held for the door (door.held_mib); the back-office has to acknowledge what it has",
                self.most >> 20
            )));
        }
        let free = self.store.free_bytes().map_err(|fault| DriverFault::halt(fault.to_string()))?;
        if free < LOW_WATER {
            tokio::time::sleep(patience).await;
            return Err(retry(format!("less than {} MiB are free on the disk", LOW_WATER >> 20)));
        }
        Ok(())
    }
}

/// A frame of these items: the cursor of the last, how many, the bytes.
fn frame(items: &[Item]) -> (Cursor, u32, Vec<u8>) {
    let mut content = Vec::with_capacity(items.iter().map(|item| item.json.len() + 16).sum());
    for item in items {
        content.extend_from_slice(&item.cursor.epoch.to_le_bytes());
        content.extend_from_slice(&item.cursor.sequence.to_le_bytes());
        content.extend_from_slice(&(item.json.len() as u32).to_le_bytes());
        content.extend_from_slice(&item.json);
    }
    let last = items.last().map_or(Cursor::default(), |item| item.cursor);
    (last, items.len() as u32, content)
}

/// The items of a frame, which was sealed and so is as it was written.
fn items(content: &[u8]) -> impl Iterator<Item = Item> + '_ {
    let mut rest = content;
    std::iter::from_fn(move || {
        let (epoch, after) = rest.split_first_chunk::<4>()?;
        let (sequence, after) = after.split_first_chunk::<8>()?;
        let (length, after) = after.split_first_chunk::<4>()?;
        let (json, after) = after.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        rest = after;
        let cursor = Cursor { epoch: u32::from_le_bytes(*epoch), sequence: u64::from_le_bytes(*sequence) };
        Some(Item { cursor, json: json.to_vec() })
    })
}

/// The sink of an inbox whose deliveries are fetched at the door.
pub(super) struct HeldSink {
    pub(super) held: Arc<Held>,
    /// Whether the inbox has a mapping, which gives any number of records.
    pub(super) is_mapped: bool,
}

impl HeldSink {
    /// The records of one message each, in their order, as deliveries.
    fn items(&self, records: &[Record]) -> Result<Vec<Item>, DriverFault> {
        let mut items: Vec<(Cursor, Value)> = Vec::with_capacity(records.len());
        for record in records {
            let mut record_value = record.value.clone();
            // Only a message's first record has the message.
            match (&record.raw, items.last_mut()) {
                (Some(message), _) => {
                    let broken =
                        |_| DriverFault::halt("a verified message can't be read again; this is a defect");
                    let envelope = Envelope::read(message).map_err(broken)?;
                    let context = Context::of_delivery(&envelope.attributes).map_err(broken)?;
                    let cursor = context.delivery.map_or(Cursor::default(), |delivery| Cursor {
                        epoch: delivery.epoch,
                        sequence: delivery.sequence,
                    });
                    let attribute = |name: &str| envelope.attributes.get(name);
                    let mut delivery = json!({
                        "cursor": cursor.to_string(),
                        "epoch": cursor.epoch,
                        "sequence": cursor.sequence,
                        "type": attribute("type"),
                        "source": attribute("source"),
                        "id": attribute("id"),
                        "subject": attribute("subject"),
                        "time": attribute("time"),
                        "agreement": attribute("agreement"),
                    });
                    match self.is_mapped {
                        true => delivery["records"] = json!([record_value]),
                        false => delivery["data"] = record_value["data"].take(),
                    }
                    items.push((cursor, delivery));
                }
                (None, Some((_, delivery))) => {
                    if let Some(records) = delivery["records"].as_array_mut() {
                        records.push(record_value);
                    }
                }
                (None, None) => {
                    return Err(DriverFault::halt(
                        "a record without its message can't be held; this is a defect",
                    ));
                }
            }
        }
        let bytes = |value: Value| serde_json::to_vec(&value).unwrap_or_default();
        Ok(items.into_iter().map(|(cursor, value)| Item { cursor, json: bytes(value) }).collect())
    }
}

impl Sink for HeldSink {
    /// What is held is known by its number, so that nothing has to be taken
    /// back. The mark is one that no other sink takes for its own.
    fn resume<'a>(&'a mut self, _: Option<&'a Checkpoint>) -> Fut<'a, Result<Checkpoint, DriverFault>> {
        Box::pin(async { Ok(Checkpoint(json!({ "door": true }))) })
    }

    fn push<'a>(&'a mut self, records: &'a [Record]) -> Fut<'a, Result<Pushed, DriverFault>> {
        Box::pin(async move {
            self.held.room(ROOM).await?;
            let items = self.items(records)?;
            self.held.hold(items).await.map_err(|fault| DriverFault::halt(fault.to_string()))?;
            Ok(Pushed { rejected: Vec::new(), mark: Checkpoint(json!({ "door": true })) })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::MasterKey;
    use crate::store::StoreOptions;

    fn open(folder: &tempfile::TempDir, most: u64) -> Held {
        let store = Store::open(folder.path(), StoreOptions::default()).unwrap();
        Held::open(store, Sealing::new(&MasterKey::from_bytes([9; 32]), "door"), most).unwrap()
    }

    fn at(epoch: u32, sequence: u64) -> Cursor {
        Cursor { epoch, sequence }
    }

    fn some(epoch: u32, sequences: std::ops::RangeInclusive<u64>) -> Vec<Item> {
        let item = |n| Item { cursor: at(epoch, n), json: format!("\"{epoch}-{n}\"").into_bytes() };
        sequences.map(item).collect()
    }

    async fn read(held: &Held, after: Option<Cursor>, max: usize) -> (Vec<String>, Cursor) {
        let page = held.page(after, max, 1 << 20).await.unwrap();
        let text = |json| String::from_utf8(json).unwrap().trim_matches('"').to_owned();
        (page.deliveries.into_iter().map(text).collect(), page.next)
    }

    fn logs(folder: &tempfile::TempDir) -> usize {
        std::fs::read_dir(folder.path().join("door/held")).map_or(0, Iterator::count)
    }

    #[test]
    fn a_cursor_has_one_spelling() {
        assert_eq!(Cursor::parse("1-42"), Some(at(1, 42)));
        for wrong in ["", "1", "1-", "-1", "01-2", "1-02", "+1-2", "1-2-3", "1-x", "1--2"] {
            assert_eq!(Cursor::parse(wrong), None, "{wrong}");
        }
        assert!(at(2, 1) > at(1, 900));
    }

    #[tokio::test]
    async fn what_is_held_is_read_by_cursor_and_goes_when_it_is_acknowledged() {
        let folder = tempfile::tempdir().unwrap();
        let mut held = open(&folder, 1 << 20);
        held.hold(some(1, 1..=150)).await.unwrap();
        held.hold(some(2, 1..=3)).await.unwrap();
        // Again, as after a crash: each number is held once.
        held.hold(some(1, 140..=150)).await.unwrap();
        for _ in 0..2 {
            let (all, next) = read(&held, None, 1000).await;
            assert_eq!((all.len(), next), (153, at(2, 3)));
            let (some, next) = read(&held, Some(at(1, 63)), 3).await;
            assert_eq!((some, next), (vec!["1-64".into(), "1-65".into(), "1-66".into()], at(1, 66)));
            assert_eq!(read(&held, Some(at(2, 3)), 9).await, (Vec::new(), at(2, 3)));
            drop(held);
            held = open(&folder, 1 << 20);
        }
        assert_eq!(held.acknowledge(at(1, 100)).await.unwrap(), at(1, 100));
        assert_eq!(held.acknowledge(at(1, 7)).await.unwrap(), at(1, 100));
        assert!(
            matches!(held.acknowledge(at(2, 4)).await, Err(HeldFault::Unknown(last)) if last == at(2, 3))
        );
        assert!(
            matches!(held.page(Some(at(1, 99)), 1, 9).await, Err(HeldFault::Gone(upto)) if upto == at(1, 100))
        );
        assert_eq!(read(&held, None, 1).await, (vec!["1-101".into()], at(1, 101)));
        drop(held);
        let held = open(&folder, 1 << 20);
        assert_eq!(read(&held, Some(at(1, 100)), 1).await.0, ["1-101"]);
        assert_eq!(logs(&folder), 1);
        held.acknowledge(at(2, 3)).await.unwrap();
        // The key of what was there is gone with its file.
        assert_eq!(logs(&folder), 0);
        held.hold(some(2, 2..=4)).await.unwrap();
        assert_eq!(read(&held, None, 9).await.0, ["2-4"]);
    }

    #[tokio::test]
    async fn a_page_is_bounded_in_bytes_and_gives_at_least_one() {
        let folder = tempfile::tempdir().unwrap();
        let held = open(&folder, 1 << 20);
        held.hold(some(1, 1..=9)).await.unwrap();
        assert_eq!(held.page(None, 9, 1).await.unwrap().deliveries.len(), 1);
        assert_eq!(held.page(None, 9, 11).await.unwrap().deliveries.len(), 2);
    }

    #[tokio::test]
    async fn where_there_is_no_room_the_sink_says_so_until_something_is_acknowledged() {
        let folder = tempfile::tempdir().unwrap();
        let held = open(&folder, 4096);
        let item = |n| Item { cursor: at(1, n), json: vec![b' '; 3000] };
        held.hold(vec![item(1)]).await.unwrap();
        held.room(ROOM).await.unwrap();
        held.hold(vec![item(2)]).await.unwrap();
        let fault = held.room(Duration::from_millis(1)).await.unwrap_err();
        assert!(
            matches!(&fault, DriverFault::Retry { detail, .. } if detail.contains("door.held_mib")),
            "{fault}"
        );
        let (room, acknowledged) = tokio::join!(held.room(ROOM), held.acknowledge(at(1, 2)));
        room.unwrap();
        acknowledged.unwrap();
    }
}
