//! Who got what of a person: each delivery, with the agreement under which it was
//! made, and its entry in the journal.

use crate::agreements::{self, Agreement, Lang};
use crate::event::MemberName;
use crate::hub::decide::{DecisionRow, Rule};
use crate::hub::erase::{NOBODY, Person, next_batch};
use crate::hub::operator::{AccessDelivery, AccessReport, Answer};
use crate::hub::recorded::{BatchRow, Class, SLOT, SLOTS_LOG, decode_row};
use crate::hub::world::{World, text_key};
use crate::hub::{HubFault, Shared, release};
use crate::persons::{TAGS_LOG, positions};
use std::collections::HashMap;
use std::sync::Arc;

/// Agreements that were read for an answer, by their reference and recipient.
type Read = HashMap<(String, String), Option<Agreement>>;

/// Tells who got what of the person whom `member` calls `subject`, with the names
/// of the fields in the language `lang`.
pub(super) async fn access(
    shared: &Arc<Shared>,
    member: &str,
    subject: &str,
    lang: &str,
) -> Result<Answer, HubFault> {
    let person = match Person::parse(member, subject) {
        Ok(person) => person,
        Err(detail) => return Ok(Answer::Failed { detail }),
    };
    let lang = Lang::parse(lang).unwrap_or_default();
    let tag = person.tag(shared);
    let erased_at = {
        let log = shared.erasures.lock().await;
        log.all().iter().rev().find(|erasure| erasure.tag == tag).map(|erasure| erasure.at)
    };
    let events = positions(&shared.store, TAGS_LOG, |other| *other == tag)?;
    if events.is_empty() && erased_at.is_none() {
        return Ok(Answer::NotFound { detail: NOBODY.to_owned() });
    }
    let (world, recipients) = (shared.world(), shared.recipients()?);
    let mut deliveries = Vec::new();
    let mut read = Read::new();
    let mut rest = events.as_slice();
    while let Some((first, batch, ours)) = next_batch(shared, &mut rest)? {
        let decisions = decisions(shared, &recipients, first)?;
        for index in ours {
            let slot = shared.store.read(SLOTS_LOG, index * SLOT, SLOT as usize)?;
            let provable = slot.iter().any(|byte| *byte != 0);
            let place = (index - first) as usize;
            for (recipient, row) in &decisions {
                let found = of_decision(shared, &world, recipient, row, place, &batch, lang, &mut read)?;
                deliveries.extend(found.map(|delivery| AccessDelivery { provable, ..delivery }));
            }
        }
    }
    deliveries.sort_by_key(|delivery| (delivery.decided_at, delivery.sequence));
    Ok(Answer::Access(AccessReport {
        hub: shared.name.clone(),
        at: jiff::Timestamp::now().as_millisecond(),
        member: member.to_owned(),
        erased_at,
        events: events.len() as u64,
        deliveries,
    }))
}

/// What was decided on the batch that begins at `first`, for each of `recipients`.
fn decisions(
    shared: &Shared,
    recipients: &[MemberName],
    first: u64,
) -> Result<Vec<(MemberName, DecisionRow)>, HubFault> {
    let mut rows = Vec::new();
    for recipient in recipients {
        if let Some(row) = shared.store.get(&release::decision_key(recipient.as_str(), first))? {
            rows.push((recipient.clone(), decode_row(&row)?));
        }
    }
    Ok(rows)
}

#[expect(clippy::too_many_arguments, reason = "one delivery and what its words are found in")]
fn of_decision(
    shared: &Shared,
    world: &World,
    recipient: &MemberName,
    row: &DecisionRow,
    place: usize,
    batch: &BatchRow,
    lang: Lang,
    read: &mut Read,
) -> Result<Option<AccessDelivery>, HubFault> {
    let number = usize::from(batch.events[place].0);
    let class = &batch.classes[number];
    let Rule::Granted { agreement, fields, .. } = &row.rules[number] else { return Ok(None) };
    if row.skipped.contains(&(place as u32)) {
        return Ok(None);
    }
    let sequence = row.sequence_of(place, batch.events.iter().map(|(class, _)| *class));
    let confirmed = shared.store.get(&release::confirmed_key(recipient.as_str(), row.first))?;
    let delivered_at = confirmed.and_then(|row| row.first_chunk::<8>().map(|b| i64::from_be_bytes(*b)));
    let schema = world.registry.get(class.event_type.as_str(), class.version);
    let given = |path: &String| {
        fields.iter().any(|field| {
            let rest = path.strip_prefix(field.as_str());
            field == "*" || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        })
    };
    let in_words = match schema {
        Some(schema) => {
            let paths = schema.value_paths().into_iter().filter(given);
            paths.map(|path| (path.clone(), agreements::field_in_words(schema, &path, lang))).collect()
        }
        None => fields.iter().map(|field| (field.clone(), field.clone())).collect(),
    };
    let text = text_of(shared, agreement, class, recipient, read)?;
    Ok(Some(AccessDelivery {
        recipient: recipient.to_string(),
        decided_at: row.at,
        delivered_at,
        event_type: class.event_type.to_string(),
        event: schema
            .map_or_else(|| class.event_type.to_string(), |schema| agreements::event_in_words(schema, lang)),
        fields: in_words,
        agreement: agreement.clone(),
        title: text.map_or_else(String::new, |a| a.title.clone()),
        purpose: text.map_or_else(String::new, |a| a.purpose.clone()),
        legal_basis: text.map_or("", |a| agreements::basis_in_words(a.legal_basis, lang)).to_owned(),
        legal_reference: text.and_then(|a| a.legal_reference.clone()),
        retention_months: text.map(|a| a.retention_months),
        epoch: row.epoch,
        sequence,
        journal_entry: row.journal.map(|first| first + (sequence - row.sequence)),
        provable: false,
    }))
}

/// The agreement `reference` as the store kept its text when it came into force;
/// none where it didn't.
fn text_of<'r>(
    shared: &Shared,
    reference: &str,
    class: &Class,
    recipient: &MemberName,
    read: &'r mut Read,
) -> Result<Option<&'r Agreement>, HubFault> {
    let Some(provider) = &class.publisher else { return Ok(None) };
    let key = (format!("{provider} {reference}"), recipient.to_string());
    if !read.contains_key(&key) {
        let text = shared.store.get(&text_key(reference, provider, recipient))?;
        let text = text.and_then(|text| String::from_utf8(text).ok());
        let agreement = text.and_then(|text| agreements::read_note(&text));
        read.insert(key.clone(), agreement);
    }
    Ok(read.get(&key).and_then(Option::as_ref))
}
