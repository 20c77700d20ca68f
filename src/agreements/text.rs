//! The text of an agreement, and of its revocation: TOML, read strictly.

use super::{Agreement, Grant, LegalBasis, SubjectMode};
use crate::event::{EventType, MemberName};
use crate::keys::NoteFault;
use crate::keys::note::SignedNote;
use jiff::civil::Date;
use std::collections::HashSet;

/// The longest text that is read, in bytes.
pub const MAX_TEXT_BYTES: usize = 256 * 1024;

/// Data kept for longer needs a justification, in months.
const MONTHS_WITHOUT_JUSTIFICATION: u32 = 36;

/// Nothing is kept for longer, in months: a hundred years.
const MAX_MONTHS: u32 = 1200;

/// Why a text isn't an agreement, or a revocation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AgreementFault {
    /// Over [`MAX_TEXT_BYTES`].
    #[error("the text is over 256 KiB")]
    TooLarge,
    /// The characters, or the note around the text.
    #[error("{0}")]
    Note(#[from] NoteFault),
    /// Not TOML, or not the keys of an agreement.
    #[error("line {line}: {detail}")]
    Toml {
        /// The line, from 1.
        line: usize,
        /// What is wrong there.
        detail: String,
    },
    /// A key's value isn't of the form required.
    #[error("`{key}`: expected {expected}")]
    Value {
        /// The key.
        key: &'static str,
        /// What is expected.
        expected: &'static str,
    },
    /// As `Value`, in a grant.
    #[error("grant {position}: `{key}`: expected {expected}")]
    GrantValue {
        /// Which grant, from 1.
        position: usize,
        /// The key.
        key: &'static str,
        /// What is expected.
        expected: &'static str,
    },
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct WireAgreement {
    id: String,
    version: u32,
    title: String,
    provider: String,
    recipient: String,
    purpose: String,
    legal_basis: LegalBasis,
    legal_reference: Option<String>,
    retention_months: u32,
    retention_justification: Option<String>,
    valid_from: toml::value::Datetime,
    valid_until: toml::value::Datetime,
    grant: Vec<WireGrant>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct WireGrant {
    r#type: String,
    versions: Vec<u32>,
    fields: Vec<String>,
    #[serde(default)]
    subject: SubjectMode,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct WireRevocation {
    revoke: String,
}

/// Reads the text of an agreement (WIRE.md section 5), without its signatures.
///
/// Fails with a sentence that names the line or the key: the text holds a tab
/// or another control character, isn't TOML, has an unknown key or lacks one;
/// a value isn't of the form required; provider and recipient are one; a type
/// is granted twice; the last day is before the first; data is kept for more
/// than 36 months without `retention_justification`.
pub fn parse_agreement(text: &str) -> Result<Agreement, AgreementFault> {
    let wire: WireAgreement = read(text)?;
    let wrong = |key, expected| AgreementFault::Value { key, expected };
    const MEMBER: &str = "a member's name: 2 to 32 of a-z, 0-9 and -, starting with a letter, and not hub";
    if !is_id(&wire.id) {
        return Err(wrong("id", ID));
    }
    if wire.version == 0 {
        return Err(wrong("version", "a whole number from 1"));
    }
    let some = |key, text: &str| match text.trim().is_empty() {
        true => Err(wrong(key, "a text that isn't empty")),
        false => Ok(()),
    };
    some("title", &wire.title)?;
    some("purpose", &wire.purpose)?;
    wire.legal_reference.as_deref().map_or(Ok(()), |t| some("legal_reference", t))?;
    wire.retention_justification.as_deref().map_or(Ok(()), |t| some("retention_justification", t))?;
    let provider = MemberName::parse(&wire.provider).map_err(|_| wrong("provider", MEMBER))?;
    let recipient = MemberName::parse(&wire.recipient).map_err(|_| wrong("recipient", MEMBER))?;
    if provider == recipient {
        return Err(wrong("recipient", "another member than the provider"));
    }
    if !(1..=MAX_MONTHS).contains(&wire.retention_months) {
        return Err(wrong("retention_months", "a number of months, 1 to 1200"));
    }
    if wire.retention_months > MONTHS_WITHOUT_JUSTIFICATION && wire.retention_justification.is_none() {
        return Err(wrong("retention_justification", "why the data is kept for more than 36 months"));
    }
    let valid_from = day(&wire.valid_from).ok_or_else(|| wrong("valid_from", DAY))?;
    let valid_until = day(&wire.valid_until).ok_or_else(|| wrong("valid_until", DAY))?;
    if valid_until < valid_from {
        return Err(wrong("valid_until", "a day that isn't before `valid_from`"));
    }
    if wire.grant.is_empty() {
        return Err(wrong("grant", "at least one grant"));
    }
    let mut types = HashSet::new();
    let mut grants = Vec::with_capacity(wire.grant.len());
    for (grant, position) in wire.grant.into_iter().zip(1..) {
        let grant = check_grant(grant, position)?;
        if !types.insert(grant.event_type.clone()) {
            let expected = "a type that no other grant of this agreement names";
            return Err(AgreementFault::GrantValue { position, key: "type", expected });
        }
        grants.push(grant);
    }
    Ok(Agreement {
        id: wire.id,
        version: wire.version,
        title: wire.title,
        provider,
        recipient,
        purpose: wire.purpose,
        legal_basis: wire.legal_basis,
        legal_reference: wire.legal_reference,
        retention_months: wire.retention_months,
        retention_justification: wire.retention_justification,
        valid_from,
        valid_until,
        grants,
        note: text.to_owned(),
    })
}

/// Reads the text of a revocation, `revoke = "ID"` (WIRE.md section 5), without
/// its signatures. Returns the agreement's id.
pub fn parse_revocation(text: &str) -> Result<String, AgreementFault> {
    let wire: WireRevocation = read(text)?;
    match is_id(&wire.revoke) {
        true => Ok(wire.revoke),
        false => Err(AgreementFault::Value { key: "revoke", expected: ID }),
    }
}

const ID: &str = "an agreement's id: 2 to 32 of a-z, 0-9 and -, starting with a letter";
const DAY: &str = "a day of the form 2026-01-01, without quotes and without a time";

fn check_grant(wire: WireGrant, position: usize) -> Result<Grant, AgreementFault> {
    let wrong = |key, expected| AgreementFault::GrantValue { position, key, expected };
    let event_type = EventType::parse(&wire.r#type)
        .map_err(|_| wrong("type", "an event type such as nc.employment.offer.published"))?;
    let mut seen = HashSet::new();
    if wire.versions.is_empty() || !wire.versions.iter().all(|v| *v > 0 && seen.insert(*v)) {
        return Err(wrong("versions", "at least one version, from 1, each once"));
    }
    let mut seen = HashSet::new();
    let paths = !wire.fields.is_empty() && wire.fields.iter().all(|f| is_path(f) && seen.insert(f));
    if !paths && wire.fields != ["*"] {
        return Err(wrong("fields", "paths such as person.birthdate, each once, or exactly [\"*\"]"));
    }
    Ok(Grant { event_type, versions: wire.versions, fields: wire.fields, subject: wire.subject })
}

/// Whether `id` is an agreement's id: the grammar of a member's name.
fn is_id(id: &str) -> bool {
    MemberName::parse(id).is_ok()
}

/// Whether `path` is names of Avro fields (lower case), joined by points.
fn is_path(path: &str) -> bool {
    path.split('.').all(|name| {
        name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
            && name.bytes().next().is_some_and(|b| !b.is_ascii_digit())
    })
}

/// The day that `value` is, where it is nothing but a day.
fn day(value: &toml::value::Datetime) -> Option<Date> {
    let date = value.date.filter(|_| value.time.is_none() && value.offset.is_none())?;
    Date::new(date.year.try_into().ok()?, date.month.try_into().ok()?, date.day.try_into().ok()?).ok()
}

fn read<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, AgreementFault> {
    if text.len() > MAX_TEXT_BYTES {
        return Err(AgreementFault::TooLarge);
    }
    // What can't be signed as a note isn't read either.
    SignedNote::unsigned(text)?;
    toml::from_str(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start).min(text.len());
        let line = text.as_bytes()[..at].iter().filter(|b| **b == b'\n').count() + 1;
        AgreementFault::Toml { line, detail: error.message().to_owned() }
    })
}

#[cfg(test)]
pub(super) mod tests;
