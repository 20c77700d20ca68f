//! Messages that are to be refused, for each reason of WIRE.md section 2.

use crate::harness::*;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use pirogue::event::{DELIVERY_ATTRIBUTES, HeaderValue, Message};
use pirogue::fault::Reason;
use pirogue::keys::{Jwk, PrivateKey};
use serde_json::Value;

/// Stands in the offending field wherever it can: no detail, no notice and no
/// line of the log may hold its beginning.
pub const MARKER: &str = "Wamytanqzx";
pub const MARK: &str = "Wamyt";

/// A message that is to be refused.
pub struct Case {
    /// What is wrong, for whoever reads a failure.
    pub what: String,
    pub sent: Sent,
    /// What the detail has to name.
    pub names: String,
}

/// The keys that the cases sign with.
pub struct Keys<'a> {
    pub good: &'a PrivateKey,
    agreement: &'a PrivateKey,
    other_member: &'a PrivateKey,
    hub: PrivateKey,
    not_yet: (PrivateKey, Jwk),
    ended: (PrivateKey, Jwk),
    pub revoked: (PrivateKey, Jwk),
}

/// In seconds.
pub const DAY: i64 = 86_400;

impl<'a> Keys<'a> {
    pub fn new(exchange: &'a Exchange) -> Keys<'a> {
        let keys = Keys {
            good: exchange.key(SUD),
            agreement: &exchange.keys(SUD).agreement,
            other_member: exchange.key(GOUV),
            hub: PrivateKey::read(&exchange.config.keys.delivery, None).unwrap(),
            not_yet: event_key(SUD, Some(3600), None, None),
            ended: event_key(SUD, None, Some(-8 * DAY), None),
            revoked: event_key(SUD, None, None, Some(-1)),
        };
        let others = [&keys.not_yet.1, &keys.ended.1, &keys.revoked.1].map(Clone::clone);
        exchange.publish_keys(SUD, &others);
        keys
    }
}

/// Collects the cases of one reason, each with an id of its own.
struct Cases<'a> {
    keys: &'a Keys<'a>,
    reason: Reason,
    all: Vec<Case>,
}

impl Cases<'_> {
    fn draft(&self) -> Draft {
        let id = format!("{}-{}", self.reason, self.all.len());
        Draft::new(SUD, JOBSEEKER, &id, "person/4711", &jobseeker("Wabealo"))
    }

    fn add(&mut self, what: impl Into<String>, names: impl Into<String>, sent: Sent) {
        self.all.push(Case { what: what.into(), names: names.into(), sent });
    }

    /// A case whose attributes are wrong, and signed as they are.
    fn signed(&mut self, what: &str, names: &str, change: impl FnOnce(&mut Draft)) {
        let mut draft = self.draft();
        change(&mut draft);
        let sent = draft.signed(self.keys.good);
        self.add(what, names, sent);
    }

    /// A case whose message is changed after it was signed.
    fn changed(&mut self, what: &str, names: &str, change: impl FnOnce(&mut Message)) {
        let mut sent = self.draft().signed(self.keys.good);
        change(&mut sent.message);
        self.add(what, names, sent);
    }

    /// A case whose JWS has a header of its own, signed as it is.
    fn jws(&mut self, what: &str, names: &str, header: impl FnOnce(&str, &str) -> String) {
        let draft = self.draft();
        let kid = self.keys.good.public().thumbprint();
        let ce: serde_json::Map<_, _> =
            draft.attributes.iter().map(|(n, v)| (n.to_owned(), Value::from(v))).collect();
        let ce = Value::from(ce).to_string();
        let json = header(kid.as_str(), &ce);
        let sent = draft.carrying(sign_header(self.keys.good, &json, &draft.body));
        self.add(what, names, sent);
    }
}

/// A detached JWS with this header, signed by `key`.
fn sign_header(key: &PrivateKey, json: &str, body: &[u8]) -> String {
    let header = URL_SAFE_NO_PAD.encode(json);
    let signature = key.sign(&[header.as_bytes(), b".", body].concat());
    format!("{header}..{}", URL_SAFE_NO_PAD.encode(signature))
}

fn set(message: &mut Message, header: &str, value: HeaderValue) {
    message.headers.retain(|(name, _)| name != header);
    message.headers.push((header.to_owned().into(), value));
}

fn text(value: &str) -> HeaderValue {
    HeaderValue::Text(value.to_owned())
}

/// `bytes` with the one place that holds `from` holding `to`.
fn patched(bytes: &[u8], from: &[u8], to: &[u8]) -> Bytes {
    let places: Vec<_> = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(from)).collect();
    let [at] = places[..] else { panic!("{} places to patch", places.len()) };
    [&bytes[..at], to, &bytes[at + from.len()..]].concat().into()
}

/// The cases of `reason`. A new reason doesn't compile until it has some.
pub fn cases(reason: Reason, keys: &Keys) -> Vec<Case> {
    let mut cases = Cases { keys, reason, all: Vec::new() };
    match reason {
        Reason::TooLarge => too_large(&mut cases),
        Reason::Malformed => {
            malformed_properties(&mut cases);
            malformed_headers(&mut cases);
            malformed_jws(&mut cases);
            malformed_bodies(&mut cases);
        }
        Reason::UnknownKey => {
            let stranger = PrivateKey::generate().unwrap();
            for (what, key) in [("a stranger's key", &stranger), ("the hub's own key", &keys.hub)] {
                let sent = cases.draft().signed(key);
                cases.add(what, "kid", sent);
            }
        }
        Reason::KeyNotValid => {
            for (what, key, names) in [
                ("a key for agreements", keys.agreement, "isn't for events"),
                ("a key that begins in an hour", &keys.not_yet.0, "isn't valid yet"),
                ("a key that ended 8 days ago", &keys.ended.0, "ended more than 7 days ago"),
                ("a key that is revoked", &keys.revoked.0, "is revoked"),
            ] {
                let sent = cases.draft().signed(key);
                cases.add(what, names, sent);
            }
        }
        Reason::BadSignature => bad_signature(&mut cases),
        Reason::AttributeMismatch => attribute_mismatch(&mut cases),
        Reason::NotYourSource => not_your_source(&mut cases),
        Reason::WrongAudience => {
            cases.signed("another hub", "aud", |draft| draft.audience = MARKER.to_owned());
            cases.jws("no audience", "aud", |kid, ce| {
                format!(r#"{{"alg":"EdDSA","b64":false,"crit":["b64"],"kid":"{kid}","ce":{ce}}}"#)
            });
        }
        Reason::FromTheFuture => {
            for minutes in [6, 60 * 24 * 365] {
                let time = in_minutes(minutes);
                cases.signed("a time to come", "cloudEvents_time", |draft| {
                    draft.attributes.set("time", time);
                });
            }
        }
        Reason::UnknownSchema => unknown_schema(&mut cases),
        Reason::InvalidData => invalid_data(&mut cases),
        Reason::IdReused => {
            let taken_in = |draft: &mut Draft| drop(draft.attributes.set("id", "good-0"));
            cases.signed("another body", "cloudEvents_id", |draft| {
                taken_in(draft);
                draft.body = body(JOBSEEKER, &jobseeker(MARKER));
            });
            cases.signed("another time", "cloudEvents_id", |draft| {
                taken_in(draft);
                draft.attributes.set("time", "2026-03-14T08:12:46Z");
            });
            cases.signed("one extension more", "cloudEvents_id", |draft| {
                taken_in(draft);
                draft.attributes.set("note", MARKER);
            });
        }
    }
    cases.all
}

pub fn in_minutes(minutes: i64) -> String {
    let time = jiff::Timestamp::now() + jiff::SignedDuration::from_mins(minutes);
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn too_large(cases: &mut Cases) {
    cases.signed("a body of 256 KiB and a byte", "the body", |draft| {
        let filler = MARKER.bytes().cycle().take(262_145 - draft.body.len());
        draft.body = draft.body.iter().copied().chain(filler).collect::<Vec<_>>().into();
    });
    cases.changed("headers of more than 16 KiB", "the headers", |message| {
        message.headers.push(("note".into(), text(&MARKER.repeat(1_640))));
    });
    cases.changed("bytes in headers count too", "the headers", |message| {
        message.headers.push(("note".into(), HeaderValue::Bytes(vec![b'W'; 16_384])));
    });
}

fn malformed_properties(cases: &mut Cases) {
    type Property = fn(&mut Message) -> &mut Option<String>;
    let properties: [(&str, Property); 4] = [
        ("message_id", |m| &mut m.message_id),
        ("type", |m| &mut m.kind),
        ("app_id", |m| &mut m.app_id),
        ("content_type", |m| &mut m.content_type),
    ];
    for (property, of) in properties {
        let names = format!("the property {property}");
        cases.changed("a property is missing", &names, |m| *of(m) = None);
        cases.changed("a property is empty", &names, |m| *of(m) = Some(String::new()));
    }
    cases.changed("nobody is named as the user", "the property user_id", |m| m.user_id = None);
    cases.signed("another content type", "content_type", |draft| {
        draft.attributes.set("datacontenttype", format!("application/{MARKER}"));
    });
    cases.changed("not persistent", "delivery_mode", |m| m.delivery_mode = Some(1));
    cases.changed("no delivery mode", "delivery_mode", |m| m.delivery_mode = None);
}

fn malformed_headers(cases: &mut Cases) {
    let attributes = ["specversion", "id", "source", "type", "subject", "time", "dataschema", "signature"];
    for attribute in attributes {
        let header = format!("cloudEvents_{attribute}");
        cases.changed("a header is missing", &header, |m| m.headers.retain(|(name, _)| *name != header));
        cases.changed("a header is empty", &header, |m| set(m, &header, text("")));
        cases.changed("a header is a byte array", &header, |m| {
            set(m, &header, HeaderValue::Bytes(MARKER.into()));
        });
    }
    for (what, value) in [
        ("a header is a number", HeaderValue::Integer(7)),
        ("a header is a boolean", HeaderValue::Boolean(true)),
        ("a header is a float", HeaderValue::Float(1.5)),
        ("a header is a table", HeaderValue::Other(MARKER.into())),
        ("a header is empty, of an extension", text("")),
    ] {
        cases.changed(what, "cloudEvents_note", |m| set(m, "cloudEvents_note", value));
    }
    cases.changed("a header stands twice", "cloudEvents_subject", |m| {
        m.headers.push(("cloudEvents_subject".into(), text(&format!("person/{MARKER}"))));
    });
    for header in [&format!("cloudEvents_{MARKER}"), "cloudEvents_"] {
        cases.changed("a header's name", "a header begins with cloudEvents_", |m| set(m, header, text("x")));
    }
    cases.changed("the content type as a header", "cloudEvents_datacontenttype", |m| {
        set(m, "cloudEvents_datacontenttype", text("application/avro"));
    });
    let long = "a".repeat(129);
    let projected = format!("urn:pirogue:schema:{JOBSEEKER}:1:{}", "0".repeat(32));
    for (attribute, value) in [
        ("specversion", "0.3"),
        ("id", &format!("{MARKER} 1")),
        ("id", &long),
        ("id", "\u{e9}"),
        ("source", &format!("/{SUD}/boost/{MARKER}")),
        ("source", &format!("/{SUD}")),
        ("source", &format!("/{SUD}/{MARKER}")),
        ("source", "/hub/nouvelle-caledonie"),
        ("type", "nc.offer"),
        ("type", &format!("nc.employment.{MARKER}")),
        ("subject", MARKER),
        ("subject", &format!("person/{MARKER} Marie")),
        ("subject", &format!("person/~{MARKER}")),
        ("subject", "Person/4711"),
        ("time", "2026-03-14T08:12:60Z"),
        ("time", "2026-03-14T08:12:45+11:00"),
        ("time", "2026-02-30T08:12:45Z"),
        ("time", "2026-03-14T08:12:45.1234567890Z"),
        ("time", MARKER),
        ("dataschema", MARKER),
        ("dataschema", &format!("urn:pirogue:schema:{JOBSEEKER}:0")),
        ("dataschema", &projected),
    ] {
        let what = format!("the form of {attribute}");
        cases.signed(&what, &format!("cloudEvents_{attribute}"), |draft| {
            // The connection and the routing key stay those of the member.
            draft.attributes.set(attribute, value);
        });
        if let Some(case) = cases.all.last_mut() {
            case.sent.user = SUD.to_owned();
            case.sent.routing_key = format!("{SUD}.{JOBSEEKER}");
            case.sent.message.app_id = Some(SUD.to_owned());
            case.sent.message.user_id = Some(SUD.to_owned());
        }
    }
    for attribute in DELIVERY_ATTRIBUTES {
        let names = format!("cloudEvents_{attribute}");
        let what = "an attribute that only the hub sets";
        if attribute == "originsignature" {
            cases.changed(what, &names, |m| set(m, &names, text(MARKER)));
        } else {
            cases.signed(what, &names, |draft| drop(draft.attributes.set(attribute, MARKER)));
        }
    }
}

fn malformed_jws(cases: &mut Cases) {
    const NAMES: &str = "cloudEvents_signature";
    for (what, change) in [
        ("not detached", (|jws| jws.replacen("..", ".Ym9keQ.", 1)) as fn(String) -> String),
        ("padded", |jws| format!("{jws}==")),
        ("cut", |jws| jws[..jws.len() - 4].to_owned()),
        ("no JWS", |_| MARKER.to_owned()),
        ("a header that isn't JSON", |jws| {
            let (_, signature) = jws.split_once("..").unwrap();
            format!("{}..{signature}", URL_SAFE_NO_PAD.encode(MARKER))
        }),
    ] {
        cases.changed(what, NAMES, |message| {
            let jws = message.text("cloudEvents_signature").unwrap().to_owned();
            set(message, "cloudEvents_signature", text(&change(jws)));
        });
    }
    let jws = |before: &'static str, after: &'static str| {
        move |kid: &str, ce: &str| {
            format!(r#"{{{before},"kid":"{kid}","aud":"{NAME}","ce":{ce}{after}}}"#).replace(MARK, MARKER)
        }
    };
    const GOOD: &str = r#""alg":"EdDSA","b64":false,"crit":["b64"]"#;
    cases.jws("a key twice", NAMES, jws(GOOD, r#","kid":"Wamyt""#));
    cases.jws("a key twice, in a part that is ignored", NAMES, jws(GOOD, r#","x":{"y":1,"y":"Wamyt"}"#));
    cases.jws("a key twice, spelt with an escape", NAMES, jws(GOOD, r#","ki\u0064":"Wamyt""#));
    cases.jws("b64 true", NAMES, jws(r#""alg":"EdDSA","b64":true,"crit":["b64"]"#, ""));
    cases.jws("no b64", NAMES, jws(r#""alg":"EdDSA","crit":["b64"]"#, ""));
    cases.jws("no crit", NAMES, jws(r#""alg":"EdDSA","b64":false"#, ""));
    cases.jws("more in crit", NAMES, jws(r#""alg":"EdDSA","b64":false,"crit":["b64","Wamyt"]"#, ""));
    cases.jws("alg none", NAMES, jws(r#""alg":"none","b64":false,"crit":["b64"]"#, ""));
    cases.jws("no ce", NAMES, |kid, _| format!(r#"{{{GOOD},"kid":"{kid}","aud":"{NAME}"}}"#));
    cases.jws("a number in ce", NAMES, |kid, _| {
        format!(r#"{{{GOOD},"kid":"{kid}","aud":"{NAME}","ce":{{"id":7}}}}"#)
    });
}

fn malformed_bodies(cases: &mut Cases) {
    for (what, bytes) in [
        ("no body", &b""[..]),
        ("nine bytes", b"\xC3\x01Wamytan"),
        ("another marker", b"\xC3\x02Wamytanqzx"),
        ("JSON", br#"{"family_name":"Wamytanqzx"}"#),
    ] {
        cases.signed(what, "the body", |draft| draft.body = Bytes::from_static(bytes));
    }
}

fn bad_signature(cases: &mut Cases) {
    const NAMES: &str = "the signature";
    cases.changed("another body", NAMES, |m| m.body = body(JOBSEEKER, &jobseeker(MARKER)));
    cases.changed("one bit of the signature", NAMES, |message| {
        let jws = message.text("cloudEvents_signature").unwrap();
        let (header, signature) = jws.split_once("..").unwrap();
        let mut bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
        bytes[0] ^= 1;
        let jws = format!("{header}..{}", URL_SAFE_NO_PAD.encode(bytes));
        set(message, "cloudEvents_signature", text(&jws));
    });
    // The attributes that were signed are changed in the JWS and in the header.
    let draft = cases.draft();
    let jws = cases.keys.good.sign_event(NAME, &draft.attributes, &draft.body);
    let (header, signature) = jws.split_once("..").unwrap();
    let json = String::from_utf8(URL_SAFE_NO_PAD.decode(header).unwrap()).unwrap();
    let json = json.replace("person/4711", &format!("person/{MARKER}"));
    let forged = draft.with("subject", &format!("person/{MARKER}"));
    cases.add(
        "other attributes than were signed",
        NAMES,
        forged.carrying(format!("{}..{signature}", URL_SAFE_NO_PAD.encode(json))),
    );
    // Another key signs under the member's kid.
    let draft = cases.draft();
    let stranger = PrivateKey::generate().unwrap();
    let jws = stranger.sign_event(NAME, &draft.attributes, &draft.body);
    let (header, _) = jws.split_once("..").unwrap();
    let json = String::from_utf8(URL_SAFE_NO_PAD.decode(header).unwrap()).unwrap();
    let kid = cases.keys.good.public().thumbprint().as_str();
    let json = json.replace(stranger.public().thumbprint().as_str(), kid);
    let jws = sign_header(&stranger, &json, &draft.body);
    cases.add("another key under this kid", NAMES, draft.carrying(jws));
}

fn attribute_mismatch(cases: &mut Cases) {
    for (attribute, value) in [
        ("time", "2026-01-01T00:00:00Z"),
        ("subject", &format!("person/{MARKER}")),
        ("id", "another-id"),
        ("type", OFFER),
        ("source", &format!("/{SUD}/other")),
        ("dataschema", &format!("urn:pirogue:schema:{JOBSEEKER}:2")),
        ("note", MARKER),
    ] {
        let header = format!("cloudEvents_{attribute}");
        cases.changed(&format!("{header} isn't what was signed"), &header, |m| set(m, &header, text(value)));
    }
    cases.signed("a signed attribute isn't sent", "cloudEvents", |draft| {
        draft.attributes.set("note", MARKER);
    });
    if let Some(case) = cases.all.last_mut() {
        case.sent.message.headers.retain(|(name, _)| name != "cloudEvents_note");
    }
    cases.changed("message_id", "message_id", |m| m.message_id = Some(MARKER.to_owned()));
    cases.changed("type", "the property type", |m| m.kind = Some(OFFER.to_owned()));
    cases.signed("another content type was signed", "content_type", |draft| {
        draft.attributes.set("datacontenttype", MARKER);
    });
    if let Some(case) = cases.all.last_mut() {
        case.sent.message.content_type = Some("application/avro".to_owned());
    }
}

fn not_your_source(cases: &mut Cases) {
    let sent = cases.draft().signed(cases.keys.other_member);
    cases.add("another member signed", "user_id", sent);
    cases.changed("app_id is another member's", "app_id", |m| m.app_id = Some(GOUV.to_owned()));
    let mut sent = cases.draft().with("source", &format!("/{GOUV}/boost")).signed(cases.keys.good);
    (sent.user, sent.routing_key) = (SUD.to_owned(), format!("{SUD}.{JOBSEEKER}"));
    (sent.message.user_id, sent.message.app_id) = (Some(SUD.to_owned()), Some(SUD.to_owned()));
    cases.add("the source is another member's", "cloudEvents_source", sent);
    // The broker keeps members to their own user_id and routing key: another
    // member sends an event of this one that it got hold of.
    let mut sent = cases.draft().signed(cases.keys.good);
    (sent.user, sent.routing_key) = (GOUV.to_owned(), format!("{GOUV}.{JOBSEEKER}"));
    sent.message.user_id = Some(GOUV.to_owned());
    cases.add("another member sends it", "user_id", sent);
    let mut sent = cases.draft().signed(cases.keys.good);
    sent.user = "hub".to_owned();
    sent.message.user_id = Some("hub".to_owned());
    cases.add("the hub's own user sends it", "user_id", sent);
}

fn unknown_schema(cases: &mut Cases) {
    const NAMES: &str = "cloudEvents_dataschema";
    for (what, value) in [
        ("a version that isn't registered", format!("urn:pirogue:schema:{JOBSEEKER}:99")),
        ("a schema of another type", format!("urn:pirogue:schema:{OFFER}:1")),
    ] {
        cases.signed(what, NAMES, |draft| drop(draft.attributes.set("dataschema", value)));
    }
    for event_type in ["nc.employment.unheard.of", "nc.hub.event.rejected"] {
        cases.signed("a type that isn't registered, or is nobody's", NAMES, |draft| {
            draft.attributes.set("type", event_type);
            draft.attributes.set("dataschema", format!("urn:pirogue:schema:{event_type}:1"));
        });
    }
    cases.signed("a body of another schema", NAMES, |draft| draft.body = body(OFFER, &offer(MARKER)));
}

fn invalid_data(cases: &mut Cases) {
    let name = |length: usize| MARKER.chars().cycle().take(length).collect::<String>();
    let avro = |text: &str| {
        // A length below 8,192 as Avro writes it: zigzag, in groups of 7 bits.
        let zigzag = text.len() * 2;
        let length =
            if zigzag < 128 { vec![zigzag as u8] } else { vec![zigzag as u8 | 128, (zigzag >> 7) as u8] };
        [&length, text.as_bytes()].concat()
    };
    let sent = body(JOBSEEKER, &jobseeker(&name(200)));
    for (what, names, body) in [
        ("a format", "person.birthdate", patched(&sent, b"1987-03-14", MARKER.as_bytes())),
        ("a date that isn't one", "person.birthdate", patched(&sent, b"1987-03-14", b"1987-02-30")),
        ("a code of no list", "contact.address.commune", patched(&sent, b"98817", MARK.as_bytes())),
        ("an address", "contact.email", patched(&sent, b"contact@exemple.nc", b"Wamytan exemple.nc")),
        (
            "a name that is too long",
            "person.family_name",
            patched(&sent, &avro(&name(200)), &avro(&name(201))),
        ),
        ("a name that is empty", "person.family_name", patched(&sent, &avro(&name(200)), &avro(""))),
        ("not UTF-8", "person.given_names", patched(&sent, b"Kaoline", b"Kaol\xFFne")),
        ("bytes after the datum", "the body", [&sent[..], MARKER.as_bytes()].concat().into()),
        ("a datum that ends early", "updated_at", sent.slice(..sent.len() - 1)),
        ("no datum at all", "given_names", sent.slice(..10)),
    ] {
        cases.signed(what, names, |draft| draft.body = body);
    }
}

/// One fault of each reason, each by a lever of its own, so that two can be in
/// one message.
pub fn spoil(reason: Reason, draft: &mut Draft) {
    match reason {
        Reason::WrongAudience => draft.audience = "another-hub".to_owned(),
        Reason::FromTheFuture => drop(draft.attributes.set("time", in_minutes(60))),
        Reason::UnknownSchema => {
            draft.attributes.set("dataschema", format!("urn:pirogue:schema:{JOBSEEKER}:99"));
        }
        Reason::InvalidData => draft.body = patched(&draft.body, b"1987-03-14", MARKER.as_bytes()),
        Reason::IdReused => drop(draft.attributes.set("id", "taken-in")),
        _ => {}
    }
}

/// The faults that are made after the signing.
pub fn spoil_sent(reason: Reason, message: &mut Message) {
    match reason {
        Reason::TooLarge => message.headers.push(("note".into(), text(&"x".repeat(17_000)))),
        Reason::Malformed => message.delivery_mode = None,
        Reason::BadSignature => {
            let mut changed = message.body.to_vec();
            *changed.last_mut().unwrap() ^= 1;
            message.body = changed.into();
        }
        Reason::AttributeMismatch => message.message_id = Some("another".to_owned()),
        Reason::NotYourSource => message.app_id = Some(GOUV.to_owned()),
        _ => {}
    }
}
