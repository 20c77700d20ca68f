//! The settings of a member's side: `connect.toml` says what each key means.

use super::{
    Broker, BusSetting, Log, OutOfRange, SecretSource, Settings, check_name, check_range, resolve, words,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The settings of a member's side. Load them with [`ConnectConfig::load`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(expecting = "a table")]
pub struct ConnectConfig {
    /// The member's name.
    pub member: String,
    /// The folder of the checkpoints and of what was received so far.
    pub data: PathBuf,
    /// What carries the messages.
    pub bus: BusSetting,
    /// How to connect to RabbitMQ.
    pub broker: Broker,
    /// The name of the hub: events are signed for it.
    pub hub: String,
    /// The hub's public keys, a JWKS file.
    pub hub_keys: PathBuf,
    /// The folder of the members' public keys, `MEMBER.jwks.json` for each.
    pub members: PathBuf,
    /// A folder of schemas beside those that are built in.
    pub schemas: Option<PathBuf>,
    /// The file of the 32-byte secret from which events' ids are derived.
    pub id_secret: PathBuf,
    /// The member's keys.
    pub keys: ConnectKeys,
    /// The connectors, in the order of the file: `[[connector]]`.
    #[serde(default, rename = "connector")]
    pub connectors: Vec<ConnectorSettings>,
    /// What the hub delivers.
    pub inbox: Inbox,
    /// What can't be used.
    pub aside: Aside,
    /// The door for a back-office that only knows HTTP.
    pub door: Door,
    /// Log lines.
    pub log: Log,
}

/// `[keys]`: the member's keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(expecting = "a table")]
pub struct ConnectKeys {
    /// The private key that signs this member's events, PKCS#8 PEM.
    pub event: PathBuf,
    /// Where the passphrase of the event key is, if it is encrypted.
    pub event_passphrase: Option<SecretSource>,
}

/// `[[connector]]`: one connector to run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(expecting = "a table")]
pub struct ConnectorSettings {
    /// The connector's folder, where its `connector.toml` is.
    pub folder: PathBuf,
    /// The streams to run; none named is all of them.
    pub streams: Option<Vec<String>>,
    /// The generation, from 1: one more sends the existing stock again under
    /// new ids.
    #[serde(default = "first_generation")]
    pub generation: u32,
    /// What the `connector.toml` asks to be set, `base_url` for instance.
    #[serde(default)]
    pub settings: BTreeMap<String, serde_json::Value>,
    /// Where each secret is that the `connector.toml` names.
    #[serde(default)]
    pub secrets: BTreeMap<String, SecretSource>,
}

fn first_generation() -> u32 {
    1
}

/// `[inbox]`: what the hub delivers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(expecting = "a table")]
pub struct Inbox {
    /// Whether to receive.
    pub enabled: bool,
    /// The driver that writes what was received.
    pub sink: SinkDriver,
    /// A jq program, from one event to what the sink writes.
    pub map: Option<PathBuf>,
    /// What the driver `files` needs.
    pub files: FilesSink,
}

words! {
    /// What becomes of what was received.
    SinkDriver {
        /// JSON Lines files, one for each event type.
        Files = "files",
        /// It is held until it is fetched at the door.
        Door = "door",
    }
}

/// `[inbox.files]`: what the driver `files` needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(expecting = "a table")]
pub struct FilesSink {
    /// The folder of the files.
    pub folder: PathBuf,
    /// The size, in MiB, at which a file is closed and a new one begun.
    pub rotate_mib: u64,
    /// Whether to keep each raw message too.
    pub raw: bool,
}

impl FilesSink {
    /// The size, in bytes, at which a file is closed and a new one begun.
    pub fn rotate_bytes(&self) -> u64 {
        self.rotate_mib << 20
    }
}

/// `[aside]`: records and messages that can't be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(expecting = "a table")]
pub struct Aside {
    /// How long they are kept, in days.
    pub days: u32,
    /// The most of them that are kept.
    pub max_items: u64,
    /// The most that is kept of them, in MiB.
    pub max_mib: u64,
}

impl Aside {
    /// The most that is kept of them, in bytes.
    pub fn max_bytes(&self) -> u64 {
        self.max_mib << 20
    }
}

/// `[door]`: HTTP for a back-office that knows nothing else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(expecting = "a table")]
pub struct Door {
    /// Whether to open it.
    pub enabled: bool,
    /// The address and the port to listen on.
    pub listen: SocketAddr,
    /// Where the token is that each request bears.
    pub token: Option<SecretSource>,
    /// The second word of the source of events that are posted harmonised.
    pub system: String,
    /// The most that one request may hold, in MiB.
    pub request_mib: u64,
    /// How long to wait for the broker, in seconds.
    pub patience_seconds: u64,
    /// How long an `Idempotency-Key` is remembered, in days.
    pub remember_days: u32,
    /// The longest that a request for deliveries may ask to wait, in seconds.
    pub wait_seconds: u64,
    /// The size, in MiB, of what is held at most.
    pub held_mib: u64,
}

impl Door {
    /// The most that one request may hold, in bytes.
    pub fn request_bytes(&self) -> usize {
        usize::try_from(self.request_mib << 20).unwrap_or(usize::MAX)
    }

    /// How long to wait for the broker.
    pub fn patience(&self) -> Duration {
        Duration::from_secs(self.patience_seconds)
    }

    /// The size of what is held at most, in bytes.
    pub fn held_bytes(&self) -> u64 {
        self.held_mib << 20
    }

    fn check(&self, inbox: &Inbox) -> Result<(), OutOfRange> {
        check_name("door.system", &self.system)?;
        if self.system == "hub" {
            return Err(("door.system", "the name hub is reserved for the hub; take another".to_owned()));
        }
        if self.enabled && self.token.is_none() && !self.listen.ip().is_loopback() {
            return Err((
                "door.listen",
                "beyond this machine the door takes door.token, { env = \"NAME\" } or { file = \"PATH\" }; without \
                 one it listens on 127.0.0.1 only"
                    .to_owned(),
            ));
        }
        if inbox.enabled && inbox.sink == SinkDriver::Door && !self.enabled {
            return Err((
                "inbox.sink",
                "\"door\" holds what arrives for a door that isn't open: set door.enabled = true".to_owned(),
            ));
        }
        check_range("door.request_mib", self.request_mib, 1, 64)?;
        check_range("door.patience_seconds", self.patience_seconds, 1, 300)?;
        check_range("door.remember_days", self.remember_days.into(), 1, 3650)?;
        check_range("door.wait_seconds", self.wait_seconds, 0, 300)?;
        check_range("door.held_mib", self.held_mib, 1, 1 << 20)
    }
}

impl Settings for ConnectConfig {
    const DEFAULTS: &'static str = include_str!("connect.toml");
    const FREE: &'static [&'static str] = &[
        "keys.event_passphrase",
        "broker.password",
        "door.token",
        "connector.settings",
        "connector.secrets",
    ];

    fn resolve(&mut self, folder: &Path) {
        resolve(folder, &mut self.data);
        self.broker.resolve(folder);
        resolve(folder, &mut self.hub_keys);
        resolve(folder, &mut self.members);
        self.schemas.iter_mut().chain(&mut self.inbox.map).for_each(|path| resolve(folder, path));
        resolve(folder, &mut self.id_secret);
        resolve(folder, &mut self.keys.event);
        resolve(folder, &mut self.inbox.files.folder);
        self.keys.event_passphrase.iter_mut().for_each(|secret| secret.resolve(folder));
        self.door.token.iter_mut().for_each(|secret| secret.resolve(folder));
        for connector in &mut self.connectors {
            resolve(folder, &mut connector.folder);
            connector.secrets.values_mut().for_each(|secret| secret.resolve(folder));
        }
    }

    fn check(&self) -> Result<(), OutOfRange> {
        check_name("member", &self.member)?;
        if self.member == "hub" {
            return Err(("member", "the name hub is reserved for the hub; take another".to_owned()));
        }
        check_name("hub", &self.hub)?;
        if self.broker.advertise.is_some() {
            return Err(("broker.advertise", "it is a key of a hub's configuration: take it out".to_owned()));
        }
        self.broker.check(&self.bus)?;
        for connector in &self.connectors {
            check_range("connector.generation", connector.generation.into(), 1, 1_000_000)?;
        }
        self.door.check(&self.inbox)?;
        check_range("aside.days", self.aside.days.into(), 1, 3650)?;
        check_range("aside.max_items", self.aside.max_items, 1, 10_000_000)?;
        check_range("aside.max_mib", self.aside.max_mib, 1, 1 << 20)?;
        check_range("inbox.files.rotate_mib", self.inbox.files.rotate_mib, 1, 1 << 20)
    }
}
