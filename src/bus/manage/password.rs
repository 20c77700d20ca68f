//! How RabbitMQ keeps a password (`rabbit_password_hashing_sha256`): base64 of
//! 4 bytes of salt and of SHA-256 over the salt and the password.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

/// The name of the algorithm, as the broker has it.
pub(super) const ALGORITHM: &str = "rabbit_password_hashing_sha256";

/// The hash of `password` under a new salt, as the management API and
/// definitions files take it. Fails where the system gives no random bytes.
pub fn password_hash(password: &str) -> Result<String, getrandom::Error> {
    let mut salt = [0; 4];
    getrandom::fill(&mut salt)?;
    Ok(hash(salt, password))
}

/// Whether `hash` is one of `password`.
pub fn is_hash_of(hash: &str, password: &str) -> bool {
    salt(hash).is_some_and(|salt| self::hash(salt, password) == hash)
}

/// Whether `text` has the form of a hash: 36 bytes in base64.
pub fn is_password_hash(text: &str) -> bool {
    salt(text).is_some()
}

fn salt(hash: &str) -> Option<[u8; 4]> {
    let bytes = <[u8; 36]>::try_from(STANDARD.decode(hash).ok()?).ok()?;
    bytes.first_chunk().copied()
}

fn hash(salt: [u8; 4], password: &str) -> String {
    let digest = Sha256::new().chain_update(salt).chain_update(password).finalize();
    STANDARD.encode([&salt[..], &digest[..]].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of <https://www.rabbitmq.com/docs/passwords>.
    #[test]
    fn a_hash_is_that_of_rabbitmqs_own_example() {
        let salt = 0x908D_C60A_u32.to_be_bytes();
        assert_eq!(hash(salt, "test12"), "kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR");
    }

    #[test]
    fn a_hash_is_found_to_be_that_of_its_password_only() {
        let one = password_hash("kagou").unwrap();
        assert!(is_password_hash(&one) && is_hash_of(&one, "kagou"));
        assert!(!is_hash_of(&one, "Kagou"));
        assert_ne!(one, password_hash("kagou").unwrap(), "both have the same salt");
        for text in ["", "kagou", "kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2PO", &format!("{one}AAAA")] {
            assert!(!is_password_hash(text), "{text}");
        }
    }
}
