//! Signing the text of an agreement or of a revocation.

use super::{Against, AgreementFault, Gravity, check, is_note, parse_agreement, parse_revocation};
use crate::event::MemberName;
use crate::keys::note::{self, SignedNote};
use crate::keys::{KeyUse, PrivateKey};

/// Why a member doesn't sign an agreement.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignFault {
    /// It isn't a note, or its text isn't an agreement.
    #[error(transparent)]
    Agreement(#[from] AgreementFault),
    /// The check refuses it. Each is a sentence.
    #[error("it can't be signed as it is: {}", .0.join("; "))]
    Refused(Vec<String>),
    /// The member isn't a party.
    #[error("{member} isn't a party of this agreement, which is between {provider} and {recipient}")]
    NotAParty {
        /// Who wants to sign.
        member: MemberName,
        /// Who gives.
        provider: MemberName,
        /// Who receives.
        recipient: MemberName,
    },
    /// Another's signature can't be verified.
    #[error(
        "it is signed by {0} already, whose signature has to be verified first: give --members, a folder with \
         {0}.jwks.json"
    )]
    Unverified(String),
    /// The key isn't one that counts.
    #[error(
        "this key isn't among those that {0} publishes for agreements, or is revoked, so no hub would count its \
         signature: publish it in {0}.jwks.json, or give another --key"
    )]
    Unpublished(MemberName),
}

/// The note that `member` signs with `key`, its key for agreements: `content`,
/// of the file named `file`, is the text of an agreement, or the note that the
/// other party signed. An earlier signature of `member` is replaced.
///
/// Fails where [`check`] finds a fault, `member` isn't a party, the other
/// signature can't be verified or isn't good, or, where the members' keys are
/// known, `key` isn't one of `member`'s.
pub fn sign_checked(
    file: &str,
    content: &str,
    member: &MemberName,
    key: &PrivateKey,
    against: &Against<'_>,
) -> Result<String, SignFault> {
    let mut note = match is_note(file, content) {
        true => SignedNote::parse(content).map_err(AgreementFault::from)?,
        false => SignedNote::unsigned(content).unwrap_or_else(|_| SignedNote {
            // The check names what is wrong with its characters.
            text: content.to_owned(),
            signatures: Vec::new(),
            others: Vec::new(),
        }),
    };
    note.signatures.retain(|signature| signature.name != member.as_str());
    let rest = match note.signatures.is_empty() && note.others.is_empty() {
        true => note.text.clone(),
        false => note.render(),
    };
    let name = if rest == note.text { "agreement.toml" } else { "agreement.note" };
    let findings = check(&[(name.to_owned(), rest)], against);
    let faults = findings.into_iter().filter(|finding| finding.gravity == Gravity::Fault);
    let faults: Vec<String> = faults.map(|finding| finding.sentence).collect();
    if !faults.is_empty() {
        return Err(SignFault::Refused(faults));
    }
    let agreement = parse_agreement(&note.text)?;
    if ![&agreement.provider, &agreement.recipient].contains(&member) {
        let (provider, recipient) = (agreement.provider, agreement.recipient);
        return Err(SignFault::NotAParty { member: member.clone(), provider, recipient });
    }
    match against.directory {
        Some(directory) => {
            let mut keys = directory.keys_of(member.as_str(), KeyUse::Agreement);
            if !keys.any(|published| published.public == *key.public() && published.revoked.is_none()) {
                return Err(SignFault::Unpublished(member.clone()));
            }
        }
        None => {
            if let Some(other) = note.signatures.first() {
                return Err(SignFault::Unverified(other.name.clone()));
            }
        }
    }
    note.signatures.push(note::sign(&note.text, member.as_str(), key));
    Ok(note.render())
}

/// The note that these members sign: `text` is an agreement or a revocation,
/// and each key the member's key for agreements.
///
/// Fails where the text is neither: nobody should sign what no hub reads.
pub fn sign_text(text: &str, signers: &[(&MemberName, &PrivateKey)]) -> Result<String, AgreementFault> {
    let mut signed = SignedNote::unsigned(text)?;
    check_text(text)?;
    for (member, key) in signers {
        signed.signatures.push(note::sign(text, member.as_str(), key));
    }
    Ok(signed.render())
}

/// The note that `member` signs too: `note` is what the other party signed.
///
/// Fails where it isn't a note, or its text is neither an agreement nor a
/// revocation. It doesn't look at the signatures that are there.
pub fn add_signature(note: &str, member: &MemberName, key: &PrivateKey) -> Result<String, AgreementFault> {
    let mut signed = SignedNote::parse(note)?;
    check_text(&signed.text)?;
    let signature = note::sign(&signed.text, member.as_str(), key);
    if !signed.signatures.contains(&signature) {
        signed.signatures.push(signature);
    }
    Ok(signed.render())
}

fn check_text(text: &str) -> Result<(), AgreementFault> {
    match parse_revocation(text) {
        Ok(_) => Ok(()),
        Err(_) => parse_agreement(text).map(|_| ()),
    }
}
