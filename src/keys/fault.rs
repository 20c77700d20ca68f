//! What can go wrong with keys and signatures. No sentence holds a secret.

use std::path::PathBuf;

/// A text that names no use of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a key's use is one of event, agreement, delivery, checkpoint")]
pub struct UnknownUse;

/// Why a key can't be read, written or made.
#[derive(Debug, thiserror::Error)]
pub enum KeyFault {
    /// The file can't be read.
    #[error("the key file {path} can't be read: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file can't be written.
    #[error("the key file {path} can't be written: {source}")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// There is a file already, and a key is never overwritten.
    #[error("the file {path} exists already and isn't overwritten: choose another name, or move it away")]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// Others than the owner may read or write the file.
    #[error(
        "the key file {path} can be read by others (mode {mode:04o}): run `chmod 600 {path}`, and make a new \
         key if somebody may have read it"
    )]
    ReadableByOthers {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The file isn't a private key in PKCS#8 PEM.
    #[error(
        "the file {path} isn't a private key in PKCS#8 PEM: make one with `pirogue keys generate` or \
         `openssl genpkey -algorithm ed25519`"
    )]
    NotPkcs8 {
        /// The file.
        path: PathBuf,
    },
    /// The key is of another algorithm.
    #[error("the key in {path} isn't an Ed25519 key: make one with `pirogue keys generate`")]
    NotEd25519 {
        /// The file.
        path: PathBuf,
    },
    /// The file is encrypted, and no passphrase was given.
    #[error("the key file {path} is encrypted: give its passphrase")]
    PassphraseMissing {
        /// The file.
        path: PathBuf,
    },
    /// The passphrase doesn't open the file.
    #[error("the passphrase doesn't open the key file {path}")]
    WrongPassphrase {
        /// The file.
        path: PathBuf,
    },
    /// An empty passphrase protects nothing.
    #[error("the passphrase is empty: choose one, or write the key without encryption")]
    EmptyPassphrase,
    /// The key can't be written as PKCS#8.
    #[error("the key can't be encoded as PKCS#8")]
    Encoding,
    /// The system gives no random bytes.
    #[error("the system gives no random bytes: {0}")]
    Randomness(getrandom::Error),
    /// The bytes aren't a public key, or it is one that makes forgeries easy.
    #[error("the 32 bytes aren't a usable Ed25519 public key (not a canonical point, or of small order)")]
    NotAPublicKey,
}

/// Why a JWK or a JWK set is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JwkFault {
    /// The text is over the limit.
    #[error("the key set is over 1 MiB")]
    TooLarge,
    /// The text isn't JSON, or not the members of a JWK set.
    #[error("not a key set: {0}")]
    NotAKeySet(String),
    /// A private key where a public one was expected.
    #[error(
        "key {position} of the set holds a private key (member `d`): that key is no longer a secret, make a \
         new one with `pirogue keys generate` and publish what `pirogue keys show` prints"
    )]
    Private {
        /// Which key of the set, from 1.
        position: usize,
    },
    /// A member of a JWK isn't as WIRE.md section 4 says.
    #[error("key {position} of the set: `{member}` {expected}")]
    Member {
        /// Which key of the set, from 1.
        position: usize,
        /// The member of the JWK.
        member: &'static str,
        /// What it has to be.
        expected: &'static str,
    },
}

/// Why a text isn't a detached JWS of the form that WIRE.md section 1 gives.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JwsFault {
    /// Over [`super::MAX_JWS_BYTES`].
    #[error("the signature is over 16 KiB")]
    TooLarge,
    /// Not two parts with `..` between them.
    #[error("the signature isn't a detached JWS, BASE64URL(header)..BASE64URL(signature)")]
    NotDetached,
    /// The header isn't canonical base64url.
    #[error("the signature's header isn't canonical base64url without padding")]
    HeaderEncoding,
    /// The signature isn't canonical base64url of 64 bytes.
    #[error("the signature isn't 64 bytes in canonical base64url without padding")]
    SignatureEncoding,
    /// The header isn't a JSON object.
    #[error("the signature's header isn't a JSON object")]
    NotJson,
    /// A key stands twice in an object of the header.
    #[error("a key stands twice in the signature's header")]
    DuplicateKey,
    /// A member of the header is missing.
    #[error("the signature's header has no `{0}`")]
    Missing(&'static str),
    /// A member of the header isn't of the form required.
    #[error("`{member}` in the signature's header: expected {expected}")]
    Member {
        /// The member.
        member: &'static str,
        /// What is expected.
        expected: &'static str,
    },
}

/// Why a text isn't a C2SP signed note, or can't be signed as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoteFault {
    /// Over [`super::note::MAX_NOTE_BYTES`].
    #[error("the signed note is over 1 MiB")]
    TooLarge,
    /// A control character other than a newline, a tab or a carriage return for instance.
    #[error("line {line} holds a control character (a tab, or a carriage return): take it out")]
    ControlCharacter {
        /// The line, from 1.
        line: usize,
    },
    /// The text doesn't end in a newline.
    #[error("the text doesn't end in a newline")]
    NoFinalNewline,
    /// There is no empty line before the signatures, or no signature.
    #[error("the note has no signatures after an empty line")]
    NoSignatures,
    /// A signature's line isn't of the form required.
    #[error("signature {position} isn't of the form `— NAME BASE64`")]
    SignatureForm {
        /// Which signature, from 1.
        position: usize,
    },
    /// More signatures than [`super::note::MAX_SIGNATURES`].
    #[error("the note has more than 100 signatures")]
    TooManySignatures,
    /// A signer's name is empty, or holds a space or a plus.
    #[error("a signer's name is a text without spaces and without `+`")]
    Name,
    /// A verifier key isn't `NAME+HEX8+BASE64`, of an Ed25519 key, with the right key id.
    #[error("not a verifier key of the form NAME+KEYID+BASE64 for an Ed25519 key")]
    VerifierKey,
}
