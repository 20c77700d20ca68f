//! Detached JWS over events: RFC 7515 (appendix F), RFC 7797 (`b64: false`),
//! RFC 8037 and RFC 9864 (Ed25519); WIRE.md section 1.

use super::{JwsFault, PublicKey, Thumbprint, decode_base64url, decode_base64url_exactly};
use crate::event::Attributes;
use serde::de::{self, DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use std::borrow::Cow;
use std::cell::Cell;
use std::collections::HashSet;
use std::fmt;

/// The longest JWS that is read, in bytes: as much as all headers of a message
/// together may take (WIRE.md section 2).
pub const MAX_JWS_BYTES: usize = 16 * 1024;

/// A detached JWS, read but not verified: what its signer claims.
#[derive(Clone)]
pub struct DetachedJws {
    /// The key that is said to have signed.
    pub kid: String,
    /// For whom it was signed: a hub, or a recipient.
    pub audience: Option<String>,
    /// The attributes that were signed with the body.
    pub ce: Attributes,
    /// The protected header in the bytes that were signed.
    header: String,
    signature: [u8; 64],
}

impl DetachedJws {
    /// Reads `BASE64URL(header)..BASE64URL(signature)`, strictly.
    ///
    /// Fails with a sentence that names the member of the header and holds no
    /// value: base64url must be canonical, no key may stand twice at any
    /// depth, `alg` is `EdDSA` or `Ed25519`, `b64` is false, `crit` is exactly
    /// `["b64"]`, `kid` a text, `aud` a text where it is there, `ce` an object
    /// of texts that aren't empty, without `signature` and `originsignature`.
    /// Other members are ignored.
    pub fn parse(text: &str) -> Result<DetachedJws, JwsFault> {
        if text.len() > MAX_JWS_BYTES {
            return Err(JwsFault::TooLarge);
        }
        let (header, signature) = text.split_once("..").ok_or(JwsFault::NotDetached)?;
        if header.is_empty() || header.contains('.') || signature.contains('.') {
            return Err(JwsFault::NotDetached);
        }
        let json = decode_base64url(header).ok_or(JwsFault::HeaderEncoding)?;
        let signature = decode_base64url_exactly(signature).ok_or(JwsFault::SignatureEncoding)?;
        let Header { kid, audience, ce } = Header::parse(&json)?;
        Ok(DetachedJws { kid, audience, ce, header: header.to_owned(), signature })
    }

    /// Whether `key` is the key that `kid` names and signed this header and
    /// `body`: strict verification of `ASCII(header) || "." || body`.
    pub fn verify(&self, key: &PublicKey, body: &[u8]) -> bool {
        self.kid == key.thumbprint().as_str()
            && key.verify(&signing_input(&self.header, body), &self.signature)
    }
}

/// What is signed: `ASCII(BASE64URL(header)) || "." || body` (RFC 7797 section 3).
fn signing_input(header: &str, body: &[u8]) -> Vec<u8> {
    [header.as_bytes(), b".", body].concat()
}

/// Prints who is said to have signed, and the names of the attributes.
impl fmt::Debug for DetachedJws {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("DetachedJws");
        shown.field("kid", &self.kid).field("audience", &self.audience).field("ce", &self.ce);
        shown.finish_non_exhaustive()
    }
}

/// The protected header of an event's JWS, in JSON: the members in the order
/// of WIRE.md section 1, the attributes sorted by name.
pub(super) fn write_event_header(kid: &Thumbprint, audience: &str, attributes: &Attributes) -> Vec<u8> {
    let length: usize = attributes.iter().map(|(name, value)| name.len() + value.len() + 6).sum();
    let mut json = Vec::with_capacity(length + audience.len() + 128);
    json.extend_from_slice(br#"{"alg":"EdDSA","b64":false,"crit":["b64"],"kid":""#);
    json.extend_from_slice(kid.as_str().as_bytes());
    json.extend_from_slice(br#"","aud":"#);
    push_json_text(&mut json, audience);
    json.extend_from_slice(br#","ce":{"#);
    for (at, (name, value)) in attributes.iter().enumerate() {
        if at > 0 {
            json.push(b',');
        }
        push_json_text(&mut json, name);
        json.push(b':');
        push_json_text(&mut json, value);
    }
    json.extend_from_slice(b"}}");
    json
}

/// Writes `text` as a JSON string (RFC 8259 section 7).
fn push_json_text(json: &mut Vec<u8>, text: &str) {
    json.push(b'"');
    let mut rest = text.as_bytes();
    // Almost always there is nothing to escape: one copy.
    while let Some(at) = rest.iter().position(|b| matches!(b, 0..0x20 | b'"' | b'\\')) {
        json.extend_from_slice(&rest[..at]);
        match rest[at] {
            byte @ (b'"' | b'\\') => json.extend_from_slice(&[b'\\', byte]),
            byte => {
                let low = b"0123456789abcdef"[usize::from(byte & 0xF)];
                json.extend_from_slice(&[b'\\', b'u', b'0', b'0', b'0' + (byte >> 4), low]);
            }
        }
        rest = &rest[at + 1..];
    }
    json.extend_from_slice(rest);
    json.push(b'"');
}

/// What is kept of a protected header.
struct Header {
    kid: String,
    audience: Option<String>,
    ce: Attributes,
}

impl Header {
    fn parse(json: &[u8]) -> Result<Header, JwsFault> {
        let fault = Cell::new(None);
        let mut reader = serde_json::Deserializer::from_slice(json);
        let header = (&mut reader).deserialize_map(HeaderVisitor { fault: &fault });
        match header.and_then(|header| reader.end().map(|()| header)) {
            Ok(header) => Ok(header),
            // serde's own sentence could repeat a value; ours names the member.
            Err(error) if error.is_data() => Err(fault.take().unwrap_or(JwsFault::NotJson)),
            Err(_) => Err(JwsFault::NotJson),
        }
    }
}

/// Where a visitor leaves what went wrong: a visitor's own error can only be a text.
type FaultCell<'a> = &'a Cell<Option<JwsFault>>;

fn fail<E: de::Error>(cell: FaultCell<'_>, fault: JwsFault) -> E {
    cell.set(Some(fault));
    E::custom("refused")
}

struct HeaderVisitor<'a> {
    fault: FaultCell<'a>,
}

impl<'de> Visitor<'de> for HeaderVisitor<'_> {
    type Value = Header;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Header, M::Error> {
        let fault = self.fault;
        let wrong = |member, expected| JwsFault::Member { member, expected };
        let (mut alg, mut b64, mut crit) = (false, false, false);
        let (mut kid, mut audience, mut ce) = (None, None, None);
        let mut others: HashSet<Cow<'de, str>> = HashSet::new();
        while let Some(key) = map.next_key_seed(TextSeed)? {
            let twice = match &*key {
                "alg" => {
                    const EXPECTED: &str = "EdDSA or Ed25519";
                    let value = map.next_value_seed(TextSeed);
                    let value = value.map_err(|e| refuse(fault, wrong("alg", EXPECTED), e))?;
                    if !matches!(&*value, "EdDSA" | "Ed25519") {
                        return Err(fail(fault, wrong("alg", EXPECTED)));
                    }
                    std::mem::replace(&mut alg, true)
                }
                "b64" => {
                    let value = map.next_value::<bool>();
                    if value.map_err(|e| refuse(fault, wrong("b64", "false"), e))? {
                        return Err(fail(fault, wrong("b64", "false")));
                    }
                    std::mem::replace(&mut b64, true)
                }
                "crit" => {
                    let value = map.next_value_seed(CritSeed);
                    value.map_err(|e| refuse(fault, wrong("crit", "exactly [\"b64\"]"), e))?;
                    std::mem::replace(&mut crit, true)
                }
                "kid" => {
                    let value = map.next_value_seed(TextSeed);
                    let value = value.map_err(|e| refuse(fault, wrong("kid", "a text"), e))?;
                    kid.replace(value.into_owned()).is_some()
                }
                "aud" => {
                    let value = map.next_value_seed(TextSeed);
                    let value = value.map_err(|e| refuse(fault, wrong("aud", "a text"), e))?;
                    audience.replace(value.into_owned()).is_some()
                }
                "ce" => ce.replace(map.next_value_seed(AttributesSeed { fault })?).is_some(),
                _ => {
                    map.next_value_seed(CheckedSeed { fault })?;
                    !others.insert(key)
                }
            };
            if twice {
                return Err(fail(fault, JwsFault::DuplicateKey));
            }
        }
        for (name, there) in [("alg", alg), ("b64", b64), ("crit", crit)] {
            if !there {
                return Err(fail(fault, JwsFault::Missing(name)));
            }
        }
        let kid = kid.ok_or_else(|| fail(fault, JwsFault::Missing("kid")))?;
        let ce = ce.ok_or_else(|| fail(fault, JwsFault::Missing("ce")))?;
        Ok(Header { kid, audience, ce })
    }
}

/// Notes `fault` as what went wrong, and passes the error on.
fn refuse<E>(cell: FaultCell<'_>, fault: JwsFault, error: E) -> E {
    cell.set(Some(fault));
    error
}

/// A JSON string, borrowed where it holds no escape.
struct TextSeed;

impl<'de> DeserializeSeed<'de> for TextSeed {
    type Value = Cow<'de, str>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Cow<'de, str>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for TextSeed {
    type Value = Cow<'de, str>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }
    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Borrowed(text))
    }
    fn visit_str<E>(self, text: &str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Owned(text.to_owned()))
    }
}

/// Exactly `["b64"]`.
struct CritSeed;

impl<'de> DeserializeSeed<'de> for CritSeed {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for CritSeed {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[\"b64\"]")
    }
    fn visit_seq<S: SeqAccess<'de>>(self, mut items: S) -> Result<(), S::Error> {
        let first = items.next_element_seed(TextSeed)?;
        let second = items.next_element_seed(TextSeed)?;
        match (first.as_deref(), second) {
            (Some("b64"), None) => Ok(()),
            _ => Err(S::Error::custom("not exactly [\"b64\"]")),
        }
    }
}

/// The object `ce`.
struct AttributesSeed<'a> {
    fault: FaultCell<'a>,
}

impl AttributesSeed<'_> {
    const FORM: JwsFault = JwsFault::Member {
        member: "ce",
        expected: "an object of texts that aren't empty, without `signature` and `originsignature`",
    };
}

impl<'de> DeserializeSeed<'de> for AttributesSeed<'_> {
    type Value = Attributes;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Attributes, D::Error> {
        let fault = self.fault;
        deserializer.deserialize_map(self).map_err(|error| {
            // What the visitor noted itself is more exact.
            let noted = fault.take().unwrap_or(AttributesSeed::FORM);
            refuse(fault, noted, error)
        })
    }
}

impl<'de> Visitor<'de> for AttributesSeed<'_> {
    type Value = Attributes;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of texts")
    }
    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Attributes, M::Error> {
        let mut attributes = Attributes::default();
        while let Some(name) = map.next_key_seed(TextSeed)? {
            let value = map.next_value_seed(TextSeed)?;
            if value.is_empty() || matches!(&*name, "signature" | "originsignature") {
                return Err(fail(self.fault, AttributesSeed::FORM));
            }
            if attributes.set(&name, value).is_some() {
                return Err(fail(self.fault, JwsFault::DuplicateKey));
            }
        }
        Ok(attributes)
    }
}

/// Any JSON value, of which nothing is kept: only that no key stands twice.
#[derive(Clone, Copy)]
struct CheckedSeed<'a> {
    fault: FaultCell<'a>,
}

impl<'de> DeserializeSeed<'de> for CheckedSeed<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        // serde_json ends a nesting deeper than 128 with an error.
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for CheckedSeed<'_> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }
    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }
    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }
    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }
    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }
    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
    fn visit_seq<S: SeqAccess<'de>>(self, mut items: S) -> Result<(), S::Error> {
        while items.next_element_seed(self)?.is_some() {}
        Ok(())
    }
    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<(), M::Error> {
        let mut seen: HashSet<Cow<'de, str>> = HashSet::new();
        while let Some(key) = map.next_key_seed(TextSeed)? {
            if !seen.insert(key) {
                return Err(fail(self.fault, JwsFault::DuplicateKey));
            }
            map.next_value_seed(self)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
