//! The host: opens a member's folder and runs its connectors and its inbox.

use crate::bus::{BatchLimits, Bus};
use crate::config::{ConnectConfig, ConnectorSettings, SinkDriver};
use crate::connect::aside::Aside;
use crate::connect::door::{Door, DoorFault, Parts, Posted};
use crate::connect::drivers::{FilesSettings, FilesSink, SecretText, Secrets, Settings, Sink};
use crate::connect::inbound::{self, Inbox};
use crate::connect::manifest::Connector;
use crate::connect::mapping::Mapping;
use crate::connect::outbound::{self, Outbox, Signer};
use crate::connect::recipient::Trust;
use crate::connect::{ConnectFault, Counts, aside};
use crate::event::MemberName;
use crate::keys::PrivateKey;
use crate::schema::Registry;
use crate::seal::MasterKey;
use crate::store::{Sealing, Store, StoreOptions};
use crate::tasks::stopped;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// How often it is looked whether something was set aside for long enough.
const ROUND: Duration = Duration::from_secs(3600);

/// A member's side, running.
pub struct Connect {
    member: MemberName,
    store: Store,
    aside: Aside,
    counts: Arc<Counts>,
    stop: watch::Sender<bool>,
    tasks: Mutex<JoinSet<Result<(), ConnectFault>>>,
    door: Option<SocketAddr>,
}

impl Connect {
    /// Starts the member of `config` on `bus`, which is its own connection.
    pub async fn start(config: &ConnectConfig, bus: Arc<dyn Bus>) -> Result<Connect, ConnectFault> {
        let member =
            MemberName::parse(&config.member).map_err(|_| ConnectFault::Unreadable("the member's name"))?;
        let data = config.data.clone();
        let store = tokio::task::spawn_blocking(move || Store::open(&data, StoreOptions::default()));
        let store = store.await.map_err(|_| ConnectFault::Stopped)??;
        let registry = Arc::new(match &config.schemas {
            Some(folder) => Registry::load(folder)?,
            None => Registry::embedded()?,
        });
        let counts: Arc<Counts> = Arc::default();
        let sealing = Sealing::new(&secret(config)?, "set aside");
        let aside = Aside::open(&store, sealing, config.aside.clone(), Arc::clone(&counts))?;
        let mut connect = Connect {
            member,
            store,
            aside,
            counts,
            stop: watch::Sender::new(false),
            tasks: Mutex::default(),
            door: None,
        };
        connect.spawn(expire(connect.aside.clone(), connect.store.clone(), connect.stop.subscribe()));
        let mut door = None;
        if config.door.enabled || !config.connectors.is_empty() {
            let signer = Arc::new(signer(config, connect.member.clone())?);
            let posted = connect.start_outboxes(config, &bus, &registry, &signer)?;
            match (config.door.enabled, posted.first()) {
                (true, _) => door = Some(connect.open_door(config, &bus, &registry, signer, posted).await?),
                (false, Some(posted)) => return Err(DoorFault::Closed(posted.name()).into()),
                (false, None) => {}
            }
        }
        if config.inbox.enabled {
            connect.start_inbox(config, bus, registry, door.as_ref())?;
        }
        if let Some(door) = door {
            connect.door = door.address();
            connect.spawn(door.run());
        }
        Ok(connect)
    }

    async fn open_door(
        &self,
        config: &ConnectConfig,
        bus: &Arc<dyn Bus>,
        registry: &Arc<Registry>,
        signer: Arc<Signer>,
        posted: Vec<Posted>,
    ) -> Result<Door, ConnectFault> {
        let holds = config.inbox.enabled && config.inbox.sink == SinkDriver::Door;
        let sealing = match holds {
            true => Some(Sealing::new(&MasterKey::read_or_create(&config.id_secret)?, "door")),
            false => None,
        };
        Door::open(Parts {
            settings: config.door.clone(),
            signer,
            store: self.store.clone(),
            bus: Arc::clone(bus),
            registry: Arc::clone(registry),
            counts: Arc::clone(&self.counts),
            posted,
            sealing,
            stop: self.stop.subscribe(),
        })
        .await
    }

    /// Starts what is read; returns what is posted to the door.
    fn start_outboxes(
        &self,
        config: &ConnectConfig,
        bus: &Arc<dyn Bus>,
        registry: &Registry,
        signer: &Arc<Signer>,
    ) -> Result<Vec<Posted>, ConnectFault> {
        let mut posted = Vec::new();
        for settings in &config.connectors {
            let connector = Arc::new(Connector::load(&settings.folder)?);
            let values = driver_settings(settings)?;
            for (stream, source) in connector.sources.iter().enumerate() {
                if settings.streams.as_ref().is_some_and(|wanted| !wanted.contains(&source.name)) {
                    continue;
                }
                let schema = registry.get(source.event_type.as_str(), source.schema_version);
                let schema = schema.ok_or_else(|| ConnectFault::UnknownSchema {
                    stream: format!("{}/{}", connector.name, source.name),
                    event_type: source.event_type.to_string(),
                    version: source.schema_version,
                })?;
                if source.is_door() {
                    let connector = Arc::clone(&connector);
                    posted.push(Posted { connector, stream, generation: settings.generation });
                    continue;
                }
                let outbox = Outbox {
                    signer: Arc::clone(signer),
                    store: self.store.clone(),
                    bus: Arc::clone(bus),
                    connector: Arc::clone(&connector),
                    stream,
                    schema: Arc::clone(schema),
                    generation: settings.generation,
                    counts: Arc::clone(&self.counts),
                    aside: self.aside.clone(),
                };
                self.spawn(outbox.run(values.clone(), self.stop.subscribe()));
            }
        }
        Ok(posted)
    }

    fn start_inbox(
        &self,
        config: &ConnectConfig,
        bus: Arc<dyn Bus>,
        registry: Arc<Registry>,
        door: Option<&Door>,
    ) -> Result<(), ConnectFault> {
        let trust = Trust {
            member: self.member.clone(),
            hub_keys: config.hub_keys.clone(),
            members: config.members.clone(),
        };
        let mapping = match &config.inbox.map {
            None => None,
            Some(path) => {
                let source = std::fs::read_to_string(path).map_err(|error| ConnectFault::Map {
                    path: path.clone(),
                    why: error.kind().to_string(),
                })?;
                Some(Arc::new(Mapping::compile(path.display().to_string(), &source)?))
            }
        };
        let sink = match config.inbox.sink {
            SinkDriver::Files => files_sink(config)?,
            // The configuration was checked: there is a door, and it holds.
            SinkDriver::Door => {
                door.and_then(|door| door.sink(mapping.is_some())).ok_or(ConnectFault::Stopped)?
            }
        };
        let inbox = Inbox {
            member: self.member.clone(),
            store: self.store.clone(),
            bus,
            recipient: Arc::new(trust.read()?),
            trust,
            registry,
            mapping,
            sink,
            // At the door a message's own attributes are given.
            keep_raw: config.inbox.files.raw || config.inbox.sink == SinkDriver::Door,
            limits: BatchLimits { messages: 512, bytes: 4 * 1024 * 1024, linger: Duration::from_millis(2) },
            counts: Arc::clone(&self.counts),
            aside: self.aside.clone(),
        };
        self.spawn(inbox.run(self.stop.subscribe()));
        Ok(())
    }

    fn spawn(&self, task: impl Future<Output = Result<(), ConnectFault>> + Send + 'static) {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).spawn(task);
    }

    /// Whose side this is.
    pub fn member(&self) -> &MemberName {
        &self.member
    }

    /// Where the door listens, if it is open.
    pub fn door(&self) -> Option<SocketAddr> {
        self.door
    }

    /// What it counts.
    pub fn counts(&self) -> &Arc<Counts> {
        &self.counts
    }

    /// How many events were published and confirmed since the folder was made.
    pub fn published(&self) -> Result<u64, ConnectFault> {
        let row = self.store.get(outbound::PUBLISHED_ROW)?;
        Ok(row.and_then(|row| row.try_into().ok()).map_or(0, u64::from_be_bytes))
    }

    /// The epoch and the sequence of the last message that was handled; none
    /// before the first start of the inbox.
    pub fn last_handled(&self) -> Result<Option<(u32, u64)>, ConnectFault> {
        inbound::last_handled(&self.store)
    }

    /// What was set aside and is kept still, oldest first.
    pub fn set_aside(&self) -> Result<Vec<aside::Kept>, ConnectFault> {
        self.aside.all(&self.store)
    }

    /// Waits until a stream or the inbox ends, which none does by itself: the
    /// error says why it did.
    pub async fn wait(&self) -> Result<(), ConnectFault> {
        let mut stop = self.stop.subscribe();
        std::future::poll_fn(|context| {
            let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
            match tasks.poll_join_next(context) {
                std::task::Poll::Ready(Some(Ok(Err(fault)))) => std::task::Poll::Ready(Err(fault)),
                std::task::Poll::Ready(Some(Err(_))) => std::task::Poll::Ready(Err(ConnectFault::Stopped)),
                std::task::Poll::Ready(Some(Ok(Ok(()))) | None) if *stop.borrow_and_update() => {
                    std::task::Poll::Ready(Ok(()))
                }
                std::task::Poll::Ready(Some(Ok(Ok(())))) => {
                    std::task::Poll::Ready(Err(ConnectFault::Stopped))
                }
                _ => std::task::Poll::Pending,
            }
        })
        .await
    }

    /// Stops in good order: what is under way is saved or taken up again at the
    /// next start.
    pub async fn stop(self) -> Result<(), ConnectFault> {
        self.stop.send_replace(true);
        let mut tasks = self.tasks.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut first = Ok(());
        while let Some(ended) = tasks.join_next().await {
            let ended = ended.unwrap_or(Err(ConnectFault::Stopped));
            first = first.and(ended);
        }
        first
    }
}

/// The member's secret. One who only receives may have no folder for it: nothing
/// but what is set aside depends on it then, and it is made. Elsewhere a folder
/// that isn't there is a path that was mistaken, and a new secret would give every
/// event another id.
fn secret(config: &ConnectConfig) -> Result<MasterKey, ConnectFault> {
    let only_receives = config.connectors.is_empty() && !config.door.enabled;
    if let Some(folder) = config.id_secret.parent().filter(|_| only_receives) {
        // Where it can't be made, neither can the secret, which says so.
        let _ = std::fs::create_dir_all(folder);
    }
    Ok(MasterKey::read_or_create(&config.id_secret)?)
}

/// Drops what was set aside when its days are over, until `stop` says so.
async fn expire(aside: Aside, store: Store, mut stop: watch::Receiver<bool>) -> Result<(), ConnectFault> {
    loop {
        aside.expire(&store, jiff::Timestamp::now()).await?;
        tokio::select! {
            () = tokio::time::sleep(ROUND) => {}
            () = stopped(&mut stop) => return Ok(()),
        }
    }
}

/// What signs the events of `member`, whose configuration is `config`.
pub fn signer(config: &ConnectConfig, member: MemberName) -> Result<Signer, ConnectFault> {
    let passphrase = config.keys.event_passphrase.as_ref().map(|source| source.read()).transpose()?;
    let key = PrivateKey::read(&config.keys.event, passphrase.as_ref().map(|p| p.as_str()))?;
    // The member's own secret: its ids can't be made by anyone else.
    let id_secret = MasterKey::read_or_create(&config.id_secret)?.derive("event ids");
    Ok(Signer { member, hub: config.hub.clone(), key, id_secret })
}

fn files_sink(config: &ConnectConfig) -> Result<Box<dyn Sink>, ConnectFault> {
    let files = &config.inbox.files;
    let settings = FilesSettings {
        folder: files.folder.display().to_string(),
        rotate_mib: files.rotate_mib,
        raw: files.raw,
    };
    Ok(Box::new(FilesSink::new(&settings, &Settings::default())?))
}

/// What a connector's drivers are given: its settings, and its secrets, which are
/// read. Fails where one can't be had.
pub fn driver_settings(settings: &ConnectorSettings) -> Result<Settings, ConnectFault> {
    let mut secrets = Secrets::new(None);
    for (name, source) in &settings.secrets {
        secrets = secrets.with(name, SecretText::new(source.read()?.as_str()));
    }
    let text = |value: &serde_json::Value| match value {
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let values = settings.settings.iter().map(|(name, value)| (name.clone(), text(value))).collect();
    Ok(Settings { values, secrets })
}
