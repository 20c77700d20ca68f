//! What a recipient must not believe, and what it makes of the order: all of
//! WIRE.md section 3, held against each language. The test speaks as the hub.

use super::exchange::{
    Exchange, GRANTED, HUB_NAME, JOBSEEKER, OFFER, REGISTRY, count, expected, read, record,
};
use crate::broker::{Node, shared};
use crate::lab::PASSWORD;
use crate::process::{Process, wait_until};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use pirogue::admin::prepare;
use pirogue::bus::amqp::{Connection, Options};
use pirogue::bus::{Bus, Confirm, DELIVERIES, HUB};
use pirogue::event::{Attributes, Envelope, HeaderValue, Message};
use pirogue::keys::{Jwk, Jwks, KeyUse, PrivateKey};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::fs;
use tokio::runtime::Runtime;

const RECIPIENT: &str = "gouvernement";
const PROVIDER: &str = "province-sud";

/// A delivery, before the hub signs it.
#[derive(Clone)]
struct Draft {
    attributes: Attributes,
    audience: String,
    origin: Option<String>,
    body: Bytes,
}

impl Draft {
    fn new(source: &str, event_type: &str, epoch: u32, sequence: u64, body: Vec<u8>) -> Draft {
        let mut attributes = Attributes::default();
        for (name, value) in [
            ("specversion", "1.0"),
            ("id", &*format!("e{epoch}.{sequence}")),
            ("source", source),
            ("type", event_type),
            ("time", "2026-03-14T08:12:45Z"),
            ("datacontenttype", "application/avro"),
            ("dataschema", &format!("urn:pirogue:schema:{event_type}:1")),
            ("recipient", RECIPIENT),
            ("epoch", &epoch.to_string()),
            ("sequence", &format!("{sequence:020}")),
        ] {
            attributes.set(name, value);
        }
        Draft { attributes, audience: RECIPIENT.to_owned(), origin: None, body: body.into() }
    }

    fn with(mut self, name: &str, value: &str) -> Draft {
        self.attributes.set(name, value);
        self
    }

    fn signed(&self, key: &PrivateKey) -> Message {
        self.carrying(key.sign_event(&self.audience, &self.attributes, &self.body))
    }

    fn carrying(&self, signature: String) -> Message {
        let envelope = Envelope {
            attributes: self.attributes.clone(),
            signature,
            origin_signature: self.origin.clone(),
        };
        envelope.message(HUB, self.body.clone())
    }

    /// Signed by `key` under a header that `change` changed.
    fn under(&self, key: &PrivateKey, change: impl Fn(String) -> String) -> Message {
        let usual = key.sign_event(&self.audience, &self.attributes, &self.body);
        let header = URL_SAFE_NO_PAD.decode(usual.split('.').next().unwrap()).unwrap();
        let header = URL_SAFE_NO_PAD.encode(change(String::from_utf8(header).unwrap()));
        let signature = key.sign(&[header.as_bytes(), b".", &self.body].concat());
        self.carrying(format!("{header}..{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

/// A recipient under test, and a hub that says what it likes.
struct Trial {
    exchange: Exchange,
    language: &'static str,
    runtime: Runtime,
    hub: Connection,
    process: Option<Process>,
    tls: String,
}

impl Trial {
    fn open(node: &Node, language: &'static str) -> Trial {
        let exchange = Exchange::prepare(
            node,
            &format!("rules-{language}"),
            &[RECIPIENT, PROVIDER, "province"],
            1 << 30,
        );
        let runtime = Runtime::new().unwrap();
        let url = node.url(HUB, &exchange.vhost);
        let hub = runtime.block_on(Connection::connect(&url, Options::default())).unwrap();
        let tls = format!("amqps://{RECIPIENT}:{PASSWORD}@localhost:{}/{}", node.tls_port, exchange.vhost);
        let mut trial = Trial { exchange, language, runtime, hub, process: None, tls };
        trial.start();
        trial
    }

    fn start(&mut self) {
        let mut settings = self.exchange.settings(RECIPIENT);
        settings.broker = self.tls.clone();
        let authority = shared().node().certificates().join("ca.pem");
        settings.more.push(("CA_FILE", authority.to_str().unwrap().to_owned()));
        settings.more.push(("PATIENCE", "1".to_owned()));
        self.process = Some(settings.receive(self.language, &self.exchange.received(RECIPIENT)));
    }

    fn kill(&mut self) -> String {
        self.process.take().unwrap().kill()
    }

    fn send(&self, messages: Vec<Message>) {
        let batch: Vec<_> = messages.into_iter().map(|message| (format!("{RECIPIENT}.x"), message)).collect();
        let confirms = self.runtime.block_on(self.hub.publish(DELIVERIES, batch)).unwrap();
        assert!(confirms.iter().all(|confirm| *confirm == Confirm::Accepted));
    }

    /// Waits until both files have so many lines.
    fn wait(&mut self, what: &str, received: usize, aside: usize) {
        let folder = self.exchange.received(RECIPIENT);
        let process = self.process.as_mut().unwrap();
        let language = self.language;
        wait_until(&format!("{language}, {what}: {received} received, {aside} aside"), || {
            assert!(!process.has_ended(), "{language}: {}", process.stderr());
            let found = (count(&folder.join("received.jsonl")), count(&folder.join("aside.jsonl")));
            assert!(found.0 <= received && found.1 <= aside, "{language}, {what}: {found:?}");
            found == (received, aside)
        });
    }

    fn wait_for_words(&mut self, words: &str) {
        let process = self.process.as_mut().unwrap();
        wait_until(&format!("{} says: {words}", self.language), || {
            assert!(!process.has_ended(), "{}", process.stderr());
            process.stderr().contains(words)
        });
    }

    fn received(&self) -> Vec<Value> {
        read(&self.exchange.received(RECIPIENT).join("received.jsonl"))
    }

    /// An offer as it was published, with the number `sequence`.
    fn offer(&self, epoch: u32, sequence: u64) -> Draft {
        let sent = record(PROVIDER, sequence as usize * 2 + 1);
        let body = REGISTRY.get(OFFER, 1).unwrap().encode_json(&sent["data"]).unwrap();
        let mut draft = Draft::new("/province-sud/boost", OFFER, epoch, sequence, body)
            .with("subject", "offer/1")
            .with("agreement", "essai:1");
        let mut attributes = Attributes::default();
        for name in
            ["specversion", "id", "source", "type", "subject", "time", "datacontenttype", "dataschema"]
        {
            attributes.set(name, draft.attributes.get(name).unwrap());
        }
        self.carry(&mut draft, &self.exchange.members[PROVIDER].event, &attributes);
        draft
    }

    /// Adds a publisher's signature.
    fn carry(&self, draft: &mut Draft, key: &PrivateKey, attributes: &Attributes) {
        let origin = key.sign_event(HUB_NAME, attributes, &draft.body);
        draft.attributes.set("origin", URL_SAFE_NO_PAD.encode(Sha256::digest(&origin)));
        draft.origin = Some(origin);
    }

    fn offers(&self, epoch: u32, sequences: impl Iterator<Item = u64>) -> Vec<Message> {
        sequences.map(|n| self.offer(epoch, n).signed(&self.exchange.hub.delivery)).collect()
    }

    /// The schema of what is granted of a jobseeker: the message, and its text.
    fn schema(&self, sequence: u64, reference: &str, text: &str) -> Draft {
        let event_type = "nc.hub.schema.published";
        let data = json!({"reference": reference, "schema": text});
        let body = REGISTRY.get(event_type, 1).unwrap().encode_json(&data).unwrap();
        Draft::new(&format!("/hub/{HUB_NAME}"), event_type, 1, sequence, body)
    }
}

/// The first messages of a recipient: a schema, a jobseeker by that schema, and
/// an offer as it was published.
fn the_first_three(trial: &mut Trial) {
    let fields = GRANTED.map(str::to_owned);
    let projection = REGISTRY.get(JOBSEEKER, 1).unwrap().project(&fields).unwrap();
    let sent = record(PROVIDER, 0);
    let whole = REGISTRY.get(JOBSEEKER, 1).unwrap().encode_json(&sent["data"]).unwrap();
    let reference = projection.reference().to_string();
    let jobseeker = Draft::new("/province-sud/boost", JOBSEEKER, 1, 2, projection.apply(&whole).unwrap())
        .with("subject", "person/~AAAA")
        .with("agreement", "essai:1")
        .with("dataschema", &reference);
    let key = &trial.exchange.hub.delivery;
    let schema = trial.schema(1, &reference, projection.json());
    trial.send(vec![schema.signed(key), jobseeker.signed(key), trial.offer(1, 3).signed(key)]);
    trial.wait("the first", 3, 0);
    let received = trial.received();
    assert_eq!(received[0]["data"]["schema"], projection.json());
    assert_eq!(received[1]["data"], expected(&sent));
    assert_eq!(received[1]["subject"], "person/~AAAA");
    assert_eq!(received[2]["data"], expected(&record(PROVIDER, 7)));
}

/// Messages that the hub didn't send like this: none counts, though each has the
/// number that is awaited.
fn forgeries(trial: &Trial) -> Vec<(&'static str, Message)> {
    let (hub, provider) = (&trial.exchange.hub.delivery, &trial.exchange.members[PROVIDER]);
    let good = trial.offer(1, 4);
    let signed = good.signed(hub);
    let header = |name: &str, value: &str| {
        let mut message = signed.clone();
        let name = format!("cloudEvents_{name}");
        message.headers.retain(|(known, _)| *known != name);
        if !value.is_empty() {
            message.headers.push((name.into(), HeaderValue::Text(value.to_owned())));
        }
        message
    };
    let altered = |change: fn(&mut Message)| {
        let mut message = signed.clone();
        change(&mut message);
        message
    };
    let mut for_another = good.clone();
    for_another.audience = "province".to_owned();
    let replace = |from: &'static str, to: &'static str| {
        move |header: String| {
            assert!(header.contains(from));
            header.replacen(from, to, 1)
        }
    };
    let signature = signed.text("cloudEvents_signature").unwrap();
    // Another last character that stands for the same bytes.
    let last = signature.chars().last().unwrap();
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let next = alphabet.chars().nth(alphabet.find(last).unwrap() + 1).unwrap();
    let loose = format!("{}{next}", &signature[..signature.len() - 1]);
    let mut in_bytes = header("time", "");
    in_bytes.headers.push(("cloudEvents_time".into(), HeaderValue::Bytes(b"2026-03-14T08:12:45Z".to_vec())));
    let mut of_hub = trial.schema(4, "urn:pirogue:schema:x.y.z:1", "{}");
    of_hub = of_hub.with("source", "/hub/another");
    vec![
        ("by a member's key", good.signed(&provider.event)),
        ("by the hub's other key", good.signed(&trial.exchange.hub.checkpoint)),
        ("another audience", for_another.signed(hub)),
        ("another recipient", good.clone().with("recipient", "province").signed(hub)),
        ("an altered body", altered(|m| m.body = [&m.body[..m.body.len() - 1], b"\x02"].concat().into())),
        ("a truncated body", altered(|m| m.body = m.body.slice(..m.body.len() - 1))),
        ("no body", altered(|m| m.body = Bytes::new())),
        ("an altered header", header("time", "2026-03-14T08:12:46Z")),
        ("an altered number", header("sequence", "00000000000000000005")),
        ("an added header", header("priority", "1")),
        ("a missing header", header("subject", "")),
        ("a header in bytes", in_bytes),
        ("another message id", altered(|m| m.message_id = Some("other".to_owned()))),
        ("another property type", altered(|m| m.kind = Some(JOBSEEKER.to_owned()))),
        ("another content type", altered(|m| m.content_type = Some("application/json".to_owned()))),
        ("no signature", header("signature", "")),
        ("no JWS", header("signature", "signature")),
        ("an attached JWS", header("signature", &signature.replace("..", ".AAAA."))),
        ("base64url that isn't canonical", header("signature", &loose)),
        ("base64url with padding", header("signature", &format!("{signature}=="))),
        ("a key twice", good.under(hub, replace(r#""aud":"#, r#""aud":"province","aud":"#))),
        ("a key twice, escaped", good.under(hub, replace(r#""aud":"#, r#""\u0061ud":"province","aud":"#))),
        ("an attribute twice", good.under(hub, replace(r#""epoch":"#, r#""epoch":"2","epoch":"#))),
        ("another crit", good.under(hub, replace(r#"["b64"]"#, r#"["b64","exp"]"#))),
        ("no crit", good.under(hub, replace(r#""crit":["b64"],"#, ""))),
        ("b64 true", good.under(hub, replace(r#""b64":false"#, r#""b64":true"#))),
        ("another algorithm", good.under(hub, replace(r#""EdDSA""#, r#""none""#))),
        ("not JSON", good.under(hub, |header| header[1..].to_owned())),
        ("of another hub", of_hub.signed(hub)),
        ("a member's as the hub's", {
            let draft =
                trial.schema(4, "urn:pirogue:schema:x.y.z:1", "{}").with("source", "/province-sud/boost");
            draft.with("subject", "person/1").with("agreement", "essai:1").signed(hub)
        }),
        ("a number that isn't one", good.clone().with("sequence", "4").signed(hub)),
    ]
}

/// What the hub signed and what can't be used: set aside, and its number is used up.
fn unusable(trial: &Trial) -> Vec<Draft> {
    let mut by_another = trial.offer(1, 11);
    let attributes = by_another.attributes.clone();
    trial.carry(&mut by_another, &trial.exchange.members["province"].event, &attributes);
    let mut of_another_event = trial.offer(1, 12);
    let attributes = trial.offer(1, 11).attributes;
    trial.carry(&mut of_another_event, &trial.exchange.members[PROVIDER].event, &attributes);
    let mut without_origin = trial.offer(1, 13);
    without_origin.origin = None;
    let plain = |sequence| {
        let mut draft = trial.offer(1, sequence);
        draft.attributes.remove("origin");
        draft.origin = None;
        draft
    };
    let mut truncated = plain(14);
    truncated.body = truncated.body.slice(..truncated.body.len() - 2);
    let mut longer = plain(15);
    longer.body = [&longer.body[..], b"\0"].concat().into();
    let unknown = plain(16).with("dataschema", &format!("urn:pirogue:schema:{OFFER}:1:{}", "0".repeat(32)));
    let of_another_type = plain(17).with("dataschema", &format!("urn:pirogue:schema:{JOBSEEKER}:1"));
    let wrong_hash =
        trial.schema(18, &format!("urn:pirogue:schema:{OFFER}:1:{}", "1".repeat(32)), "\"string\"");
    vec![
        by_another,
        of_another_event,
        without_origin,
        truncated,
        longer,
        unknown,
        of_another_type,
        wrong_hash,
    ]
}

fn a_recipient_holds_to_the_rules(language: &'static str) {
    let node = shared().node();
    let mut trial = Trial::open(node, language);
    the_first_three(&mut trial);

    let mut aside = 0;
    for (what, message) in forgeries(&trial) {
        trial.send(vec![message]);
        aside += 1;
        trial.wait(what, 3, aside);
    }
    // The other name of the algorithm, and what is to be ignored.
    let hub = &trial.exchange.hub.delivery;
    let change = |header: String| header.replacen(r#""EdDSA""#, r#""Ed25519","typ":"JOSE""#, 1);
    let mut fourth = trial.offer(1, 4).under(hub, change);
    fourth.headers.push(("x-something".into(), HeaderValue::Text("else".to_owned())));
    trial.send(vec![fourth]);
    trial.wait("the fourth", 4, aside);

    // Repeated, with another content: ignored. Ahead: held, until the gap is filled.
    let mut again = trial.offer(1, 2);
    again.attributes.set("id", "another");
    trial.send(vec![again.signed(&trial.exchange.hub.delivery)]);
    trial.send(trial.offers(1, 6..8));
    trial.wait_for_words("a gap stays after 1/4");
    trial.wait("ahead", 4, aside);
    trial.send(trial.offers(1, 5..6));
    trial.wait("the gap is filled", 7, aside);

    // By a key that isn't known: it waits, and the others go on.
    let nobodys = PrivateKey::generate().unwrap();
    trial.send(vec![trial.offer(1, 8).signed(&nobodys)]);
    trial.wait_for_words("isn't known");
    trial.send(trial.offers(1, 8..10));
    trial.wait("others go on", 9, aside);
    // A new key of the hub's, once its public half is there.
    let new = PrivateKey::generate().unwrap();
    trial.send(vec![trial.offer(1, 10).signed(&new)]);
    let words = format!("{} isn't known", new.public().thumbprint().as_str());
    trial.wait_for_words(&words);
    trial.wait("by a new key", 9, aside);
    let keys = trial.exchange.path().join("hub/hub.jwks.json");
    let mut jwks = Jwks::parse(&fs::read_to_string(&keys).unwrap()).unwrap();
    jwks.keys.push(Jwk::new(new.public().clone(), KeyUse::Delivery, None));
    prepare::write(&keys, &jwks.to_json()).unwrap();
    trial.wait("by a new key that is known", 10, aside);

    let cases = unusable(&trial);
    for (draft, done) in cases.iter().zip(1..) {
        trial.send(vec![draft.signed(&trial.exchange.hub.delivery)]);
        trial.wait("unusable", 10 + done, aside + done);
        let last = trial.received().pop().unwrap();
        assert!(last["aside"].is_string() && last.get("data").is_none(), "{language}: {last}");
    }
    aside += cases.len();
    let mut last = 10 + cases.len();

    // Killed amid a load: each is handled once.
    for _ in 0..2 {
        trial.send(trial.offers(1, last as u64 + 1..last as u64 + 401));
        let file = trial.exchange.received(RECIPIENT).join("received.jsonl");
        wait_until("some are handled", || count(&file) > last);
        trial.kill();
        let handled = count(&file) - last;
        println!("{language} killed after {handled} of 400");
        // A line that was being written.
        let mut text = fs::read(&file).unwrap();
        text.extend_from_slice(br#"{"epoch":1,"sequence":"#);
        fs::write(&file, text).unwrap();
        trial.start();
        last += 400;
        trial.wait("after a kill", last, aside);
    }

    // A new epoch begins at 1; what is left of the old one is ignored.
    trial.send(trial.offers(2, 2..3));
    trial.wait_for_words(&format!("a gap stays after 1/{last}"));
    trial.send(trial.offers(2, 1..2));
    trial.wait("a new epoch", last + 2, aside);
    trial.send(trial.offers(1, last as u64 + 1..last as u64 + 2));
    trial.send(trial.offers(2, 3..4));
    trial.wait("the new epoch goes on", last + 3, aside);
    // Only the message by nobody's key is left.
    let management = node.management();
    wait_until("one message waits", || {
        let queues = trial.runtime.block_on(management.queues(&trial.exchange.vhost)).unwrap();
        queues.iter().any(|queue| queue.name.ends_with(RECIPIENT) && queue.messages == 1)
    });
    trial.kill();

    let received = trial.received();
    let numbers: Vec<_> =
        received.iter().map(|line| (line["epoch"].as_u64(), line["sequence"].as_u64())).collect();
    let all = (1..=last as u64).map(|n| (1, n)).chain((1..=3).map(|n| (2, n)));
    let all: Vec<_> = all.map(|(epoch, n)| (Some(epoch), Some(n))).collect();
    assert_eq!(numbers, all, "{language}");
    for line in received.iter().filter(|line| line["type"] == OFFER && line.get("aside").is_none()) {
        let (epoch, sequence) = (&line["epoch"], line["sequence"].as_u64().unwrap());
        assert_eq!(line["id"], format!("e{epoch}.{sequence}"));
        assert_eq!(line["data"], expected(&record(PROVIDER, sequence as usize * 2 + 1)));
    }
    let set_aside = read(&trial.exchange.received(RECIPIENT).join("aside.jsonl"));
    assert!(set_aside.iter().all(|item| item["why"].is_string() && item["body"].is_string()));
}

#[test]
fn a_recipient_in_python_holds_to_all_rules_of_the_wire_format() {
    a_recipient_holds_to_the_rules("python");
}

#[test]
fn a_recipient_in_node_holds_to_all_rules_of_the_wire_format() {
    a_recipient_holds_to_the_rules("node");
}

#[test]
fn a_recipient_in_java_holds_to_all_rules_of_the_wire_format() {
    a_recipient_holds_to_the_rules("java");
}
