//! Self-contained proofs that an entry is in the journal: C2SP tlog-proof
//! (<https://c2sp.org/tlog-proof>).
//!
//! The `extra` line is base64 of a JSON object, [`Extra`], which holds what the
//! specification leaves to the application: the entry's bytes, of which the leaf
//! hash is made, and what leads from a message to the name that the entry gives
//! it. Nothing in it is trusted: the entry has to be in the tree, and the salt
//! and the message have to give the name that stands in the entry.

use super::checkpoint::{CheckpointFault, LogKey, SignedCheckpoint, decimal, decode_hash};
use super::verify::{ProofFault, verify_inclusion};
use super::{Entry, EntryFault, Hash, Name, fingerprint, leaf_hash};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

/// The first line.
const HEADER: &str = "c2sp.org/tlog-proof@v1";

/// No proof is longer, in bytes: an entry, a signature and a note of many
/// cosignatures have room.
pub const MAX_PROOF_BYTES: usize = 1024 * 1024;

/// A proof doesn't prove anything.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofFileFault {
    /// It isn't of the form.
    #[error("this isn't a proof: {0}")]
    Form(&'static str),
    /// The checkpoint in it is no good.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointFault),
    /// The entry isn't in the tree.
    #[error(transparent)]
    Inclusion(#[from] ProofFault),
    /// The entry isn't one that this program knows.
    #[error("{0}, or it is of a version that this program doesn't know: use a newer one")]
    Entry(#[from] EntryFault),
    /// The salt and the fingerprint in the proof don't give the name in the entry.
    #[error(
        "the salt and the fingerprint in the proof don't give the name in the entry: the proof was changed"
    )]
    Name,
    /// The message isn't the one that the entry names.
    #[error(
        "the entry doesn't name this message: its signature or its body differs from what was journalled"
    )]
    OtherMessage,
    /// There is nothing to compare a message with.
    #[error("the proof has no salt, so no message can be compared with it")]
    NoSalt,
}

/// What the `extra` line holds: JSON with these members.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Extra {
    /// The entry's bytes, base64: the leaf is `SHA-256(0x00 || entry)`.
    #[serde(with = "base64_bytes")]
    pub entry: Vec<u8>,
    /// The salt, 32 bytes in base64: the entry's name is `HMAC-SHA-256(salt,
    /// fingerprint)`. None for entries that name no message.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "base64_hash")]
    pub salt: Option<[u8; 32]>,
    /// `SHA-256(signature || 0x00 || body)`, 32 bytes in base64.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "base64_hash")]
    pub fingerprint: Option<[u8; 32]>,
    /// For a delivery, the salt of the name that the entry gives its event: that
    /// name is `HMAC-SHA-256(event_salt, event_fingerprint)`.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "base64_hash")]
    pub event_salt: Option<[u8; 32]>,
    /// `SHA-256(signature || 0x00 || body)` of that event as it was published. Two
    /// recipients with proofs of their deliveries see by it that they got the same
    /// event.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "base64_hash")]
    pub event_fingerprint: Option<[u8; 32]>,
    /// The message's signature: the value of its header `cloudEvents_signature`.
    /// It names the event's subject, so that a proof with it is to be kept as the
    /// message is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
}

mod base64_bytes {
    use super::*;
    use serde::{Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(bytes: &[u8], out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(&STANDARD.encode(bytes))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        STANDARD.decode(String::deserialize(from)?).map_err(|_| D::Error::custom("not base64"))
    }
}

mod base64_hash {
    use super::*;
    use serde::{Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(hash: &Option<[u8; 32]>, out: S) -> Result<S::Ok, S::Error> {
        hash.map(|hash| STANDARD.encode(hash)).serialize(out)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<[u8; 32]>, D::Error> {
        let text = Option::<String>::deserialize(from)?;
        let wrong = || D::Error::custom("not 32 bytes in base64");
        text.map(|text| decode_hash(&text).ok_or_else(wrong)).transpose()
    }
}

/// A proof, read and not verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// What the application needs beside.
    pub extra: Extra,
    /// Which entry, from 0.
    pub index: u64,
    /// The inclusion proof, from the leaf's sibling up.
    pub hashes: Vec<Hash>,
    /// The signed checkpoint, as the log published it.
    pub checkpoint: String,
}

/// What a proof proves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proven {
    /// The entry.
    pub entry: Entry,
    /// Which one, from 0.
    pub index: u64,
    /// The checkpoint that it is under.
    pub checkpoint: SignedCheckpoint,
    salt: Option<[u8; 32]>,
    signature: Option<String>,
    event: Option<[u8; 32]>,
}

impl Proof {
    /// Reads a proof, in its one right form.
    pub fn parse(text: &str) -> Result<Proof, ProofFileFault> {
        use ProofFileFault::Form;
        if text.len() > MAX_PROOF_BYTES {
            return Err(Form("it is over a mebibyte"));
        }
        let rest = text.strip_prefix(HEADER).and_then(|rest| rest.strip_prefix('\n'));
        let rest = rest.ok_or(Form("it doesn't begin with the line c2sp.org/tlog-proof@v1"))?;
        let (head, checkpoint) =
            rest.split_once("\n\n").ok_or(Form("no empty line stands before the checkpoint"))?;
        let mut lines = head.split('\n');
        let extra = lines.next().and_then(|line| line.strip_prefix("extra "));
        let extra = extra.ok_or(Form("its second line isn't `extra`, which holds the entry"))?;
        let extra = STANDARD.decode(extra).map_err(|_| Form("its line `extra` isn't base64"))?;
        let extra =
            serde_json::from_slice(&extra).map_err(|_| Form("its line `extra` doesn't hold an entry"))?;
        let index = lines.next().and_then(|line| line.strip_prefix("index ")).and_then(decimal);
        let index = index.ok_or(Form("its line `index` isn't a plain decimal number"))?;
        let hashes = lines.map(decode_hash).collect::<Option<Vec<_>>>();
        let hashes = hashes.ok_or(Form("a line of the inclusion proof isn't 32 bytes in base64"))?;
        Ok(Proof { extra, index, hashes, checkpoint: checkpoint.to_owned() })
    }

    /// The proof as text, which [`Proof::parse`] reads.
    pub fn render(&self) -> String {
        // Texts and byte strings: it always serializes.
        let extra = serde_json::to_vec(&self.extra).unwrap_or_default();
        let mut text = format!("{HEADER}\nextra {}\nindex {}\n", STANDARD.encode(extra), self.index);
        for hash in &self.hashes {
            text.push_str(&STANDARD.encode(hash));
            text.push('\n');
        }
        text.push('\n');
        text.push_str(&self.checkpoint);
        text
    }

    /// Verifies the proof under the log's key: the checkpoint is signed, the
    /// entry is in its tree, and salt and fingerprint, where both are there, give
    /// the name that stands in the entry.
    pub fn verify(&self, key: &LogKey) -> Result<Proven, ProofFileFault> {
        let checkpoint = SignedCheckpoint::open(&self.checkpoint, key)?;
        let leaf = leaf_hash(&self.extra.entry);
        verify_inclusion(&leaf, self.index, &checkpoint.head(), &self.hashes)?;
        let entry = Entry::decode(&self.extra.entry)?;
        let Extra { salt, fingerprint, signature, event_salt, event_fingerprint, .. } = self.extra.clone();
        if let (Some(salt), Some(fingerprint)) = (&event_salt, &event_fingerprint)
            && event_of(&entry) != Some(&message_name(salt, fingerprint))
        {
            return Err(ProofFileFault::Name);
        }
        if let (Some(salt), Some(fingerprint)) = (&salt, &fingerprint)
            && named(&entry) != Some(&message_name(salt, fingerprint))
        {
            return Err(ProofFileFault::Name);
        }
        // A salt alone would say nothing.
        let event = event_salt.and(event_fingerprint);
        Ok(Proven { entry, index: self.index, checkpoint, salt, signature, event })
    }
}

impl Proven {
    /// Checks that the message with this signature and body is the one that the
    /// entry names. Without a signature, the proof's is taken.
    pub fn check_message(&self, signature: Option<&str>, body: &[u8]) -> Result<(), ProofFileFault> {
        let salt = self.salt.as_ref().ok_or(ProofFileFault::NoSalt)?;
        let signature = signature.or(self.signature.as_deref()).unwrap_or_default();
        match named(&self.entry) == Some(&message_name(salt, &fingerprint(signature, body))) {
            true => Ok(()),
            false => Err(ProofFileFault::OtherMessage),
        }
    }

    /// `SHA-256(signature || 0x00 || body)` of the event that a delivery carries,
    /// as it was published, where the proof holds what leads to it.
    pub fn event_fingerprint(&self) -> Option<&[u8; 32]> {
        self.event.as_ref()
    }

    /// Whether a message can be compared with the proof.
    pub fn names_a_message(&self) -> bool {
        self.salt.is_some()
    }
}

/// How the journal names a message: `HMAC-SHA-256(salt, fingerprint)` (WIRE.md
/// section 6).
pub fn message_name(salt: &[u8; 32], fingerprint: &[u8; 32]) -> Name {
    // HMAC takes keys of every length (RFC 2104 section 3).
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(salt) else { return [0; 32] };
    mac.update(fingerprint);
    mac.finalize().into_bytes().into()
}

/// The message that an entry names.
fn named(entry: &Entry) -> Option<&Name> {
    match entry {
        Entry::Event { name, .. } | Entry::Delivered { name, .. } => Some(name),
        Entry::Withheld { .. } | Entry::Key { .. } | Entry::Agreement { .. } => None,
    }
}

/// The event of a delivery, as its entry names it.
fn event_of(entry: &Entry) -> Option<&Name> {
    match entry {
        Entry::Delivered { event, .. } => Some(event),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::checkpoint::Checkpoint;
    use crate::journal::tile::{TileBuilder, Tree, tests::Files};
    use crate::keys::PrivateKey;
    use proptest::prelude::*;

    const SALT: [u8; 32] = [3; 32];
    const SIGNATURE: &str = "aa..bb";
    const BODY: &[u8] = b"body";

    fn delivered(sequence: u64) -> Entry {
        Entry::Delivered {
            at: 1_793_675_112_345,
            name: message_name(&SALT, &fingerprint(SIGNATURE, BODY)),
            event: message_name(&[4; 32], &[5; 32]),
            recipient: "gouvernement".into(),
            epoch: 1,
            sequence,
            agreement: "emploi-gouvernement:1".into(),
        }
    }

    fn log() -> (PrivateKey, LogKey) {
        let key = PrivateKey::from_seed(&[7; 32]);
        let public = LogKey { name: "nc".into(), key: key.public().clone() };
        (key, public)
    }

    fn proof() -> Proof {
        let mut builder = TileBuilder::new();
        (0..300).for_each(|n| builder.push(&delivered(n).encode()).unwrap());
        let files = Files::default();
        files.write(builder.full());
        files.write(builder.partial());
        let extra = Extra {
            entry: delivered(256).encode(),
            salt: Some(SALT),
            fingerprint: Some(fingerprint(SIGNATURE, BODY)),
            event_salt: Some([4; 32]),
            event_fingerprint: Some([5; 32]),
            signature: Some(SIGNATURE.into()),
        };
        let hashes = Tree::new(&files, 300).inclusion(256, 300).unwrap();
        let checkpoint = Checkpoint::new("nc", builder.head()).sign(&log().0).unwrap().render();
        Proof { extra, index: 256, hashes, checkpoint }
    }

    #[test]
    fn a_proof_reads_back_and_proves_its_entry_and_its_message() {
        let text = proof().render();
        let read = Proof::parse(&text).unwrap();
        assert_eq!(read, proof());
        let proven = read.verify(&log().1).unwrap();
        assert_eq!((&proven.entry, proven.index, proven.checkpoint.head().size), (&delivered(256), 256, 300));
        assert_eq!(proven.check_message(Some(SIGNATURE), BODY), Ok(()));
        assert_eq!(proven.check_message(None, BODY), Ok(()));
        assert_eq!(proven.event_fingerprint(), Some(&[5; 32]));
        for (signature, body) in [(Some("aa..bc"), BODY), (None, b"b0dy"), (Some("aa..bb\0"), BODY)] {
            assert_eq!(proven.check_message(signature, body), Err(ProofFileFault::OtherMessage));
        }
    }

    #[test]
    fn what_a_proof_lacks_is_said() {
        let without = |change: fn(&mut Extra)| {
            let mut proof = proof();
            change(&mut proof.extra);
            proof.verify(&log().1)
        };
        let proven = without(|extra| extra.salt = None).unwrap();
        assert!(!proven.names_a_message());
        assert_eq!(proven.check_message(Some(SIGNATURE), BODY), Err(ProofFileFault::NoSalt));
        let proven = without(|extra| extra.fingerprint = None).unwrap();
        assert_eq!(proven.check_message(Some(SIGNATURE), BODY), Ok(()));
        assert_eq!(without(|extra| extra.salt = Some([4; 32])), Err(ProofFileFault::Name));
        assert_eq!(without(|extra| extra.event_salt = Some([3; 32])), Err(ProofFileFault::Name));
        assert_eq!(without(|extra| extra.event_fingerprint = Some([3; 32])), Err(ProofFileFault::Name));
        let proven = without(|extra| extra.event_salt = None).unwrap();
        assert_eq!(proven.event_fingerprint(), None);
        assert_eq!(without(|extra| extra.fingerprint = Some([4; 32])), Err(ProofFileFault::Name));
        let moved = Proof { index: 257, ..proof() };
        assert_eq!(moved.verify(&log().1), Err(ProofFault::Root.into()));
        let other = LogKey { name: "other".into(), ..log().1 };
        assert!(matches!(proof().verify(&other), Err(ProofFileFault::Checkpoint(_))));
    }

    #[test]
    fn texts_that_are_not_a_proof_are_refused() {
        let text = proof().render();
        for (from, to) in [
            ("@v1", "@v2"),
            ("extra ", "Extra "),
            ("extra ", "extra  "),
            ("index 256", "index 0256"),
            ("index 256", "index +256"),
            ("index 256\n", ""),
            ("\n\n", "\n"),
            ("=\n\n", "\n\n"),
        ] {
            let changed = text.replacen(from, to, 1);
            assert_ne!(changed, text);
            assert!(Proof::parse(&changed).is_err(), "{from}");
        }
        assert!(Proof::parse(&format!("{text}{}", "x".repeat(MAX_PROOF_BYTES))).is_err());
    }

    proptest! {
        #[test]
        fn no_changed_byte_goes_unseen(at in any::<prop::sample::Index>(), bit in 0u8..8) {
            let mut bytes = proof().render().into_bytes();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            let Ok(text) = String::from_utf8(bytes) else { return Ok(()) };
            let Ok(proof) = Proof::parse(&text) else { return Ok(()) };
            let proven = proof.verify(&log().1);
            // Only the signature that a proof carries isn't bound without the body.
            prop_assert!(proven.is_err() || proven.is_ok_and(|p| p.check_message(None, BODY).is_err()));
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in any::<String>(), more in any::<String>()) {
            let _ = Proof::parse(&text);
            let _ = Proof::parse(&format!("{HEADER}\nextra {text}\nindex 1\n{more}\n\n"));
        }
    }
}
