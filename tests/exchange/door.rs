//! The door of a member: what a back-office that only knows HTTP posts, and what
//! it fetches.

use crate::harness::*;
use pirogue::admin::prepare;
use pirogue::config::ConnectConfig;
use pirogue::connect::{Connect, ConnectFault};
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// A member's side with its door, and its folder, which is the test's to keep.
struct Door {
    connect: Connect,
    client: Client,
    url: String,
}

struct Answer {
    status: u16,
    body: Value,
    headers: reqwest::header::HeaderMap,
}

impl Answer {
    fn ids(&self) -> Vec<String> {
        assert_eq!(self.status, 202, "{}", self.body);
        let events = self.body["events"].as_array().unwrap();
        events.iter().map(|event| event["id"].as_str().unwrap().to_owned()).collect()
    }

    /// `RECORD FIELD` of each field that is wrong.
    fn wrong(&self) -> Vec<String> {
        assert_eq!(self.status, 422, "{}", self.body);
        let errors = self.body["errors"].as_array().unwrap();
        errors.iter().map(|e| format!("{} {}", e["record"], e["field"].as_str().unwrap())).collect()
    }

    fn detail(&self) -> &str {
        self.body["detail"].as_str().unwrap()
    }
}

/// Writes the folder of `member`, and what its configuration says beside.
fn folder(exchange: &Exchange, member: &str, more: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    prepare::folder(&at("keys")).unwrap();
    exchange.key(member).write(&at("keys/event.pem"), None).unwrap();
    prepare::write(&at("hub.jwks.json"), &exchange.hub().public_keys().to_json()).unwrap();
    for other in [SUD, GOUV] {
        let keys = exchange.keys(other).public(&name(other)).to_json();
        prepare::write(&at(&format!("members/{other}.jwks.json")), &keys).unwrap();
    }
    let text = format!(
        "member = \"{member}\"\nhub = \"{NAME}\"\n{more}\n[door]\nenabled = true\nlisten = \"127.0.0.1:0\"\n"
    );
    prepare::write(&at("connect.toml"), &text).unwrap();
    folder
}

fn append(folder: &Path, text: &str) {
    let path = folder.join("connect.toml");
    let before = std::fs::read_to_string(&path).unwrap();
    prepare::write(&path, &format!("{before}{text}")).unwrap();
}

fn try_open(exchange: &Exchange, member: &str, folder: &Path) -> Result<Connect, ConnectFault> {
    let config = ConnectConfig::load_beside_hub(&folder.join("connect.toml")).unwrap();
    let bus = exchange.node().bus(member).unwrap();
    exchange.block_on(Connect::start(&config, bus))
}

fn open(exchange: &Exchange, member: &str, folder: &Path) -> Door {
    let connect = try_open(exchange, member, folder).unwrap();
    // Another test may have chosen it before.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = Client::builder().no_proxy().build().unwrap();
    let url = format!("http://{}", connect.door().unwrap());
    Door { connect, client, url }
}

impl Door {
    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url))
    }

    fn send(&self, exchange: &Exchange, request: RequestBuilder) -> Answer {
        exchange.block_on(async {
            let response = request.send().await.unwrap();
            let (status, headers) = (response.status().as_u16(), response.headers().clone());
            let text = response.text().await.unwrap();
            let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
            if status >= 400 {
                assert_eq!(headers["content-type"], "application/problem+json", "{body}");
                assert_eq!(body["status"], status);
            }
            Answer { status, body, headers }
        })
    }

    fn get(&self, exchange: &Exchange, path: &str) -> Answer {
        self.send(exchange, self.request(Method::GET, path))
    }

    fn post(&self, exchange: &Exchange, path: &str, body: &Value) -> Answer {
        self.send(exchange, self.request(Method::POST, path).json(body))
    }

    fn post_with_key(&self, exchange: &Exchange, key: &str, body: &Value) -> Answer {
        let request = self.request(Method::POST, &format!("/events/{JOBSEEKER}"));
        self.send(exchange, request.header("Idempotency-Key", key).json(body))
    }

    fn close(self, exchange: &Exchange) {
        drop(self.client);
        exchange.block_on(self.connect.stop()).unwrap();
    }
}

fn posted(id: &str, family_name: &str) -> Value {
    json!({
        "subject": {"kind": "person", "id": id},
        "time": "2026-03-14T19:12:45.5+11:00",
        "data": jobseeker(family_name),
    })
}

#[test]
fn what_is_posted_is_signed_and_delivered_one_or_many() {
    let mut exchange = Exchange::simple();
    let folder = folder(&exchange, SUD, "");
    let door = open(&exchange, SUD, folder.path());
    let path = format!("/events/{JOBSEEKER}");
    let one = door.post(&exchange, &path, &posted("4711", "Kaemo"));
    assert_eq!(one.body["events"][0]["source"], format!("/{SUD}/door"));
    let ids = one.ids();
    let many = (0..300).map(|n| posted(&format!("p{n}"), "Kaoline")).collect();
    let many = door.post(&exchange, &format!("{path}?version=1"), &Value::Array(many));
    let records: Vec<_> =
        many.body["events"].as_array().unwrap().iter().map(|e| e["record"].as_u64().unwrap()).collect();
    assert_eq!(records, (0..300).collect::<Vec<_>>());
    assert_eq!(door.connect.counts().published.get(), 301);

    let got = exchange.take(GOUV, 302);
    let event = &got[1].accepted;
    let attribute = |name| event.attributes.get(name).unwrap();
    assert_eq!((attribute("id"), attribute("subject")), (ids[0].as_str(), "person/4711"));
    assert_eq!((attribute("time"), attribute("type")), ("2026-03-14T08:12:45Z", JOBSEEKER));
    assert_eq!(read(JOBSEEKER, &event.message.body)["person"]["family_name"], "Kaemo");
    let delivered: Vec<_> = got[2..].iter().map(|got| got.accepted.attributes.get("id").unwrap()).collect();
    assert_eq!(delivered, many.ids());
    door.close(&exchange);
}

#[test]
fn every_field_that_is_wrong_is_named_and_nothing_is_taken() {
    let exchange = Exchange::simple();
    let folder = folder(&exchange, SUD, "");
    let door = open(&exchange, SUD, folder.path());
    let path = format!("/events/{JOBSEEKER}");
    let mut wrong = posted("4711", "SECRETNAME");
    wrong["data"]["person"]["birthdate"] = json!("SECRETDATE");
    wrong["data"]["mobility"] = json!(["98818", "SECRETPLACE"]);
    wrong["data"]["SECRET KEY"] = json!(1);
    let batch = json!([posted("1", "Kaemo"), wrong, {"time": "hier", "subject": {"kind": "offer", "id": "~x"}, "tome": 1}, 7]);
    let answer = door.post(&exchange, &path, &batch);
    assert_eq!(
        answer.wrong(),
        [
            "1 data.person.birthdate",
            "1 data.mobility[1]",
            "1 data",
            "2 tome",
            "2 subject.kind",
            "2 subject.id",
            "2 time",
            "2 data",
            "3 "
        ]
    );
    assert!(!answer.body.to_string().contains("SECRET"), "{}", answer.body);
    assert!(answer.body["errors"][1]["message"].as_str().unwrap().contains("communes"), "{}", answer.body);

    let mut future = posted("1", "Kaemo");
    future["time"] = json!("2099-01-01T00:00:00Z");
    assert_eq!(door.post(&exchange, &path, &future).wrong(), ["0 time"]);
    let mut large = posted("1", "Kaemo");
    large["data"]["sought_occupations"] =
        (0..4000).map(|_| json!({"rome": "M1601", "label": "x".repeat(190)})).collect();
    let answer = door.post(&exchange, &path, &large);
    assert!(answer.wrong().iter().all(|field| field.starts_with("0 data")), "{}", answer.body);
    for nothing in [json!([]), Value::Array(vec![json!(1); 1001])] {
        assert_eq!(door.post(&exchange, &path, &nothing).wrong(), ["0 "]);
    }
    assert_eq!(door.connect.counts().published.get(), 0);
    assert!(!was_logged("SECRETNAME") && !was_logged("SECRETDATE"));
    door.close(&exchange);
}

#[test]
fn what_isnt_a_request_is_told_what_one_is() {
    let exchange = Exchange::simple();
    let folder = folder(&exchange, SUD, "");
    let door = open(&exchange, SUD, folder.path());
    let path = format!("/events/{JOBSEEKER}");
    let near = door.post(&exchange, "/events/nc.employment.jobseekers.registered", &json!({}));
    assert!(near.status == 404 && near.detail().contains(JOBSEEKER), "{}", near.body);
    for nowhere in ["/events/x", "/events/nc.hub.event.rejected", "/nowhere", "/events/%FF"] {
        assert_eq!(door.post(&exchange, nowhere, &json!({})).status, 404, "{nowhere}");
    }
    for version in ["2", "0"] {
        assert_eq!(door.post(&exchange, &format!("{path}?version={version}"), &json!({})).status, 404);
    }
    for query in ["version=x", "verison=1", "version=1&version=1"] {
        assert_eq!(door.post(&exchange, &format!("{path}?{query}"), &json!({})).status, 400, "{query}");
    }
    let get = door.get(&exchange, &path);
    assert_eq!((get.status, get.headers["allow"].to_str().unwrap()), (405, "POST"));
    let raw = |kind: &str, body: String| {
        door.send(&exchange, door.request(Method::POST, &path).header("Content-Type", kind).body(body))
    };
    assert_eq!(raw("text/plain", "{}".to_owned()).status, 415);
    let not_json = raw("application/json", "{\"SECRET\"".to_owned());
    assert!(not_json.status == 400 && not_json.detail().contains("line 1"), "{}", not_json.body);
    assert!(!not_json.body.to_string().contains("SECRET"));
    assert_eq!(raw("application/json", " ".repeat((4 << 20) + 1)).status, 413);
    for key in ["", "a b", "\"open", &"x".repeat(129)] {
        assert_eq!(door.post_with_key(&exchange, key, &posted("1", "Kaemo")).status, 400, "{key}");
    }
    // Without a token it is called by its address.
    let named = door.request(Method::POST, &path).header("Host", "evil.example").json(&json!({}));
    assert_eq!(door.send(&exchange, named).status, 421);
    // What isn't held can't be fetched.
    assert!(door.get(&exchange, "/deliveries").detail().contains("inbox.sink"));
    assert_eq!(door.get(&exchange, "/health").body, json!({"status": "ok"}));
    let page = door.get(&exchange, "/").body;
    assert!(page.as_str().unwrap().contains("curl http") && page.as_str().unwrap().contains(JOBSEEKER));
    door.close(&exchange);
}

#[test]
fn a_key_stands_for_one_content_also_after_a_restart() {
    let mut exchange = Exchange::simple();
    let folder = folder(&exchange, SUD, "");
    let door = open(&exchange, SUD, folder.path());
    let batch = json!([posted("1", "Kaemo"), posted("1", "Kaemo")]);
    let first = door.post_with_key(&exchange, "\"order-1\"", &batch);
    let ids = first.ids();
    // By the key, each record of a request is an event of its own.
    assert_ne!(ids[0], ids[1]);
    assert_eq!(door.post_with_key(&exchange, "order-1", &batch).ids(), ids);
    let other = door.post_with_key(&exchange, "order-1", &posted("1", "Kaemo"));
    assert!(other.status == 422 && other.detail().contains("Idempotency-Key"), "{}", other.body);
    // What was refused leaves the key free.
    assert_eq!(door.post_with_key(&exchange, "order-2", &json!([])).status, 422);
    let second = door.post_with_key(&exchange, "order-2", &batch).ids();
    assert!(second.iter().all(|id| !ids.contains(id)));
    door.close(&exchange);

    let door = open(&exchange, SUD, folder.path());
    assert_eq!(door.post_with_key(&exchange, "order-1", &batch).ids(), ids);
    assert_eq!(door.post_with_key(&exchange, "order-1", &posted("2", "Kaemo")).status, 422);
    // Without a key, the same content is the same event, whatever the order of
    // its fields and the form of its time.
    let mut same = posted("7", "Kaemo");
    let of_content = door.post(&exchange, &format!("/events/{JOBSEEKER}"), &same).ids();
    same["time"] = json!("2026-03-14T08:12:45Z");
    let person = same["data"].as_object_mut().unwrap().shift_remove("person").unwrap();
    same["data"]["person"] = person;
    assert_eq!(door.post(&exchange, &format!("/events/{JOBSEEKER}"), &same).ids(), of_content);
    same["key"] = json!("file-9");
    assert_ne!(door.post(&exchange, &format!("/events/{JOBSEEKER}"), &same).ids(), of_content);
    // The schema, and each event once.
    let got = exchange.take_all(GOUV, 0);
    assert_eq!(got.len(), 1 + 4 + 2);
    door.close(&exchange);
}

const MANIFEST: &str = r#"
name = "guichet"
system = "guichet"
description = "What the counter's forms post."
[[source]]
name = "forms"
driver = "door"
map = "forms.jq"
event = "nc.employment.jobseeker.registered"
version = 1
key = "/id"
record_version = "/rev"
time = "/changed"
subject = { kind = "person", id = "/id" }
"#;
const MAP: &str = r#"select(.draft | not) | {
    person: {given_names: (.prenoms | split(" ")), family_name: (.nom | person_name), birthdate: (.ne | partial_date)},
    status: .etat,
    registered_on: .inscrit
}"#;

fn form(id: u32) -> Value {
    json!({"id": id, "rev": "a", "changed": "2026-03-14 19:12:45", "nom": "  Kaemo ", "prenoms": "Marie Josèphe",
           "ne": "1950-00-00", "etat": "active", "inscrit": "2026-03-02"})
}

#[test]
fn what_a_connector_maps_is_posted_as_the_software_has_it() {
    let mut exchange = Exchange::simple();
    let folder = folder(&exchange, SUD, "[[connector]]\nfolder = \"guichet\"\ngeneration = 2");
    prepare::write(&folder.path().join("guichet/connector.toml"), MANIFEST).unwrap();
    prepare::write(&folder.path().join("guichet/forms.jq"), MAP).unwrap();
    let door = open(&exchange, SUD, folder.path());
    let path = format!("/events/{JOBSEEKER}");
    let mut skipped = form(2);
    skipped["draft"] = json!(true);
    let answer = door.post(&exchange, &path, &json!([form(1), skipped, form(3)]));
    assert_eq!(answer.body["events"][1]["record"], 2);
    assert_eq!(answer.body["events"][0]["source"], format!("/{SUD}/guichet"));
    let mut skipped = form(2);
    skipped["draft"] = json!(true);
    assert_eq!(door.post(&exchange, &path, &skipped).body, json!({"events": []}));

    let mut undated = form(4);
    undated["ne"] = json!("SECRET");
    let mut keyless = form(5);
    keyless["id"] = Value::Null;
    let mut untimed = form(6);
    untimed["changed"] = json!("SECRET");
    let mut stateless = form(7);
    stateless["etat"] = json!("SECRET");
    let answer = door.post(&exchange, &path, &json!([undated, keyless, untimed, stateless]));
    assert_eq!(answer.wrong(), ["0 person.birthdate", "1 /id", "2 /changed", "3 status"]);
    assert!(!answer.body.to_string().contains("SECRET"), "{}", answer.body);

    // The same record read twice is the same event; another revision isn't.
    let mut revised = form(1);
    revised["rev"] = json!("b");
    let again = door.post(&exchange, &path, &json!([form(1), revised])).ids();
    let got = exchange.take_all(GOUV, 0);
    assert_eq!(got.len(), 1 + 3);
    assert_eq!(got[3].accepted.attributes.get("id").unwrap(), again[1]);
    let record = read(JOBSEEKER, &got[1].accepted.message.body);
    assert_eq!(record["person"]["given_names"], json!(["Marie", "Josèphe"]));
    assert_eq!(record["person"]["birthdate"], "1950");
    assert_eq!(got[1].accepted.attributes.get("time"), Some("2026-03-14T08:12:45Z"));
    assert_eq!(door.post(&exchange, &format!("{path}?version=2"), &form(1)).status, 404);
    door.close(&exchange);
}

#[test]
fn a_connector_for_the_door_takes_an_open_door_and_a_type_of_its_own() {
    let exchange = Exchange::simple();
    let connector = "[[connector]]\nfolder = \"guichet\"\n";
    let folder = folder(&exchange, SUD, &connector.repeat(2));
    prepare::write(&folder.path().join("guichet/connector.toml"), MANIFEST).unwrap();
    prepare::write(&folder.path().join("guichet/forms.jq"), MAP).unwrap();
    let Err(twice) = try_open(&exchange, SUD, folder.path()) else { panic!("both are taken") };
    assert!(twice.to_string().contains("both guichet/forms and guichet/forms"), "{twice}");
    let toml = folder.path().join("connect.toml");
    prepare::write(&toml, &format!("member = \"{SUD}\"\nhub = \"{NAME}\"\n{connector}")).unwrap();
    let Err(closed) = try_open(&exchange, SUD, folder.path()) else { panic!("the door is closed") };
    assert!(closed.to_string().contains("set door.enabled = true"), "{closed}");
}

#[test]
fn a_token_is_asked_for_where_there_is_one() {
    let exchange = Exchange::simple();
    let folder = folder(&exchange, SUD, "");
    prepare::secret(&folder.path().join("token"), "sesame\n").unwrap();
    append(folder.path(), "token = { file = \"token\" }\n");
    let door = open(&exchange, SUD, folder.path());
    let path = format!("/events/{JOBSEEKER}");
    let with = |header: &str| {
        let request = door.request(Method::POST, &path).header("Authorization", header);
        door.send(&exchange, request.json(&posted("1", "Kaemo")))
    };
    for wrong in ["Bearer", "Bearer sesam", "Bearer sesamee", "Basic sesame", "sesame"] {
        let refused = with(wrong);
        assert_eq!(
            (refused.status, &refused.headers["www-authenticate"]),
            (401, &"Bearer".parse().unwrap()),
            "{wrong}"
        );
    }
    assert_eq!(door.post(&exchange, &path, &posted("1", "Kaemo")).status, 401);
    assert_eq!(with("Bearer sesame").status, 202);
    assert_eq!(with("bearer sesame").status, 202);
    // A name is fine where a token proves who calls.
    let named = door.request(Method::POST, &path).header("Host", "door.example").bearer_auth("sesame");
    assert_eq!(door.send(&exchange, named.json(&posted("1", "Kaemo"))).status, 202);
    let described = door.get(&exchange, "/openapi.json").body;
    assert_eq!(described["components"]["securitySchemes"]["token"]["scheme"], "bearer");
    assert!(!was_logged("sesame"));
    door.close(&exchange);
}

#[test]
fn the_description_names_every_type_that_can_be_posted() {
    let exchange = Exchange::simple();
    let folder = folder(&exchange, SUD, "[inbox]\nenabled = true\nsink = \"door\"");
    let door = open(&exchange, SUD, folder.path());
    let described = door.get(&exchange, "/openapi.json").body;
    let paths: Vec<_> = described["paths"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(
        paths,
        [
            "/events/nc.employment.jobseeker.registered",
            "/events/nc.employment.offer.published",
            "/events/nc.identity.account.verified",
            "/deliveries",
            "/deliveries/ack",
            "/openapi.json",
            "/",
            "/health"
        ]
    );
    let person = &described["components"]["schemas"]["nc.person.Person"]["properties"]["family_name"];
    assert_eq!(person["description"], "Nom de naissance. / Birth name.");
    door.close(&exchange);
}

fn sequences(page: &Value) -> Vec<u64> {
    page["deliveries"].as_array().unwrap().iter().map(|d| d["sequence"].as_u64().unwrap()).collect()
}

fn publish(exchange: &Exchange, numbers: std::ops::Range<u32>) {
    publish_as(exchange, numbers, &jobseeker("Kaemo"));
}

fn publish_as(exchange: &Exchange, numbers: std::ops::Range<u32>, record: &Value) {
    let key = exchange.key(SUD);
    let event = |n: u32| Draft::new(SUD, JOBSEEKER, &format!("e-{n}"), &format!("person/{n}"), record);
    exchange.publish(numbers.map(|n| event(n).signed(key)));
}

/// Waits until the answer to `path` has `count` deliveries.
fn fetch(exchange: &Exchange, door: &Door, path: &str, count: usize) -> Value {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let answer = door.get(exchange, path);
        assert_eq!(answer.status, 200, "{}", answer.body);
        if sequences(&answer.body).len() == count {
            return answer.body;
        }
        assert!(Instant::now() < deadline, "{}", answer.body);
    }
}

#[test]
fn what_arrives_is_fetched_by_cursor_until_it_is_acknowledged() {
    let exchange = Exchange::simple();
    let folder = folder(&exchange, GOUV, "[inbox]\nenabled = true\nsink = \"door\"");
    let door = open(&exchange, GOUV, folder.path());
    let ack = |epoch: u32, sequence: u64| {
        door.post(&exchange, "/deliveries/ack", &json!({"epoch": epoch, "sequence": sequence}))
    };
    let nothing = door.get(&exchange, "/deliveries");
    assert_eq!(nothing.body, json!({"deliveries": [], "next": "0-0"}));
    assert_eq!(ack(1, 1).status, 409);
    publish(&exchange, 0..9);
    let all = fetch(&exchange, &door, "/deliveries?wait=10", 10);
    assert_eq!((sequences(&all), &all["next"]), ((1..=10).collect(), &json!("1-10")));
    let second = &all["deliveries"][1];
    assert_eq!(second["cursor"], "1-2");
    assert_eq!(second["subject"], "person/0");
    assert_eq!(second["agreement"], "tout:1");
    assert_eq!(second["data"]["person"]["family_name"], "Kaemo");
    let page = door.get(&exchange, "/deliveries?after=1-3&max=2").body;
    assert_eq!((sequences(&page), &page["next"]), (vec![4, 5], &json!("1-5")));

    assert_eq!(ack(1, 4).body, json!({"acknowledged": "1-4"}));
    assert_eq!(ack(1, 2).body, json!({"acknowledged": "1-4"}));
    for beyond in [(1, 11), (2, 1)] {
        let refused = ack(beyond.0, beyond.1);
        assert!(refused.status == 409 && refused.detail().contains("1-10"), "{}", refused.body);
    }
    assert_eq!(door.get(&exchange, "/deliveries?after=1-3").status, 410);
    assert_eq!(sequences(&door.get(&exchange, "/deliveries").body), (5..=10).collect::<Vec<_>>());
    for wrong in ["after=x", "after=01-2", "max=0", "max=1001", "wait=61", "wait=-1", "afer=1-2"] {
        assert_eq!(door.get(&exchange, &format!("/deliveries?{wrong}")).status, 400, "{wrong}");
    }
    for wrong in [
        json!({}),
        json!({"epoch": 1}),
        json!({"epoch": 1, "sequence": 0}),
        json!([]),
        json!({"epoch": 1, "sequence": 1, "x": 1}),
        json!({"epoch": 1, "sequence": "1"}),
    ] {
        assert_eq!(door.post(&exchange, "/deliveries/ack", &wrong).status, 422, "{wrong}");
    }
    door.close(&exchange);

    // What wasn't acknowledged is there after a restart, sealed meanwhile.
    for (path, content) in files(folder.path()) {
        assert!(!contains(&content, b"Kaemo"), "{}", path.display());
    }
    let door = open(&exchange, GOUV, folder.path());
    publish(&exchange, 9..11);
    let after = fetch(&exchange, &door, "/deliveries?after=1-10&wait=10", 2);
    assert_eq!(sequences(&after), [11, 12]);
    assert_eq!(sequences(&door.get(&exchange, "/deliveries").body), (5..=12).collect::<Vec<_>>());
    door.close(&exchange);
}

#[test]
fn a_request_that_waits_is_answered_when_something_arrives_and_when_the_program_stops() {
    let exchange = Exchange::simple();
    let folder = folder(&exchange, GOUV, "[inbox]\nenabled = true\nsink = \"door\"");
    let door = open(&exchange, GOUV, folder.path());
    let began = Instant::now();
    let waiting = door.ask(&exchange, "/deliveries?wait=60");
    publish(&exchange, 0..1);
    let text = exchange.block_on(waiting).unwrap();
    assert!(text.contains("\"cursor\":\"1-1\""), "{text}");
    let waiting = door.ask(&exchange, "/deliveries?after=9-9&wait=60");
    while !was_logged("a request for deliveries waits after=9-9") {
        assert!(began.elapsed() < Duration::from_secs(30), "it doesn't wait");
        std::thread::yield_now();
    }
    door.close(&exchange);
    assert_eq!(exchange.block_on(waiting).unwrap(), r#"{"deliveries":[],"next":"9-9"}"#);
    assert!(began.elapsed() < Duration::from_secs(30), "it waited for the end of its time");
}

#[test]
fn a_mapping_of_the_inbox_says_what_is_fetched() {
    let exchange = Exchange::simple();
    let folder = folder(&exchange, GOUV, "[inbox]\nenabled = true\nsink = \"door\"\nmap = \"inbox.jq\"");
    let map = "select(.type | startswith(\"nc.hub.\") | not) | .data.person | .family_name, .birthdate";
    prepare::write(&folder.path().join("inbox.jq"), map).unwrap();
    let door = open(&exchange, GOUV, folder.path());
    publish(&exchange, 0..2);
    let all = fetch(&exchange, &door, "/deliveries?wait=10", 2);
    assert_eq!(sequences(&all), [2, 3]);
    assert_eq!(all["deliveries"][1]["records"], json!(["Kaemo", "1987-03-14"]));
    assert!(all["deliveries"][1].get("data").is_none());
    door.close(&exchange);
}

#[test]
fn while_nobody_acknowledges_no_more_is_taken_than_is_held_and_nothing_is_lost() {
    const EVENTS: u32 = 1500;
    let exchange = Exchange::simple();
    let folder = folder(&exchange, GOUV, "[inbox]\nenabled = true\nsink = \"door\"");
    append(folder.path(), "held_mib = 1\n");
    let door = open(&exchange, GOUV, folder.path());
    let mut large = jobseeker("Kaemo");
    large["person"]["given_names"] = Value::Array(vec![json!("Marie".repeat(20)); 20]);
    publish_as(&exchange, 0..EVENTS, &large);
    let deadline = Instant::now() + Duration::from_secs(60);
    while door.get_health(&exchange) != 503 {
        assert!(Instant::now() < deadline, "it never fills");
    }
    let held = door.connect.counts().handled.get();
    assert!(held < u64::from(EVENTS), "all {held} are held");
    let (mut after, mut seen) = (None::<String>, Vec::new());
    while seen.len() < EVENTS as usize + 1 {
        assert!(Instant::now() < deadline, "{} came", seen.len());
        let path = match &after {
            None => "/deliveries?max=1000&wait=5".to_owned(),
            Some(after) => format!("/deliveries?max=1000&wait=5&after={after}"),
        };
        let page = door.get(&exchange, &path).body;
        seen.extend(sequences(&page));
        let Some(last) = page["deliveries"].as_array().unwrap().last() else { continue };
        let upto = json!({"epoch": last["epoch"], "sequence": last["sequence"]});
        assert_eq!(door.post(&exchange, "/deliveries/ack", &upto).status, 200);
        after = Some(page["next"].as_str().unwrap().to_owned());
    }
    assert!(seen.iter().copied().eq(1..=u64::from(EVENTS) + 1), "each once, in order");
    assert_eq!(door.get_health(&exchange), 200);
    door.close(&exchange);
}

impl Door {
    /// Asks without waiting for the answer.
    fn ask(&self, exchange: &Exchange, path: &str) -> JoinHandle<String> {
        let request = self.request(Method::GET, path);
        let (asking,) = exchange.block_on(async {
            (tokio::spawn(async move { request.send().await.unwrap().text().await.unwrap() }),)
        });
        asking
    }

    fn get_health(&self, exchange: &Exchange) -> u16 {
        exchange
            .block_on(async { self.request(Method::GET, "/health").send().await.unwrap().status().as_u16() })
    }
}

#[test]
fn the_example_of_a_back_office_posts_and_fetches_with_curl() {
    let mut exchange = Exchange::prepare(&[SUD, GOUV]);
    let grants: &[Grant] = &[("nc.identity.account.verified", &["*"], "publisher")];
    exchange.agree(&Terms { grants, ..whole("comptes", SUD, GOUV) });
    exchange.start();
    let both = [SUD, GOUV].map(|member| {
        let folder = folder(&exchange, member, "[inbox]\nenabled = true\nsink = \"door\"");
        (open(&exchange, member, folder.path()), folder)
    });
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/door");
    let work = tempfile::tempdir().unwrap();
    std::fs::copy(example.join("accounts.json"), work.path().join("accounts.json")).unwrap();
    let run = |door: &Door, arguments: &[&str]| {
        let mut script = std::process::Command::new(example.join("post_and_fetch.sh"));
        script.args(arguments).current_dir(work.path()).env("DOOR", &door.url).env("WAIT", "2");
        let output = script.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let [(sud, _), (gouv, _)] = &both;
    let posted = run(sud, &["post", "accounts.json", "accounts-1"]);
    assert_eq!(run(sud, &["post", "accounts.json", "accounts-1"]), posted);
    exchange.settled();
    for _ in 0..2 {
        run(gouv, &["fetch", "."]);
        let lines = std::fs::read_to_string(work.path().join("deliveries")).unwrap();
        let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        // The schema comes before its first use.
        let types: Vec<_> = lines.iter().map(|line| line["type"].as_str().unwrap()).collect();
        assert_eq!(types[1..], ["nc.identity.account.verified"; 2]);
        assert_eq!(lines[2]["data"]["person"]["family_name"], "Kaemo");
    }
    for (door, _folder) in both {
        door.close(&exchange);
    }
}
