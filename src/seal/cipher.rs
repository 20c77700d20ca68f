//! XChaCha20-Poly1305 for messages, the XChaCha20 keystream for their keys.

use super::{Kek, SealFault};
use chacha20::cipher::{KeyIvInit, StreamCipher};
use chacha20::{XChaCha20, XNonce};
use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{KeyInit, XChaCha20Poly1305};
use zeroize::Zeroizing;

/// How many bytes sealing adds: the tag of Poly1305.
pub const OVERHEAD: usize = 16;

/// How many bytes a wrapped key takes.
pub const WRAPPED: usize = 32;

/// The key of one event, or of one log: 32 random bytes, wiped when dropped.
#[derive(Clone)]
pub struct EventKey(Zeroizing<[u8; 32]>);

impl std::fmt::Debug for EventKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("EventKey(…)")
    }
}

/// The nonce of `index`: it is unique under its key, which is all that
/// draft-irtf-cfrg-xchacha section 2.1 asks of a nonce.
fn nonce(index: u64) -> XNonce {
    let mut nonce = [0; 24];
    nonce[..8].copy_from_slice(&index.to_le_bytes());
    nonce.into()
}

impl EventKey {
    /// A new random key.
    pub fn generate() -> Result<EventKey, SealFault> {
        let mut bytes = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *bytes).map_err(SealFault::Random)?;
        Ok(EventKey(bytes))
    }

    /// `count` new random keys, with one call to the operating system.
    pub fn generate_batch(count: usize) -> Result<Vec<EventKey>, SealFault> {
        let mut bytes = Zeroizing::new(vec![0; count * 32]);
        getrandom::fill(&mut bytes).map_err(SealFault::Random)?;
        Ok(bytes
            .chunks_exact(32)
            .map(|chunk| {
                let mut key = Zeroizing::new([0; 32]);
                key.copy_from_slice(chunk);
                EventKey(key)
            })
            .collect())
    }

    /// The key itself, to derive from it what must go when its slot goes.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    /// The key wrapped under `kek` for slot `index`: XORed with 32 bytes of the
    /// XChaCha20 keystream at that nonce, so that it takes 32 bytes.
    ///
    /// A slot carries no tag of its own: a key unwrapped from a changed slot is
    /// another key, under which the message doesn't open. Wrap at most one key
    /// at an index under one `kek`; two at the same index show their XOR to who
    /// sees both slots, and nothing more since keys are random.
    pub fn wrap(&self, kek: &Kek, index: u64) -> [u8; WRAPPED] {
        let mut slot = *self.0;
        keystream(kek, index, &mut slot);
        slot
    }

    /// The key that [`EventKey::wrap`] wrapped at `index`. A slot that was
    /// overwritten gives another key, which opens nothing.
    pub fn unwrap(slot: &[u8; WRAPPED], kek: &Kek, index: u64) -> EventKey {
        let mut key = Zeroizing::new(*slot);
        keystream(kek, index, &mut key);
        EventKey(key)
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new((&*self.0).into())
    }
}

fn keystream(kek: &Kek, index: u64, bytes: &mut [u8; WRAPPED]) {
    XChaCha20::new(kek.expose().into(), &nonce(index)).apply_keystream(bytes);
}

/// Appends `plaintext` sealed under `key` to `out`: the ciphertext and the
/// 16-byte tag ([`OVERHEAD`]). The nonce is `index`: never seal two texts with
/// one key and one index.
pub fn seal(key: &EventKey, index: u64, plaintext: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.reserve(plaintext.len() + OVERHEAD);
    out.extend_from_slice(plaintext);
    // Encryption fails over 256 GiB only, which no buffer of ours can hold.
    let tag = key
        .cipher()
        .encrypt_inout_detached(&nonce(index), b"", (&mut out[start..]).into())
        .expect("a text of less than 256 GiB");
    out.extend_from_slice(&tag);
}

/// The plaintext of `sealed`, as [`seal`] made it with the same key and index.
///
/// Fails when it was changed or cut, or the key or index isn't the one.
pub fn open(key: &EventKey, index: u64, sealed: &[u8]) -> Result<Vec<u8>, SealFault> {
    let length = sealed.len().checked_sub(OVERHEAD).ok_or(SealFault::NotAuthentic)?;
    let (text, tag) = sealed.split_at(length);
    let tag = tag.try_into().map_err(|_| SealFault::NotAuthentic)?;
    let mut text = text.to_vec();
    key.cipher()
        .decrypt_inout_detached(&nonce(index), b"", (&mut text[..]).into(), tag)
        .map_err(|_| SealFault::NotAuthentic)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::MasterKey;
    use proptest::prelude::*;

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
    }

    fn kek() -> Kek {
        MasterKey::from_bytes([3; 32]).kek("test")
    }

    /// draft-irtf-cfrg-xchacha-03, appendix A.3.1.
    #[test]
    fn the_cipher_gives_the_result_of_the_draft() {
        let key: [u8; 32] =
            hex("808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f").try_into().unwrap();
        let nonce: [u8; 24] = hex("404142434445464748494a4b4c4d4e4f5051525354555657").try_into().unwrap();
        let mut text = b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for \
                         the future, sunscreen would be it."
            .to_vec();
        let tag = EventKey(Zeroizing::new(key))
            .cipher()
            .encrypt_inout_detached(&nonce.into(), &hex("50515253c0c1c2c3c4c5c6c7"), (&mut text[..]).into())
            .unwrap();
        assert_eq!(
            text,
            hex(
                "bd6d179d3e83d43b9576579493c0e939572a1700252bfaccbed2902c21396cbb731c7f1b0b4aa6440bf3a82f4eda7e39\
                 ae64c6708c54c216cb96b72e1213b4522f8c9ba40db5d945b11b69b982c1bb9e3f3fac2bc369488f76b2383565d3fff9\
                 21f9664c97637da9768812f615c68b13b52e"
            )
        );
        assert_eq!(tag.to_vec(), hex("c0875924c1c7987947deafd8780acf49"));
    }

    /// draft-irtf-cfrg-xchacha-03, appendix A.3.2: its keystream with the
    /// counter at 1, which is our second block.
    #[test]
    fn the_keystream_is_that_of_the_draft() {
        let key: [u8; 32] =
            hex("808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f").try_into().unwrap();
        let nonce: [u8; 24] = hex("404142434445464748494a4b4c4d4e4f5051525354555658").try_into().unwrap();
        let mut stream = [0; 96];
        XChaCha20::new(&key.into(), &nonce.into()).apply_keystream(&mut stream);
        assert_eq!(
            stream[64..96],
            hex("29624b4b1b140ace53740e405b2168540fd7d630c1f536fecd722fc3cddba7f4")[..]
        );
    }

    #[test]
    fn a_key_unwraps_only_at_its_index() {
        let key = EventKey::generate().unwrap();
        let slot = key.wrap(&kek(), 7);
        assert_ne!(slot, *key.0);
        assert_eq!(*EventKey::unwrap(&slot, &kek(), 7).0, *key.0);
        assert_ne!(*EventKey::unwrap(&slot, &kek(), 8).0, *key.0);
    }

    #[test]
    fn an_overwritten_slot_opens_nothing() {
        let key = EventKey::generate().unwrap();
        let mut sealed = Vec::new();
        seal(&key, 1, b"a citizen's data", &mut sealed);
        let erased = EventKey::unwrap(&[0; 32], &kek(), 1);
        assert!(matches!(open(&erased, 1, &sealed), Err(SealFault::NotAuthentic)));
    }

    #[test]
    fn keys_of_a_batch_all_differ() {
        let keys = EventKey::generate_batch(64).unwrap();
        let distinct: std::collections::HashSet<[u8; 32]> = keys.iter().map(|k| *k.0).collect();
        assert_eq!(distinct.len(), 64);
    }

    proptest! {
        #[test]
        fn what_was_sealed_opens(text in any::<Vec<u8>>(), index in any::<u64>(), before in any::<Vec<u8>>()) {
            let key = EventKey::generate().unwrap();
            let mut out = before.clone();
            seal(&key, index, &text, &mut out);
            prop_assert_eq!(&out[..before.len()], &before[..]);
            prop_assert_eq!(out.len(), before.len() + text.len() + OVERHEAD);
            prop_assert_eq!(open(&key, index, &out[before.len()..]).unwrap(), text);
            prop_assert!(open(&key, index ^ 1, &out[before.len()..]).is_err());
        }

        #[test]
        fn any_changed_bit_is_seen(text in any::<Vec<u8>>(), at in any::<prop::sample::Index>(), bit in 0..8u8) {
            let key = EventKey::generate().unwrap();
            let mut sealed = Vec::new();
            seal(&key, 0, &text, &mut sealed);
            let at = at.index(sealed.len());
            sealed[at] ^= 1 << bit;
            prop_assert!(open(&key, 0, &sealed).is_err());
        }

        #[test]
        fn no_bytes_make_opening_panic(sealed in any::<Vec<u8>>()) {
            prop_assert!(open(&EventKey::generate().unwrap(), 0, &sealed).is_err());
        }
    }
}
