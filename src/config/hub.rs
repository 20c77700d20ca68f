//! The settings of a hub: `hub.toml` says what each key means.

use super::{
    Broker, BusSetting, Log, Management, OutOfRange, SecretSource, Settings, check_name, check_range, resolve,
};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The settings of a hub. Load them with [`HubConfig::load`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(expecting = "a table")]
pub struct HubConfig {
    /// The hub's name: publishers sign for it (`aud`), recipients verify it.
    pub name: String,
    /// The folder of the store, the journal and the operator's socket.
    pub data: PathBuf,
    /// What carries the messages.
    pub bus: BusSetting,
    /// How to connect to RabbitMQ.
    pub broker: Broker,
    /// RabbitMQ's management API.
    pub management: Management,
    /// The folder of the members' public keys, `MEMBER.jwks.json` for each.
    pub members: PathBuf,
    /// The folder of the signed agreements, `*.note`.
    pub agreements: PathBuf,
    /// A folder of schemas beside those that are built in.
    pub schemas: Option<PathBuf>,
    /// Configuration files of members that run in this process.
    pub connect: Vec<PathBuf>,
    /// The hub's own keys.
    pub keys: HubKeys,
    /// What is accepted, and in what batches.
    pub limits: Limits,
    /// Refused messages.
    pub quarantine: Quarantine,
    /// How long payloads are kept.
    pub retention: Retention,
    /// What is forgotten when a person is erased.
    pub erasure: Erasure,
    /// The store.
    pub store: StoreSettings,
    /// The journal, as it is published.
    pub journal: Journal,
    /// The queues of the bus.
    pub queue: Queue,
    /// The operator's endpoints.
    pub http: Http,
    /// Log lines.
    pub log: Log,
}

/// `[keys]`: the hub's own keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(expecting = "a table")]
pub struct HubKeys {
    /// The private key that signs deliveries, PKCS#8 PEM.
    pub delivery: PathBuf,
    /// Where the passphrase of the delivery key is, if it is encrypted.
    pub delivery_passphrase: Option<SecretSource>,
    /// The private key that signs the journal's checkpoints, PKCS#8 PEM.
    pub checkpoint: PathBuf,
    /// Where the passphrase of the checkpoint key is, if it is encrypted.
    pub checkpoint_passphrase: Option<SecretSource>,
    /// The 32-byte key under which everything is sealed at rest.
    pub master: PathBuf,
}

/// `[limits]`: what is accepted, and in what batches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(expecting = "a table")]
pub struct Limits {
    /// The largest body of a message, in bytes.
    pub body_bytes: usize,
    /// The largest headers of a message, in bytes.
    pub headers_bytes: usize,
    /// How far ahead of the hub's clock an event's time may be, in seconds.
    pub future_seconds: u32,
    /// The most events in a batch.
    pub batch_events: usize,
    /// The most bytes in a batch.
    pub batch_bytes: usize,
    /// How long a batch waits for more events after its first, in milliseconds.
    pub linger_ms: u32,
}

impl Limits {
    /// How far ahead of the hub's clock an event's time may be.
    pub fn future(&self) -> Duration {
        Duration::from_secs(self.future_seconds.into())
    }

    /// How long a batch waits for more events after its first.
    pub fn linger(&self) -> Duration {
        Duration::from_millis(self.linger_ms.into())
    }
}

/// `[quarantine]`: refused messages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(expecting = "a table")]
pub struct Quarantine {
    /// How long a refused message is kept, in days.
    pub days: u32,
    /// The most refused messages that are kept of one member.
    pub max_items: u64,
    /// The most that is kept of one member's refused messages, in MiB.
    pub max_mib: u64,
}

impl Quarantine {
    /// The most that is kept of one member's refused messages, in bytes.
    pub fn max_bytes(&self) -> u64 {
        self.max_mib << 20
    }
}

/// `[retention]`: how long payloads are kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(expecting = "a table")]
pub struct Retention {
    /// How long a payload is kept once it is delivered to all, in days.
    pub replay_days: u32,
}

/// `[erasure]`: people who are erased.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(expecting = "a table")]
pub struct Erasure {
    /// The log of erasures, which backups of the data folder don't take back.
    pub log: PathBuf,
}

/// `[store]`: the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(expecting = "a table")]
pub struct StoreSettings {
    /// The free disk space, in MiB, below which the hub takes nothing in.
    pub low_water_mib: u64,
    /// The size, in MiB, at which a segment, a file of payloads, is closed.
    pub segment_mib: u64,
}

impl StoreSettings {
    /// The free disk space, in bytes, below which the hub takes nothing in.
    pub fn low_water_bytes(&self) -> u64 {
        self.low_water_mib << 20
    }

    /// The size, in bytes, at which a segment is closed.
    pub fn segment_bytes(&self) -> u64 {
        self.segment_mib << 20
    }
}

/// `[journal]`: the journal, as it is published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(expecting = "a table")]
pub struct Journal {
    /// How often a checkpoint is signed while entries arrive, in milliseconds.
    pub checkpoint_ms: u32,
    /// The file of those who may read entries over HTTP.
    pub readers: Option<PathBuf>,
    /// How often witnesses are asked at most, in seconds.
    pub witness_seconds: u32,
    /// Who is asked to cosign checkpoints.
    #[serde(default)]
    pub witness: Vec<Witness>,
}

impl Journal {
    /// How often a checkpoint is signed while entries arrive.
    pub fn checkpoint_every(&self) -> Duration {
        Duration::from_millis(self.checkpoint_ms.into())
    }

    /// How often witnesses are asked at most.
    pub fn witness_every(&self) -> Duration {
        Duration::from_secs(self.witness_seconds.into())
    }
}

/// `[[journal.witness]]`: one who cosigns checkpoints (C2SP tlog-witness).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(expecting = "a table")]
pub struct Witness {
    /// The address below which it answers `add-checkpoint`.
    pub url: String,
    /// Its verifier key, of the signature type 0x04.
    pub vkey: String,
}

/// `[queue]`: the queues of the bus.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(expecting = "a table")]
pub struct Queue {
    /// The most that one queue holds, in MiB.
    pub max_mib: u64,
}

impl Queue {
    /// The most that one queue holds, in bytes.
    pub fn max_bytes(&self) -> u64 {
        self.max_mib << 20
    }
}

/// `[http]`: the operator's endpoints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(expecting = "a table")]
pub struct Http {
    /// Whether to answer HTTP.
    pub enabled: bool,
    /// The address and the port to listen on.
    pub listen: SocketAddr,
}

/// No file system is as large: 1 PiB in MiB.
const MOST_MIB: u64 = 1 << 30;

impl Settings for HubConfig {
    const DEFAULTS: &'static str = include_str!("hub.toml");
    const FREE: &'static [&'static str] =
        &["keys.delivery_passphrase", "keys.checkpoint_passphrase", "broker.password", "management.password"];

    fn resolve(&mut self, folder: &Path) {
        resolve(folder, &mut self.data);
        self.broker.resolve(folder);
        self.management.resolve(folder);
        resolve(folder, &mut self.members);
        resolve(folder, &mut self.agreements);
        self.schemas.iter_mut().chain(&mut self.connect).for_each(|path| resolve(folder, path));
        resolve(folder, &mut self.erasure.log);
        resolve(folder, &mut self.keys.delivery);
        resolve(folder, &mut self.keys.checkpoint);
        resolve(folder, &mut self.keys.master);
        self.journal.readers.iter_mut().for_each(|path| resolve(folder, path));
        let passphrases =
            self.keys.delivery_passphrase.iter_mut().chain(&mut self.keys.checkpoint_passphrase);
        passphrases.for_each(|secret| secret.resolve(folder));
    }

    fn check(&self) -> Result<(), OutOfRange> {
        check_name("name", &self.name)?;
        self.broker.check(&self.bus)?;
        self.management.check()?;
        if self.bus != BusSetting::Embedded && !self.connect.is_empty() {
            let what = "members run in the hub's process on the embedded bus only; on RabbitMQ each has its own \
                        process, pirogue connect";
            return Err(("connect", what.to_owned()));
        }
        let limits = &self.limits;
        // Together they stay under the broker's limit of 2 MiB a message
        // (WIRE.md section 7); a header frame of 150 KiB ends a connection.
        check_range("limits.body_bytes", limits.body_bytes as u64, 1, 1_900_000)?;
        check_range("limits.headers_bytes", limits.headers_bytes as u64, 1024, 131_072)?;
        check_range("limits.future_seconds", limits.future_seconds.into(), 0, 86_400)?;
        check_range("limits.batch_events", limits.batch_events as u64, 1, 4096)?;
        let largest = (limits.body_bytes + limits.headers_bytes) as u64;
        check_range("limits.batch_bytes", limits.batch_bytes as u64, largest, 256 << 20)?;
        check_range("limits.linger_ms", limits.linger_ms.into(), 0, 10_000)?;
        check_range("quarantine.days", self.quarantine.days.into(), 1, 3650)?;
        check_range("quarantine.max_items", self.quarantine.max_items, 1, 10_000_000)?;
        // So that the largest message has room.
        check_range("quarantine.max_mib", self.quarantine.max_mib, 4, MOST_MIB)?;
        check_range("retention.replay_days", self.retention.replay_days.into(), 0, 3650)?;
        check_range("store.low_water_mib", self.store.low_water_mib, 1, MOST_MIB)?;
        check_range("store.segment_mib", self.store.segment_mib, 1, MOST_MIB)?;
        check_range("journal.checkpoint_ms", self.journal.checkpoint_ms.into(), 50, 3_600_000)?;
        check_range("journal.witness_seconds", self.journal.witness_seconds.into(), 1, 86_400)?;
        check_range("queue.max_mib", self.queue.max_mib, 1, MOST_MIB)
    }
}
