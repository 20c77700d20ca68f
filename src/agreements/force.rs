//! Which agreements are in force, and why others aren't: WIRE.md section 5.

use super::Agreement;
use crate::event::{EventType, MemberName};
use crate::keys::KeyUse;
use crate::keys::note::SignedNote;
use crate::members::Directory;
use jiff::civil::Date;
use std::fmt;

/// Whether an agreement is in force on a day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// It is, with all that it grants.
    InForce,
    /// It is, but not for these event types: two agreements grant each of them
    /// between the same parties, so neither counts for it.
    InForceExcept(Vec<Conflict>),
    /// It isn't.
    NotInForce(NotInForce),
}

/// Two agreements in force between the same parties for one event type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{event_type} is granted by both {first} and {second}, so neither counts for it")]
pub struct Conflict {
    /// The event type.
    pub event_type: EventType,
    /// One agreement, `ID:VERSION`.
    pub first: String,
    /// The other one, `ID:VERSION`.
    pub second: String,
}

/// Why an agreement isn't in force.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotInForce {
    /// A party doesn't take part.
    #[error("{0} isn't a member")]
    NotAMember(MemberName),
    /// A party didn't sign with a key for agreements that it has published.
    #[error("it isn't signed by {0} with a published key for agreements")]
    Unsigned(MemberName),
    /// A party's signature isn't of this text.
    #[error("the signature of {0} isn't of this text: it was changed after signing")]
    BadSignature(MemberName),
    /// A party signed with a key that it revoked since.
    #[error("the key with which {0} signed is revoked: sign it again with another key")]
    RevokedKey(MemberName),
    /// A higher version was signed by both parties.
    #[error("version {version} replaces it ({file})")]
    Superseded {
        /// The version that counts.
        version: u32,
        /// The file where it is.
        file: String,
    },
    /// Another file holds the same agreement.
    #[error("the same text is in {0}")]
    Copy(String),
    /// Another text has the same id and version.
    #[error("another text with the same id and version is in {0}: neither counts, sign a higher version")]
    OtherText(String),
    /// A party ended it.
    #[error("{by} ended it ({file})")]
    Revoked {
        /// Who.
        by: MemberName,
        /// The file with the revocation.
        file: String,
    },
    /// It grants what no schema has: its parties meant something else than what
    /// a hub could give.
    #[error("{0}")]
    Unfit(String),
    /// Its first day is to come.
    #[error("it begins on {0}")]
    NotYet(Date),
    /// A key with which it was signed isn't valid yet.
    #[error("a key with which it is signed is valid from {0} only")]
    KeyNotYet(Date),
    /// Its last day is over.
    #[error("it ended on {0}")]
    Ended(Date),
}

impl Status {
    /// Whether the agreement is in force, for some type at least.
    pub fn is_in_force(&self) -> bool {
        !matches!(self, Status::NotInForce(_))
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Status::InForce => f.write_str("in force"),
            Status::InForceExcept(conflicts) => {
                f.write_str("in force, except that ")?;
                for (at, conflict) in conflicts.iter().enumerate() {
                    write!(f, "{}{conflict}", if at > 0 { "; " } else { "" })?;
                }
                Ok(())
            }
            Status::NotInForce(reason) => write!(f, "not in force: {reason}"),
        }
    }
}

/// What the signatures of a note say about one party.
enum Signed {
    /// A good signature of a key that isn't revoked; the earliest `nbf` of such
    /// keys, in seconds since 1970, where all have one.
    Good(Option<i64>),
    /// Only good signatures of keys that were revoked.
    WithRevokedKey,
    /// A signature of a known key that isn't of this text.
    Bad,
    /// No signature of a known key.
    Not,
}

/// What `note` says about `member`.
///
/// An ended key (`exp`) still counts: a rotation of keys doesn't end what was
/// signed before it, and a note bears no time that could be trusted. Who
/// mistrusts an old key revokes it.
fn signed_by(note: &SignedNote, member: &str, directory: &Directory) -> Signed {
    let mut found = Signed::Not;
    for key in directory.keys_of(member, KeyUse::Agreement) {
        match note.check(member, &key.public) {
            None => continue,
            Some(false) => return Signed::Bad,
            Some(true) => {}
        }
        found = match (found, key.revoked) {
            (Signed::Good(from), None) => Signed::Good(from.zip(key.not_before).map(|(a, b)| a.min(b))),
            (Signed::Good(from), Some(_)) => Signed::Good(from),
            (_, None) => Signed::Good(key.not_before),
            (_, Some(_)) => Signed::WithRevokedKey,
        };
    }
    found
}

/// What the signatures of an agreement's note amount to.
pub(super) struct Signatures {
    /// Both parties signed this text, be it with keys that were revoked since.
    /// Such a version replaces the lower ones: that a key was revoked must not
    /// bring back what its holder gave up.
    pub complete: bool,
    /// Why it isn't in force, where the signatures are the reason.
    pub refusal: Option<NotInForce>,
    /// The first moment at which all keys are valid, in seconds since 1970.
    pub from: Option<i64>,
}

/// Looks at the signatures of the provider and the recipient.
pub(super) fn signatures(agreement: &Agreement, note: &SignedNote, directory: &Directory) -> Signatures {
    let mut all = Signatures { complete: true, refusal: None, from: None };
    for party in [&agreement.provider, &agreement.recipient] {
        let refusal = match party_signed(note, party, directory) {
            Ok(from) => {
                all.from = all.from.max(from);
                continue;
            }
            Err(refusal) => refusal,
        };
        all.complete &= matches!(refusal, NotInForce::RevokedKey(_));
        all.refusal.get_or_insert(refusal);
    }
    all
}

/// From when on the keys of `party` that signed `note` count, or why its
/// signature doesn't.
fn party_signed(
    note: &SignedNote,
    party: &MemberName,
    directory: &Directory,
) -> Result<Option<i64>, NotInForce> {
    match signed_by(note, party.as_str(), directory) {
        Signed::Good(from) => Ok(from),
        Signed::WithRevokedKey => Err(NotInForce::RevokedKey(party.clone())),
        Signed::Bad => Err(NotInForce::BadSignature(party.clone())),
        Signed::Not if !directory.contains(party.as_str()) => Err(NotInForce::NotAMember(party.clone())),
        Signed::Not => Err(NotInForce::Unsigned(party.clone())),
    }
}

/// Why the signature of `party` on `note` doesn't count; none where it does.
pub(super) fn refusal_of(note: &SignedNote, party: &MemberName, directory: &Directory) -> Option<NotInForce> {
    party_signed(note, party, directory).err()
}

/// Who signed a revocation: the members with a good signature on it.
///
/// Keys that ended or were revoked count too. To end an agreement withholds
/// data; to let one revive because a key was revoked would hand it out.
/// `None` where a signature of a known key isn't of this text.
pub(super) fn revoked_by(note: &SignedNote, directory: &Directory) -> Option<Vec<MemberName>> {
    let mut members = Vec::new();
    for member in directory.members() {
        if !note.signatures.iter().any(|signature| signature.name == member.as_str()) {
            continue;
        }
        match signed_by(note, member.as_str(), directory) {
            Signed::Bad => return None,
            Signed::Good(_) | Signed::WithRevokedKey => members.push(member.clone()),
            Signed::Not => {}
        }
    }
    Some(members)
}
