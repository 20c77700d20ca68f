//! `pirogue doctor`: what would fail, found out before anything is started, with
//! what to do about it.
//!
//! Each check looks at one thing and adds [`Finding`]s. None changes anything:
//! no message is taken or published, no file is written, and a store that is at
//! rest isn't opened. No finding holds a secret or a citizen's value.

mod agreements;
mod broker;
mod clock;
mod connectors;
mod files;
mod journal;
mod keys;
mod machine;
mod management;

use crate::config::{BusSetting, ConfigFault, ConnectConfig, HubConfig};
use crate::hub::operator::StatusReport;
use crate::members::Directory;
use serde::Serialize;
use std::path::Path;

/// How it stands with what was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// It works, and needs attention.
    Warning,
    /// It doesn't work.
    Failed,
}

impl Level {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Level::Ok => "ok",
            Level::Warning => "warning",
            Level::Failed => "failed",
        }
    }
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at, `delivery key` for instance.
    pub check: String,
    /// How it stands with that.
    pub level: Level,
    /// What was found, in a sentence.
    pub found: String,
    /// What to do, in a sentence; none where nothing is to be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

/// Whether a hub runs on the data folder, as its socket answers.
#[derive(Clone, Debug)]
pub enum Running {
    /// None answers.
    No,
    /// One does, and is like this.
    Yes(Box<StatusReport>),
    /// Something is there, and doesn't answer: why.
    Unknown(String),
}

/// Findings, in the order in which they were made.
#[derive(Debug, Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, level: Level, check: &str, found: impl Into<String>, remedy: Option<String>) {
        self.0.push(Finding { check: check.to_owned(), level, found: found.into(), remedy });
    }

    fn ok(&mut self, check: &str, found: impl Into<String>) {
        self.add(Level::Ok, check, found, None);
    }

    fn warning(&mut self, check: &str, found: impl Into<String>, remedy: impl Into<String>) {
        self.add(Level::Warning, check, found, Some(remedy.into()));
    }

    fn failed(&mut self, check: &str, found: impl Into<String>, remedy: impl Into<String>) {
        self.add(Level::Failed, check, found, Some(remedy.into()));
    }
}

/// The one finding where a configuration can't be used: nothing else can be
/// looked at. `program` is `hub` or `connect`.
pub fn unusable(fault: &ConfigFault, program: &str) -> Vec<Finding> {
    let mut findings = Findings::default();
    let remedy = match fault {
        ConfigFault::Unreadable { .. } => {
            format!(
                "give the path of the configuration; `pirogue config defaults {program}` prints one to begin from"
            )
        }
        ConfigFault::UnknownKeys(_) => format!(
            "correct the name or take the line out; `pirogue config defaults {program}` explains every key"
        ),
        _ => format!("correct it there; `pirogue config defaults {program}` explains every key"),
    };
    findings.failed("configuration", fault.to_string(), remedy);
    findings.0
}

/// Looks at the hub of `config`, which was read from `file`.
pub async fn hub(config: &HubConfig, file: &Path, running: &Running) -> Vec<Finding> {
    let mut findings = Findings::default();
    let now = jiff::Timestamp::now();
    findings.ok("configuration", format!("{} can be used, for the hub {}", file.display(), config.name));
    let checkpoint_key = keys::of_hub(config, file, now, &mut findings);
    let directory = keys::members(&config.members, now, &mut findings);
    let registry = agreements::schemas(config.schemas.as_deref(), &mut findings);
    if let (Some(directory), Some(registry)) = (&directory, &registry) {
        agreements::look(&config.agreements, directory, registry, now, &mut findings);
    }
    machine::store(&config.data, "hub", &mut findings);
    machine::disk(&config.data, config.store.low_water_bytes(), &mut findings);
    machine::running(running, &mut findings);
    journal::look(config, checkpoint_key.as_ref(), running, now, &mut findings).await;
    machine::http(&config.http, running, &mut findings);
    match &config.bus {
        BusSetting::Embedded => {
            findings.ok("bus", "the embedded one: members run in the hub's process, and no broker is needed");
            for path in &config.connect {
                // Its real place, as the hub takes it: without the dots of ../
                let path = path.canonicalize().unwrap_or_else(|_| path.clone());
                match ConnectConfig::load_beside_hub(&path) {
                    Ok(member) => findings.0.extend(beside(&member, &path, now)),
                    Err(fault) => findings.0.extend(unusable(&fault, "connect")),
                }
            }
        }
        BusSetting::Amqp(url) => {
            broker::of_hub(config, url, file, running, now, &mut findings).await;
            let members = directory.unwrap_or_else(Directory::empty);
            management::look(config, url, file, &members, now, &mut findings).await;
        }
    }
    findings.0
}

/// Looks at the member's side of `config`, which was read from `file`.
pub async fn connect(config: &ConnectConfig, file: &Path) -> Vec<Finding> {
    let mut findings = Findings::default();
    let now = jiff::Timestamp::now();
    findings.ok("configuration", format!("{} can be used, for the member {}", file.display(), config.member));
    member(config, now, &mut findings);
    machine::store(&config.data, "member's side", &mut findings);
    machine::disk_of_member(&config.data, &mut findings);
    clock::alone(now, &mut findings);
    match &config.bus {
        BusSetting::Embedded => findings.failed(
            "bus",
            "bus = \"embedded\" is the bus of a hub's own process, and `pirogue connect` has none",
            "set bus to the broker's URL, amqps://HOST, or add this file to the list connect of the hub's \
             configuration",
        ),
        BusSetting::Amqp(url) => broker::of_member(config, url, now, &mut findings).await,
    }
    findings.0
}

/// What is looked at of a member's side wherever it runs.
fn member(config: &ConnectConfig, now: jiff::Timestamp, findings: &mut Findings) {
    keys::of_member(config, now, findings);
    let registry = agreements::schemas(config.schemas.as_deref(), findings);
    connectors::look(config, registry.as_ref(), findings);
    connectors::inbox(config, findings);
}

/// A member that runs in the hub's process: its findings, each with its name.
fn beside(config: &ConnectConfig, file: &Path, now: jiff::Timestamp) -> Vec<Finding> {
    let mut findings = Findings::default();
    findings.ok("configuration", format!("{} can be used", file.display()));
    member(config, now, &mut findings);
    let named =
        |finding: Finding| Finding { check: format!("{}: {}", config.member, finding.check), ..finding };
    findings.0.into_iter().map(named).collect()
}

/// Seconds in a day.
const DAY: i64 = 24 * 60 * 60;
/// What ends sooner is worth a warning, in days.
const SOON: i64 = 30;

/// `2026-12-24`, the day in UTC of a time in seconds since 1970.
fn day(seconds: i64) -> String {
    match jiff::Timestamp::from_second(seconds) {
        Ok(time) => time.strftime("%Y-%m-%d").to_string(),
        Err(_) => "a day that no calendar has".to_owned(),
    }
}

/// `3 days`, of seconds.
fn days(seconds: i64) -> String {
    match seconds / DAY {
        0 => "less than a day".to_owned(),
        1 => "1 day".to_owned(),
        days => format!("{days} days"),
    }
}

/// What a validity that ends at `end` means at `now`, both in seconds since
/// 1970.
enum Left {
    /// It is over.
    Over,
    /// It is, within 30 days.
    Soon,
    /// It isn't for longer.
    Long,
}

fn left(end: i64, now: i64) -> Left {
    match end - now {
        ..=0 => Left::Over,
        rest if rest <= SOON * DAY => Left::Soon,
        _ => Left::Long,
    }
}
