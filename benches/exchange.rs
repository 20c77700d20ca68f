//! How fast the hub is on the embedded bus, from received to sealed and
//! confirmed, at batches of 1, 16 and 256; and where the time goes.
//!
//! `cargo bench` prints a table. The events are jobseekers, signed beforehand
//! and waiting in the hub's inbox when it starts; one recipient is granted five
//! fields of them. The publisher's and the recipient's own work isn't measured:
//! `pirogue demo` does that.

use pirogue::admin::prepare;
use pirogue::bus::embedded::{Broker, BrokerOptions};
use pirogue::bus::{Bus, Confirm, EVENTS, HUB};
use pirogue::config::HubConfig;
use pirogue::connect::Signer;
use pirogue::connect::drivers::Record;
use pirogue::connect::manifest::Connector;
use pirogue::demo::boost::Jobseeker;
use pirogue::event::{MemberName, Message};
use pirogue::hub::{Hub, Topology};
use pirogue::metrics::{Metrics, Stage};
use pirogue::schema::Registry;
use pirogue::seal::Secret32;
use pirogue::store::{Sealing, Store, StoreOptions};
use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const JOBSEEKER: &str = "nc.employment.jobseeker.registered";
const PROVIDER: &str = "province-sud";
const RECIPIENT: &str = "gouvernement";

const AGREEMENT: &str = r#"id = "bench"
version = 1
title = "Mesure"
provider = "province-sud"
recipient = "gouvernement"
purpose = "Mesure"
legal_basis = "public-interest"
retention_months = 1
valid_from = 2020-01-01
valid_until = 2099-12-31

[[grant]]
type = "nc.employment.jobseeker.registered"
versions = [1]
fields = ["person.family_name", "person.given_names", "person.birthdate", "status", "sought_occupations"]
"#;

fn main() -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    // `cargo test --benches` only looks whether it runs.
    let scale = if std::env::args().any(|argument| argument == "--bench") { 1 } else { 100 };
    println!("batch   events    events/s   µs of CPU an event   µs an event in each stage");
    for (batch, events) in [(1, 3_000), (16, 20_000), (256, 60_000), (256, 60_000)] {
        let line = runtime.block_on(run(batch, events / scale))?;
        println!("{line}");
    }
    println!("commit and publish are waits for the disk, during which other stages work");
    Ok(())
}

/// Runs one hub over `events` events in batches of `batch`.
async fn run(batch: usize, events: usize) -> Result<String, Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let at = folder.path();
    let signer = members(at)?;
    let toml = at.join("hub.toml");
    let text = format!(
        "name = \"bench\"\ndata = \"data\"\n[http]\nenabled = false\n[store]\nlow_water_mib = 64\n[limits]\nbatch_events = {batch}\n"
    );
    prepare::write(&toml, &text)?;
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
    let (wall, cpu) = (started.elapsed(), self::cpu() - cpu);
    hub.stop().await?;

    let each = |time: Duration, count: u64| time.as_secs_f64() * 1e6 / count.max(1) as f64;
    let stages = Stage::ALL.map(|stage| {
        let time = metrics.stage(stage);
        format!("{} {:.0}", stage.as_str(), each(time.total(), time.events()))
    });
    Ok(format!(
        "{batch:>5}   {events:>6}   {:>9.0}   {:>18.0}   {}",
        events as f64 / wall.as_secs_f64(),
        each(cpu, events as u64),
        stages.join(", ")
    ))
}

/// Prepares the hub's folder, two members and their agreement.
fn members(at: &Path) -> Result<Signer, Box<dyn Error>> {
    prepare::hub(at)?;
    let (provider, recipient) = (MemberName::parse(PROVIDER)?, MemberName::parse(RECIPIENT)?);
    let provider_keys = prepare::member(&at.join(PROVIDER))?;
    let recipient_keys = prepare::member(&at.join(RECIPIENT))?;
    for (member, keys) in [(&provider, &provider_keys), (&recipient, &recipient_keys)] {
        prepare::write(
            &at.join("members").join(format!("{member}.jwks.json")),
            &keys.public(member).to_json(),
        )?;
    }
    prepare::agreement(
        &at.join("agreements/bench.note"),
        AGREEMENT,
        (&provider, &provider_keys.agreement),
        (&recipient, &recipient_keys.agreement),
    )?;
    Ok(Signer {
        member: provider,
        hub: "bench".to_owned(),
        key: provider_keys.event,
        id_secret: Secret32::new([7; 32]),
    })
}

/// Signs `events` jobseekers and puts them in the inbox.
async fn fill(bus: &Arc<dyn Bus>, signer: Signer, events: usize) -> Result<(), Box<dyn Error>> {
    let connector = Connector::embedded("boost")?;
    let stream =
        connector.sources.iter().find(|s| s.event_type.as_str() == JOBSEEKER).ok_or("no such stream")?;
    let registry = Registry::embedded()?;
    let schema = registry.get(JOBSEEKER, 1).ok_or("no such schema")?;
    let mut waiting: Vec<(String, Message)> = Vec::new();
    for row in 0..events {
        let value = serde_json::to_value(Jobseeker::row(988, row))?;
        let record = Record {
            key: Jobseeker::id(988, row),
            version: Some("1".into()),
            kind: String::new(),
            value,
            raw: None,
        };
        waiting.extend(signer.events(&record, stream, schema, 1)?);
        if waiting.len() >= 512 || row + 1 == events {
            let confirms = bus.publish(EVENTS, std::mem::take(&mut waiting)).await?;
            assert!(confirms.iter().all(|c| matches!(c, Confirm::Accepted)), "the inbox is full");
        }
    }
    Ok(())
}

/// The CPU time that this process has used, in user and in kernel mode: fields
/// 14 and 15 of /proc/self/stat, in ticks of 10 ms.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks: u64 =
        after_name.split_whitespace().skip(11).take(2).filter_map(|t| t.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}
