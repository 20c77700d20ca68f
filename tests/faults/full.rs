//! A disk that fills up under the hub.

use super::disk::SmallDisk;
use super::process::{Process, hub_status, wait_until};
use super::received::reconcile;
use std::path::Path;

const EVENTS: usize = 3_000;
const SEED: u64 = 28;

fn demo(folder: &Path) -> Process {
    let (data, events, seed) = (folder.to_str().unwrap(), EVENTS.to_string(), SEED.to_string());
    Process::start(&["demo", "--once", "--json", "--events", &events, "--seed", &seed, "--data", data])
}

fn events(folder: &Path) -> u64 {
    hub_status(folder).map_or(0, |status| status.events)
}

#[test]
fn a_full_disk_ends_the_hub_and_nothing_is_lost_once_there_is_space() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let disk = SmallDisk::mount(&folder.join("hub"), 256);
    let mut process = demo(folder);
    wait_until("events are taken in", || {
        assert!(!process.has_ended(), "{}", process.stderr());
        events(folder) >= 500
    });
    disk.fill(0);
    let ended = process.end();
    println!("{}", ended.stderr.trim_end());
    let sentence = ended.sentence(3);
    assert!(sentence.contains("what was acknowledged is kept"), "{sentence}");
    assert!(sentence.contains("space"), "{sentence}");

    // As full as it is, it doesn't start, and says so.
    let ended = demo(folder).end();
    println!("{}", ended.stderr.trim_end());
    assert!(ended.status.code().is_some_and(|code| code != 0), "{ended:?}");
    assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);

    disk.empty();
    let ended = demo(folder).end();
    assert!(ended.status.success(), "{ended:?}");
    assert_eq!(reconcile(folder, EVENTS, SEED), EVENTS as u64 + 2);
}

#[test]
fn below_the_low_water_mark_nothing_is_taken_in_until_there_is_space() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let disk = SmallDisk::mount(&folder.join("hub"), 256);
    let mut process = demo(folder);
    wait_until("events are taken in", || {
        assert!(!process.has_ended(), "{}", process.stderr());
        events(folder) >= 500
    });
    // The mark is at 64 MiB.
    disk.fill(48 << 20);
    let mut status = None;
    wait_until("the hub says that it waits", || {
        assert!(!process.has_ended(), "{}", process.stderr());
        status = hub_status(folder).filter(|status| !status.problems.is_empty());
        status.is_some()
    });
    let problems = status.unwrap().problems;
    assert!(problems[0].contains("less free disk space than 64 MiB"), "{problems:?}");
    disk.empty();
    let ended = process.end();
    assert!(ended.status.success(), "{ended:?}");
    assert!(ended.stderr.contains("there is less") || ended.stderr.contains("too little disk space"));
    assert_eq!(reconcile(folder, EVENTS, SEED), EVENTS as u64 + 2);
}
