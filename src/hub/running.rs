//! A running hub: its tasks, its start and its orderly end.

use crate::agreements;
use crate::bus::{BatchLimits, Bus};
use crate::config::{HubConfig, SecretSource};
use crate::event::MemberName;
use crate::hub::check::Rules;
use crate::hub::quarantine::Ceilings;
use crate::hub::release::Release;
use crate::hub::tiling::{self, Tiling};
use crate::hub::world::{Sources, World};
use crate::hub::{HubFault, Shared, Topology, erase, intake, witness};
use crate::keys::{Jwk, Jwks, KeyUse, PrivateKey};
use crate::metrics::Metrics;
use crate::seal::{self, MasterKey};
use crate::store::Store;
use crate::tasks::stopped;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// How often the hub looks whether a day began and what is to be forgotten.
const ROUND: Duration = Duration::from_secs(20);

/// What of the configuration the hub's stages go by.
#[derive(Clone, Debug)]
pub struct HubOptions {
    /// What messages are held to.
    pub rules: Rules,
    /// What a batch is.
    pub limits: BatchLimits,
    /// The size at which a segment is closed, in bytes.
    pub segment_bytes: u64,
    /// How long a refused message is kept, in days.
    pub quarantine_days: u32,
    /// The most that is kept of one member's refused messages.
    pub quarantine_ceilings: Ceilings,
    /// How long a payload is kept once it is delivered, in days.
    pub replay_days: u32,
    /// The log of erasures.
    pub erasures: PathBuf,
    /// Free disk space below which nothing is taken in, in bytes.
    pub low_water_bytes: u64,
    /// Where members, agreements and schemas are.
    pub sources: Sources,
}

impl HubOptions {
    /// The options of a configuration.
    pub fn of(config: &HubConfig) -> HubOptions {
        let limits = &config.limits;
        HubOptions {
            rules: Rules {
                audience: config.name.clone(),
                body_bytes: limits.body_bytes,
                headers_bytes: limits.headers_bytes,
                future: limits.future(),
            },
            limits: BatchLimits {
                messages: limits.batch_events,
                bytes: limits.batch_bytes,
                linger: limits.linger(),
            },
            segment_bytes: config.store.segment_bytes(),
            quarantine_days: config.quarantine.days,
            quarantine_ceilings: Ceilings {
                items: config.quarantine.max_items,
                bytes: config.quarantine.max_bytes(),
            },
            replay_days: config.retention.replay_days,
            erasures: config.erasure.log.clone(),
            low_water_bytes: config.store.low_water_bytes(),
            sources: Sources {
                members: config.members.clone(),
                agreements: config.agreements.clone(),
                schemas: config.schemas.clone(),
            },
        }
    }
}

/// A running hub.
pub struct Hub {
    pub(super) shared: Arc<Shared>,
    pub(super) topology: Arc<dyn Topology>,
    pub(super) bus: Arc<dyn Bus>,
    stop_intake: watch::Sender<bool>,
    pub(super) stop_release: watch::Sender<bool>,
    stop_tiling: watch::Sender<bool>,
    released: Mutex<BTreeSet<MemberName>>,
    /// Held while the world is replaced: of two reloads at the same time, each
    /// would number the agreements in force, and start a new member's release.
    reloading: tokio::sync::Mutex<()>,
    ended: mpsc::UnboundedSender<Ended>,
    endings: tokio::sync::Mutex<mpsc::UnboundedReceiver<Ended>>,
    /// Tasks whose end wasn't received yet.
    running: AtomicUsize,
    /// Set by an operator who asks the hub to stop.
    pub(super) asked_to_stop: watch::Sender<bool>,
}

/// One of the hub's tasks ended.
struct Ended {
    intake: bool,
    result: Result<(), HubFault>,
}

impl Hub {
    /// Starts the hub of `config` on `store` and `bus`. `master` is what
    /// [`master_key`] gives. Its other keys are read, members' queues declared,
    /// and what a stopped hub left undone is taken up again.
    pub async fn start(
        config: &HubConfig,
        store: Store,
        master: &MasterKey,
        bus: Arc<dyn Bus>,
        topology: Arc<dyn Topology>,
        metrics: Arc<Metrics>,
    ) -> Result<Arc<Hub>, HubFault> {
        let (keys, checkpoint) = Keys::read(config)?;
        let witnesses = witness::all(&config.journal.witness)?;
        // Before anything is added to a journal that can't go on.
        let writer = tiling::open(&store, &config.name, checkpoint).await?;
        let world = World::load(&HubOptions::of(config).sources, agreements::today())?;
        let world = world.adopt(&store, &keys.public).await?;
        let hub = Hub::build(config, store, master, bus, topology, metrics, keys, world).await?;
        hub.release_all(&hub.shared.world()).await?;
        let tiling = Tiling::new(Arc::clone(&hub.shared), writer, &config.journal, witnesses);
        hub.spawn(false, tiling.run(hub.stop_tiling.subscribe()));
        let shared = Arc::clone(&hub.shared);
        hub.spawn(true, intake::run(shared, Arc::clone(&hub.bus), hub.stop_intake.subscribe()));
        hub.spawn(false, rounds(Arc::downgrade(&hub), hub.stop_release.subscribe()));
        Ok(hub)
    }

    /// The hub of `config` at rest: it answers its operator from its store, and
    /// takes in, decides and delivers nothing.
    pub async fn at_rest(
        config: &HubConfig,
        store: Store,
        master: &MasterKey,
        bus: Arc<dyn Bus>,
        topology: Arc<dyn Topology>,
    ) -> Result<Arc<Hub>, HubFault> {
        let (keys, _) = Keys::read(config)?;
        let world = World::load(&HubOptions::of(config).sources, agreements::today())?;
        Hub::build(config, store, master, bus, topology, Metrics::new(), keys, world).await
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of a hub, which two functions put together")]
    async fn build(
        config: &HubConfig,
        store: Store,
        master: &MasterKey,
        bus: Arc<dyn Bus>,
        topology: Arc<dyn Topology>,
        metrics: Arc<Metrics>,
        keys: Keys,
        world: World,
    ) -> Result<Arc<Hub>, HubFault> {
        let epoch = epoch(&store).await?;
        let shared = Shared::new(
            config.name.clone(),
            store,
            master,
            keys.delivery,
            keys.public,
            epoch,
            HubOptions::of(config),
            metrics,
            world,
        )?;
        let shared = Arc::new(shared);
        erase::fill_index(&shared)?;
        erase::catch_up(&shared, topology.as_ref()).await?;
        let (ended, endings) = mpsc::unbounded_channel();
        Ok(Arc::new(Hub {
            shared,
            topology,
            bus,
            stop_intake: watch::Sender::new(false),
            stop_release: watch::Sender::new(false),
            stop_tiling: watch::Sender::new(false),
            released: Mutex::default(),
            reloading: tokio::sync::Mutex::default(),
            ended,
            endings: tokio::sync::Mutex::new(endings),
            running: AtomicUsize::new(0),
            asked_to_stop: watch::Sender::new(false),
        }))
    }

    /// What this hub counts.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.shared.metrics
    }

    /// The hub's public keys, for members.
    pub fn public_keys(&self) -> &Jwks {
        &self.shared.own_keys
    }

    /// Waits until an operator asks the hub to stop, or a part of it fails.
    pub async fn wait(&self) -> Result<(), HubFault> {
        let mut asked = self.asked_to_stop.subscribe();
        let mut endings = self.endings.lock().await;
        tokio::select! {
            _ = asked.wait_for(|asked| *asked) => Ok(()),
            ended = endings.recv() => {
                self.running.fetch_sub(1, Relaxed);
                match ended {
                    Some(Ended { result: Err(fault), .. }) => Err(fault),
                    _ => Err(HubFault::Stopped),
                }
            }
        }
    }

    /// Stops: nothing more is taken in; what is recorded is decided and
    /// published as far as the queues take it, and the rest is kept.
    pub async fn stop(&self) -> Result<(), HubFault> {
        self.stop_intake.send_replace(true);
        let mut endings = self.endings.lock().await;
        let mut first_fault = None;
        loop {
            match self.running.load(Relaxed) {
                0 => break,
                // The journal is published up to what the others wrote last.
                1 => drop(self.stop_tiling.send_replace(true)),
                _ => {}
            }
            let Some(ended) = endings.recv().await else { break };
            self.running.fetch_sub(1, Relaxed);
            // A recipient's release goes on until intake has ended.
            if ended.intake || ended.result.is_err() {
                self.stop_release.send_replace(true);
            }
            if let Err(fault) = ended.result {
                first_fault.get_or_insert(fault);
            }
        }
        first_fault.map_or(Ok(()), Err)
    }

    /// Reads members, agreements and schemas again, and goes by them from now
    /// on. Where anything is wrong, all stays as it was.
    pub async fn reload(&self) -> Result<Arc<World>, HubFault> {
        let _one_at_a_time = self.reloading.lock().await;
        let world = World::load(&self.shared.sources, agreements::today())?;
        let world = world.adopt(&self.shared.store, &self.shared.own_keys).await?;
        // A new member's release is there before anything is taken in that may be
        // for it.
        self.release_all(&world).await?;
        self.shared.replace_world(world);
        Ok(self.shared.world())
    }

    /// Starts the release of each member of `world` that has none yet.
    async fn release_all(&self, world: &World) -> Result<(), HubFault> {
        for member in world.directory.members() {
            if self.released.lock().unwrap_or_else(PoisonError::into_inner).contains(member) {
                continue;
            }
            self.topology.declare_member(member).await?;
            let release = Release::open(&self.shared, member, &self.bus).await?;
            self.released.lock().unwrap_or_else(PoisonError::into_inner).insert(member.clone());
            self.spawn(false, release.run(self.stop_release.subscribe()));
        }
        Ok(())
    }

    fn spawn(&self, intake: bool, task: impl Future<Output = Result<(), HubFault>> + Send + 'static) {
        self.running.fetch_add(1, Relaxed);
        let ended = self.ended.clone();
        let task = tokio::spawn(task);
        tokio::spawn(async move {
            // A panic in a task ends the hub as a failure does.
            let result = task.await.unwrap_or(Err(HubFault::Stopped));
            let _ = ended.send(Ended { intake, result });
        });
    }
}

/// Once in a while: a new day may bring agreements into force, and what was in
/// quarantine for long enough is forgotten.
async fn rounds(hub: Weak<Hub>, mut stop: watch::Receiver<bool>) -> Result<(), HubFault> {
    loop {
        tokio::select! {
            () = tokio::time::sleep(ROUND) => {}
            () = stopped(&mut stop) => return Ok(()),
        }
        let Some(hub) = hub.upgrade() else { return Ok(()) };
        let shared = &hub.shared;
        if shared.world().day != agreements::today() {
            match hub.reload().await {
                Ok(_) => {}
                Err(HubFault::Store(fault)) => return Err(fault.into()),
                Err(fault) => tracing::error!(
                    %fault,
                    "a new day began, and members, agreements and schemas can't be read; the hub goes on by those of \
                     yesterday: correct this, then run `pirogue reload`"
                ),
            }
        }
        let forgotten = hub.forget(jiff::Timestamp::now()).await?;
        if forgotten > 0 {
            tracing::info!(forgotten, "messages in quarantine were forgotten, their time being over");
        }
        let expired = hub.expire(jiff::Timestamp::now(), &stop).await?;
        if expired.events > 0 {
            tracing::info!(
                events = expired.events,
                segments = expired.segments,
                "payloads were removed, being delivered and their days over"
            );
        }
    }
}

fn read_key(path: &Path, passphrase: Option<&SecretSource>) -> Result<PrivateKey, HubFault> {
    let passphrase = passphrase.map(SecretSource::read).transpose()?;
    Ok(PrivateKey::read(path, passphrase.as_ref().map(|p| p.as_str()))?)
}

/// The key with which the hub of `config` signs deliveries.
pub(super) fn delivery_key(config: &HubConfig) -> Result<PrivateKey, HubFault> {
    read_key(&config.keys.delivery, config.keys.delivery_passphrase.as_ref())
}

/// The hub's own keys.
struct Keys {
    delivery: PrivateKey,
    public: Jwks,
}

impl Keys {
    /// Reads them, and the one that signs checkpoints.
    fn read(config: &HubConfig) -> Result<(Keys, PrivateKey), HubFault> {
        let delivery = delivery_key(config)?;
        let checkpoint = read_key(&config.keys.checkpoint, config.keys.checkpoint_passphrase.as_ref())?;
        let public = own_keys(&delivery, &checkpoint);
        Ok((Keys { delivery, public }, checkpoint))
    }
}

/// The public keys of the hub of `config`, as its members know them. Reads its
/// private ones.
pub fn published_keys(config: &HubConfig) -> Result<Jwks, HubFault> {
    Ok(Keys::read(config)?.0.public)
}

/// The hub's public keys.
pub fn own_keys(delivery: &PrivateKey, checkpoint: &PrivateKey) -> Jwks {
    let own = |key: &PrivateKey, key_use| Jwk::new(key.public().clone(), key_use, Some("hub".to_owned()));
    Jwks { keys: vec![own(delivery, KeyUse::Delivery), own(checkpoint, KeyUse::Checkpoint)] }
}

/// The key under which everything rests. A store that was sealed under another
/// is refused: going on would make what it holds unreadable for good.
pub async fn master_key(path: &Path, store: &Store) -> Result<MasterKey, HubFault> {
    const ROW: &[u8] = b"master-check";
    let known = store.get(ROW)?;
    if known.is_some() && !path.exists() {
        return Err(HubFault::Master("it is missing"));
    }
    let master = MasterKey::read_or_create(path)?;
    let check = seal::hmac(master.derive("check").expose(), &[b"this store"]);
    match known {
        Some(known) if known == check => Ok(master),
        Some(_) => Err(HubFault::Master("it is another")),
        None => {
            store
                .commit(move |tx| {
                    tx.put(ROW, &check);
                    Ok(())
                })
                .await?;
            Ok(master)
        }
    }
}

/// The epoch of the sequences: 1 in a new store.
async fn epoch(store: &Store) -> Result<u32, HubFault> {
    const ROW: &[u8] = b"epoch";
    match store.get(ROW)? {
        Some(row) => row
            .first_chunk::<4>()
            .map(|b| u32::from_be_bytes(*b))
            .ok_or(HubFault::Damaged("the row of the epoch isn't a number")),
        None => {
            store
                .commit(|tx| {
                    tx.put(ROW, &1u32.to_be_bytes());
                    Ok(())
                })
                .await?;
            Ok(1)
        }
    }
}
