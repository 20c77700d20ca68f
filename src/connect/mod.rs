//! The member's side: connectors, mapping, checkpoints, the inbox.
//!
//! A member runs [`Connect`] beside its own software. Each stream of its
//! connectors is pulled, mapped, signed and published (`outbound`); what the hub
//! delivers is checked as WIRE.md section 3 says, and handed to a sink exactly
//! once (`inbound`). The host owns every loop; drivers are asked. A back-office
//! that only knows HTTP posts and fetches at the `door`.

pub mod aside;
mod door;
pub mod drivers;
pub mod helpers;
mod host;
pub mod identity;
mod inbound;
pub mod manifest;
pub mod mapping;
mod outbound;
pub mod recipient;
pub mod testing;

pub use door::DoorFault;
pub use host::{Connect, driver_settings, signer};
pub use outbound::Signer;

use crate::metrics::Counter;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// What a member's side counts while it runs.
#[derive(Debug, Default)]
pub struct Counts {
    /// Records pulled from sources.
    pub pulled: Counter,
    /// Events published and confirmed.
    pub published: Counter,
    /// Messages that came to the inbox.
    pub received: Counter,
    /// Of these, those that had come before and weren't acknowledged.
    pub redelivered: Counter,
    /// Messages handled.
    pub handled: Counter,
    /// Messages whose number was handled before.
    pub repeated: Counter,
    /// Messages that came before the one that they follow.
    pub early: Counter,
    /// Messages that nobody has to believe.
    pub unverified: Counter,
    /// Records and messages that were set aside.
    pub set_aside: Counter,
    /// Of these, those that went since there were more than are kept.
    pub dropped: Counter,
    first_pull: Mutex<Option<Instant>>,
}

impl Counts {
    /// Counts records that were pulled, and notes when the first were.
    fn pulled(&self, records: u64) {
        if records > 0 {
            self.first_pull.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(Instant::now);
        }
        self.pulled.add(records);
    }

    /// When the first records were pulled.
    pub fn first_pull(&self) -> Option<Instant> {
        *self.first_pull.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a member's side can't start or go on.
#[derive(Debug, thiserror::Error)]
pub enum ConnectFault {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] crate::store::StoreFault),
    /// The bus failed or refused.
    #[error(transparent)]
    Bus(#[from] crate::bus::BusFault),
    /// A key can't be used.
    #[error(transparent)]
    Key(#[from] crate::keys::KeyFault),
    /// A secret can't be had.
    #[error(transparent)]
    Secret(#[from] crate::config::SecretFault),
    /// The secret of the ids can't be used.
    #[error(transparent)]
    Seal(#[from] crate::seal::SealFault),
    /// The members' keys can't be read.
    #[error(transparent)]
    Directory(#[from] crate::members::DirectoryFault),
    /// The schemas can't be read.
    #[error(transparent)]
    Schema(#[from] crate::schema::SchemaFault),
    /// A connector can't be used.
    #[error(transparent)]
    Connector(#[from] manifest::ConnectorFault),
    /// A mapping can't be used.
    #[error(transparent)]
    Mapping(#[from] mapping::MappingFault),
    /// The door can't be opened.
    #[error(transparent)]
    Door(#[from] DoorFault),
    /// A driver can't go on.
    #[error(transparent)]
    Driver(#[from] drivers::DriverFault),
    /// The file of the hub's keys can't be used.
    #[error("the hub's public keys can't be read from {}: {why}; ask the hub's operator for hub.jwks.json", .path.display())]
    HubKeys {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The file of the inbox's mapping can't be read.
    #[error("the mapping {} of the inbox can't be read: {why}", .path.display())]
    Map {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A stream makes events of a schema that isn't there.
    #[error(
        "the stream {stream} makes events of {event_type} version {version}, and no such schema is there"
    )]
    UnknownSchema {
        /// CONNECTOR/STREAM.
        stream: String,
        /// The type.
        event_type: String,
        /// The version.
        version: u32,
    },
    /// What this program saved doesn't read back.
    #[error(
        "{0} in the member's folder can't be read; restore the folder from a backup rather than start afresh"
    )]
    Unreadable(&'static str),
    /// A part ended before its time.
    #[error("a part of this member's side stopped; the log says why")]
    Stopped,
}
