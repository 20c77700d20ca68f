//! A schema as JSON Schema (2020-12, as OpenAPI 3.1 has it): what
//! [`EventSchema::encode_json`] takes, for who writes JSON and doesn't know Avro.

use super::event_schema::EventSchema;
use super::model::{EnumType, Field, RecordType, Type};
use super::rules::{Format, Rules};
use serde_json::{Map, Value, json};

/// A day that exists: every year from 1 on, its leap years too.
const YEAR: &str = "([1-9][0-9]{3}|0[1-9][0-9]{2}|00[1-9][0-9]|000[1-9])";
const MONTH: &str = "(0[1-9]|1[0-2])";
const DAY: &str = "((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)|\
                   02-(0[1-9]|1[0-9]|2[0-8]))";
const LEAP: &str = "([0-9]{2}(0[48]|[2468][048]|[13579][26])|(0[48]|[2468][048]|[13579][26])00)-02-29";

impl EventSchema {
    /// The JSON Schema of a harmonised record of this event.
    ///
    /// Each named type goes into `definitions` under its name, and is referred
    /// to by `refs` and the name: `#/components/schemas/` for OpenAPI. The
    /// descriptions are the schema's own, in French and English.
    pub fn json_schema(&self, refs: &str, definitions: &mut Map<String, Value>) -> Value {
        Writer { refs, definitions }.record(self.root())
    }
}

struct Writer<'a> {
    refs: &'a str,
    definitions: &'a mut Map<String, Value>,
}

impl Writer<'_> {
    fn reference(&self, name: &str) -> Value {
        json!({ "$ref": format!("{}{name}", self.refs) })
    }

    fn record(&mut self, record: &RecordType) -> Value {
        if !self.definitions.contains_key(&record.name) {
            let mut properties = Map::new();
            for field in &record.fields {
                let schema = self.field(field);
                properties.insert(field.name.clone(), schema);
            }
            let required = record.fields.iter().filter(|field| field.absent.is_none());
            let required: Vec<&str> = required.map(|field| field.name.as_str()).collect();
            let mut schema = json!({
                "type": "object",
                "properties": properties,
                "additionalProperties": false,
            });
            if !required.is_empty() {
                schema["required"] = json!(required);
            }
            describe(&mut schema, record.doc.as_deref());
            self.definitions.insert(record.name.clone(), schema);
        }
        self.reference(&record.name)
    }

    fn enumeration(&mut self, symbols: &EnumType) -> Value {
        if !self.definitions.contains_key(&symbols.name) {
            let mut schema = json!({ "type": "string", "enum": symbols.symbols });
            describe(&mut schema, symbols.doc.as_deref());
            self.definitions.insert(symbols.name.clone(), schema);
        }
        self.reference(&symbols.name)
    }

    fn field(&mut self, field: &Field) -> Value {
        let mut schema = self.ty(&field.ty, &field.rules);
        if let Some(default) = &field.default {
            schema["default"] = default.clone();
        }
        describe(&mut schema, field.doc.as_deref());
        schema
    }

    fn ty(&mut self, ty: &Type, rules: &Rules) -> Value {
        match ty {
            Type::Boolean => json!({ "type": "boolean" }),
            Type::Int => whole(rules, "int32", i32::MIN.into(), i32::MAX.into()),
            Type::Long => whole(rules, "int64", i64::MIN, i64::MAX),
            Type::Double => json!({ "type": "number", "format": "double" }),
            Type::String => text(rules),
            Type::Enum(symbols) => self.enumeration(symbols),
            Type::Array(items) => json!({ "type": "array", "items": self.ty(items, rules) }),
            Type::Optional { inner, .. } => json!({ "anyOf": [self.ty(inner, rules), { "type": "null" }] }),
            Type::Record(record) => self.record(record),
        }
    }
}

fn describe(schema: &mut Value, doc: Option<&str>) {
    if let Some(doc) = doc {
        schema["description"] = json!(doc);
    }
}

fn whole(rules: &Rules, format: &str, least: i64, most: i64) -> Value {
    json!({
        "type": "integer",
        "format": format,
        "minimum": rules.minimum.unwrap_or(least),
        "maximum": rules.maximum.unwrap_or(most),
    })
}

fn text(rules: &Rules) -> Value {
    let mut schema = json!({ "type": "string", "minLength": 1 });
    if let Some(max) = rules.max_length {
        schema["maxLength"] = json!(max);
    }
    if let Some(list) = &rules.codelist {
        schema["enum"] = list.entries().iter().map(|entry| entry.code.as_str()).collect();
    }
    if let Some(format) = rules.format {
        format.describe(&mut schema);
    }
    schema
}

impl Format {
    /// Adds to the JSON Schema of a text what says this form.
    fn describe(self, schema: &mut Value) {
        let pattern = match self {
            Format::Date => {
                schema["format"] = json!("date");
                return;
            }
            Format::Email => {
                schema["format"] = json!("email");
                schema["maxLength"] = json!(254);
                return;
            }
            Format::DateTime => {
                schema["format"] = json!("date-time");
                "Z$".to_owned()
            }
            Format::PartialDate => format!("^({YEAR}(-({MONTH}|{DAY}))?|{LEAP})$"),
            Format::Commune => "^([0-9]{2}|2[AB])[0-9]{3}$".to_owned(),
            Format::Country => "^99[0-9]{3}$".to_owned(),
            Format::Ridet => "^[0-9]{10}$".to_owned(),
            Format::Rid | Format::Cafat => "^[0-9]{7}$".to_owned(),
            Format::E164 => r"^\+[1-9][0-9]{6,14}$".to_owned(),
            Format::Rome => "^[A-N][0-9]{4}$".to_owned(),
            Format::Appellation => "^[0-9]{5,6}$".to_owned(),
            Format::PostalCode => "^[0-9]{5}$".to_owned(),
            Format::Sha256 => "^[0-9a-f]{64}$".to_owned(),
            Format::SchemaReference => "^urn:pirogue:schema:[a-z0-9.]+:[1-9][0-9]*$".to_owned(),
            Format::Subject => "^[a-z]{1,32}/[A-Za-z0-9._~-]{1,128}$".to_owned(),
        };
        schema["pattern"] = json!(pattern);
    }
}

#[cfg(test)]
mod tests {
    use super::super::Registry;
    use super::*;

    #[test]
    fn a_schema_names_its_types_once_and_says_what_is_required() {
        let registry = Registry::embedded().unwrap();
        let mut types = Map::new();
        for schema in registry.schemas() {
            let root = schema.json_schema("#/components/schemas/", &mut types);
            assert_eq!(root["$ref"], format!("#/components/schemas/{}", schema.event_type()));
        }
        let jobseeker = &types["nc.employment.jobseeker.registered"];
        assert_eq!(jobseeker["required"], json!(["person", "status", "registered_on"]));
        assert_eq!(jobseeker["additionalProperties"], json!(false));
        assert_eq!(jobseeker["properties"]["registered_on"]["format"], "date");
        let person = &jobseeker["properties"]["person"];
        assert_eq!(person["$ref"], "#/components/schemas/nc.person.Person");
        assert!(person["description"].as_str().unwrap().contains(" / "));
        let mobility = &jobseeker["properties"]["mobility"]["items"]["enum"];
        assert_eq!(mobility.as_array().unwrap().len(), 33);
        // Every reference leads somewhere.
        let text = Value::Object(types.clone()).to_string();
        for part in text.split("#/components/schemas/").skip(1) {
            let name = part.split('"').next().unwrap();
            assert!(types.contains_key(name), "{name}");
        }
    }
}
