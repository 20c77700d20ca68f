//! A member's door when its broker or itself fails: what was told 202 is safe,
//! and the same request again makes no second event.

use super::broker::{Node, disturbed, shared};
use super::lab::{PASSWORD, layout, member};
use super::process::{Process, command, wait_until};
use pirogue::bus::INBOX;
use pirogue::bus::manage::Access;
use pirogue::journal::{self, Entry};
use pirogue::store::{Store, StoreOptions};
use reqwest::Client;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Instant;

const JOBSEEKER: &str = "nc.employment.jobseeker.registered";
const SUD: &str = "province-sud";
const GOUV: &str = "gouvernement";

/// A demo's folder whose members have doors, and a virtual host for it.
struct Lab {
    folder: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
    client: Client,
    vhost: &'static str,
}

/// A member's side as a process, and where its door is.
struct Door {
    process: Process,
    url: String,
}

impl Lab {
    /// Its doors wait `patience` seconds for the broker.
    fn open(node: &Node, vhost: &'static str, patience: u64) -> Lab {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().to_str().unwrap();
        let ended = Process::start(&["demo", "--once", "--json", "--events", "2", "--data", data]).end();
        assert!(ended.status.success(), "{}", ended.stderr);
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let mut layout = layout(vhost, 1 << 30);
        layout.members.insert(member(GOUV), Access::Password(PASSWORD.to_owned().into()));
        runtime.block_on(layout.provision(&node.management())).unwrap();
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder().no_proxy().build().unwrap();
        let lab = Lab { folder, runtime, client, vhost };
        for file in ["hub/hub.toml", "province-sud/connect.toml", "gouvernement/connect.toml"] {
            lab.configure(file, patience);
        }
        lab
    }

    /// Turns a configuration of the demo to RabbitMQ, and opens a member's door.
    fn configure(&self, file: &str, patience: u64) {
        let path = self.folder.path().join(file);
        let text = std::fs::read_to_string(&path).unwrap();
        // Nothing is read from a server.
        let text = text.split("[[connector]]").next().unwrap();
        let text = text.lines().filter(|line| !line.starts_with("connect = ")).collect::<Vec<_>>().join("\n");
        let text = text.replace("\nenabled = true", "\nenabled = true\nsink = \"door\"");
        let door = match file.starts_with("hub") {
            true => String::new(),
            false => {
                format!("[door]\nenabled = true\nlisten = \"127.0.0.1:0\"\npatience_seconds = {patience}\n")
            }
        };
        let broker = "[broker]\npassword = { env = \"BROKER_PASSWORD\" }\n";
        std::fs::write(path, format!("{text}\n{broker}{door}")).unwrap();
    }

    fn start(&self, program: &str, file: &str, port: u16) -> Process {
        let file = self.folder.path().join(file);
        let mut command = command(&[program, "--config", file.to_str().unwrap()]);
        command.env("BROKER_PASSWORD", PASSWORD);
        command.env("PIROGUE__BUS", format!("amqp://127.0.0.1:{port}/{}", self.vhost));
        Process::spawn(command)
    }

    fn hub(&self, port: u16) -> Process {
        self.start("hub", "hub/hub.toml", port)
    }

    /// Starts a member's side, and waits until it says where its door is.
    fn connect(&self, name: &str, port: u16) -> Door {
        let mut process = self.start("connect", &format!("{name}/connect.toml"), port);
        let mut url = None;
        wait_until("the door is open", || {
            assert!(!process.has_ended(), "{}", process.stderr());
            let said = process.stderr();
            let rest = said.split_once("http://127.0.0.1:").map(|(_, rest)| rest.to_owned());
            let port: Option<String> =
                rest.map(|rest| rest.chars().take_while(char::is_ascii_digit).collect());
            url = port.map(|port| format!("http://127.0.0.1:{port}"));
            url.is_some()
        });
        Door { process, url: url.unwrap() }
    }

    /// Posts under a key; the status, the answer, and after how many seconds to
    /// try again.
    fn post(&self, door: &Door, key: &str, body: &Value) -> reqwest::Result<(u16, Value, Option<u64>)> {
        let url = format!("{}/events/{JOBSEEKER}", door.url);
        self.runtime.block_on(async {
            let response = self.client.post(url).header("Idempotency-Key", key).json(body).send().await?;
            let after =
                response.headers().get("retry-after").map(|after| after.to_str().unwrap().parse().unwrap());
            Ok((response.status().as_u16(), response.json().await?, after))
        })
    }

    fn get(&self, door: &Door, path: &str) -> Value {
        let url = format!("{}{path}", door.url);
        self.runtime.block_on(async { self.client.get(url).send().await.unwrap().json().await.unwrap() })
    }

    /// How many messages are in the hub's inbox.
    fn waiting(&self, node: &Node) -> u64 {
        let queues = self.runtime.block_on(node.management().queues(self.vhost)).unwrap();
        queues.iter().find(|queue| queue.name == INBOX).map_or(0, |queue| queue.messages)
    }

    /// How many events the journal of the hub, which doesn't run, has: of all,
    /// and of the member.
    fn recorded(&self) -> (u64, u64) {
        let store = Store::open(&self.folder.path().join("hub"), StoreOptions::default()).unwrap();
        let publishers = journal::read_all(&store).unwrap().into_iter().filter_map(|entry| match entry {
            Entry::Event { publisher, .. } => Some(publisher.to_string()),
            _ => None,
        });
        publishers.fold((0, 0), |(all, own), publisher| (all + 1, own + u64::from(publisher == SUD)))
    }
}

fn ids(answer: &Value) -> Vec<String> {
    let events = answer["events"].as_array().unwrap_or_else(|| panic!("{answer}"));
    events.iter().map(|event| event["id"].as_str().unwrap().to_owned()).collect()
}

fn record(n: usize) -> Value {
    json!({
        "subject": {"kind": "person", "id": format!("p{n}")},
        "time": "2026-03-14T08:12:45Z",
        "data": {
            "person": {"given_names": ["Marie"], "family_name": "Kaoline"},
            "status": "active",
            "registered_on": "2026-03-02",
        },
    })
}

fn stop_hub(lab: &Lab, hub: Process) {
    super::process::shut_down(hub, lab.folder.path());
}

#[test]
fn what_was_told_503_while_the_broker_was_away_is_recorded_once_when_it_is_sent_again() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut rabbit = runtime.block_on(disturbed());
    let node = &mut rabbit.nodes[0];
    let lab = Lab::open(node, "door-away", 2);
    let (all, own) = lab.recorded();
    let mut hub = lab.hub(node.port);
    hub.answers(lab.folder.path());
    let door = lab.connect(SUD, node.port);
    let (status, first, _) = lab.post(&door, "first", &record(1)).unwrap();
    assert_eq!(status, 202, "{first}");

    node.kill();
    let began = Instant::now();
    let (status, answer, after) = lab.post(&door, "second", &json!([record(2), record(3)])).unwrap();
    assert_eq!((status, after), (503, Some(5)), "{answer}");
    assert!(began.elapsed().as_secs() < 20, "it waited beyond its patience");
    let health = lab.get(&door, "/health");
    assert_eq!(health["status"], "failing", "{health}");

    node.start();
    let mut again = Value::Null;
    wait_until("it is taken", || {
        let (status, answer, _) = lab.post(&door, "second", &json!([record(2), record(3)])).unwrap();
        again = answer;
        status == 202
    });
    let (_, once_more, _) = lab.post(&door, "second", &json!([record(2), record(3)])).unwrap();
    assert_eq!(ids(&again), ids(&once_more));
    assert_eq!(lab.get(&door, "/health")["status"], "ok");
    hub_has_taken(&lab, &mut hub, all + 3);
    stop_hub(&lab, hub);
    assert_eq!(lab.recorded(), (all + 3, own + 3));
}

/// Waits until the hub has recorded as many events.
fn hub_has_taken(lab: &Lab, hub: &mut Process, events: u64) {
    wait_until("the hub has taken all", || hub.answers(lab.folder.path()).events >= events);
}

/// Passes connections on to the broker, and on demand nothing of what it says.
struct Mute {
    port: u16,
    is_mute: Arc<AtomicBool>,
}

impl Mute {
    fn start(broker: u16) -> Mute {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let is_mute = Arc::new(AtomicBool::new(false));
        let mute = Arc::clone(&is_mute);
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let (Ok(client), Ok(broker)) = (client, TcpStream::connect(("127.0.0.1", broker))) else {
                    return;
                };
                let (from_client, from_broker) = (client.try_clone().unwrap(), broker.try_clone().unwrap());
                let mute = Arc::clone(&mute);
                std::thread::spawn(move || pass(from_client, broker, &AtomicBool::new(false)));
                std::thread::spawn(move || pass(from_broker, client, &mute));
            }
        });
        Mute { port, is_mute }
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, is_mute: &AtomicBool) {
    let mut buffer = [0; 4096];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        if !is_mute.load(SeqCst) && to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(std::net::Shutdown::Both);
}

#[test]
fn a_member_killed_between_publishing_and_answering_makes_one_event_of_the_repeat() {
    let node = shared().node();
    let lab = Lab::open(node, "door-killed", 120);
    let (all, own) = lab.recorded();
    let mute = Mute::start(node.port);
    let door = lab.connect(SUD, mute.port);
    assert_eq!(lab.post(&door, "before", &record(0)).unwrap().0, 202);
    wait_until("the first waits for the hub", || lab.waiting(node) == 1);

    // What is published arrives, and the confirm doesn't: nobody is answered.
    mute.is_mute.store(true, SeqCst);
    let url = format!("{}/events/{JOBSEEKER}", door.url);
    let request = lab.client.post(url).header("Idempotency-Key", "killed").json(&record(1)).send();
    let asked = lab.runtime.spawn(request);
    wait_until("the broker has it", || lab.waiting(node) == 2);
    door.process.kill();
    assert!(lab.runtime.block_on(asked).unwrap().is_err(), "it was answered");

    let door = lab.connect(SUD, node.port);
    let (status, answer, _) = lab.post(&door, "killed", &record(1)).unwrap();
    assert_eq!(status, 202, "{answer}");
    let (_, again, _) = lab.post(&door, "killed", &record(1)).unwrap();
    assert_eq!(ids(&answer), ids(&again));
    let (status, other, _) = lab.post(&door, "killed", &record(2)).unwrap();
    assert_eq!(status, 422, "{other}");

    let mut hub = lab.hub(node.port);
    hub.answers(lab.folder.path());
    hub_has_taken(&lab, &mut hub, all + 2);
    stop_hub(&lab, hub);
    assert_eq!(lab.recorded(), (all + 2, own + 2));
}

#[test]
fn a_back_office_that_keeps_its_cursor_handles_each_delivery_once_though_the_member_is_killed() {
    const EVENTS: usize = 2000;
    let node = shared().node();
    let lab = Lab::open(node, "door-fetching", 60);
    let mut hub = lab.hub(node.port);
    hub.answers(lab.folder.path());
    let sud = lab.connect(SUD, node.port);
    let mut gouv = Some(lab.connect(GOUV, node.port));
    let began = Instant::now();
    for share in 0..EVENTS / 250 {
        let batch: Vec<Value> = (0..250).map(|n| record(share * 250 + n)).collect();
        let (status, answer, _) = lab.post(&sud, &format!("share-{share}"), &Value::Array(batch)).unwrap();
        assert_eq!(status, 202, "{answer}");
    }
    let rate = EVENTS as f64 / began.elapsed().as_secs_f64();
    println!("posted by 250: {rate:.0} events a second, each answer after the broker's confirm");

    // The back-office's own: where it is, and what it handled.
    let (mut after, mut handled, mut kills) = (None::<String>, Vec::new(), 0);
    wait_until("all is handled", || {
        let from = after.as_ref().map_or(String::new(), |after| format!("&after={after}"));
        let door = gouv.as_ref().expect("it runs");
        let page = lab.get(door, &format!("/deliveries?max=170&wait=1{from}"));
        let deliveries = page["deliveries"].as_array().unwrap_or_else(|| panic!("{page}"));
        handled.extend(
            deliveries.iter().filter(|d| d["type"] == JOBSEEKER).map(|d| d["sequence"].as_u64().unwrap()),
        );
        if let Some(last) = deliveries.last() {
            after = Some(page["next"].as_str().unwrap().to_owned());
            if handled.len() >= (kills + 1) * EVENTS / 4 && kills < 3 {
                // Before it acknowledges, or after.
                if kills == 1 {
                    acknowledge(&lab, door, last);
                }
                kills += 1;
                let killed = gouv.take().expect("it runs");
                killed.process.kill();
                gouv = Some(lab.connect(GOUV, node.port));
            } else {
                acknowledge(&lab, door, last);
            }
        }
        handled.len() >= EVENTS
    });
    assert_eq!((handled.len(), kills), (EVENTS, 3));
    assert!(handled.is_sorted_by(|a, b| a < b), "a delivery came twice, or out of order");
    stop_hub(&lab, hub);
}

fn acknowledge(lab: &Lab, door: &Door, delivery: &Value) {
    let upto = json!({"epoch": delivery["epoch"], "sequence": delivery["sequence"]});
    let url = format!("{}/deliveries/ack", door.url);
    let status =
        lab.runtime.block_on(async { lab.client.post(url).json(&upto).send().await.unwrap().status() });
    assert_eq!(status.as_u16(), 200);
}
