//! How fast the hub is on the embedded bus, from received to sealed and
//! confirmed, at batches of 1, 16 and 256; and where the time goes.
//!
//! `cargo bench` prints a table. The events are jobseekers, signed beforehand
//! and waiting in the hub's inbox when it starts; one recipient is granted five
//! fields of them. The publisher's and the recipient's own work isn't measured:
//! `pirogue demo` does that.

mod site;

use pirogue::admin::prepare;
use pirogue::bus::embedded::{Broker, BrokerOptions};
use pirogue::bus::{Bus, Confirm, EVENTS, HUB};
use pirogue::config::HubConfig;
use pirogue::connect::Signer;
use pirogue::event::{MemberName, Message};
use pirogue::hub::{Hub, Topology};
use pirogue::metrics::{Metrics, Stage};
use pirogue::store::{Sealing, Store, StoreOptions};
use site::{Jobseekers, PROVIDER, RECIPIENT, cpu, members, settings};
use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    // `cargo test --benches` only looks whether it runs.
    let scale = if std::env::args().any(|argument| argument == "--bench") { 1 } else { 100 };
    println!("batch   events   journal      events/s   µs of CPU an event   µs an event in each stage");
    // Twice each, in turn: what else the machine does hits both.
    let largest = [true, false, true, false].map(|published| (256, 60_000, published));
    for (batch, events, published) in [(1, 3_000, true), (16, 20_000, true)].into_iter().chain(largest) {
        let line = runtime.block_on(run(batch, events / scale, published))?;
        println!("{line}");
    }
    println!("published: with tiles and a checkpoint a second; held: the journal's entries and root alone");
    println!("commit and publish are waits for the disk, during which other stages work");
    Ok(())
}

/// Runs one hub over `events` events in batches of `batch`, with its journal
/// published meanwhile or not.
async fn run(batch: usize, events: usize, published: bool) -> Result<String, Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let at = folder.path();
    let signer = members(at)?;
    let toml = at.join("hub.toml");
    // An hour: nothing is published before the end.
    prepare::write(&toml, &settings(batch, if published { 1000 } else { 3_600_000 }))?;
    let config = HubConfig::load(&toml)?;
    let store = Store::open(&config.data, StoreOptions::default())?;
    let master = pirogue::hub::master_key(&config.keys.master, &store).await?;
    let broker = Broker::open(store.clone(), Sealing::new(&master, "bus"), BrokerOptions::default())?;
    broker.declare_member(&MemberName::parse(PROVIDER)?)?;
    fill(&broker.connect(PROVIDER), signer, events).await?;

    let metrics = Metrics::new();
    let (cpu, started) = (cpu(), Instant::now());
    let topology: Arc<dyn Topology> = Arc::new(broker.clone());
    let hub =
        Hub::start(&config, store, &master, broker.connect(HUB), topology, Arc::clone(&metrics)).await?;
    // The events and the schema that goes before them.
    let wanted = events as u64 + 1;
    while metrics.delivered.with(RECIPIENT).get() < wanted {
        tokio::select! {
            ended = hub.wait() => ended?,
            () = tokio::time::sleep(Duration::from_millis(1)) => {}
        }
    }
    let (wall, cpu) = (started.elapsed(), site::cpu() - cpu);
    hub.stop().await?;

    let each = |time: Duration, count: u64| time.as_secs_f64() * 1e6 / count.max(1) as f64;
    let stages = Stage::ALL.map(|stage| {
        let time = metrics.stage(stage);
        format!("{} {:.0}", stage.as_str(), each(time.total(), time.events()))
    });
    Ok(format!(
        "{batch:>5}   {events:>6}   {}   {:>9.0}   {:>18.0}   {}",
        if published { "published" } else { "held     " },
        events as f64 / wall.as_secs_f64(),
        each(cpu, events as u64),
        stages.join(", ")
    ))
}

/// Signs `events` jobseekers and puts them in the inbox.
async fn fill(bus: &Arc<dyn Bus>, signer: Signer, events: usize) -> Result<(), Box<dyn Error>> {
    let jobseekers = Jobseekers::new()?;
    let mut waiting: Vec<(String, Message)> = Vec::new();
    for row in 0..events {
        waiting.push(jobseekers.event(&signer, row)?);
        if waiting.len() >= 512 || row + 1 == events {
            let confirms = bus.publish(EVENTS, std::mem::take(&mut waiting)).await?;
            assert!(confirms.iter().all(|c| matches!(c, Confirm::Accepted)), "the inbox is full");
        }
    }
    Ok(())
}
