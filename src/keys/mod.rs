//! Keys: key files, JWK, thumbprints, JWS, signed notes.
//!
//! Everything that signs or verifies is here, and only here: Ed25519
//! (RFC 8032) is used through [`PrivateKey`] and [`PublicKey`]. A key's
//! identifier is its JWK thumbprint (RFC 7638). An event is signed as a
//! detached JWS ([`DetachedJws`]), a text for people as a C2SP signed note
//! ([`note`]). Each key has one use ([`KeyUse`], WIRE.md section 4).
//!
//! The clock isn't read here: a time is always a parameter.

mod fault;
mod jwk;
mod jws;
mod private;
mod public;

pub mod note;

pub use fault::{JwkFault, JwsFault, KeyFault, NoteFault, UnknownUse};
pub use jwk::{Jwk, Jwks};
pub use jws::{DetachedJws, MAX_JWS_BYTES};
pub use private::PrivateKey;
pub use public::{PublicKey, Thumbprint};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::fmt;
use std::str::FromStr;

/// What a key is for. Each key has one use (WIRE.md section 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyUse {
    /// A member signs its events.
    Event,
    /// A member signs agreements.
    Agreement,
    /// The hub signs what it delivers.
    Delivery,
    /// The hub signs the journal's checkpoints.
    Checkpoint,
}

impl KeyUse {
    /// Every use.
    pub const ALL: [KeyUse; 4] = [KeyUse::Event, KeyUse::Agreement, KeyUse::Delivery, KeyUse::Checkpoint];

    /// The use as it is written in a JWK, `event` for instance.
    pub fn as_str(self) -> &'static str {
        match self {
            KeyUse::Event => "event",
            KeyUse::Agreement => "agreement",
            KeyUse::Delivery => "delivery",
            KeyUse::Checkpoint => "checkpoint",
        }
    }

    /// Whether only the hub has keys of this use.
    pub fn is_hub(self) -> bool {
        matches!(self, KeyUse::Delivery | KeyUse::Checkpoint)
    }
}

impl fmt::Display for KeyUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for KeyUse {
    type Err = UnknownUse;
    fn from_str(text: &str) -> Result<KeyUse, UnknownUse> {
        KeyUse::ALL.into_iter().find(|u| u.as_str() == text).ok_or(UnknownUse)
    }
}

/// The bytes that `text` stands for in base64url without padding, where it is
/// canonical: unused bits are zero (RFC 4648 section 5; WIRE.md section 0).
fn decode_base64url(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

/// As [`decode_base64url`], for exactly `N` bytes.
fn decode_base64url_exactly<const N: usize>(text: &str) -> Option<[u8; N]> {
    // Two characters more than any N bytes need would be an error anyway.
    if text.len() > N * 4 / 3 + 2 {
        return None;
    }
    decode_base64url(text)?.try_into().ok()
}

/// `bytes` in base64url without padding.
fn encode_base64url(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_use_reads_back_as_it_is_written() {
        for key_use in KeyUse::ALL {
            assert_eq!(key_use.as_str().parse(), Ok(key_use));
            assert_eq!(serde_json::to_string(&key_use).unwrap(), format!("\"{key_use}\""));
        }
        assert_eq!("Event".parse::<KeyUse>(), Err(UnknownUse));
        assert_eq!("".parse::<KeyUse>(), Err(UnknownUse));
    }

    proptest! {
        #[test]
        fn base64url_has_one_spelling(bytes in prop::collection::vec(any::<u8>(), 0..70), at in any::<prop::sample::Index>(), with in 0u8..128) {
            let text = encode_base64url(&bytes);
            prop_assert_eq!(decode_base64url(&text), Some(bytes.clone()));
            if text.is_empty() { return Ok(()); }
            let mut other = text.clone().into_bytes();
            let at = at.index(other.len());
            other[at] = with;
            let other = String::from_utf8(other).unwrap();
            if other != text {
                prop_assert_ne!(decode_base64url(&other), Some(bytes));
            }
        }
    }
}
