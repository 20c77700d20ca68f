//! Sixty recipients, each granted every event: memory stays bounded, and the
//! store gets nothing for each recipient and event but the `delivered` entry.
//!
//! The hub runs in a child process, which is this test program again: so its
//! memory is its own, and what the test needs around it doesn't count.

use super::many::{BATCH, PROVIDER, Publisher, consume, make, messages_of, recipients};
use super::process::{PATIENCE, wait_until};
use pirogue::config::HubConfig;
use pirogue::journal::{self, Entry};
use pirogue::ops::node::Node;
use pirogue::store::{Store, StoreOptions};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const RECIPIENTS: usize = 60;
/// Where the child finds its folder, and how many events it carries.
const FOLDER: &str = "PIROGUE_TEST_SIXTY_FOLDER";
const COUNT: &str = "PIROGUE_TEST_SIXTY_EVENTS";
/// The most memory that the child may take.
const MEMORY: u64 = 256 << 20;

/// A number of /proc/self/FILE, in the unit that it has there.
fn of_process(file: &str, name: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/self/{file}")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// The child: carries the events, and prints what it took.
#[test]
fn child_that_carries_the_events() {
    let (Ok(folder), Ok(count)) = (std::env::var(FOLDER), std::env::var(COUNT)) else {
        // Started by itself, as any test is: there is nothing to carry.
        return;
    };
    let (folder, count): (PathBuf, usize) = (folder.into(), count.parse().unwrap());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let config = HubConfig::load(&folder.join("hub/hub.toml")).unwrap();
        let node = Node::start(&config, &[]).await.unwrap();
        let publisher = Publisher::new(&folder, count).await;
        let started = Instant::now();
        let mut consuming = tokio::task::JoinSet::new();
        for recipient in recipients(RECIPIENTS) {
            let bus = node.bus(recipient.as_str()).unwrap();
            consuming.spawn(consume(bus, recipient, messages_of(count)));
        }
        let bus = node.bus(PROVIDER).unwrap();
        tokio::select! {
            // It ends after the last is acknowledged: sixty empty queues.
            () = async {
                publisher.publish(&*bus, count).await;
                while let Some(consumed) = consuming.join_next().await {
                    consumed.unwrap();
                }
            } => {}
            ended = node.wait() => panic!("the hub ended: {ended:?}"),
        }
        let seconds = started.elapsed().as_secs_f64();
        for stage in pirogue::metrics::Stage::ALL {
            let time = node.hub().metrics().stage(stage);
            println!(
                "{:8} {:8.2} s for {} events",
                stage.as_str(),
                time.total().as_secs_f64(),
                time.events()
            );
        }
        node.stop().await.unwrap();
        println!("seconds={seconds:.1}");
    });
    println!("written={}", of_process("io", "wchar"));
    println!("memory={}", of_process("status", "VmHWM") << 10);
}

/// Runs the child on `folder` and returns what it printed.
fn run_child(folder: &Path, count: usize) -> String {
    let output = folder.join("output");
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "sixty::child_that_carries_the_events", "--nocapture"])
        .env(FOLDER, folder)
        .env(COUNT, count.to_string())
        .stdout(Stdio::from(std::fs::File::create(&output).unwrap()))
        .spawn()
        .unwrap();
    let until = Instant::now() + PATIENCE * 10;
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > until {
            let _ = child.kill();
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let printed = std::fs::read_to_string(&output).unwrap();
    assert!(child.wait().unwrap().success(), "{printed}");
    printed
}

fn carry(count: usize) {
    let folder = tempfile::tempdir().unwrap();
    make(folder.path(), RECIPIENTS, "");
    let printed = run_child(folder.path(), count);
    let number = |name: &str| -> f64 {
        let after = printed.split(&format!("{name}=")).nth(1).unwrap();
        after.split_whitespace().next().unwrap().parse().unwrap()
    };
    let (seconds, memory, written) = (number("seconds"), number("memory"), number("written"));
    for line in printed.lines().filter(|line| line.contains(" events")) {
        println!("{line}");
    }

    let mut store = None;
    wait_until("the store is free", || {
        store = Store::open(&folder.path().join("hub/data"), StoreOptions::default()).ok();
        store.is_some()
    });
    let store = store.unwrap();
    let batches = store.scan(b"batch/").count();
    let mut rows: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for row in store.scan(b"") {
        let (key, value) = row.unwrap();
        let kind = String::from_utf8_lossy(&key).split('/').next().unwrap().to_owned();
        let (number, largest) = rows.entry(kind).or_default();
        *number += 1;
        *largest = (*largest).max(value.len() as u64);
    }
    let mut logs: BTreeMap<String, u64> = BTreeMap::new();
    for log in store.logs("") {
        let kind = log.split('/').next().unwrap().to_owned();
        *logs.entry(kind).or_default() += store.log_len(&log);
    }
    let deliveries = messages_of(count) * RECIPIENTS as u64;
    println!(
        "{count} events for {RECIPIENTS} recipients: {seconds:.1} s, {:.0} deliveries a second, {:.1} MiB of \
         memory, {:.0} MiB written",
        deliveries as f64 / seconds,
        memory / f64::from(1 << 20),
        written / f64::from(1 << 20),
    );
    println!("{batches} batches; rows of the state, by kind, with the largest's bytes: {rows:?}");
    println!("bytes of logs: {logs:?}");

    assert!(memory <= MEMORY as f64, "{memory} bytes of memory");
    // One `delivered` entry for each recipient and message.
    let mut entries = 0;
    for entry in journal::read_all(&store).unwrap() {
        entries += u64::from(matches!(entry, Entry::Delivered { .. }));
    }
    assert_eq!(entries, deliveries);
    // And nothing else: rows for each recipient and batch, of a size that the
    // events don't change; logs that the recipients don't change.
    let by_recipient = (batches * RECIPIENTS) as u64;
    for (kind, (number, largest)) in &rows {
        let (most, bytes) = match kind.as_str() {
            "decision" | "confirmed" => (by_recipient, 512),
            // A row for each batch tells of its events; it is there once.
            "batch" => (batches as u64, 64 * BATCH as u64),
            // Agreements, keys, cursors.
            _ => (10 * (RECIPIENTS as u64 + 1), 64 << 10),
        };
        assert!(*number <= most, "{number} rows of {kind}");
        assert!(*largest <= bytes, "a row of {kind} has {largest} bytes");
    }
    for (kind, bytes) in &logs {
        match kind.as_str() {
            // The entries, and messages on their way, which go once acknowledged.
            "journal" | "bus" => {}
            "segments" => assert!(*bytes < 4_096 * count as u64, "{bytes} bytes in {kind}"),
            "ids" | "slots" | "persons" => assert!(*bytes <= 64 * count as u64, "{bytes} bytes in {kind}"),
            other => panic!("{other}/ has {bytes} bytes"),
        }
    }
    // An entry has at most 256 bytes; those of members' events, keys and
    // agreements are few beside.
    assert!(logs["journal"] < 256 * (deliveries + 2 * count as u64 + 1_000), "{logs:?}");
}

#[test]
fn sixty_recipients_of_a_thousand_events() {
    carry(1_000);
}

#[test]
#[ignore = "some minutes: ./tests/run --long"]
fn sixty_recipients_of_twenty_thousand_events() {
    carry(20_000);
}
