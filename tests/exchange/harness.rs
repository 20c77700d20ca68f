//! A hub in a folder of its own, and members who publish and receive by hand,
//! as any program that follows WIRE.md would.

pub use crate::messages::*;

use pirogue::admin::prepare::{self, MemberKeys};
use pirogue::agreements::sign_text;
use pirogue::bus::{BatchLimits, Confirm, Consumer, Delivery, EVENTS};
use pirogue::config::HubConfig;
use pirogue::connect::recipient::Recipient;
use pirogue::event::Message;
use pirogue::hub::Hub;
use pirogue::hub::operator::{Answer, Handler, ReloadReport, Request, StatusReport, TraceReport};
use pirogue::journal::{self, Entry};
use pirogue::keys::{Jwk, Jwks, PrivateKey};
use pirogue::members::Directory;
use pirogue::ops::node::Node;
use pirogue::store::{Store, StoreOptions};
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// How long anything may take. Only a test that fails waits for so long.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often a condition is looked at.
const GLANCE: Duration = Duration::from_millis(2);

/// Everything that any hub of this process logs, at every level.
static LOGS: Mutex<Vec<u8>> = Mutex::new(Vec::new());

/// How many tasks of hubs panicked.
static PANICS: AtomicUsize = AtomicUsize::new(0);

/// Fails where a task of any hub of this process panicked.
pub fn nothing_panicked() {
    assert_eq!(PANICS.load(Ordering::Relaxed), 0, "a task of a hub panicked");
}

struct Log;

impl std::io::Write for Log {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        LOGS.lock().unwrap().extend_from_slice(line);
        Ok(line.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Whether `text` was logged, by whichever test.
pub fn was_logged(text: &str) -> bool {
    let logs = LOGS.lock().unwrap();
    assert!(contains(&logs, LOGGED.as_bytes()), "the log isn't captured");
    contains(&logs, text.as_bytes())
}

/// A line that is always there, so that an empty log is noticed.
const LOGGED: &str = "an exchange is prepared";

/// Whether `needle` is somewhere in `bytes`.
pub fn contains(bytes: &[u8], needle: &[u8]) -> bool {
    bytes.windows(needle.len()).any(|window| window == needle)
}

struct Running {
    // Dropped first: they hold the store.
    consumers: HashMap<String, Box<dyn Consumer>>,
    node: Node,
    runtime: Runtime,
}

/// A hub and its members.
pub struct Exchange {
    running: Option<Running>,
    pub config: HubConfig,
    members: BTreeMap<String, MemberKeys>,
    // Dropped last: what runs in it ends before.
    folder: TempDir,
}

impl Exchange {
    /// Prepares a hub with `members`; it doesn't run yet.
    pub fn prepare(members: &[&str]) -> Exchange {
        static ONCE: std::sync::Once = std::sync::Once::new();
        ONCE.call_once(|| {
            let all = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_ansi(false);
            tracing::subscriber::set_global_default(all.with_writer(|| Log).finish()).unwrap();
            let usual = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                let of_hub = std::thread::current().name() == Some("tokio-rt-worker");
                PANICS.fetch_add(usize::from(of_hub), Ordering::Relaxed);
                usual(panic);
            }));
        });
        tracing::trace!("{LOGGED}");
        let folder = tempfile::tempdir().unwrap();
        prepare::hub(folder.path()).unwrap();
        let toml = folder.path().join("hub.toml");
        let text = format!("name = \"{NAME}\"\n[store]\nlow_water_mib = 1\n[http]\nenabled = false\n");
        std::fs::write(&toml, text).unwrap();
        let config = HubConfig::load(&toml).unwrap();
        let mut exchange = Exchange { running: None, config, members: BTreeMap::new(), folder };
        for member in members {
            exchange.join(member);
        }
        exchange
    }

    /// Two members, and an agreement that hands everything over unchanged.
    pub fn simple() -> Exchange {
        let mut exchange = Exchange::prepare(&[SUD, GOUV]);
        exchange.agree(&whole("tout", SUD, GOUV));
        exchange.start();
        exchange
    }

    /// Adds a member.
    pub fn join(&mut self, member: &str) {
        let keys = prepare::member(&self.folder.path().join("of").join(member)).unwrap();
        self.members.insert(member.to_owned(), keys);
        self.publish_keys(member, &[]);
    }

    /// Writes down the keys of `member`: its two, and `others`.
    pub fn publish_keys(&self, member: &str, others: &[Jwk]) {
        let mut keys = self.keys(member).public(&name(member));
        keys.keys.extend(others.iter().cloned());
        let path = self.config.members.join(format!("{member}.jwks.json"));
        prepare::write(&path, &keys.to_json()).unwrap();
    }

    pub fn keys(&self, member: &str) -> &MemberKeys {
        &self.members[member]
    }

    /// The key with which `member` signs its events.
    pub fn key(&self, member: &str) -> &PrivateKey {
        &self.keys(member).event
    }

    /// Writes the agreement, signed by both parties.
    pub fn agree(&self, terms: &Terms) {
        self.agree_signed(terms, &[terms.provider, terms.recipient]);
    }

    /// Writes the agreement, signed by `signers` only.
    pub fn agree_signed(&self, terms: &Terms, signers: &[&str]) {
        self.write_note(&format!("{}-{}", terms.id, terms.version), &self.sign(&terms.text(), signers));
    }

    /// The text as a note of `signers`.
    pub fn sign(&self, text: &str, signers: &[&str]) -> String {
        let names: Vec<_> = signers.iter().map(|signer| name(signer)).collect();
        let signers: Vec<_> =
            names.iter().map(|name| (name, &self.members[name.as_str()].agreement)).collect();
        sign_text(text, &signers).unwrap()
    }

    pub fn write_note(&self, file: &str, note: &str) {
        prepare::write(&self.config.agreements.join(format!("{file}.note")), note).unwrap();
    }

    /// The note that was written as `file`.
    pub fn note(&self, file: &str) -> String {
        std::fs::read_to_string(self.config.agreements.join(format!("{file}.note"))).unwrap()
    }

    /// Writes the note by which `member` ends the agreement `id`.
    pub fn revoke(&self, id: &str, member: &str) {
        self.write_note(&format!("{id}.revoked"), &self.sign(&format!("revoke = \"{id}\"\n"), &[member]));
    }

    // ---- running --------------------------------------------------------------

    pub fn start(&mut self) {
        assert!(self.running.is_none());
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let node = runtime.block_on(Node::start(&self.config, &[])).unwrap();
        self.running = Some(Running { consumers: HashMap::new(), node, runtime });
    }

    /// Stops in good order.
    pub fn stop(&mut self) {
        let Running { consumers, node, runtime } = self.running.take().unwrap();
        drop(consumers);
        runtime.block_on(node.stop()).unwrap();
    }

    /// Ends every task where it is, and gives no part the time to tidy up.
    pub fn crash(&mut self) {
        let Running { consumers, node, runtime } = self.running.take().unwrap();
        // The hub's tasks go with their runtime; only then its handle.
        drop(runtime);
        drop((consumers, node));
    }

    fn running(&self) -> &Running {
        self.running.as_ref().expect("the hub runs")
    }

    pub fn hub(&self) -> &Hub {
        self.running().node.hub()
    }

    pub fn node(&self) -> &Node {
        &self.running().node
    }

    /// The hub's configuration, as a process takes it.
    #[allow(dead_code, reason = "not every test program that has this module runs a process")]
    pub fn config_file(&self) -> PathBuf {
        self.folder.path().join("hub.toml")
    }

    /// The hub's data folder.
    pub fn data(&self) -> &Path {
        &self.config.data
    }

    pub fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.running().runtime.block_on(future)
    }

    pub fn status(&self) -> StatusReport {
        self.hub().status().unwrap()
    }

    pub fn trace(&self, source: &str, id: &str) -> TraceReport {
        let request = Request::Trace { source: source.to_owned(), id: id.to_owned() };
        match self.block_on(self.hub().handle(request)) {
            Answer::Trace(report) => report,
            other => panic!("{other:?}"),
        }
    }

    /// Reads members and agreements again, as `pirogue reload` does.
    pub fn reload(&self) -> ReloadReport {
        match self.block_on(self.hub().handle(Request::Reload)) {
            Answer::Reloaded(report) => report,
            other => panic!("{other:?}"),
        }
    }

    /// Waits until `condition` holds of the hub's status.
    pub fn wait(&self, what: &str, condition: impl Fn(&StatusReport) -> bool) -> StatusReport {
        let deadline = Instant::now() + PATIENCE;
        self.block_on(async {
            loop {
                let status = self.status();
                if condition(&status) {
                    return status;
                }
                if Instant::now() > deadline {
                    let ended = tokio::time::timeout(GLANCE, self.hub().wait()).await;
                    panic!("waited in vain until {what}: {status:?}; the hub: {ended:?}");
                }
                tokio::time::sleep(GLANCE).await;
            }
        })
    }

    /// Waits until everything that was published is recorded, or refused, and
    /// decided for everyone.
    pub fn decided(&self) -> StatusReport {
        // One after the other: a status isn't of one moment.
        self.wait("all is recorded", |status| status.inbox_waiting == 0);
        self.wait("all is decided", |status| status.recipients.iter().all(|r| r.undecided == 0))
    }

    /// Waits until all that was decided is confirmed as well.
    pub fn settled(&self) -> StatusReport {
        self.decided();
        self.wait("all is confirmed", |status| status.recipients.iter().all(|r| r.confirmed == r.sequence))
    }

    /// The journal of the hub, which doesn't run, hashed again to its root.
    pub fn entries(&self) -> Vec<Entry> {
        assert!(self.running.is_none());
        let store = Store::open(self.data(), StoreOptions::default()).unwrap();
        journal::read_all(&store).unwrap()
    }

    /// The number of the last message decided for `member`.
    pub fn sequence(&self, member: &str) -> u64 {
        sequence_in(&self.status(), member)
    }

    // ---- publishing and receiving -----------------------------------------------

    /// Publishes in order, again where the bus says "later", until all is taken.
    pub fn publish(&self, sent: impl IntoIterator<Item = Sent>) {
        let mut runs: Vec<(String, Vec<(String, Message)>)> = Vec::new();
        for Sent { user, routing_key, message } in sent {
            match runs.last_mut() {
                Some((last, batch)) if *last == user => batch.push((routing_key, message)),
                _ => runs.push((user, vec![(routing_key, message)])),
            }
        }
        let deadline = Instant::now() + PATIENCE;
        self.block_on(async {
            for (user, mut batch) in runs {
                let bus = self.node().bus(&user).unwrap();
                while !batch.is_empty() {
                    assert!(Instant::now() < deadline, "the inbox takes no more");
                    let confirms = bus.publish(EVENTS, batch.clone()).await.unwrap();
                    let taken = confirms.iter().take_while(|c| matches!(c, Confirm::Accepted)).count();
                    batch.drain(..taken);
                    if !batch.is_empty() {
                        tokio::time::sleep(GLANCE).await;
                    }
                }
            }
        });
    }

    /// The next `count` messages of `member`'s queue, raw and unacknowledged.
    pub fn receive(&mut self, member: &str, count: usize) -> Vec<Delivery> {
        let Running { consumers, node, runtime } = self.running.as_mut().expect("the hub runs");
        runtime.block_on(async {
            let deadline = tokio::time::Instant::now() + PATIENCE;
            if !consumers.contains_key(member) {
                let bus = node.bus(member).unwrap();
                let consumer = bus.consume(&format!("pirogue.to.{member}"), 0).await.unwrap();
                consumers.insert(member.to_owned(), consumer);
            }
            let consumer = consumers.get_mut(member).unwrap();
            let mut all: Vec<Delivery> = Vec::new();
            while all.len() < count {
                let limits =
                    BatchLimits { messages: count - all.len(), bytes: usize::MAX, linger: Duration::ZERO };
                match tokio::time::timeout_at(deadline, consumer.next(&limits)).await {
                    Ok(more) => all.extend(more.unwrap()),
                    Err(_) => {
                        let ended = tokio::time::timeout(GLANCE, node.hub().wait()).await;
                        let got = all.len();
                        panic!("{member} got {got} of {count} messages; the hub: {ended:?}")
                    }
                }
            }
            all
        })
    }

    /// Acknowledges up to and including `tag`.
    pub fn ack(&mut self, member: &str, tag: u64) {
        let Running { consumers, runtime, .. } = self.running.as_mut().expect("the hub runs");
        runtime.block_on(consumers.get_mut(member).unwrap().ack(tag)).unwrap();
    }

    /// Stops consuming: what isn't acknowledged goes back.
    pub fn hang_up(&mut self, member: &str) {
        self.running.as_mut().expect("the hub runs").consumers.remove(member);
    }

    /// The next `count` messages of `member`'s queue, acknowledged, and each
    /// checked as WIRE.md section 3 tells a recipient to.
    pub fn take(&mut self, member: &str, count: usize) -> Vec<Got> {
        let mut deliveries = Vec::with_capacity(count);
        for _ in 0..count {
            // One at a time: what isn't acknowledged fills the queue.
            let one = self.receive(member, 1).remove(0);
            self.ack(member, one.tag);
            deliveries.push(one);
        }
        self.check(member, deliveries)
    }

    /// Checks messages as WIRE.md section 3 tells a recipient to.
    pub fn check(&self, member: &str, deliveries: Vec<Delivery>) -> Vec<Got> {
        let hub = std::fs::read_to_string(self.folder.path().join("hub.jwks.json")).unwrap();
        let directory = Directory::load(&self.config.members).unwrap();
        let recipient = Recipient::new(name(member), Jwks::parse(&hub).unwrap(), directory);
        let check = |delivery: Delivery| Got {
            accepted: recipient.check(delivery.message).unwrap_or_else(|e| panic!("unverified: {}", e.why)),
            routing_key: delivery.routing_key,
            redelivered: delivery.redelivered,
        };
        deliveries.into_iter().map(check).collect()
    }

    /// Takes all that was decided for `member` since `after`, its last number.
    pub fn take_all(&mut self, member: &str, after: u64) -> Vec<Got> {
        let until = sequence_in(&self.decided(), member);
        let got = self.take(member, (until - after) as usize);
        assert!(got.iter().map(Got::sequence).eq(after + 1..=until), "the numbers have a gap");
        got
    }
}

pub fn sequence_in(status: &StatusReport, member: &str) -> u64 {
    let found = status.recipients.iter().find(|r| r.recipient == member);
    found.unwrap_or_else(|| panic!("{member} has no release")).sequence
}

/// Every file below `folder`, with its content.
pub fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            all.extend(files(&entry.path()));
        } else if kind.is_file() {
            match std::fs::read(entry.path()) {
                Ok(bytes) => all.push((entry.path(), bytes)),
                // A hub that runs replaces HEAD, and deletes logs that are done with.
                Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::NotFound),
            }
        }
    }
    all
}
