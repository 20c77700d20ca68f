//! What recipients get: WIRE.md section 3.

use crate::harness::*;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use pirogue::event::{HeaderValue, SchemaRef, is_event_id};
use pirogue::hub::SCHEMA_PUBLISHED;
use pirogue::schema::ReaderSchema;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::HashMap;

const NORD: &str = "province-nord";
const CAFAT: &str = "cafat";
const ISEE: &str = "isee";
const NOUMEA: &str = "noumea";
const SOURCE: &str = "/province-sud/boost";
const NAMES: &[&str] = &["person.family_name", "status"];

/// A provider, and a recipient for each way to translate a subject.
fn exchange() -> Exchange {
    let mut exchange = Exchange::prepare(&[SUD, GOUV, NORD, CAFAT, ISEE, NOUMEA]);
    let grants: [(&str, &[Grant]); 5] = [
        (GOUV, &[(JOBSEEKER, NAMES, "pseudonym"), (OFFER, &["title"], "pseudonym")]),
        (NORD, &[(JOBSEEKER, NAMES, "own"), (OFFER, &["title"], "own")]),
        (CAFAT, &[(JOBSEEKER, &["*"], "publisher"), (OFFER, &["*"], "publisher")]),
        (ISEE, &[(JOBSEEKER, &["*"], "pseudonym"), (OFFER, &["*"], "pseudonym")]),
        (NOUMEA, &[(JOBSEEKER, &["contact.address.commune"], "publisher")]),
    ];
    for (recipient, grants) in grants {
        exchange.agree(&Terms { id: recipient, version: 1, provider: SUD, recipient, grants });
    }
    exchange.start();
    exchange
}

/// Reads bodies with the schemas that came in the same queue, and nothing else.
#[derive(Default)]
struct Reader {
    schemas: HashMap<String, ReaderSchema>,
}

impl Reader {
    /// The data of the members' events among `got`. A schema that comes twice,
    /// or after its first use, fails.
    fn read(&mut self, got: &[Got]) -> Vec<Value> {
        let mut all = Vec::new();
        for one in got {
            if one.event_type() == SCHEMA_PUBLISHED {
                let said = read(SCHEMA_PUBLISHED, one.body());
                let (reference, json) =
                    (said["reference"].as_str().unwrap(), said["schema"].as_str().unwrap());
                let schema = ReaderSchema::parse(json, &SchemaRef::parse(reference).unwrap()).unwrap();
                if let Some(hex) = reference.splitn(6, ':').nth(5) {
                    let digest: String =
                        Sha256::digest(json).iter().take(16).map(|b| format!("{b:02x}")).collect();
                    assert_eq!(hex, digest);
                }
                let before = self.schemas.insert(reference.to_owned(), schema);
                assert!(before.is_none(), "{reference} was published twice");
            } else if one.accepted.delivery.agreement.is_some() {
                let schema = self.schemas.get(one.attribute("dataschema"));
                let schema = schema.unwrap_or_else(|| panic!("a schema comes after its first use"));
                all.push(schema.decode(one.body()).unwrap().to_json());
            }
        }
        all
    }
}

fn events(got: &[Got]) -> Vec<&Got> {
    got.iter().filter(|one| one.accepted.delivery.agreement.is_some()).collect()
}

fn person(id: &str, subject: &str, name: &str) -> Draft {
    Draft::new(SUD, JOBSEEKER, id, subject, &jobseeker(name))
}

#[test]
fn a_projected_delivery_is_what_section_3_says_and_no_more() {
    let mut exchange = exchange();
    let draft = person("e-1", "person/4711", "Wabealo")
        .with("time", "2026-03-14T08:12:45.678901234Z")
        .with("traceparent", "an-extension");
    exchange.publish([draft.signed(exchange.key(SUD))]);
    let got = exchange.take_all(GOUV, 0);
    let [schema, one] = &got[..] else { panic!("{} messages", got.len()) };

    // The hub builds every property and header itself.
    let message = &one.accepted.message;
    assert_eq!(message.content_type.as_deref(), Some("application/avro"));
    assert_eq!(message.delivery_mode, Some(2));
    assert_eq!(message.message_id.as_deref(), Some(one.attribute("id")));
    assert_eq!(message.kind.as_deref(), Some(JOBSEEKER));
    assert_eq!((message.app_id.as_deref(), message.user_id.as_deref()), (Some("hub"), Some("hub")));
    assert_eq!(one.routing_key, format!("{GOUV}.{JOBSEEKER}"));
    let mut headers: Vec<_> = message.headers.iter().map(|(name, _)| &**name).collect();
    headers.sort_unstable();
    let expected = [
        "agreement",
        "dataschema",
        "epoch",
        "id",
        "recipient",
        "sequence",
        "signature",
        "source",
        "specversion",
        "subject",
        "time",
        "type",
    ];
    assert_eq!(headers, expected.map(|name| format!("cloudEvents_{name}")));
    assert!(message.headers.iter().all(|(_, value)| matches!(value, HeaderValue::Text(_))));

    assert_eq!(one.attribute("source"), SOURCE);
    assert_eq!(one.attribute("time"), "2026-03-14T08:12:45Z");
    assert_eq!(one.attribute("recipient"), GOUV);
    assert_eq!(one.attribute("agreement"), "gouvernement:1");
    assert_eq!(one.attribute("epoch"), "1");
    assert_eq!(schema.attribute("sequence"), "00000000000000000001");
    assert_eq!(one.attribute("sequence"), "00000000000000000002");
    let dataschema = one.attribute("dataschema");
    let hex = dataschema.strip_prefix(&format!("urn:pirogue:schema:{JOBSEEKER}:1:")).unwrap();
    assert_eq!(hex.len(), 32);

    // The granted fields and no other; none of the values that are withheld.
    let data = Reader::default().read(&got);
    let expected = serde_json::json!({"person": {"family_name": "Wabealo"}, "status": "active"});
    assert_eq!(data, [expected]);
    for withheld in
        ["Kaoline", "1987-03-14", "exemple.nc", "98818", "2026-03-02", "an-extension", "4711", "e-1"]
    {
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        assert!(!contains(&bytes, withheld.as_bytes()), "{withheld} is delivered");
    }

    // The hub's own message: no subject, no agreement.
    assert_eq!(schema.attribute("source"), format!("/hub/{NAME}"));
    assert_eq!(schema.routing_key, format!("{GOUV}.{SCHEMA_PUBLISHED}"));
    let attributes = &schema.accepted.attributes;
    assert_eq!((attributes.get("subject"), attributes.get("agreement")), (None, None));
    assert_eq!(attributes.get("dataschema"), Some("urn:pirogue:schema:nc.hub.schema.published:1"));
}

#[test]
fn subjects_and_ids_are_pairwise_and_stable_also_over_a_restart() {
    let mut exchange = exchange();
    let all = [GOUV, NORD, ISEE];
    let mut subjects: HashMap<&str, Vec<String>> = HashMap::new();
    let mut given: HashMap<&str, Vec<String>> = HashMap::new();
    for round in 0..2 {
        exchange.publish([
            person(&format!("a-{round}"), "person/dn-4711", "Wabealo").signed(exchange.key(SUD)),
            person(&format!("b-{round}"), "person/dn-4712", "Kaemo").signed(exchange.key(SUD)),
            // A kind that the schema doesn't name is taken for a person's.
            person(&format!("c-{round}"), "dossier/dn-4711", "Wabealo").signed(exchange.key(SUD)),
        ]);
        for member in all {
            let got = exchange.take_all(member, if round == 0 { 0 } else { 4 });
            let events = events(&got);
            assert_eq!(events.len(), 3);
            for one in events {
                subjects.entry(member).or_default().push(one.attribute("subject").to_owned());
                given.entry(member).or_default().push(one.attribute("id").to_owned());
            }
        }
        exchange.stop();
        exchange.start();
    }
    for member in all {
        let subjects = &subjects[member];
        assert_eq!(subjects[..3], subjects[3..], "{member}: the pseudonym of a subject changed");
        let mut distinct = subjects[..3].to_vec();
        distinct.sort();
        distinct.dedup();
        assert_eq!(distinct.len(), 3);
        for (subject, kind) in subjects.iter().zip(["person", "person", "dossier"]) {
            assert!(subject.starts_with(&format!("{kind}/~")) && !subject.contains("dn-471"), "{subject}");
        }
        assert!(given[member].iter().all(|id| is_event_id(id)));
    }
    // No two recipients can compare what they hold of a person.
    for (one, other) in [(GOUV, NORD), (NORD, ISEE), (GOUV, ISEE)] {
        assert!(subjects[one].iter().all(|subject| !subjects[other].contains(subject)));
        assert!(given[one].iter().all(|id| !given[other].contains(id)));
    }
}

#[test]
fn an_event_that_nobody_acknowledged_comes_again_with_the_same_id_and_bytes() {
    let mut exchange = exchange();
    exchange.publish([person("e-1", "person/4711", "Wabealo").signed(exchange.key(SUD))]);
    let first = exchange.receive(GOUV, 2);
    exchange.hang_up(GOUV);
    let again = exchange.receive(GOUV, 2);
    assert!(again.iter().all(|one| one.redelivered));
    assert!(first.iter().zip(&again).all(|(a, b)| a.message == b.message && a.routing_key == b.routing_key));
    let checked = exchange.check(GOUV, again);
    assert!(checked.iter().all(|one| one.redelivered));
}

#[test]
fn only_subjects_that_arent_personal_pass_without_a_grant() {
    let mut exchange = exchange();
    let offer = Draft::new(SUD, OFFER, "o-1", "offer/OF-2026-1", &offer("Mécanicien"));
    // The kind of a person's subject stays personal in an offer's schema too.
    let odd = offer.clone().with("id", "o-2").with("subject", "person/4711");
    let somebody = person("e-1", "person/4711", "Wabealo");
    exchange.publish([offer, odd, somebody].map(|draft| draft.signed(exchange.key(SUD))));
    for member in [GOUV, NORD, ISEE] {
        let got = exchange.take_all(member, 0);
        let subjects: Vec<_> = events(&got).iter().map(|one| one.attribute("subject")).collect();
        assert_eq!(subjects[0], "offer/OF-2026-1", "{member}");
        assert!(subjects[1].starts_with("person/~"), "{member}");
        assert_eq!(subjects[1], subjects[2], "{member}: a person has one pseudonym");
        let data = Reader::default().read(&got);
        assert_eq!(data[0]["title"], "Mécanicien");
        assert_eq!(data[0].get("commune").is_some(), member == ISEE, "{member}");
    }
    // `publisher` leaves the subject as it is, with a projected body too.
    let got = exchange.take_all(NOUMEA, 0);
    let [one] = events(&got)[..] else { panic!("offers were granted to nobody here") };
    assert_eq!(one.attribute("subject"), "person/4711");
    assert_ne!(one.attribute("id"), "e-1");
    assert!(one.attribute("dataschema").len() > 60);
    assert_eq!(one.accepted.attributes.get("origin"), None);
    let data = Reader::default().read(&got);
    assert_eq!(data, [serde_json::json!({"contact": {"address": {"commune": "98817"}}})]);
}

#[test]
fn a_whole_event_with_its_own_subject_comes_as_its_publisher_signed_it() {
    let mut exchange = exchange();
    let sent = person("e-1", "person/4711", "Wabealo")
        .with("time", "2026-03-14T08:12:45.678Z")
        .with("traceparent", "an-extension")
        .signed(exchange.key(SUD));
    exchange.publish([sent.clone()]);
    let got = exchange.take_all(CAFAT, 0);
    let [one] = events(&got)[..] else { panic!() };
    for name in ["specversion", "id", "source", "type", "subject", "time", "dataschema"] {
        assert_eq!(Some(one.attribute(name)), sent.message.text(&format!("cloudEvents_{name}")), "{name}");
    }
    assert_eq!(one.accepted.attributes.get("traceparent"), None, "extensions are never forwarded");
    assert_eq!(one.body(), &sent.message.body);
    let jws = sent.message.text("cloudEvents_signature").unwrap();
    let message = &one.accepted.message;
    assert_eq!(message.text("cloudEvents_originsignature"), Some(jws));
    assert_eq!(one.attribute("origin"), URL_SAFE_NO_PAD.encode(Sha256::digest(jws)));
    // The hub signs the hash of that signature, and not the signature.
    assert_eq!(one.accepted.attributes.get("originsignature"), None);
    Reader::default().read(&got);
}

#[test]
fn a_whole_event_under_a_pseudonym_has_a_schema_of_its_own_and_no_origin() {
    let mut exchange = exchange();
    exchange.publish([person("e-1", "person/4711", "Wabealo").signed(exchange.key(SUD))]);
    let got = exchange.take_all(ISEE, 0);
    let [one] = events(&got)[..] else { panic!() };
    assert!(one.attribute("dataschema").len() > 60 && one.attribute("subject").starts_with("person/~"));
    assert_eq!(one.accepted.message.text("cloudEvents_originsignature"), None);
    assert_eq!(Reader::default().read(&got)[0]["contact"]["email"], "contact@exemple.nc");
}

#[test]
fn a_schema_comes_once_before_its_first_use_and_the_numbers_have_no_gap() {
    let mut exchange = exchange();
    let mut reader = Reader::default();
    let (mut last, mut count) = (0, 0);
    for round in 0..3 {
        let mut sent = Vec::new();
        for n in 0..20 {
            let id = format!("{round}-{n}");
            sent.push(match n % 3 {
                0 => Draft::new(SUD, OFFER, &id, "offer/1", &offer("Mécanicien")),
                _ => person(&id, "person/4711", "Wabealo"),
            });
        }
        exchange.publish(sent.iter().map(|draft| draft.signed(exchange.key(SUD))).collect::<Vec<_>>());
        let got = exchange.take_all(GOUV, last);
        last += got.len() as u64;
        count += reader.read(&got).len();
        if round == 1 {
            exchange.stop();
            exchange.start();
        }
    }
    assert_eq!((count, last, reader.schemas.len()), (60, 62, 2));
}

#[test]
fn a_recipient_refuses_what_was_changed_on_the_way() {
    let mut exchange = exchange();
    exchange.publish([person("e-1", "person/4711", "Wabealo").signed(exchange.key(SUD))]);
    let one = exchange.receive(CAFAT, 2).pop().unwrap();
    let hub = exchange.hub().public_keys();
    let keys = pirogue::keys::Jwks::parse(&hub.to_json()).unwrap();
    let directory = pirogue::members::Directory::load(&exchange.config.members).unwrap();
    let of = |member| {
        let keys = pirogue::keys::Jwks::parse(&keys.to_json()).unwrap();
        pirogue::connect::recipient::Recipient::new(name(member), keys, directory.clone())
    };
    assert!(of(CAFAT).check(one.message.clone()).is_ok());
    assert!(of(GOUV).check(one.message.clone()).is_err(), "for another recipient");
    for header in ["sequence", "subject", "agreement", "origin", "originsignature", "epoch", "recipient"] {
        let mut message = one.message.clone();
        let header = format!("cloudEvents_{header}");
        message.headers.retain(|(name, _)| *name != header);
        assert!(of(CAFAT).check(message).is_err(), "without {header}");
    }
    let mut message = one.message;
    message.body = body(JOBSEEKER, &jobseeker("Autre"));
    assert!(of(CAFAT).check(message).is_err(), "another body");
}
