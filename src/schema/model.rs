//! A schema as the codec walks it: the part of Avro that a schema may use, each
//! name resolved, with the rules on values.

use super::rules::Rules;
use serde_json::{Map, Value};
use std::sync::Arc;

/// The type of a field. Every one takes at least one byte on the wire, so that
/// a count of items can't be larger than the bytes that hold them.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Type {
    Boolean,
    Int,
    Long,
    Double,
    String,
    Enum(Arc<EnumType>),
    Array(Box<Type>),
    /// A union of null and one other type.
    Optional {
        null_first: bool,
        inner: Box<Type>,
    },
    Record(Arc<RecordType>),
}

/// An enumeration.
#[derive(Debug, PartialEq)]
pub(super) struct EnumType {
    pub(super) name: String,
    pub(super) doc: Option<String>,
    pub(super) symbols: Vec<String>,
    pub(super) default: Option<String>,
    /// Every other property, in the order of the file.
    pub(super) extra: Map<String, Value>,
}

/// A record: at least one field.
#[derive(Debug, PartialEq)]
pub(super) struct RecordType {
    pub(super) name: String,
    pub(super) doc: Option<String>,
    /// Every other property, in the order of the file.
    pub(super) extra: Map<String, Value>,
    pub(super) fields: Vec<Field>,
}

/// A field of a record.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) doc: Option<String>,
    pub(super) default: Option<Value>,
    /// What stands on the wire for a field that a record in JSON leaves out;
    /// none where the field is required.
    pub(super) absent: Option<Vec<u8>>,
    /// Every other property (`format`, `pii`, …), in the order of the file.
    pub(super) extra: Map<String, Value>,
    pub(super) rules: Rules,
    pub(super) ty: Type,
}

impl Type {
    /// The type inside arrays and unions: paths pass through those unnamed.
    pub(super) fn innermost(&self) -> &Type {
        match self {
            Type::Array(inner) | Type::Optional { inner, .. } => inner.innermost(),
            other => other,
        }
    }

    /// The record inside arrays and unions, if it is one.
    pub(super) fn record(&self) -> Option<&Arc<RecordType>> {
        match self.innermost() {
            Type::Record(record) => Some(record),
            _ => None,
        }
    }

    /// How many fields it has, each counted as often as a path leads to it.
    pub(super) fn weight(&self) -> usize {
        self.record().map_or(0, |record| record.weight())
    }
}

impl RecordType {
    /// How many fields it has, each counted as often as a path leads to it.
    pub(super) fn weight(&self) -> usize {
        self.fields.iter().fold(0, |sum: usize, f| sum.saturating_add(f.ty.weight().saturating_add(1)))
    }

    /// Every path, a record's before those of its fields.
    pub(super) fn paths(&self) -> Vec<String> {
        let mut paths = Vec::new();
        self.collect("", &mut paths, &|_| true);
        paths
    }

    /// The paths of the fields that hold a value and no further fields.
    pub(super) fn leaves(&self) -> Vec<String> {
        let mut paths = Vec::new();
        self.collect("", &mut paths, &|field| field.ty.record().is_none());
        paths
    }

    fn collect(&self, prefix: &str, paths: &mut Vec<String>, wanted: &dyn Fn(&Field) -> bool) {
        for field in &self.fields {
            let path = join(prefix, &field.name);
            if wanted(field) {
                paths.push(path.clone());
            }
            if let Some(record) = field.ty.record() {
                record.collect(&path, paths, wanted);
            }
        }
    }
}

/// `prefix.name`, or `name` where there is no prefix.
pub(super) fn join(prefix: &str, name: &str) -> String {
    match prefix {
        "" => name.to_owned(),
        prefix => format!("{prefix}.{name}"),
    }
}
