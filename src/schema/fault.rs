//! What can be wrong with a schema, and with data.

use std::fmt;

/// A schema, a code list or a grant that can't be used: where, and what to do
/// about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchemaFault {
    /// The file, or the reference of the schema.
    pub place: String,
    /// The path of the field, empty where the fault isn't in one field.
    pub field: String,
    /// A sentence that says what is wrong and what is expected.
    pub detail: String,
}

impl SchemaFault {
    pub(super) fn new(place: impl Into<String>, detail: impl Into<String>) -> SchemaFault {
        SchemaFault { place: place.into(), field: String::new(), detail: detail.into() }
    }
}

impl fmt::Display for SchemaFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.field.as_str() {
            "" => write!(f, "{}: {}", self.place, self.detail),
            field => write!(f, "{}: the field {field}: {}", self.place, self.detail),
        }
    }
}

impl std::error::Error for SchemaFault {}

/// Which check a body or a record failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataFaultKind {
    /// It doesn't begin as Avro's single-object encoding does.
    NotSingleObject,
    /// It was written with another schema.
    WrongFingerprint,
    /// It doesn't follow the schema, or breaks a value rule.
    Data,
}

/// What is wrong with one field of a body or a record. It names the field and
/// never repeats the value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataFault {
    /// Which check failed.
    pub kind: DataFaultKind,
    /// The path of the field, `other_names[0].kind` for instance; empty where
    /// the fault is in the body as a whole.
    pub field: String,
    /// What was expected.
    pub detail: String,
}

impl DataFault {
    pub(super) fn data(field: String, detail: impl Into<String>) -> DataFault {
        DataFault { kind: DataFaultKind::Data, field, detail: detail.into() }
    }
}

impl fmt::Display for DataFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.field.as_str() {
            "" => write!(f, "the body: {}", self.detail),
            field => write!(f, "the field {field}: {}", self.detail),
        }
    }
}

impl std::error::Error for DataFault {}
