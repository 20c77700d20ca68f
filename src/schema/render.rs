//! From the [`model`](super::model) to the JSON text of a self-contained schema.

use super::model::{EnumType, Field, RecordType, Type};
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::sync::Arc;

/// The JSON text of the schema `root`: every type is defined where it first
/// stands, with its full name, and referred to by name after that. A type whose
/// name stands for another content already gets the name NAME_2, and so on. The
/// same model gives the same text.
pub(super) fn render(root: &Arc<RecordType>) -> String {
    Renderer::default().record(root).to_string()
}

/// As [`render`], with every type defined anew wherever it stands, each in a
/// namespace of its own: for a comparison that doesn't follow references.
pub(super) fn render_expanded(root: &Arc<RecordType>) -> String {
    Renderer { expand: true, ..Renderer::default() }.record(root).to_string()
}

#[derive(Default)]
struct Renderer {
    expand: bool,
    defined: HashMap<String, Vec<Type>>,
    count: usize,
}

/// A type's name in the text, and whether it is to be defined there.
enum Name {
    Define(String),
    Refer(String),
}

impl Renderer {
    fn name(&mut self, name: &str, ty: Type) -> Name {
        if self.expand {
            self.count += 1;
            let last = name.rsplit_once('.').map_or(name, |(_, last)| last);
            return Name::Define(format!("expanded.n{}.{last}", self.count));
        }
        let cuts = self.defined.entry(name.to_owned()).or_default();
        let suffixed = |at: usize| if at == 0 { name.to_owned() } else { format!("{name}_{}", at + 1) };
        match cuts.iter().position(|known| *known == ty) {
            Some(at) => Name::Refer(suffixed(at)),
            None => {
                cuts.push(ty);
                Name::Define(suffixed(cuts.len() - 1))
            }
        }
    }

    fn ty(&mut self, ty: &Type) -> Value {
        match ty {
            Type::Boolean => json!("boolean"),
            Type::Int => json!("int"),
            Type::Long => json!("long"),
            Type::Double => json!("double"),
            Type::String => json!("string"),
            Type::Enum(symbols) => self.enumeration(symbols),
            Type::Array(items) => json!({"type": "array", "items": self.ty(items)}),
            Type::Optional { null_first: true, inner } => json!(["null", self.ty(inner)]),
            Type::Optional { null_first: false, inner } => json!([self.ty(inner), "null"]),
            Type::Record(record) => self.record(record),
        }
    }

    fn enumeration(&mut self, symbols: &Arc<EnumType>) -> Value {
        let name = match self.name(&symbols.name, Type::Enum(symbols.clone())) {
            Name::Define(name) => name,
            Name::Refer(name) => return Value::String(name),
        };
        let mut object = head("enum", name, &symbols.doc, &symbols.extra);
        object.insert("symbols".to_owned(), json!(symbols.symbols));
        if let Some(default) = &symbols.default {
            object.insert("default".to_owned(), json!(default));
        }
        Value::Object(object)
    }

    fn record(&mut self, record: &Arc<RecordType>) -> Value {
        let name = match self.name(&record.name, Type::Record(record.clone())) {
            Name::Define(name) => name,
            Name::Refer(name) => return Value::String(name),
        };
        let mut object = head("record", name, &record.doc, &record.extra);
        let fields = record.fields.iter().map(|field| self.field(field)).collect();
        object.insert("fields".to_owned(), Value::Array(fields));
        Value::Object(object)
    }

    fn field(&mut self, field: &Field) -> Value {
        let mut object = Map::new();
        object.insert("name".to_owned(), json!(field.name));
        object.insert("type".to_owned(), self.ty(&field.ty));
        if let Some(doc) = &field.doc {
            object.insert("doc".to_owned(), json!(doc));
        }
        if let Some(default) = &field.default {
            object.insert("default".to_owned(), default.clone());
        }
        object.extend(field.extra.clone());
        Value::Object(object)
    }
}

fn head(kind: &str, name: String, doc: &Option<String>, extra: &Map<String, Value>) -> Map<String, Value> {
    let mut object = Map::new();
    object.insert("type".to_owned(), json!(kind));
    object.insert("name".to_owned(), Value::String(name));
    if let Some(doc) = doc {
        object.insert("doc".to_owned(), json!(doc));
    }
    object.extend(extra.clone());
    object
}
