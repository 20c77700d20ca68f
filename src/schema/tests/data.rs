//! What the files of `schemas/` hold.

use super::super::model::{RecordType, Type};
use super::REGISTRY;

/// Every field of `record`, with its path and whether a field above has `pii`.
fn fields(record: &RecordType, path: &str, pii: bool, out: &mut Vec<(String, bool, bool)>) {
    for field in &record.fields {
        let path = super::super::model::join(path, &field.name);
        let pii = pii || field.extra.contains_key("pii");
        let bilingual = field.doc.as_deref().is_some_and(|doc| doc.contains(" / "));
        out.push((path.clone(), pii, bilingual));
        if let Some(inner) = field.ty.record() {
            fields(inner, &path, pii, out);
        }
    }
}

#[test]
fn every_field_says_what_it_is_and_what_it_tells_about_a_person() {
    for schema in REGISTRY.schemas() {
        let mut all = Vec::new();
        fields(schema.root(), "", false, &mut all);
        let personal = schema.subject_kinds().any(|(_, personal)| personal);
        for (path, pii, bilingual) in all {
            assert!(bilingual, "{} {path} has no doc in both languages", schema.event_type());
            assert!(pii || !personal, "{} {path} has no pii", schema.event_type());
        }
    }
}

#[test]
fn the_types_of_the_exchange_are_there() {
    let types: Vec<&str> = REGISTRY.types().map(|t| t.as_str()).collect();
    assert_eq!(
        types,
        [
            "nc.employment.jobseeker.registered",
            "nc.employment.offer.published",
            "nc.hub.delivery.withheld",
            "nc.hub.event.rejected",
            "nc.hub.person.erased",
            "nc.hub.schema.published",
            "nc.identity.account.verified",
        ]
    );
    let schema = |event_type| REGISTRY.get(event_type, 1).unwrap();
    assert!(schema("nc.employment.jobseeker.registered").is_personal("person"));
    assert!(!schema("nc.employment.offer.published").is_personal("offer"));
    assert!(schema("nc.employment.offer.published").is_personal("anything-else"));
    assert!(REGISTRY.get("nc.employment.offer.published", 2).is_none());
    assert!(REGISTRY.get("nc.employment.offer.published", 0).is_none());
}

#[test]
fn the_person_is_one_shared_record() {
    let person = |event_type| {
        let root = REGISTRY.get(event_type, 1).unwrap().root().clone();
        let Some(Type::Record(person)) =
            root.fields.iter().find(|f| f.name == "person").map(|f| f.ty.clone())
        else {
            panic!("{event_type} has no person")
        };
        person
    };
    assert_eq!(person("nc.employment.jobseeker.registered"), person("nc.identity.account.verified"));
    assert_eq!(person("nc.identity.account.verified").name, "nc.person.Person");
    let schema = REGISTRY.get("nc.identity.account.verified", 1).unwrap();
    assert_eq!(schema.property("person.other_names.name", "pii"), Some("identity"));
    assert_eq!(schema.property("person.birthdate", "format"), Some("partial-date"));
    assert_eq!(schema.property("person.surprise", "pii"), None);
}

#[test]
fn the_communes_are_the_33_and_poya_lies_in_two_provinces() {
    let communes = REGISTRY.codelist("communes").unwrap();
    assert_eq!(communes.entries().len(), 33);
    let count = |province: &str| {
        let says = |code: &str| communes.column(code, "provinces").unwrap().split(';').any(|p| p == province);
        communes.entries().iter().filter(|e| says(&e.code)).count()
    };
    assert_eq!((count("nord"), count("sud"), count("iles")), (17, 14, 3));
    assert_eq!(communes.column("98827", "provinces"), Some("nord;sud"));
    assert_eq!(communes.get("98832").unwrap().name, "Yaté");
    assert_eq!(communes.get("98809").unwrap().name, "Île des Pins");
    let provinces = REGISTRY.codelist("provinces").unwrap();
    for commune in communes.entries() {
        for province in communes.column(&commune.code, "provinces").unwrap().split(';') {
            assert!(provinces.contains(province), "{}", commune.name);
        }
    }
}

#[test]
fn the_codes_of_the_lists_have_their_formats() {
    use super::super::rules::Format;
    for (list, format) in [("communes", "commune"), ("countries", "country"), ("rome", "rome")] {
        let format = Format::parse(format).unwrap();
        for entry in REGISTRY.codelist(list).unwrap().entries() {
            assert!(format.accepts(&entry.code), "{list} {}", entry.code);
        }
    }
    assert_eq!(REGISTRY.codelist("countries").unwrap().get("99100").unwrap().name, "France");
}

/// The Parsing Canonical Form of a schema that this registry serves, by the
/// specification: full names are there already, and nothing is to be escaped.
fn canonical(json: &serde_json::Value) -> String {
    let list = |items: &serde_json::Value, form: &dyn Fn(&serde_json::Value) -> String| {
        items.as_array().unwrap().iter().map(form).collect::<Vec<_>>().join(",")
    };
    match json {
        serde_json::Value::String(name) => format!("\"{name}\""),
        serde_json::Value::Array(_) => format!("[{}]", list(json, &canonical)),
        object => match object["type"].as_str().unwrap() {
            "record" => {
                let field = |f: &serde_json::Value| {
                    format!("{{\"name\":{},\"type\":{}}}", f["name"], canonical(&f["type"]))
                };
                let fields = list(&object["fields"], &field);
                format!("{{\"name\":{},\"type\":\"record\",\"fields\":[{fields}]}}", object["name"])
            }
            "enum" => {
                format!("{{\"name\":{},\"type\":\"enum\",\"symbols\":{}}}", object["name"], object["symbols"])
            }
            _ => format!("{{\"type\":\"array\",\"items\":{}}}", canonical(&object["items"])),
        },
    }
}

/// CRC-64-AVRO, as the specification's listing computes it.
fn crc_64_avro(text: &str) -> u64 {
    const EMPTY: u64 = 0xc15d_213a_a4d7_a795;
    text.bytes().fold(EMPTY, |crc, byte| {
        let low =
            (0..8).fold((crc ^ u64::from(byte)) & 0xFF, |n, _| (n >> 1) ^ (EMPTY & (n & 1).wrapping_neg()));
        (crc >> 8) ^ low
    })
}

#[test]
fn every_fingerprint_is_the_one_that_the_specification_gives() {
    assert_eq!(crc_64_avro("\"string\""), 0x8f01_4872_6345_03c7);
    for schema in REGISTRY.schemas() {
        let json = serde_json::from_str(schema.json()).unwrap();
        let crc = crc_64_avro(&canonical(&json));
        assert_eq!(schema.fingerprint(), crc.to_le_bytes(), "{}", schema.event_type());
    }
}

#[test]
fn the_hubs_messages_are_written_from_plain_records() {
    let hub = |event_type, record| REGISTRY.get(event_type, 1).unwrap().encode_json(&record).unwrap();
    hub("nc.hub.delivery.withheld", serde_json::json!({"reason": "erased"}));
    hub("nc.hub.person.erased", serde_json::json!({"subject": "person/~abc"}));
    hub(
        "nc.hub.event.rejected",
        serde_json::json!({"source": null, "id": null, "type": null, "reason": "bad-signature",
            "detail": "the signature isn't of these bytes", "received_at": "2026-11-24T01:02:03Z"}),
    );
    let offer = REGISTRY.get("nc.employment.offer.published", 1).unwrap();
    let title = offer.project(&["title".to_owned()]).unwrap();
    hub(
        "nc.hub.schema.published",
        serde_json::json!({"reference": title.reference().to_string(), "schema": title.json()}),
    );
}
