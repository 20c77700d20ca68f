//! What can go wrong in a mapping, said without a value of the record.

use std::fmt;

/// Why a mapping can't be compiled, or why a record doesn't map.
///
/// Its sentence names the file, the line and the column, the field of the
/// output that was being made, and the record by its key. It holds text of the
/// mapping itself, never of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MappingFault {
    /// The mapping's name, its file as a rule.
    pub name: String,
    /// The line and the column in the program, each from 1, where known.
    pub place: Option<(u32, u32)>,
    /// The field of the output that was being made, `person.birthdate` for
    /// instance, where known.
    pub field: Option<String>,
    /// The key of the record, where the caller gave it.
    pub key: Option<String>,
    /// What went wrong.
    pub problem: MappingProblem,
}

/// What went wrong in a mapping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MappingProblem {
    /// The program isn't jq, or names something that doesn't exist.
    Syntax(String),
    /// The program fails on this record.
    Failed(String),
    /// The program ran too long, or too deep, on this record.
    TooMuch(String),
    /// What the program gave isn't JSON that can be sent on.
    Output(String),
}

impl MappingFault {
    /// The same fault of the record with this key.
    pub fn with_key(mut self, key: &str) -> MappingFault {
        self.key = Some(key.to_owned());
        self
    }
}

impl std::error::Error for MappingFault {}

impl fmt::Display for MappingFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if let Some((line, column)) = self.place {
            write!(f, ":{line}:{column}")?;
        }
        f.write_str(": ")?;
        if let Some(key) = &self.key {
            write!(f, "record {key}: ")?;
        }
        if let Some(field) = &self.field {
            write!(f, "field {field}: ")?;
        }
        match &self.problem {
            MappingProblem::Syntax(text)
            | MappingProblem::Failed(text)
            | MappingProblem::TooMuch(text)
            | MappingProblem::Output(text) => f.write_str(text),
        }
    }
}

/// Says what a run-time error of jq is about, without its values.
///
/// `text` is the error as jq says it, values and all. Shown are: a sentence of a
/// helper; a text that stands in the program itself; and of jq's own errors the
/// kind and the types. Anything else could hold a value, so only the fact is
/// said.
pub(super) fn without_values(text: &str, program: &str) -> String {
    if crate::connect::helpers::is_helper_sentence(text) {
        return text.to_owned();
    }
    if let Some(rest) = text.strip_prefix("cannot index ") {
        let key = rest.rfind(" with ").map(|at| &rest[at + 6..]);
        let with = match key {
            Some(key) if stands_in(program, key) => format!("the key {key}"),
            Some(key) => a(kind(key)),
            None => "that".to_owned(),
        };
        return format!(
            "{} can't be indexed with {with}; if the field can be of another form, test for it first (`.field?`, \
             `if type == \"object\" then … end`)",
            a(kind(rest))
        );
    }
    if let Some(rest) = text.strip_prefix("cannot use ") {
        const WANTED: [&str; 6] = [
            "integer",
            "number",
            "string",
            "array",
            "iterable (array or object)",
            "rangeable (array or string)",
        ];
        let wanted = WANTED.iter().find(|wanted| rest.ends_with(&format!(" as {wanted}")));
        return format!(
            "{} can't be used as {}",
            a(kind(rest)),
            wanted.map_or_else(|| "what is asked here".to_owned(), |wanted| a(wanted))
        );
    }
    if let Some(rest) = text.strip_prefix("cannot calculate ") {
        return format!(
            "arithmetic that {} has no part in; convert it first (tonumber, tostring)",
            a(kind(rest))
        );
    }
    if text.starts_with("cannot parse ") {
        return "the text can't be parsed as what is asked here".to_owned();
    }
    if text.starts_with("invalid path expression") {
        return "only a path such as .a.b can be assigned to or deleted".to_owned();
    }
    // A literal of the program, in an error("…") of its own: it is no record's.
    if text.chars().count() >= 3 && program.contains(&format!("\"{text}\"")) {
        return text.to_owned();
    }
    "the program raised an error; its text isn't shown, since it can hold the record's data (write it as one literal, \
     error(\"…\"), to have it shown)"
        .to_owned()
}

/// Whether `key`, a quoted text, is one that the program names as a key.
fn stands_in(program: &str, key: &str) -> bool {
    let Some(bare) = key.strip_prefix('"').and_then(|k| k.strip_suffix('"')) else { return false };
    !bare.is_empty() && (program.contains(key) || program.contains(&format!(".{bare}")))
}

/// The type of the JSON value that `text` begins with.
fn kind(text: &str) -> &'static str {
    match text.as_bytes().first() {
        Some(b'"') => "string",
        Some(b'b') => "byte string",
        Some(b'{') => "object",
        Some(b'[') => "array",
        Some(b't' | b'f') => "boolean",
        Some(b'n') => "null",
        Some(b'-' | b'0'..=b'9') => "number",
        _ => "value",
    }
}

fn a(kind: &str) -> String {
    match kind.as_bytes().first() {
        _ if kind == "null" => "null".to_owned(),
        Some(b'a' | b'i' | b'o') => format!("an {kind}"),
        _ => format!("a {kind}"),
    }
}
