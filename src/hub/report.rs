//! What a running hub answers to its operator.

use crate::bus;
use crate::fault::Reason;
use crate::hub::operator::{
    AgreementStatus, Answer, DroppedStatus, Handler, QuarantineDetail, QuarantineEntry, QuarantineReport,
    RecipientStatus, ReloadReport, Request, StatusReport,
};
use crate::hub::recorded::{BatchRow, decode_row};
use crate::hub::release;
use crate::hub::world::World;
use crate::hub::{Hub, HubFault, access, erase, prove, quarantine, record, trace};
use crate::journal;
use base64::Engine;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::atomic::Ordering::Relaxed;

impl Handler for Hub {
    fn handle(&self, request: Request) -> Pin<Box<dyn Future<Output = Answer> + Send + '_>> {
        Box::pin(async move {
            let answer = match request {
                Request::Status => self.status().map(Answer::Status),
                Request::Trace { source, id } => trace::trace(&self.shared, &source, &id).map(Answer::Trace),
                Request::ProveEvent { source, id } => prove::event(&self.shared, &source, &id).await,
                Request::ProveDelivery { recipient, sequence, epoch } => {
                    prove::delivery(&self.shared, &recipient, sequence, epoch).await
                }
                Request::Erase { member, subject, dry_run } => {
                    erase::erase(&self.shared, self.topology.as_ref(), &member, &subject, dry_run).await
                }
                Request::Access { member, subject, lang } => {
                    access::access(&self.shared, &member, &subject, &lang).await
                }
                Request::Replay { to, from, until } => self.replay(&to, from, until).await,
                Request::Reload => self.reload().await.map(|world| Answer::Reloaded(reloaded(&world))),
                Request::QuarantineList { limit, reason } => self.quarantined(limit, reason.as_deref()),
                Request::QuarantineShow { id } => self.quarantined_message(&id),
                Request::Metrics => self.measured().map(|text| Answer::Metrics { text }),
                Request::Schema { event_type, version } => Ok(self.schema(&event_type, version)),
                Request::Shutdown => {
                    self.asked_to_stop.send_replace(true);
                    Ok(Answer::ShuttingDown)
                }
            };
            answer.unwrap_or_else(|fault| Answer::Failed { detail: fault.to_string() })
        })
    }
}

impl Hub {
    /// How the hub is.
    pub fn status(&self) -> Result<StatusReport, HubFault> {
        let shared = &self.shared;
        let world = shared.world();
        let mut problems = Vec::new();
        if let Some(why) = shared.store.is_failed() {
            problems.push(why);
        }
        if shared.disk_low.load(Relaxed) {
            problems.push(format!(
                "There is less free disk space than {} MiB: nothing is taken in. Free some under the data folder.",
                shared.low_water_bytes >> 20
            ));
        }
        let mut recipients = Vec::new();
        for member in world.directory.members() {
            let queue = bus::queue_of(member);
            let (queue_messages, queue_bytes) = self.topology.depth(&queue).unwrap_or_default();
            let Some(cursor) = shared.progress(member)? else { continue };
            let sequence = cursor.sequence.saturating_sub(1);
            recipients.push(RecipientStatus {
                recipient: member.to_string(),
                sequence,
                confirmed: release::confirmed_sequence(shared, member.as_str(), cursor)?,
                undecided: shared.timeline.end().saturating_sub(cursor.decided),
                queue_messages,
                queue_bytes,
            });
        }
        let mut by_reason: BTreeMap<String, u64> = BTreeMap::new();
        for (_, row) in quarantine::list(shared)? {
            *by_reason.entry(row.reason).or_default() += 1;
        }
        let dropped = quarantine::dropped(&shared.store)?;
        let head = journal::head(&shared.store)?;
        let published = shared.published().clone();
        problems.extend(published.problems(head.size, jiff::Timestamp::now().as_millisecond()));
        Ok(StatusReport {
            name: shared.name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at: shared.started_at,
            problems,
            epoch: shared.epoch,
            events: shared.timeline.end(),
            journal_entries: head.size,
            journal_root: base64::engine::general_purpose::STANDARD.encode(head.root),
            checkpoint_entries: published.entries,
            checkpoint_at: published.at,
            witnesses: published.witnesses,
            disk_free_bytes: shared.store.free_bytes()?,
            members: world.directory.members().count(),
            agreements: agreements(&world),
            recipients,
            inbox_waiting: self.topology.depth(bus::INBOX).map_or(0, |(messages, _)| messages),
            quarantined: by_reason.into_iter().collect(),
            dropped: dropped.into_iter().map(dropped_status).collect(),
        })
    }

    /// How many repeats of events that were taken in have come, ever.
    pub fn duplicates(&self) -> Result<u64, HubFault> {
        let row = self.shared.store.get(record::DUPLICATES_ROW)?;
        Ok(row.and_then(|row| row.try_into().ok()).map_or(0, u64::from_be_bytes))
    }

    /// How many events of members were taken in, ever: all but the hub's own
    /// messages. Reads a row for each batch.
    pub fn recorded_of_members(&self) -> Result<u64, HubFault> {
        let mut count = 0;
        for entry in self.shared.store.scan(b"batch/") {
            let row: BatchRow = decode_row(&entry?.1)?;
            let of_member = |class: &u16| row.classes[usize::from(*class)].publisher.is_some();
            count += row.events.iter().filter(|(class, _)| of_member(class)).count() as u64;
        }
        Ok(count)
    }

    /// The quarantine's index, oldest first: each message's number and row.
    pub fn quarantine(&self) -> Result<Vec<(u64, quarantine::Row)>, HubFault> {
        quarantine::list(&self.shared)
    }

    /// Message `index` of the quarantine, unchanged; none where it isn't, or no
    /// longer, there.
    pub fn open_quarantined(&self, index: u64) -> Result<Option<quarantine::Kept>, HubFault> {
        quarantine::open(&self.shared, index)
    }

    /// Forgets what was to be kept in quarantine until `now` or before, as a
    /// running hub does by itself once in a while. Returns how many messages
    /// went.
    pub async fn forget(&self, now: jiff::Timestamp) -> Result<usize, HubFault> {
        quarantine::expire(&self.shared, now).await
    }

    fn measured(&self) -> Result<String, HubFault> {
        let metrics = &self.shared.metrics;
        metrics.disk_free_bytes.set(self.shared.store.free_bytes()?);
        metrics.journal_entries.set(journal::head(&self.shared.store)?.size);
        let world = self.shared.world();
        let queues = world.directory.members().map(bus::queue_of);
        for queue in queues.chain([bus::INBOX.to_owned()]) {
            if let Some((messages, _)) = self.topology.depth(&queue) {
                metrics.queue_depth.with(&queue).set(messages);
            }
        }
        Ok(metrics.render())
    }

    fn schema(&self, event_type: &str, version: u32) -> Answer {
        match self.shared.world().registry.get(event_type, version) {
            Some(schema) => Answer::Schema { json: schema.json().to_owned() },
            None => Answer::NotFound {
                detail:
                    "There is no such schema at this hub; the folder schemas/ has a folder for each type."
                        .into(),
            },
        }
    }

    fn quarantined(&self, limit: usize, reason: Option<&str>) -> Result<Answer, HubFault> {
        if let Some(reason) = reason
            && Reason::parse(reason).is_none()
        {
            let known: Vec<_> = Reason::ALL.iter().map(|r| r.as_str()).collect();
            let detail = format!("There is no such reason. The reasons are {}.", known.join(", "));
            return Ok(Answer::Failed { detail });
        }
        let mut rows = quarantine::list(&self.shared)?;
        rows.retain(|(_, row)| reason.is_none_or(|reason| row.reason == reason));
        let total = rows.len() as u64;
        let entries = rows.into_iter().rev().take(limit).map(|(index, row)| entry(index, row)).collect();
        Ok(Answer::Quarantine(QuarantineReport { entries, total }))
    }

    fn quarantined_message(&self, id: &str) -> Result<Answer, HubFault> {
        let kept = match id.parse() {
            Ok(index) => quarantine::open(&self.shared, index)?.map(|kept| (index, kept)),
            Err(_) => None,
        };
        let Some((index, kept)) = kept else {
            let detail = "There is no such message in quarantine: `pirogue quarantine list` shows what is there. What \
                          was kept for long enough is forgotten."
                .into();
            return Ok(Answer::NotFound { detail });
        };
        let message = kept.message;
        let sizes = message.headers.iter().map(|(name, value)| {
            let lone =
                crate::event::Message { headers: vec![("".into(), value.clone())], ..Default::default() };
            (name.chars().take(64).collect(), lone.headers_size() as u64)
        });
        let digest = Sha256::digest(&message.body);
        Ok(Answer::QuarantineEntry(QuarantineDetail {
            entry: entry(index, kept.row),
            headers: sizes.collect(),
            body_bytes: message.body.len() as u64,
            body_sha256: journal::hex(&digest),
        }))
    }
}

fn dropped_status((member, dropped): (String, quarantine::Dropped)) -> DroppedStatus {
    DroppedStatus { member, messages: dropped.messages, at: dropped.at }
}

fn entry(index: u64, row: quarantine::Row) -> QuarantineEntry {
    QuarantineEntry {
        id: index.to_string(),
        at: row.at,
        bytes: row.bytes(),
        sender: row.user,
        reason: row.reason,
        detail: row.detail,
        source: row.source,
        event_id: row.id,
        event_type: row.event_type,
        expires_at: row.until,
    }
}

fn agreements(world: &World) -> Vec<AgreementStatus> {
    let all = world.agreements.all(world.day);
    all.map(|(agreement, status)| AgreementStatus {
        agreement: agreement.reference(),
        provider: agreement.provider.to_string(),
        recipient: agreement.recipient.to_string(),
        not_in_force: World::not_in_force(&status),
    })
    .collect()
}

fn reloaded(world: &World) -> ReloadReport {
    // By the parties too: others may give their agreement the same id.
    let name =
        |reference: &str, provider: &str, recipient: &str| format!("{reference} ({provider} to {recipient})");
    let in_force: BTreeSet<_> =
        world.in_force().map(|a| name(&a.reference(), a.provider.as_str(), a.recipient.as_str())).collect();
    let notes = agreements(world).into_iter().filter_map(|a| {
        let why = a.not_in_force?;
        let name = name(&a.agreement, &a.provider, &a.recipient);
        Some(match in_force.contains(&name) {
            true => format!("The agreement {name} is in force, except that {why}."),
            false => format!("The agreement {name} isn't in force: {why}."),
        })
    });
    ReloadReport {
        members: world.directory.members().count(),
        notes: notes.collect(),
        agreements_in_force: in_force.len(),
        event_types: world.registry.types().count(),
    }
}
