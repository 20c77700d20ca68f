//! A message to AMQP properties and headers, and back.

use crate::bus::BusFault;
use crate::event::{HeaderValue, Message, header_name};
use lapin::BasicProperties;
use lapin::types::generation::gen_value;
use lapin::types::parsing::parse_value;
use lapin::types::{AMQPValue, ByteArray, FieldTable, LongString, ShortString};

/// A frame of 128 KiB is what RabbitMQ takes unless set otherwise, and a header
/// can't be split into several. What is left is for what AMQP adds.
const HEADER_FRAME: usize = 128 * 1024 - 1024;

/// A short string, or the fault that says which `field` is too long for one.
pub(super) fn short(field: &str, text: &str) -> Result<ShortString, BusFault> {
    ShortString::try_new(text)
        .map_err(|_| BusFault::Unpublishable(format!("its {field} is longer than AMQP's 255 bytes")))
}

/// The AMQP properties of `message`. Texts become long strings, the only kind
/// of string that every client can write and read as a header.
pub(super) fn properties(message: &Message) -> Result<BasicProperties, BusFault> {
    let fields = [&message.content_type, &message.message_id, &message.kind, &message.app_id];
    let fields: usize = fields.iter().map(|field| field.as_ref().map_or(0, String::len)).sum();
    if message.headers_size() + fields > HEADER_FRAME {
        return Err(BusFault::Unpublishable("its headers don't fit in an AMQP frame of 128 KiB".to_owned()));
    }
    let mut properties = BasicProperties::default();
    if let Some(text) = &message.content_type {
        properties = properties.with_content_type(short("content_type", text)?);
    }
    if let Some(mode) = message.delivery_mode {
        properties = properties.with_delivery_mode(mode);
    }
    if let Some(text) = &message.message_id {
        properties = properties.with_message_id(short("message_id", text)?);
    }
    if let Some(text) = &message.kind {
        properties = properties.with_type(short("type", text)?);
    }
    if let Some(text) = &message.app_id {
        properties = properties.with_app_id(short("app_id", text)?);
    }
    if let Some(text) = &message.user_id {
        properties = properties.with_user_id(short("user_id", text)?);
    }
    if !message.headers.is_empty() {
        let mut table = FieldTable::default();
        for (name, value) in &message.headers {
            table.insert(short("headers have a name that", name)?, to_value(value));
        }
        properties = properties.with_headers(table);
    }
    Ok(properties)
}

/// The message that `properties` and `body` make. The headers are in the order
/// of their names; AMQP clients and brokers don't keep another.
pub(super) fn message(properties: &BasicProperties, body: Vec<u8>) -> Message {
    let text = |field: &Option<ShortString>| field.as_ref().map(|text| text.as_str().to_owned());
    let headers = properties.headers().iter().flatten();
    Message {
        content_type: text(properties.content_type()),
        delivery_mode: *properties.delivery_mode(),
        message_id: text(properties.message_id()),
        kind: text(properties.kind()),
        app_id: text(properties.app_id()),
        user_id: text(properties.user_id()),
        headers: headers.map(|(name, value)| (header_name(name.as_str()), from_value(value))).collect(),
        body: body.into(),
    }
}

fn to_value(value: &HeaderValue) -> AMQPValue {
    match value {
        HeaderValue::Text(text) => AMQPValue::LongString(LongString::from(text.as_str())),
        HeaderValue::Bytes(bytes) => AMQPValue::ByteArray(ByteArray::from(bytes.as_slice())),
        HeaderValue::Integer(number) => AMQPValue::LongLongInt(*number),
        HeaderValue::Boolean(yes) => AMQPValue::Boolean(*yes),
        HeaderValue::Float(number) => AMQPValue::Double(*number),
        HeaderValue::Other(encoded) => match parse_value(encoded.as_slice()) {
            Ok(([], value)) => value,
            // It didn't come from AMQP.
            _ => AMQPValue::ByteArray(ByteArray::from(encoded.as_slice())),
        },
    }
}

fn from_value(value: &AMQPValue) -> HeaderValue {
    match value {
        AMQPValue::LongString(text) => match std::str::from_utf8(text.as_bytes()) {
            Ok(text) => HeaderValue::Text(text.to_owned()),
            Err(_) => HeaderValue::Bytes(text.as_bytes().to_vec()),
        },
        AMQPValue::ShortString(text) => HeaderValue::Text(text.as_str().to_owned()),
        AMQPValue::ByteArray(bytes) => HeaderValue::Bytes(bytes.as_slice().to_vec()),
        AMQPValue::Boolean(yes) => HeaderValue::Boolean(*yes),
        AMQPValue::ShortShortInt(number) => HeaderValue::Integer((*number).into()),
        AMQPValue::ShortShortUInt(number) => HeaderValue::Integer((*number).into()),
        AMQPValue::ShortInt(number) => HeaderValue::Integer((*number).into()),
        AMQPValue::ShortUInt(number) => HeaderValue::Integer((*number).into()),
        AMQPValue::LongInt(number) => HeaderValue::Integer((*number).into()),
        AMQPValue::LongUInt(number) => HeaderValue::Integer((*number).into()),
        AMQPValue::LongLongInt(number) => HeaderValue::Integer(*number),
        AMQPValue::Timestamp(seconds) if i64::try_from(*seconds).is_ok() => {
            HeaderValue::Integer(*seconds as i64)
        }
        AMQPValue::Float(number) => HeaderValue::Float((*number).into()),
        AMQPValue::Double(number) => HeaderValue::Float(*number),
        other => HeaderValue::Other(encoded(other)),
    }
}

/// The AMQP encoding of a value: its type, then itself.
fn encoded(value: &AMQPValue) -> Vec<u8> {
    // Writing to a vector doesn't fail; a value that was read fits its lengths.
    let written = gen_value(value)(Vec::new().into());
    written.map(|written| written.into_inner().0).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use lapin::types::{DecimalValue, FieldArray};
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    /// A name or a text of AMQP: at most 255 bytes.
    fn name() -> impl Strategy<Value = String> {
        any::<String>().prop_filter("short", |text| text.len() <= 255)
    }

    /// What has no form of its own in a message.
    fn other() -> impl Strategy<Value = AMQPValue> {
        let leaf = prop_oneof![
            Just(AMQPValue::Void),
            any::<(u8, u32)>()
                .prop_map(|(scale, value)| AMQPValue::DecimalValue(DecimalValue { scale, value })),
            ((i64::MAX as u64 + 1)..).prop_map(AMQPValue::Timestamp),
        ];
        leaf.prop_recursive(3, 12, 4, |inner| {
            let within = prop_oneof![
                inner,
                any::<i16>().prop_map(AMQPValue::ShortInt),
                any::<Vec<u8>>().prop_map(|bytes| AMQPValue::LongString(bytes.into())),
            ];
            prop_oneof![
                prop::collection::vec(within.clone(), 0..4)
                    .prop_map(|values| AMQPValue::FieldArray(FieldArray::from(values))),
                prop::collection::btree_map(name(), within, 0..4).prop_map(|table| {
                    let table: BTreeMap<_, _> =
                        table.into_iter().map(|(name, value)| (ShortString::from(name), value)).collect();
                    AMQPValue::FieldTable(table.into())
                }),
            ]
        })
    }

    fn value() -> impl Strategy<Value = HeaderValue> {
        prop_oneof![
            any::<String>().prop_map(HeaderValue::Text),
            any::<Vec<u8>>().prop_map(HeaderValue::Bytes),
            any::<i64>().prop_map(HeaderValue::Integer),
            any::<bool>().prop_map(HeaderValue::Boolean),
            (-1e9..1e9f64).prop_map(HeaderValue::Float),
            other().prop_map(|value| HeaderValue::Other(encoded(&value))),
        ]
    }

    prop_compose! {
        fn any_message()(
            texts in prop::collection::vec(prop::option::of(name()), 5),
            mode in prop::option::of(any::<u8>()),
            headers in prop::collection::btree_map(name(), value(), 0..6),
            body in any::<Vec<u8>>(),
        ) -> Message {
            let mut texts = texts.into_iter();
            let mut next = || texts.next().flatten();
            Message {
                content_type: next(), message_id: next(), kind: next(), app_id: next(), user_id: next(),
                delivery_mode: mode, headers: headers.into_iter().map(|(name, value): (String, _)| (name.into(), value)).collect(), body: body.into(),
            }
        }
    }

    proptest! {
        #[test]
        fn a_message_comes_out_of_amqp_as_it_went_in(sent in any_message()) {
            let properties = properties(&sent).unwrap();
            prop_assert_eq!(message(&properties, sent.body.to_vec()), sent);
        }
    }

    #[test]
    fn a_string_that_isnt_utf_8_is_bytes_and_other_numbers_are_integers() {
        for (value, expected) in [
            (AMQPValue::LongString(vec![0xFF, b'a'].into()), HeaderValue::Bytes(vec![0xFF, b'a'])),
            (AMQPValue::LongString("é".into()), HeaderValue::Text("é".to_owned())),
            (AMQPValue::ShortShortInt(-3), HeaderValue::Integer(-3)),
            (AMQPValue::LongUInt(u32::MAX), HeaderValue::Integer(u32::MAX.into())),
            (AMQPValue::Timestamp(7), HeaderValue::Integer(7)),
            (AMQPValue::Float(0.5), HeaderValue::Float(0.5)),
            (AMQPValue::Void, HeaderValue::Other(vec![b'V'])),
        ] {
            assert_eq!(from_value(&value), expected, "{value:?}");
        }
    }

    #[test]
    fn what_amqp_cant_carry_is_named() {
        let long = "x".repeat(256);
        let with = |message: Message| properties(&message).unwrap_err().to_string();
        let kind = with(Message { kind: Some(long.clone()), ..Message::default() });
        assert!(kind.contains("its type is longer"), "{kind}");
        let header =
            with(Message { headers: vec![(long.into(), HeaderValue::Integer(1))], ..Message::default() });
        assert!(header.contains("headers"), "{header}");
        let large = HeaderValue::Bytes(vec![0; 131_000]);
        let frame = with(Message { headers: vec![("large".into(), large)], ..Message::default() });
        assert!(frame.contains("128 KiB"), "{frame}");
    }
}
