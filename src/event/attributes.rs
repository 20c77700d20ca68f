//! The CloudEvents context attributes of a message, and what they say.
//!
//! CloudEvents 1.0, "Context Attributes"; WIRE.md sections 0, 1 and 3.

use super::grammar::{EventType, GrammarFault, MemberName, is_event_id, is_subject, parse_time};
use super::message::{HeaderValue, Message};
use super::names::{self, Name};
use sha2::{Digest, Sha256};

/// What every attribute's header begins with (CloudEvents AMQP binding).
pub const HEADER_PREFIX: &str = "cloudEvents_";

/// The attributes that only the hub sets (WIRE.md section 3). From a publisher
/// they are malformed.
pub const DELIVERY_ATTRIBUTES: [&str; 6] =
    ["agreement", "epoch", "origin", "originsignature", "recipient", "sequence"];

const CONTENT_TYPE: &str = "application/avro";

/// The attributes of one event that a signature covers: each name once, sorted
/// by name. `signature` and `originsignature` aren't among them;
/// `datacontenttype` is.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Attributes {
    pairs: Vec<(Name, String)>,
}

/// A message's attributes beside the signatures that came with them.
#[derive(Clone)]
pub struct Envelope {
    /// What the signature covers.
    pub attributes: Attributes,
    /// The detached JWS of the sender.
    pub signature: String,
    /// The detached JWS of the publisher, where the hub carries it along.
    pub origin_signature: Option<String>,
}

/// Prints the names and no values.
impl std::fmt::Debug for Attributes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.pairs.iter().map(|(name, _)| name)).finish()
    }
}

/// Prints the names and no values.
impl std::fmt::Debug for Envelope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Envelope").field("attributes", &self.attributes).finish_non_exhaustive()
    }
}

impl Attributes {
    /// The value of attribute `name`.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.position(name).ok().map(|at| self.pairs[at].1.as_str())
    }

    /// Sets attribute `name`. Returns the value that it replaces.
    pub fn set(&mut self, name: &str, value: impl Into<String>) -> Option<String> {
        match self.position(name) {
            Ok(at) => Some(std::mem::replace(&mut self.pairs[at].1, value.into())),
            Err(at) => {
                self.pairs.insert(at, (names::attribute(name), value.into()));
                None
            }
        }
    }

    /// Removes attribute `name` and returns its value.
    pub fn remove(&mut self, name: &str) -> Option<String> {
        self.position(name).ok().map(|at| self.pairs.remove(at).1)
    }

    /// The attributes, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs.iter().map(|(name, value)| (name.as_ref(), value.as_str()))
    }

    /// How many attributes there are.
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// SHA-256 over the attributes and the body, each with its length before it:
    /// what two messages must share to be the same event (WIRE.md section 2,
    /// `id-reused`).
    pub fn digest(&self, body: &[u8]) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update((self.pairs.len() as u64).to_le_bytes());
        for (name, value) in &self.pairs {
            hash.update((name.len() as u64).to_le_bytes());
            hash.update(name.as_bytes());
            hash.update((value.len() as u64).to_le_bytes());
            hash.update(value);
        }
        hash.update(body);
        hash.finalize().into()
    }

    /// Reads the attributes of a message from its headers and its content type.
    ///
    /// Fails with a sentence that names the header and what is expected: each
    /// `cloudEvents_NAME` is a text that isn't empty, NAME is `[a-z0-9]+`,
    /// stands once, and isn't `datacontenttype` (that is the property
    /// `content_type`); `content_type` is there.
    pub fn read(message: &Message) -> Result<Attributes, String> {
        let mut pairs: Vec<(Name, String)> = Vec::with_capacity(message.headers.len() + 1);
        let content_type = message.content_type.as_deref().ok_or("the property content_type is missing")?;
        pairs.push((names::attribute("datacontenttype"), content_type.to_owned()));
        for (header, value) in &message.headers {
            let Some(name) = header.strip_prefix(HEADER_PREFIX) else { continue };
            let fits = !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
            if !fits {
                return Err("a header begins with cloudEvents_ and goes on with something else than \
                            a-z and 0-9"
                    .to_owned());
            }
            match value {
                HeaderValue::Text(text) if text.is_empty() => {
                    return Err(format!("the header {header} is empty; leave it out instead"));
                }
                HeaderValue::Text(text) => pairs.push((names::attribute(name), text.clone())),
                _ => return Err(format!("the header {header} isn't a string in UTF-8")),
            }
        }
        pairs.sort();
        if let Some(twice) = pairs.windows(2).find(|w| w[0].0 == w[1].0) {
            return Err(match twice[0].0.as_ref() {
                "datacontenttype" => "the header cloudEvents_datacontenttype can't be there: the property \
                                      content_type says it"
                    .to_owned(),
                name => format!("the header {HEADER_PREFIX}{name} is there twice"),
            });
        }
        Ok(Attributes { pairs })
    }

    /// The headers that carry these attributes.
    pub fn headers(&self) -> Vec<(Name, HeaderValue)> {
        self.iter()
            .filter(|(name, _)| *name != "datacontenttype")
            .map(|(name, value)| header(name, value))
            .collect()
    }

    fn position(&self, name: &str) -> Result<usize, usize> {
        self.pairs.binary_search_by(|(n, _)| n.as_ref().cmp(name))
    }
}

impl Envelope {
    /// Reads the attributes and signatures of a message, as
    /// [`Attributes::read`] does; `signature` must be among them.
    pub fn read(message: &Message) -> Result<Envelope, String> {
        let mut attributes = Attributes::read(message)?;
        let signature =
            attributes.remove("signature").ok_or("the header cloudEvents_signature is missing")?;
        let origin_signature = attributes.remove("originsignature");
        Ok(Envelope { attributes, signature, origin_signature })
    }

    /// The headers that carry these attributes and signatures.
    pub fn headers(&self) -> Vec<(Name, HeaderValue)> {
        let mut headers = self.attributes.headers();
        headers.push(header("signature", &self.signature));
        headers.extend(self.origin_signature.iter().map(|s| header("originsignature", s)));
        headers
    }

    /// The message that carries these attributes and signatures with `body`,
    /// sent by `app` (a member's name, or `hub`): WIRE.md sections 1 and 3.
    pub fn message(&self, app: &str, body: bytes::Bytes) -> Message {
        let attribute = |name| self.attributes.get(name).map(str::to_owned);
        Message {
            content_type: attribute("datacontenttype"),
            delivery_mode: Some(2),
            message_id: attribute("id"),
            kind: attribute("type"),
            app_id: Some(app.to_owned()),
            user_id: Some(app.to_owned()),
            headers: self.headers(),
            body,
        }
    }
}

/// Where an event comes from: the attribute `source`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// `/MEMBER/SYSTEM`.
    Member {
        /// The member.
        member: MemberName,
        /// Its system, `boost` for instance.
        system: String,
    },
    /// `/hub/NAME`: the hub's own messages.
    Hub(String),
}

impl Origin {
    /// Reads a `source`, or says what form was expected.
    pub fn parse(text: &str) -> Result<Origin, GrammarFault> {
        const FORM: GrammarFault = GrammarFault("a source of the form /MEMBER/SYSTEM");
        let (first, second) = text.strip_prefix('/').and_then(|t| t.split_once('/')).ok_or(FORM)?;
        if !MemberName::is_system(second) {
            return Err(FORM);
        }
        match first {
            "hub" => Ok(Origin::Hub(second.to_owned())),
            member => Ok(Origin::Member {
                member: MemberName::parse(member).map_err(|_| FORM)?,
                system: second.to_owned(),
            }),
        }
    }
}

/// Which schema a body is written in: the attribute `dataschema`,
/// `urn:pirogue:schema:TYPE:VERSION[:HEX32]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SchemaRef {
    /// The event type.
    pub event_type: EventType,
    /// The version, from 1.
    pub version: u32,
    /// The projection, 32 lowercase hexadecimal digits, where it is one.
    pub projection: Option<String>,
}

impl SchemaRef {
    /// Reads a `dataschema`, or says what form was expected.
    pub fn parse(text: &str) -> Result<SchemaRef, GrammarFault> {
        const FORM: GrammarFault = GrammarFault("a schema of the form urn:pirogue:schema:TYPE:VERSION");
        let mut parts = text.strip_prefix("urn:pirogue:schema:").ok_or(FORM)?.split(':');
        let event_type = parts.next().and_then(|t| EventType::parse(t).ok()).ok_or(FORM)?;
        let version = parts.next().and_then(parse_number).ok_or(FORM)?;
        let projection = parts.next();
        let is_hex32 =
            |hex: &str| hex.len() == 32 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if parts.next().is_some() || projection.is_some_and(|hex| !is_hex32(hex)) {
            return Err(FORM);
        }
        Ok(SchemaRef { event_type, version, projection: projection.map(str::to_owned) })
    }
}

impl std::fmt::Display for SchemaRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "urn:pirogue:schema:{}:{}", self.event_type, self.version)?;
        match &self.projection {
            Some(hex) => write!(f, ":{hex}"),
            None => Ok(()),
        }
    }
}

/// A whole number from 1, without leading zeros.
fn parse_number(text: &str) -> Option<u32> {
    let fits = !text.is_empty() && !text.starts_with('0') && text.bytes().all(|b| b.is_ascii_digit());
    fits.then(|| text.parse().ok()).flatten()
}

/// What the attributes of an event say, once their grammar was checked.
#[derive(Clone, Debug)]
pub struct Context {
    /// The event's id.
    pub id: String,
    /// Where it comes from.
    pub source: Origin,
    /// Its type.
    pub event_type: EventType,
    /// What it is about, `KIND/LOCAL-ID`; only the hub's own messages have none.
    pub subject: Option<String>,
    /// When it happened.
    pub time: jiff::Timestamp,
    /// The schema of the body.
    pub schema: SchemaRef,
    /// What the hub adds for a recipient; none on what a member publishes.
    pub delivery: Option<DeliveryContext>,
}

/// The attributes that the hub adds for a recipient (WIRE.md section 3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryContext {
    /// Who it is for.
    pub recipient: MemberName,
    /// Under which agreement, `ID:VERSION`; none on the hub's own messages.
    pub agreement: Option<String>,
    /// The epoch, from 1.
    pub epoch: u32,
    /// The sequence number, from 1.
    pub sequence: u64,
    /// BASE64URL(SHA-256) of the publisher's JWS, where it is carried.
    pub origin: Option<String>,
}

impl Context {
    /// Checks the attributes of an event as a member publishes it (WIRE.md
    /// section 1). Fails with a sentence that names the attribute.
    pub fn of_publication(attributes: &Attributes) -> Result<Context, String> {
        if let Some(name) = DELIVERY_ATTRIBUTES.iter().find(|name| attributes.get(name).is_some()) {
            return Err(format!("the header {HEADER_PREFIX}{name} can't be there: only the hub sets it"));
        }
        let context = Context::read(attributes)?;
        if matches!(context.source, Origin::Hub(_)) {
            return Err(form("source", GrammarFault("a source of the form /MEMBER/SYSTEM")));
        }
        if context.schema.projection.is_some() {
            return Err(form("dataschema", GrammarFault("urn:pirogue:schema:TYPE:VERSION and no more")));
        }
        match context.subject.as_deref() {
            None => Err("the header cloudEvents_subject is missing".to_owned()),
            Some(subject) if subject.contains("/~") => {
                Err(form("subject", GrammarFault("a LOCAL-ID that doesn't begin with ~")))
            }
            Some(_) => Ok(context),
        }
    }

    /// Checks the attributes of an event as the hub delivers it (WIRE.md
    /// section 3). Fails with a sentence that names the attribute.
    pub fn of_delivery(attributes: &Attributes) -> Result<Context, String> {
        let mut context = Context::read(attributes)?;
        let recipient = required(attributes, "recipient")?;
        let recipient = MemberName::parse(recipient).map_err(|e| form("recipient", e))?;
        let epoch = parse_number(required(attributes, "epoch")?)
            .ok_or_else(|| form("epoch", GrammarFault("a whole number from 1")))?;
        let digits = required(attributes, "sequence")?;
        let fits = digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit());
        let sequence = digits.parse().ok().filter(|n| fits && *n > 0);
        let sequence = sequence.ok_or_else(|| form("sequence", GrammarFault("20 digits, from 1")))?;
        let agreement = attributes.get("agreement").map(str::to_owned);
        match (&context.source, &agreement, &context.subject) {
            (Origin::Hub(_), None, None) => {}
            (Origin::Hub(_), ..) => {
                return Err("the hub's own message has a subject or an agreement".to_owned());
            }
            (Origin::Member { .. }, Some(_), Some(_)) => {}
            (Origin::Member { .. }, None, _) => {
                return Err("the header cloudEvents_agreement is missing".to_owned());
            }
            (Origin::Member { .. }, _, None) => {
                return Err("the header cloudEvents_subject is missing".to_owned());
            }
        }
        let origin = attributes.get("origin").map(str::to_owned);
        context.delivery = Some(DeliveryContext { recipient, agreement, epoch, sequence, origin });
        Ok(context)
    }

    fn read(attributes: &Attributes) -> Result<Context, String> {
        if required(attributes, "specversion")? != "1.0" {
            return Err(form("specversion", GrammarFault("1.0")));
        }
        if attributes.get("datacontenttype") != Some(CONTENT_TYPE) {
            return Err("the property content_type: expected application/avro".to_owned());
        }
        let id = required(attributes, "id")?;
        if !is_event_id(id) {
            return Err(form("id", GrammarFault("1 to 128 of A-Z, a-z, 0-9, . _ ~ -")));
        }
        let source = Origin::parse(required(attributes, "source")?).map_err(|e| form("source", e))?;
        let event_type = EventType::parse(required(attributes, "type")?).map_err(|e| form("type", e))?;
        let subject = attributes.get("subject");
        if subject.is_some_and(|s| !is_subject(s)) {
            return Err(form("subject", GrammarFault("a subject of the form KIND/LOCAL-ID")));
        }
        let time = parse_time(required(attributes, "time")?).map_err(|e| form("time", e))?;
        let schema =
            SchemaRef::parse(required(attributes, "dataschema")?).map_err(|e| form("dataschema", e))?;
        Ok(Context {
            id: id.to_owned(),
            source,
            event_type,
            subject: subject.map(str::to_owned),
            time,
            schema,
            delivery: None,
        })
    }
}

fn header(name: &str, value: &str) -> (Name, HeaderValue) {
    (names::header_of(name), HeaderValue::Text(value.to_owned()))
}

fn required<'a>(attributes: &'a Attributes, name: &str) -> Result<&'a str, String> {
    attributes.get(name).ok_or_else(|| format!("the header {HEADER_PREFIX}{name} is missing"))
}

fn form(name: &str, fault: GrammarFault) -> String {
    format!("the header {HEADER_PREFIX}{name}: {fault}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn published() -> Attributes {
        let mut a = Attributes::default();
        for (name, value) in [
            ("specversion", "1.0"),
            ("id", "e-1"),
            ("source", "/province-sud/boost"),
            ("type", "nc.employment.offer.published"),
            ("subject", "offer/1"),
            ("time", "2026-11-24T00:00:00Z"),
            ("datacontenttype", "application/avro"),
            ("dataschema", "urn:pirogue:schema:nc.employment.offer.published:1"),
        ] {
            a.set(name, value);
        }
        a
    }

    #[test]
    fn a_publication_reads_as_it_should() {
        let context = Context::of_publication(&published()).unwrap();
        assert_eq!(context.schema.to_string(), "urn:pirogue:schema:nc.employment.offer.published:1");
        assert!(context.delivery.is_none());
    }

    #[test]
    fn each_attribute_is_required_and_held_to_its_form() {
        for (name, bad) in [
            ("specversion", "1.1"),
            ("id", "a/b"),
            ("source", "province-sud"),
            ("source", "/hub/nc"),
            ("source", "/province-sud/boost/x"),
            ("type", "offer"),
            ("subject", "offer"),
            ("subject", "offer/~pseudonym"),
            ("time", "yesterday"),
            ("datacontenttype", "application/json"),
            ("dataschema", "urn:pirogue:schema:nc.employment.offer.published:01"),
            ("dataschema", "urn:pirogue:schema:nc.employment.offer.published:1:00"),
        ] {
            let mut a = published();
            a.set(name, bad);
            let sentence = Context::of_publication(&a).unwrap_err();
            let property = if name == "datacontenttype" { "content_type" } else { name };
            assert!(sentence.contains(property), "{sentence}");
            assert!(bad.len() < 20 || !sentence.contains(bad), "the value is repeated: {sentence}");
            let mut a = published();
            a.remove(name);
            assert!(Context::of_publication(&a).is_err(), "{name} can be left out");
        }
        for name in DELIVERY_ATTRIBUTES {
            let mut a = published();
            a.set(name, "1");
            assert!(Context::of_publication(&a).is_err(), "{name} can be set by a publisher");
        }
    }

    #[test]
    fn an_envelope_survives_its_headers() {
        let envelope = Envelope {
            attributes: published(),
            signature: "a..b".into(),
            origin_signature: Some("c..d".into()),
        };
        let message = envelope.message("province-sud", bytes::Bytes::from_static(b"body"));
        let read = Envelope::read(&message).unwrap();
        assert_eq!(read.attributes, envelope.attributes);
        assert_eq!((read.signature, read.origin_signature), (envelope.signature, envelope.origin_signature));
    }

    #[test]
    fn headers_are_held_to_their_form() {
        let envelope = Envelope { attributes: published(), signature: "a..b".into(), origin_signature: None };
        let good = envelope.message("province-sud", bytes::Bytes::new());
        let with = |name: &str, value: HeaderValue| {
            let mut message = good.clone();
            message.headers.push((name.to_owned().into(), value));
            Envelope::read(&message)
        };
        assert!(with("x-death", HeaderValue::Integer(3)).is_ok());
        assert!(with("cloudEvents_extra", HeaderValue::Text("1".into())).is_ok());
        assert!(with("cloudEvents_extra", HeaderValue::Text(String::new())).is_err());
        assert!(with("cloudEvents_extra", HeaderValue::Bytes(vec![1])).is_err());
        assert!(with("cloudEvents_Extra", HeaderValue::Text("1".into())).is_err());
        assert!(with("cloudEvents_", HeaderValue::Text("1".into())).is_err());
        assert!(with("cloudEvents_id", HeaderValue::Text("e-1".into())).is_err());
        assert!(with("cloudEvents_datacontenttype", HeaderValue::Text("application/avro".into())).is_err());
    }

    proptest! {
        #[test]
        fn no_attributes_make_the_reader_panic(pairs in prop::collection::vec(("[a-z]{1,12}", any::<String>()), 0..12)) {
            let mut a = published();
            for (name, value) in &pairs {
                a.set(name, value.as_str());
            }
            let _ = Context::of_publication(&a);
            let _ = Context::of_delivery(&a);
        }

        #[test]
        fn the_digest_separates_names_values_and_body(x in "[a-z]{1,8}", y in "[a-z]{1,8}") {
            let mut a = Attributes::default();
            a.set(&x, y.as_str());
            let mut b = Attributes::default();
            b.set(&format!("{x}{y}"), "");
            prop_assert_ne!(a.digest(b"z"), b.digest(b"z"));
        }
    }
}
