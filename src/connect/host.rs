//! The host: opens a member's folder and runs its connectors and its inbox.

use crate::bus::{BatchLimits, Bus};
use crate::config::{ConnectConfig, ConnectorSettings, SinkDriver};
use crate::connect::drivers::{FilesSettings, FilesSink, SecretText, Secrets, Settings};
use crate::connect::inbound::Inbox;
use crate::connect::manifest::Connector;
use crate::connect::mapping::Mapping;
use crate::connect::outbound::{self, Outbox, Signer};
use crate::connect::recipient::Trust;
use crate::connect::{ConnectFault, Counts, aside};
use crate::event::MemberName;
use crate::keys::PrivateKey;
use crate::schema::Registry;
use crate::seal::MasterKey;
use crate::store::{Store, StoreOptions};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// A member's side, running.
pub struct Connect {
    member: MemberName,
    store: Store,
    counts: Arc<Counts>,
    stop: watch::Sender<bool>,
    tasks: Mutex<JoinSet<Result<(), ConnectFault>>>,
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
        let connect = Connect {
            member,
            store,
            counts: Arc::default(),
            stop: watch::Sender::new(false),
            tasks: Mutex::default(),
        };
        if !config.connectors.is_empty() {
            connect.start_outboxes(config, &bus, &registry)?;
        }
        if config.inbox.enabled {
            connect.start_inbox(config, bus, registry)?;
        }
        Ok(connect)
    }

    fn start_outboxes(
        &self,
        config: &ConnectConfig,
        bus: &Arc<dyn Bus>,
        registry: &Registry,
    ) -> Result<(), ConnectFault> {
        let signer = Arc::new(signer(config, self.member.clone())?);
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
                let outbox = Outbox {
                    signer: Arc::clone(&signer),
                    store: self.store.clone(),
                    bus: Arc::clone(bus),
                    connector: Arc::clone(&connector),
                    stream,
                    schema: Arc::clone(schema),
                    generation: settings.generation,
                    counts: Arc::clone(&self.counts),
                };
                self.spawn(outbox.run(values.clone(), self.stop.subscribe()));
            }
        }
        Ok(())
    }

    fn start_inbox(
        &self,
        config: &ConnectConfig,
        bus: Arc<dyn Bus>,
        registry: Arc<Registry>,
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
        let SinkDriver::Files = config.inbox.sink;
        let files = &config.inbox.files;
        let sink = FilesSettings {
            folder: files.folder.display().to_string(),
            rotate_mib: files.rotate_mib,
            raw: files.raw,
        };
        let inbox = Inbox {
            member: self.member.clone(),
            store: self.store.clone(),
            bus,
            recipient: Arc::new(trust.read()?),
            trust,
            registry,
            mapping,
            sink: Box::new(FilesSink::new(&sink, &Settings::default())?),
            keep_raw: files.raw,
            limits: BatchLimits { messages: 512, bytes: 4 * 1024 * 1024, linger: Duration::from_millis(2) },
            counts: Arc::clone(&self.counts),
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

    /// What it counts.
    pub fn counts(&self) -> &Arc<Counts> {
        &self.counts
    }

    /// How many events were published and confirmed since the folder was made.
    pub fn published(&self) -> Result<u64, ConnectFault> {
        let row = self.store.get(outbound::PUBLISHED_ROW)?;
        Ok(row.and_then(|row| row.try_into().ok()).map_or(0, u64::from_be_bytes))
    }

    /// What was set aside since the folder was made, oldest first.
    pub fn set_aside(&self) -> Result<Vec<aside::Row>, ConnectFault> {
        let rows = self.store.scan(aside::INDEX).map(|row| {
            let (_, row) = row?;
            serde_json::from_slice(&row).map_err(|_| ConnectFault::Unreadable("what was set aside"))
        });
        rows.collect()
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

/// What signs the events of `member`, whose configuration is `config`.
pub fn signer(config: &ConnectConfig, member: MemberName) -> Result<Signer, ConnectFault> {
    let passphrase = config.keys.event_passphrase.as_ref().map(|source| source.read()).transpose()?;
    let key = PrivateKey::read(&config.keys.event, passphrase.as_ref().map(|p| p.as_str()))?;
    // The member's own secret: its ids can't be made by anyone else.
    let id_secret = MasterKey::read_or_create(&config.id_secret)?.derive("event ids");
    Ok(Signer { member, hub: config.hub.clone(), key, id_secret })
}

fn driver_settings(settings: &ConnectorSettings) -> Result<Settings, ConnectFault> {
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
