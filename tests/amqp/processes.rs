//! The hub and each member's side as processes of their own, on RabbitMQ.

use super::broker::shared;
use super::lab::{PASSWORD, layout, member};
use super::process::{Process, command, wait_until};
use super::received::reconcile;
use pirogue::bus::manage::Access;
use pirogue::demo::boost::{BoostConfig, BoostServer};
use std::fs;
use std::path::Path;
use std::process::Command;

const EVENTS: usize = 3000;
const SEED: u64 = 7;
const VHOST: &str = "processes";

/// Turns the configurations of a demo's folder to RabbitMQ at `port`, and to a
/// Boost-like server at `boost`.
fn turn_to_rabbitmq(folder: &Path, port: u16, boost: &str) {
    for name in ["hub/hub.toml", "province-sud/connect.toml", "gouvernement/connect.toml"] {
        let path = folder.join(name);
        let kept: Vec<String> = fs::read_to_string(&path)
            .unwrap()
            .lines()
            .filter(|line| !line.starts_with("connect = "))
            .map(|line| match line.starts_with("base_url = ") {
                true => format!("base_url = \"{boost}\""),
                false => line.to_owned(),
            })
            .collect();
        let text = format!(
            "bus = \"amqp://127.0.0.1:{port}/{VHOST}\"\n{}\n[broker]\npassword = {{ env = \"BROKER_PASSWORD\" }}\n",
            kept.join("\n")
        );
        fs::write(path, text).unwrap();
    }
}

fn start(folder: &Path, program: &str, file: &str) -> Process {
    let file = folder.join(file);
    let mut command = command(&[program, "--config", file.to_str().unwrap()]);
    command.env("BROKER_PASSWORD", PASSWORD);
    Process::spawn(command)
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
    let demo = ["demo", "--once", "--json", "--events", "2", "--seed", &SEED.to_string(), "--data"];
    let ended = Process::start(&[&demo[..], &[folder.to_str().unwrap()]].concat()).end();
    assert!(ended.status.success(), "{}", ended.stderr);

    let runtime = tokio::runtime::Runtime::new().unwrap();
    let config = BoostConfig {
        seed: SEED,
        jobseekers: EVENTS / 2,
        offers: EVENTS / 2,
        api_key: "demo-key".to_owned(),
        ..BoostConfig::default()
    };
    let server = runtime.block_on(BoostServer::start(([127, 0, 0, 1], 0).into(), config)).unwrap();
    let mut layout = layout(VHOST, 1 << 30);
    layout.members.insert(member("gouvernement"), Access::Password(PASSWORD.to_owned().into()));
    runtime.block_on(layout.provision(&node.management())).unwrap();
    turn_to_rabbitmq(folder, node.port, server.url());

    let start_hub = || start(folder, "hub", "hub/hub.toml");
    let start_sud = || start(folder, "connect", "province-sud/connect.toml");
    let start_gouv = || start(folder, "connect", "gouvernement/connect.toml");
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
    let demo = ["demo", "--once", "--json", "--events", "2", "--data", folder.to_str().unwrap()];
    assert!(Process::start(&demo).end().status.success());
    // A port that nobody listens on.
    turn_to_rabbitmq(folder, 9, "http://127.0.0.1:9");
    let mut hub = start(folder, "hub", "hub/hub.toml");
    let mut gouv = start(folder, "connect", "gouvernement/connect.toml");
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
    let demo = ["demo", "--once", "--json", "--events", "2", "--data", folder.to_str().unwrap()];
    assert!(Process::start(&demo).end().status.success());
    turn_to_rabbitmq(folder, node.port, "http://127.0.0.1:9");
    let file = folder.join("hub/hub.toml");
    let mut command = command(&["hub", "--config", file.to_str().unwrap()]);
    command.env("BROKER_PASSWORD", "not it");
    let ended = Process::spawn(command).end();
    let sentence = ended.sentence(2);
    assert!(sentence.contains("the user's name or password"), "{sentence}");
    assert!(!ended.stderr.contains("not it"), "{}", ended.stderr);
}

impl Process {
    /// SIGTERM, and waits for the end.
    fn terminate(mut self) -> super::process::Ended {
        assert!(!self.has_ended(), "it ended by itself: {}", self.stderr());
        let status = Command::new("kill").args(["-s", "TERM", &self.id().to_string()]).status().unwrap();
        assert!(status.success());
        self.end()
    }
}
