//! What all parts of a running hub share.

use crate::bus::{BatchLimits, BusFault};
use crate::event::{Attributes, EventType, MemberName, SchemaRef};
use crate::hub::HubFault;
use crate::hub::check::Rules;
use crate::hub::quarantine::Holdings;
use crate::hub::recorded::{Timeline, decode_row};
use crate::hub::release::{Cursor, Room, cursor_key};
use crate::hub::segments::Segments;
use crate::hub::tiling::Published;
use crate::hub::world::{self, InForce, Sources, World};
use crate::keys::{Jwks, PrivateKey};
use crate::metrics::Metrics;
use crate::persons::{Erasures, Pairwise, Tagger};
use crate::seal::{self, Kek};
use crate::store::{Ids, Store};
use crate::tasks::stopped;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::collections::HashMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::watch;

/// Secrets of the hub that aren't keys of events.
pub(crate) struct Secrets {
    /// Of which the ids of the hub's own messages are made.
    pub own_ids: seal::Secret32,
    /// Under which contents are compared with those of events taken in before.
    pub contents: seal::Secret32,
    /// Of which the journal's salts are made for what isn't an event.
    pub journal: seal::Secret32,
    /// Under which refused messages are known again.
    pub refused: seal::Secret32,
}

/// What all parts of a running hub share.
pub(crate) struct Shared {
    pub(super) name: String,
    pub(super) store: Store,
    pub(super) kek: Arc<Kek>,
    pub(super) quarantine_kek: Kek,
    pub(super) secrets: Secrets,
    pub(super) pairwise: Pairwise,
    pub(super) tagger: Tagger,
    pub(super) delivery: PrivateKey,
    pub(super) own_keys: Jwks,
    pub(super) epoch: u32,
    pub(super) ids: Mutex<Ids>,
    pub(super) timeline: Arc<Timeline>,
    /// Held while a batch is numbered and recorded.
    pub(super) recording: tokio::sync::Mutex<()>,
    /// The log of erasures. Held while someone is erased.
    pub(super) erasures: tokio::sync::Mutex<Erasures>,
    /// Counts the erasures: who holds payloads in memory lets go of them when it
    /// changes.
    pub(super) erasing: watch::Sender<u64>,
    /// Held, to be read, by who has payloads in memory and is about to publish
    /// them.
    pub(super) carrying: Arc<tokio::sync::RwLock<()>>,
    /// Room in memory for what is decided and on its way to its recipients.
    pub(super) release_room: Room,
    pub(super) rules: Rules,
    pub(super) limits: BatchLimits,
    pub(super) segments: Arc<Segments>,
    pub(super) quarantine_days: u32,
    holdings: Mutex<Holdings>,
    pub(super) replay_days: u32,
    pub(super) low_water_bytes: u64,
    pub(super) metrics: Arc<Metrics>,
    pub(super) sources: Sources,
    pub(super) started_at: i64,
    /// Whether intake waits for disk space.
    pub(super) disk_low: AtomicBool,
    /// How far the journal is published.
    pub(super) published: Mutex<Published>,
    world: RwLock<Arc<World>>,
    progress: RwLock<HashMap<MemberName, Cursor>>,
    sets: RwLock<HashMap<u32, Arc<Vec<InForce>>>>,
}

/// The attributes of a message of the hub's own. `what` names it among all that
/// the hub called `hub` ever sends; its id is made of it, under `secret`.
pub(super) fn own_attributes(
    hub: &str,
    secret: &[u8; 32],
    event_type: &EventType,
    what: &str,
    at: jiff::Timestamp,
) -> Attributes {
    let id = seal::hmac(secret, &[what.as_bytes()]);
    let mut attributes = Attributes::default();
    attributes.set("specversion", "1.0");
    attributes.set("id", URL_SAFE_NO_PAD.encode(&id[..24]));
    attributes.set("source", format!("/hub/{hub}"));
    attributes.set("type", event_type.as_str());
    attributes.set("time", at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
    attributes.set("datacontenttype", "application/avro");
    let schema = SchemaRef { event_type: event_type.clone(), version: 1, projection: None };
    attributes.set("dataschema", schema.to_string());
    attributes
}

impl Shared {
    /// Everything but the caches, which begin empty.
    #[expect(clippy::too_many_arguments, reason = "the one place where a hub's parts meet")]
    pub(super) fn new(
        name: String,
        store: Store,
        master: &seal::MasterKey,
        delivery: PrivateKey,
        own_keys: Jwks,
        epoch: u32,
        settings: super::HubOptions,
        metrics: Arc<Metrics>,
        world: World,
    ) -> Result<Shared, HubFault> {
        let erasures = Erasures::read(&settings.erasures, master.derive("erasures"))?;
        let ids = Ids::load(&store, master.derive("ids"))?;
        let holdings = Holdings::load(&store, settings.quarantine_ceilings)?;
        let segments = Arc::new(Segments::open(&store, settings.segment_bytes)?);
        let kek = Arc::new(master.kek("slots"));
        let timeline = Arc::new(Timeline::new(store.clone(), Arc::clone(&kek), ids.count()));
        Ok(Shared {
            name,
            kek,
            quarantine_kek: master.kek("quarantine"),
            secrets: Secrets {
                own_ids: master.derive("own ids"),
                contents: master.derive("contents"),
                journal: master.derive("journal"),
                refused: master.derive("refused"),
            },
            pairwise: Pairwise::new(*master.derive("pairwise").expose()),
            tagger: Tagger::new(master.derive("persons")),
            delivery,
            own_keys,
            epoch,
            ids: Mutex::new(ids),
            timeline,
            recording: tokio::sync::Mutex::default(),
            erasures: tokio::sync::Mutex::new(erasures),
            erasing: watch::Sender::new(0),
            carrying: Arc::default(),
            release_room: Room::default(),
            rules: settings.rules,
            limits: settings.limits,
            segments,
            quarantine_days: settings.quarantine_days,
            holdings: Mutex::new(holdings),
            replay_days: settings.replay_days,
            low_water_bytes: settings.low_water_bytes,
            metrics,
            sources: settings.sources,
            started_at: jiff::Timestamp::now().as_millisecond(),
            disk_low: AtomicBool::new(false),
            published: Mutex::default(),
            world: RwLock::new(Arc::new(world)),
            progress: RwLock::default(),
            sets: RwLock::default(),
            store,
        })
    }

    /// What the hub goes by now.
    pub(super) fn world(&self) -> Arc<World> {
        Arc::clone(&self.world.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// How far the journal is published.
    pub(super) fn published(&self) -> MutexGuard<'_, Published> {
        self.published.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Goes by `world` from now on.
    pub(super) fn replace_world(&self, world: World) {
        *self.world.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(world);
    }

    /// Notes where the release of `recipient` is.
    pub(super) fn note_progress(&self, recipient: &MemberName, cursor: Cursor) {
        self.progress.write().unwrap_or_else(PoisonError::into_inner).insert(recipient.clone(), cursor);
    }

    /// What the quarantine holds of whom.
    pub(super) fn holdings(&self) -> MutexGuard<'_, Holdings> {
        self.holdings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the release of `recipient` is: as it runs, or as it was saved.
    pub(super) fn progress(&self, recipient: &MemberName) -> Result<Option<Cursor>, HubFault> {
        if let Some(cursor) = self.progress.read().unwrap_or_else(PoisonError::into_inner).get(recipient) {
            return Ok(Some(*cursor));
        }
        self.store.get(&cursor_key(recipient.as_str()))?.map(|row| decode_row(&row)).transpose()
    }

    /// Everyone for whom something was ever decided, sorted by name: members, and
    /// those who take part no longer.
    pub(super) fn recipients(&self) -> Result<Vec<MemberName>, HubFault> {
        let damaged = HubFault::Damaged("the row of a cursor has no recipient's name");
        let prefix = cursor_key("");
        let mut recipients = Vec::new();
        for row in self.store.scan(&prefix) {
            let (key, _) = row?;
            let name = std::str::from_utf8(&key[prefix.len()..]).ok();
            let Some(Ok(name)) = name.map(MemberName::parse) else { return Err(damaged) };
            recipients.push(name);
        }
        Ok(recipients)
    }

    /// The agreements that were in force under the set `number`.
    pub(super) fn set_in_force(&self, number: u32) -> Result<Arc<Vec<InForce>>, HubFault> {
        if let Some(set) = self.sets.read().unwrap_or_else(PoisonError::into_inner).get(&number) {
            return Ok(Arc::clone(set));
        }
        let set = Arc::new(world::set_in_force(&self.store, number)?);
        self.sets.write().unwrap_or_else(PoisonError::into_inner).insert(number, Arc::clone(&set));
        Ok(set)
    }

    /// The attributes of a message of the hub's own. `what` names it among all
    /// that the hub ever sends; its id is made of it.
    pub(super) fn hub_attributes(
        &self,
        event_type: &EventType,
        what: &str,
        at: jiff::Timestamp,
    ) -> Attributes {
        own_attributes(&self.name, self.secrets.own_ids.expose(), event_type, what, at)
    }

    /// Waits while there is less free disk space than the low-water mark.
    pub(super) async fn await_disk_space(
        &self,
        pause: Duration,
        stop: &mut watch::Receiver<bool>,
    ) -> Result<(), HubFault> {
        use std::sync::atomic::Ordering::Relaxed;
        loop {
            let free = self.store.free_bytes()?;
            self.metrics.disk_free_bytes.set(free);
            let low = free < self.low_water_bytes;
            if self.disk_low.swap(low, Relaxed) != low {
                if low {
                    tracing::error!(
                        free_mib = free >> 20,
                        wanted_mib = self.low_water_bytes >> 20,
                        "too little disk space: nothing is taken in until there is more; free some under the data \
                         folder, or lower store.low_water_mib"
                    );
                } else {
                    tracing::info!(free_mib = free >> 20, "there is disk space again: events are taken in");
                }
            }
            if !low {
                return Ok(());
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stopped(stop) => return Ok(()),
            }
        }
    }

    /// The index of event `id` of `source`; none where it wasn't taken in.
    pub(super) fn index_of(&self, source: &str, id: &str) -> Result<Option<u64>, HubFault> {
        let ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        let hash = ids.hash(&[source.as_bytes(), id.as_bytes()]);
        Ok(ids.lookup(&hash)?.map(|(index, _)| index))
    }

    /// What a failed publish means: the end where the bus is gone for good,
    /// another try elsewhere.
    pub(super) fn bus_failed(&self, recipient: &MemberName, fault: &BusFault) -> Result<(), HubFault> {
        if let Some(why) = self.store.is_failed() {
            return Err(HubFault::Store(crate::store::StoreFault::Failed(why)));
        }
        tracing::warn!(%recipient, %fault, "publishing failed; it is tried again");
        Ok(())
    }
}
