//! The schema registry, the codec, value rules and projection.
//!
//! A [`Registry`] is read from the folder `schemas/` (compiled in, and one of
//! the operator's) and checked as a whole. An [`EventSchema`] reads and writes
//! bodies in Avro's single-object encoding and cuts [`Projection`]s of itself;
//! a [`ReaderSchema`] is a recipient's. A [`Datum`] is a body that follows its
//! schema.
//!
//! Bodies are walked along the schema, where they stand: reading allocates
//! nothing by what a body claims, a fault names the field's path and never the
//! value, and a projection copies the publisher's own bytes. apache-avro parses
//! the schemas, gives their canonical form and fingerprint and compares
//! versions; in the tests it is the other side of every encoding.

mod avro;
mod codelists;
mod compatibility;
mod datum;
mod embedded;
mod encode;
mod event_schema;
mod fault;
mod json_schema;
mod model;
mod parse;
mod projection;
mod reader;
mod registry;
mod render;
mod rules;
#[cfg(test)]
mod tests;
mod wire;

pub use codelists::{CodeList, Entry};
pub use datum::Datum;
pub use event_schema::EventSchema;
pub use fault::{DataFault, DataFaultKind, SchemaFault};
pub use projection::Projection;
pub use reader::ReaderSchema;
pub use registry::Registry;
