//! A load through hub and members as processes of their own, to which a test
//! does what it wants, and the account that is made after it.

use super::broker::Node;
use super::installation::{self, Places};
use super::process::{Process, command, hub_status};
use super::proxy::{Proxy, Way};
use super::received::{Account, reconcile, reconcile_part};
use pirogue::bus::manage::Management;
use pirogue::demo::boost::{BoostServer, Table};
use serde_json::Value;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

const SEED: u64 = 12;
/// How long anything may take that isn't seen to go on.
const PATIENCE: Duration = Duration::from_secs(120);
/// Rows that are read at once: few, so that the load can be held to a row or so.
const PAGE: usize = 25;
/// The notices of the demo's refusals are numbered among the hub's events.
const NOTICES: u64 = 12;
/// The schemas that go before the first events of each type.
const SCHEMAS: u64 = 2;

/// A number from the environment.
fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

/// Two loads at once at most, however many tests the machine would run.
struct Slot;

static LOADS: (Mutex<usize>, Condvar) = (Mutex::new(0), Condvar::new());

impl Slot {
    fn take() -> Slot {
        let loads = LOADS.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut loads =
            LOADS.1.wait_while(loads, |loads| *loads >= 2).unwrap_or_else(PoisonError::into_inner);
        *loads += 1;
        Slot
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        *LOADS.0.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        LOADS.1.notify_one();
    }
}

/// Runs a test as often as `PIROGUE_MATRIX_ROUNDS` says, once unless it is set.
pub fn rounds(mut test: impl FnMut()) {
    let _slot = Slot::take();
    for _ in 0..setting("PIROGUE_MATRIX_ROUNDS", 1) {
        test();
    }
}

/// One of the processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Hub,
    Publisher,
    Recipient,
}

use Part::{Hub, Publisher, Recipient};

/// A process that is started again, and what it said before.
#[derive(Default)]
struct Supervised {
    process: Option<Process>,
    said: String,
}

/// How the parts reach the broker.
pub struct Network {
    /// The broker's port for the hub.
    pub hub: u16,
    /// The broker's port for members.
    pub members: u16,
    /// The management API.
    pub management: String,
}

impl Network {
    /// Straight to `node`.
    pub fn straight(node: &Node) -> Network {
        Network {
            hub: node.port,
            members: node.port,
            management: format!("http://{}", node.management().address()),
        }
    }
}

/// A load under way.
pub struct Load {
    name: &'static str,
    path: PathBuf,
    _folder: Option<tempfile::TempDir>,
    pub runtime: Runtime,
    /// How many events it is.
    pub events: u64,
    pub vhost: String,
    management: Management,
    parts: [Supervised; 3],
    /// How many rows the publisher's software gives. A proxy before it stalls
    /// then, so that each of several faults meets a load.
    server: Arc<BoostServer>,
    gate: Arc<AtomicU64>,
    /// How many rows more it gives for the exchange to recover: none is the rest.
    more: Option<u64>,
    /// The part that a supervisor starts again when it ends.
    supervised: Option<Part>,
    /// Since when the end of a fault is awaited, and the event that shows it.
    recovering: Option<(Instant, u64)>,
    recoveries: Vec<Duration>,
    seen: (u64, Instant),
}

impl Load {
    /// A load of `PIROGUE_MATRIX_EVENTS` events, 5,000 unless it is set, over
    /// `node`. `network` says how the parts reach it, and its virtual host, which
    /// is there by then. Nothing runs yet.
    pub fn prepare(name: &'static str, node: &Node, network: impl FnOnce(&Runtime, &str) -> Network) -> Load {
        let folder = tempfile::tempdir().unwrap();
        let mut load = Load::prepare_in(name, folder.path(), node, network);
        load._folder = Some(folder);
        load
    }

    /// As [`Load::prepare`], in a folder where a disk may be mounted already.
    pub fn prepare_in(
        name: &'static str,
        path: &Path,
        node: &Node,
        network: impl FnOnce(&Runtime, &str) -> Network,
    ) -> Load {
        let events = setting("PIROGUE_MATRIX_EVENTS", 5000);
        // A virtual host of each round's own.
        let own = path.file_name().unwrap().to_str().unwrap();
        let vhost = format!("{name} {own}").replace(|c: char| !c.is_ascii_alphanumeric(), "-");
        installation::make_demo(path, SEED);
        let runtime = Runtime::new().unwrap();
        let server = runtime.block_on(installation::boost(events as usize, SEED, PAGE));
        let port = server.url().rsplit(':').next().unwrap().parse().unwrap();
        let source = Proxy::start(runtime.handle(), &[port]);
        let boost = format!("http://127.0.0.1:{}", source.port);
        let gate = Arc::<AtomicU64>::default();
        let server = Arc::new(server);
        runtime.spawn(hold(Arc::clone(&server), source, Arc::clone(&gate)));
        runtime.block_on(installation::provision(node, &vhost));
        let Network { hub, members, management } = network(&runtime, &vhost);
        let places = Places { vhost: &vhost, hub, members, management: Some(&management), boost: &boost };
        installation::turn_to_rabbitmq(path, &places);
        let management =
            Management::new(&management, "guest", "guest".to_owned().into(), &Default::default()).unwrap();
        Load {
            name,
            path: path.to_owned(),
            _folder: None,
            runtime,
            events,
            vhost,
            management,
            parts: Default::default(),
            server,
            gate,
            more: None,
            supervised: None,
            recovering: None,
            recoveries: Vec::new(),
            seen: (0, Instant::now()),
        }
    }

    /// As [`Load::prepare`], straight to `node`, and everything runs.
    pub fn start(name: &'static str, node: &Node) -> Load {
        let mut load = Load::prepare(name, node, |_, _| Network::straight(node));
        load.run_all();
        load
    }

    /// Starts every part.
    pub fn run_all(&mut self) {
        [Hub, Publisher, Recipient].into_iter().for_each(|part| self.run(part));
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Starts a part.
    pub fn run(&mut self, part: Part) {
        let (program, file) = match part {
            Hub => ("hub", "hub/hub.toml"),
            Publisher => ("connect", "province-sud/connect.toml"),
            Recipient => ("connect", "gouvernement/connect.toml"),
        };
        let process = installation::start(self.path(), &["-v"], program, file);
        self.parts[part as usize].process = Some(process);
    }

    fn take(&mut self, part: Part) -> Process {
        self.parts[part as usize].process.take().expect("it runs")
    }

    /// SIGKILL.
    pub fn kill(&mut self, part: Part) {
        let said = self.take(part).kill();
        self.parts[part as usize].said += &said;
    }

    /// SIGTERM; it has to end well.
    pub fn stop(&mut self, part: Part) {
        let ended = self.take(part).terminate();
        assert!(ended.status.success(), "{part:?}: {}", ended.stderr);
        self.parts[part as usize].said += &ended.stderr;
    }

    /// From now on `part` is started again when it ends with a status that isn't
    /// 0, as a supervisor does.
    pub fn supervise(&mut self, part: Part) {
        self.supervised = Some(part);
    }

    /// Waits until a part ends by itself. Returns its exit code.
    fn end(&mut self, part: Part) -> Option<i32> {
        let ended = self.take(part).end();
        self.parts[part as usize].said += &ended.stderr;
        ended.status.code()
    }

    /// All that a part has said since it was first started.
    pub fn said(&self, part: Part) -> String {
        let supervised = &self.parts[part as usize];
        let now = supervised.process.as_ref().map(Process::stderr).unwrap_or_default();
        format!("{}{now}", supervised.said)
    }

    /// How often a part has said `words`.
    pub fn count(&self, part: Part, words: &str) -> usize {
        self.said(part).matches(words).count()
    }

    /// How many events the hub has taken in, or is about to.
    pub fn recorded(&self) -> u64 {
        let ids = std::fs::metadata(self.path().join("hub/ids/ids")).map_or(0, |file| file.len());
        (ids / 64).saturating_sub(NOTICES)
    }

    /// How many events the hub has given a number.
    pub fn decided(&self) -> u64 {
        let mark = pirogue::store::last_mark(&self.path().join("hub"), "to.gouvernement").unwrap();
        mark.map_or(0, |mark| mark.parse::<u64>().unwrap()).saturating_sub(SCHEMAS)
    }

    /// How many events the recipient has handled, by the last number in its files.
    pub fn handled(&self) -> u64 {
        let received = self.path().join("gouvernement/received");
        let last = ["nc.employment.jobseeker.registered", "nc.employment.offer.published"].map(|name| {
            let last = last_line(&received.join(format!("{name}.jsonl")))?;
            serde_json::from_str::<Value>(&last).ok()?["sequence"].as_u64()
        });
        last.into_iter().flatten().max().unwrap_or(0).saturating_sub(SCHEMAS)
    }

    /// Waits until `condition` holds, for as long as the load goes on. What runs
    /// has to go on running.
    pub fn wait(&mut self, what: &str, mut condition: impl FnMut(&Load) -> bool) {
        self.seen.1 = Instant::now();
        loop {
            for part in [Hub, Publisher, Recipient] {
                let Some(process) = &mut self.parts[part as usize].process else { continue };
                if process.has_ended() {
                    assert!(self.supervised == Some(part), "{part:?} ended by itself: {}", process.stderr());
                    assert_ne!(self.end(part), Some(0), "a supervisor would not start {part:?} again");
                    self.run(part);
                }
            }
            let handled = self.handled();
            let recorded = self.recorded();
            if let Some((since, beyond)) = self.recovering
                && handled > beyond
            {
                self.recoveries.push(since.elapsed());
                self.recovering = None;
            }
            if condition(self) {
                return;
            }
            if self.seen.0 != handled + recorded {
                self.seen = (handled + recorded, Instant::now());
            }
            if self.seen.1.elapsed() > PATIENCE {
                let told = [Hub, Publisher, Recipient].map(|part| {
                    let said = self.said(part);
                    let from = said.char_indices().rev().nth(3000).map_or(0, |(at, _)| at);
                    format!("\n---- {part:?}\n{}", &said[from..])
                });
                panic!(
                    "not within {PATIENCE:?}: {what} (taken in {recorded}, decided {}, handled {handled} of {}){}",
                    self.decided(),
                    self.events,
                    told.concat()
                );
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits for the moment of fault `nth` (from 1) of `of`: that share of the
    /// load and `beyond` it a little is taken in, and not all of that handled.
    /// The source gives half a share more until [`Load::is_over`].
    pub fn until_fault(&mut self, nth: u64, of: u64, beyond: u64) {
        let share = self.share(of);
        let at = (share * nth + beyond.min(share / 4)).max(self.recorded() + 1);
        self.more = (nth < of).then_some(share / 4);
        self.open_source_up_to((share * nth + share / 2).max(at.max(rows(&self.server)) + share / 4));
        self.wait("the load is under way", |load| {
            let recorded = load.recorded();
            recorded >= at && recorded > load.handled()
        });
        let recorded = self.recorded();
        assert!(recorded < self.events, "the load was over before fault {nth}: {recorded} were taken in");
        assert!(self.handled() < self.events);
    }

    /// The source gives all that it has from now on.
    pub fn open_source(&self) {
        self.open_source_up_to(u64::MAX);
    }

    /// The source gives about so many rows.
    pub fn open_source_up_to(&self, rows: u64) {
        self.gate.store(rows, SeqCst);
    }

    /// A share of the load, with `of` faults.
    pub fn share(&self, of: u64) -> u64 {
        self.events / (of + 1)
    }

    /// The fault is over: from now on the source gives some more, or all after the
    /// last fault, and the time counts until an event is handled that had not
    /// come through `part` yet.
    pub fn is_over(&mut self, part: Part) {
        let beyond = match part {
            Publisher => self.recorded(),
            Hub => self.decided(),
            Recipient => self.handled(),
        };
        self.recovering = Some((Instant::now(), beyond));
        match self.more {
            // What was given to a publisher that was killed is read again first.
            Some(more) => {
                self.open_source_up_to(self.gate.load(SeqCst).max(rows(&self.server)).saturating_add(more))
            }
            None => self.open_source(),
        }
    }

    /// Waits until the exchange has recovered from the last fault.
    pub fn recover(&mut self) {
        self.wait("the exchange recovers", |load| load.recovering.is_none());
    }

    /// Waits until all is handled, and accounts for it.
    pub fn finish(mut self) {
        self.wait("all is handled", |load| load.handled() >= load.events);
        let (load, at) = self.rest();
        let messages = reconcile(&at, load.events as usize, SEED);
        assert_eq!(messages, load.events + SCHEMAS);
        load.tell();
    }

    /// Waits until all is settled, and accounts for it, where an agreement ended
    /// in the middle.
    pub fn finish_part(self) -> Account {
        let (load, at) = self.rest();
        let account = reconcile_part(&at, load.events as usize, SEED);
        load.tell();
        account
    }

    /// Waits until `pirogue status` says that all is at rest and the broker that
    /// its queues are empty, then stops everything.
    fn rest(mut self) -> (Load, PathBuf) {
        self.wait("all is at rest", |load| {
            let Some(status) = hub_status(load.path()) else { return false };
            let is_settled = status.problems.is_empty()
                && status.inbox_waiting == 0
                && status.recipients.iter().all(|one| {
                    one.undecided == 0 && one.queue_messages == 0 && one.confirmed == one.sequence
                });
            let queues = load.runtime.block_on(load.management.queues(&load.vhost));
            is_settled
                && load.recorded() == load.events
                && queues.is_ok_and(|queues| queues.iter().all(|queue| queue.messages == 0))
        });
        let config = self.path().join("hub/hub.toml");
        let asked = command(&["status", "--json", "--config", config.to_str().unwrap()]).output().unwrap();
        assert!(asked.status.success(), "{}", String::from_utf8_lossy(&asked.stderr));
        let status: Value = serde_json::from_slice(&asked.stdout).unwrap();
        assert_eq!(status["problems"], Value::Array(Vec::new()));
        assert_eq!(status["inbox_waiting"], 0);
        for one in status["recipients"].as_array().unwrap() {
            let numbers = ["undecided", "queue_messages"].map(|name| one[name].as_u64().unwrap());
            assert_eq!((numbers, &one["confirmed"]), ([0, 0], &one["sequence"]), "{status}");
        }
        assert!(self.recovering.is_none(), "nothing was handled after the last fault");
        [Publisher, Recipient, Hub].into_iter().for_each(|part| self.stop(part));
        let at = self.path().to_owned();
        (self, at)
    }

    /// How many messages came again, to the hub or to a member.
    pub fn redelivered(&self) -> u64 {
        let counted = |part| {
            let said = self.said(part);
            let counts =
                said.lines().filter_map(|line| line.split("redelivered=").nth(1)?.trim().parse::<u64>().ok());
            counts.sum::<u64>()
        };
        [Hub, Publisher, Recipient].map(counted).iter().sum()
    }

    /// Prints the line of the fault, and adds it to the file that
    /// `PIROGUE_MATRIX_LINES` names.
    fn tell(&self) {
        let longest = self.recoveries.iter().max().expect("a fault was over");
        let line = format!(
            "fault: {} | events {} | redelivered {} | recovered in {:.1} s\n",
            self.name,
            self.events,
            self.redelivered(),
            longest.as_secs_f64()
        );
        print!("{line}");
        if let Some(path) = std::env::var_os("PIROGUE_MATRIX_LINES") {
            let mut file = File::options().create(true).append(true).open(path).unwrap();
            file.write_all(line.as_bytes()).unwrap();
        }
    }
}

/// How many rows were given.
fn rows(server: &BoostServer) -> u64 {
    let served = server.served();
    Table::ALL.iter().map(|table| served.count(*table) as u64).sum()
}

/// Stalls the source once `server` has given as many rows as `gate` says.
async fn hold(server: Arc<BoostServer>, source: Proxy, gate: Arc<AtomicU64>) {
    let mut ticks = tokio::time::interval(Duration::from_millis(1));
    loop {
        ticks.tick().await;
        source.turn(if rows(&server) < gate.load(SeqCst) { Way::Open } else { Way::Stalled });
    }
}

/// The last whole line of a file.
fn last_line(path: &Path) -> Option<String> {
    let mut file = File::open(path).ok()?;
    let from = file.metadata().ok()?.len().saturating_sub(64 << 10);
    file.seek(SeekFrom::Start(from)).ok()?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let whole = &text[..text.rfind('\n')?];
    Some(whole.rsplit('\n').next()?.to_owned())
}
