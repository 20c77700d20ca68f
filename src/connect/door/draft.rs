//! From what was posted to signed events, or every field that is wrong.

use super::answers::FieldFault;
use crate::connect::helpers::utc_time;
use crate::connect::identity::{Identity, event_id};
use crate::connect::manifest::{Connector, SourceStream};
use crate::connect::outbound::Signer;
use crate::event::{Message, is_local_id};
use crate::schema::EventSchema;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// What the hub takes of a body unless its operator set it otherwise (WIRE.md
/// section 2, `too-large`).
const MOST_BODY: usize = 256 << 10;
/// How far a time may be ahead (WIRE.md section 2, `from-the-future`).
const AHEAD: jiff::SignedDuration = jiff::SignedDuration::from_mins(5);
/// What a posted record may hold.
const PARTS: [&str; 4] = ["subject", "time", "key", "data"];

/// How records of one type become events.
#[derive(Clone)]
pub(super) enum Form {
    /// They are harmonised already, and say their attributes themselves.
    Harmonised {
        /// The second word of the source.
        system: Arc<str>,
    },
    /// They are the software's own, and a connector maps them.
    Mapped {
        connector: Arc<Connector>,
        /// The stream's place among the connector's sources.
        stream: usize,
        generation: u32,
    },
}

impl Form {
    pub(super) fn system(&self) -> &str {
        match self {
            Form::Harmonised { system } => system,
            Form::Mapped { connector, stream, .. } => &connector.sources[*stream].system,
        }
    }

    /// The version of the schema that a connector's records become.
    pub(super) fn version(&self) -> Option<u32> {
        match self {
            Form::Harmonised { .. } => None,
            Form::Mapped { connector, stream, .. } => Some(connector.sources[*stream].schema_version),
        }
    }

    pub(super) fn generation(&self) -> u32 {
        match self {
            Form::Harmonised { .. } => 1,
            Form::Mapped { generation, .. } => *generation,
        }
    }
}

/// What all records of a request have in common.
#[derive(Clone)]
pub(super) struct Drafting {
    pub(super) signer: Arc<Signer>,
    pub(super) form: Form,
    pub(super) schema: Arc<EventSchema>,
    /// The request's `Idempotency-Key`.
    pub(super) key: Option<Arc<str>>,
    /// The latest time that an event may have.
    pub(super) latest: jiff::Timestamp,
}

/// The latest time that the hub takes now.
pub(super) fn latest() -> jiff::Timestamp {
    jiff::Timestamp::now().saturating_add(AHEAD).unwrap_or(jiff::Timestamp::MAX)
}

/// What was wrong, by field; the record's position is added by the caller.
type Wrong = Vec<(String, String)>;

impl Drafting {
    /// The signed events of the record at `position`, each with its routing key.
    pub(super) fn events(
        &self,
        position: usize,
        record: Value,
    ) -> Result<Vec<(String, Message)>, Vec<FieldFault>> {
        let drafted = match &self.form {
            Form::Harmonised { system } => self.harmonised(position, record, system).map(|event| vec![event]),
            Form::Mapped { connector, stream, generation } => {
                self.mapped(position, record, &connector.sources[*stream], *generation)
            }
        };
        drafted.map_err(|wrong| {
            let fault = |(field, message)| FieldFault { record: position, field, message };
            wrong.into_iter().map(fault).collect()
        })
    }

    /// The id that the request's key gives the `nth` event of a record. A repeat
    /// of the request gives the same.
    fn id_by_key(&self, key: &str, position: usize, nth: usize) -> String {
        // No record's key begins like this: U+001F separates units.
        let key = format!("\u{1f}{key}");
        let place = format!("{position}.{nth}");
        let event_type = self.schema.event_type().as_str();
        let secret = self.signer.id_secret.expose();
        event_id(secret, self.form.system(), event_type, &key, &place, self.form.generation())
    }

    fn harmonised(&self, position: usize, record: Value, system: &str) -> Result<(String, Message), Wrong> {
        let Value::Object(record) = record else {
            let expected = "expected an object with subject, time and data";
            return Err(vec![(String::new(), expected.to_owned())]);
        };
        let mut wrong = Wrong::new();
        for key in record.keys().filter(|key| !PARTS.contains(&key.as_str())) {
            // A key that isn't a name may be somebody's data.
            let is_name = key.len() <= 64 && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
            wrong.push(match is_name {
                true => (
                    key.clone(),
                    format!("it isn't one of {}; the event's own fields are in data", PARTS.join(", ")),
                ),
                false => (String::new(), "a key isn't one of those that there are".to_owned()),
            });
        }
        let subject = self.subject(record.get("subject"), &mut wrong);
        let time = self.time(record.get("time"), &mut wrong);
        let key = posted_key(record.get("key"), &mut wrong);
        let body = self.body(record.get("data"), &mut wrong);
        let (Some(subject), Some(time), Some(body), true) = (subject, time, body, wrong.is_empty()) else {
            return Err(wrong);
        };
        let id = match &self.key {
            Some(key) => self.id_by_key(key, position, 0),
            None => {
                // What it says is its version: the same again is the same event,
                // and anything else is another.
                let mut version = Sha256::new();
                version.update(format!("{subject}\n{time}\n"));
                version.update(&body);
                let version = URL_SAFE_NO_PAD.encode(version.finalize());
                let event_type = self.schema.event_type().as_str();
                let key = key.unwrap_or(&subject);
                event_id(self.signer.id_secret.expose(), system, event_type, key, &version, 1)
            }
        };
        Ok(self.signer.sign(Identity { id, subject, time }, system, &self.schema, body.into()))
    }

    fn mapped(
        &self,
        position: usize,
        record: Value,
        stream: &SourceStream,
        generation: u32,
    ) -> Result<Vec<(String, Message)>, Wrong> {
        let one = |field: &str, message: String| vec![(field.to_owned(), message)];
        let rules = &stream.identity;
        let record = stream.record(record).map_err(|why| one(&rules.key, why))?;
        let outputs = stream
            .mapping
            .map(&record.value)
            .map_err(|fault| one(fault.field.as_deref().unwrap_or_default(), fault.to_string()))?;
        let mut events = Vec::with_capacity(outputs.len());
        for (nth, output) in outputs.iter().enumerate() {
            let body = self.schema.encode_json(output).map_err(|faults| {
                let of_map = |detail: &str| format!("{detail}; {} gives it so", stream.mapping.name());
                faults.into_iter().map(|fault| (fault.field, of_map(&fault.detail))).collect::<Wrong>()
            })?;
            if body.len() > MOST_BODY {
                return Err(one("", too_large()));
            }
            let identified = stream.identify(&record, nth, self.signer.id_secret.expose(), generation);
            let mut identity = identified.map_err(|why| {
                let pointers = [&rules.subject_id, &rules.time];
                let named = pointers.into_iter().find(|pointer| why.contains(pointer.as_str()));
                one(named.map_or("", String::as_str), why)
            })?;
            if identity.time.parse().is_ok_and(|time: jiff::Timestamp| time > self.latest) {
                return Err(one(&rules.time, future()));
            }
            if let Some(key) = &self.key {
                identity.id = self.id_by_key(key, position, nth);
            }
            events.push(self.signer.sign(identity, &stream.system, &self.schema, body.into()));
        }
        Ok(events)
    }

    fn subject(&self, subject: Option<&Value>, wrong: &mut Wrong) -> Option<String> {
        let before = wrong.len();
        let mut fault = |field: &str, message: String| wrong.push((field.to_owned(), message));
        let object = match subject {
            Some(Value::Object(object)) => object,
            Some(_) => {
                fault("subject", "expected an object with kind and id".to_owned());
                return None;
            }
            None => {
                fault("subject", "it is missing: what the event is about, kind and id".to_owned());
                return None;
            }
        };
        let kinds: Vec<&str> = self.schema.subject_kinds().map(|(kind, _)| kind).collect();
        let kind = text(object, "kind").filter(|kind| kinds.contains(kind));
        if kind.is_none() {
            fault("subject.kind", format!("expected {}", kinds.join(" or ")));
        }
        let id = text(object, "id").filter(|id| is_local_id(id) && !id.starts_with('~'));
        if id.is_none() {
            let form = "expected 1 to 128 of A-Z, a-z, 0-9, '.', '_', '~' and '-', not beginning with '~'";
            fault("subject.id", form.to_owned());
        }
        if object.keys().any(|key| key != "kind" && key != "id") {
            fault("subject", "it has kind and id, and nothing more".to_owned());
        }
        if wrong.len() > before {
            return None;
        }
        Some(format!("{}/{}", kind?, id?))
    }

    fn time(&self, time: Option<&Value>, wrong: &mut Wrong) -> Option<String> {
        let mut fault = |message: &str| wrong.push(("time".to_owned(), message.to_owned()));
        let Some(time) = time else {
            fault("it is missing: when what the event says happened, 2026-03-14T08:12:45+11:00 for instance");
            return None;
        };
        let read = time.as_str().filter(|text| text.parse::<jiff::Timestamp>().is_ok());
        let Some(Ok(utc)) = read.map(utc_time) else {
            fault(
                "expected a time with its offset, 2026-03-14T08:12:45+11:00 or 2026-03-13T21:12:45Z for instance",
            );
            return None;
        };
        if utc.parse().is_ok_and(|time: jiff::Timestamp| time > self.latest) {
            fault(&future());
            return None;
        }
        Some(utc)
    }

    fn body(&self, data: Option<&Value>, wrong: &mut Wrong) -> Option<Vec<u8>> {
        let Some(data) = data else {
            wrong.push(("data".to_owned(), "it is missing: the event's own fields".to_owned()));
            return None;
        };
        match self.schema.encode_json(data) {
            Ok(body) if body.len() > MOST_BODY => wrong.push(("data".to_owned(), too_large())),
            Ok(body) => return Some(body),
            Err(faults) => wrong.extend(faults.into_iter().map(|fault| {
                let field = match fault.field.as_str() {
                    "" => "data".to_owned(),
                    field => format!("data.{field}"),
                };
                (field, fault.detail)
            })),
        }
        None
    }
}

fn posted_key<'a>(key: Option<&'a Value>, wrong: &mut Wrong) -> Option<&'a str> {
    let key = key?;
    let fits = |key: &&str| (1..=256).contains(&key.chars().count()) && !key.chars().any(char::is_control);
    let fitting = key.as_str().filter(fits);
    if fitting.is_none() {
        wrong.push(("key".to_owned(), "expected a text of 1 to 256 characters, none of control".to_owned()));
    }
    fitting
}

fn text<'a>(object: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    object.get(name).and_then(Value::as_str)
}

fn future() -> String {
    "it is in the future: the hub refuses what is more than 5 minutes ahead. Is this machine's clock right?"
        .to_owned()
}

fn too_large() -> String {
    format!("the event is larger than the hub takes, {} KiB", MOST_BODY >> 10)
}
