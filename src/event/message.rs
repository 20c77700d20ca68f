//! A message as a bus carries it, and its bytes at rest.

use super::names::{Name, header_name};
use bytes::Bytes;

/// The value of a header. The events of WIRE.md only have texts; the other
/// forms are kept so that what is refused is kept unchanged.
#[derive(Clone, Debug, PartialEq)]
pub enum HeaderValue {
    /// A string in UTF-8.
    Text(String),
    /// A byte array, or a string that isn't UTF-8.
    Bytes(Vec<u8>),
    /// Any integer or AMQP timestamp.
    Integer(i64),
    /// A boolean.
    Boolean(bool),
    /// A floating-point number.
    Float(f64),
    /// A table, an array or another form, in its AMQP encoding as far as the
    /// client library gives it.
    Other(Vec<u8>),
}

/// A message: AMQP 0-9-1 properties, headers and a body. Nothing in it is
/// checked or trusted.
#[derive(Clone, PartialEq, Default)]
pub struct Message {
    /// The property `content_type`.
    pub content_type: Option<String>,
    /// The property `delivery_mode`; 2 is persistent.
    pub delivery_mode: Option<u8>,
    /// The property `message_id`.
    pub message_id: Option<String>,
    /// The property `type`.
    pub kind: Option<String>,
    /// The property `app_id`.
    pub app_id: Option<String>,
    /// The property `user_id`: the broker checks that it is the sender's.
    pub user_id: Option<String>,
    /// The headers, in the order in which they came.
    pub headers: Vec<(Name, HeaderValue)>,
    /// The body.
    pub body: Bytes,
}

/// Prints what a log may hold: sizes, and no content.
impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Message")
            .field("headers", &self.headers.len())
            .field("body_bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// Bytes that aren't an encoded [`Message`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("these bytes aren't a message: {0}")]
pub struct CodecFault(&'static str);

const VERSION: u8 = 1;
const ABSENT: u32 = u32::MAX;

impl Message {
    /// The text of header `name`, if it is there and is a text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).and_then(|(_, v)| match v {
            HeaderValue::Text(t) => Some(t.as_str()),
            _ => None,
        })
    }

    /// The size of the headers in bytes, about as AMQP encodes them.
    pub fn headers_size(&self) -> usize {
        self.headers
            .iter()
            .map(|(name, value)| {
                let value = match value {
                    HeaderValue::Text(t) => t.len(),
                    HeaderValue::Bytes(b) | HeaderValue::Other(b) => b.len(),
                    HeaderValue::Integer(_) | HeaderValue::Float(_) => 8,
                    HeaderValue::Boolean(_) => 1,
                };
                1 + name.len() + 5 + value
            })
            .sum()
    }

    /// An upper bound of the encoded size in bytes.
    pub fn encoded_bound(&self) -> usize {
        let properties = [&self.content_type, &self.message_id, &self.kind, &self.app_id, &self.user_id];
        let properties: usize = properties.iter().map(|p| 4 + p.as_ref().map_or(0, String::len)).sum();
        let headers: usize = self.headers.len() * 16 + self.headers_size();
        8 + properties + headers + self.body.len()
    }

    /// Appends the message's bytes at rest to `out`.
    ///
    /// The form is ours and versioned by its first byte: lengths are 32-bit
    /// little-endian, `FF FF FF FF` is an absent property, and the body is
    /// what remains.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.reserve(self.encoded_bound());
        out.push(VERSION);
        for text in [&self.content_type, &self.message_id, &self.kind, &self.app_id, &self.user_id] {
            match text {
                Some(text) => put(out, text.as_bytes()),
                None => out.extend_from_slice(&ABSENT.to_le_bytes()),
            }
        }
        out.push(u8::from(self.delivery_mode.is_some()));
        out.push(self.delivery_mode.unwrap_or(0));
        out.extend_from_slice(&(self.headers.len() as u32).to_le_bytes());
        for (name, value) in &self.headers {
            put(out, name.as_bytes());
            match value {
                HeaderValue::Text(t) => {
                    out.push(0);
                    put(out, t.as_bytes());
                }
                HeaderValue::Bytes(b) => {
                    out.push(1);
                    put(out, b);
                }
                HeaderValue::Integer(i) => {
                    out.push(2);
                    out.extend_from_slice(&i.to_le_bytes());
                }
                HeaderValue::Boolean(b) => out.extend_from_slice(&[3, u8::from(*b)]),
                HeaderValue::Float(x) => {
                    out.push(4);
                    out.extend_from_slice(&x.to_bits().to_le_bytes());
                }
                HeaderValue::Other(b) => {
                    out.push(5);
                    put(out, b);
                }
            }
        }
        out.extend_from_slice(&self.body);
    }

    /// Reads a message from its bytes at rest. The body shares `bytes`.
    pub fn decode(bytes: &Bytes) -> Result<Message, CodecFault> {
        let mut rest: &[u8] = bytes;
        if take(&mut rest, 1)?[0] != VERSION {
            return Err(CodecFault("an unknown version"));
        }
        let content_type = take_text(&mut rest)?;
        let message_id = take_text(&mut rest)?;
        let kind = take_text(&mut rest)?;
        let app_id = take_text(&mut rest)?;
        let user_id = take_text(&mut rest)?;
        let delivery_mode = match *take(&mut rest, 2)? {
            [0, 0] => None,
            [1, mode] => Some(mode),
            _ => return Err(CodecFault("an unknown delivery mode")),
        };
        let count = take_u32(&mut rest)? as usize;
        // A header takes at least 6 bytes: no allocation beyond what is there.
        if count > rest.len() / 6 {
            return Err(CodecFault("more headers than bytes"));
        }
        let mut headers = Vec::with_capacity(count);
        for _ in 0..count {
            let name = header_name(take_str(&mut rest)?.ok_or(CodecFault("a header without a name"))?);
            let value = match take(&mut rest, 1)?[0] {
                0 => HeaderValue::Text(take_text(&mut rest)?.ok_or(CodecFault("a header without a value"))?),
                1 => HeaderValue::Bytes(take_blob(&mut rest)?),
                2 => HeaderValue::Integer(i64::from_le_bytes(take_8(&mut rest)?)),
                3 => HeaderValue::Boolean(take(&mut rest, 1)?[0] != 0),
                4 => HeaderValue::Float(f64::from_bits(u64::from_le_bytes(take_8(&mut rest)?))),
                5 => HeaderValue::Other(take_blob(&mut rest)?),
                _ => return Err(CodecFault("a header of an unknown form")),
            };
            headers.push((name, value));
        }
        let body = bytes.slice(bytes.len() - rest.len()..);
        Ok(Message { content_type, delivery_mode, message_id, kind, app_id, user_id, headers, body })
    }
}

fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    out.extend_from_slice(bytes);
}

fn take<'a>(rest: &mut &'a [u8], n: usize) -> Result<&'a [u8], CodecFault> {
    let (head, tail) = rest.split_at_checked(n).ok_or(CodecFault("it ends too early"))?;
    *rest = tail;
    Ok(head)
}

fn take_8(rest: &mut &[u8]) -> Result<[u8; 8], CodecFault> {
    let mut eight = [0; 8];
    eight.copy_from_slice(take(rest, 8)?);
    Ok(eight)
}

fn take_u32(rest: &mut &[u8]) -> Result<u32, CodecFault> {
    let mut four = [0; 4];
    four.copy_from_slice(take(rest, 4)?);
    Ok(u32::from_le_bytes(four))
}

fn take_blob(rest: &mut &[u8]) -> Result<Vec<u8>, CodecFault> {
    let length = take_u32(rest)? as usize;
    Ok(take(rest, length)?.to_vec())
}

fn take_str<'a>(rest: &mut &'a [u8]) -> Result<Option<&'a str>, CodecFault> {
    let length = take_u32(rest)?;
    if length == ABSENT {
        return Ok(None);
    }
    let text = std::str::from_utf8(take(rest, length as usize)?);
    text.map(Some).map_err(|_| CodecFault("a text that isn't UTF-8"))
}

fn take_text(rest: &mut &[u8]) -> Result<Option<String>, CodecFault> {
    Ok(take_str(rest)?.map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn value() -> impl Strategy<Value = HeaderValue> {
        prop_oneof![
            any::<String>().prop_map(HeaderValue::Text),
            any::<Vec<u8>>().prop_map(HeaderValue::Bytes),
            any::<i64>().prop_map(HeaderValue::Integer),
            any::<bool>().prop_map(HeaderValue::Boolean),
            (-1e9..1e9f64).prop_map(HeaderValue::Float),
            any::<Vec<u8>>().prop_map(HeaderValue::Other),
        ]
    }

    prop_compose! {
        fn message()(
            texts in prop::collection::vec(any::<Option<String>>(), 5),
            mode in any::<Option<u8>>(),
            headers in prop::collection::vec((any::<String>().prop_map(Name::from), value()), 0..6),
            body in any::<Vec<u8>>(),
        ) -> Message {
            let mut texts = texts.into_iter();
            let mut next = || texts.next().flatten();
            Message {
                content_type: next(), message_id: next(), kind: next(), app_id: next(), user_id: next(),
                delivery_mode: mode, headers, body: body.into(),
            }
        }
    }

    proptest! {
        #[test]
        fn a_message_reads_back_as_it_was_written(message in message()) {
            let mut bytes = Vec::new();
            message.encode(&mut bytes);
            prop_assert_eq!(Message::decode(&bytes.into()).unwrap(), message);
        }

        #[test]
        fn no_bytes_make_the_decoder_panic(bytes in any::<Vec<u8>>()) {
            let _ = Message::decode(&bytes.into());
        }

        #[test]
        fn a_cut_message_is_refused_or_shorter(message in message(), cut in any::<prop::sample::Index>()) {
            let mut bytes = Vec::new();
            message.encode(&mut bytes);
            let cut = cut.index(bytes.len());
            if let Ok(read) = Message::decode(&Bytes::copy_from_slice(&bytes[..cut])) {
                prop_assert!(read.body.len() < message.body.len());
            }
        }
    }
}
