//! Requests: what a member sends to its hub, as a C2SP signed note. The text is
//! TOML, signed by every key that it is about: who sends it holds them.

use super::{JoinFault, read, seconds, time};
use crate::event::MemberName;
use crate::keys::note::{self, SignedNote};
use crate::keys::{Jwk, Jwks, KeyUse, PrivateKey};
use serde::Deserialize;
use std::path::Path;

/// The least and the most days for which an old key goes on beside a new one.
const OVERLAP_DAYS: std::ops::RangeInclusive<u32> = 1..=365;

/// What a member asks of its hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// To become a member.
    Join(JoinRequest),
    /// To replace a key.
    Rotation(Box<RotationRequest>),
}

/// Asks to become a member, with these keys.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinRequest {
    /// The hub's name.
    pub hub: String,
    /// The member's name.
    pub member: MemberName,
    /// The token of the invitation.
    pub token: String,
    /// When it was made, in seconds since 1970.
    pub made: i64,
    /// The hash of its password at the broker; none where it needs none.
    pub password_hash: Option<String>,
    /// Its keys: one for events, one for agreements.
    pub keys: Jwks,
}

impl std::fmt::Debug for JoinRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JoinRequest").field("member", &self.member).finish_non_exhaustive()
    }
}

/// Asks to replace a key by a new one of the same use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RotationRequest {
    /// The hub's name.
    pub hub: String,
    /// The member's name.
    pub member: MemberName,
    /// When it was made, in seconds since 1970.
    pub made: i64,
    /// The identifier of the key that is replaced.
    pub old: String,
    /// For how many days the old key goes on beside the new one.
    pub overlap_days: u32,
    /// The new key.
    pub new: Jwk,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    request: String,
    hub: String,
    member: String,
    made: String,
    token: Option<String>,
    password_hash: Option<String>,
    old: Option<String>,
    overlap_days: Option<u32>,
    keys: String,
}

impl Request {
    /// The hub's name.
    pub fn hub(&self) -> &str {
        match self {
            Request::Join(join) => &join.hub,
            Request::Rotation(rotation) => &rotation.hub,
        }
    }

    /// The member's name.
    pub fn member(&self) -> &MemberName {
        match self {
            Request::Join(join) => &join.member,
            Request::Rotation(rotation) => &rotation.member,
        }
    }

    /// When it was made, in seconds since 1970.
    pub fn made(&self) -> i64 {
        match self {
            Request::Join(join) => join.made,
            Request::Rotation(rotation) => rotation.made,
        }
    }

    /// The keys that it brings.
    pub fn keys(&self) -> &[Jwk] {
        match self {
            Request::Join(join) => &join.keys.keys,
            Request::Rotation(rotation) => std::slice::from_ref(&rotation.new),
        }
    }

    /// The text that is signed.
    fn text(&self) -> String {
        let (hub, member, made) = (self.hub(), self.member(), time(self.made()));
        let head = |what: &str, request: &str| {
            format!(
                "# {what}\n# The hub's operator: pirogue member admit THIS-FILE --config hub.toml\n\n\
                 request = \"{request}\"\nhub = \"{hub}\"\nmember = \"{member}\"\nmade = \"{made}\"\n"
            )
        };
        let (mut text, keys) = match self {
            Request::Join(join) => {
                let what = format!("{member} asks to take part in the exchange {hub}.");
                let mut text = head(&what, "join") + &format!("token = \"{}\"\n", join.token);
                if let Some(hash) = &join.password_hash {
                    text += &format!("password_hash = \"{hash}\"\n");
                }
                (text, join.keys.clone())
            }
            Request::Rotation(rotation) => {
                let RotationRequest { old, overlap_days, new, .. } = rotation.as_ref();
                let what = format!("{member} asks the hub {hub} to replace its key for {}.", new.key_use);
                let text =
                    head(&what, "rotate") + &format!("old = \"{old}\"\noverlap_days = {overlap_days}\n");
                (text, Jwks { keys: vec![new.clone()] })
            }
        };
        text += &format!("keys = '''\n{}'''\n", keys.to_json());
        text
    }

    /// The request as a file, signed by `keys`.
    pub fn sign(&self, keys: &[&PrivateKey]) -> Result<String, JoinFault> {
        let mut signed = SignedNote::unsigned(&self.text())?;
        signed.signatures =
            keys.iter().map(|key| note::sign(&signed.text, self.member().as_str(), key)).collect();
        Ok(signed.render())
    }

    /// Reads a request's file, and checks that each key that it brings signed
    /// it.
    pub fn read(path: &Path) -> Result<(Request, SignedNote), JoinFault> {
        Request::parse(&read(path)?)
    }

    /// Reads a request, and checks that each key that it brings signed it. The
    /// note is for checking other signatures.
    ///
    /// Fails with a sentence that names what is wrong, and never repeats the
    /// token.
    pub fn parse(text: &str) -> Result<(Request, SignedNote), JoinFault> {
        let signed = SignedNote::parse(text)?;
        let request = Request::of_text(&signed.text)?;
        for key in request.keys() {
            if !signed.verified_by(request.member().as_str(), &key.public) {
                return Err(JoinFault::NotSigned {
                    key_use: key.key_use,
                    kid: key.public.thumbprint().clone(),
                });
            }
        }
        Ok((request, signed))
    }

    fn of_text(text: &str) -> Result<Request, JoinFault> {
        let wrong = |what: &str| JoinFault::NotARequest(what.to_owned());
        let wire: Wire = toml::from_str(text).map_err(|fault| {
            // The parser's own sentence would show the line.
            let line = fault.span().map_or(1, |span| text[..span.start].lines().count().max(1));
            JoinFault::NotARequest(format!("it isn't one as pirogue member join writes it, near line {line}"))
        })?;
        let member = MemberName::parse(&wire.member).map_err(|_| wrong("member isn't a member's name"))?;
        let made = seconds(&wire.made).ok_or_else(|| wrong("made isn't a time"))?;
        let keys =
            Jwks::parse(&wire.keys).map_err(|fault| JoinFault::NotARequest(format!("keys: {fault}")))?;
        for key in &keys.keys {
            if key.member.as_deref() != Some(member.as_str()) || key.key_use.is_hub() {
                return Err(wrong("a key in it isn't marked as the member's"));
            }
            if key.not_before.or(key.expires).or(key.revoked).is_some() {
                return Err(wrong("a key in it has times, which only the hub gives"));
            }
        }
        let uses: Vec<KeyUse> = keys.keys.iter().map(|key| key.key_use).collect();
        let Wire { hub, token, password_hash, old, overlap_days, .. } = wire;
        match (wire.request.as_str(), token, old, overlap_days, uses.as_slice()) {
            ("join", Some(token), None, None, [KeyUse::Event, KeyUse::Agreement]) => {
                if password_hash.as_deref().is_some_and(|hash| !crate::bus::manage::is_password_hash(hash)) {
                    return Err(wrong("password_hash isn't one as RabbitMQ keeps it"));
                }
                Ok(Request::Join(JoinRequest { hub, member, token, made, password_hash, keys }))
            }
            ("rotate", None, Some(old), Some(overlap_days), [_]) if password_hash.is_none() => {
                if !OVERLAP_DAYS.contains(&overlap_days) {
                    return Err(wrong("overlap_days isn't a number from 1 to 365"));
                }
                let Some(new) = keys.keys.into_iter().next() else { return Err(wrong("it has no key")) };
                Ok(Request::Rotation(Box::new(RotationRequest { hub, member, made, old, overlap_days, new })))
            }
            ("join", ..) => Err(wrong("to join takes a token, and a key for events and one for agreements")),
            ("rotate", ..) => Err(wrong("to rotate takes the old key, the new one and overlap_days")),
            _ => Err(wrong("it asks for something else than to join or to rotate a key")),
        }
    }
}
