//! What five million events do to a hub on the embedded bus: the rate of its
//! exchange, its start, its memory, and what its journal costs.
//!
//! `cargo bench --bench scale` takes some ten minutes. Every event goes the whole
//! way: signed, published, verified, decoded, recorded, decided on, sealed,
//! delivered and acknowledged. Nothing of the hub is bypassed; what is made
//! beforehand is 512 bodies that the events share, each under an id and a
//! signature of its own. The payloads of all but the last 100,000 are removed as a
//! running hub removes them, with its clock put forward by 31 days.
//!
//! Then exchanges take turns, round by round, so that whatever else the machine
//! does hits each of them: one with 50,000 events, one with 50,000 and nothing
//! published of its journal before the end, and the one with five million. In the
//! end that one is started in a process of its own, which tells how long it took
//! and how much memory it had at most; its files are in the system's cache.
//!
//! `PIROGUE_SCALE_EVENTS` says another number than 5,000,000;
//! `PIROGUE_SCALE_FOLDER` a folder in which the large exchange is made and kept,
//! to be used again as it is by the next run.

mod site;

use pirogue::admin::prepare;
use pirogue::bus::embedded::{Broker, BrokerOptions};
use pirogue::bus::{BatchLimits, Bus, Confirm, EVENTS, HUB, queue_of};
use pirogue::config::HubConfig;
use pirogue::connect::Signer;
use pirogue::connect::identity::Identity;
use pirogue::event::{MemberName, Message};
use pirogue::hub::{Hub, Topology};
use pirogue::journal::tile::{CHECKPOINT, Folder};
use pirogue::journal::{Check, LogKey, SignedCheckpoint};
use pirogue::metrics::{Metrics, Stage};
use pirogue::store::{Sealing, Store, StoreOptions};
use pirogue::tasks::crunch;
use site::{JOBSEEKER, Jobseekers, PROVIDER, RECIPIENT};
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::watch;
use tokio::task::JoinHandle;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Anyhow<T> = Result<T, Box<dyn Error>>;

/// What the benchmark is asked to do in a process of its own.
const START: &str = "--start-only";
/// How many events are published at once.
const SHARE: u64 = 2_048;
/// How many events may be on their way while an exchange is filled.
const AHEAD: u64 = 16 * SHARE;

/// How much of all is done.
struct Size {
    large: u64,
    small: u64,
    /// How many payloads of the large one stay.
    kept: u64,
    /// How many events a round has.
    round: u64,
    rounds: usize,
}

impl Size {
    fn of(is_bench: bool) -> Anyhow<Size> {
        if !is_bench {
            // `cargo test --benches` only looks whether it runs.
            return Ok(Size { large: 3_000, small: 500, kept: 500, round: 300, rounds: 1 });
        }
        let large = match std::env::var("PIROGUE_SCALE_EVENTS") {
            Ok(text) => text.replace(['_', ','], "").parse()?,
            Err(_) => 5_000_000,
        };
        Ok(Size { large, small: 50_000.min(large), kept: 100_000.min(large), round: 20_000, rounds: 9 })
    }
}

fn main() -> Anyhow<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|argument| argument == START) {
        let folder = arguments.get(at + 1).ok_or("no folder")?;
        return runtime.block_on(start_only(Path::new(folder)));
    }
    let size = Size::of(arguments.iter().any(|argument| argument == "--bench"))?;
    let folders = tempfile::tempdir()?;
    let kept = std::env::var_os("PIROGUE_SCALE_FOLDER").map(PathBuf::from);
    let large = kept.unwrap_or_else(|| folders.path().join("large"));
    runtime.block_on(measure(&size, folders.path(), &large))?;
    starts(&large)
}

/// An exchange: its hub, its publisher, and a recipient who takes all it gets.
struct Exchange {
    hub: Arc<Hub>,
    inbox: Arc<dyn Bus>,
    store: Store,
    signing: Arc<Signing>,
    /// How many events the recipient has got since this was started.
    received: watch::Receiver<u64>,
    receiving: JoinHandle<()>,
    published: u64,
    took: [Duration; 3],
}

/// What events are made of.
struct Signing {
    signer: Signer,
    jobseekers: Jobseekers,
    bodies: Vec<bytes::Bytes>,
    /// What tells the ids from those of an earlier run.
    run: u128,
}

impl Signing {
    fn new(signer: Signer) -> Anyhow<Signing> {
        let jobseekers = Jobseekers::new()?;
        let body = |row| Ok(jobseekers.event(&signer, row)?.1.body);
        let bodies = (0..512).map(body).collect::<Anyhow<_>>()?;
        let run = SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos();
        Ok(Signing { signer, jobseekers, bodies, run })
    }

    fn event(&self, number: u64) -> (String, Message) {
        let body = &self.bodies[(number % 512) as usize];
        let identity = Identity {
            id: format!("{}-{number}", self.run),
            subject: format!("person/{}", number % 1_000_000),
            time: "2026-03-14T08:12:45Z".to_owned(),
        };
        self.signer.sign(identity, "boost", &self.jobseekers.schema, body.clone())
    }
}

impl Exchange {
    /// Starts the exchange in `folder`, which is made where there is none.
    async fn start(folder: &Path, checkpoint_ms: u32) -> Anyhow<Exchange> {
        let signing = Arc::new(Signing::new(site::members(folder)?)?);
        let toml = folder.join("hub.toml");
        prepare::write(&toml, &site::settings(256, checkpoint_ms))?;
        let config = HubConfig::load(&toml)?;
        let (provider, recipient) = (MemberName::parse(PROVIDER)?, MemberName::parse(RECIPIENT)?);

        let started = Instant::now();
        let store = Store::open(&config.data, StoreOptions::default())?;
        let opened = started.elapsed();
        let master = pirogue::hub::master_key(&config.keys.master, &store).await?;
        let broker = Broker::open(store.clone(), Sealing::new(&master, "bus"), BrokerOptions::default())?;
        broker.declare_member(&provider)?;
        broker.declare_member(&recipient)?;
        let bus = started.elapsed();
        let topology: Arc<dyn Topology> = Arc::new(broker.clone());
        let hub = Hub::start(&config, store.clone(), &master, broker.connect(HUB), topology, Metrics::new())
            .await?;
        let took = [opened, bus - opened, started.elapsed() - bus];

        let (count, received) = watch::channel(0);
        let mut consumer = broker.connect(RECIPIENT).consume(&queue_of(&recipient), 8_192).await?;
        let receiving = tokio::spawn(async move {
            let limits = BatchLimits { messages: 1_024, bytes: 4 << 20, linger: Duration::ZERO };
            while let Ok(messages) = consumer.next(&limits).await {
                let Some(last) = messages.last().map(|message| message.tag) else { continue };
                // Not the schema that goes before them.
                let events = messages.iter().filter(|m| m.message.kind.as_deref() == Some(JOBSEEKER));
                let more = events.count() as u64;
                count.send_modify(|count| *count += more);
                if consumer.ack(last).await.is_err() {
                    return;
                }
            }
        });
        let inbox = broker.connect(PROVIDER);
        Ok(Exchange { hub, inbox, store, signing, received, receiving, published: 0, took })
    }

    /// How many events there are in the store, those of the hub among them.
    fn events(&self) -> Anyhow<u64> {
        Ok(self.store.mark("events")?.map_or(Ok(0), |text| text.parse())?)
    }

    /// Signs the next `count` events, on all cores.
    async fn sign(&mut self, count: u64) -> Vec<(String, Message)> {
        let signing = Arc::clone(&self.signing);
        let numbers = (self.published..self.published + count).collect();
        self.published += count;
        crunch(numbers, move |share: Vec<u64>| share.into_iter().map(|n| signing.event(n)).collect()).await
    }

    async fn publish(&self, events: Vec<(String, Message)>) -> Anyhow<()> {
        let confirms = self.inbox.publish(EVENTS, events).await?;
        if confirms.iter().any(|confirm| !matches!(confirm, Confirm::Accepted)) {
            return Err("the inbox is full".into());
        }
        Ok(())
    }

    /// Waits until the recipient has got so many.
    async fn await_received(&mut self, count: u64) -> Anyhow<()> {
        tokio::select! {
            waited = self.received.wait_for(|received| *received >= count) => waited.map(drop)?,
            ended = self.hub.wait() => {
                ended?;
                return Err("the hub stopped".into());
            }
        }
        Ok(())
    }

    /// Exchanges events until the store has `count`; signs them meanwhile.
    async fn fill(&mut self, count: u64) -> Anyhow<()> {
        let mut missing = count.saturating_sub(self.events()?);
        while missing > 0 {
            let share = missing.min(SHARE);
            let events = self.sign(share).await;
            self.await_received(self.published.saturating_sub(AHEAD)).await?;
            self.publish(events).await?;
            missing -= share;
        }
        self.await_received(self.published).await
    }

    /// Exchanges `count` events that are signed beforehand. Returns how many a
    /// second, from the first published to the last received, and how much CPU time
    /// each took of all that is in this process, in microseconds.
    async fn rate(&mut self, count: u64) -> Anyhow<[f64; 2]> {
        let events = self.sign(count).await;
        let mut shares = Vec::new();
        let mut rest = events.into_iter().peekable();
        while rest.peek().is_some() {
            shares.push(rest.by_ref().take(SHARE as usize).collect::<Vec<_>>());
        }
        let (cpu, started) = (site::cpu(), Instant::now());
        for share in shares {
            self.publish(share).await?;
        }
        self.await_received(self.published).await?;
        let (wall, cpu) = (started.elapsed(), site::cpu() - cpu);
        Ok([count as f64 / wall.as_secs_f64(), cpu.as_secs_f64() * 1e6 / count as f64])
    }

    /// How much time each stage of the hub has taken, and for how many events.
    fn stages(&self) -> Vec<(Duration, u64)> {
        let of = |stage| {
            let time = self.hub.metrics().stage(stage);
            (time.total(), time.events())
        };
        Stage::ALL.into_iter().map(of).collect()
    }

    /// Removes the payloads of all that is there. Returns of how many events.
    async fn expire(&self) -> Anyhow<u64> {
        let stop = watch::Sender::new(false);
        let later = jiff::Timestamp::now() + Duration::from_secs(31 * 86_400);
        let mut expired = 0;
        // What is delivered counts as such a moment later.
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_millis(500)).await;
            expired += self.hub.expire(later, &stop.subscribe()).await?.events;
        }
        Ok(expired)
    }

    async fn stop(self) -> Anyhow<()> {
        self.hub.stop().await?;
        self.receiving.abort();
        let _ = self.receiving.await;
        Ok(())
    }
}

/// Fills the exchange in `folder` with `size.large` events.
async fn fill(size: &Size, folder: &Path) -> Anyhow<Exchange> {
    let mut large = Exchange::start(folder, 1_000).await?;
    let there = large.events()?;
    if there > 0 {
        println!("{} has {there} events already", folder.display());
    }
    let (started, old) = (Instant::now(), size.large - size.kept);
    let (mut next, mut expired, mut expiring) = (there, 0, Duration::ZERO);
    while next < old {
        let step = Instant::now();
        let before = next;
        next = old.min(next + 500_000);
        large.fill(next).await?;
        let rate = (next - before) as f64 / step.elapsed().as_secs_f64();
        println!("filling: {next} events, {rate:.0} events/s, signing included");
        let step = Instant::now();
        expired += large.expire().await?;
        expiring += step.elapsed();
    }
    large.fill(size.large).await?;
    println!(
        "filled up to {} events in {:.0?}; of these it took {expiring:.0?} to remove {expired} payloads",
        large.events()?,
        started.elapsed()
    );
    Ok(large)
}

async fn measure(size: &Size, folders: &Path, large: &Path) -> Anyhow<()> {
    let mut small = Exchange::start(&folders.join("small"), 1_000).await?;
    // An hour: nothing is published before the end.
    let mut held = Exchange::start(&folders.join("held"), 3_600_000).await?;
    small.fill(size.small).await?;
    held.fill(size.small).await?;
    let mut large = fill(size, large).await?;
    let names = [
        format!("{} events, journal published", size.small),
        format!("{} events, journal held", size.small),
        format!("{} events, journal published", size.large),
    ];
    let mut rates: [Vec<f64>; 3] = Default::default();
    let mut cpu: [Vec<f64>; 3] = Default::default();
    let before = [&small, &held, &large].map(Exchange::stages);
    for round in 0..size.rounds {
        let mut order = [0, 1, 2];
        order.rotate_left(round % 3);
        for which in order {
            let exchange = match which {
                0 => &mut small,
                1 => &mut held,
                _ => &mut large,
            };
            let [rate, each] = exchange.rate(size.round).await?;
            rates[which].push(rate);
            cpu[which].push(each);
        }
    }
    println!("\nevents/s, from published to received, {} rounds of {}:", size.rounds, size.round);
    for ((name, rates), cpu) in names.iter().zip(&rates).zip(&cpu) {
        let each: Vec<String> = rates.iter().map(|rate| format!("{rate:.0}")).collect();
        let (rate, cpu) = (median(rates), median(cpu));
        println!("{name:<36} median {rate:>6.0}, {cpu:>4.0} µs of CPU an event   ({})", each.join(" "));
    }
    let ratio = |a: usize, b: usize| {
        let pairs: Vec<f64> = rates[a].iter().zip(&rates[b]).map(|(a, b)| a / b).collect();
        format!(
            "{:.3} (median of pairs), {:.3} (of medians); by CPU time {:.3}",
            median(&pairs),
            median(&rates[a]) / median(&rates[b]),
            median(&cpu[b]) / median(&cpu[a])
        )
    };
    println!("\nof these, µs an event in each stage of the hub (commit and publish wait for the disk):");
    let after = [&small, &held, &large].map(Exchange::stages);
    for ((name, before), after) in names.iter().zip(before).zip(after) {
        let stages = Stage::ALL.iter().zip(before.iter().zip(after)).map(|(stage, (before, after))| {
            let (time, events) = (after.0 - before.0, (after.1 - before.1).max(1));
            format!("{} {:.0}", stage.as_str(), time.as_secs_f64() * 1e6 / events as f64)
        });
        println!("{name:<36} {}", stages.collect::<Vec<_>>().join(", "));
    }
    println!("\nlarge to small:    {}; wanted: at least 0.95", ratio(2, 0));
    println!("published to held: {}; wanted: at least 0.90", ratio(0, 1));
    small.stop().await?;
    held.stop().await?;
    verify(&large).await?;
    large.stop().await
}

fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let half = values.len() / 2;
    if values.len() % 2 == 1 { values[half] } else { (values[half - 1] + values[half]) / 2.0 }
}

/// Checks the first million entries of the journal, as `pirogue journal verify`
/// does.
async fn verify(exchange: &Exchange) -> Anyhow<()> {
    let folder = exchange.store.files("journal").folder().to_owned();
    let keys = &exchange.hub.public_keys().keys;
    let key = keys.last().ok_or("no checkpoint key")?.public.clone();
    let log = LogKey { name: "bench".to_owned(), key };
    for _ in 0..3 {
        let started = Instant::now();
        let head = SignedCheckpoint::open(&std::fs::read_to_string(folder.join(CHECKPOINT))?, &log)?.head();
        let mut check = Check::begin(Arc::new(Folder(folder.clone())), head, None)?;
        while check.done() < 1_000_000 && check.step(|_, _| None::<()>).await?.is_some() {}
        println!("verify: {} of {} entries in {:.2?}", check.done(), head.size, started.elapsed());
    }
    Ok(())
}

/// Starts the exchange in `folder` three times, each in a process of its own.
fn starts(folder: &Path) -> Anyhow<()> {
    println!("\nstarted again in a process of its own (wanted: at most 3 s, at most 600 MiB):");
    for _ in 0..3 {
        let status = Command::new(std::env::current_exe()?).arg(START).arg(folder).status()?;
        if !status.success() {
            return Err("it didn't start".into());
        }
    }
    Ok(())
}

async fn start_only(folder: &Path) -> Anyhow<()> {
    let mut exchange = Exchange::start(folder, 1_000).await?;
    let at_start = peak_memory();
    let [store, bus, hub] = exchange.took;
    println!(
        "{} events: {:.2?} (store {store:.2?}, bus {bus:.2?}, hub {hub:.2?}), {at_start} MiB at most",
        exchange.events()?,
        store + bus + hub
    );
    for _ in 0..5 {
        exchange.rate(SHARE).await?;
    }
    println!("    after {} more events: {} MiB at most", exchange.published, peak_memory());
    exchange.stop().await
}

/// The most memory that this process had, in MiB: VmHWM of /proc/self/status.
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) / 1024
}
