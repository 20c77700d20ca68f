//! The codec of this room, held against apache-avro's.

mod data;
mod loading;
mod projection;

use super::model::{Field, RecordType, Type};
use super::registry::testing::folder_with;
use super::*;
use crate::event::SchemaRef;
use apache_avro::types::Value as Avro;
use apache_avro::writer::datum::GenericDatumWriter;
use apache_avro::{GenericSingleObjectReader, Schema};
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use std::sync::{Arc, LazyLock};

static REGISTRY: LazyLock<Registry> = LazyLock::new(|| Registry::embedded().unwrap());

fn jobseeker() -> &'static Arc<EventSchema> {
    REGISTRY.get("nc.employment.jobseeker.registered", 1).unwrap()
}

fn a_jobseeker() -> Value {
    json!({
        "person": {
            "given_names": ["Marie-Joseph", "Wéa"],
            "family_name": "N’Djaouna",
            "birthdate": "1950-07",
            "gender": "female",
            "birthplace": "98818",
            "birthcountry": "99100",
            "other_names": [{"kind": "customary", "name": "Kamoué", "from": "1971"}]
        },
        "contact": {
            "email": "m.ndjaouna@exemple.nc",
            "phone": "+687261234",
            "address": {"lines": ["12 rue de l'Alma"], "postal_code": "98800", "commune": "98818", "province": "sud"}
        },
        "status": "active",
        "registered_on": "2026-11-24",
        "sought_occupations": [{"code": "M1601", "label": "Accueil et renseignements"}, {"code": "G1602"}],
        "working_time": "full_time",
        "mobility": ["98818", "98805"],
        "updated_at": "2026-11-24T01:02:03.004Z"
    })
}

/// Values of a type that keep its rules, from a seed.
struct Maker(u64);

impl Maker {
    fn below(&mut self, n: u64) -> u64 {
        // Knuth's constants for a linear congruence; the high bits are the good ones.
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }

    fn one_of<'a>(&mut self, all: &[&'a str]) -> &'a str {
        all[self.below(all.len() as u64) as usize]
    }

    fn record(&mut self, record: &RecordType) -> Value {
        let mut object = Map::new();
        for field in &record.fields {
            if field.absent.is_none() || self.below(3) > 0 {
                object.insert(field.name.clone(), self.value(&field.ty, field));
            }
        }
        Value::Object(object)
    }

    fn value(&mut self, ty: &Type, field: &Field) -> Value {
        match ty {
            Type::Boolean => json!(self.below(2) == 1),
            Type::Int => json!(self.below(1 << 20)),
            Type::Long => json!(self.below(1 << 30) << 8),
            Type::Double => json!(self.below(1000) as f64 / 8.0),
            Type::String => json!(self.text(field)),
            Type::Enum(symbols) => json!(symbols.symbols[self.below(symbols.symbols.len() as u64) as usize]),
            Type::Array(items) => (0..self.below(4)).map(|_| self.value(items, field)).collect(),
            Type::Optional { inner, .. } => match self.below(3) {
                0 => Value::Null,
                _ => self.value(inner, field),
            },
            Type::Record(record) => self.record(record),
        }
    }

    fn text(&mut self, field: &Field) -> String {
        let property = |name: &str| field.extra.get(name).and_then(Value::as_str);
        if property("codelist").is_some() {
            let list = field.rules.codelist.as_ref().unwrap();
            return list.entries()[self.below(list.entries().len() as u64) as usize].code.clone();
        }
        match property("format") {
            None => {
                let text = self.one_of(&["Wallis", "Đỗ", "ꞌUvea", "a", "l’Île-des-Pins", "日本", "x y z"]);
                text.chars().take(field.rules.max_length.unwrap()).collect()
            }
            Some("date") => self.one_of(&["2026-11-24", "2024-02-29"]).to_owned(),
            Some("date-time") => {
                self.one_of(&["2026-11-24T01:02:03Z", "2026-11-24T01:02:03.004Z"]).to_owned()
            }
            Some("partial-date") => self.one_of(&["1950", "1950-07", "1950-07-31"]).to_owned(),
            Some("commune") => self.one_of(&["98818", "2A004"]).to_owned(),
            Some("country") => "99100".to_owned(),
            Some("email") => self.one_of(&["a@b.nc", "prénom.nom@exemple.nc"]).to_owned(),
            Some("e164") => "+687261234".to_owned(),
            Some("postal-code") => "98800".to_owned(),
            Some("rome") => "M1601".to_owned(),
            Some("rome-appellation") => "10372".to_owned(),
            Some("ridet") => "0213652002".to_owned(),
            Some("cafat-employer") => "0123456".to_owned(),
            Some("schema-reference") => "urn:pirogue:schema:nc.a.b:1".to_owned(),
            Some("subject") => "person/~abc".to_owned(),
            Some(other) => panic!("no sample for the format {other}"),
        }
    }
}

prop_compose! {
    /// A schema of the registry and a record of it.
    fn schema_and_record()(at in any::<prop::sample::Index>(), seed in any::<u64>()) -> (Arc<EventSchema>, Value) {
        let schemas: Vec<_> = REGISTRY.schemas().collect();
        let schema = schemas[at.index(schemas.len())].clone();
        let record = Maker(seed).record(schema.root());
        (schema, record)
    }
}

/// apache-avro's reading of a body, and its writing of that again.
fn by_the_book(json: &str, body: &[u8]) -> (Avro, Vec<u8>) {
    let schema = Schema::parse_str(json).unwrap();
    let reader = GenericSingleObjectReader::builder().schema(schema.clone()).build().unwrap();
    let mut rest = body;
    let value = reader.read_value(&mut rest).unwrap();
    assert!(rest.is_empty());
    let mut again = body[..10].to_vec();
    again.extend(
        GenericDatumWriter::builder(&schema).build().unwrap().write_value_to_vec(value.clone()).unwrap(),
    );
    (value, again)
}

proptest! {
    #[test]
    fn a_record_is_written_as_apache_avro_writes_it((schema, record) in schema_and_record()) {
        let body = schema.encode_json(&record).unwrap();
        let (_, again) = by_the_book(schema.json(), &body);
        prop_assert_eq!(&again, &body);
        let datum = schema.decode(&body).unwrap();
        prop_assert_eq!(datum.body(), &body[..]);
        schema.check(&datum).unwrap();
        prop_assert_eq!(schema.encode_json(&datum.to_json()).unwrap(), body);
    }

    #[test]
    fn no_bytes_make_the_decoder_panic_or_hold_more_than_they_are(
        (schema, record) in schema_and_record(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in prop::option::of(any::<prop::sample::Index>()),
        tail in prop::collection::vec(any::<u8>(), 0..20),
    ) {
        let mut body = schema.encode_json(&record).unwrap();
        for (at, byte) in changes {
            let at = at.index(body.len());
            body[at] = byte;
        }
        if let Some(cut) = cut {
            body.truncate(cut.index(body.len()));
        }
        body.extend(tail);
        if let Ok(datum) = schema.decode(&body) {
            prop_assert_eq!(datum.heap_size(), body.len());
            let (value, _) = by_the_book(schema.json(), &body);
            let plain = schema.encode_json(&datum.to_json()).unwrap();
            prop_assert_eq!(by_the_book(schema.json(), &plain).0, value);
        }
        let _ = schema.project(&schema.field_paths()[..1]).unwrap().apply(&body);
    }

    #[test]
    fn no_text_makes_the_reader_of_schemas_panic(
        at in any::<prop::sample::Index>(),
        with in "[\\[\\]{}\",:a-z0-9_. ]{0,12}",
        length in 0usize..20,
    ) {
        let whole = jobseeker().json();
        let at = whole.floor_char_boundary(at.index(whole.len()));
        let end = whole.ceil_char_boundary((at + length).min(whole.len()));
        let text = format!("{}{with}{}", &whole[..at], &whole[end..]);
        if let Ok(reader) = ReaderSchema::parse(&text, jobseeker().reference()) {
            let _ = reader.decode(&jobseeker().encode_json(&a_jobseeker()).unwrap());
        }
    }

    #[test]
    fn no_datum_makes_the_decoder_panic(datum in prop::collection::vec(any::<u8>(), 0..200)) {
        for schema in REGISTRY.schemas() {
            let mut body = vec![0xC3, 0x01];
            body.extend(schema.fingerprint());
            body.extend(&datum);
            if let Ok(datum) = schema.decode(&body) {
                datum.to_json();
            }
        }
    }
}

#[test]
fn a_jobseeker_goes_and_comes_back() {
    let body = jobseeker().encode_json(&a_jobseeker()).unwrap();
    assert_eq!(body[..2], [0xC3, 0x01]);
    assert_eq!(body[2..10], jobseeker().fingerprint());
    let json = jobseeker().decode(&body).unwrap().to_json();
    assert_eq!(json["person"]["family_name"], "N’Djaouna");
    assert_eq!(json["person"]["birthdate"], "1950-07");
    assert_eq!(json["registered_on"], "2026-11-24");
    assert_eq!(json["updated_at"], "2026-11-24T01:02:03.004Z");
    assert_eq!(json["ended_on"], Value::Null);
    assert_eq!(json["sought_occupations"][1]["label"], Value::Null);
}

#[test]
fn every_wrong_field_of_a_record_is_named_and_no_value() {
    let mut record = a_jobseeker();
    record["person"]["family_name"] = json!("");
    record["person"]["given_names"] = json!(["Wéa", 7]);
    record["person"]["birthdate"] = json!("1950-00-00");
    record["person"]["other_names"][0]["kind"] = json!("nickname");
    record["contact"]["address"]["commune"] = json!("98899");
    record["contact"]["phone"] = json!("261234");
    record["registered_on"] = json!("24/11/2026");
    record["sought_occupations"] = json!({});
    record["surprise"] = json!(1);
    record["Jean Dupont"] = json!(1);
    record.as_object_mut().unwrap().remove("status");
    let faults = jobseeker().encode_json(&record).unwrap_err();
    let fields: Vec<&str> = faults.iter().map(|f| f.field.as_str()).collect();
    assert_eq!(
        fields,
        [
            "person.given_names[1]",
            "person.family_name",
            "person.birthdate",
            "person.other_names[0].kind",
            "contact.phone",
            "contact.address.commune",
            "status",
            "registered_on",
            "sought_occupations",
            "",
            "",
        ]
    );
    let text: String = faults.iter().map(|f| format!("{f}\n")).collect();
    for value in ["1950", "nickname", "98899", "261234", "24/11", "Dupont", " 7"] {
        assert!(!text.contains(value), "{value} is in: {text}");
    }
    assert!(text.contains("the key `surprise`"), "{text}");
    assert!(text.contains("the field status: it is missing"), "{text}");
    assert!(text.contains("communes"), "{text}");
}

#[test]
fn a_body_of_another_form_or_another_schema_is_told_apart() {
    let body = jobseeker().encode_json(&a_jobseeker()).unwrap();
    let kind = |body: &[u8]| jobseeker().decode(body).unwrap_err().kind;
    assert_eq!(kind(b""), DataFaultKind::NotSingleObject);
    assert_eq!(kind(&body[..9]), DataFaultKind::NotSingleObject);
    assert_eq!(kind(b"{\"person\": {}}"), DataFaultKind::NotSingleObject);
    let mut other = body.clone();
    other[5] ^= 1;
    assert_eq!(kind(&other), DataFaultKind::WrongFingerprint);
    assert_eq!(kind(&body[..10]), DataFaultKind::Data);
}

#[test]
fn a_body_that_ends_anywhere_else_is_refused() {
    // apache-avro reads a body that is cut in a string, a boolean or a union as
    // one with a null there.
    let body = jobseeker().encode_json(&a_jobseeker()).unwrap();
    for end in 0..body.len() {
        assert!(jobseeker().decode(&body[..end]).is_err(), "cut at {end}");
    }
    let mut longer = body;
    longer.push(0);
    assert_eq!(jobseeker().decode(&longer).unwrap_err().to_string(), "the body: it has bytes after its end");
}

#[test]
fn a_body_that_breaks_a_rule_is_refused_with_the_path() {
    // Written by apache-avro, which knows no rules.
    let schema = Schema::parse_str(jobseeker().json()).unwrap();
    let body = jobseeker().encode_json(&a_jobseeker()).unwrap();
    let (value, _) = by_the_book(jobseeker().json(), &body);
    let Avro::Record(mut fields) = value else { panic!() };
    let mobility = fields.iter_mut().find(|(name, _)| name == "mobility").unwrap();
    mobility.1 = Avro::Array(vec![Avro::String("98818".into()), Avro::String("75056".into())]);
    let mut body = body[..10].to_vec();
    body.extend(
        GenericDatumWriter::builder(&schema)
            .build()
            .unwrap()
            .write_value_to_vec(Avro::Record(fields))
            .unwrap(),
    );
    assert_eq!(
        jobseeker().decode(&body).unwrap_err().to_string(),
        "the field mobility[1]: expected a code of the list communes"
    );
}

#[test]
fn a_count_or_a_length_beyond_the_bytes_is_refused_before_anything_is_held() {
    let schema = json!({"type": "record", "name": "nc.test.thing.made", "doc": "Essai. / Test.", "subjects": {},
        "fields": [{"name": "a", "type": {"type": "array", "items": "int"}, "doc": "Champ. / Field."}]});
    let folder = folder_with(&[("nc.test.thing.made/1.avsc", &schema.to_string())]);
    let registry = Registry::load(folder.path()).unwrap();
    let schema = registry.get("nc.test.thing.made", 1).unwrap();
    let decode = |datum: &[u8]| {
        let mut body = vec![0xC3, 0x01];
        body.extend(schema.fingerprint());
        body.extend(datum);
        schema.decode(&body)
    };
    // Two items, as one block, as two, and as one that says its size.
    for good in [&[4, 2, 4, 0][..], &[2, 2, 2, 4, 0], &[3, 4, 2, 4, 0]] {
        assert_eq!(decode(good).unwrap().to_json(), json!({"a": [1, 2]}), "{good:?}");
    }
    let huge = [0xFE, 0xFF, 0xFF, 0xFF, 0x0F, 0];
    let least = [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01, 0, 0];
    for bad in [&huge[..], &least, &[3, 6, 2, 4, 0], &[3, 2, 2, 4, 0], &[3, 3, 2, 4, 0], &[8, 2, 4, 0], &[]] {
        assert!(decode(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn a_reader_takes_a_schema_with_properties_that_it_does_not_know() {
    let schema = json!({"type": "record", "name": "nc.test.thing.made", "since": 2031, "fields": [
        {"name": "a", "type": "string", "format": "of-tomorrow", "codelist": "unknown"}]});
    let reference = SchemaRef::parse("urn:pirogue:schema:nc.test.thing.made:1").unwrap();
    let reader = ReaderSchema::parse(&schema.to_string(), &reference).unwrap();
    let mut body = vec![0xC3, 0x01];
    body.extend(
        Schema::parse_str(&schema.to_string()).unwrap().fingerprint::<apache_avro::rabin::Rabin>().bytes,
    );
    body.extend([4, b'h', b'i']);
    assert_eq!(reader.decode(&body).unwrap().to_json(), json!({"a": "hi"}));
    for json in ["", "[]", "\"string\"", r#"{"type": "record", "name": "nc.test.other.made", "fields": []}"#]
    {
        assert!(ReaderSchema::parse(json, &reference).is_err(), "{json}");
    }
}

#[test]
fn numbers_of_jq_are_whole_where_they_are() {
    let offer = REGISTRY.get("nc.employment.offer.published", 1).unwrap();
    let encode = |positions: Value| {
        offer.encode_json(&json!({"status": "open", "title": "t", "positions": positions}))
    };
    assert_eq!(encode(json!(3.0)).unwrap(), encode(json!(3)).unwrap());
    for bad in [json!(3.5), json!(-1), json!(1u64 << 40), json!("3"), json!(1e300)] {
        assert_eq!(encode(bad).unwrap_err()[0].field, "positions");
    }
}
