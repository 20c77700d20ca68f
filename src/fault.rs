//! What can go wrong: the reasons for which the hub refuses a message, and the
//! exit codes of the program.

use std::fmt;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;

/// Why the hub refuses a message: WIRE.md section 2, in the order of its checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// The body or the headers are over the limit.
    TooLarge,
    /// A property, a header, the JWS or the body isn't of the form required.
    Malformed,
    /// No member has the key that the signature names.
    UnknownKey,
    /// The key isn't for events, or isn't valid now.
    KeyNotValid,
    /// The signature isn't of these bytes by that key.
    BadSignature,
    /// A header or property differs from what was signed.
    AttributeMismatch,
    /// The member who signed, sent and is named as source aren't one.
    NotYourSource,
    /// The event was signed for another hub.
    WrongAudience,
    /// The event's time is ahead of the hub's clock.
    FromTheFuture,
    /// The schema isn't registered, or isn't that of the body.
    UnknownSchema,
    /// The datum doesn't decode, or breaks a value rule.
    InvalidData,
    /// The source and id were taken in with another content.
    IdReused,
}

impl Reason {
    /// Every reason, in the order in which the hub checks.
    pub const ALL: [Reason; 12] = [
        Reason::TooLarge,
        Reason::Malformed,
        Reason::UnknownKey,
        Reason::KeyNotValid,
        Reason::BadSignature,
        Reason::AttributeMismatch,
        Reason::NotYourSource,
        Reason::WrongAudience,
        Reason::FromTheFuture,
        Reason::UnknownSchema,
        Reason::InvalidData,
        Reason::IdReused,
    ];

    /// The reason as it is written on the wire, `bad-signature` for instance.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::TooLarge => "too-large",
            Reason::Malformed => "malformed",
            Reason::UnknownKey => "unknown-key",
            Reason::KeyNotValid => "key-not-valid",
            Reason::BadSignature => "bad-signature",
            Reason::AttributeMismatch => "attribute-mismatch",
            Reason::NotYourSource => "not-your-source",
            Reason::WrongAudience => "wrong-audience",
            Reason::FromTheFuture => "from-the-future",
            Reason::UnknownSchema => "unknown-schema",
            Reason::InvalidData => "invalid-data",
            Reason::IdReused => "id-reused",
        }
    }

    /// The reason that is written `text` on the wire, if there is one.
    pub fn parse(text: &str) -> Option<Reason> {
        Reason::ALL.into_iter().find(|r| r.as_str() == text)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why one message was refused: the reason, and a sentence that names the field
/// and never its value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {detail}")]
pub struct Refusal {
    /// The reason, one of WIRE.md section 2.
    pub reason: Reason,
    /// A sentence for the publisher. It names the field, never the value.
    pub detail: String,
}

impl Refusal {
    /// A refusal for `reason`, explained by `detail`.
    pub fn new(reason: Reason, detail: impl Into<String>) -> Refusal {
        Refusal { reason, detail: detail.into() }
    }
}

/// Why a port can't be had.
#[derive(Debug, thiserror::Error)]
pub enum ListenFault {
    /// Another program has it.
    #[error("another program already listens on {address}: stop it, or set {key} to another port")]
    InUse {
        /// The address and port.
        address: SocketAddr,
        /// The setting that says it.
        key: &'static str,
    },
    /// Ports below 1024 are the system's.
    #[error("this user may not listen on {address}: set {key} to a port from 1024 on")]
    NotAllowed {
        /// The address and port.
        address: SocketAddr,
        /// The setting that says it.
        key: &'static str,
    },
    /// The address isn't one of this machine.
    #[error("{address} isn't an address of this machine: set {key} to one that is")]
    NotHere {
        /// The address and port.
        address: SocketAddr,
        /// The setting that says it.
        key: &'static str,
    },
    /// The system refused.
    #[error("it isn't possible to listen on {address}: {source}")]
    Io {
        /// The address and port.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
}

impl ListenFault {
    /// What `source` means for `address`, which the setting `key` says.
    pub fn of(address: SocketAddr, key: &'static str, source: io::Error) -> ListenFault {
        match source.kind() {
            ErrorKind::AddrInUse => ListenFault::InUse { address, key },
            ErrorKind::PermissionDenied => ListenFault::NotAllowed { address, key },
            ErrorKind::AddrNotAvailable => ListenFault::NotHere { address, key },
            _ => ListenFault::Io { address, source },
        }
    }
}

/// The exit codes of the program. 0 is success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// What was asked ran, and its answer is no: a failed case, a lost event.
    Failed = 1,
    /// The command line or the configuration is wrong: nothing was started.
    Usage = 2,
    /// The store can't be used, or stopped working.
    Store = 3,
    /// Something outside didn't answer: a port, a server, a socket.
    Unreachable = 4,
}
