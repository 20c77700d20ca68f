//! What a recipient checks of each message (WIRE.md section 3).

use crate::connect::ConnectFault;
use crate::event::{Attributes, Context, DeliveryContext, Envelope, MemberName, Message, Origin};
use crate::keys::{DetachedJws, Jwks, KeyUse};
use crate::members::Directory;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use std::path::PathBuf;

/// Checks what the hub delivers to one member.
pub struct Recipient {
    member: MemberName,
    hub: Jwks,
    members: Directory,
}

/// Where the keys are that a recipient trusts.
#[derive(Clone, Debug)]
pub struct Trust {
    /// Who the recipient is.
    pub member: MemberName,
    /// The hub's public keys, a JWKS file.
    pub hub_keys: PathBuf,
    /// The folder of the members' public keys.
    pub members: PathBuf,
}

impl Trust {
    /// Reads the keys.
    pub fn read(&self) -> Result<Recipient, ConnectFault> {
        let fault = |why: String| ConnectFault::HubKeys { path: self.hub_keys.clone(), why };
        let hub = std::fs::read_to_string(&self.hub_keys).map_err(|error| fault(error.kind().to_string()))?;
        let hub = Jwks::parse(&hub).map_err(|error| fault(error.to_string()))?;
        Ok(Recipient::new(self.member.clone(), hub, Directory::load(&self.members)?))
    }
}

/// A message that the hub signed for this member.
pub struct Accepted {
    /// Its attributes, as signed.
    pub attributes: Attributes,
    /// What they say.
    pub context: Context,
    /// What the hub added.
    pub delivery: DeliveryContext,
    /// The message as it came.
    pub message: Message,
}

/// A message that nobody has to believe, and why.
pub struct Unverified {
    /// How much of it is to be believed.
    pub doubt: Doubt,
    /// A sentence that names the attribute.
    pub why: String,
    /// The message as it came.
    pub message: Message,
}

/// What is wrong with a message that isn't accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// The hub didn't sign it, or not for this member: its number means nothing.
    Forged,
    /// The key that it names isn't known: it may be a new one of the hub's.
    UnknownKey,
    /// The hub signed it, and the publisher's own signature doesn't hold. Its
    /// number, of this epoch, is used up.
    Origin {
        /// The epoch.
        epoch: u32,
        /// The number.
        sequence: u64,
    },
}

impl Recipient {
    /// A recipient that trusts the `delivery` keys of `hub`, and, for events
    /// that are carried whole, the `event` keys of `members`. The hub's keys
    /// come from its operator by a way of their own, never from a message.
    pub fn new(member: MemberName, hub: Jwks, members: Directory) -> Recipient {
        Recipient { member, hub, members }
    }

    /// Checks one message.
    pub fn check(&self, message: Message) -> Result<Accepted, Unverified> {
        match self.checked(&message) {
            Ok((attributes, context, delivery)) => Ok(Accepted { attributes, context, delivery, message }),
            Err((doubt, why)) => Err(Unverified { doubt, why, message }),
        }
    }

    fn checked(&self, message: &Message) -> Result<(Attributes, Context, DeliveryContext), (Doubt, String)> {
        let forged = |why: String| (Doubt::Forged, why);
        let envelope = Envelope::read(message).map_err(forged)?;
        let context = Context::of_delivery(&envelope.attributes).map_err(forged)?;
        let missing = || forged("the attributes of a delivery are missing".to_owned());
        let delivery = context.delivery.clone().ok_or_else(missing)?;
        let jws = DetachedJws::parse(&envelope.signature)
            .map_err(|fault| forged(format!("the signature: {fault}")))?;
        let key =
            self.hub.find(&jws.kid).filter(|key| key.key_use == KeyUse::Delivery && key.revoked.is_none());
        let key = key.filter(|_| self.members.find(&jws.kid).is_none()).ok_or_else(|| {
            (
                Doubt::UnknownKey,
                "the signature's kid is no delivery key of the hub that this member knows".to_owned(),
            )
        })?;
        if jws.audience.as_deref() != Some(self.member.as_str()) || delivery.recipient != self.member {
            return Err(forged("the message is for another recipient".to_owned()));
        }
        if !jws.verify(&key.public, &message.body) {
            return Err(forged("the signature isn't of this header and body by the hub's key".to_owned()));
        }
        if jws.ce != envelope.attributes {
            return Err(forged("a header differs from what the hub signed".to_owned()));
        }
        let signed = |name| envelope.attributes.get(name);
        if message.message_id.as_deref() != signed("id") || message.kind.as_deref() != signed("type") {
            return Err(forged(
                "the property message_id or type differs from what the hub signed".to_owned(),
            ));
        }
        let origin = match (&envelope.origin_signature, &delivery.origin) {
            (None, None) => Ok(()),
            (Some(signature), Some(origin)) => self.check_origin(signature, origin, &context, message),
            _ => Err("one of origin and originsignature is there without the other".to_owned()),
        };
        // The hub vouches for the number: those after it must not wait for one
        // that never comes.
        let doubt = Doubt::Origin { epoch: delivery.epoch, sequence: delivery.sequence };
        origin.map_err(|why| (doubt, why))?;
        Ok((envelope.attributes, context, delivery))
    }

    /// The publisher's own signature: the provider's `event` key, the hash that
    /// the hub signed, the same source, type, id and body.
    fn check_origin(
        &self,
        signature: &str,
        origin: &str,
        context: &Context,
        message: &Message,
    ) -> Result<(), String> {
        if URL_SAFE_NO_PAD.encode(Sha256::digest(signature)) != origin {
            return Err("originsignature isn't the one whose hash the hub signed".to_owned());
        }
        let jws = DetachedJws::parse(signature).map_err(|fault| format!("originsignature: {fault}"))?;
        let Origin::Member { member, .. } = &context.source else {
            return Err("originsignature on a message of the hub's own".to_owned());
        };
        // The hub held the key to its time when it took the event in; here an
        // ended key still proves an old event, and a revoked one none.
        let key = self
            .members
            .find(&jws.kid)
            .filter(|key| key.key_use == KeyUse::Event && key.member == *member && key.revoked.is_none());
        let key = key.ok_or("originsignature isn't by an event key of the provider")?;
        if !jws.verify(&key.public, &message.body) {
            return Err("originsignature isn't of this body by the provider's key".to_owned());
        }
        let same = |name| jws.ce.get(name) == message_attribute(message, name);
        if !(same("source") && same("type") && same("id")) {
            return Err("originsignature is of an event of another source, type or id".to_owned());
        }
        Ok(())
    }
}

fn message_attribute<'a>(message: &'a Message, name: &str) -> Option<&'a str> {
    message.text(&format!("{}{name}", crate::event::HEADER_PREFIX))
}
