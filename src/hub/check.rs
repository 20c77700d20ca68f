//! What the hub checks of a message, in the order of WIRE.md section 2, as
//! types: a [`Verified`] event was signed by the member who sent it, a
//! [`Decoded`] one also holds what its schema says. Neither can be made
//! another way.

use crate::bus::Delivery;
use crate::event::{Attributes, Context, Envelope, EventType, Message, Origin, is_event_id};
use crate::fault::{Reason, Refusal};
use crate::hub::world::World;
use crate::journal;
use crate::keys::DetachedJws;
use crate::members::Standing;
use crate::schema::{DataFaultKind, EventSchema};
use std::sync::Arc;
use std::time::Duration;

/// What intake holds messages to; from the configuration.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The hub's name: the audience that an event is signed for.
    pub audience: String,
    /// The largest body, in bytes.
    pub body_bytes: usize,
    /// The largest headers, in bytes.
    pub headers_bytes: usize,
    /// How far ahead of the hub's clock an event's time may be.
    pub future: Duration,
}

/// A message as it came from the bus.
#[derive(Debug)]
pub struct Received {
    routing_key: String,
    message: Message,
    redelivered: bool,
}

/// A message that was refused, unchanged, and why.
#[derive(Debug)]
pub struct Refused {
    /// The message as it came.
    pub received: Received,
    /// Why it was refused.
    pub refusal: Refusal,
}

/// The longest type that is repeated of a message that is refused, in bytes.
const LONGEST_TYPE: usize = 128;

/// What a message says that it is, as far as that has its form (WIRE.md section
/// 0). What hasn't may hold anything, a citizen's data too, and isn't repeated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Claims {
    pub(super) source: Option<String>,
    pub(super) id: Option<String>,
    pub(super) event_type: Option<String>,
}

/// A message signed, in time, for this hub, by the member who sent it.
pub struct Verified {
    received: Received,
    envelope: Envelope,
    context: Context,
    member: crate::event::MemberName,
    kid: String,
}

/// A verified event whose body is what its schema says.
pub struct Decoded {
    pub(super) received: Received,
    pub(super) envelope: Envelope,
    pub(super) context: Context,
    pub(super) member: crate::event::MemberName,
    pub(super) kid: String,
    /// What makes it the same event again (WIRE.md section 2).
    pub(super) digest: [u8; 32],
    /// `SHA-256(signature || 0x00 || body)`, of which the journal's name is made.
    pub(super) fingerprint: [u8; 32],
}

impl Received {
    /// The message that `delivery` brought.
    pub fn new(delivery: Delivery) -> Received {
        let Delivery { routing_key, message, redelivered, .. } = delivery;
        Received { routing_key, message, redelivered }
    }

    /// Whether the bus may have brought it before.
    pub(super) fn redelivered(&self) -> bool {
        self.redelivered
    }

    /// The message, unchanged.
    pub fn message(&self) -> &Message {
        &self.message
    }

    /// The routing key that it was published with.
    pub fn routing_key(&self) -> &str {
        &self.routing_key
    }

    /// What the message says that it is; the headers count before the properties.
    pub(super) fn claims(&self) -> Claims {
        let message = &self.message;
        let claim = |header: &str, property: Option<&str>, fits: &dyn Fn(&str) -> bool| {
            let claims = [message.text(header), property];
            claims.into_iter().flatten().find(|claim| fits(claim)).map(str::to_owned)
        };
        // Its form alone would let a type fill all the headers.
        let is_type = |text: &str| text.len() <= LONGEST_TYPE && EventType::parse(text).is_ok();
        Claims {
            source: claim("cloudEvents_source", None, &|text| Origin::parse(text).is_ok()),
            id: claim("cloudEvents_id", message.message_id.as_deref(), &is_event_id),
            event_type: claim("cloudEvents_type", message.kind.as_deref(), &is_type),
        }
    }

    /// Checks all but the body's content, at the time `now` by the hub's clock.
    pub fn verify(self, world: &World, rules: &Rules, now: jiff::Timestamp) -> Result<Verified, Refused> {
        match self.signed(world, rules, now) {
            Ok((envelope, context, member, kid)) => {
                Ok(Verified { received: self, envelope, context, member, kid })
            }
            Err(refusal) => Err(Refused { received: self, refusal }),
        }
    }

    fn signed(
        &self,
        world: &World,
        rules: &Rules,
        now: jiff::Timestamp,
    ) -> Result<(Envelope, Context, crate::event::MemberName, String), Refusal> {
        let message = &self.message;
        too_large("the body", message.body.len(), rules.body_bytes)?;
        too_large("the headers, together,", message.headers_size(), rules.headers_bytes)?;

        let (envelope, context, jws) = self.well_formed()?;

        let key = world.directory.find(&jws.kid).ok_or_else(|| {
            Refusal::new(
                Reason::UnknownKey,
                "the signature's kid is no member's key; send the hub's operator your public key, or sign \
                 with the one that is registered",
            )
        })?;
        match key.event_standing(now.as_second()) {
            Standing::Valid => {}
            standing => return Err(Refusal::new(Reason::KeyNotValid, standing.to_string())),
        }
        if !jws.verify(&key.public, &message.body) {
            return Err(Refusal::new(
                Reason::BadSignature,
                "the signature isn't of this header and body by this key; sign BASE64URL(header), a full \
                 stop and the body's bytes as they are sent",
            ));
        }
        same_as_signed(message, &envelope.attributes, &jws.ce)?;
        self.one_source(&key.member, &context)?;
        if jws.audience.as_deref() != Some(rules.audience.as_str()) {
            return Err(Refusal::new(
                Reason::WrongAudience,
                format!("aud in the signature's header isn't `{}`, the name of this hub", rules.audience),
            ));
        }
        let latest = now.saturating_add(rules.future).unwrap_or(jiff::Timestamp::MAX);
        if context.time > latest {
            return Err(Refusal::new(
                Reason::FromTheFuture,
                format!(
                    "the header cloudEvents_time is more than {} minutes ahead of the hub's clock",
                    rules.future.as_secs() / 60
                ),
            ));
        }
        Ok((envelope, context, key.member.clone(), jws.kid))
    }

    /// The properties, the headers, the JWS and the body's first bytes.
    fn well_formed(&self) -> Result<(Envelope, Context, DetachedJws), Refusal> {
        let malformed = |detail: String| Refusal::new(Reason::Malformed, detail);
        let message = &self.message;
        let properties = [
            ("message_id", &message.message_id),
            ("type", &message.kind),
            ("app_id", &message.app_id),
            ("user_id", &message.user_id),
        ];
        for (name, value) in properties {
            if value.as_deref().is_none_or(str::is_empty) {
                return Err(malformed(format!("the property {name} is missing")));
            }
        }
        if message.delivery_mode != Some(2) {
            return Err(malformed("the property delivery_mode: expected 2, persistent".to_owned()));
        }
        let envelope = Envelope::read(message).map_err(malformed)?;
        if envelope.origin_signature.is_some() {
            return Err(malformed(
                "the header cloudEvents_originsignature can't be there: only the hub sets it".to_owned(),
            ));
        }
        let context = Context::of_publication(&envelope.attributes).map_err(malformed)?;
        let jws = DetachedJws::parse(&envelope.signature)
            .map_err(|fault| malformed(format!("the header cloudEvents_signature: {fault}")))?;
        if message.body.len() < 10 || message.body[..2] != [0xC3, 0x01] {
            return Err(malformed(
                "the body isn't Avro single-object encoding: it begins with C3 01 and the 8 bytes of the \
                 schema's fingerprint"
                    .to_owned(),
            ));
        }
        Ok((envelope, context, jws))
    }

    /// Who signed, who sent and who is named as the source are one member.
    fn one_source(&self, signer: &crate::event::MemberName, context: &Context) -> Result<(), Refusal> {
        let signer = signer.as_str();
        let source = match &context.source {
            Origin::Member { member, .. } => member.as_str(),
            Origin::Hub(_) => "",
        };
        let first_word = self.routing_key.split('.').next().unwrap_or_default();
        let differing = [
            ("the property user_id", self.message.user_id.as_deref().unwrap_or_default()),
            ("the property app_id", self.message.app_id.as_deref().unwrap_or_default()),
            ("the routing key's first word", first_word),
            ("the first segment of the header cloudEvents_source", source),
        ]
        .into_iter()
        .find(|(_, name)| *name != signer);
        match differing {
            None => Ok(()),
            Some((what, _)) => Err(Refusal::new(
                Reason::NotYourSource,
                format!("{what} isn't the member whose key signed; a member publishes only its own events"),
            )),
        }
    }
}

fn too_large(what: &str, size: usize, limit: usize) -> Result<(), Refusal> {
    if size <= limit {
        return Ok(());
    }
    Err(Refusal::new(Reason::TooLarge, format!("{what} has {size} bytes; at most {limit} are taken")))
}

fn same_as_signed(message: &Message, sent: &Attributes, signed: &Attributes) -> Result<(), Refusal> {
    let mismatch = |what: String| {
        Err(Refusal::new(Reason::AttributeMismatch, format!("{what} differs from what was signed in ce")))
    };
    for (name, value) in sent.iter() {
        if signed.get(name) != Some(value) {
            return match name {
                "datacontenttype" => mismatch("the property content_type".to_owned()),
                name => mismatch(format!("the header cloudEvents_{name}")),
            };
        }
    }
    if signed.len() != sent.len() {
        return mismatch("the set of cloudEvents headers".to_owned());
    }
    if message.message_id.as_deref() != sent.get("id") {
        return mismatch("the property message_id".to_owned());
    }
    if message.kind.as_deref() != sent.get("type") {
        return mismatch("the property type".to_owned());
    }
    Ok(())
}

impl Verified {
    /// Checks that the body is what its schema says.
    pub fn decode(self, world: &World) -> Result<Decoded, Refused> {
        match self.described(world) {
            Ok(()) => {
                let body = &self.received.message.body;
                let digest = self.envelope.attributes.digest(body);
                let fingerprint = journal::fingerprint(&self.envelope.signature, body);
                Ok(Decoded {
                    digest,
                    fingerprint,
                    received: self.received,
                    envelope: self.envelope,
                    context: self.context,
                    member: self.member,
                    kid: self.kid,
                })
            }
            Err(refusal) => Err(Refused { received: self.received, refusal }),
        }
    }

    fn described(&self, world: &World) -> Result<(), Refusal> {
        let schema = self.schema(world)?;
        schema.decode(&self.received.message.body).map(drop).map_err(|fault| match fault.kind {
            DataFaultKind::WrongFingerprint => Refusal::new(
                Reason::UnknownSchema,
                "the fingerprint at the body's start isn't that of the schema that cloudEvents_dataschema names",
            ),
            DataFaultKind::NotSingleObject => Refusal::new(Reason::Malformed, fault.to_string()),
            DataFaultKind::Data => Refusal::new(Reason::InvalidData, fault.to_string()),
        })
    }

    fn schema<'w>(&self, world: &'w World) -> Result<&'w Arc<EventSchema>, Refusal> {
        let reference = &self.context.schema;
        if reference.event_type != self.context.event_type {
            return Err(Refusal::new(
                Reason::UnknownSchema,
                "the header cloudEvents_dataschema names a schema of another type than cloudEvents_type",
            ));
        }
        // The hub's own types are in the registry, and are nobody's to publish.
        let ours = reference.event_type.as_str().starts_with(super::HUB_TYPES);
        world.registry.get(reference.event_type.as_str(), reference.version).filter(|_| !ours).ok_or_else(
            || {
                Refusal::new(
                    Reason::UnknownSchema,
                    "the header cloudEvents_dataschema names a schema that isn't registered at this hub",
                )
            },
        )
    }
}

impl Refused {
    /// Refuses an event whose source and id were taken in with another content.
    pub(super) fn id_reused(decoded: Decoded) -> Refused {
        Refused {
            received: decoded.received,
            refusal: Refusal::new(
                Reason::IdReused,
                "the headers cloudEvents_source and cloudEvents_id are those of an event that was taken in \
                 with other attributes or another body; give each event an id of its own",
            ),
        }
    }
}
