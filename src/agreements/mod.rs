//! Signed agreements, and what each grants.
//!
//! An agreement is a TOML text that its provider and its recipient signed as a
//! C2SP signed note (WIRE.md section 5). [`Agreements`] is a snapshot of a
//! folder of such notes: which of them are in force on a day, what they grant,
//! and why the others aren't. It never changes: a reload makes another one.

mod check;
mod diff;
mod explain;
mod force;
mod load;
mod register;
mod sign;
mod template;
mod text;
mod view;
mod words;

pub use check::{Against, Finding, Gravity, check, is_note};
pub use diff::explain_changes;
pub use explain::{explain, explain_in_short, explain_revocation, explain_signatures};
pub use force::{Conflict, NotInForce, Status};
pub use load::{Agreements, LoadFault, Unfit, UnusableFile};
pub use register::{Register, Treatment, escape};
pub use sign::{SignFault, add_signature, sign_checked, sign_text};
pub use template::{Blank, TemplateFault, next_version, template};
pub use text::{
    AgreementFault, MAX_TEXT_BYTES, agreement_faults, parse_agreement, parse_revocation, read_note,
};
pub use words::{
    Lang, basis as basis_in_words, day as day_in_words, event_label as event_in_words,
    field_label_in_full as field_in_words, state as state_in_words,
};

use crate::event::{EventType, MemberName};
use crate::keys::note::SignedNote;
use jiff::civil::Date;
use jiff::tz::{Offset, TimeZone};
use sha2::{Digest, Sha256};
use std::fmt;

/// Why personal data may be exchanged at all (GDPR article 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LegalBasis {
    /// The person agreed.
    Consent,
    /// A contract with the person.
    Contract,
    /// A law asks for it.
    LegalObligation,
    /// Somebody's life depends on it.
    VitalInterest,
    /// A task of public interest.
    PublicInterest,
}

impl LegalBasis {
    /// Every basis.
    pub const ALL: [LegalBasis; 5] = [
        LegalBasis::Consent,
        LegalBasis::Contract,
        LegalBasis::LegalObligation,
        LegalBasis::VitalInterest,
        LegalBasis::PublicInterest,
    ];

    /// The basis that is written `text` in an agreement.
    pub fn parse(text: &str) -> Option<LegalBasis> {
        LegalBasis::ALL.into_iter().find(|basis| basis.as_str() == text)
    }

    /// The basis as it is written in an agreement, `public-interest` for instance.
    pub fn as_str(self) -> &'static str {
        match self {
            LegalBasis::Consent => "consent",
            LegalBasis::Contract => "contract",
            LegalBasis::LegalObligation => "legal-obligation",
            LegalBasis::VitalInterest => "vital-interest",
            LegalBasis::PublicInterest => "public-interest",
        }
    }
}

/// How the recipient gets to know whom or what an event is about (WIRE.md
/// section 3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SubjectMode {
    /// By a pairwise pseudonym.
    #[default]
    Pseudonym,
    /// By the recipient's own identifier where the register has a link, else by
    /// the pseudonym.
    Own,
    /// By the publisher's identifier, unchanged.
    Publisher,
}

impl SubjectMode {
    /// Every mode.
    pub const ALL: [SubjectMode; 3] = [SubjectMode::Pseudonym, SubjectMode::Own, SubjectMode::Publisher];

    /// The mode that is written `text` in an agreement.
    pub fn parse(text: &str) -> Option<SubjectMode> {
        SubjectMode::ALL.into_iter().find(|mode| mode.as_str() == text)
    }

    /// The mode as it is written in an agreement, `pseudonym` for instance.
    pub fn as_str(self) -> &'static str {
        match self {
            SubjectMode::Pseudonym => "pseudonym",
            SubjectMode::Own => "own",
            SubjectMode::Publisher => "publisher",
        }
    }
}

/// What an agreement grants of one event type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The event type.
    pub event_type: EventType,
    /// The versions of its schema: at least one, each once.
    pub versions: Vec<u32>,
    /// The fields, as paths (`person.birthdate`), each with its whole subtree;
    /// or exactly `["*"]`, everything.
    pub fields: Vec<String>,
    /// How the subject is named.
    pub subject: SubjectMode,
}

impl Grant {
    /// Whether everything is granted.
    pub fn is_whole(&self) -> bool {
        self.fields == ["*"]
    }
}

/// An agreement: what its text says, signed or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agreement {
    /// Its name, of the form of a member's name.
    pub id: String,
    /// Its version, from 1. The highest alone counts.
    pub version: u32,
    /// What people call it.
    pub title: String,
    /// Whose data it is about.
    pub provider: MemberName,
    /// Who gets it.
    pub recipient: MemberName,
    /// What for.
    pub purpose: String,
    /// Why it is lawful.
    pub legal_basis: LegalBasis,
    /// The text of law or decision.
    pub legal_reference: Option<String>,
    /// For how many months the recipient keeps the data.
    pub retention_months: u32,
    /// Why it is kept for more than 36 months, where it is.
    pub retention_justification: Option<String>,
    /// The first day, in New Caledonia.
    pub valid_from: Date,
    /// The last day, in New Caledonia.
    pub valid_until: Date,
    /// What is granted: each event type once, at least one.
    pub grants: Vec<Grant>,
    /// The text, or the note where the text came with signatures.
    note: String,
}

impl Agreement {
    /// How messages and the journal name it: `ID:VERSION`.
    pub fn reference(&self) -> String {
        format!("{}:{}", self.id, self.version)
    }

    /// The signed note as it was read; the text alone where it came without
    /// signatures.
    pub fn note(&self) -> &str {
        &self.note
    }

    /// SHA-256 of the text that its parties sign: whatever signatures stand below
    /// it, and in which order.
    pub fn digest(&self) -> [u8; 32] {
        match SignedNote::parse(&self.note) {
            Ok(note) => Sha256::digest(note.text).into(),
            Err(_) => Sha256::digest(&self.note).into(),
        }
    }

    /// What is granted of `event_type`.
    pub fn grant_of(&self, event_type: &str) -> Option<&Grant> {
        self.grants.iter().find(|grant| grant.event_type.as_str() == event_type)
    }

    /// What this agreement grants and `exists` doesn't know, as sentences.
    ///
    /// `exists` is asked for each granted type, version and path (`*` where
    /// everything is granted), and answers with a sentence where there is none.
    pub fn check_against(&self, exists: &dyn Fn(&EventType, u32, &str) -> Result<(), String>) -> Vec<String> {
        let mut unknown = Vec::new();
        for grant in &self.grants {
            for version in &grant.versions {
                for path in &grant.fields {
                    unknown.extend(exists(&grant.event_type, *version, path).err());
                }
            }
        }
        unknown
    }
}

impl fmt::Display for LegalBasis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for SubjectMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The day in New Caledonia (Pacific/Noumea) at `time`.
pub fn day_of(time: jiff::Timestamp) -> Date {
    // The zone's rules are compiled in. Should they ever be missing there, the
    // zone has been at UTC+11 without summer time since 1997.
    let zone = TimeZone::get("Pacific/Noumea").unwrap_or(TimeZone::fixed(Offset::constant(11)));
    time.to_zoned(zone).date()
}

/// Today in New Caledonia (Pacific/Noumea), by this machine's clock.
pub fn today() -> Date {
    day_of(jiff::Timestamp::now())
}

#[cfg(test)]
mod document_tests;
#[cfg(test)]
mod tests;
