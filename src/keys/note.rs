//! C2SP signed notes (<https://c2sp.org/signed-note>) with Ed25519 signatures
//! (type 0x01): a text that people can read, an empty line, and a line for
//! each signature.

use super::{NoteFault, PrivateKey, PublicKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};
use std::fmt;

/// The longest note that is read, in bytes.
pub const MAX_NOTE_BYTES: usize = 1024 * 1024;

/// The most signatures that a note may carry.
pub const MAX_SIGNATURES: usize = 100;

/// The signature type of plain Ed25519.
const ED25519: u8 = 0x01;

/// One Ed25519 signature of a note.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoteSignature {
    /// Who is said to have signed.
    pub name: String,
    /// Which of its keys: the first 4 bytes of
    /// `SHA-256(name || 0x0A || 0x01 || public key)`.
    pub key_id: [u8; 4],
    /// The signature over the text.
    pub signature: [u8; 64],
}

/// A note, read but not verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedNote {
    /// What was signed. It ends in a newline.
    pub text: String,
    /// The signatures that have the length of an Ed25519 signature, in order.
    pub signatures: Vec<NoteSignature>,
    /// The lines of signatures of other lengths (a witness's cosignature for
    /// instance), without their newline: kept, never verified.
    pub others: Vec<String>,
}

impl SignedNote {
    /// A note without signatures yet.
    ///
    /// Fails where `text` doesn't end in a newline, holds a control character
    /// other than a newline, or is over [`MAX_NOTE_BYTES`].
    pub fn unsigned(text: &str) -> Result<SignedNote, NoteFault> {
        check_characters(text)?;
        if !text.ends_with('\n') {
            return Err(NoteFault::NoFinalNewline);
        }
        Ok(SignedNote { text: text.to_owned(), signatures: Vec::new(), others: Vec::new() })
    }

    /// Reads a note: the text up to the last empty line, then one line for each
    /// signature, at least one.
    pub fn parse(note: &str) -> Result<SignedNote, NoteFault> {
        check_characters(note)?;
        let split = note.rfind("\n\n").ok_or(NoteFault::NoSignatures)?;
        let lines = note[split + 2..].strip_suffix('\n').ok_or(NoteFault::NoSignatures)?;
        if !lines.starts_with('—') {
            // An empty line of the text, most likely: nobody signed it yet.
            return Err(NoteFault::NoSignatures);
        }
        let mut read = SignedNote::unsigned(&note[..=split])?;
        for (at, line) in lines.split('\n').enumerate() {
            if at == MAX_SIGNATURES {
                return Err(NoteFault::TooManySignatures);
            }
            let form = NoteFault::SignatureForm { position: at + 1 };
            let (name, encoded) = line.strip_prefix("— ").and_then(|l| l.split_once(' ')).ok_or(form)?;
            let bytes = STANDARD.decode(encoded).map_err(|_| form)?;
            if !is_name(name) || bytes.len() < 5 {
                return Err(form);
            }
            match <[u8; 68]>::try_from(bytes) {
                Ok(bytes) => {
                    let (mut key_id, mut signature) = ([0; 4], [0; 64]);
                    key_id.copy_from_slice(&bytes[..4]);
                    signature.copy_from_slice(&bytes[4..]);
                    read.signatures.push(NoteSignature { name: name.to_owned(), key_id, signature });
                }
                Err(_) => read.others.push(line.to_owned()),
            }
        }
        Ok(read)
    }

    /// The note as text, which [`SignedNote::parse`] reads.
    pub fn render(&self) -> String {
        let mut note = format!("{}\n", self.text);
        for signature in &self.signatures {
            note.push_str(&format!("{signature}\n"));
        }
        for line in &self.others {
            note.push_str(line);
            note.push('\n');
        }
        note
    }

    /// Whether `key`, known under `name`, signed the text: there is a signature
    /// of that name and key id, and every such signature is good.
    pub fn verified_by(&self, name: &str, key: &PublicKey) -> bool {
        self.check(name, key) == Some(true)
    }

    /// As [`SignedNote::verified_by`]: `None` where there is no signature of
    /// that name and key id, `Some(false)` where there is one that isn't good
    /// (the note should be refused then, says C2SP).
    pub fn check(&self, name: &str, key: &PublicKey) -> Option<bool> {
        let key_id = key_id(name, key);
        let mut good = None;
        for signature in self.signatures.iter().filter(|s| s.name == name && s.key_id == key_id) {
            good = Some(good != Some(false) && key.verify(self.text.as_bytes(), &signature.signature));
        }
        good
    }
}

/// The line of the note: `— NAME BASE64(key id || signature)`.
impl fmt::Display for NoteSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = [self.key_id.as_slice(), &self.signature].concat();
        write!(f, "— {} {}", self.name, STANDARD.encode(bytes))
    }
}

/// The signature of `key`, known under `name`, over `text` (which ends in a
/// newline: see [`SignedNote::unsigned`]).
pub fn sign(text: &str, name: &str, key: &PrivateKey) -> NoteSignature {
    NoteSignature {
        name: name.to_owned(),
        key_id: key_id(name, key.public()),
        signature: key.sign(text.as_bytes()),
    }
}

/// The key id of `key`, known under `name`: the first 4 bytes of
/// `SHA-256(name || 0x0A || 0x01 || public key)`.
pub fn key_id(name: &str, key: &PublicKey) -> [u8; 4] {
    let mut hash = Sha256::new();
    hash.update(name);
    hash.update([b'\n', ED25519]);
    hash.update(key.bytes());
    let hash: [u8; 32] = hash.finalize().into();
    [hash[0], hash[1], hash[2], hash[3]]
}

/// The verifier key: `NAME+HEX8(key id)+BASE64(0x01 || public key)`, as Go's
/// `sumdb/note` and other verifiers take it.
pub fn verifier_key(name: &str, key: &PublicKey) -> String {
    let id = u32::from_be_bytes(key_id(name, key));
    let bytes = [&[ED25519], key.bytes().as_slice()].concat();
    format!("{name}+{id:08x}+{}", STANDARD.encode(bytes))
}

/// Reads a verifier key. Returns the name and the key; fails where it isn't one
/// of an Ed25519 key, or its key id isn't that of the name and the key.
pub fn parse_verifier_key(text: &str) -> Result<(String, PublicKey), NoteFault> {
    // The base64 may hold a plus, the name and the id can't.
    let mut parts = text.splitn(3, '+');
    let mut part = || parts.next().ok_or(NoteFault::VerifierKey);
    let (name, _, encoded) = (part()?, part()?, part()?);
    let bytes = STANDARD.decode(encoded).map_err(|_| NoteFault::VerifierKey)?;
    let key = match bytes.split_first() {
        Some((&ED25519, key)) => key.try_into().map_err(|_| NoteFault::VerifierKey)?,
        _ => return Err(NoteFault::VerifierKey),
    };
    let key = PublicKey::from_bytes(key).map_err(|_| NoteFault::VerifierKey)?;
    if !is_name(name) || verifier_key(name, &key) != text {
        return Err(NoteFault::VerifierKey);
    }
    Ok((name.to_owned(), key))
}

/// Whether `name` can stand in a note: not empty, no Unicode space, no plus.
pub fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.chars().any(|c| c.is_whitespace() || c == '+' || c < ' ')
}

fn check_characters(text: &str) -> Result<(), NoteFault> {
    if text.len() > MAX_NOTE_BYTES {
        return Err(NoteFault::TooLarge);
    }
    match text.bytes().position(|b| b < b' ' && b != b'\n') {
        None => Ok(()),
        Some(at) => {
            let line = text.as_bytes()[..at].iter().filter(|b| **b == b'\n').count() + 1;
            Err(NoteFault::ControlCharacter { line })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::public::tests::rfc8037;
    use proptest::prelude::*;

    // The example of Go's golang.org/x/mod/sumdb/note.
    const TEXT: &str = "If you think cryptography is the answer to your problem,\n\
                        then you don't know what your problem is.\n";
    const SIGNATURE: &str = "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=";
    const SEED: &str = "AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz";
    const VERIFIER: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";

    fn peter() -> PrivateKey {
        let bytes = STANDARD.decode(SEED).unwrap();
        PrivateKey::from_seed(bytes[1..].try_into().unwrap())
    }

    #[test]
    fn the_verifier_key_is_that_of_go_s_example() {
        let (name, key) = parse_verifier_key(VERIFIER).unwrap();
        assert_eq!(name, "PeterNeumann");
        assert_eq!(key, *peter().public());
        assert_eq!(verifier_key("PeterNeumann", &key), VERIFIER);
        assert_eq!(key_id("PeterNeumann", &key), [0xc7, 0x4f, 0x20, 0xa3]);
    }

    #[test]
    fn the_signature_is_that_of_go_s_example() {
        let note = SignedNote::parse(&format!("{TEXT}\n{SIGNATURE}\n")).unwrap();
        assert_eq!(note.text, TEXT);
        assert_eq!(note.signatures, [sign(TEXT, "PeterNeumann", &peter())]);
        assert_eq!(note.signatures[0].to_string(), SIGNATURE);
        assert!(note.verified_by("PeterNeumann", peter().public()));
        assert!(!note.verified_by("Peter", peter().public()));
        assert!(!note.verified_by("PeterNeumann", rfc8037().public()));
    }

    /// The example of <https://c2sp.org/signed-note>: its key isn't given.
    #[test]
    fn a_text_with_empty_lines_ends_at_the_last_one() {
        let example = "Ognuno sta solo sul cuor della terra\ntrafitto da un raggio di sole:\n\ned è subito sera.\n\n\
                       — quasimodo.example/salvatore NnugSzTjtVAewIS+Z/iJhUPeFDkO/5QQ2i5ddnGITLlC+EhfLW9oJKONrMouFSQU0xMcXxj99ihAQwaqP3ZekRwNtIc=\n";
        let note = SignedNote::parse(example).unwrap();
        assert!(note.text.ends_with("\n\ned è subito sera.\n"));
        assert_eq!(note.signatures[0].name, "quasimodo.example/salvatore");
        assert_eq!(note.signatures[0].key_id, [0x36, 0x7b, 0xa0, 0x4b]);
        assert_eq!(note.render(), example);
    }

    #[test]
    fn one_bad_signature_of_a_known_key_spoils_its_good_one() {
        let mut note = SignedNote::unsigned(TEXT).unwrap();
        assert_eq!(note.check("PeterNeumann", peter().public()), None);
        note.signatures.push(sign(TEXT, "PeterNeumann", &peter()));
        note.signatures.push(sign(TEXT, "other", &rfc8037()));
        assert_eq!(note.check("PeterNeumann", peter().public()), Some(true));
        assert_eq!(note.check("other", rfc8037().public()), Some(true));
        for at in [0, 3] {
            let mut note = note.clone();
            note.signatures.insert(at.min(2), sign("another text\n", "PeterNeumann", &peter()));
            assert_eq!(note.check("PeterNeumann", peter().public()), Some(false));
            assert_eq!(note.check("other", rfc8037().public()), Some(true));
        }
    }

    #[test]
    fn signatures_of_other_lengths_are_kept_and_not_verified() {
        let witness = format!("— witness.example {}", STANDARD.encode([4; 76]));
        let text = format!("{TEXT}\n{SIGNATURE}\n{witness}\n");
        let note = SignedNote::parse(&text).unwrap();
        assert_eq!(note.others, [witness]);
        assert_eq!(note.signatures.len(), 1);
        assert_eq!(note.render(), text);
    }

    #[test]
    fn each_malformed_note_is_refused_for_its_own_reason() {
        use NoteFault::*;
        let form = SignatureForm { position: 1 };
        for (note, fault) in [
            (String::new(), NoSignatures),
            (TEXT.to_owned(), NoSignatures),
            (format!("{TEXT}\n"), NoSignatures),
            (format!("{TEXT}{SIGNATURE}\n"), NoSignatures),
            (format!("{TEXT}\n{SIGNATURE}"), NoSignatures),
            (format!("a\tb\n\n{SIGNATURE}\n"), ControlCharacter { line: 1 }),
            (format!("a\nb\r\n\n{SIGNATURE}\n"), ControlCharacter { line: 2 }),
            (format!("{TEXT}\n- {}\n", &SIGNATURE[4..]), NoSignatures),
            (format!("{TEXT}\n— {}\n", &SIGNATURE[17..]), form),
            (format!("{TEXT}\n{}\n", SIGNATURE.replace(' ', "\u{a0}")), form),
            (format!("{TEXT}\n{}\n", SIGNATURE.replace("Peter", "Pe+er")), form),
            (format!("{TEXT}\n{}\n", SIGNATURE.replace('=', "")), form),
            (format!("{TEXT}\n{}\n", SIGNATURE.replace("AM=", "AN=")), form),
            (format!("{TEXT}\n{SIGNATURE} \n"), form),
            (format!("{TEXT}\n— n AAAAAA==\n"), form),
            (format!("{TEXT}\n{SIGNATURE}\nx\n"), SignatureForm { position: 2 }),
            (format!("{TEXT}\n{}", format!("{SIGNATURE}\n").repeat(101)), TooManySignatures),
            ("x".repeat(MAX_NOTE_BYTES + 1), TooLarge),
        ] {
            assert_eq!(SignedNote::parse(&note), Err(fault), "{note:.300}");
        }
        assert_eq!(SignedNote::unsigned("no newline"), Err(NoFinalNewline));
        let hundred = format!("{TEXT}\n{}", format!("{SIGNATURE}\n").repeat(100));
        assert_eq!(SignedNote::parse(&hundred).unwrap().signatures.len(), 100);
    }

    #[test]
    fn each_malformed_verifier_key_is_refused() {
        for text in [
            "",
            "PeterNeumann",
            "PeterNeumann+c74f20a3",
            "+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
            "PeterNeumann+c74f20a4+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
            "PeterNeumann+C74F20A3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
            "Peter+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
            "PeterNeumann+c74f20a3+Ahpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
            "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10T",
            "PeterNeumann+c74f20a3+",
        ] {
            assert_eq!(parse_verifier_key(text), Err(NoteFault::VerifierKey), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_signed_text_reads_back_and_holds(lines in prop::collection::vec("[^\\x00-\\x1f]{0,20}", 0..6), names in prop::collection::vec("[a-z]{1,9}", 1..4)) {
            let text = format!("{}\n", lines.join("\n"));
            let mut note = SignedNote::unsigned(&text).unwrap();
            note.signatures = names.iter().map(|name| sign(&text, name, &peter())).collect();
            let read = SignedNote::parse(&note.render()).unwrap();
            prop_assert_eq!(&read, &note);
            prop_assert!(names.iter().all(|name| read.verified_by(name, peter().public())));
        }

        #[test]
        fn any_flipped_bit_fails(bit in any::<prop::sample::Index>()) {
            let mut bytes = format!("{TEXT}\n{SIGNATURE}\n").into_bytes();
            let bit = bit.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            let Ok(note) = String::from_utf8(bytes) else { return Ok(()) };
            prop_assert!(!SignedNote::parse(&note).is_ok_and(|n| n.verified_by("PeterNeumann", peter().public())));
        }

        #[test]
        fn no_text_makes_the_parsers_panic(text in any::<String>(), line in any::<String>()) {
            let _ = SignedNote::parse(&text);
            let _ = SignedNote::parse(&format!("{TEXT}\n— {line}\n"));
            let _ = parse_verifier_key(&text);
            let _ = parse_verifier_key(&format!("x+{line}+{text}"));
        }
    }
}
