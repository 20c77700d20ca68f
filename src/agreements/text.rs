//! The text of an agreement, and of its revocation: TOML, read strictly.

mod reader;

use self::reader::{Keys, Reader, TEXT, filled, member, number, toml_fault};
use super::{Agreement, Grant, LegalBasis, SubjectMode};
use crate::event::{EventType, MemberName};
use crate::keys::NoteFault;
use crate::keys::note::SignedNote;
use jiff::civil::Date;
use std::collections::HashSet;
use toml::Spanned;
use toml::de::DeTable;

/// The longest text that is read, in bytes.
pub const MAX_TEXT_BYTES: usize = 256 * 1024;

/// The most faults that are told of one text.
const MOST_FAULTS: usize = 200;

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
    /// Not TOML.
    #[error("line {line}: {detail}")]
    Toml {
        /// The line, from 1.
        line: usize,
        /// What is wrong there.
        detail: String,
    },
    /// A key that has to be there isn't.
    #[error("the key `{key}` is missing; expected {expected}")]
    Missing {
        /// The key.
        key: &'static str,
        /// What is expected of it.
        expected: &'static str,
    },
    /// As `Missing`, in a grant.
    #[error("line {line}: grant {position}: the key `{key}` is missing; expected {expected}")]
    GrantMissing {
        /// The line where the grant begins, from 1.
        line: usize,
        /// Which grant, from 1.
        position: usize,
        /// The key.
        key: &'static str,
        /// What is expected of it.
        expected: &'static str,
    },
    /// A key that an agreement doesn't have.
    #[error("line {line}: `{key}` isn't a key of {of}{}", did_you_mean(.near))]
    UnknownKey {
        /// The line, from 1.
        line: usize,
        /// The key.
        key: String,
        /// Of what: an agreement, a grant, a revocation.
        of: &'static str,
        /// The key that is most like it, where one is.
        near: Option<&'static str>,
    },
    /// A key's value isn't of the form required.
    #[error("line {line}: `{key}`: expected {expected}")]
    Value {
        /// The line, from 1.
        line: usize,
        /// The key.
        key: &'static str,
        /// What is expected.
        expected: &'static str,
    },
    /// As `Value`, in a grant.
    #[error("line {line}: grant {position}: `{key}`: expected {expected}")]
    GrantValue {
        /// The line, from 1.
        line: usize,
        /// Which grant, from 1.
        position: usize,
        /// The key.
        key: &'static str,
        /// What is expected.
        expected: &'static str,
    },
}

fn did_you_mean(near: &Option<&'static str>) -> String {
    near.map_or_else(String::new, |near| format!(": did you mean `{near}`?"))
}

impl AgreementFault {
    /// The line that the fault is in, from 1; none where it is about the whole.
    pub fn line(&self) -> Option<usize> {
        match self {
            AgreementFault::Toml { line, .. }
            | AgreementFault::GrantMissing { line, .. }
            | AgreementFault::UnknownKey { line, .. }
            | AgreementFault::Value { line, .. }
            | AgreementFault::GrantValue { line, .. }
            | AgreementFault::Note(NoteFault::ControlCharacter { line }) => Some(*line),
            _ => None,
        }
    }
}

/// What could be read of the text of an agreement, faulty or not, and where it
/// stands, as lines from 1.
#[derive(Debug, Default)]
pub(super) struct Parts {
    /// The provider, with its line.
    pub(super) provider: Option<(usize, MemberName)>,
    /// The recipient, with its line.
    pub(super) recipient: Option<(usize, MemberName)>,
    /// Each grant, in order.
    pub(super) grants: Vec<GrantPart>,
}

/// One grant of the text.
#[derive(Debug)]
pub(super) struct GrantPart {
    /// What it says, where that is of the form required.
    pub(super) grant: Option<Grant>,
    /// The line of its type.
    pub(super) line: usize,
    /// The line of each of its fields.
    pub(super) fields: Vec<usize>,
}

const MEMBER: &str = "a member's name: 2 to 32 of a-z, 0-9 and -, starting with a letter, and not hub";
const ID: &str = "an agreement's id: 2 to 32 of a-z, 0-9 and -, starting with a letter";
const DAY: &str = "a day of the form 2026-01-01, without quotes and without a time";
const BASIS: &str =
    "one of \"consent\", \"contract\", \"legal-obligation\", \"vital-interest\", \"public-interest\"";
const TYPE: &str = "an event type such as nc.employment.offer.published";
const VERSIONS: &str = "at least one version, from 1, each once";
const FIELDS: &str = "paths such as person.birthdate, each once, or exactly [\"*\"]";
const GRANT: &str = "at least one grant, `[[grant]]`";

/// The keys of an agreement.
const KEYS: [&str; 13] = [
    "id",
    "version",
    "title",
    "provider",
    "recipient",
    "purpose",
    "legal_basis",
    "legal_reference",
    "retention_months",
    "retention_justification",
    "valid_from",
    "valid_until",
    "grant",
];

/// The keys of a grant.
const GRANT_KEYS: [&str; 4] = ["type", "versions", "fields", "subject"];

/// Reads the text of an agreement (WIRE.md section 5), without its signatures.
///
/// Fails with a sentence that names the line or the key: the text holds a tab
/// or another control character, isn't TOML, has an unknown key or lacks one;
/// a value isn't of the form required; provider and recipient are one; a type
/// is granted twice; the last day is before the first; data is kept for more
/// than 36 months without `retention_justification`. It is the first of
/// [`agreement_faults`].
pub fn parse_agreement(text: &str) -> Result<Agreement, AgreementFault> {
    if text.len() > MAX_TEXT_BYTES {
        return Err(AgreementFault::TooLarge);
    }
    // What can't be signed as a note isn't read either.
    SignedNote::unsigned(text)?;
    let table = DeTable::parse(text).map_err(|error| toml_fault(text, &error))?;
    let mut reader = Reader::new(text, 1);
    let (agreement, _) = read_agreement(&mut reader, &table);
    match reader.faults.into_iter().next() {
        Some(first) => Err(first),
        None => agreement.ok_or(AgreementFault::Missing { key: "grant", expected: GRANT }),
    }
}

/// The agreement of a signed note whose signatures were verified before; none
/// where it isn't the note of an agreement.
pub fn read_note(note: &str) -> Option<Agreement> {
    parse_agreement(&SignedNote::parse(note).ok()?.text).ok()
}

/// Everything that is wrong with the text of an agreement, by line: what
/// [`parse_agreement`] says, and all that it would say next, up to 200. Empty
/// where it reads.
pub fn agreement_faults(text: &str) -> Vec<AgreementFault> {
    agreement_and_faults(text).2
}

/// The agreement where its text reads without a fault, where its parts stand,
/// and every fault, by line.
pub(super) fn agreement_and_faults(text: &str) -> (Option<Agreement>, Parts, Vec<AgreementFault>) {
    /// A text that isn't TOML at all has no end of faults; these are enough.
    const MOST_SYNTAX_FAULTS: usize = 10;
    if text.len() > MAX_TEXT_BYTES {
        return (None, Parts::default(), vec![AgreementFault::TooLarge]);
    }
    let mut reader = Reader::new(text, MOST_FAULTS);
    for (line, content) in text.split('\n').enumerate() {
        if content.bytes().any(|b| b < b' ') {
            reader.keep(|_| NoteFault::ControlCharacter { line: line + 1 }.into());
        }
    }
    if !text.ends_with('\n') {
        reader.keep(|_| NoteFault::NoFinalNewline.into());
    }
    let (table, syntax) = DeTable::parse_recoverable(text);
    let mut known = HashSet::new();
    for error in &syntax {
        let fault = toml_fault(text, error);
        // One error often brings others about in its line.
        if known.len() < MOST_SYNTAX_FAULTS && known.insert(fault.line()) {
            reader.keep(|_| fault);
        }
    }
    let mut read = (None, Parts::default());
    // Of a text that isn't TOML, what would be said of its keys is a guess.
    if syntax.is_empty() {
        read = read_agreement(&mut reader, &table);
    }
    reader.faults.sort_by_key(|fault| fault.line().unwrap_or(0));
    let agreement = read.0.filter(|_| reader.faults.is_empty());
    (agreement, read.1, reader.faults)
}

fn read_agreement(reader: &mut Reader<'_>, table: &Spanned<DeTable<'_>>) -> (Option<Agreement>, Parts) {
    let keys = reader.table(table.get_ref(), 0, "an agreement", &KEYS, None);
    let id = keys.get(reader, "id", ID, |v| v.as_str().filter(|id| is_id(id)).map(str::to_owned));
    let version = keys.get(reader, "version", "a whole number from 1", |v| number(v).filter(|v| *v > 0));
    let title = keys.get(reader, "title", TEXT, filled);
    let provider = keys.get(reader, "provider", MEMBER, member);
    let recipient = keys.get(reader, "recipient", MEMBER, member);
    if provider.is_some() && provider == recipient {
        keys.refuse(reader, "recipient", "another member than the provider");
    }
    let purpose = keys.get(reader, "purpose", TEXT, filled);
    let legal_basis = keys.get(reader, "legal_basis", BASIS, |v| v.as_str().and_then(LegalBasis::parse));
    let legal_reference = keys.option(reader, "legal_reference", TEXT, filled);
    let retention_months = keys.get(reader, "retention_months", "a number of months, 1 to 1200", |v| {
        number(v).filter(|months| (1..=MAX_MONTHS).contains(months))
    });
    let retention_justification = keys.option(reader, "retention_justification", TEXT, filled);
    if retention_months.is_some_and(|months| months > MONTHS_WITHOUT_JUSTIFICATION)
        && !keys.has("retention_justification")
    {
        const WHY: &str = "a `retention_justification` beside it, why data is kept for more than 36 months";
        keys.refuse(reader, "retention_months", WHY);
    }
    let valid_from = keys.get(reader, "valid_from", DAY, |v| v.as_datetime().and_then(day));
    let valid_until = keys.get(reader, "valid_until", DAY, |v| v.as_datetime().and_then(day));
    if valid_from.zip(valid_until).is_some_and(|(from, until)| until < from) {
        keys.refuse(reader, "valid_until", "a day that isn't before `valid_from`");
    }
    let (mut grants, mut parts, mut types) = (Vec::new(), Parts::default(), HashSet::new());
    let tables = keys.get(reader, "grant", GRANT, |v| v.as_array().filter(|a| !a.is_empty()));
    for (value, position) in tables.into_iter().flat_map(|tables| tables.iter()).zip(1..) {
        if reader.is_full() {
            break;
        }
        let Some(table) = value.get_ref().as_table() else {
            keys.refuse(reader, "grant", "tables, each written as `[[grant]]`");
            continue;
        };
        let keys = reader.table(table, value.span().start, "a grant", &GRANT_KEYS, Some(position));
        let part = read_grant(reader, &keys);
        if let Some(event_type) = part.grant.as_ref().map(|grant| &grant.event_type)
            && !types.insert(event_type.clone())
        {
            keys.refuse(reader, "type", "a type that no other grant of this agreement names");
        }
        grants.extend(part.grant.clone());
        parts.grants.push(part);
    }
    let at = |key, name: &Option<MemberName>| name.clone().map(|name| (keys.line(reader, key), name));
    (parts.provider, parts.recipient) = (at("provider", &provider), at("recipient", &recipient));
    let whole = || {
        Some(Agreement {
            id: id?,
            version: version?,
            title: title?,
            provider: provider?,
            recipient: recipient?,
            purpose: purpose?,
            legal_basis: legal_basis?,
            legal_reference,
            retention_months: retention_months?,
            retention_justification,
            valid_from: valid_from?,
            valid_until: valid_until?,
            grants,
            note: reader.text.to_owned(),
        })
    };
    (whole(), parts)
}

fn read_grant(reader: &mut Reader<'_>, keys: &Keys<'_, '_>) -> GrantPart {
    let event_type = keys.get(reader, "type", TYPE, |v| EventType::parse(v.as_str()?).ok());
    let versions = keys.get(reader, "versions", VERSIONS, |v| {
        let versions: Option<Vec<u32>> = v.as_array()?.iter().map(|v| number(v.get_ref())).collect();
        let mut seen = HashSet::new();
        versions.filter(|all| !all.is_empty() && all.iter().all(|v| *v > 0 && seen.insert(*v)))
    });
    let fields = keys.get(reader, "fields", FIELDS, |v| {
        let fields: Option<Vec<&str>> = v.as_array()?.iter().map(|v| v.get_ref().as_str()).collect();
        let fields = fields?;
        let mut seen = HashSet::new();
        let paths = !fields.is_empty() && fields.iter().all(|f| is_path(f) && seen.insert(*f));
        (paths || fields == ["*"]).then(|| fields.into_iter().map(str::to_owned).collect::<Vec<_>>())
    });
    let subject = keys.option(reader, "subject", "\"pseudonym\", \"own\" or \"publisher\"", |v| {
        v.as_str().and_then(SubjectMode::parse)
    });
    let grant = || {
        Some(Grant {
            event_type: event_type?,
            versions: versions?,
            fields: fields?,
            subject: subject.unwrap_or_default(),
        })
    };
    GrantPart {
        grant: grant(),
        line: keys.line(reader, "type"),
        fields: keys.lines_of_items(reader, "fields"),
    }
}

/// Reads the text of a revocation, `revoke = "ID"` (WIRE.md section 5), without
/// its signatures. Returns the agreement's id.
pub fn parse_revocation(text: &str) -> Result<String, AgreementFault> {
    if text.len() > MAX_TEXT_BYTES {
        return Err(AgreementFault::TooLarge);
    }
    SignedNote::unsigned(text)?;
    let table = DeTable::parse(text).map_err(|error| toml_fault(text, &error))?;
    let mut reader = Reader::new(text, 1);
    let keys = reader.table(table.get_ref(), 0, "a revocation", &["revoke"], None);
    let id = keys.get(&mut reader, "revoke", ID, |v| v.as_str().filter(|id| is_id(id)).map(str::to_owned));
    match reader.faults.into_iter().next() {
        Some(first) => Err(first),
        None => id.ok_or(AgreementFault::Missing { key: "revoke", expected: ID }),
    }
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

#[cfg(test)]
pub(super) mod tests;
