//! Pairwise identifiers: what a recipient gets in place of the publisher's own.
//!
//! No number follows a person through the administrations (WIRE.md section 3,
//! DOMAIN.md): each recipient has a pseudonym of its own for a subject, stable
//! over time, from which neither the subject nor another recipient's pseudonym
//! can be computed without the hub's secret. Event ids are treated alike.

use crate::seal;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Makes pairwise identifiers under the hub's secret.
pub struct Pairwise {
    secret: zeroize::Zeroizing<[u8; 32]>,
}

impl Pairwise {
    /// Pairwise identifiers under `secret`. Another secret makes others: it is
    /// kept as long as the hub's data.
    pub fn new(secret: [u8; 32]) -> Pairwise {
        Pairwise { secret: zeroize::Zeroizing::new(secret) }
    }

    /// The pseudonym that `recipient` gets for `publisher`'s `subject`
    /// (`KIND/LOCAL-ID`): `KIND/~` and 32 characters of base64url.
    pub fn subject(&self, publisher: &str, recipient: &str, subject: &str) -> String {
        let kind = subject.split_once('/').map_or(subject, |(kind, _)| kind);
        let name = self.name(&["subject", publisher, recipient, subject]);
        format!("{kind}/~{name}")
    }

    /// The id that `recipient` gets for the event `id` of `source`: the same at
    /// each redelivery, meaningless to anyone else.
    pub fn event_id(&self, source: &str, recipient: &str, id: &str) -> String {
        self.name(&["event", source, recipient, id])
    }

    /// 192 bits of an HMAC: enough that no two ever meet.
    fn name(&self, parts: &[&str]) -> String {
        let parts: Vec<&[u8]> = parts.iter().map(|p| p.as_bytes()).collect();
        URL_SAFE_NO_PAD.encode(&seal::hmac(&self.secret[..], &parts)[..24])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pseudonym_is_stable_and_pairwise() {
        let pairwise = Pairwise::new([7; 32]);
        let of = |recipient| pairwise.subject("province-sud", recipient, "person/4711");
        assert_eq!(of("gouvernement"), of("gouvernement"));
        assert_ne!(of("gouvernement"), of("province-nord"));
        assert_ne!(of("gouvernement"), pairwise.subject("province-nord", "gouvernement", "person/4711"));
        assert_ne!(
            of("gouvernement"),
            Pairwise::new([8; 32]).subject("province-sud", "gouvernement", "person/4711")
        );
        assert!(of("gouvernement").starts_with("person/~") && crate::event::is_subject(&of("gouvernement")));
        assert!(!of("gouvernement").contains("4711"));
    }

    #[test]
    fn an_event_id_is_pairwise_and_has_the_form_of_one() {
        let pairwise = Pairwise::new([7; 32]);
        let id = pairwise.event_id("/province-sud/boost", "gouvernement", "e-1");
        assert!(crate::event::is_event_id(&id));
        assert_ne!(id, pairwise.event_id("/province-sud/boost", "province-nord", "e-1"));
    }
}
