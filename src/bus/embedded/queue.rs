//! A queue: its logs, what waits in it, what is acknowledged.
//!
//! Each message has a position, counted from 0 over the life of the queue.
//! Four positions say all: `acked` ≤ `ready` ≤ `end`, and `delivered`. What is
//! before `acked` is done with; from there to `ready` is with the consumer; what
//! is before `delivered` was given to one before.

use super::record::{self, Entry};
use super::{BrokerOptions, lock};
use crate::store::{Frame, FrameLog, Sealing, Store, StoreFault, Tx};
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;
use tokio::sync::{Notify, Semaphore};

/// About how many bytes are read from a log at once.
const READ: u64 = 256 << 10;

/// The part of the cache that one queue may take.
const CACHE_SHARE: usize = 4;

pub(super) struct Queue {
    pub(super) name: String,
    options: BrokerOptions,
    sealing: Sealing,
    /// How many bytes are unacknowledged, or about to be published.
    bytes: AtomicU64,
    /// Used on the committer only, but for the start.
    writer: Mutex<Writer>,
    state: Mutex<State>,
    cached: Arc<AtomicUsize>,
    /// Whether it is in the list of those whose acknowledgements are to be saved.
    pub(super) is_dirty: AtomicBool,
    /// Whether it is in the list of those whose last log may be deleted.
    pub(super) is_watched: AtomicBool,
    /// Told when messages arrive; only the active consumer listens.
    pub(super) arrived: Notify,
    /// One permit: that of the active consumer.
    pub(super) active: Arc<Semaphore>,
}

/// Where the next frame goes.
#[derive(Clone)]
pub(super) struct Writer {
    log: Option<Arc<FrameLog>>,
    /// The position of the next message.
    next: u64,
    last_write: Instant,
}

struct State {
    /// The oldest first.
    logs: VecDeque<LogIndex>,
    /// Messages in memory, in order, none before `ready`.
    cache: VecDeque<Cached>,
    cache_bytes: usize,
    has_consumer: bool,
    acked: u64,
    ready: u64,
    delivered: u64,
    end: u64,
    /// How often logs were written anew: what a consumer has read of them before
    /// doesn't count any more.
    generation: u64,
    /// The sizes of messages that were replaced.
    resized: BTreeMap<u64, u32>,
    /// Logs that are wholly acknowledged, to be deleted with the next commit of
    /// the acknowledgements.
    finished: Vec<Arc<FrameLog>>,
}

/// What is known of a log: 8 bytes a frame.
pub(super) struct LogIndex {
    log: Arc<FrameLog>,
    /// The position of its first message.
    first: u64,
    /// Of each frame: where it begins, and its first message counted from
    /// `first`.
    frames: Vec<(u32, u32)>,
    /// Where the last frame ends.
    end: u32,
    count: u32,
}

struct Cached {
    first: u64,
    bytes: usize,
    entries: Vec<Entry>,
}

/// A frame that was written in a commit, on its way into [`State`].
pub(super) struct Placed {
    log: Arc<FrameLog>,
    is_new: bool,
    frame: Frame,
    first: u64,
}

/// Messages to publish as one frame.
#[derive(Default)]
pub(super) struct Pending {
    pub(super) content: Vec<u8>,
    pub(super) entries: Vec<Entry>,
}

/// The name of the queue that a log belongs to.
pub(super) fn of_log(log: &str) -> Option<String> {
    let (queue, _) = log.strip_prefix("bus/")?.split_once('/')?;
    Some(queue.to_owned())
}

/// The name of the queue that a row belongs to.
pub(super) fn of_row(key: &[u8]) -> Option<String> {
    let name = std::str::from_utf8(key).ok()?.strip_prefix("bus/")?.strip_suffix("/acked")?;
    Some(name.to_owned())
}

impl Queue {
    /// Opens the queue with what its logs hold.
    pub(super) fn open(
        store: &Store,
        sealing: &Sealing,
        options: &BrokerOptions,
        cached: &Arc<AtomicUsize>,
        name: &str,
    ) -> Result<Queue, StoreFault> {
        let sealing = sealing.derive(name);
        let acked = match store.get(row(name).as_bytes())? {
            Some(value) => u64::from_le_bytes(value.try_into().map_err(|_| {
                StoreFault::Aborted(format!("the row of the queue {name} isn't a position; restore a backup"))
            })?),
            None => 0,
        };
        let mut logs = VecDeque::new();
        let mut finished = Vec::new();
        let mut bytes = 0;
        let mut end = acked;
        for log in store.logs(&format!("bus/{name}/")) {
            let (log, first) = FrameLog::open(store, &sealing_of(&sealing, &log), log)?;
            let mut index = LogIndex::new(Arc::new(log), first);
            for frame in index.log.frames(store)? {
                let frame_first = first + u64::from(index.count);
                if frame_first + u64::from(frame.count) > acked {
                    bytes += match acked.checked_sub(frame_first) {
                        None | Some(0) => frame.content_len(),
                        Some(done) => {
                            let entries = read(store, &index.log, &frame)?;
                            entries.iter().skip(done as usize).map(|e| u64::from(e.size)).sum()
                        }
                    };
                }
                index.push(&frame)?;
            }
            end = end.max(index.past());
            if index.past() <= acked { finished.push(index.log) } else { logs.push_back(index) }
        }
        Ok(Queue {
            name: name.to_owned(),
            options: options.clone(),
            sealing,
            bytes: AtomicU64::new(bytes),
            // Each start begins a log of its own, with a key of its own: in an
            // older one, an offset may have been written before (a commit that a
            // crash cut off, a backup that was restored), and a nonce is used once.
            writer: Mutex::new(Writer { log: None, next: end, last_write: Instant::now() }),
            state: Mutex::new(State {
                logs,
                cache: VecDeque::new(),
                cache_bytes: 0,
                has_consumer: false,
                acked,
                ready: acked,
                delivered: end,
                end,
                generation: 0,
                resized: BTreeMap::new(),
                finished,
            }),
            cached: cached.clone(),
            is_dirty: AtomicBool::new(false),
            is_watched: AtomicBool::new(false),
            arrived: Notify::new(),
            active: Arc::new(Semaphore::new(1)),
        })
    }

    /// How many messages and bytes aren't acknowledged.
    pub(super) fn depth(&self) -> (u64, u64) {
        let state = lock(&self.state);
        (state.end - state.acked, self.bytes.load(Ordering::Relaxed))
    }

    // ---- publishing ---------------------------------------------------------

    /// Takes room for a message, unless the queue is full.
    pub(super) fn reserve(&self, size: u32) -> bool {
        let room = |bytes: u64| {
            let after = bytes + u64::from(size);
            (after <= self.options.queue_bytes).then_some(after)
        };
        self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).is_ok()
    }

    /// Gives back room that was taken.
    pub(super) fn release(&self, bytes: u64) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Writes frames in a commit. Returns where they are, and what
    /// [`Queue::rewind`] takes if the work fails in the end.
    pub(super) fn write(&self, tx: &mut Tx, frames: &[Pending]) -> Result<(Vec<Placed>, Writer), StoreFault> {
        let mut writer = lock(&self.writer);
        let before = writer.clone();
        let placed: Result<Vec<_>, _> =
            frames.iter().map(|frame| self.write_one(&mut writer, tx, frame)).collect();
        match placed {
            Ok(placed) => Ok((placed, before)),
            Err(fault) => {
                *writer = before;
                Err(fault)
            }
        }
    }

    /// Forgets what was written in a work that fails: nothing of it is kept.
    pub(super) fn rewind(&self, before: Writer) {
        *lock(&self.writer) = before;
    }

    fn write_one(&self, writer: &mut Writer, tx: &mut Tx, pending: &Pending) -> Result<Placed, StoreFault> {
        let first = writer.next;
        let current = writer.log.take().filter(|log| tx.log_len(log.name()) < self.options.log_bytes);
        let is_new = current.is_none();
        let log = match current {
            Some(log) => log,
            None => {
                // Named by the position of its first message, which no other
                // log of the queue ever has.
                let name = format!("bus/{}/{first:020}.log", self.name);
                Arc::new(FrameLog::create(tx, &self.sealing, name, first)?)
            }
        };
        let count = pending.entries.len() as u32;
        let frame = log.append(tx, count, &pending.content)?;
        *writer =
            Writer { log: Some(log.clone()), next: first + u64::from(count), last_write: Instant::now() };
        Ok(Placed { log, is_new, frame, first })
    }

    /// Makes frames visible, once they are durable, in the order of the commits.
    pub(super) fn arrive(&self, placed: Vec<Placed>, frames: Vec<Pending>) {
        {
            let mut state = lock(&self.state);
            for (placed, pending) in placed.into_iter().zip(frames) {
                if placed.is_new {
                    state.logs.push_back(LogIndex::new(placed.log, placed.first));
                }
                if let Some(index) = state.logs.back_mut() {
                    // The log's limit keeps its offsets far below 4 GiB.
                    let _ = index.push(&placed.frame);
                }
                state.end = placed.first + u64::from(placed.frame.count);
                let bytes = pending.content.len();
                if state.has_consumer && self.take_cache(&mut state, bytes) {
                    state.cache.push_back(Cached { first: placed.first, bytes, entries: pending.entries });
                }
            }
        }
        self.arrived.notify_one();
    }

    fn take_cache(&self, state: &mut State, bytes: usize) -> bool {
        let limit = self.options.cache_bytes;
        if state.cache_bytes + bytes > limit / CACHE_SHARE {
            return false;
        }
        let room = |used: usize| (used + bytes <= limit).then_some(used + bytes);
        let taken = self.cached.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).is_ok();
        if taken {
            state.cache_bytes += bytes;
        }
        taken
    }

    fn give_cache(&self, state: &mut State, bytes: usize) {
        state.cache_bytes -= bytes;
        self.cached.fetch_sub(bytes, Ordering::Relaxed);
    }

    // ---- consuming ----------------------------------------------------------

    /// A consumer has become the active one.
    pub(super) fn begin(&self) {
        lock(&self.state).has_consumer = true;
    }

    /// Moves messages that are ready to the end of `staged`: a frame of the
    /// cache, or a chunk of a log. Returns false when there are none.
    pub(super) fn take(&self, store: &Store, staged: &mut VecDeque<Entry>) -> Result<bool, StoreFault> {
        let mut state = lock(&self.state);
        if state.ready == state.end {
            return Ok(false);
        }
        if state.cache.front().is_some_and(|frame| frame.first == state.ready)
            && let Some(frame) = state.cache.pop_front()
        {
            self.give_cache(&mut state, frame.bytes);
            state.ready += frame.entries.len() as u64;
            staged.extend(frame.entries);
            return Ok(true);
        }
        let from = state.ready;
        let until = state.cache.front().map_or(state.end, |frame| frame.first);
        let Some((log, offset, end, first)) = state.locate(from) else {
            return Err(StoreFault::Aborted(format!(
                "the queue {} has no log for its next message; this is a defect: start again, and report it",
                self.name
            )));
        };
        // Only the active consumer moves `ready`, so it is still the same after
        // the reading.
        drop(state);
        let mut position = first;
        for (count, content) in log.read(store, offset, end)? {
            let entries = decode(&log, offset, count, content)?;
            for entry in entries {
                if (from..until).contains(&position) {
                    staged.push_back(entry);
                }
                position += 1;
            }
        }
        lock(&self.state).ready = position.min(until);
        Ok(true)
    }

    /// Takes note that messages up to the position `until` are delivered.
    /// Returns the position up to which they had been before.
    pub(super) fn deliver(&self, until: u64) -> u64 {
        let mut state = lock(&self.state);
        let before = state.delivered;
        state.delivered = before.max(until);
        before
    }

    /// The position of the first message that isn't acknowledged.
    pub(super) fn acked(&self) -> u64 {
        lock(&self.state).acked
    }

    /// Acknowledges the next `count` messages, of `bytes` together, for a consumer
    /// that knows of the logs of `generation`. Returns false, and does nothing,
    /// where some were written anew since.
    pub(super) fn ack(&self, generation: u64, count: u64, bytes: u64) -> bool {
        let mut state = lock(&self.state);
        if state.generation != generation {
            return false;
        }
        state.acked += count;
        self.release(bytes);
        while state.logs.len() > 1 && state.logs[0].past() <= state.acked {
            if let Some(index) = state.logs.pop_front() {
                state.finished.push(index.log);
            }
        }
        true
    }

    // ---- written anew ---------------------------------------------------------

    /// How often logs were written anew.
    pub(super) fn generation(&self) -> u64 {
        lock(&self.state).generation
    }

    /// The sizes of the messages that were replaced, at their positions.
    pub(super) fn resized(&self) -> (u64, BTreeMap<u64, u32>) {
        let state = lock(&self.state);
        (state.generation, state.resized.clone())
    }

    /// Begins another log with the next message, and deletes what is wholly
    /// acknowledged now.
    pub(super) fn roll(&self, tx: &mut Tx) {
        let mut writer = lock(&self.writer);
        let mut state = lock(&self.state);
        // A log with frames that aren't visible yet isn't known to its end.
        let all_visible = state.end == writer.next;
        writer.log = None;
        while state.logs.front().is_some_and(|index| index.past() <= state.acked)
            && (all_visible || state.logs.len() > 1)
            && let Some(index) = state.logs.pop_front()
        {
            state.finished.push(index.log);
        }
        drop((state, writer));
        self.save_acks(tx);
    }

    /// The logs that don't grow any more: each with the position of its first
    /// message, and where it ends.
    pub(super) fn closed_logs(&self) -> Vec<(Arc<FrameLog>, u64, u64)> {
        let writer = lock(&self.writer);
        let state = lock(&self.state);
        let current = |log: &Arc<FrameLog>| writer.log.as_ref().is_some_and(|now| Arc::ptr_eq(now, log));
        let closed = state.logs.iter().filter(|index| !current(&index.log));
        closed.map(|index| (index.log.clone(), index.first, u64::from(index.end))).collect()
    }

    /// Up to where the messages of `old`, which is closed, are acknowledged; none
    /// where all are, and it goes with this commit.
    pub(super) fn begin_anew(&self, tx: &mut Tx, old: &Arc<FrameLog>) -> Option<u64> {
        let mut state = lock(&self.state);
        let at = state.logs.iter().position(|index| Arc::ptr_eq(&index.log, old));
        match at {
            Some(at) if state.logs[at].past() > state.acked => {
                // What isn't in the log any more must not be asked for.
                tx.put(row(&self.name).as_bytes(), &state.acked.to_le_bytes());
                Some(state.acked)
            }
            at => {
                if let Some(index) = at.and_then(|at| state.logs.remove(at)) {
                    state.finished.push(index.log);
                }
                drop(state);
                self.save_acks(tx);
                None
            }
        }
    }

    /// Creates the log that takes the place of the one called `old`, with `first`
    /// as the position of its first message.
    pub(super) fn create_anew(&self, tx: &mut Tx, old: &str, first: u64) -> Result<LogIndex, StoreFault> {
        let times = times_anew(old) + 1;
        let name = format!("bus/{}/{first:020}.r{times}.log", self.name);
        let sealing = sealing_of(&self.sealing, &name);
        Ok(LogIndex::new(Arc::new(FrameLog::create(tx, &sealing, name, first)?), first))
    }

    /// Puts a log written anew, which is durable, in the place of `old`.
    pub(super) fn replace(&self, old: &Arc<FrameLog>, index: LogIndex, resized: BTreeMap<u64, (u32, i64)>) {
        {
            let mut state = lock(&self.state);
            let at = state.logs.iter().position(|known| Arc::ptr_eq(&known.log, old));
            match at {
                Some(at) => state.logs[at] = index,
                // All of it was acknowledged since.
                None => {
                    state.finished.retain(|known| !Arc::ptr_eq(known, old));
                    state.finished.push(index.log);
                }
            }
            let acked = state.acked;
            for (position, (size, grown)) in resized.into_iter().filter(|(at, _)| *at >= acked) {
                state.resized.insert(position, size);
                match u64::try_from(grown) {
                    Ok(more) => drop(self.bytes.fetch_add(more, Ordering::Relaxed)),
                    Err(_) => self.release(grown.unsigned_abs()),
                }
            }
            state.resized.retain(|position, _| *position >= acked);
            state.generation += 1;
            state.cache.clear();
            let bytes = state.cache_bytes;
            self.give_cache(&mut state, bytes);
        }
        self.arrived.notify_one();
    }

    /// Takes messages back from the consumer, all from the position `from` on.
    pub(super) fn put_back(&self, from: u64) {
        lock(&self.state).ready = from;
    }

    /// The active consumer is gone: everything not acknowledged is ready again.
    pub(super) fn end(&self) {
        let mut state = lock(&self.state);
        state.has_consumer = false;
        state.ready = state.acked;
        state.cache.clear();
        let bytes = state.cache_bytes;
        self.give_cache(&mut state, bytes);
    }

    // ---- acknowledgements on disk -------------------------------------------

    /// Whether logs wait to be deleted.
    pub(super) fn has_finished(&self) -> bool {
        !lock(&self.state).finished.is_empty()
    }

    /// Writes down what is acknowledged, and deletes the logs that are done
    /// with.
    pub(super) fn save_acks(&self, tx: &mut Tx) {
        let mut state = lock(&self.state);
        tx.put(row(&self.name).as_bytes(), &state.acked.to_le_bytes());
        for log in state.finished.drain(..) {
            log.delete(tx);
        }
    }

    /// Deletes the last log as well, if all of it is acknowledged and nothing
    /// was published for a while. Returns whether to ask again later.
    pub(super) fn save_idle(&self, tx: &mut Tx) -> bool {
        let mut writer = lock(&self.writer);
        let mut state = lock(&self.state);
        // Frames written but not visible yet are beyond `acked`.
        if state.acked < writer.next || state.logs.is_empty() {
            return !state.logs.is_empty();
        }
        if writer.last_write.elapsed() < self.options.idle {
            return true;
        }
        writer.log = None;
        let rest: Vec<_> = state.logs.drain(..).map(|index| index.log).collect();
        state.finished.extend(rest);
        drop((state, writer));
        self.save_acks(tx);
        false
    }
}

impl State {
    /// The frames to read for the message at `position`: the log, from where to
    /// where, and the position of the first message there.
    fn locate(&self, position: u64) -> Option<(Arc<FrameLog>, u64, u64, u64)> {
        let at = self.logs.partition_point(|index| index.first <= position).checked_sub(1)?;
        let index = &self.logs[at];
        let relative = u32::try_from(position - index.first).ok().filter(|r| *r < index.count)?;
        let frame = index.frames.partition_point(|(_, first)| *first <= relative).checked_sub(1)?;
        let (offset, first) = index.frames[frame];
        let limit = u64::from(offset) + READ;
        let later = &index.frames[frame + 1..];
        let end = match later.partition_point(|(next, _)| u64::from(*next) <= limit) {
            all if all == later.len() && u64::from(index.end) <= limit => index.end,
            // At least one frame, however large.
            0 => later.first().map_or(index.end, |(next, _)| *next),
            some => later[some - 1].0,
        };
        Some((index.log.clone(), u64::from(offset), u64::from(end), index.first + u64::from(first)))
    }
}

impl LogIndex {
    fn new(log: Arc<FrameLog>, first: u64) -> LogIndex {
        LogIndex { log, first, frames: Vec::new(), end: 0, count: 0 }
    }

    /// The position after its last message.
    fn past(&self) -> u64 {
        self.first + u64::from(self.count)
    }

    /// Appends a frame to its log in a commit.
    pub(super) fn append(&self, tx: &mut Tx, count: u32, content: &[u8]) -> Result<Frame, StoreFault> {
        self.log.append(tx, count, content)
    }

    pub(super) fn push(&mut self, frame: &Frame) -> Result<(), StoreFault> {
        let too_long = |_| StoreFault::Damaged {
            log: self.log.name().to_owned(),
            offset: frame.offset,
            why: "it goes beyond 4 GiB".to_owned(),
        };
        self.frames.push((u32::try_from(frame.offset).map_err(too_long)?, self.count));
        self.end = u32::try_from(frame.end).map_err(too_long)?;
        self.count += frame.count;
        Ok(())
    }
}

/// How often a log was written anew, by its name.
fn times_anew(log: &str) -> u64 {
    let times = log.strip_suffix(".log").and_then(|name| name.rsplit_once(".r"));
    times.and_then(|(_, times)| times.parse().ok()).unwrap_or(0)
}

/// What the key of a log is wrapped under: one that was written anew may begin at
/// the position of the one before.
fn sealing_of(sealing: &Sealing, log: &str) -> Sealing {
    match times_anew(log) {
        0 => sealing.clone(),
        times => sealing.derive(&format!("anew {times}")),
    }
}

fn row(name: &str) -> String {
    format!("bus/{name}/acked")
}

fn read(store: &Store, log: &FrameLog, frame: &Frame) -> Result<Vec<Entry>, StoreFault> {
    let mut entries = Vec::new();
    for (count, content) in log.read(store, frame.offset, frame.end)? {
        entries.extend(decode(log, frame.offset, count, content)?);
    }
    Ok(entries)
}

pub(super) fn decode(
    log: &FrameLog,
    offset: u64,
    count: u32,
    content: Vec<u8>,
) -> Result<Vec<Entry>, StoreFault> {
    let entries = record::decode(content).and_then(|entries| {
        if entries.len() == count as usize {
            Ok(entries)
        } else {
            Err("a frame has another count".to_owned())
        }
    });
    entries.map_err(|why| StoreFault::Damaged { log: log.name().to_owned(), offset, why })
}
