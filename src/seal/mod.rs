//! Sealing at rest, HMACs, secrets.
//!
//! A message at rest is sealed with XChaCha20-Poly1305
//! (draft-irtf-cfrg-xchacha-03) under a key of its own, an [`EventKey`]; that
//! key is kept wrapped under a [`Kek`], which is derived from the one
//! [`MasterKey`]. Erasing an event's wrapped key erases the event.

mod cipher;
mod master;

pub use cipher::{EventKey, OVERHEAD, WRAPPED, open, seal};
pub use master::{Kek, MasterKey};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::path::PathBuf;
use zeroize::Zeroizing;

/// What can go wrong when something is sealed, opened, or a key file is read.
#[derive(Debug, thiserror::Error)]
pub enum SealFault {
    /// The operating system gave no random bytes.
    #[error("the operating system gave no random bytes ({0}): no key can be made; look at /dev/urandom")]
    Random(getrandom::Error),
    /// The sealed bytes don't open under this key.
    #[error(
        "sealed bytes don't open under their key: they were changed or cut, the key was erased, \
         or the master key isn't the one they were sealed under"
    )]
    NotAuthentic,
    /// The key file can be read by others.
    #[error("the master key {0} can be read by others; run: chmod 600 {0}")]
    Exposed(PathBuf),
    /// The key file isn't of the right form.
    #[error(
        "the master key {0} isn't 32 bytes in base64 between its BEGIN and END lines; restore it from a backup"
    )]
    NotAKey(PathBuf),
    /// The key file can't be read or written.
    #[error("the master key {path} can't be {action}: {error}")]
    Io {
        /// The file.
        path: PathBuf,
        /// `read` or `written`.
        action: &'static str,
        /// What the operating system said.
        error: std::io::Error,
    },
}

/// Bytes that are wiped when dropped and never printed.
#[derive(Clone)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Keeps `bytes` as a secret.
    pub fn new(bytes: Vec<u8>) -> Secret {
        Secret(Zeroizing::new(bytes))
    }

    /// The bytes. Keep them out of logs and errors.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// 32 secret bytes, wiped when dropped and never printed: a key for [`hmac()`].
#[derive(Clone)]
pub struct Secret32(Zeroizing<[u8; 32]>);

impl Secret32 {
    /// Keeps `bytes` as a secret.
    pub fn new(bytes: [u8; 32]) -> Secret32 {
        Secret32(Zeroizing::new(bytes))
    }

    /// The bytes. Keep them out of logs and errors.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    /// The secret for `label` below this one: [`hmac()`] of the label.
    pub fn derive(&self, label: &str) -> Secret32 {
        Secret32::new(hmac(self.expose(), &[label.as_bytes()]))
    }
}

impl std::fmt::Debug for Secret32 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret32(…)")
    }
}

/// HMAC-SHA-256 (RFC 2104) under `key` over `parts`, each preceded by its
/// length as a 64-bit little-endian number, so that no two lists of parts give
/// the same input.
pub fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = mac(key);
    for part in parts {
        mac.update(&(part.len() as u64).to_le_bytes());
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// HMAC-SHA-256 (RFC 2104) under `key` over `bytes` as they are: for what others
/// compute too (WIRE.md section 6).
pub fn hmac_bytes(key: &[u8], bytes: &[u8]) -> [u8; 32] {
    let mut mac = mac(key);
    mac.update(bytes);
    mac.finalize().into_bytes().into()
}

fn mac(key: &[u8]) -> Hmac<Sha256> {
    // HMAC takes keys of every length (RFC 2104 section 3).
    Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
    }

    #[test]
    fn hmac_gives_the_results_of_rfc_4231() {
        let cases: [(Vec<u8>, Vec<u8>, &str); 4] = [
            (
                vec![0x0b; 20],
                b"Hi There".to_vec(),
                "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
            ),
            (
                b"Jefe".to_vec(),
                b"what do ya want for nothing?".to_vec(),
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
            (
                vec![0xaa; 20],
                vec![0xdd; 50],
                "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe",
            ),
            (
                vec![0xaa; 131],
                b"Test Using Larger Than Block-Size Key - Hash Key First".to_vec(),
                "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
            ),
        ];
        for (key, data, expected) in cases {
            let mut mac = mac(&key);
            mac.update(&data);
            assert_eq!(mac.finalize().into_bytes().to_vec(), hex(expected));
        }
    }

    #[test]
    fn where_a_part_ends_matters() {
        assert_ne!(hmac(b"k", &[b"ab", b"c"]), hmac(b"k", &[b"a", b"bc"]));
        assert_ne!(hmac(b"k", &[b"ab"]), hmac(b"k", &[b"ab", b""]));
    }

    #[test]
    fn a_part_is_preceded_by_its_length() {
        let mut by_hand = mac(b"k");
        by_hand.update(&[2, 0, 0, 0, 0, 0, 0, 0, b'a', b'b']);
        assert_eq!(hmac(b"k", &[b"ab"]).to_vec(), by_hand.finalize().into_bytes().to_vec());
    }

    #[test]
    fn secrets_are_never_printed() {
        let printed = format!("{:?} {:?}", Secret::new(vec![77; 4]), Secret32::new([77; 32]));
        assert_eq!(printed, "Secret(…) Secret32(…)");
    }
}
