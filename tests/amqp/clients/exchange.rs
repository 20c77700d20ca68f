//! A hub's folder, members' keys and agreements; what is published and received.

use super::programs::Settings;
use crate::broker::Node;
use crate::lab::PASSWORD;
use crate::process::{Process, command};
use pirogue::admin::prepare::{self, HubKeys, MemberKeys};
use pirogue::bus::manage::{Access, Layout};
use pirogue::event::MemberName;
use pirogue::schema::Registry;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

pub const HUB_NAME: &str = "nouvelle-caledonie";
pub const JOBSEEKER: &str = "nc.employment.jobseeker.registered";
pub const OFFER: &str = "nc.employment.offer.published";
/// What of a jobseeker is granted.
pub const GRANTED: [&str; 5] =
    ["person.family_name", "person.given_names", "person.birthdate", "status", "sought_occupations"];

pub static REGISTRY: LazyLock<Registry> = LazyLock::new(|| Registry::embedded().unwrap());

pub fn name(member: &str) -> MemberName {
    MemberName::parse(member).unwrap()
}

/// A hub and its members, on a virtual host of their own.
pub struct Exchange {
    folder: tempfile::TempDir,
    pub vhost: String,
    pub hub: HubKeys,
    pub members: BTreeMap<String, MemberKeys>,
    broker: String,
    http: SocketAddr,
}

impl Exchange {
    /// Prepares the folder, and the virtual host with queues of `queue_bytes`.
    pub fn prepare(node: &Node, vhost: &str, members: &[&str], queue_bytes: u64) -> Exchange {
        let folder = tempfile::tempdir().unwrap();
        let hub = prepare::hub(&folder.path().join("hub")).unwrap();
        let http = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let toml = format!(
            "name = \"{HUB_NAME}\"\ndata = \".\"\nbus = \"amqp://127.0.0.1:{}/{vhost}\"\n\
             [broker]\npassword = {{ env = \"BROKER_PASSWORD\" }}\n[http]\nlisten = \"{http}\"\n\
             [store]\nlow_water_mib = 1\n",
            node.port
        );
        fs::write(folder.path().join("hub/hub.toml"), toml).unwrap();
        let access = || Access::Password(PASSWORD.to_owned().into());
        let layout = Layout {
            vhost: vhost.to_owned(),
            queue_bytes,
            hub: access(),
            members: members.iter().map(|member| (name(member), access())).collect(),
        };
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(layout.provision(&node.management())).unwrap();
        let broker = format!("amqp://MEMBER:{PASSWORD}@127.0.0.1:{}/{vhost}", node.port);
        let mut all = BTreeMap::new();
        for member in members {
            let keys = prepare::member(&folder.path().join(member)).unwrap();
            let public = folder.path().join(format!("hub/members/{member}.jwks.json"));
            prepare::write(&public, &keys.public(&name(member)).to_json()).unwrap();
            all.insert((*member).to_owned(), keys);
        }
        let exchange = Exchange { folder, vhost: vhost.to_owned(), hub, members: all, broker, http };
        for schema in REGISTRY.schemas() {
            exchange.write_schema(schema.event_type().as_str(), schema.json());
        }
        exchange
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    fn write_schema(&self, event_type: &str, json: &str) {
        prepare::write(&self.path().join(format!("schemas/{event_type}/1.json")), json).unwrap();
    }

    /// Gets the schemas that the programs use from the hub, as
    /// examples/README.md tells.
    pub fn fetch_schemas(&self) {
        fs::remove_dir_all(self.path().join("schemas")).unwrap();
        let of_hub = ["schema.published", "event.rejected", "delivery.withheld", "person.erased"];
        let of_hub = of_hub.map(|name| format!("nc.hub.{name}"));
        for event_type in of_hub.iter().map(String::as_str).chain([JOBSEEKER, OFFER]) {
            let mut socket = TcpStream::connect(self.http).unwrap();
            write!(socket, "GET /schemas/{event_type}/1 HTTP/1.0\r\n\r\n").unwrap();
            let mut answer = String::new();
            socket.read_to_string(&mut answer).unwrap();
            let (head, json) = answer.split_once("\r\n\r\n").unwrap();
            assert!(head.starts_with("HTTP/1.0 200"), "{head}");
            self.write_schema(event_type, json);
        }
    }

    /// An agreement: jobseekers by some fields, offers as they are.
    pub fn agree(&self, provider: &str, recipient: &str) {
        let text = format!(
            "id = \"{provider}-{recipient}\"\nversion = 1\ntitle = \"Essai\"\nprovider = \"{provider}\"\n\
             recipient = \"{recipient}\"\npurpose = \"Essai\"\nlegal_basis = \"public-interest\"\n\
             retention_months = 12\nvalid_from = 2026-01-01\nvalid_until = 2099-12-31\n\n\
             [[grant]]\ntype = \"{JOBSEEKER}\"\nversions = [1]\nfields = {GRANTED:?}\nsubject = \"pseudonym\"\n\n\
             [[grant]]\ntype = \"{OFFER}\"\nversions = [1]\nfields = [\"*\"]\nsubject = \"publisher\"\n"
        );
        let path = self.path().join(format!("hub/agreements/{provider}-{recipient}.note"));
        let of = |member: &str| &self.members[member].agreement;
        let (one, other) = (name(provider), name(recipient));
        prepare::agreement(&path, &text, (&one, of(provider)), (&other, of(recipient))).unwrap();
    }

    pub fn start_hub(&self) -> Process {
        let file = self.path().join("hub/hub.toml");
        let mut command = command(&["hub", "--config", file.to_str().unwrap()]);
        command.env("BROKER_PASSWORD", PASSWORD);
        Process::spawn(command)
    }

    /// The settings of `member`'s programs.
    pub fn settings(&self, member: &str) -> Settings {
        Settings {
            broker: self.broker.replace("MEMBER", member),
            member: member.to_owned(),
            folder: self.path().to_owned(),
            more: Vec::new(),
        }
    }

    /// Where `member` receives.
    pub fn received(&self, member: &str) -> PathBuf {
        self.path().join(member).join("received")
    }
}

/// The `n`th record of `member`: every other one is a jobseeker.
pub fn record(member: &str, n: usize) -> Value {
    let time = format!("2026-03-{:02}T08:12:45{}Z", 1 + n % 28, if n.is_multiple_of(3) { ".25" } else { "" });
    if n.is_multiple_of(2) {
        let status = ["active", "in_training", "suspended", "closed", "other"][n % 5];
        let mut data = json!({
            "person": {
                "given_names": ["Marie-Josèphe", "Kaoline"],
                "family_name": format!("Wénéhoua {n}"),
                "birthdate": "1987-03",
                "other_names": [{"kind": "customary", "name": "Wéa \"aînée\"\u{1F33A}", "from": "2001"}],
            },
            "status": status,
            "registered_on": "2026-03-02",
            "sought_occupations": [{"code": "M1601", "label": null}, {"code": "K2204"}],
            "mobility": ["98818", "98817"],
        });
        if n.is_multiple_of(4) {
            data["contact"] =
                json!({"email": "contact@example.org", "address": {"lines": ["1, rue \\ des\tPins"]}});
        }
        return json!({"id": format!("{member}.j~{n}"), "type": JOBSEEKER, "subject": format!("person/{n}"), "time": time, "data": data});
    }
    let mut data = json!({"status": "open", "title": format!("Maraîcher n° {n} — l'« été »")});
    if !n.is_multiple_of(3) {
        data["positions"] = json!(n * n);
        data["contract_duration"] = json!({"months": n % 12});
        data["diploma_required"] = json!(n.is_multiple_of(2));
        data["skills"] = json!([{"code": "x", "label": "greffe"}, {"label": "taille"}]);
        data["description"] = json!("ligne\n".repeat(n % 40 + 1));
    }
    json!({"id": format!("{member}.o~{n}"), "type": OFFER, "subject": format!("offer/{n}"), "time": time, "data": data})
}

/// Writes records as a file of JSON Lines.
pub fn lines(records: impl Iterator<Item = Value>) -> String {
    records.map(|record| record.to_string() + "\n").collect()
}

/// The record with its defaults, and of a jobseeker what is granted.
pub fn expected(record: &Value) -> Value {
    let schema = REGISTRY.get(record["type"].as_str().unwrap(), 1).unwrap();
    let body = schema.encode_json(&record["data"]).unwrap();
    let mut data = schema.decode(&body).unwrap().to_json();
    if record["type"] == JOBSEEKER {
        let person = &data["person"];
        let granted = json!({
            "family_name": person["family_name"], "given_names": person["given_names"], "birthdate": person["birthdate"],
        });
        data = json!({"person": granted, "status": data["status"], "sought_occupations": data["sought_occupations"]});
    }
    data
}

/// The lines of a file that a recipient writes, but one that is being written.
pub fn read(file: &Path) -> Vec<Value> {
    let text = fs::read(file).unwrap_or_default();
    let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let lines = text[..whole].split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).unwrap()).collect()
}

/// How many whole lines a file has.
pub fn count(file: &Path) -> usize {
    fs::read(file).unwrap_or_default().iter().filter(|byte| **byte == b'\n').count()
}
