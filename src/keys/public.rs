//! Public keys and their thumbprints.

use super::{KeyFault, encode_base64url};
use ed25519_dalek::{Signature, Verifier, VerifyingKey};
use sha2::{Digest, Sha256};
use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

/// A key's identifier: its JWK thumbprint (RFC 7638, RFC 8037 section 2),
/// SHA-256 in base64url, 43 characters. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Thumbprint(Arc<str>);

impl Thumbprint {
    fn of(public: &[u8; 32]) -> Thumbprint {
        // RFC 7638 section 3.3: the required members, sorted, no spaces.
        let mut hash = Sha256::new();
        hash.update(br#"{"crv":"Ed25519","kty":"OKP","x":""#);
        hash.update(encode_base64url(public));
        hash.update(br#""}"#);
        Thumbprint(encode_base64url(hash.finalize()).into())
    }

    /// The 43 characters.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Thumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Thumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl AsRef<str> for Thumbprint {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Thumbprint {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// An Ed25519 public key: the point, ready to verify with, and its thumbprint.
#[derive(Clone)]
pub struct PublicKey {
    point: VerifyingKey,
    thumbprint: Thumbprint,
}

impl PublicKey {
    /// The key with these 32 bytes (RFC 8032 section 5.1.5).
    ///
    /// Fails where they aren't the one canonical encoding of a point, or the
    /// point is of small order: a signature by such a key proves nothing.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<PublicKey, KeyFault> {
        let point = VerifyingKey::from_bytes(bytes).map_err(|_| KeyFault::NotAPublicKey)?;
        // Two encodings of one point would be two thumbprints of one key.
        if point.is_weak() || point.to_edwards().compress().as_bytes() != bytes {
            return Err(KeyFault::NotAPublicKey);
        }
        Ok(PublicKey::new(point))
    }

    pub(super) fn new(point: VerifyingKey) -> PublicKey {
        PublicKey { thumbprint: Thumbprint::of(point.as_bytes()), point }
    }

    /// The key's identifier.
    pub fn thumbprint(&self) -> &Thumbprint {
        &self.thumbprint
    }

    /// The key's 32 bytes.
    pub fn bytes(&self) -> &[u8; 32] {
        self.point.as_bytes()
    }

    /// Whether `signature` is this key's over `message`: strict verification,
    /// so that no signature has a second form (RFC 8032 section 5.1.7, and
    /// neither R nor the key of small order).
    ///
    /// The library's own strict verification decodes R for this, an eighth of its
    /// time. But R is compared as bytes with what it has to be, so that only its
    /// one canonical encoding passes; and of a point of small order that is known.
    pub fn verify(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        // The key isn't of small order: `from_bytes`.
        !is_of_small_order(signature) && self.point.verify(message, &Signature::from_bytes(signature)).is_ok()
    }
}

/// The y of each of the eight points whose order divides 8, as it is encoded
/// (RFC 8032 section 5.1.2); the last bit is x's sign, and not set here.
const SMALL_ORDER: [[u8; 32]; 5] = [
    *b"\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
    *b"\xec\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\
       \xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
    [0; 32],
    *b"\x26\xe8\x95\x8f\xc2\xb2\x27\xb0\x45\xc3\xf4\x89\xf2\xef\x98\xf0\
       \xd5\xdf\xac\x05\xd3\xc6\x33\x39\xb1\x38\x02\x88\x6d\x53\xfc\x05",
    *b"\xc7\x17\x6a\x70\x3d\x4d\xd8\x4f\xba\x3c\x0b\x76\x0d\x10\x67\x0f\
       \x2a\x20\x53\xfa\x2c\x39\xcc\xc6\x4e\xc7\xfd\x77\x92\xac\x03\x7a",
];

/// Whether R, the first half of a signature, is a point of small order in its
/// canonical encoding.
fn is_of_small_order(signature: &[u8; 64]) -> bool {
    let mut y: [u8; 32] = std::array::from_fn(|at| signature[at]);
    y[31] &= 0x7F;
    SMALL_ORDER.contains(&y)
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &PublicKey) -> bool {
        self.bytes() == other.bytes()
    }
}

impl Eq for PublicKey {}

impl std::hash::Hash for PublicKey {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.bytes().hash(state);
    }
}

/// Prints the thumbprint.
impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PublicKey").field(&self.thumbprint).finish()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::keys::{PrivateKey, decode_base64url_exactly};
    use proptest::prelude::*;

    /// RFC 8037 appendix A.1.
    pub const RFC8037_D: &str = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A";
    pub const RFC8037_X: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";

    pub fn rfc8037() -> PrivateKey {
        PrivateKey::from_seed(&decode_base64url_exactly(RFC8037_D).unwrap())
    }

    #[test]
    fn the_thumbprint_is_that_of_rfc_8037_appendix_a_3() {
        let key = PublicKey::from_bytes(&decode_base64url_exactly(RFC8037_X).unwrap()).unwrap();
        assert_eq!(key.thumbprint().as_str(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
        assert_eq!(key, *rfc8037().public());
        assert_eq!(format!("{key:?}"), r#"PublicKey("kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k")"#);
    }

    #[test]
    fn the_signature_is_that_of_rfc_8037_appendix_a_4() {
        let input = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
        let signature = decode_base64url_exactly(
            "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg",
        )
        .unwrap();
        assert_eq!(rfc8037().sign(input.as_bytes()), signature);
        assert!(rfc8037().public().verify(input.as_bytes(), &signature));
        assert!(!rfc8037().public().verify(&input.as_bytes()[1..], &signature));
    }

    #[test]
    fn points_of_small_order_and_second_spellings_are_refused() {
        let mut one = [0; 32];
        one[0] = 1;
        let mut minus_one = [0xFF; 32];
        minus_one[0] = 0xEC;
        minus_one[31] = 0x7F;
        // y = 2^255 - 18 is another spelling of y = 1.
        let mut one_again = minus_one;
        one_again[0] = 0xEE;
        // y = p + 3: a second spelling of a point that isn't of small order.
        let mut three = [0; 32];
        three[0] = 3;
        let mut three_again = minus_one;
        three_again[0] = 0xF0;
        assert!(PublicKey::from_bytes(&three).is_ok());
        for bad in [one, minus_one, one_again, three_again, [0; 32]] {
            assert!(matches!(PublicKey::from_bytes(&bad), Err(KeyFault::NotAPublicKey)), "{bad:?}");
        }
    }

    /// R is the neutral element, and S fits it: plain RFC 8032 verification
    /// accepts this, and its holder could give one message many signatures.
    #[test]
    fn a_signature_with_a_point_of_small_order_is_refused() {
        let mut signature = [0; 64];
        signature[0] = 1;
        let s = "3c40e760cc147683636d47b8ec9d9da496a2bc2d693e98a454fb93162dc6c40b";
        for (at, byte) in signature[32..].iter_mut().enumerate() {
            *byte = u8::from_str_radix(&s[at * 2..at * 2 + 2], 16).unwrap();
        }
        let key = rfc8037();
        let plain = ed25519_dalek::Verifier::verify(
            &key.public().point,
            b"small order",
            &Signature::from_bytes(&signature),
        );
        assert!(plain.is_ok());
        assert!(!key.public().verify(b"small order", &signature));
    }

    /// Of points of order 1, 2, 4 and 8 there are 1, 1, 2 and 4.
    #[test]
    fn the_points_of_small_order_are_all_known() {
        let mut known = std::collections::BTreeSet::new();
        for y in SMALL_ORDER {
            for sign in [0, 0x80] {
                let mut bytes = y;
                bytes[31] |= sign;
                let Ok(point) = VerifyingKey::from_bytes(&bytes) else { continue };
                assert!(point.is_weak());
                known.insert(point.to_edwards().compress().to_bytes());
            }
        }
        assert_eq!(known.len(), 8);
        for r in known {
            let mut signature = [7; 64];
            signature[..32].copy_from_slice(&r);
            assert!(is_of_small_order(&signature), "{r:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        #[test]
        fn what_is_accepted_is_what_the_library_accepts_strictly(
            message in any::<Vec<u8>>(), at in 0usize..96, bit in 0u8..8, spoil in any::<bool>(),
        ) {
            let key = rfc8037();
            let mut signature = key.sign(&message);
            if let (true, Some(byte)) = (spoil, signature.get_mut(at)) {
                *byte ^= 1 << bit;
            }
            let strict = key.public().point.verify_strict(&message, &Signature::from_bytes(&signature));
            prop_assert_eq!(key.public().verify(&message, &signature), strict.is_ok());
            prop_assert_eq!(strict.is_ok(), !spoil || at >= 64);
        }
    }

    /// S and S plus the order of the group are the same scalar.
    #[test]
    fn a_second_spelling_of_a_signature_is_refused() {
        const ORDER: [u8; 32] = [
            0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
            0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
        ];
        let key = rfc8037();
        let mut signature = key.sign(b"message");
        assert!(key.public().verify(b"message", &signature));
        let mut carry = 0;
        for (byte, order) in signature[32..].iter_mut().zip(ORDER) {
            let sum = u16::from(*byte) + u16::from(order) + carry;
            (*byte, carry) = (sum as u8, sum >> 8);
        }
        assert_eq!(carry, 0);
        assert!(!key.public().verify(b"message", &signature));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn any_flipped_bit_fails(message in prop::collection::vec(any::<u8>(), 1..200), bit in any::<prop::sample::Index>()) {
            let key = rfc8037();
            let signature = key.sign(&message);
            prop_assert!(key.public().verify(&message, &signature));
            let bit = bit.index((64 + message.len()) * 8);
            let (mut message, mut signature) = (message, signature);
            match bit / 8 {
                at if at < 64 => signature[at] ^= 1 << (bit % 8),
                at => message[at - 64] ^= 1 << (bit % 8),
            }
            prop_assert!(!key.public().verify(&message, &signature));
        }

        #[test]
        fn no_bytes_make_a_public_key_panic(bytes in any::<[u8; 32]>()) {
            let _ = PublicKey::from_bytes(&bytes);
        }
    }
}
