//! Erasing a person: what is left of whom a member calls by an identifier is made
//! unreadable, and those who got something are told.
//!
//! Each payload rests under a key of its own, and the journal's salts come of it:
//! overwriting the key's slot ends both, in every copy of a segment. The order is
//! such that a kill at any point leaves something that the next start completes:
//!
//! 1. whom recipients are to be told of, sealed, and a line in the log of erasures,
//!    both on disk before anything else;
//! 2. the recipients' notices, in the commit of the first slots;
//! 3. the slots, some hundred a commit;
//! 4. the quarantine, and the queues of the embedded bus;
//! 5. the tags, by which all of that is found again, the row that says up to which
//!    line the log was followed, and what was kept of whom it is.
//!
//! Meanwhile release stands still and has let go of what it had in memory.

use crate::bus;
use crate::bus::embedded::Fate;
use crate::event::{MemberName, Message, Origin, is_subject};
use crate::hub::decide::{DecisionRow, Rule};
use crate::hub::operator::{Answer, ErasureReport, Told};
use crate::hub::quarantine;
use crate::hub::record::{self, Own};
use crate::hub::recorded::{BatchRow, SLOT, SLOTS_LOG, decode_row, encode_row};
use crate::hub::{ERASED, HubFault, Shared, Topology, WITHHELD, erasing, release, sealed};
use crate::persons::{Erasure, NO_PERSON, PersonTag, TAG, TAGS_LOG, positions};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What is said where the hub has nothing of whom was named.
pub(super) const NOBODY: &str =
    "This hub has nothing of such a person: is it the identifier that this very member gives, and its kind?";
/// How many slots are overwritten in a commit: others wait for it.
const AT_ONCE: usize = 256;
/// How many bytes of missing tags are added in a commit.
const FILL_BYTES: usize = 1 << 20;
/// The row of up to where the log of erasures was followed.
const FOLLOWED: &[u8] = b"erasures-followed";

/// Up to which line of the log of erasures this store went.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Followed {
    /// So many lines are applied.
    applied: usize,
    /// The recipients were told of so many.
    told: usize,
    /// The MAC of the last line that is applied.
    mac: [u8; 32],
}

/// Whom to erase, as the operator names the person.
#[derive(Clone, Debug)]
pub(super) struct Person {
    /// Whose identifier it is.
    pub member: MemberName,
    /// `KIND/LOCAL-ID`.
    pub subject: String,
}

impl Person {
    /// The person whom `member` calls `subject`, a `KIND/LOCAL-ID` or the
    /// local id of a `person`. A sentence where that can't be.
    pub(super) fn parse(member: &str, subject: &str) -> Result<Person, String> {
        let member = MemberName::parse(member).map_err(|_| {
            "that isn't a member's name: say whose identifier it is, such as province-sud".to_owned()
        })?;
        let subject = if subject.contains('/') { subject.to_owned() } else { format!("person/{subject}") };
        if !is_subject(&subject) {
            return Err(
                "that isn't an identifier: it is KIND/LOCAL-ID or LOCAL-ID, 1 to 128 of A-Z, a-z, 0-9 and \
                        . _ ~ -, as the member's software gives it in cloudEvents_subject"
                    .to_owned(),
            );
        }
        Ok(Person { member, subject })
    }

    /// What the store knows the person by.
    pub(super) fn tag(&self, shared: &Shared) -> PersonTag {
        shared.tagger.tag(self.member.as_str(), &self.subject)
    }
}

/// One message about the person that was decided.
struct Carried {
    recipient: MemberName,
    row: Arc<DecisionRow>,
    number: u64,
}

/// What there is of a person.
#[derive(Default)]
struct Found {
    /// The events.
    events: Vec<u64>,
    /// How many of them have a payload.
    payloads: u64,
    /// The messages that carry them.
    messages: Vec<Carried>,
    /// How many of these aren't confirmed.
    pending: u64,
    /// Which members got any, and the identifiers under which they did.
    told: BTreeSet<(MemberName, String)>,
    /// Who did, and takes part no longer.
    left: BTreeSet<MemberName>,
    /// Refused messages.
    quarantined: Vec<(u64, quarantine::Row)>,
}

/// Finds what there is of whom `tag` is the tag, taken in at `until` or before.
/// `subject` is known when an operator names the person, and when that was kept;
/// else it is read from an event that still opens.
async fn find(
    shared: &Arc<Shared>,
    tag: &PersonTag,
    subject: Option<&str>,
    until: i64,
) -> Result<Found, HubFault> {
    let mut found = Found { quarantined: quarantine::about(shared, tag, until)?, ..Found::default() };
    let all = positions(&shared.store, TAGS_LOG, |other| other == tag)?;
    let (world, recipients) = (shared.world(), shared.recipients()?);
    let mut rest = all.as_slice();
    while let Some((first, batch, ours)) = next_batch(shared, &mut rest)? {
        if batch.at > until {
            continue;
        }
        found.events.extend(ours);
        let slots = shared.store.read(SLOTS_LOG, first * SLOT, batch.events.len() * SLOT as usize)?;
        let slots = slots.as_chunks::<32>().0;
        let has_payload = |index: &&u64| slots[(**index - first) as usize].iter().any(|byte| *byte != 0);
        found.payloads += ours.iter().filter(has_payload).count() as u64;
        let mut named = subject.map(str::to_owned);
        for member in &recipients {
            let recipient = member.as_str();
            let Some(cursor) = shared.progress(member)? else { continue };
            if cursor.decided <= first {
                continue;
            }
            let Some(row) = shared.store.get(&release::decision_key(recipient, first))? else { continue };
            let row: Arc<DecisionRow> = Arc::new(decode_row(&row)?);
            let confirmed = shared.store.get(&release::confirmed_key(recipient, first))?.is_some();
            for index in ours {
                let place = (index - first) as usize;
                let class = usize::from(batch.events[place].0);
                let Rule::Granted { subject: mode, .. } = &row.rules[class] else { continue };
                if row.skipped.contains(&(place as u32)) {
                    continue;
                }
                let number = row.sequence_of(place, batch.events.iter().map(|(class, _)| *class));
                if named.is_none() {
                    let read = shared.timeline.batch(first).await?;
                    let event = read.events[place].as_ref();
                    named = event.and_then(|event| event.attributes.get("subject")).map(str::to_owned);
                }
                if !world.directory.contains(recipient) {
                    found.left.insert(member.clone());
                } else if let Some(named) = &named {
                    let known = shared.subject_for(&world, &batch.classes[class], recipient, named, *mode);
                    found.told.insert((member.clone(), known));
                }
                found.pending += u64::from(!confirmed);
                found.messages.push(Carried { recipient: member.clone(), row: Arc::clone(&row), number });
            }
        }
    }
    Ok(found)
}

/// Events of one batch: the batch's first event, its row, and which of its events
/// these are.
pub(super) type OfBatch<'a> = (u64, BatchRow, &'a [u64]);

/// Takes the events of one batch off `rest`, which is in order.
pub(super) fn next_batch<'a>(shared: &Shared, rest: &mut &'a [u64]) -> Result<Option<OfBatch<'a>>, HubFault> {
    let Some(index) = rest.first() else { return Ok(None) };
    let Some((first, batch)) = shared.timeline.row_of(*index)? else {
        return Err(HubFault::Damaged("an event has no row"));
    };
    let end = first + batch.events.len() as u64;
    let (ours, later) = rest.split_at(rest.partition_point(|index| *index < end));
    *rest = later;
    Ok(Some((first, batch, ours)))
}

impl Found {
    fn is_nothing(&self) -> bool {
        self.events.is_empty() && self.quarantined.is_empty()
    }

    fn report(&self, dry_run: bool, at: i64) -> ErasureReport {
        let mut told: BTreeMap<&MemberName, u64> = BTreeMap::new();
        for message in &self.messages {
            *told.entry(&message.recipient).or_default() += 1;
        }
        let of =
            |(recipient, messages): (&MemberName, u64)| Told { recipient: recipient.to_string(), messages };
        let (left, told): (BTreeMap<_, _>, BTreeMap<_, _>) =
            told.into_iter().partition(|(recipient, _)| self.left.contains(*recipient));
        ErasureReport {
            dry_run,
            at,
            events: self.events.len() as u64,
            payloads: self.payloads,
            pending: self.pending,
            quarantined: self.quarantined.len() as u64,
            told: told.into_iter().map(of).collect(),
            left: left.into_iter().map(of).collect(),
            queued: None,
        }
    }
}

/// Erases whom `member` calls `subject`, or only says what there is of the
/// person.
pub(super) async fn erase(
    shared: &Arc<Shared>,
    topology: &dyn Topology,
    member: &str,
    subject: &str,
    dry_run: bool,
) -> Result<Answer, HubFault> {
    let person = match Person::parse(member, subject) {
        Ok(person) => person,
        Err(detail) => return Ok(Answer::Failed { detail }),
    };
    let tag = person.tag(shared);
    let mut log = shared.erasures.lock().await;
    let now = jiff::Timestamp::now().as_millisecond();
    let found = find(shared, &tag, Some(&person.subject), now).await?;
    if found.is_nothing() {
        let erased = log.all().iter().rev().find(|erasure| erasure.tag == tag);
        let detail = match erased {
            Some(_) => "This person was erased before, and nothing came since.",
            None => NOBODY,
        };
        return Ok(Answer::NotFound { detail: detail.to_owned() });
    }
    if dry_run {
        return Ok(Answer::Erased(found.report(true, now)));
    }
    erasing::keep(shared, &tag, &person.subject).await?;
    let line = log.append(now, tag)?;
    let number = log.all().len();
    // Who holds payloads lets go of them, and holds none while this is held. It is
    // asked for before they are told: one who let go and began again in between
    // would never hear of it.
    let still = shared.carrying.write();
    tokio::pin!(still);
    let _still = tokio::select! {
        biased;
        still = &mut still => still,
        () = std::future::ready(()) => {
            shared.erasing.send_modify(|count| *count += 1);
            still.await
        }
    };
    let report = apply(shared, topology, number, &line, Some(&person.subject)).await?;
    Ok(Answer::Erased(report))
}

/// Does what line `number` of the log, counted from 1, says.
async fn apply(
    shared: &Arc<Shared>,
    topology: &dyn Topology,
    number: usize,
    line: &Erasure,
    subject: Option<&str>,
) -> Result<ErasureReport, HubFault> {
    // What was taken in before the line was written is committed once this turn
    // comes: none of it may come after the search.
    drop(shared.recording.lock().await);
    let found = find(shared, &line.tag, subject, line.at).await?;
    let mut report = found.report(false, line.at);
    let mut followed = followed(shared)?;
    let told = if followed.told < number { found.told.clone() } else { BTreeSet::new() };
    let notices = told.into_iter().map(|(addressee, subject)| Own {
        addressee,
        event_type: ERASED,
        record: serde_json::json!({ "subject": subject }),
    });
    followed.told = followed.told.max(number);
    let row = encode_row(&followed);
    let (first, rest) = found.events.split_at(found.events.len().min(AT_ONCE));
    let first = first.to_vec();
    let world = shared.world();
    record::own(shared, &world, notices.collect(), move |tx| {
        overwrite(tx, SLOTS_LOG, SLOT, &first);
        tx.put(FOLLOWED, &row);
        Ok(())
    })
    .await?;
    overwrite_all(shared, SLOTS_LOG, SLOT, rest).await?;
    {
        // A batch that isn't durable yet is nowhere else.
        let _turn = shared.recording.lock().await;
        shared.timeline.forget();
    }
    quarantine::remove(shared, found.quarantined).await?;
    report.queued = topology.erase(&InQueues::of(shared, &line.tag, &found.messages)).await?;

    overwrite_all(shared, TAGS_LOG, TAG as u64, &found.events).await?;
    followed.applied = followed.applied.max(number);
    followed.mac = line.mac;
    let row = encode_row(&followed);
    let kept = erasing::numbers(shared)?;
    shared
        .store
        .commit(move |tx| {
            tx.put(FOLLOWED, &row);
            erasing::overwrite(tx, &kept);
            Ok(())
        })
        .await?;
    tracing::info!(
        events = report.events,
        payloads = report.payloads,
        pending = report.pending,
        quarantined = report.quarantined,
        "a person was erased"
    );
    Ok(report)
}

/// Zeros over the records of `indexes` in a log of records of `width` bytes.
fn overwrite(tx: &mut crate::store::Tx<'_>, log: &str, width: u64, indexes: &[u64]) {
    for index in indexes {
        tx.overwrite(log, index * width, &vec![0; width as usize]);
    }
}

/// As [`overwrite`], some at a time, each in a commit.
async fn overwrite_all(
    shared: &Shared,
    log: &'static str,
    width: u64,
    indexes: &[u64],
) -> Result<(), HubFault> {
    for chunk in indexes.chunks(AT_ONCE) {
        let chunk = chunk.to_vec();
        let done = shared.store.commit(move |tx| {
            overwrite(tx, log, width, &chunk);
            Ok(())
        });
        done.await?;
    }
    Ok(())
}

fn followed(shared: &Shared) -> Result<Followed, HubFault> {
    Ok(shared.store.get(FOLLOWED)?.map(|row| decode_row(&row)).transpose()?.unwrap_or_default())
}

/// Erases at the start whom the log of erasures says and this store doesn't know
/// of: it comes from a backup, or the hub ended before it was done.
pub(super) async fn catch_up(shared: &Arc<Shared>, topology: &dyn Topology) -> Result<(), HubFault> {
    let log = shared.erasures.lock().await;
    let followed = followed(shared)?;
    let known = followed.applied.checked_sub(1).map(|last| log.all().get(last).map(|line| line.mac));
    let from = match known {
        None => 0,
        Some(Some(mac)) if mac == followed.mac => followed.applied,
        Some(_) => {
            tracing::error!(
                log = %log.path().display(),
                lines = log.all().len(),
                applied = followed.applied,
                "the log of erasures lacks lines that this store was erased by: put the whole file back, for a backup of \
                 the store would bring back whom those lines erase"
            );
            0
        }
    };
    let missed = &log.all()[from..];
    if missed.is_empty() {
        return Ok(());
    }
    tracing::info!(
        erasures = missed.len(),
        "erasing whom the log of erasures says, and this store doesn't know of"
    );
    let (mut events, mut quarantined) = (0, 0);
    for (number, line) in (from + 1..).zip(missed) {
        let subject = erasing::kept(shared, &line.tag)?;
        let report = apply(shared, topology, number, line, subject.as_deref()).await?;
        events += report.events;
        quarantined += report.quarantined;
    }
    tracing::info!(
        erasures = missed.len(),
        events,
        quarantined,
        "done: what a backup brought back is erased again"
    );
    Ok(())
}

/// Adds the tags of events that were taken in before there were any.
pub(super) fn fill_index(shared: &Shared) -> Result<(), HubFault> {
    let mut next = shared.store.log_len(TAGS_LOG) / TAG as u64;
    let missing = shared.timeline.end().saturating_sub(next);
    while next < shared.timeline.end() {
        let mut tags = Vec::new();
        while next < shared.timeline.end() && tags.len() < FILL_BYTES {
            let batch = shared.timeline.read(next)?;
            for (class, event) in batch.numbers.iter().zip(&batch.events) {
                let class = &batch.classes[usize::from(*class)];
                let tag = event
                    .as_ref()
                    .map_or(NO_PERSON, |event| record::tag_of(shared, class, &event.attributes));
                tags.extend_from_slice(&tag);
            }
            next = batch.end();
        }
        shared.store.commit_blocking(move |tx| {
            tx.append(TAGS_LOG, &tags);
            Ok(())
        })?;
    }
    let quarantined = quarantine::missing_tags(shared)?;
    if !quarantined.is_empty() {
        shared.store.commit_blocking(move |tx| {
            tx.append(crate::persons::QUARANTINE_TAGS_LOG, &quarantined);
            Ok(())
        })?;
    }
    if missing > 0 {
        tracing::info!(
            events = missing,
            "the index of persons was made for events from before there was one"
        );
    }
    Ok(())
}

/// Which messages in the queues of a bus are about a person.
pub struct InQueues<'a> {
    shared: &'a Arc<Shared>,
    tag: PersonTag,
    messages: BTreeMap<(String, u32, u64), (MemberName, Arc<DecisionRow>)>,
}

impl<'a> InQueues<'a> {
    fn of(shared: &'a Arc<Shared>, tag: &PersonTag, messages: &[Carried]) -> InQueues<'a> {
        let of = |m: &Carried| {
            let recipient = m.recipient.clone();
            ((bus::queue_of(&recipient), m.row.epoch, m.number), (recipient, Arc::clone(&m.row)))
        };
        InQueues { shared, tag: *tag, messages: messages.iter().map(of).collect() }
    }

    /// What becomes of `message` in `queue`.
    pub(super) fn fate(&self, queue: &str, message: &Message) -> Result<Fate, HubFault> {
        if queue == bus::INBOX {
            let source = message.text("cloudEvents_source").map(Origin::parse);
            let (Some(Ok(Origin::Member { member, .. })), Some(subject)) =
                (source, message.text("cloudEvents_subject"))
            else {
                return Ok(Fate::Stays);
            };
            let ours = self.shared.tagger.tag(member.as_str(), subject) == self.tag;
            return Ok(if ours { Fate::Leaves } else { Fate::Stays });
        }
        let number = |name| message.text(name).and_then(|text| text.parse::<u64>().ok());
        let (Some(epoch), Some(sequence)) = (number("cloudEvents_epoch"), number("cloudEvents_sequence"))
        else {
            return Ok(Fate::Stays);
        };
        let key = (queue.to_owned(), u32::try_from(epoch).unwrap_or_default(), sequence);
        match self.messages.get(&key) {
            Some((recipient, row)) if message.kind.as_deref() != Some(WITHHELD) => {
                let sealed = sealed::erased(self.shared, &self.shared.world(), recipient, row, sequence)?;
                Ok(Fate::Replaced(Box::new((sealed.routing_key, sealed.message))))
            }
            _ => Ok(Fate::Stays),
        }
    }
}
