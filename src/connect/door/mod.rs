//! The door: HTTP for a back-office that knows nothing else.
//!
//! It posts events (`events`), harmonised already or mapped by a connector whose
//! stream has `driver = "door"`, and is told 202 once the hub's broker has
//! confirmed them all; and it fetches what arrived for it (`deliveries`), which
//! is held here until it is acknowledged (`held`). `openapi` describes all of it
//! from the schemas and the settings.

mod answers;
mod deliveries;
mod draft;
mod events;
mod held;
mod http;
mod keys;
mod openapi;

use crate::bus::Bus;
use crate::config;
use crate::connect::drivers::Sink;
use crate::connect::manifest::Connector;
use crate::connect::outbound::Signer;
use crate::connect::{ConnectFault, Counts};
use crate::event::EventType;
use crate::fault::ListenFault;
use crate::schema::{EventSchema, Registry};
use crate::seal::hmac_bytes;
use crate::store::{Sealing, Store};
use crate::tasks::stopped;
use draft::Form;
use held::{Held, HeldSink};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, watch};

/// The hub's own types: nobody else publishes them.
const HUB_TYPES: &str = "nc.hub.";
/// How many requests with events are worked on at once: each may be as large as
/// `door.request_mib`.
const POSTS: usize = 32;
/// How long what is under way may take once the program is told to stop.
const GRACE: Duration = Duration::from_secs(15);

/// Why the door can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum DoorFault {
    /// The port can't be had.
    #[error(transparent)]
    Listen(#[from] ListenFault),
    /// A connector's stream is for the door, which is closed.
    #[error("records of the stream {0} are posted to the door, which isn't open: set door.enabled = true")]
    Closed(String),
    /// Two streams make the same type of what is posted to it.
    #[error(
        "both {first} and {second} make {event_type} of what is posted: name the one with streams = [\"…\"]"
    )]
    Twice {
        /// The type.
        event_type: EventType,
        /// CONNECTOR/STREAM.
        first: String,
        /// CONNECTOR/STREAM.
        second: String,
    },
}

/// A stream of a connector, whose records are posted.
pub(super) struct Posted {
    pub(super) connector: Arc<Connector>,
    /// The stream's place among the connector's sources.
    pub(super) stream: usize,
    pub(super) generation: u32,
}

impl Posted {
    pub(super) fn name(&self) -> String {
        format!("{}/{}", self.connector.name, self.connector.sources[self.stream].name)
    }
}

/// The door, before it is open.
pub(super) struct Door {
    shared: Arc<Shared>,
    listener: TcpListener,
    faults: mpsc::Receiver<ConnectFault>,
}

/// What every request may need.
struct Shared {
    settings: config::Door,
    signer: Arc<Signer>,
    store: Store,
    bus: Arc<dyn Bus>,
    registry: Arc<Registry>,
    counts: Arc<Counts>,
    mapped: BTreeMap<EventType, Form>,
    harmonised: Form,
    held: Option<Arc<Held>>,
    /// The HMAC of the token, under the member's secret.
    token: Option<[u8; 32]>,
    posts: Semaphore,
    /// Why the last publishing failed, until one succeeds.
    trouble: Mutex<Option<String>>,
    /// Takes what ends the program: a store that failed.
    fatal: mpsc::Sender<ConnectFault>,
    stop: watch::Receiver<bool>,
    description: OnceLock<bytes::Bytes>,
}

/// What the door is made of.
pub(super) struct Parts {
    pub(super) settings: config::Door,
    pub(super) signer: Arc<Signer>,
    pub(super) store: Store,
    pub(super) bus: Arc<dyn Bus>,
    pub(super) registry: Arc<Registry>,
    pub(super) counts: Arc<Counts>,
    pub(super) posted: Vec<Posted>,
    /// Under what deliveries are held, where the inbox leaves them to the door.
    pub(super) sealing: Option<Sealing>,
    pub(super) stop: watch::Receiver<bool>,
}

impl Door {
    /// Takes the port; nothing is answered before [`Door::run`].
    pub(super) async fn open(parts: Parts) -> Result<Door, ConnectFault> {
        let Parts { settings, signer, store, bus, registry, counts, posted, sealing, stop } = parts;
        let mut mapped = BTreeMap::new();
        for posted in posted {
            let event_type = posted.connector.sources[posted.stream].event_type.clone();
            let second = posted.name();
            let Posted { connector, stream, generation } = posted;
            let form = Form::Mapped { connector, stream, generation };
            if let Some(Form::Mapped { connector, stream, .. }) = mapped.insert(event_type.clone(), form) {
                let first = Posted { connector, stream, generation }.name();
                return Err(DoorFault::Twice { event_type, first, second }.into());
            }
        }
        let token = match &settings.token {
            None => None,
            Some(place) => Some(hmac_bytes(signer.id_secret.expose(), place.read()?.as_bytes())),
        };
        let held = match sealing {
            None => None,
            Some(sealing) => Some(Arc::new(Held::open(store.clone(), sealing, settings.held_bytes())?)),
        };
        let address = settings.listen;
        let listener = TcpListener::bind(address)
            .await
            .map_err(|source| DoorFault::from(ListenFault::of(address, "door.listen", source)))?;
        let harmonised = Form::Harmonised { system: settings.system.as_str().into() };
        let (fatal, faults) = mpsc::channel(1);
        let shared = Shared {
            settings,
            signer,
            store,
            bus,
            registry,
            counts,
            mapped,
            harmonised,
            held,
            token,
            posts: Semaphore::new(POSTS),
            trouble: Mutex::default(),
            fatal,
            stop,
            description: OnceLock::new(),
        };
        Ok(Door { shared: Arc::new(shared), listener, faults })
    }

    /// Where it listens.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.listener.local_addr().ok()
    }

    /// The sink of an inbox that leaves what arrives to the door.
    pub(super) fn sink(&self, is_mapped: bool) -> Option<Box<dyn Sink>> {
        let held = self.shared.held.clone()?;
        Some(Box::new(HeldSink { held, is_mapped }))
    }

    /// Answers until the program stops. Fails where the store did, or the system
    /// refuses.
    pub(super) async fn run(self) -> Result<(), ConnectFault> {
        let Door { shared, listener, mut faults } = self;
        let address = shared.settings.listen;
        let mut stop = shared.stop.clone();
        let mut until = stop.clone();
        let serving = axum::serve(listener, http::router(shared))
            .with_graceful_shutdown(async move { stopped(&mut until).await });
        let grace = async {
            stopped(&mut stop).await;
            tokio::time::sleep(GRACE).await;
        };
        tokio::select! {
            served = serving => served.map_err(|source| DoorFault::from(ListenFault::Io { address, source }).into()),
            fault = faults.recv() => Err(fault.unwrap_or(ConnectFault::Stopped)),
            () = grace => Ok(()),
        }
    }
}

impl Shared {
    /// The types that may be posted.
    fn schemas(&self) -> impl Iterator<Item = &Arc<EventSchema>> {
        self.registry.schemas().filter(|schema| !schema.event_type().as_str().starts_with(HUB_TYPES))
    }

    /// How what is posted as `event_type` becomes events.
    fn form(&self, event_type: &EventType) -> &Form {
        self.mapped.get(event_type).unwrap_or(&self.harmonised)
    }

    fn trouble(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the program: nothing is answered from a store that failed.
    fn fail(&self, fault: impl Into<ConnectFault>) {
        // One is enough.
        let _ = self.fatal.try_send(fault.into());
    }
}
