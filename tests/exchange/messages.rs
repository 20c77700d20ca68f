//! What passes between members and the hub: records, events, agreements, and
//! what a recipient gets.

use bytes::Bytes;
use pirogue::connect::recipient::Accepted;
use pirogue::event::{Attributes, Envelope, MemberName, Message};
use pirogue::hub::{REJECTED, SCHEMA_PUBLISHED};
use pirogue::keys::{Jwk, KeyUse, PrivateKey};
use pirogue::schema::Registry;
use serde_json::{Value, json};
use std::sync::LazyLock;

/// The hub's name.
pub const NAME: &str = "nouvelle-caledonie";
pub const JOBSEEKER: &str = "nc.employment.jobseeker.registered";
pub const OFFER: &str = "nc.employment.offer.published";
/// The one who publishes in most tests, and the one who receives.
pub const SUD: &str = "province-sud";
pub const GOUV: &str = "gouvernement";

static REGISTRY: LazyLock<Registry> = LazyLock::new(|| Registry::embedded().unwrap());

pub fn name(member: &str) -> MemberName {
    MemberName::parse(member).unwrap()
}

/// The body of an event, in single-object encoding.
pub fn body(event_type: &str, record: &Value) -> Bytes {
    REGISTRY.get(event_type, 1).unwrap().encode_json(record).unwrap().into()
}

/// What a body of one of the registered schemas says.
pub fn read(event_type: &str, body: &[u8]) -> Value {
    REGISTRY.get(event_type, 1).unwrap().decode(body).unwrap().to_json()
}

/// A jobseeker's record.
pub fn jobseeker(family_name: &str) -> Value {
    json!({
        "person": {
            "given_names": ["Marie-Josèphe", "Kaoline"],
            "family_name": family_name,
            "birthdate": "1987-03-14",
            "birthplace": "98818",
        },
        "contact": {"email": "contact@exemple.nc", "phone": "+687451234", "address": {"commune": "98817"}},
        "status": "active",
        "registered_on": "2026-03-02",
    })
}

/// An offer's record.
pub fn offer(title: &str) -> Value {
    json!({"status": "open", "title": title, "positions": 2, "commune": "98818"})
}

/// An event that isn't signed yet.
#[derive(Clone)]
pub struct Draft {
    pub attributes: Attributes,
    pub body: Bytes,
    pub audience: String,
}

/// A message and how it is published.
#[derive(Clone)]
pub struct Sent {
    /// The user of the connection.
    pub user: String,
    pub routing_key: String,
    pub message: Message,
}

impl Draft {
    /// An event of `member`'s system `boost`.
    pub fn new(member: &str, event_type: &str, id: &str, subject: &str, record: &Value) -> Draft {
        let mut attributes = Attributes::default();
        for (name, value) in [
            ("specversion", "1.0"),
            ("id", id),
            ("source", &format!("/{member}/boost")),
            ("type", event_type),
            ("subject", subject),
            ("time", "2026-03-14T08:12:45Z"),
            ("datacontenttype", "application/avro"),
            ("dataschema", &format!("urn:pirogue:schema:{event_type}:1")),
        ] {
            attributes.set(name, value);
        }
        Draft { attributes, body: body(event_type, record), audience: NAME.to_owned() }
    }

    pub fn with(mut self, attribute: &str, value: &str) -> Draft {
        self.attributes.set(attribute, value);
        self
    }

    /// The message, signed by `key` and sent by the member of its source.
    pub fn signed(&self, key: &PrivateKey) -> Sent {
        let signature = key.sign_event(&self.audience, &self.attributes, &self.body);
        self.carrying(signature)
    }

    /// The message with this signature.
    pub fn carrying(&self, signature: String) -> Sent {
        let user = self.attributes.get("source").unwrap().split('/').nth(1).unwrap().to_owned();
        let routing_key = format!("{user}.{}", self.attributes.get("type").unwrap_or_default());
        let envelope = Envelope { attributes: self.attributes.clone(), signature, origin_signature: None };
        Sent { message: envelope.message(&user, self.body.clone()), routing_key, user }
    }
}

/// A message that a recipient took and checked.
pub struct Got {
    pub routing_key: String,
    pub redelivered: bool,
    pub accepted: Accepted,
}

impl Got {
    pub fn attribute(&self, name: &str) -> &str {
        self.accepted.attributes.get(name).unwrap_or_else(|| panic!("the attribute {name} is missing"))
    }

    pub fn event_type(&self) -> &str {
        self.attribute("type")
    }

    pub fn sequence(&self) -> u64 {
        self.accepted.delivery.sequence
    }

    pub fn body(&self) -> &[u8] {
        &self.accepted.message.body
    }

    pub fn is_schema(&self) -> bool {
        self.event_type() == SCHEMA_PUBLISHED
    }

    /// The notice of a refusal that this is.
    pub fn notice(&self) -> Value {
        assert_eq!(self.event_type(), REJECTED);
        read(REJECTED, self.body())
    }
}

/// The ids of the members' events among `got`, in their order.
pub fn ids(got: &[Got]) -> Vec<&str> {
    got.iter()
        .filter(|one| one.accepted.delivery.agreement.is_some())
        .map(|one| one.attribute("id"))
        .collect()
}

/// A type, the fields of it that are granted, how its subject is translated.
pub type Grant<'a> = (&'a str, &'a [&'a str], &'a str);

/// The text of an agreement.
pub struct Terms<'a> {
    pub id: &'a str,
    pub version: u32,
    pub provider: &'a str,
    pub recipient: &'a str,
    pub grants: &'a [Grant<'a>],
}

impl Terms<'_> {
    pub fn text(&self) -> String {
        let mut text = format!(
            "id = \"{}\"\nversion = {}\ntitle = \"Essai\"\nprovider = \"{}\"\nrecipient = \"{}\"\n\
             purpose = \"Essai\"\nlegal_basis = \"public-interest\"\nretention_months = 12\n\
             valid_from = 2026-01-01\nvalid_until = 2099-12-31\n",
            self.id, self.version, self.provider, self.recipient
        );
        for (event_type, fields, subject) in self.grants {
            text.push_str(&format!(
                "\n[[grant]]\ntype = \"{event_type}\"\nversions = [1]\nfields = {fields:?}\nsubject = \"{subject}\"\n"
            ));
        }
        text
    }
}

/// An agreement that hands jobseekers and offers over unchanged.
pub fn whole<'a>(id: &'a str, provider: &'a str, recipient: &'a str) -> Terms<'a> {
    let grants: &[Grant] = &[(JOBSEEKER, &["*"], "publisher"), (OFFER, &["*"], "publisher")];
    Terms { id, version: 1, provider, recipient, grants }
}

/// A key of `member` for events, with its times in seconds from now.
pub fn event_key(
    member: &str,
    not_before: Option<i64>,
    expires: Option<i64>,
    revoked: Option<i64>,
) -> (PrivateKey, Jwk) {
    let key = PrivateKey::generate().unwrap();
    let now = jiff::Timestamp::now().as_second();
    let mut jwk = Jwk::new(key.public().clone(), KeyUse::Event, Some(member.to_owned()));
    jwk.not_before = not_before.map(|s| now + s);
    jwk.expires = expires.map(|s| now + s);
    jwk.revoked = revoked.map(|s| now + s);
    (key, jwk)
}
