//! The hub and each member's side as processes of their own, on RabbitMQ.

use super::broker::shared;
use super::installation::{Places, boost, make_demo, provision, start, turn_to_rabbitmq};
use super::lab::PASSWORD;
use super::process::{Process, command, wait_until};
use super::received::reconcile;
use std::fs;
use std::path::Path;

const EVENTS: usize = 3000;
const SEED: u64 = 7;
const VHOST: &str = "processes";

/// A broker for all at `port`, and a Boost-like server at `boost`.
fn places(port: u16, boost: &str) -> Places<'_> {
    Places { vhost: VHOST, hub: port, members: port, management: None, boost }
}

/// How many lines `gouvernement` has of both types.
fn handled(folder: &Path) -> usize {
    ["nc.employment.jobseeker.registered", "nc.employment.offer.published"]
        .iter()
        .map(|kind| folder.join(format!("gouvernement/received/{kind}.jsonl")))
        .map(|path| fs::read(path).map_or(0, |text| text.iter().filter(|byte| **byte == b'\n').count()))
        .sum()
}

#[test]
fn processes_of_their_own_exchange_every_event_once_though_each_is_killed() {
    let node = shared().node();
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    make_demo(folder, SEED);

    let runtime = tokio::runtime::Runtime::new().unwrap();
    let server = runtime.block_on(boost(EVENTS, SEED, 500));
    runtime.block_on(provision(node, VHOST));
    turn_to_rabbitmq(folder, &places(node.port, server.url()));

    let start_hub = || start(folder, &[], "hub", "hub/hub.toml");
    let start_sud = || start(folder, &[], "connect", "province-sud/connect.toml");
    let start_gouv = || start(folder, &[], "connect", "gouvernement/connect.toml");
    let (mut hub, mut sud, mut gouv) = (start_hub(), start_sud(), start_gouv());
    for share in 1..4 {
        wait_until("events are handled", || {
            for process in [&mut hub, &mut sud, &mut gouv] {
                assert!(!process.has_ended(), "{}", process.stderr());
            }
            handled(folder) >= EVENTS * share / 4
        });
        match share {
            1 => {
                hub.kill();
                hub = start_hub();
            }
            2 => {
                gouv.kill();
                gouv = start_gouv();
            }
            _ => {
                sud.kill();
                sud = start_sud();
            }
        }
    }
    wait_until("all is handled", || handled(folder) >= EVENTS);
    for process in [sud, gouv, hub] {
        let ended = process.terminate();
        assert!(ended.status.success(), "{}", ended.stderr);
        assert!(!ended.stderr.contains(PASSWORD));
    }
    let messages = reconcile(folder, EVENTS, SEED);
    println!("hub and members killed once each: {EVENTS} events, {messages} messages");
}

#[test]
fn a_hub_whose_broker_is_away_waits_and_still_stops() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    make_demo(folder, SEED);
    // A port that nobody listens on.
    turn_to_rabbitmq(folder, &places(9, "http://127.0.0.1:9"));
    let mut hub = start(folder, &[], "hub", "hub/hub.toml");
    let mut gouv = start(folder, &[], "connect", "gouvernement/connect.toml");
    for process in [&mut hub, &mut gouv] {
        wait_until("it says that the broker is away", || {
            assert!(!process.has_ended(), "{}", process.stderr());
            process.stderr().contains("the broker can't be reached")
        });
    }
    for process in [hub, gouv] {
        let ended = process.terminate();
        assert!(ended.status.success(), "{}", ended.stderr);
    }
}

#[test]
fn a_wrong_password_ends_a_process_with_a_sentence() {
    let node = shared().node();
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    make_demo(folder, SEED);
    turn_to_rabbitmq(folder, &places(node.port, "http://127.0.0.1:9"));
    let file = folder.join("hub/hub.toml");
    let mut command = command(&["hub", "--config", file.to_str().unwrap()]);
    command.env("BROKER_PASSWORD", "not it");
    let ended = Process::spawn(command).end();
    let sentence = ended.sentence(2);
    assert!(sentence.contains("the user's name or password"), "{sentence}");
    assert!(!ended.stderr.contains("not it"), "{}", ended.stderr);
}
