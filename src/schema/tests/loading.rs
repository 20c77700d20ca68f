//! What a folder of schemas may not hold.

use super::super::*;
use super::folder_with;
use serde_json::{Value, json};

const PATH: &str = "nc.test.thing.made/1.avsc";

/// A schema whose only field is `field`.
fn with_field(field: Value) -> String {
    json!({"type": "record", "name": "nc.test.thing.made", "doc": "Essai. / Test.", "subjects": {}, "fields": [field]})
        .to_string()
}

/// A field `a` of the type `ty`, with the properties of `more`.
fn field(ty: Value, more: Value) -> Value {
    let mut field = json!({"name": "a", "type": ty, "doc": "Champ. / Field."});
    field.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    field
}

fn load(files: &[(&str, &str)]) -> Result<Registry, SchemaFault> {
    Registry::load(folder_with(files).path())
}

#[test]
fn a_folder_adds_to_what_is_compiled_in() {
    let text =
        json!({"type": "enum", "name": "nc.test.Colour", "doc": "Couleur. / Colour.", "symbols": ["red"]});
    let record = with_field(json!({"name": "a", "type": "nc.test.Colour", "doc": "Champ. / Field."}));
    let registry = load(&[
        (PATH, &record),
        ("common/nc.test.Colour.avsc", &text.to_string()),
        ("codelists/provinces.csv", "code,name\nnord,Nord\nsud,Sud\niles,Îles\nx,Essai\n"),
        ("README.md", "left alone"),
    ])
    .unwrap();
    let schema = registry.get("nc.test.thing.made", 1).unwrap();
    schema.encode_json(&json!({"a": "red"})).unwrap();
    assert!(schema.json().contains("\"symbols\":[\"red\"]"), "the served text is self-contained");
    assert!(registry.get("nc.employment.offer.published", 1).is_some());
    assert!(registry.codelist("provinces").unwrap().contains("x"));
}

#[test]
fn a_field_that_cannot_be_carried_is_refused_by_file_and_name() {
    let record = |fields: Value| json!({"type": "record", "name": "nc.test.R", "doc": "Essai. / Test.", "fields": fields});
    let short = json!({"maxLength": 9});
    for (field, says) in [
        (field(json!("null"), json!({})), "null stands only"),
        (field(json!({"type": "array", "items": "null"}), json!({})), "null stands only"),
        (field(json!({"type": "array", "items": record(json!([]))}), json!({})), "at least one field"),
        (field(json!({"type": "map", "values": "string"}), short.clone()), "array of records"),
        (
            field(json!({"type": "fixed", "name": "nc.test.F", "size": 1 << 30}), json!({})),
            "string with a format",
        ),
        (field(json!("bytes"), json!({})), "string with a format"),
        (field(json!("float"), json!({})), "double"),
        (field(json!({"type": "long", "logicalType": "timestamp-micros"}), json!({})), "logical types"),
        (field(json!(["null", "int", "string"]), short.clone()), "null and one other type"),
        (field(json!(["int"]), json!({})), "null and one other type"),
        (field(json!("nc.test.thing.made"), json!({})), "contains itself"),
        (field(json!("nc.test.Unknown"), json!({})), "no type nc.test.Unknown"),
        (field(json!({"type": "string", "format": "email"}), json!({})), "no effect here"),
        (field(json!("string"), json!({})), "needs a `format`"),
        (field(json!("string"), json!({"format": "phone"})), "the formats are partial-date"),
        (field(json!("string"), json!({"codelist": "towns"})), "the code lists are communes"),
        (field(json!("string"), json!({"maxLength": 0})), "whole number from 1"),
        (field(json!("int"), json!({"format": "email"})), "are for strings"),
        (field(json!("boolean"), json!({"minimum": 1})), "are for int and long"),
        (field(json!("int"), json!({"pii": "secret"})), "identity, contact"),
        (field(json!("int"), json!({"aliases": ["b"]})), "aliases aren't supported"),
        (field(json!("int"), json!({"maximun": 1})), "`maximun` isn't known"),
        (field(json!("int"), json!({"doc": "Only English."})), "French and English"),
        (field(json!("int"), json!({"doc": null})), "French and English"),
        (field(json!("int"), json!({"default": "x"})), "`default` must be"),
        (field(json!(["null", "int"]), json!({"default": 3})), "`default` must be"),
        (field(json!("string"), json!({"format": "date", "default": "never"})), "`default` must be"),
    ] {
        let text = with_field(field);
        let fault = load(&[(PATH, &text)]).err().unwrap_or_else(|| panic!("{text} was accepted"));
        assert_eq!((fault.place.as_str(), fault.field.as_str()), (PATH, "a"), "{fault}");
        assert!(fault.detail.contains(says), "{fault}");
    }
}

#[test]
fn a_field_deep_inside_is_named_by_its_path() {
    let inner = json!({"type": "record", "name": "nc.test.R", "doc": "Essai. / Test.",
        "fields": [{"name": "b", "type": "string", "doc": "Champ. / Field."}]});
    let text = with_field(field(json!({"type": "array", "items": ["null", inner]}), json!({})));
    assert_eq!(load(&[(PATH, &text)]).unwrap_err().field, "a.b");
}

#[test]
fn types_that_grow_without_end_are_refused() {
    // Each type holds the one before twice: 2^20 fields.
    let mut ty = json!("int");
    for depth in 0..20 {
        let twice =
            [ty, json!(if depth == 0 { "int".to_owned() } else { format!("nc.test.R{}", depth - 1) })];
        let fields: Vec<Value> = twice
            .into_iter()
            .zip(["a", "b"])
            .map(|(ty, name)| json!({"name": name, "type": ty, "doc": "Champ. / Field."}))
            .collect();
        ty = json!({"type": "record", "name": format!("nc.test.R{depth}"), "doc": "Essai. / Test.", "fields": fields});
    }
    let fault = load(&[(PATH, &with_field(field(ty, json!({}))))]).unwrap_err();
    assert!(fault.detail.contains("more than 2000 fields"), "{fault}");
    let mut ty = json!("int");
    for _ in 0..60 {
        ty = json!({"type": "array", "items": ty});
    }
    let fault = load(&[(PATH, &with_field(field(ty, json!({}))))]).unwrap_err();
    assert!(fault.detail.contains("deep"), "{fault}");
}

#[test]
fn a_file_that_does_not_fit_the_folder_is_refused_by_name() {
    let good = with_field(field(json!("int"), json!({})));
    let no_subjects = good.replace("\"subjects\":{},", "");
    let offer = "nc.employment.offer.published/1.avsc";
    for (path, text) in [
        (PATH, "{"),
        (PATH, "[]"),
        (PATH, "\"string\""),
        (PATH, no_subjects.as_str()),
        (PATH, &good.replace("\"subjects\":{}", "\"subjects\":{\"Person\":{\"personal\":true}}")),
        (PATH, &good.replace("nc.test.thing.made", "nc.test.thing.broken")),
        ("nc.test.thing.made/2.avsc", &good),
        ("nc.test.thing.made/01.avsc", &good),
        ("nc.test.thing.made/1.json", &good),
        ("Test/1.avsc", &good),
        ("common/nc.test.Other.avsc", &good),
        ("common/nc.person.Gender.avsc", &good),
        ("codelists/provinces.csv", "code,name\n"),
        (offer, &good),
    ] {
        let fault = load(&[(path, text)]).err().unwrap_or_else(|| panic!("{path} {text} was accepted"));
        assert_eq!(fault.place, path, "{fault}");
    }
    assert!(Registry::load(std::path::Path::new("no/such/folder")).is_err());
}
