//! Events: the CloudEvents attributes, the message that carries them, and its
//! bytes.
//!
//! A [`Message`] is what a bus carries: AMQP properties, headers and a body,
//! none of it trusted. [`Attributes`] are the CloudEvents context attributes
//! read from its headers; [`Context`] is what they say once their grammar
//! (WIRE.md section 0) was checked.

mod attributes;
mod grammar;
mod message;
mod names;

pub use attributes::{
    Attributes, Context, DELIVERY_ATTRIBUTES, DeliveryContext, Envelope, HEADER_PREFIX, Origin, SchemaRef,
};
pub use grammar::{EventType, GrammarFault, MemberName, is_event_id, is_local_id, is_subject, parse_time};
pub use message::{CodecFault, HeaderValue, Message};
pub use names::{Name, header_name};
