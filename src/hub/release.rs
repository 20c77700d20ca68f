//! Release: for one recipient, decide on what was recorded, commit the
//! decision, then publish it and await the confirms.
//!
//! Two tasks a recipient: one decides, seals and commits; the other publishes.
//! What was decided and isn't confirmed, when the hub stopped or when a
//! recipient's queue takes no more, is made again from its rows and sent again
//! with the same numbers, byte for byte.
//!
//! Sixty recipients want the same events at once. What is sealed for all of them
//! together is bounded, and a recipient whose queue is full holds none of it.

mod publisher;

use self::publisher::{Confirmed, Parcel, Publisher};
use crate::bus::Bus;
use crate::event::{MemberName, Message};
use crate::hub::decide::{self, Decided, DecisionRow, Rule, Settled};
use crate::hub::recorded::{SLOT, SLOTS_LOG, decode_row, encode_row};
use crate::hub::sealed::{self, Sealed};
use crate::hub::{HubFault, Shared};
use crate::journal::{self, Entry, Leaf};
use crate::metrics::Stage;
use crate::store::StoreFault;
use crate::tasks::stopped;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};

/// How long confirmations wait for a decision's commit before they get their own.
const IDLE: Duration = Duration::from_millis(250);
/// At most this many events that concern nobody pass before the cursor is saved.
const UNSAVED_EVENTS: u64 = 10_000;
/// How long to wait before publishing again after a failure: doubled each time.
const BACKOFF: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(5)];
/// How many batches' worth of events are decided on at once at most.
const SHARE: usize = 4;
/// About how many bytes of memory these take at most, but for the last batch.
const SHARE_BYTES: usize = 4 * 1024 * 1024;
/// About how many bytes of batches and sealed messages are in memory at most.
const ROOM: usize = 48 * 1024 * 1024;

/// Where a recipient is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Cursor {
    /// The events before this index are decided.
    pub decided: u64,
    /// The number of the next message.
    pub sequence: u64,
    /// The events before this index are confirmed by the bus, if they had to be.
    pub confirmed: u64,
}

/// The key of a recipient's cursor.
pub(super) fn cursor_key(recipient: &str) -> Vec<u8> {
    format!("cursor/{recipient}").into_bytes()
}

/// What the keys of a recipient's decisions begin with.
pub(super) fn decisions_prefix(recipient: &str) -> Vec<u8> {
    format!("decision/{recipient}/").into_bytes()
}

/// The key of a recipient's decision on the batch that begins at `first`.
pub(super) fn decision_key(recipient: &str, first: u64) -> Vec<u8> {
    [decisions_prefix(recipient).as_slice(), &first.to_be_bytes()].concat()
}

/// The key of the row that says when a decision's messages were confirmed.
pub(super) fn confirmed_key(recipient: &str, first: u64) -> Vec<u8> {
    [format!("confirmed/{recipient}/").as_bytes(), &first.to_be_bytes()].concat()
}

fn known_prefix(recipient: &str) -> Vec<u8> {
    format!("schema-sent/{recipient}/").into_bytes()
}

/// Room in memory for what is on its way to recipients, shared by all of them.
#[derive(Clone)]
pub(super) struct Room(Arc<Semaphore>);

impl Default for Room {
    fn default() -> Room {
        Room(Arc::new(Semaphore::new(ROOM >> 10)))
    }
}

impl Room {
    /// Waits for room for batches of `bytes` and the messages made of them, each
    /// about as large. It is given back when the permit is dropped.
    pub(super) async fn take(&self, bytes: usize) -> Result<OwnedSemaphorePermit, HubFault> {
        let permit = Arc::clone(&self.0).acquire_many_owned(kibibytes(bytes * 2)).await;
        permit.map_err(|_| HubFault::Stopped)
    }
}

/// What `bytes` take of the room: some of it always, and never more than all.
fn kibibytes(bytes: usize) -> u32 {
    (bytes.clamp(1 << 10, ROOM) >> 10) as u32
}

/// Gives back the room that `messages` don't need: a batch has events of others
/// too, and isn't held any more.
fn give_back(room: &mut OwnedSemaphorePermit, messages: &[(String, Message)]) {
    // A message and what is sent of it.
    let size = |(_, message): &(String, Message)| (message.body.len() + message.headers_size()) * 2 + 1024;
    let needed = kibibytes(messages.iter().map(size).sum()) as usize;
    drop(room.split(room.num_permits().saturating_sub(needed)));
}

/// The release of one recipient.
pub(super) struct Release {
    shared: Arc<Shared>,
    recipient: MemberName,
    bus: Arc<dyn Bus>,
    cursor: Cursor,
    /// The events before this index are decided in the store.
    saved: u64,
    /// The events before this index were handed to the publishing task.
    sent: u64,
    known: BTreeSet<String>,
    confirmed: Arc<Mutex<Confirmed>>,
}

impl Release {
    /// Opens the release of `recipient`. One who is new begins at the end: what
    /// was recorded before it came isn't its.
    pub(super) async fn open(
        shared: &Arc<Shared>,
        recipient: &MemberName,
        bus: &Arc<dyn Bus>,
    ) -> Result<Release, HubFault> {
        let key = cursor_key(recipient.as_str());
        let cursor = match shared.store.get(&key)? {
            Some(row) => decode_row(&row)?,
            None => {
                let end = shared.timeline.end();
                let cursor = Cursor { decided: end, sequence: 1, confirmed: end };
                let row = encode_row(&cursor);
                shared
                    .store
                    .commit(move |tx| {
                        tx.put(&key, &row);
                        Ok(())
                    })
                    .await?;
                cursor
            }
        };
        let prefix = known_prefix(recipient.as_str());
        let mut known = BTreeSet::new();
        for entry in shared.store.scan(&prefix) {
            let (key, _) = entry?;
            known.insert(String::from_utf8_lossy(&key[prefix.len()..]).into_owned());
        }
        let confirmed = Arc::new(Mutex::new(Confirmed { upto: cursor.confirmed, ..Confirmed::default() }));
        Ok(Release {
            shared: Arc::clone(shared),
            recipient: recipient.clone(),
            bus: Arc::clone(bus),
            saved: cursor.decided,
            sent: cursor.confirmed,
            cursor,
            known,
            confirmed,
        })
    }

    /// Runs until `stop` says so and all that was recorded is confirmed, or the
    /// store fails.
    pub(super) async fn run(mut self, mut stop: watch::Receiver<bool>) -> Result<(), HubFault> {
        let mut pause = BACKOFF[0];
        loop {
            let before = self.progress();
            let erasing = self.shared.erasing.subscribe();
            let carrying = Arc::clone(&self.shared.carrying).read_owned().await;
            let (send, receive) = mpsc::channel(1);
            let publisher = Publisher {
                shared: Arc::clone(&self.shared),
                recipient: self.recipient.clone(),
                bus: Arc::clone(&self.bus),
                confirmed: Arc::clone(&self.confirmed),
                stop: stop.clone(),
                erasing: erasing.clone(),
            };
            let publishing = tokio::spawn(publisher.run(receive));
            let deciding = self.decide_all(send, stop.clone(), erasing.clone()).await;
            let published = publishing.await.map_err(|_| HubFault::Stopped)?;
            deciding?;
            let all = published?;
            self.save().await?;
            drop(carrying);
            // Someone is erased: what is decided is made again of what is left.
            if erasing.has_changed().unwrap_or(false) {
                continue;
            }
            if all || *stop.borrow() {
                return Ok(());
            }
            if self.progress() != before {
                pause = BACKOFF[0];
            }
            tracing::warn!(
                recipient = %self.recipient,
                "the recipient's queue takes no more; the messages are kept and sent again"
            );
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stopped(&mut stop) => return Ok(()),
            }
            pause = (pause * 2).min(BACKOFF[1]);
        }
    }

    /// Up to where the bus has confirmed.
    fn progress(&self) -> (u64, usize) {
        let confirmed = self.confirmed.lock().unwrap_or_else(PoisonError::into_inner);
        (confirmed.upto, confirmed.more)
    }

    async fn decide_all(
        &mut self,
        send: mpsc::Sender<Parcel>,
        mut stop: watch::Receiver<bool>,
        mut erasing: watch::Receiver<u64>,
    ) -> Result<(), HubFault> {
        if !self.resume(&send).await? {
            return Ok(());
        }
        let mut recorded = self.shared.timeline.subscribe();
        loop {
            if erasing.has_changed().unwrap_or(false) {
                return Ok(());
            }
            if *recorded.borrow_and_update() > self.cursor.decided {
                if !self.step(&send).await? {
                    return Ok(());
                }
                continue;
            }
            if *stop.borrow() {
                return Ok(());
            }
            tokio::select! {
                changed = recorded.changed() => changed.map_err(|_| HubFault::Stopped)?,
                changed = stop.changed() => changed.map_err(|_| HubFault::Stopped)?,
                _ = erasing.changed() => return Ok(()),
                // The publishing task can't go on now.
                () = send.closed() => return Ok(()),
                // The confirms come while nothing else does.
                () = tokio::time::sleep(IDLE), if self.is_unsaved() => self.save().await?,
            }
        }
    }

    /// Sends again what was decided and isn't confirmed. Returns whether the
    /// publishing task goes on.
    async fn resume(&mut self, send: &mpsc::Sender<Parcel>) -> Result<bool, HubFault> {
        let recipient = self.recipient.as_str().to_owned();
        let from = decision_key(&recipient, self.cursor.confirmed);
        let mut rows = Vec::new();
        for entry in self.shared.store.scan_from(&decisions_prefix(&recipient), &from) {
            let (_, row) = entry?;
            rows.push(decode_row::<DecisionRow>(&row)?);
        }
        for row in rows {
            let world = self.shared.world();
            let end = row.end;
            let (_, bytes) = self.shared.timeline.extent(row.first)?;
            let mut room = self.shared.release_room.take(bytes).await?;
            let batch = self.shared.timeline.batch(row.first).await?;
            let decided = vec![Arc::new(Decided::again(&self.shared, &world, row, batch)?)];
            let sealed = sealed::seal(&self.shared, &world, &self.recipient, &decided).await?;
            let decided: Vec<Settled> = decided.into_iter().map(Settled::of).collect();
            let messages = messages(sealed).0;
            give_back(&mut room, &messages);
            let parcel = Parcel::new(messages, &decided, end, room);
            self.sent = end;
            if send.send(parcel).await.is_err() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Decides on what is recorded, up to a batch's worth of events. Returns
    /// whether the publishing task goes on.
    async fn step(&mut self, send: &mpsc::Sender<Parcel>) -> Result<bool, HubFault> {
        if self.pass_by()? {
            return self.passed().await.map(|()| true);
        }
        let shared = Arc::clone(&self.shared);
        let world = shared.world();
        let (end, bytes) = self.next_share()?;
        let mut room = shared.release_room.take(bytes).await?;
        let started = Instant::now();
        let mut decided = Vec::new();
        let (mut next, mut sequence, mut events) = (self.cursor.decided, self.cursor.sequence, 0);
        while next < end {
            let batch = shared.timeline.batch(next).await?;
            let decision = decide::decide(&shared, &world, &self.recipient, &batch, sequence, &self.known)?;
            self.learn(&decision);
            next = batch.end();
            sequence += decision.row.messages;
            events += batch.events.len();
            decided.push(Arc::new(decision));
        }
        shared.metrics.stage(Stage::Decide).add(started.elapsed(), events as u64);

        let sealed = sealed::seal(&shared, &world, &self.recipient, &decided).await?;
        let (messages, mut leaves) = messages(sealed);
        leaves.extend(self.withheld(&decided));
        // While they wait for the disk and the broker, others can decide.
        let decided: Vec<Settled> = decided.into_iter().map(Settled::of).collect();
        give_back(&mut room, &messages);
        self.cursor = Cursor { decided: next, sequence, ..self.cursor };
        if leaves.is_empty() {
            return self.passed().await.map(|()| true);
        }
        let started = Instant::now();
        let count = messages.len();
        self.commit(&decided, leaves).await?;
        shared.metrics.committed(started.elapsed(), count as u64);
        let parcel = Parcel::new(messages, &decided, next, room);
        self.sent = next;
        Ok(send.send(parcel).await.is_ok())
    }

    /// Goes past the batches in memory that are others'. Returns whether none is
    /// left to decide on.
    fn pass_by(&mut self) -> Result<bool, HubFault> {
        let timeline = &self.shared.timeline;
        while let Some(batch) = timeline.remembered(self.cursor.decided)
            && !batch.concerns(&self.shared, &self.recipient)?
        {
            self.cursor.decided = batch.end();
        }
        Ok(self.cursor.decided == timeline.end())
    }

    /// Notes that events passed of which nothing is this recipient's.
    async fn passed(&mut self) -> Result<(), HubFault> {
        self.shared.note_progress(&self.recipient, self.cursor);
        if self.cursor.decided - self.saved > UNSAVED_EVENTS {
            self.save().await?;
        }
        Ok(())
    }

    /// The index after the next batches to decide on, and about how much memory
    /// these take, in bytes: several batches' worth of events where there are as
    /// many, since a recipient gets a part of them.
    fn next_share(&self) -> Result<(u64, usize), HubFault> {
        let timeline = &self.shared.timeline;
        let (from, most) = (self.cursor.decided, (self.shared.limits.messages * SHARE) as u64);
        let (mut next, mut bytes) = (from, 0);
        while next < timeline.end() && next - from < most && bytes < SHARE_BYTES {
            let (end, more) = timeline.extent(next)?;
            next = end;
            bytes += more;
        }
        Ok((next, bytes))
    }

    /// Remembers the schemas that `decision` publishes.
    fn learn(&mut self, decision: &Decided) {
        for class in &decision.row.schemas {
            let plan = &decision.plans[usize::from(*class)];
            self.known.extend(plan.schema().map(|(reference, _)| reference.to_owned()));
        }
    }

    /// The entries of what lapsed between recording and decision.
    fn withheld(&self, decided: &[Arc<Decided>]) -> Vec<Leaf> {
        let mut leaves = Vec::new();
        for decided in decided {
            for (class, event) in decided.batch.numbers.iter().zip(&decided.batch.events) {
                let (Rule::Withheld { agreement }, Some(event)) =
                    (&decided.row.rules[usize::from(*class)], event)
                else {
                    continue;
                };
                leaves.push(Leaf::new(&Entry::Withheld {
                    at: decided.row.at,
                    event: event.name_for(self.recipient.as_str()),
                    recipient: self.recipient.as_str().to_owned(),
                    agreement: agreement.clone(),
                }));
            }
        }
        leaves
    }

    /// Commits decisions, their entries, and what was confirmed meanwhile.
    async fn commit(&mut self, decided: &[Settled], leaves: Vec<Leaf>) -> Result<(), HubFault> {
        let mut rows = self.take_confirmed();
        let recipient = self.recipient.as_str();
        let mut decisions = Vec::new();
        for decided in decided.iter().filter(|d| d.row.messages > 0 || d.row.has_withheld()) {
            decisions.push((decision_key(recipient, decided.row.first), decided.row.clone()));
            for class in &decided.row.schemas {
                let plan = &decided.plans[usize::from(*class)];
                if let Some((reference, _)) = plan.schema() {
                    let key = [known_prefix(recipient).as_slice(), reference.as_bytes()].concat();
                    rows.push((key, decided.row.sequence.to_be_bytes().to_vec()));
                }
            }
        }
        rows.push((cursor_key(recipient), encode_row(&self.cursor)));
        let mark = (format!("to.{recipient}"), (self.cursor.sequence - 1).to_string());
        let end = self.cursor.decided;
        self.shared
            .store
            .commit(move |tx| {
                // They were handed over before this: in this group or an earlier one.
                if tx.log_len(SLOTS_LOG) < end * SLOT {
                    let why = format!("a decision on the events before {end} comes before them");
                    return Err(StoreFault::Misused(why));
                }
                // The entries of the messages come first, in the order of their numbers.
                let mut entry = journal::append(tx, &leaves)?;
                for (key, mut row) in decisions {
                    row.journal = Some(entry);
                    entry += row.messages;
                    tx.put(&key, &encode_row(&row));
                }
                rows.iter().for_each(|(key, value)| tx.put(key, value));
                tx.mark(&mark.0, mark.1);
                Ok(())
            })
            .await?;
        self.saved = self.cursor.decided;
        // Not before: who asks would be told of numbers that nothing holds yet.
        self.shared.note_progress(&self.recipient, self.cursor);
        Ok(())
    }

    /// Saves the cursor and what was confirmed.
    async fn save(&mut self) -> Result<(), HubFault> {
        let confirmed = self.confirmed.lock().unwrap_or_else(PoisonError::into_inner).upto;
        if self.saved == self.cursor.decided && confirmed <= self.cursor.confirmed {
            return Ok(());
        }
        self.commit(&[], Vec::new()).await
    }

    /// Whether the store is behind: events that concern nobody passed, or
    /// messages are sent whose confirms are still to be saved.
    fn is_unsaved(&self) -> bool {
        self.saved != self.cursor.decided || self.cursor.confirmed < self.sent
    }

    /// The rows of what was confirmed since the last call; moves the cursor.
    fn take_confirmed(&mut self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut confirmed = self.confirmed.lock().unwrap_or_else(PoisonError::into_inner);
        self.cursor.confirmed = confirmed.upto;
        let recipient = self.recipient.as_str();
        confirmed
            .unsaved
            .drain(..)
            .map(|(first, at)| (confirmed_key(recipient, first), at.to_be_bytes().to_vec()))
            .collect()
    }
}

impl DecisionRow {
    fn has_withheld(&self) -> bool {
        self.rules.iter().any(|rule| matches!(rule, Rule::Withheld { .. }))
    }
}

/// The number of the last message that the bus confirmed and whose confirmation
/// is saved.
pub(super) fn confirmed_sequence(shared: &Shared, recipient: &str, cursor: Cursor) -> Result<u64, HubFault> {
    let from = decision_key(recipient, cursor.confirmed);
    match shared.store.scan_from(&decisions_prefix(recipient), &from).next() {
        Some(entry) => Ok(decode_row::<DecisionRow>(&entry?.1)?.sequence - 1),
        None => Ok(cursor.sequence.saturating_sub(1)),
    }
}

fn messages(sealed: Vec<Sealed>) -> (Vec<(String, Message)>, Vec<Leaf>) {
    sealed.into_iter().map(|s| ((s.routing_key, s.message), s.leaf)).unzip()
}
