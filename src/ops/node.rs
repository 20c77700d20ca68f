//! What a process runs: a hub, on the embedded bus with members beside it or on
//! RabbitMQ alone, with the operator's socket and the HTTP endpoints; or a
//! member's side alone, on RabbitMQ.

use crate::bus::embedded::{Broker, BrokerOptions};
use crate::bus::manage::Queues;
use crate::bus::{Bus, BusFault, HUB};
use crate::config::{BusSetting, ConnectConfig, HubConfig};
use crate::connect::{Connect, ConnectFault};
use crate::fault::ListenFault;
use crate::hub::operator::{Answer, Handler, Request};
use crate::hub::{self, Hub, HubFault, Provisioned, Topology};
use crate::journal;
use crate::metrics::Metrics;
use crate::ops::broker::{self, BrokerFault};
use crate::ops::journal::{Published, ReadersFault};
use crate::ops::{http, socket};
use crate::seal::MasterKey;
use crate::store::{Sealing, Store, StoreFault, StoreOptions};
use crate::tasks::stopped;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Why a node can't start or go on.
#[derive(Debug, thiserror::Error)]
pub enum NodeFault {
    /// The store can't be opened.
    #[error(transparent)]
    Store(#[from] StoreFault),
    /// The embedded bus can't be opened.
    #[error(transparent)]
    Bus(#[from] BusFault),
    /// RabbitMQ can't be connected to.
    #[error(transparent)]
    Broker(#[from] BrokerFault),
    /// The hub can't start or go on.
    #[error(transparent)]
    Hub(#[from] HubFault),
    /// The socket can't be opened.
    #[error(transparent)]
    Socket(#[from] socket::SocketFault),
    /// The port can't be taken.
    #[error(transparent)]
    Http(#[from] ListenFault),
    /// The file of those who may read the journal can't be used.
    #[error(transparent)]
    Readers(#[from] ReadersFault),
    /// A member of this process is configured for the embedded bus, and the hub
    /// is on RabbitMQ.
    #[error("{member}: its bus is \"embedded\", but the hub is on RabbitMQ: set its bus to the broker's URL")]
    OtherBus {
        /// The member.
        member: String,
    },
    /// A member's side can't start or go on.
    #[error("{member}: {fault}")]
    Connect {
        /// The member.
        member: String,
        /// Why.
        #[source]
        fault: ConnectFault,
    },
}

/// A hub with what answers its operator, on any bus.
pub struct HubNode {
    hub: Arc<Hub>,
    address: Option<SocketAddr>,
    stop: watch::Sender<bool>,
    serving: JoinSet<()>,
}

/// A running node: a hub, and members in its process.
pub struct Node {
    node: HubNode,
    carrier: Carrier,
    members: Vec<Connect>,
}

/// What carries the messages of a node.
enum Carrier {
    Embedded(Broker),
    /// Each member's connection.
    Rabbit(BTreeMap<String, Arc<dyn Bus>>),
}

/// What the hub of `config`, which doesn't run, answers to `request` from its
/// store. While this works, no hub can start on that store.
pub async fn ask_at_rest(config: &HubConfig, request: Request) -> Result<Answer, NodeFault> {
    let (store, master) = open(config).await?;
    let (bus, topology): (Arc<dyn Bus>, Arc<dyn Topology>) = match &config.bus {
        BusSetting::Embedded => {
            let broker = embedded(config, &store, &master)?;
            (broker.connect(HUB), Arc::new(broker))
        }
        // It isn't connected to: nothing is published or consumed.
        BusSetting::Amqp(url) => {
            (Arc::new(broker::connection(url, HUB, &config.broker)?), Arc::new(Provisioned))
        }
    };
    let hub = Hub::at_rest(config, store, &master, bus, topology).await?;
    Ok(hub.handle(request).await)
}

/// The store and the master key of `config`.
async fn open(config: &HubConfig) -> Result<(Store, MasterKey), NodeFault> {
    let data = config.data.clone();
    let store = tokio::task::spawn_blocking(move || Store::open(&data, StoreOptions::default()));
    let store = store.await.map_err(|_| HubFault::Stopped)??;
    let master = hub::master_key(&config.keys.master, &store).await?;
    Ok((store, master))
}

/// The embedded bus of `config`.
fn embedded(config: &HubConfig, store: &Store, master: &MasterKey) -> Result<Broker, NodeFault> {
    let options = BrokerOptions { queue_bytes: config.queue.max_bytes(), ..BrokerOptions::default() };
    Ok(Broker::open(store.clone(), Sealing::new(master, "bus"), options)?)
}

/// Takes the port of `config`, if it answers HTTP.
async fn bind(config: &HubConfig) -> Result<Option<TcpListener>, NodeFault> {
    match config.http.enabled {
        true => Ok(Some(http::bind(config.http.listen).await?)),
        false => Ok(None),
    }
}

impl HubNode {
    /// Starts the hub of `config` alone, on the RabbitMQ that it names. While
    /// the broker is away the hub waits for it.
    pub async fn on_rabbitmq(config: &HubConfig, url: &str) -> Result<HubNode, NodeFault> {
        let listener = bind(config).await?;
        let connection = Arc::new(broker::connection(url, HUB, &config.broker)?);
        let topology: Arc<dyn Topology> = match broker::management(&config.management)? {
            None => Arc::new(Provisioned),
            Some(management) => {
                Arc::new(Queues::new(Arc::new(management), connection.vhost(), config.queue.max_bytes()))
            }
        };
        let (store, master) = open(config).await?;
        HubNode::start(config, listener, store, &master, connection, topology).await
    }

    async fn start(
        config: &HubConfig,
        listener: Option<TcpListener>,
        store: Store,
        master: &MasterKey,
        bus: Arc<dyn Bus>,
        topology: Arc<dyn Topology>,
    ) -> Result<HubNode, NodeFault> {
        let published = Published::new(config.data.join(journal::FOLDER), config.journal.readers.clone())?;
        let hub = Hub::start(config, store, master, bus, topology, Metrics::new()).await?;
        let stop = watch::Sender::new(false);
        let mut serving = JoinSet::new();
        let handler: Arc<dyn Handler> = Arc::clone(&hub) as Arc<dyn Handler>;
        let socket = socket::Socket::open(&config.data)?;
        let mut until = stop.subscribe();
        let answering = Arc::clone(&handler);
        serving.spawn(async move { socket.serve(answering, async { stopped(&mut until).await }).await });
        let mut address = None;
        if let Some(listener) = listener {
            address = listener.local_addr().ok();
            let mut until = stop.subscribe();
            serving.spawn(async move {
                if let Err(fault) =
                    http::serve(listener, handler, published, async move { stopped(&mut until).await }).await
                {
                    tracing::error!(%fault, "HTTP isn't answered any more");
                }
            });
        }
        Ok(HubNode { hub, address, stop, serving })
    }

    /// The hub.
    pub fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    /// Where HTTP is answered.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Waits until an operator asks the hub to stop, or it fails.
    pub async fn wait(&self) -> Result<(), NodeFault> {
        Ok(self.hub.wait().await?)
    }

    /// Stops in good order: the hub, then what answers.
    pub async fn stop(mut self) -> Result<(), NodeFault> {
        let stopped = self.hub.stop().await.map_err(NodeFault::from);
        self.stop.send_replace(true);
        while self.serving.join_next().await.is_some() {}
        stopped
    }
}

impl Node {
    /// Starts the hub of `config` on its bus, with the members of `members` in
    /// this process.
    pub async fn start(config: &HubConfig, members: &[ConnectConfig]) -> Result<Node, NodeFault> {
        let (node, carrier) = match &config.bus {
            BusSetting::Amqp(url) => {
                let node = HubNode::on_rabbitmq(config, url).await?;
                (node, Carrier::Rabbit(BTreeMap::new()))
            }
            BusSetting::Embedded => {
                // What can fail for a plain reason comes first: a port in use.
                let listener = bind(config).await?;
                let (store, master) = open(config).await?;
                let broker = embedded(config, &store, &master)?;
                let topology: Arc<dyn Topology> = Arc::new(broker.clone());
                let bus = broker.connect(HUB);
                let node = HubNode::start(config, listener, store, &master, bus, topology).await?;
                (node, Carrier::Embedded(broker))
            }
        };
        let mut node = Node { node, carrier, members: Vec::new() };
        for member in members {
            match node.start_member(member).await {
                Ok(connect) => node.members.push(connect),
                Err(fault) => {
                    // What was started ends in good order.
                    let _ = node.stop().await;
                    return Err(fault);
                }
            }
        }
        Ok(node)
    }

    async fn start_member(&mut self, config: &ConnectConfig) -> Result<Connect, NodeFault> {
        let member = &config.member;
        let bus = match (&mut self.carrier, &config.bus) {
            (Carrier::Rabbit(connections), BusSetting::Amqp(url)) => {
                let bus: Arc<dyn Bus> = Arc::new(broker::connection(url, member, &config.broker)?);
                connections.insert(member.clone(), Arc::clone(&bus));
                bus
            }
            (Carrier::Rabbit(_), BusSetting::Embedded) => {
                return Err(NodeFault::OtherBus { member: member.clone() });
            }
            (Carrier::Embedded(broker), _) => broker.connect(member),
        };
        let started = Connect::start(config, bus).await;
        started.map_err(|fault| NodeFault::Connect { member: member.clone(), fault })
    }

    /// The hub.
    pub fn hub(&self) -> &Arc<Hub> {
        self.node.hub()
    }

    /// The bus as `user` has it. On RabbitMQ only the members of this process
    /// have one here.
    pub fn bus(&self, user: &str) -> Option<Arc<dyn Bus>> {
        match &self.carrier {
            Carrier::Embedded(broker) => Some(broker.connect(user)),
            Carrier::Rabbit(connections) => connections.get(user).map(Arc::clone),
        }
    }

    /// The members that run in this process.
    pub fn members(&self) -> &[Connect] {
        &self.members
    }

    /// The member called `name`, if it runs in this process.
    pub fn member(&self, name: &str) -> Option<&Connect> {
        self.members.iter().find(|connect| connect.member().as_str() == name)
    }

    /// Where HTTP is answered.
    pub fn address(&self) -> Option<SocketAddr> {
        self.node.address()
    }

    /// Waits until an operator asks the hub to stop, or a part fails.
    pub async fn wait(&self) -> Result<(), NodeFault> {
        let mut waiting: Vec<_> = self.members.iter().map(|connect| Box::pin(connect.wait())).collect();
        let first_fault = std::future::poll_fn(|context| {
            for (connect, waiting) in self.members.iter().zip(&mut waiting) {
                if let std::task::Poll::Ready(Err(fault)) = waiting.as_mut().poll(context) {
                    return std::task::Poll::Ready((connect.member().to_string(), fault));
                }
            }
            std::task::Poll::Pending
        });
        tokio::select! {
            hub = self.node.wait() => hub,
            (member, fault) = first_fault => Err(NodeFault::Connect { member, fault }),
        }
    }

    /// Stops in good order: members first, then the hub, then what answers.
    pub async fn stop(mut self) -> Result<(), NodeFault> {
        let mut first = Ok(());
        for connect in self.members.drain(..) {
            let member = connect.member().to_string();
            let stopped = connect.stop().await.map_err(|fault| NodeFault::Connect { member, fault });
            first = first.and(stopped);
        }
        first.and(self.node.stop().await)
    }
}

/// Starts the member's side of `config` alone, on the RabbitMQ at `url`. While
/// the broker is away it waits for it.
pub async fn connect_on_rabbitmq(config: &ConnectConfig, url: &str) -> Result<Connect, NodeFault> {
    let bus = Arc::new(broker::connection(url, &config.member, &config.broker)?);
    let started = Connect::start(config, bus).await;
    started.map_err(|fault| NodeFault::Connect { member: config.member.clone(), fault })
}
