//! Checkpoints: what the hub signs of its journal (C2SP tlog-checkpoint,
//! <https://c2sp.org/tlog-checkpoint>), and what witnesses sign of it
//! (C2SP tlog-cosignature, <https://c2sp.org/tlog-cosignature>).
//!
//! The note itself is [`crate::keys::note`]'s.

use super::{Hash, Head};
use crate::keys::note::{self, SignedNote};
use crate::keys::{NoteFault, PrivateKey, PublicKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};
use std::str::FromStr;

/// The signature type of timestamped Ed25519 cosignatures.
const COSIGNATURE: u8 = 0x04;

/// A text isn't a checkpoint, or isn't signed by who should have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointFault {
    /// It isn't a signed note.
    #[error("the checkpoint isn't a signed note: {0}")]
    Note(#[from] NoteFault),
    /// The text of the note isn't of the form.
    #[error("the checkpoint's {0}")]
    Form(&'static str),
    /// It is another log's.
    #[error("the checkpoint is of the log {found:?}, and the key is of {expected:?}")]
    Origin {
        /// Whose the checkpoint is.
        found: String,
        /// Whose the key is.
        expected: String,
    },
    /// The log's key didn't sign it.
    #[error(
        "the checkpoint isn't signed by the key that was given for {0}: get the key from its owner again, and if it is \
         the same, don't trust this log"
    )]
    NotSigned(String),
    /// Nobody but the log signed it, or a known witness's line is no good.
    #[error("the cosignature of {0} isn't good: don't trust this checkpoint")]
    Cosignature(String),
}

/// The key that a log signs its checkpoints with, as it was given by hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogKey {
    /// The log's name: the key's, and the checkpoint's origin.
    pub name: String,
    /// The key.
    pub key: PublicKey,
}

/// Reads a verifier key, `NAME+ID+BASE64`.
impl FromStr for LogKey {
    type Err = NoteFault;
    fn from_str(text: &str) -> Result<LogKey, NoteFault> {
        note::parse_verifier_key(text.trim()).map(|(name, key)| LogKey { name, key })
    }
}

/// A checkpoint: which log, how many entries, and the root over them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log's name.
    pub origin: String,
    /// The size and the root.
    pub head: Head,
    /// Lines after the root. The hub writes none; those of others are kept, since
    /// they are signed too, and mean nothing here.
    pub extensions: Vec<String>,
}

impl Checkpoint {
    /// The checkpoint of the log `origin` at `head`.
    pub fn new(origin: &str, head: Head) -> Checkpoint {
        Checkpoint { origin: origin.to_owned(), head, extensions: Vec::new() }
    }

    /// The text that is signed.
    pub fn text(&self) -> String {
        let Head { size, root } = self.head;
        let mut text = format!("{}\n{size}\n{}\n", self.origin, STANDARD.encode(root));
        for line in &self.extensions {
            text.push_str(line);
            text.push('\n');
        }
        text
    }

    /// Reads the text of a checkpoint, in its one right form.
    pub fn parse(text: &str) -> Result<Checkpoint, CheckpointFault> {
        use CheckpointFault::Form;
        let lines = text.strip_suffix('\n').ok_or(Form("text doesn't end with a newline"))?;
        if lines.split('\n').any(str::is_empty) {
            return Err(Form("text has an empty line"));
        }
        let mut lines = lines.split('\n');
        let origin = lines.next().unwrap_or_default().to_owned();
        let size = lines.next().ok_or(Form("size is missing"))?;
        let size = decimal(size).ok_or(Form("size isn't a plain decimal number"))?;
        let root = lines.next().ok_or(Form("root is missing"))?;
        let root = decode_hash(root).ok_or(Form("root isn't 32 bytes in base64"))?;
        let extensions = lines.map(str::to_owned).collect();
        Ok(Checkpoint { origin, head: Head { size, root }, extensions })
    }

    /// What a signed checkpoint says, its signatures not verified: for the log's
    /// own, on the log's own disk.
    pub fn read_unverified(note: &str) -> Result<Checkpoint, CheckpointFault> {
        Checkpoint::parse(&SignedNote::parse(note)?.text)
    }

    /// The signed checkpoint, by the log's own key. Fails where the origin can't
    /// be a key's name, or holds a control character.
    pub fn sign(&self, key: &PrivateKey) -> Result<SignedCheckpoint, CheckpointFault> {
        if !note::is_name(&self.origin) {
            return Err(CheckpointFault::Form("origin can't name a key"));
        }
        let mut note = SignedNote::unsigned(&self.text())?;
        note.signatures.push(note::sign(&note.text, &self.origin, key));
        Ok(SignedCheckpoint { checkpoint: self.clone(), note })
    }
}

/// A checkpoint whose log's signature is good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedCheckpoint {
    checkpoint: Checkpoint,
    note: SignedNote,
}

impl SignedCheckpoint {
    /// Reads and verifies a signed checkpoint: it is that log's, and its key
    /// signed it. Signatures of others stay in it, unverified.
    pub fn open(text: &str, key: &LogKey) -> Result<SignedCheckpoint, CheckpointFault> {
        let note = SignedNote::parse(text)?;
        let checkpoint = Checkpoint::parse(&note.text)?;
        if checkpoint.origin != key.name {
            return Err(CheckpointFault::Origin { found: checkpoint.origin, expected: key.name.clone() });
        }
        if !note.verified_by(&key.name, &key.key) {
            return Err(CheckpointFault::NotSigned(key.name.clone()));
        }
        Ok(SignedCheckpoint { checkpoint, note })
    }

    /// What it says.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// The size and the root.
    pub fn head(&self) -> Head {
        self.checkpoint.head
    }

    /// The signed note, as [`SignedCheckpoint::open`] reads it.
    pub fn render(&self) -> String {
        self.note.render()
    }

    /// Adds the line of a witness, once it verified.
    pub fn add_cosignature(&mut self, line: &str, witness: &WitnessKey) -> Result<i64, CheckpointFault> {
        let line = line.trim_end_matches('\n');
        let at = witness
            .check(&self.note.text, line)
            .flatten()
            .ok_or_else(|| CheckpointFault::Cosignature(witness.name.clone()))?;
        self.note.others.push(line.to_owned());
        Ok(at)
    }

    /// Which of `witnesses` cosigned it, and when, in seconds since 1970; the
    /// latest, where one did so twice. A line of a known witness that isn't good
    /// spoils the checkpoint; those of unknown ones are ignored (C2SP
    /// signed-note).
    pub fn cosigned<'w>(
        &self,
        witnesses: &'w [WitnessKey],
    ) -> Result<Vec<(&'w WitnessKey, i64)>, CheckpointFault> {
        let mut cosigned = Vec::new();
        for witness in witnesses {
            let mut latest = None;
            for line in &self.note.others {
                match witness.check(&self.note.text, line) {
                    None => {}
                    Some(None) => return Err(CheckpointFault::Cosignature(witness.name.clone())),
                    Some(at) => latest = latest.max(at),
                }
            }
            cosigned.extend(latest.map(|at| (witness, at)));
        }
        Ok(cosigned)
    }
}

/// The key of a witness: who cosigns checkpoints that are consistent with those
/// it saw before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WitnessKey {
    /// The witness's name.
    pub name: String,
    /// Its key.
    pub key: PublicKey,
}

impl WitnessKey {
    fn id(&self) -> [u8; 4] {
        let mut hash = Sha256::new();
        hash.update(&self.name);
        hash.update([b'\n', COSIGNATURE]);
        hash.update(self.key.bytes());
        let hash: Hash = hash.finalize().into();
        [hash[0], hash[1], hash[2], hash[3]]
    }

    /// The verifier key: `NAME+ID+BASE64(0x04 || public key)`.
    pub fn verifier_key(&self) -> String {
        let id = u32::from_be_bytes(self.id());
        let bytes = [&[COSIGNATURE], self.key.bytes().as_slice()].concat();
        format!("{}+{id:08x}+{}", self.name, STANDARD.encode(bytes))
    }

    /// None where `line` isn't of this key; the time, in seconds since 1970,
    /// where it is and its signature over `text` is good.
    fn check(&self, text: &str, line: &str) -> Option<Option<i64>> {
        let (name, encoded) = line.strip_prefix("— ")?.split_once(' ')?;
        let bytes = STANDARD.decode(encoded).ok()?;
        let (id, rest) = bytes.split_first_chunk::<4>()?;
        if name != self.name || *id != self.id() {
            return None;
        }
        let good = rest.split_first_chunk::<8>().and_then(|(at, signature)| {
            let at = u64::from_be_bytes(*at);
            let signature: &[u8; 64] = signature.try_into().ok()?;
            let signed = cosigned_text(text, at);
            self.key.verify(signed.as_bytes(), signature).then_some(i64::try_from(at).ok()?)
        });
        Some(good)
    }
}

/// Reads a verifier key of type 0x04.
impl FromStr for WitnessKey {
    type Err = NoteFault;
    fn from_str(text: &str) -> Result<WitnessKey, NoteFault> {
        let text = text.trim();
        let mut parts = text.splitn(3, '+');
        let mut part = || parts.next().ok_or(NoteFault::VerifierKey);
        let (name, _, encoded) = (part()?, part()?, part()?);
        let bytes = STANDARD.decode(encoded).map_err(|_| NoteFault::VerifierKey)?;
        let key = match bytes.split_first() {
            Some((&COSIGNATURE, key)) => key.try_into().map_err(|_| NoteFault::VerifierKey)?,
            _ => return Err(NoteFault::VerifierKey),
        };
        let key = PublicKey::from_bytes(key).map_err(|_| NoteFault::VerifierKey)?;
        let witness = WitnessKey { name: name.to_owned(), key };
        match note::is_name(name) && witness.verifier_key() == text {
            true => Ok(witness),
            false => Err(NoteFault::VerifierKey),
        }
    }
}

/// The line with which a witness `name` cosigns the checkpoint `text` at `at`, in
/// seconds since 1970.
pub fn cosign(text: &str, name: &str, key: &PrivateKey, at: u64) -> String {
    let witness = WitnessKey { name: name.to_owned(), key: key.public().clone() };
    let signature = key.sign(cosigned_text(text, at).as_bytes());
    let bytes = [witness.id().as_slice(), &at.to_be_bytes(), &signature].concat();
    format!("— {name} {}", STANDARD.encode(bytes))
}

fn cosigned_text(text: &str, at: u64) -> String {
    format!("cosignature/v1\ntime {at}\n{text}")
}

/// A number as the specifications write it: no sign, no zero in front.
pub(super) fn decimal(text: &str) -> Option<u64> {
    text.parse().ok().filter(|number: &u64| number.to_string() == text)
}

/// A hash in base64, in its one right form.
pub(super) fn decode_hash(text: &str) -> Option<Hash> {
    STANDARD.decode(text).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    // The example of C2SP tlog-checkpoint and tlog-cosignature; their keys aren't
    // given there.
    const EXAMPLE: &str = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n\
        — example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n\
        — witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==\n";

    fn key() -> PrivateKey {
        PrivateKey::from_seed(&[7; 32])
    }

    fn log() -> LogKey {
        LogKey { name: "nc".into(), key: key().public().clone() }
    }

    fn witness() -> (PrivateKey, WitnessKey) {
        let key = PrivateKey::from_seed(&[9; 32]);
        let public = WitnessKey { name: "temoin.example".into(), key: key.public().clone() };
        (key, public)
    }

    fn checkpoint() -> Checkpoint {
        Checkpoint::new("nc", Head { size: 70_000, root: [5; 32] })
    }

    #[test]
    fn the_example_of_the_specification_reads() {
        let note = SignedNote::parse(EXAMPLE).unwrap();
        let checkpoint = Checkpoint::parse(&note.text).unwrap();
        assert_eq!(
            (checkpoint.origin.as_str(), checkpoint.head.size),
            ("example.com/behind-the-sofa", 20_852_163)
        );
        assert_eq!(checkpoint.text(), note.text);
        assert_eq!((note.signatures.len(), note.others.len()), (1, 1));
        // The cosignature's time is that of the specification's text.
        let (_, encoded) = note.others[0].rsplit_once(' ').unwrap();
        assert_eq!(STANDARD.decode(encoded).unwrap()[4..12], 1_679_315_147u64.to_be_bytes());
    }

    #[test]
    fn a_signed_checkpoint_opens_with_its_key_and_no_other() {
        let signed = checkpoint().sign(&key()).unwrap();
        let text = signed.render();
        assert_eq!(SignedCheckpoint::open(&text, &log()), Ok(signed));
        let vkey = note::verifier_key("nc", key().public());
        assert_eq!(vkey.parse::<LogKey>(), Ok(log()));
        let other = LogKey { key: witness().0.public().clone(), ..log() };
        assert_eq!(SignedCheckpoint::open(&text, &other), Err(CheckpointFault::NotSigned("nc".into())));
        let other = LogKey { name: "other".into(), ..log() };
        let fault = SignedCheckpoint::open(&text, &other).unwrap_err();
        assert_eq!(fault.to_string(), r#"the checkpoint is of the log "nc", and the key is of "other""#);
        assert!(Checkpoint::new("a b", checkpoint().head).sign(&key()).is_err());
    }

    #[test]
    fn cosignatures_of_known_witnesses_count_and_a_bad_one_spoils() {
        let (key_of_witness, public) = witness();
        assert_eq!(public.verifier_key().parse::<WitnessKey>(), Ok(public.clone()));
        let mut signed = checkpoint().sign(&key()).unwrap();
        let line = cosign(&checkpoint().text(), &public.name, &key_of_witness, 1_793_675_112);
        assert_eq!(signed.add_cosignature(&line, &public), Ok(1_793_675_112));
        let again = SignedCheckpoint::open(&signed.render(), &log()).unwrap();
        let witnesses = [public.clone()];
        assert_eq!(again.cosigned(&witnesses), Ok(vec![(&public, 1_793_675_112)]));
        assert_eq!(again.cosigned(&[]), Ok(vec![]));
        let unknown = WitnessKey { name: "other".into(), key: public.key.clone() };
        assert_eq!(again.cosigned(&[unknown]), Ok(vec![]));
        // Another text, or another time than was signed.
        let line = cosign("nc\n1\n", &public.name, &key_of_witness, 1);
        assert!(signed.add_cosignature(&line, &public).is_err());
        let spoilt = format!("{}{line}\n", again.render());
        let spoilt = SignedCheckpoint::open(&spoilt, &log()).unwrap();
        assert_eq!(spoilt.cosigned(&witnesses), Err(CheckpointFault::Cosignature(public.name.clone())));
        let late = cosign(&checkpoint().text(), &public.name, &key_of_witness, 1 << 63);
        assert!(signed.add_cosignature(&late, &public).is_err());
    }

    #[test]
    fn other_spellings_of_a_checkpoint_are_refused() {
        let root = STANDARD.encode([5; 32]);
        for text in [
            String::new(),
            "nc\n".into(),
            "nc\n7\n".into(),
            format!("nc\n7\n{root}"),
            format!("\n7\n{root}\n"),
            format!("nc\n07\n{root}\n"),
            format!("nc\n+7\n{root}\n"),
            format!("nc\n18446744073709551616\n{root}\n"),
            format!("nc\n7\n{}\n", &root[..43]),
            format!("nc\n7\n{}\n", root.replace("U=", "V=")),
            format!("nc\n7\n{}\n", STANDARD.encode([5; 31])),
            format!("nc\n7\n{root}\n\n"),
        ] {
            assert!(Checkpoint::parse(&text).is_err(), "{text}");
        }
        let extended = format!("nc\n0\n{root}\nmore\n");
        assert_eq!(Checkpoint::parse(&extended).unwrap().text(), extended);
    }

    proptest! {
        #[test]
        fn no_changed_byte_goes_unseen(at in any::<prop::sample::Index>(), bit in 0u8..8) {
            let (key_of_witness, public) = witness();
            let mut signed = checkpoint().sign(&key()).unwrap();
            signed.add_cosignature(&cosign(&checkpoint().text(), &public.name, &key_of_witness, 5), &public).unwrap();
            let mut bytes = signed.render().into_bytes();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            let Ok(text) = String::from_utf8(bytes) else { return Ok(()) };
            let opened = SignedCheckpoint::open(&text, &log());
            let held = opened.is_ok_and(|o| o.cosigned(std::slice::from_ref(&public)).is_ok_and(|c| c.len() == 1));
            prop_assert!(!held);
        }

        #[test]
        fn no_text_makes_the_parsers_panic(text in any::<String>()) {
            let _ = Checkpoint::parse(&text);
            let _ = text.parse::<WitnessKey>();
            let _ = witness().1.check(&text, &text);
        }
    }
}
