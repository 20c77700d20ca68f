//! One event's whole story: taken in or refused and why, under which agreement
//! decided for whom, what was withheld, delivered when.

use crate::hub::decide::{DecisionRow, Rule};
use crate::hub::operator::{TraceDecision, TraceIntake, TraceRefusal, TraceReport};
use crate::hub::recorded::{BatchRow, SLOT, SLOTS_LOG, decode_row};
use crate::hub::release;
use crate::hub::{HubFault, Shared, quarantine};

/// Tells what became of event `id` of `source`.
pub(super) fn trace(shared: &Shared, source: &str, id: &str) -> Result<TraceReport, HubFault> {
    let mut report = TraceReport { source: source.to_owned(), id: id.to_owned(), ..Default::default() };
    for (index, row) in quarantine::list(shared)? {
        if row.source.as_deref() == Some(source) && row.id.as_deref() == Some(id) {
            report.refused.push(TraceRefusal {
                at: row.at,
                reason: row.reason,
                detail: row.detail,
                quarantine: index.to_string(),
            });
        }
    }
    let Some(index) = shared.index_of(source, id)? else { return Ok(report) };
    let Some((first, row)) = shared.timeline.row_of(index)? else { return Ok(report) };
    let place = (index - first) as usize;
    let class = &row.classes[usize::from(row.events[place].0)];
    let slot = shared.store.read(SLOTS_LOG, index * SLOT, SLOT as usize)?;
    let gone = match slot.iter().all(|byte| *byte == 0) {
        true => Some(shared.why_gone(index)?.as_str().to_owned()),
        false => None,
    };
    report.taken_in = Some(TraceIntake {
        at: row.at,
        index,
        journal_entry: Some(row.journal + place as u64),
        event_type: class.event_type.to_string(),
        schema: format!("urn:pirogue:schema:{}:{}", class.event_type, class.version),
        signed_by: row.kids.get(usize::from(row.signed[place])).cloned().unwrap_or_default(),
        gone,
    });
    let world = shared.world();
    for member in &shared.recipients()? {
        let recipient = member.as_str();
        let Some(cursor) = shared.progress(member)? else { continue };
        if cursor.decided <= index {
            if class.publisher.as_ref() != Some(member) && world.directory.contains(recipient) {
                report.undecided.push(recipient.to_owned());
            }
            continue;
        }
        if let Some(decision) = decision(shared, recipient, first, place, &row)? {
            report.decisions.push(decision);
        }
    }
    Ok(report)
}

/// What was decided of the event at `place` of the batch for `recipient`; none
/// where no agreement had ever granted it.
fn decision(
    shared: &Shared,
    recipient: &str,
    first: u64,
    place: usize,
    batch: &BatchRow,
) -> Result<Option<TraceDecision>, HubFault> {
    let Some(row) = shared.store.get(&release::decision_key(recipient, first))? else { return Ok(None) };
    let row: DecisionRow = decode_row(&row)?;
    let number = usize::from(batch.events[place].0);
    let class = &batch.classes[number];
    let mut decision = TraceDecision {
        recipient: recipient.to_owned(),
        agreement: None,
        granted: Vec::new(),
        withheld: Vec::new(),
        sequence: None,
        not_sent: None,
        decided_at: row.at,
        delivered_at: None,
    };
    match &row.rules[number] {
        Rule::Nothing | Rule::Own => return Ok(None),
        Rule::Withheld { agreement } => {
            decision.agreement = Some(agreement.clone());
            decision.not_sent = Some(
                "the agreement was in force when the event was taken in, and no longer when it was decided"
                    .into(),
            );
        }
        Rule::Granted { agreement, fields, .. } => {
            let world = shared.world();
            let cut = world.cut(class.event_type.as_str(), class.version, fields)?;
            decision.agreement = Some(agreement.clone());
            decision.granted = fields.clone();
            decision.withheld = cut.projection.withheld().to_vec();
            if row.skipped.contains(&(place as u32)) {
                decision.not_sent = Some("the event was erased before it was decided".into());
            } else {
                decision.sequence =
                    Some(row.sequence_of(place, batch.events.iter().map(|(class, _)| *class)));
                let confirmed = shared.store.get(&release::confirmed_key(recipient, first))?;
                decision.delivered_at =
                    confirmed.and_then(|row| row.first_chunk::<8>().map(|b| i64::from_be_bytes(*b)));
            }
        }
    }
    Ok(Some(decision))
}

impl DecisionRow {
    /// The number of the message of the event at `place`: those of the schemas
    /// come first, then those of the events that are delivered, in order.
    pub(super) fn sequence_of(&self, place: usize, classes: impl Iterator<Item = u16>) -> u64 {
        let before = classes.take(place).enumerate().filter(|(at, class)| {
            let rule = &self.rules[usize::from(*class)];
            matches!(rule, Rule::Own | Rule::Granted { .. }) && !self.skipped.contains(&(*at as u32))
        });
        self.sequence + self.schemas.len() as u64 + before.count() as u64
    }
}
