//! A demo's folder turned to RabbitMQ: the hub and each member run as processes
//! of their own, and read from a Boost-like server that the tests run.

use super::broker::Node;
use super::lab::{PASSWORD, layout, member};
use super::process::{Ended, Process, command};
use pirogue::bus::manage::Access;
use pirogue::demo::boost::{BoostConfig, BoostServer};
use std::fs;
use std::path::Path;
use std::process::Command;

/// Where the parts of an installation meet.
pub struct Places<'a> {
    /// The virtual host.
    pub vhost: &'a str,
    /// The broker's port for the hub.
    pub hub: u16,
    /// The broker's port for members.
    pub members: u16,
    /// Where the hub finds the management API, if it is to.
    pub management: Option<&'a str>,
    /// The Boost-like server.
    pub boost: &'a str,
}

/// Makes a demo's folder: keys, configurations, an agreement, the first two
/// events of a load of `seed`, and one refusal for each reason.
pub fn make_demo(folder: &Path, seed: u64) {
    let seed = seed.to_string();
    let demo = ["demo", "--once", "--json", "--events", "2", "--seed", &seed, "--data"];
    let ended = Process::start(&[&demo[..], &[folder.to_str().unwrap()]].concat()).end();
    assert!(ended.status.success(), "{}", ended.stderr);
}

/// A Boost-like server of `events` rows, half of them jobseekers.
pub async fn boost(events: usize, seed: u64, page: usize) -> BoostServer {
    let (jobseekers, offers) = (events - events / 2, events / 2);
    let config = BoostConfig {
        seed,
        jobseekers,
        offers,
        page,
        api_key: "demo-key".to_owned(),
        ..BoostConfig::default()
    };
    BoostServer::start(([127, 0, 0, 1], 0).into(), config).await.unwrap()
}

/// Makes the virtual host with what the demo's hub and members need.
pub async fn provision(node: &Node, vhost: &str) {
    let mut layout = layout(vhost, 1 << 30);
    layout.members.insert(member("gouvernement"), Access::Password(PASSWORD.to_owned().into()));
    layout.provision(&node.management()).await.unwrap();
}

/// Turns the configurations of a demo's folder to RabbitMQ.
pub fn turn_to_rabbitmq(folder: &Path, places: &Places<'_>) {
    for (name, port) in [
        ("hub/hub.toml", places.hub),
        ("province-sud/connect.toml", places.members),
        ("gouvernement/connect.toml", places.members),
    ] {
        let path = folder.join(name);
        let kept: Vec<String> = fs::read_to_string(&path)
            .unwrap()
            .lines()
            .filter(|line| !line.starts_with("connect = "))
            .map(|line| match line.starts_with("base_url = ") {
                true => format!("base_url = \"{}\"", places.boost),
                false => line.to_owned(),
            })
            .collect();
        let mut text = format!(
            "bus = \"amqp://127.0.0.1:{port}/{}\"\n{}\n[broker]\npassword = {{ env = \"BROKER_PASSWORD\" }}\n",
            places.vhost,
            kept.join("\n")
        );
        if let Some(url) = places.management.filter(|_| name.starts_with("hub/")) {
            text += &format!(
                "[management]\nurl = \"{url}\"\nuser = \"guest\"\npassword = {{ env = \"MANAGEMENT_PASSWORD\" }}\n"
            );
        }
        fs::write(path, text).unwrap();
    }
}

/// Starts `program` (`hub` or `connect`) with the configuration `file`, and
/// options before.
pub fn start(folder: &Path, options: &[&str], program: &str, file: &str) -> Process {
    let file = folder.join(file);
    let mut command = command(&[options, &[program, "--config", file.to_str().unwrap()]].concat());
    command.env("BROKER_PASSWORD", PASSWORD).env("MANAGEMENT_PASSWORD", "guest");
    Process::spawn(command)
}

impl Process {
    /// SIGTERM, and waits for the end.
    pub fn terminate(mut self) -> Ended {
        assert!(!self.has_ended(), "it ended by itself: {}", self.stderr());
        let status = Command::new("kill").args(["-s", "TERM", &self.id().to_string()]).status().unwrap();
        assert!(status.success());
        self.end()
    }
}
