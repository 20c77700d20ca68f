//! One bad message for each reason of WIRE.md section 2, and one exact
//! duplicate: what a hub must tell apart.

use super::setup::{HUB, JOBSEEKER, PROVIDER, RECIPIENT};
use crate::bus::{Bus, BusFault, EVENTS};
use crate::connect::Signer;
use crate::connect::drivers::Record;
use crate::connect::manifest::SourceStream;
use crate::event::{Attributes, Envelope, HeaderValue, Message};
use crate::fault::Reason;
use crate::keys::{KeyFault, PrivateKey};
use crate::schema::EventSchema;
use bytes::Bytes;
use serde_json::Value;
use std::sync::Arc;

/// What bad messages are made of: the publisher's own signer, and two of its
/// records as they were served.
pub(super) struct Forge<'a> {
    pub(super) signer: &'a Signer,
    pub(super) revoked: &'a PrivateKey,
    pub(super) stream: &'a SourceStream,
    pub(super) schema: &'a EventSchema,
    pub(super) records: [Value; 2],
}

/// Why a bad message can't be made or sent.
#[derive(Debug, thiserror::Error)]
pub(super) enum ForgeFault {
    #[error("the demo's own record can't be mapped: {0}")]
    Record(String),
    #[error(transparent)]
    Key(#[from] KeyFault),
    #[error(transparent)]
    Bus(#[from] BusFault),
}

impl Forge<'_> {
    fn event(&self, record: &Value) -> Result<(String, Message), ForgeFault> {
        let text = |name: &str| record.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let record = Record {
            key: text("id"),
            version: Some(text("row_hash")),
            kind: String::new(),
            value: record.clone(),
            raw: None,
        };
        let events = self.signer.events(&record, self.stream, self.schema, 1).map_err(ForgeFault::Record)?;
        events.into_iter().next().ok_or_else(|| ForgeFault::Record("it gives no event".to_owned()))
    }

    /// The event of the first record: the same, to the byte, as the connector
    /// publishes.
    pub(super) fn original(&self) -> Result<(String, Message), ForgeFault> {
        self.event(&self.records[0])
    }

    /// A message that is refused for `reason`, if the first record's event was
    /// taken in before.
    pub(super) fn bad(&self, reason: Reason) -> Result<(String, Message), ForgeFault> {
        let (key, original) = self.original()?;
        let mut attributes = self.attributes(&original, reason);
        let mut body = original.body.clone();
        let mut routing_key = key;
        let mut audience = HUB;
        let other;
        let mut signing = &self.signer.key;
        match reason {
            Reason::UnknownKey => {
                other = PrivateKey::generate()?;
                signing = &other;
            }
            Reason::KeyNotValid => signing = self.revoked,
            Reason::WrongAudience => audience = "an-other-hub",
            Reason::NotYourSource => {
                attributes.set("source", format!("/{RECIPIENT}/boost"));
            }
            Reason::FromTheFuture => {
                let tomorrow = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24);
                attributes.set("time", tomorrow.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
            }
            Reason::UnknownSchema => {
                attributes.set("dataschema", format!("urn:pirogue:schema:{JOBSEEKER}:99"));
            }
            Reason::TooLarge => body = Bytes::from(vec![0; 262_145]),
            Reason::InvalidData => body = with_a_wrong_date(&body),
            Reason::IdReused => {
                let (_, second) = self.event(&self.records[1])?;
                let id = original.text("cloudEvents_id").unwrap_or_default();
                attributes.set("id", id);
                body = second.body;
            }
            Reason::Malformed | Reason::BadSignature | Reason::AttributeMismatch => {}
        }
        let signature = signing.sign_event(audience, &attributes, &body);
        let envelope = Envelope { attributes, signature, origin_signature: None };
        let mut message = envelope.message(PROVIDER, body);
        match reason {
            Reason::Malformed => message.headers.retain(|(name, _)| name != "cloudEvents_time"),
            Reason::BadSignature => {
                let mut changed = message.body.to_vec();
                if let Some(last) = changed.last_mut() {
                    *last ^= 1;
                }
                message.body = changed.into();
            }
            Reason::AttributeMismatch => {
                for (name, value) in &mut message.headers {
                    if name == "cloudEvents_time" {
                        *value = HeaderValue::Text("2026-01-01T00:00:00Z".to_owned());
                    }
                }
            }
            Reason::NotYourSource => routing_key = format!("{PROVIDER}.{JOBSEEKER}"),
            _ => {}
        }
        Ok((routing_key, message))
    }

    /// The original's attributes under an id of their own.
    fn attributes(&self, original: &Message, reason: Reason) -> Attributes {
        // The original was just made: its headers read back.
        let mut attributes = Attributes::read(original).unwrap_or_default();
        attributes.remove("signature");
        attributes.set("id", format!("demo-{reason}"));
        attributes
    }
}

/// The body with each digit of its first date replaced: a value that breaks its
/// rule in a datum that decodes.
fn with_a_wrong_date(body: &Bytes) -> Bytes {
    let mut changed = body.to_vec();
    let date =
        changed.windows(5).position(|w| w[..4].iter().all(u8::is_ascii_digit) && matches!(w[0], b'1' | b'2'));
    if let Some(at) = date {
        changed[at..at + 4].fill(b'X');
    }
    changed.into()
}

/// Publishes `messages` as the provider does.
pub(super) async fn publish(bus: &Arc<dyn Bus>, messages: Vec<(String, Message)>) -> Result<(), ForgeFault> {
    bus.publish(EVENTS, messages).await?;
    Ok(())
}
