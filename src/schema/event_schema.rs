//! One version of the schema of one event type.

use super::avro;
use super::datum::{Datum, check_body};
use super::encode::encode_record;
use super::fault::{DataFault, SchemaFault};
use super::model::{Field, RecordType};
use super::parse::subjects;
use super::projection::Projection;
use super::render::{render, render_expanded};
use super::wire::HEADER_BYTES;
use crate::event::{EventType, SchemaRef};
use std::collections::BTreeMap;
use std::sync::Arc;

/// One version of an event type's schema, ready to read, write and project.
/// Immutable: shared as `Arc`.
#[derive(Debug)]
pub struct EventSchema {
    reference: SchemaRef,
    json: String,
    header: [u8; HEADER_BYTES],
    root: Arc<RecordType>,
    subjects: BTreeMap<String, bool>,
    /// For the comparison of versions: see [`render_expanded`].
    expanded: apache_avro::Schema,
}

impl EventSchema {
    /// Builds the schema; `place` is its file, for the fault.
    pub(super) fn new(
        place: &str,
        event_type: EventType,
        version: u32,
        root: Arc<RecordType>,
    ) -> Result<EventSchema, SchemaFault> {
        let json = render(&root);
        let header = avro::header(&avro::parse(place, &json)?);
        let expanded = avro::parse(place, &render_expanded(&root))?;
        let subjects = subjects(&root).map_err(|detail| SchemaFault::new(place, detail))?;
        let reference = SchemaRef { event_type, version, projection: None };
        Ok(EventSchema { reference, json, header, root, subjects, expanded })
    }

    /// The event type.
    pub fn event_type(&self) -> &EventType {
        &self.reference.event_type
    }

    /// The version, from 1.
    pub fn version(&self) -> u32 {
        self.reference.version
    }

    /// What `dataschema` says of an event with this schema.
    pub fn reference(&self) -> &SchemaRef {
        &self.reference
    }

    /// The CRC-64-AVRO of the schema's Parsing Canonical Form, little-endian as
    /// it is on the wire.
    pub fn fingerprint(&self) -> [u8; 8] {
        let mut fingerprint = [0; 8];
        fingerprint.copy_from_slice(&self.header[2..]);
        fingerprint
    }

    /// The JSON text of the schema: self-contained, one line, with docs and
    /// properties.
    pub fn json(&self) -> &str {
        &self.json
    }

    /// What the schema says it is for, in French and English.
    pub fn doc(&self) -> &str {
        self.root.doc.as_deref().unwrap_or_default()
    }

    /// Whether a subject of the kind `kind` is a person's. A kind that the
    /// schema doesn't name is taken for one.
    pub fn is_personal(&self, kind: &str) -> bool {
        self.subjects.get(kind).copied().unwrap_or(true)
    }

    /// The kinds of subject that the schema names, each with whether it is
    /// personal.
    pub fn subject_kinds(&self) -> impl Iterator<Item = (&str, bool)> {
        self.subjects.iter().map(|(kind, personal)| (kind.as_str(), *personal))
    }

    /// Reads a whole body in single-object encoding: the header, the datum, no
    /// byte more, every value rule kept.
    ///
    /// Fails with the first field that is wrong. Allocates the body's size.
    pub fn decode(&self, body: &[u8]) -> Result<Datum, DataFault> {
        Datum::read(&self.root, &self.header, body)
    }

    /// Checks a datum that was read elsewhere, by [`ReaderSchema`] for
    /// instance, against this schema and its value rules.
    ///
    /// [`ReaderSchema`]: super::ReaderSchema
    pub fn check(&self, datum: &Datum) -> Result<(), DataFault> {
        check_body(&self.root, &self.header, datum.body())
    }

    /// Writes a harmonised record as a body in single-object encoding that
    /// [`EventSchema::decode`] accepts. A field that is left out is null or its
    /// default; a key that the schema doesn't have is a fault.
    ///
    /// Fails with every field that is wrong.
    pub fn encode_json(&self, record: &serde_json::Value) -> Result<Vec<u8>, Vec<DataFault>> {
        let mut out = Vec::with_capacity(512);
        out.extend_from_slice(&self.header);
        encode_record(&self.root, record, out)
    }

    /// Every path that a grant can name, in the schema's order, a record's
    /// before those of its fields.
    pub fn field_paths(&self) -> Vec<String> {
        self.root.paths()
    }

    /// The paths of the fields that hold a value and no further fields, in the
    /// schema's order.
    pub fn value_paths(&self) -> Vec<String> {
        self.root.leaves()
    }

    /// What the property `property` (`pii`, `format`, …) of the field at `path`
    /// says.
    pub fn property(&self, path: &str, property: &str) -> Option<&str> {
        self.field(path)?.extra.get(property)?.as_str()
    }

    /// What the field at `path` is, in French and English: `Nom de naissance. /
    /// Birth name.`
    pub fn doc_of(&self, path: &str) -> Option<&str> {
        self.field(path)?.doc.as_deref()
    }

    /// What the field at `path` tells about a person: its own `pii`, or that of
    /// the nearest record that it is in; none where neither is marked.
    pub fn pii_of(&self, path: &str) -> Option<&str> {
        let ends = path.match_indices('.').map(|(at, _)| at).chain([path.len()]);
        ends.filter_map(|end| self.property(&path[..end], "pii")).next_back()
    }

    fn field(&self, path: &str) -> Option<&Field> {
        let mut record = &self.root;
        let mut names = path.split('.').peekable();
        while let Some(name) = names.next() {
            let field = record.fields.iter().find(|f| f.name == name)?;
            if names.peek().is_none() {
                return Some(field);
            }
            record = field.ty.record()?;
        }
        None
    }

    /// What a grant of `fields` leaves: paths (WIRE.md section 5), or `*` alone
    /// for everything.
    ///
    /// Fails where a path leads to no field, and names those near it.
    pub fn project(&self, fields: &[String]) -> Result<Arc<Projection>, SchemaFault> {
        if fields == ["*"] {
            let whole = Projection::whole(&self.reference, &self.json, &self.root, self.header);
            return Ok(Arc::new(whole));
        }
        Projection::cut(&self.reference, &self.root, self.header, fields).map(Arc::new)
    }

    pub(super) fn root(&self) -> &Arc<RecordType> {
        &self.root
    }

    pub(super) fn expanded(&self) -> &apache_avro::Schema {
        &self.expanded
    }
}
