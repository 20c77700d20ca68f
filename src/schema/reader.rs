//! A schema as a recipient got it.

use super::avro;
use super::datum::Datum;
use super::fault::{DataFault, SchemaFault};
use super::model::RecordType;
use super::parse::parse_received;
use super::projection::hex32;
use super::wire::HEADER_BYTES;
use crate::event::SchemaRef;
use std::sync::Arc;

/// A schema that the hub published, ready to read deliveries.
#[derive(Debug)]
pub struct ReaderSchema {
    reference: SchemaRef,
    header: [u8; HEADER_BYTES],
    root: Arc<RecordType>,
}

impl ReaderSchema {
    /// Reads the JSON text `json` of the schema that `reference` names. Where
    /// it is a projection, the text must be the one that the reference was made
    /// from (WIRE.md section 3).
    ///
    /// Value rules aren't read: the hub has checked them, by code lists that
    /// may be newer than the recipient's.
    pub fn parse(json: &str, reference: &SchemaRef) -> Result<ReaderSchema, SchemaFault> {
        let place = reference.to_string();
        if reference.projection.as_deref().is_some_and(|hex| hex != hex32(json)) {
            return Err(SchemaFault::new(place, "the text isn't the one that the reference was made from"));
        }
        let value: serde_json::Value = serde_json::from_str(json)
            .map_err(|e| SchemaFault::new(&place, format!("it isn't JSON: {e}")))?;
        let root = parse_received(&place, &value)?;
        if root.name != reference.event_type.as_str() {
            return Err(SchemaFault::new(place, "the schema is of another type than its reference"));
        }
        let header = avro::header(&avro::parse(&place, json)?);
        Ok(ReaderSchema { reference: reference.clone(), header, root })
    }

    /// What `dataschema` says of an event with this schema.
    pub fn reference(&self) -> &SchemaRef {
        &self.reference
    }

    /// Reads a whole body in single-object encoding, no byte more.
    pub fn decode(&self, body: &[u8]) -> Result<Datum, DataFault> {
        Datum::read(&self.root, &self.header, body)
    }
}
