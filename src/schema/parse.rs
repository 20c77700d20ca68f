//! From the JSON of a schema to the [`model`](super::model).
//!
//! A schema may use a part of Avro, chosen so that every datum has one form in
//! JSON, every field can be granted alone, and no bytes can claim more than
//! they hold: boolean, int, long, double, string, enumerations, records, arrays,
//! and unions of null with one other type. `schemas/README.md` says what is refused and why.

use super::codelists::CodeList;
use super::encode;
use super::fault::SchemaFault;
use super::model::{EnumType, Field, RecordType, Type, join};
use super::rules::{Format, Rules};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// What a field about a person may be, in its property `pii`.
const PII: [&str; 4] = ["identity", "contact", "employment", "education"];
/// The deepest nesting of arrays, unions and records.
const MAX_DEPTH: usize = 32;
/// The most fields, each counted as often as a path leads to it.
const MAX_FIELDS: usize = 2_000;

type Parsed<T> = Result<T, SchemaFault>;

/// What a schema may refer to.
pub(super) struct Sources<'a> {
    /// The shared types, by full name: the file and its JSON.
    pub(super) common: &'a BTreeMap<String, (String, Value)>,
    /// The code lists, by name.
    pub(super) lists: &'a BTreeMap<String, Arc<CodeList>>,
}

/// Reads the schema of an event from the file `place`, whole and strictly: its
/// root must be a record called `name`.
pub(super) fn parse_schema(
    place: &str,
    name: &str,
    json: &Value,
    sources: Sources<'_>,
) -> Parsed<Arc<RecordType>> {
    let mut parser = Parser::new(place, Some(sources));
    let root = match parser.parse(json, "", 0)? {
        Type::Record(root) => root,
        _ => return parser.fault("expected a record"),
    };
    if root.name != name {
        return parser.fault(format!("the record must be called {name}, as the folder is"));
    }
    subjects(&root).map_err(|detail| SchemaFault::new(place, detail))?;
    Ok(root)
}

/// Reads a shared type from the file `place`.
pub(super) fn parse_common(place: &str, name: &str, json: &Value, sources: Sources<'_>) -> Parsed<()> {
    let mut parser = Parser::new(place, Some(sources));
    let found = match parser.parse(json, "", 0)? {
        Type::Record(record) => record.name.clone(),
        Type::Enum(symbols) => symbols.name.clone(),
        _ => return parser.fault("expected a record or an enum"),
    };
    if found != name {
        return parser.fault(format!("the type must be called {name}, as the file is"));
    }
    Ok(())
}

/// Reads a schema as a recipient gets it: of the same form, without the rules,
/// and with properties that this version may not know.
pub(super) fn parse_received(place: &str, json: &Value) -> Parsed<Arc<RecordType>> {
    let mut parser = Parser::new(place, None);
    match parser.parse(json, "", 0)? {
        Type::Record(root) => Ok(root),
        _ => parser.fault("expected a record"),
    }
}

/// Which kinds of subject the events of `root` have, and whether each is
/// personal: the property `subjects`.
pub(super) fn subjects(root: &RecordType) -> Result<BTreeMap<String, bool>, String> {
    const FORM: &str = "it needs the property `subjects`, an object such as {\"person\": {\"personal\": true}}; \
                        {} where its events have no subject";
    let object = root.extra.get("subjects").and_then(Value::as_object).ok_or(FORM)?;
    object
        .iter()
        .map(|(kind, says)| {
            let personal = says.get("personal").and_then(Value::as_bool).ok_or(FORM)?;
            match crate::event::is_subject(&format!("{kind}/x")) {
                true => Ok((kind.clone(), personal)),
                false => Err(FORM.to_owned()),
            }
        })
        .collect()
}

/// Whether `doc` says the same in French and in English, `français. / English.`
fn is_bilingual(doc: &str) -> bool {
    doc.split_once(" / ").is_some_and(|(french, english)| french.trim().len() > 2 && english.trim().len() > 2)
}

struct Parser<'a> {
    place: &'a str,
    /// None where a recipient reads: no shared types, no rules.
    sources: Option<Sources<'a>>,
    defined: HashMap<String, Type>,
    /// The types that are being defined: a reference to one is recursive.
    open: Vec<String>,
    path: String,
}

impl<'a> Parser<'a> {
    fn new(place: &'a str, sources: Option<Sources<'a>>) -> Parser<'a> {
        Parser { place, sources, defined: HashMap::new(), open: Vec::new(), path: String::new() }
    }

    fn fault<T>(&self, detail: impl Into<String>) -> Parsed<T> {
        Err(SchemaFault { place: self.place.to_owned(), field: self.path.clone(), detail: detail.into() })
    }

    fn strict(&self) -> bool {
        self.sources.is_some()
    }

    fn parse(&mut self, json: &Value, namespace: &str, depth: usize) -> Parsed<Type> {
        if depth > MAX_DEPTH {
            return self.fault(format!("it is nested more than {MAX_DEPTH} deep"));
        }
        match json {
            Value::String(name) => self.named(name, namespace, depth),
            Value::Array(branches) => self.union(branches, namespace, depth),
            Value::Object(object) => self.complex(object, namespace, depth),
            _ => self.fault("a type is a text, an object, or an array of types"),
        }
    }

    fn named(&mut self, name: &str, namespace: &str, depth: usize) -> Parsed<Type> {
        match name {
            "boolean" => return Ok(Type::Boolean),
            "int" => return Ok(Type::Int),
            "long" => return Ok(Type::Long),
            "double" => return Ok(Type::Double),
            "string" => return Ok(Type::String),
            "null" => return self.fault("null stands only in a union with another type"),
            "float" => return self.fault("a float isn't read alike everywhere; write double"),
            "bytes" | "fixed" => {
                return self.fault("bytes have no one form in JSON; write a string with a format");
            }
            "map" => {
                return self.fault(
                    "the keys of a map can't be granted one by one; write an array of records with a key",
                );
            }
            _ => {}
        }
        let name = qualified(name, namespace);
        if self.open.contains(&name) {
            return self.fault(format!("the type {name} contains itself"));
        }
        if let Some(known) = self.defined.get(&name) {
            return Ok(known.clone());
        }
        let shared = self.sources.as_ref().and_then(|s| s.common.get(&name));
        match shared {
            Some((_, json)) => self.parse(json, "", depth + 1),
            None => self.fault(format!("there is no type {name}")),
        }
    }

    fn union(&mut self, branches: &[Value], namespace: &str, depth: usize) -> Parsed<Type> {
        const FORM: &str = "a union is of null and one other type, such as [\"null\", \"string\"]";
        let is_null = |json: &Value| json.as_str() == Some("null");
        let (null_first, other) = match branches {
            [a, b] if is_null(a) && !is_null(b) => (true, b),
            [a, b] if is_null(b) && !is_null(a) => (false, a),
            _ => return self.fault(FORM),
        };
        match self.parse(other, namespace, depth + 1)? {
            Type::Optional { .. } => self.fault(FORM),
            inner => Ok(Type::Optional { null_first, inner: Box::new(inner) }),
        }
    }

    fn complex(&mut self, object: &Map<String, Value>, namespace: &str, depth: usize) -> Parsed<Type> {
        let Some(kind) = object.get("type") else { return self.fault("it needs a `type`") };
        match (kind.as_str(), object.contains_key("logicalType")) {
            (_, true) => self.fault(
                "logical types aren't used, because libraries don't agree on their canonical form, and so on \
                 the fingerprint; write a string with the format date or date-time",
            ),
            (Some("record"), false) => self.record(object, namespace, depth),
            (Some("enum"), false) => self.enumeration(object, namespace),
            (Some("array"), false) => {
                let Some(items) = object.get("items") else { return self.fault("an array needs `items`") };
                let items = self.parse(items, namespace, depth + 1)?;
                self.only(object, &["type", "items"], Type::Array(Box::new(items)))
            }
            (_, false) => {
                let ty = self.parse(kind, namespace, depth + 1)?;
                self.only(object, &["type"], ty)
            }
        }
    }

    /// `ty`, unless `object` has properties that would do nothing there.
    fn only(&self, object: &Map<String, Value>, keys: &[&str], ty: Type) -> Parsed<Type> {
        match object.keys().find(|key| !keys.contains(&key.as_str())) {
            Some(key) if self.strict() => self.fault(format!(
                "the property `{key}` has no effect here; properties stand beside the field's name"
            )),
            _ => Ok(ty),
        }
    }

    fn begin(&mut self, object: &Map<String, Value>, namespace: &str) -> Parsed<String> {
        let Some(name) = object.get("name").and_then(Value::as_str) else {
            return self.fault("a record or an enum needs a `name`");
        };
        let name = qualified(name, object.get("namespace").and_then(Value::as_str).unwrap_or(namespace));
        if !name.split('.').all(is_identifier) || !name.contains('.') {
            return self.fault("a type's name has a namespace, such as nc.person.Person");
        }
        // Projections name the second cut of a type NAME_2.
        let suffixed = name.rsplit_once('_').is_some_and(|(_, n)| n.bytes().all(|b| b.is_ascii_digit()));
        if suffixed && self.strict() {
            return self.fault(format!("the name {name} ends as a projection's names do; leave _NUMBER out"));
        }
        if self.open.contains(&name) || self.defined.contains_key(&name) {
            return self.fault(format!("the type {name} is defined twice"));
        }
        Ok(name)
    }

    fn doc(&self, object: &Map<String, Value>) -> Parsed<Option<String>> {
        let doc = object.get("doc").and_then(Value::as_str);
        match doc {
            Some(doc) if is_bilingual(doc) || !self.strict() => Ok(Some(doc.to_owned())),
            None if !self.strict() => Ok(None),
            _ => self
                .fault("it needs a `doc` in French and English, such as \"Nom de naissance. / Birth name.\""),
        }
    }

    /// Every property but `known`, where only `allowed` may be there.
    fn extra(
        &self,
        object: &Map<String, Value>,
        known: &[&str],
        allowed: &[&str],
    ) -> Parsed<Map<String, Value>> {
        let mut extra = Map::new();
        for (key, value) in object.iter().filter(|(key, _)| !known.contains(&key.as_str())) {
            if self.strict() && !allowed.contains(&key.as_str()) {
                return self.fault(format!(
                    "the property `{key}` isn't known; {}",
                    match key.as_str() {
                        "aliases" => "aliases aren't supported: keep the name, or write a new version",
                        _ => "schemas/README.md lists those that are",
                    }
                ));
            }
            extra.insert(key.clone(), value.clone());
        }
        Ok(extra)
    }

    fn record(&mut self, object: &Map<String, Value>, namespace: &str, depth: usize) -> Parsed<Type> {
        let name = self.begin(object, namespace)?;
        let doc = self.doc(object)?;
        let root = self.open.is_empty();
        let allowed: &[&str] = if root { &["subjects"] } else { &[] };
        let extra = self.extra(object, &["type", "name", "namespace", "doc", "fields"], allowed)?;
        let namespace = name.rsplit_once('.').map_or("", |(namespace, _)| namespace).to_owned();
        let fields = match object.get("fields").and_then(Value::as_array) {
            Some(fields) if !fields.is_empty() => fields,
            _ => return self.fault("a record needs at least one field"),
        };
        self.open.push(name.clone());
        let mut parsed: Vec<Field> = Vec::with_capacity(fields.len());
        for json in fields {
            let field = self.field(json, &namespace, depth)?;
            if parsed.iter().any(|f| f.name == field.name) {
                return self.fault(format!("the field {} is there twice", field.name));
            }
            parsed.push(field);
        }
        self.open.pop();
        let record = Arc::new(RecordType { name: name.clone(), doc, extra, fields: parsed });
        if record.weight() > MAX_FIELDS {
            return self.fault(format!("it has more than {MAX_FIELDS} fields"));
        }
        self.defined.insert(name, Type::Record(record.clone()));
        Ok(Type::Record(record))
    }

    fn enumeration(&mut self, object: &Map<String, Value>, namespace: &str) -> Parsed<Type> {
        let name = self.begin(object, namespace)?;
        let doc = self.doc(object)?;
        let extra = self.extra(object, &["type", "name", "namespace", "doc", "symbols", "default"], &[])?;
        let symbols: Option<Vec<String>> = object
            .get("symbols")
            .and_then(Value::as_array)
            .and_then(|all| all.iter().map(|s| s.as_str().map(str::to_owned)).collect());
        let symbols = match symbols {
            Some(symbols) if !symbols.is_empty() && symbols.iter().all(|s| is_identifier(s)) => symbols,
            _ => return self.fault(format!("the enum {name} needs `symbols`, names of A-Z, a-z, 0-9 and _")),
        };
        let default = match object.get("default") {
            None => None,
            Some(Value::String(symbol)) if symbols.contains(symbol) => Some(symbol.clone()),
            Some(_) => return self.fault(format!("the default of the enum {name} isn't one of its symbols")),
        };
        let parsed = Type::Enum(Arc::new(EnumType { name: name.clone(), doc, symbols, default, extra }));
        self.defined.insert(name, parsed.clone());
        Ok(parsed)
    }

    fn field(&mut self, json: &Value, namespace: &str, depth: usize) -> Parsed<Field> {
        let Some(object) = json.as_object() else { return self.fault("a field is an object") };
        let name = match object.get("name").and_then(Value::as_str) {
            Some(name) if is_identifier(name) => name.to_owned(),
            _ => return self.fault("each field needs a `name` of A-Z, a-z, 0-9 and _"),
        };
        let path = join(&self.path, &name);
        let outer = std::mem::replace(&mut self.path, path);
        let doc = self.doc(object)?;
        let known = ["name", "type", "doc", "default"];
        let allowed = ["format", "codelist", "maxLength", "minimum", "maximum", "pii"];
        let extra = self.extra(object, &known, &allowed)?;
        let Some(ty) = object.get("type") else { return self.fault("it needs a `type`") };
        let ty = self.parse(ty, namespace, depth + 1)?;
        let rules = self.rules(&extra, &ty)?;
        let mut field =
            Field { name, doc, default: object.get("default").cloned(), absent: None, extra, rules, ty };
        field.absent = self.absent(&field)?;
        self.path = outer;
        Ok(field)
    }

    /// The bytes of a field that is left out, or none where it is required.
    fn absent(&self, field: &Field) -> Parsed<Option<Vec<u8>>> {
        let Some(default) = &field.default else {
            return Ok(match field.ty {
                Type::Optional { null_first, .. } => Some(encode::null_branch(null_first).to_vec()),
                _ => None,
            });
        };
        // Avro 1.12, "Complex Types": a union's default is of its first branch.
        let fits = match &field.ty {
            Type::Optional { null_first, .. } => default.is_null() == *null_first,
            Type::Array(_) => default.as_array().is_some_and(Vec::is_empty),
            Type::Record(_) => false,
            _ => true,
        };
        match encode::encode_default(field, default) {
            Some(bytes) if fits => Ok(Some(bytes)),
            _ => self.fault(
                "its `default` must be a value of the type (in a union, of the first branch), [] for an array; \
                 a record can't have one",
            ),
        }
    }

    fn rules(&self, extra: &Map<String, Value>, ty: &Type) -> Parsed<Rules> {
        let Some(sources) = &self.sources else { return Ok(Rules::default()) };
        let mut rules = Rules { strict: true, ..Rules::default() };
        if let Some(format) = extra.get("format") {
            rules.format = match format.as_str().and_then(Format::parse) {
                Some(format) => Some(format),
                None => {
                    return self
                        .fault(format!("its `format` isn't known; the formats are {}", Format::names()));
                }
            };
        }
        if let Some(list) = extra.get("codelist") {
            rules.codelist = match list.as_str().and_then(|name| sources.lists.get(name)) {
                Some(list) => Some(list.clone()),
                None => {
                    let names: Vec<&str> = sources.lists.keys().map(String::as_str).collect();
                    return self.fault(format!(
                        "its `codelist` isn't known; the code lists are {}",
                        names.join(", ")
                    ));
                }
            };
        }
        if let Some(max) = extra.get("maxLength") {
            rules.max_length = match max.as_u64().and_then(|n| usize::try_from(n).ok()) {
                Some(max) if max > 0 => Some(max),
                _ => return self.fault("its `maxLength` must be a whole number from 1"),
            };
        }
        for (key, rule) in [("minimum", &mut rules.minimum), ("maximum", &mut rules.maximum)] {
            if let Some(limit) = extra.get(key) {
                *rule = match limit.as_i64() {
                    Some(limit) => Some(limit),
                    None => return self.fault(format!("its `{key}` must be a whole number")),
                };
            }
        }
        if let Some(pii) = extra.get("pii")
            && !pii.as_str().is_some_and(|p| PII.contains(&p))
        {
            return self.fault(format!("its `pii` must be one of {}", PII.join(", ")));
        }
        let text_rule = rules.format.is_some() || rules.codelist.is_some() || rules.max_length.is_some();
        let number_rule = rules.minimum.is_some() || rules.maximum.is_some();
        match ty.innermost() {
            Type::String if number_rule => {
                self.fault("`minimum` and `maximum` are for int and long, and this is a string")
            }
            Type::String if !text_rule => {
                self.fault("a string needs a `format`, a `codelist` or a `maxLength`")
            }
            Type::String => Ok(rules),
            Type::Int | Type::Long if !text_rule => Ok(rules),
            _ if text_rule => self.fault("`format`, `codelist` and `maxLength` are for strings"),
            _ if number_rule => self.fault("`minimum` and `maximum` are for int and long"),
            _ => Ok(rules),
        }
    }
}

/// The full name of `name`, seen from `namespace`.
fn qualified(name: &str, namespace: &str) -> String {
    match name.contains('.') {
        true => name.to_owned(),
        false => join(namespace, name),
    }
}

fn is_identifier(text: &str) -> bool {
    let b = text.as_bytes();
    (1..=64).contains(&b.len())
        && !b[0].is_ascii_digit()
        && b.iter().all(|c| c.is_ascii_alphanumeric() || *c == b'_')
}
