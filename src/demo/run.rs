//! The demo itself: everything of an exchange, in one process, and an account
//! of what happened.

use super::boost::{BoostConfig, BoostFault, BoostServer, Table};
use super::broker::{DemoBroker, DemoBrokerFault};
use super::faults::{self, Forge, ForgeFault};
use super::options::DemoOptions;
use super::reconcile::{self, ReconcileFault, Streams};
use super::report::{self, Outcome};
use super::setup::{self, API_KEY, JOBSEEKER, OFFER, PROVIDER, RECIPIENT, Setup, SetupFault};
use crate::bus::{self, BusFault};
use crate::connect::manifest::{Connector, ConnectorFault, SourceStream};
use crate::connect::{Connect, ConnectFault, Signer};
use crate::event::{MemberName, Message};
use crate::fault::Reason;
use crate::hub::HubFault;
use crate::hub::operator::{Answer, Handler, RecipientStatus, Request};
use crate::metrics::Stage;
use crate::ops::broker;
use crate::ops::node::{Node, NodeFault};
use crate::schema::{EventSchema, Registry};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};

/// How often the demo looks how far the exchange is.
const GLANCE: Duration = Duration::from_millis(10);
/// How long nothing may move before the demo gives up.
const PATIENCE: Duration = Duration::from_secs(60);
/// The file of the jobseekers that were served, a line each.
const SENT: &str = "sent.jsonl";

/// Why the demo can't go on.
#[derive(Debug, thiserror::Error)]
pub enum DemoFault {
    /// The Boost-like server can't start.
    #[error(transparent)]
    Boost(#[from] BoostFault),
    /// The hub or a member can't start or go on.
    #[error(transparent)]
    Node(#[from] NodeFault),
    /// The hub can't answer or go on.
    #[error(transparent)]
    Hub(#[from] HubFault),
    /// The bus takes no message.
    #[error(transparent)]
    Bus(#[from] BusFault),
    /// A member's folder can't be read.
    #[error(transparent)]
    Connect(#[from] ConnectFault),
    /// The connector can't be read.
    #[error(transparent)]
    Connector(#[from] ConnectorFault),
    /// The RabbitMQ can't be reached.
    #[error(transparent)]
    Broker(#[from] broker::BrokerFault),
    /// The RabbitMQ that was named can't be used.
    #[error("{0}")]
    Unusable(String),
    /// The folder can't be prepared, a message can't be made, or what was
    /// received can't be read.
    #[error("{0}")]
    Own(String),
    /// Nothing moved for a minute.
    #[error("nothing moved for {} seconds: {got} of {wanted} messages were handled; run it again with -v", PATIENCE.as_secs())]
    Stuck {
        /// How many messages the recipient handled.
        got: u64,
        /// How many it was to handle.
        wanted: u64,
    },
}

macro_rules! own {
    ($($fault:ty),+) => {
        $(impl From<$fault> for DemoFault {
            fn from(fault: $fault) -> DemoFault {
                DemoFault::Own(fault.to_string())
            }
        })+
    };
}
own!(SetupFault, ReconcileFault, std::io::Error, crate::schema::SchemaFault);

impl From<DemoBrokerFault> for DemoFault {
    fn from(fault: DemoBrokerFault) -> DemoFault {
        match fault {
            DemoBrokerFault::Manage(fault) => DemoFault::Broker(fault.into()),
            DemoBrokerFault::Address { .. } | DemoBrokerFault::Taken(_) => {
                DemoFault::Unusable(fault.to_string())
            }
            fault => DemoFault::Own(fault.to_string()),
        }
    }
}

impl From<ForgeFault> for DemoFault {
    fn from(fault: ForgeFault) -> DemoFault {
        match fault {
            ForgeFault::Bus(fault) => DemoFault::Bus(fault),
            fault => DemoFault::Own(fault.to_string()),
        }
    }
}

/// Everything that runs.
struct Running {
    setup: Setup,
    server: BoostServer,
    /// How many messages an earlier run left in the hub's inbox on RabbitMQ,
    /// whose own count is seconds old while it runs.
    left: Option<u64>,
    node: Node,
    connector: Connector,
    registry: Registry,
    signer: Signer,
}

/// Runs the demo as `options` say, until it ends or `interrupted` does. Returns
/// whether all was as it has to be.
pub async fn run(options: &DemoOptions, interrupted: impl Future<Output = ()>) -> Result<bool, DemoFault> {
    let temporary = match options.data {
        None => Some(tempfile::Builder::new().prefix("pirogue-demo-").tempdir()?),
        Some(_) => None,
    };
    let folder = match (&options.data, &temporary) {
        (Some(data), _) => data.clone(),
        (None, Some(temporary)) => temporary.path().to_owned(),
        (None, None) => std::env::temp_dir(),
    };
    std::fs::create_dir_all(&folder)?;
    let folder = folder.canonicalize()?;
    let broker = match &options.broker {
        None => None,
        Some(broker) => Some(DemoBroker::prepare(&folder, broker).await?),
    };
    let ran = run_in(options, &folder, broker.as_ref(), interrupted).await;
    // What is kept is for another run, or for the hub as a process.
    if let (Some(broker), Some(_)) = (broker, temporary) {
        broker.remove().await?;
    }
    ran
}

async fn run_in(
    options: &DemoOptions,
    folder: &Path,
    broker: Option<&DemoBroker>,
    interrupted: impl Future<Output = ()>,
) -> Result<bool, DemoFault> {
    tokio::pin!(interrupted);
    let mut told = false;
    let starting = start(options, folder, broker);
    tokio::pin!(starting);
    // What has begun to start is started before it is stopped: half of it would
    // still write into a folder that is being removed.
    let running = loop {
        tokio::select! {
            running = &mut starting => break running?,
            () = &mut interrupted, if !told => told = true,
        }
    };
    let outcome = tokio::select! {
        outcome = load(options, &running), if !told => Some(outcome?),
        () = &mut interrupted, if !told => None,
        else => None,
    };
    let Some(outcome) = outcome else {
        running.stop(options).await?;
        return Ok(true);
    };
    if options.json {
        report::line(&outcome.to_json());
    } else {
        report::line(&report::table(&outcome));
        report::line(&running.side_by_side()?);
        if options.data.is_some() {
            report::line(&report::kept(folder, &running.setup.received));
        }
    }
    if !options.once {
        if !options.json {
            report::line(
                "Une personne et une offre de plus chaque seconde, lues toutes les cinq secondes ; Ctrl-C arrête.\n\
                 One more person and one more offer every second, read every five seconds; Ctrl-C stops.",
            );
        }
        running.trickle(interrupted).await?;
    }
    running.stop(options).await?;
    Ok(outcome.is_good())
}

async fn start(
    options: &DemoOptions,
    folder: &Path,
    broker: Option<&DemoBroker>,
) -> Result<Running, DemoFault> {
    let half = usize::try_from(options.events / 2).unwrap_or(usize::MAX);
    let jobseekers = half.saturating_add(usize::from(options.events % 2 == 1));
    // What an earlier demo on this folder served is served again.
    let more = served_before(folder)?.saturating_sub(jobseekers);
    let config = BoostConfig {
        seed: options.seed,
        jobseekers: jobseekers.saturating_add(more),
        offers: half.saturating_add(more),
        api_key: API_KEY.to_owned(),
        ..BoostConfig::default()
    };
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, options.boost_port));
    let server = BoostServer::start(address, config).await?;
    let url = broker.map(DemoBroker::url);
    let setup = setup::prepare(folder, server.url(), !options.once, url)?;
    let name = MemberName::parse(PROVIDER).map_err(|_| SetupFault::Name)?;
    let signer = crate::connect::signer(&setup.provider, name)?;
    let members = [setup.provider.clone(), setup.recipient.clone()];
    let left = match url {
        None => None,
        Some(url) => {
            let connection = broker::connection(url, bus::HUB, &setup.hub.broker)?;
            Some(connection.ready(bus::INBOX).await?)
        }
    };
    let node = Node::start(&setup.hub, &members).await?;
    let connector = Connector::embedded("boost")?;
    Ok(Running { setup, server, left, node, connector, registry: Registry::embedded()?, signer })
}

/// How many jobseekers an earlier demo on this folder served.
fn served_before(folder: &Path) -> Result<usize, std::io::Error> {
    use std::io::BufRead;
    match std::fs::File::open(folder.join(SENT)) {
        Ok(file) => Ok(std::io::BufReader::new(file).lines().count()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error),
    }
}

/// Waits until all is loaded and handled, and takes stock.
async fn load(options: &DemoOptions, running: &Running) -> Result<Outcome, DemoFault> {
    let bar = report::bar(options.events, options.json);
    let mut watch = Watch::new();
    running.await_what_was_left(&mut watch).await?;
    // The first page is in: now the bad ones, in the middle of the good.
    let (_, original) = running.forge()?.original()?;
    loop {
        running.check().await?;
        bar.set_position(running.recipient()?.counts().handled.get().min(options.events));
        if running.was_taken_in(&original).await {
            break;
        }
        watch.look(0, 1, running.provider()?.counts().pulled.get())?;
        tokio::time::sleep(GLANCE).await;
    }
    running.slip_in_the_bad_ones().await?;

    let ended = loop {
        running.check().await?;
        let handled = running.recipient()?.counts().handled.get();
        bar.set_position(handled.min(options.events));
        match running.all_handled()? {
            None => {
                watch.look(handled, options.events, handled + running.provider()?.counts().pulled.get())?
            }
            Some(ended) => break ended,
        }
        tokio::time::sleep(GLANCE).await;
    };
    bar.finish_and_clear();
    running.take_stock(ended)
}

/// Sees to it that something moves.
struct Watch {
    last: u64,
    since: Instant,
}

impl Watch {
    fn new() -> Watch {
        Watch { last: 0, since: Instant::now() }
    }

    fn look(&mut self, got: u64, wanted: u64, progress: u64) -> Result<(), DemoFault> {
        if progress != self.last {
            *self = Watch { last: progress, since: Instant::now() };
        } else if self.since.elapsed() > PATIENCE {
            return Err(DemoFault::Stuck { got, wanted });
        }
        Ok(())
    }
}

impl Running {
    fn provider(&self) -> Result<&Connect, DemoFault> {
        self.node.member(PROVIDER).ok_or_else(|| DemoFault::Own(format!("{PROVIDER} doesn't run")))
    }

    fn recipient(&self) -> Result<&Connect, DemoFault> {
        self.node.member(RECIPIENT).ok_or_else(|| DemoFault::Own(format!("{RECIPIENT} doesn't run")))
    }

    fn stream(&self, event_type: &str) -> Result<(&SourceStream, &EventSchema), DemoFault> {
        let stream = self.connector.sources.iter().find(|s| s.event_type.as_str() == event_type);
        let schema = self.registry.get(event_type, 1);
        match (stream, schema) {
            (Some(stream), Some(schema)) => Ok((stream, schema)),
            _ => Err(DemoFault::Own(format!("the connector boost has no stream of {event_type}"))),
        }
    }

    fn forge(&self) -> Result<Forge<'_>, DemoFault> {
        let (stream, schema) = self.stream(JOBSEEKER)?;
        let records = [self.server.jobseeker(0), self.server.jobseeker(1)];
        Ok(Forge { signer: &self.signer, revoked: &self.setup.revoked, stream, schema, records })
    }

    /// Fails where a part of the node has.
    async fn check(&self) -> Result<(), DemoFault> {
        match tokio::time::timeout(Duration::ZERO, self.node.wait()).await {
            Ok(Err(fault)) => Err(fault.into()),
            Ok(Ok(())) | Err(_) => Ok(()),
        }
    }

    async fn was_taken_in(&self, message: &Message) -> bool {
        let text = |name| message.text(name).unwrap_or_default().to_owned();
        let request = Request::Trace { source: text("cloudEvents_source"), id: text("cloudEvents_id") };
        let answer = self.node.hub().handle(request).await;
        matches!(answer, Answer::Trace(report) if report.taken_in.is_some())
    }

    /// Waits until the hub has taken what an earlier run on this folder left in
    /// its inbox, for some of the bad ones may be there.
    async fn await_what_was_left(&self, watch: &mut Watch) -> Result<(), DemoFault> {
        let metrics = self.node.hub().metrics();
        let taken = || {
            let refused: u64 = metrics.refused.all().iter().map(|(_, count)| count.get()).sum();
            metrics.accepted.get() + metrics.duplicates.get() + refused
        };
        let waiting = || Ok::<u64, DemoFault>(self.node.hub().status()?.inbox_waiting);
        let last = match self.left {
            Some(left) => left,
            None => taken() + waiting()?,
        };
        while taken() < last && (self.left.is_some() || waiting()? > 0) {
            self.check().await?;
            watch.look(taken(), last, taken())?;
            tokio::time::sleep(GLANCE).await;
        }
        Ok(())
    }

    /// Publishes one bad message for each reason, and one exact duplicate,
    /// unless an earlier run on this folder did.
    async fn slip_in_the_bad_ones(&self) -> Result<(), DemoFault> {
        let before = self.node.hub().quarantine()?;
        let bus = self.node.bus(PROVIDER).ok_or_else(|| DemoFault::Own(format!("{PROVIDER} doesn't run")))?;
        let forge = self.forge()?;
        let mut messages = Vec::new();
        for reason in Reason::ALL {
            if !before.iter().any(|(_, row)| row.reason() == Some(reason)) {
                messages.push(forge.bad(reason)?);
            }
        }
        if self.node.hub().duplicates()? == 0 {
            messages.push(forge.original()?);
        }
        Ok(faults::publish(&bus, messages).await?)
    }

    /// How many records the server holds.
    fn served(&self) -> u64 {
        Table::ALL.iter().map(|table| self.server.rows(*table) as u64).sum()
    }

    /// When the last was handled, if all was: everything that the server holds
    /// is published, decided and handled, and each bad message is refused.
    fn all_handled(&self) -> Result<Option<Instant>, DemoFault> {
        let served = self.served();
        // What was published isn't the measure: a source is read again in part at
        // each start, and repeats count there.
        let hub = self.node.hub();
        if hub.status()?.events < served || hub.recorded_of_members()? < served {
            return Ok(None);
        }
        // A glance isn't of one moment: a batch can go on to a stage that was
        // looked at while it was still in the one before. Each glance that finds
        // every stage empty makes sure of one more of the three: taken in, decided
        // and published, handled.
        for _ in 0..3 {
            if !self.nothing_waits()? {
                return Ok(None);
            }
        }
        Ok(Some(Instant::now()))
    }

    /// Whether no stage has anything left, as far as one glance tells.
    fn nothing_waits(&self) -> Result<bool, DemoFault> {
        let status = self.node.hub().status()?;
        let refused: u64 = status.quarantined.iter().map(|(_, count)| count).sum();
        let mut all_idle = true;
        for RecipientStatus { recipient, undecided, sequence, confirmed, .. } in &status.recipients {
            // The member's own account: a broker's count of what is in a queue is
            // seconds old.
            let handled = match self.node.member(recipient) {
                Some(member) => member.last_handled()?,
                None => None,
            };
            let handled = handled.map_or(0, |(_, last)| last);
            all_idle &= *undecided == 0 && sequence == confirmed && handled == *sequence;
        }
        Ok(refused >= Reason::ALL.len() as u64
            && self.node.hub().duplicates()? > 0
            && status.inbox_waiting == 0
            && all_idle)
    }

    fn take_stock(&self, ended: Instant) -> Result<Outcome, DemoFault> {
        let hub = self.node.hub();
        let seconds =
            self.provider()?.counts().first_pull().map_or(0.0, |first| (ended - first).as_secs_f64());
        let streams = Streams { offers: self.stream(OFFER)?, jobseekers: self.stream(JOBSEEKER)? };
        let tally = reconcile::reconcile(&self.setup.received, &self.server, &streams)?;
        let unverified = self.recipient()?.set_aside()?.iter().filter(|row| row.what == "unverified").count();
        let status = hub.status()?;
        let metrics = hub.metrics();
        let stages = Stage::ALL
            .map(|stage| (stage.as_str(), metrics.stage(stage).total(), metrics.stage(stage).events()))
            .to_vec();
        Ok(Outcome {
            agreement: self.setup.agreement.clone(),
            published: self.provider()?.published()?,
            recorded: hub.recorded_of_members()?,
            delivered: tally.received,
            quarantined: status.quarantined,
            duplicates: hub.duplicates()?,
            tally,
            unverified: unverified as u64,
            seconds,
            redelivered: metrics.redelivered.get() + self.recipient()?.counts().redelivered.get(),
            offers: self.server.rows(Table::Offers) as u64,
            jobseekers: self.server.rows(Table::Jobseekers) as u64,
            withheld: self.withheld()?,
            stages,
        })
    }

    fn withheld(&self) -> Result<Vec<String>, DemoFault> {
        let (_, schema) = self.stream(JOBSEEKER)?;
        Ok(schema.project(&setup::GRANTED.map(str::to_owned))?.withheld().to_vec())
    }

    /// One jobseeker, as sent and as received.
    fn side_by_side(&self) -> Result<String, DemoFault> {
        let (stream, _) = self.stream(JOBSEEKER)?;
        // One with much to say shows best what is withheld.
        let rows = (0..self.server.rows(Table::Jobseekers).min(50)).map(|row| self.server.jobseeker(row));
        let full = |row: &serde_json::Value| {
            row.as_object().map_or(0, |o| o.values().filter(|v| !v.is_null()).count())
        };
        let Some(row) = rows.max_by_key(full) else { return Ok(String::new()) };
        let sent = stream.mapping.map(&row).map_err(|f| DemoFault::Own(f.to_string()))?;
        let Some(sent) = sent.into_iter().next() else { return Ok(String::new()) };
        let name = |data: &serde_json::Value| {
            (data.pointer("/person/family_name").cloned(), data.pointer("/person/given_names").cloned())
        };
        let wanted = name(&sent);
        let received =
            reconcile::find(&self.setup.received, JOBSEEKER, |event| name(&event["data"]) == wanted);
        let subject = format!("person/{}", row["id"].as_str().unwrap_or_default());
        Ok(report::side_by_side(&subject, &sent, &received.unwrap_or_default()))
    }

    /// What the server served, for whoever verifies what was received.
    fn write_sent(&self, folder: &Path) -> Result<(), DemoFault> {
        use std::io::Write;
        let mut file = std::io::BufWriter::new(std::fs::File::create(folder.join(SENT))?);
        for row in 0..self.server.rows(Table::Jobseekers) {
            writeln!(file, "{}", self.server.jobseeker(row))?;
        }
        Ok(file.flush()?)
    }

    /// Adds a record to each table every second, until `interrupted` ends.
    async fn trickle(&self, interrupted: impl Future<Output = ()>) -> Result<(), DemoFault> {
        tokio::pin!(interrupted);
        loop {
            tokio::select! {
                () = &mut interrupted => return Ok(()),
                () = tokio::time::sleep(Duration::from_secs(1)) => self.server.add_trickle(),
                ended = self.node.wait() => return Ok(ended?),
            }
        }
    }

    /// Stops everything, and writes down what was served where it is kept.
    async fn stop(self, options: &DemoOptions) -> Result<(), DemoFault> {
        if let Some(data) = &options.data {
            self.write_sent(data)?;
        }
        let stopped = self.node.stop().await;
        self.server.shutdown().await;
        Ok(stopped?)
    }
}
