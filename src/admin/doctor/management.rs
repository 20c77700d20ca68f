//! The broker as its management API shows it: what is missing, what is full,
//! what it lacks, and its clock.

use super::{Findings, clock, files};
use crate::bus::amqp::{Connection, Options};
use crate::bus::manage::{Access, Layout, ManageFault, Management};
use crate::bus::{BusFault, HUB, Tls};
use crate::config::HubConfig;
use crate::members::Directory;
use jiff::Timestamp;
use std::path::Path;

const CHECK: &str = "management API";

/// A queue that is as full as this, in percent, is worth a warning.
const NEARLY_FULL: u64 = 80;

/// Looks at the broker of `config` through its management API, if one is named.
pub(super) async fn look(
    config: &HubConfig,
    url: &str,
    file: &Path,
    members: &Directory,
    now: Timestamp,
    findings: &mut Findings,
) {
    let settings = &config.management;
    let (Some(api), Some(place)) = (&settings.url, &settings.password) else {
        findings.warning(
            CHECK,
            "it isn't named: what is missing at the broker, how full its queues are and its clock can't be looked at",
            "set management.url and management.password",
        );
        return clock::alone(now, findings);
    };
    let Some(password) = files::secret("management password", place, findings) else { return };
    let tls = Tls { ca: settings.ca.clone(), ..Tls::default() };
    let management = match Management::new(api, &settings.user, password, &tls) {
        Ok(management) => management,
        Err(fault) => {
            return findings.failed(CHECK, fault.to_string(), "correct management.url and management.ca");
        }
    };
    let version = match management.version().await {
        Ok(version) => version,
        Err(fault) => {
            let remedy = match &fault {
                ManageFault::Refused { .. } => format!(
                    "put the password of {} into {}, and give the user its tag: `rabbitmqctl set_user_tags {0} \
                     administrator`",
                    settings.user,
                    files::place(place)
                ),
                _ => "`rabbitmq-plugins enable rabbitmq_management`, or correct management.url".to_owned(),
            };
            return findings.failed(CHECK, fault.to_string(), remedy);
        }
    };
    findings.ok(CHECK, format!("RabbitMQ {version} answers at {}", management.address()));
    match management.clock().await {
        // Now, and not when everything began: the checks before may have waited.
        Ok(Some(theirs)) => clock::compare(Timestamp::now(), theirs, findings),
        _ => clock::alone(now, findings),
    }
    alarms(&management, findings).await;
    if let Some(vhost) = vhost(url) {
        layout(config, &vhost, file, members, &management, findings).await;
        queues(config, &vhost, &management, findings).await;
    }
}

/// The virtual host in the broker's URL.
fn vhost(url: &str) -> Option<String> {
    let options = Options { user: HUB.to_owned(), ..Options::default() };
    // The one that is meant; TLS and the login aren't.
    let plain = url.replacen("amqps://", "amqp://", 1);
    let connection: Result<Connection, BusFault> = Connection::new(&plain, options);
    connection.ok().map(|connection| connection.vhost().to_owned())
}

async fn alarms(management: &Management, findings: &mut Findings) {
    const CHECK: &str = "broker alarms";
    let nodes = match management.nodes().await {
        Ok(nodes) => nodes,
        Err(fault) => {
            return findings.warning(
                CHECK,
                fault.to_string(),
                "look at it there: `rabbitmq-diagnostics alarms`",
            );
        }
    };
    let before = findings.0.len();
    for node in &nodes {
        if !node.running {
            findings.failed(
                CHECK,
                format!("{} doesn't run", node.name),
                "start it: `systemctl start rabbitmq-server`",
            );
        }
        for (alarm, what) in [(node.mem_alarm, "memory"), (node.disk_free_alarm, "disk space")] {
            if alarm {
                findings.failed(
                    CHECK,
                    format!("{} lacks {what}, and takes nothing from anyone", node.name),
                    format!("give it {what}: `rabbitmq-diagnostics alarms` and `rabbitmq-diagnostics memory_breakdown` say more"),
                );
            }
        }
    }
    if findings.0.len() == before {
        findings.ok(CHECK, format!("none, nodes running: {}", nodes.len()));
    }
}

/// What `pirogue provision` would change.
async fn layout(
    config: &HubConfig,
    vhost: &str,
    file: &Path,
    members: &Directory,
    management: &Management,
    findings: &mut Findings,
) {
    const CHECK: &str = "broker layout";
    // Whether users are there, and not their passwords, which nobody can read.
    let wanted = Layout {
        vhost: vhost.to_owned(),
        queue_bytes: config.queue.max_bytes(),
        hub: Access::Certificate,
        members: members.members().map(|member| (member.clone(), Access::Certificate)).collect(),
    };
    match wanted.missing(management).await {
        Ok(missing) if missing.is_empty() => {
            findings.ok(CHECK, format!("the virtual host {vhost} has all that WIRE.md section 7 asks for"));
        }
        Ok(missing) => {
            let (shown, more) =
                (missing.iter().take(3).map(ToString::to_string).collect::<Vec<_>>(), missing.len());
            let more =
                if more > shown.len() { format!("; and {} more", more - shown.len()) } else { String::new() };
            findings.failed(
                CHECK,
                format!("the virtual host {vhost} lacks something: {}{more}", shown.join("; ")),
                format!(
                    "`pirogue provision --config {}`; with --dry-run it shows all of it first",
                    file.display()
                ),
            );
        }
        Err(fault @ ManageFault::Conflict(_)) => {
            findings.failed(CHECK, fault.to_string(), "that can't be changed in place: do as it says")
        }
        Err(fault) => findings.failed(CHECK, fault.to_string(), "look at the broker's log"),
    }
}

/// Queues that are nearly full.
async fn queues(config: &HubConfig, vhost: &str, management: &Management, findings: &mut Findings) {
    const CHECK: &str = "queue lengths";
    // A virtual host that isn't there has none.
    let Ok(queues) = management.queues(vhost).await else { return };
    let most = config.queue.max_bytes();
    let before = findings.0.len();
    for queue in queues.iter().filter(|queue| queue.name.starts_with("pirogue.")) {
        let percent = queue.message_bytes.saturating_mul(100) / most.max(1);
        if percent >= NEARLY_FULL {
            findings.warning(
                CHECK,
                format!("{} is {percent} % full, with {} messages", queue.name, queue.messages),
                match queue.name.strip_prefix("pirogue.to.") {
                    Some(member) => {
                        format!("let {member} start what receives: what comes next waits in the hub")
                    }
                    None => "start the hub: members wait".to_owned(),
                },
            );
        }
    }
    if findings.0.len() == before {
        findings.ok(CHECK, format!("none is {NEARLY_FULL} % full"));
    }
}
