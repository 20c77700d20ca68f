//! Signing the text of an agreement or of a revocation.

use super::{AgreementFault, parse_agreement, parse_revocation};
use crate::event::MemberName;
use crate::keys::PrivateKey;
use crate::keys::note::{self, SignedNote};

/// The note that these members sign: `text` is an agreement or a revocation,
/// and each key the member's key for agreements.
///
/// Fails where the text is neither: nobody should sign what no hub reads.
pub fn sign_text(text: &str, signers: &[(&MemberName, &PrivateKey)]) -> Result<String, AgreementFault> {
    let mut signed = SignedNote::unsigned(text)?;
    check(text)?;
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
    check(&signed.text)?;
    let signature = note::sign(&signed.text, member.as_str(), key);
    if !signed.signatures.contains(&signature) {
        signed.signatures.push(signature);
    }
    Ok(signed.render())
}

fn check(text: &str) -> Result<(), AgreementFault> {
    match parse_revocation(text) {
        Ok(_) => Ok(()),
        Err(_) => parse_agreement(text).map(|_| ()),
    }
}
