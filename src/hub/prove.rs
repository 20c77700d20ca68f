//! What a proof of an event or of a delivery is made of: which entry of the
//! journal it is, and what leads from the message to the entry's name.
//!
//! The salts come of an event's key, which its slot holds: once the slot is
//! overwritten, since someone was erased or the payload's days are over, there is
//! no salt any more, and nothing can be proven of the message.

use crate::event::MemberName;
use crate::hub::decide::{Decided, DecisionRow};
use crate::hub::operator::{Answer, ProofParts};
use crate::hub::recorded::{self, decode_row};
use crate::hub::sealed::Gone;
use crate::hub::{HubFault, Shared, release, sealed};
use crate::journal;
use crate::seal;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::sync::Arc;

/// Event `id` of `source`, as it was taken in.
pub(super) async fn event(shared: &Arc<Shared>, source: &str, id: &str) -> Result<Answer, HubFault> {
    let not_found = |detail: &str| Ok(Answer::NotFound { detail: detail.to_owned() });
    let place = match shared.index_of(source, id)? {
        Some(index) => {
            shared.timeline.row_of(index)?.map(|(first, row)| (first, row, (index - first) as usize))
        }
        None => None,
    };
    let Some((first, row, place)) = place else {
        return not_found(
            "this hub never took in such an event: was it published, and under exactly this source and id?",
        );
    };
    // Who erases waits: what is read here stays in memory for others.
    let _carrying = shared.carrying.read().await;
    let batch = shared.timeline.batch(first).await?;
    let Some(Some(event)) = batch.events.get(place) else {
        return not_found(&unproven("the event", shared.why_gone(first + place as u64)?));
    };
    let signature = event.signature.clone();
    let fingerprint = journal::fingerprint(signature.as_deref().unwrap_or_default(), &event.body);
    let salt = recorded::event_salt(&event.key);
    Ok(parts(row.journal + place as u64, &salt, &fingerprint, None, signature))
}

/// The message with number `sequence` to `recipient`, as it was delivered.
pub(super) async fn delivery(
    shared: &Arc<Shared>,
    recipient: &str,
    sequence: u64,
    epoch: Option<u32>,
) -> Result<Answer, HubFault> {
    let not_found = |detail: String| Ok(Answer::NotFound { detail });
    let Ok(member) = MemberName::parse(recipient) else {
        return not_found("that isn't a member's name: see `pirogue status` for the recipients".to_owned());
    };
    let epoch = epoch.unwrap_or(shared.epoch);
    let Some(row) = decision(shared, recipient, epoch, sequence)? else {
        return not_found(format!(
            "{recipient} was sent no message with the number {sequence} in epoch {epoch}: `pirogue status` says how far it is"
        ));
    };
    let Some(first_entry) = row.journal else {
        return not_found(
            "that message was decided on by a version of this program which didn't note its entry in the journal"
                .to_owned(),
        );
    };
    let place = (sequence - row.sequence) as usize;
    let index = first_entry + place as u64;
    // As for an event.
    let _carrying = shared.carrying.read().await;
    let batch = shared.timeline.batch(row.first).await?;
    let world = shared.world();
    let decided = vec![Arc::new(Decided::again(shared, &world, row, batch)?)];
    let sealed = sealed::seal(shared, &world, &member, &decided).await?;
    let Some(sealed) = sealed.into_iter().nth(place) else {
        return Err(HubFault::Damaged("a decision has fewer messages than its row says"));
    };
    if let Some(why) = sealed.gone {
        return not_found(unproven("the event that this message carried", why));
    }
    let signature = sealed.message.text("cloudEvents_signature").map(str::to_owned);
    let fingerprint = journal::fingerprint(signature.as_deref().unwrap_or_default(), &sealed.message.body);
    Ok(parts(index, &sealed.salt, &fingerprint, sealed.event.as_ref(), signature))
}

/// That nothing can be proven of `what`, whose payload is gone.
fn unproven(what: &str, why: Gone) -> String {
    let why = match why {
        Gone::Erased => "was erased",
        Gone::Expired => "is over its days (retention.replay_days)",
    };
    format!(
        "{what} {why}, and with its payload went the salt that led from the message to the journal: its entry stands, and \
         nothing can be proven of it any more"
    )
}

fn parts(
    index: u64,
    salt: &[u8; 32],
    fingerprint: &[u8; 32],
    event: Option<&sealed::EventName>,
    signature: Option<String>,
) -> Answer {
    Answer::Proof(ProofParts {
        index,
        salt: STANDARD.encode(salt),
        fingerprint: STANDARD.encode(fingerprint),
        event_salt: event.map(|event| STANDARD.encode(event.salt)),
        event_fingerprint: event.map(|event| STANDARD.encode(event.fingerprint)),
        signature,
    })
}

/// The decision that gave `recipient` the number `sequence` of `epoch`. Numbers
/// grow with the events that they are given for, so that the decisions needn't
/// be read one by one.
pub(super) fn decision(
    shared: &Shared,
    recipient: &str,
    epoch: u32,
    sequence: u64,
) -> Result<Option<DecisionRow>, HubFault> {
    let prefix = release::decisions_prefix(recipient);
    // The last decision on an event before `high` that begins at or before it.
    let (mut low, mut high) = (0, shared.timeline.end());
    let mut found: Option<DecisionRow> = None;
    while low < high {
        let middle = low + (high - low) / 2;
        let key = release::decision_key(recipient, middle);
        let row = match shared.store.last_at_or_before(&prefix, &key)? {
            Some((_, row)) => Some(decode_row::<DecisionRow>(&row)?),
            None => None,
        };
        match row {
            Some(row) if (row.epoch, row.sequence) > (epoch, sequence) => high = row.first,
            row => {
                low = middle + 1;
                found = row.or(found);
            }
        }
    }
    // A decision that only withheld has a number and no message: the next one has
    // the same.
    Ok(found.filter(|row| {
        row.epoch == epoch && sequence >= row.sequence && sequence - row.sequence < row.messages
    }))
}

impl sealed::Sealed {
    /// The salt of a message's name, from the secret that it is made of.
    pub(super) fn salt_of(secret: &[u8; 32], recipient: &str, epoch: u32, number: u64) -> [u8; 32] {
        seal::hmac(secret, &[b"delivered", recipient.as_bytes(), &epoch.to_be_bytes(), &number.to_be_bytes()])
    }
}
