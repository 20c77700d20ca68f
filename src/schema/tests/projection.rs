//! Projections, held against what apache-avro makes of a datum cut by hand.

use super::super::*;
use super::{REGISTRY, a_jobseeker, by_the_book, jobseeker, schema_and_record};
use apache_avro::types::Value as Avro;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::sync::Arc;

/// What `granted` leaves of `value`, by the paths' texts alone.
fn cut_by_hand(value: &Avro, path: &str, granted: &[String]) -> Avro {
    match value {
        Avro::Union(branch, inner) => Avro::Union(*branch, Box::new(cut_by_hand(inner, path, granted))),
        Avro::Array(items) => Avro::Array(items.iter().map(|i| cut_by_hand(i, path, granted)).collect()),
        Avro::Record(fields) => {
            let kept = fields.iter().filter_map(|(name, value)| {
                let path = super::model::join(path, name);
                let inside = granted.iter().any(|g| *g == path || path.starts_with(&format!("{g}.")));
                let above = granted.iter().any(|g| g.starts_with(&format!("{path}.")));
                (inside || above).then(|| (name.clone(), cut_by_hand(value, &path, granted)))
            });
            Avro::Record(kept.collect())
        }
        other => other.clone(),
    }
}

proptest! {
    #[test]
    fn a_projection_is_what_apache_avro_makes_of_the_cut_datum(
        (schema, record) in schema_and_record(),
        picks in prop::collection::vec(any::<prop::sample::Index>(), 1..6),
    ) {
        let paths = schema.field_paths();
        let fields: Vec<String> = picks.iter().map(|p| paths[p.index(paths.len())].clone()).collect();
        let projection = schema.project(&fields).unwrap();
        let body = schema.encode_json(&record).unwrap();
        let cut = projection.apply(&body).unwrap();
        let (value, _) = by_the_book(schema.json(), &body);
        let (read, again) = by_the_book(projection.json(), &cut);
        prop_assert_eq!(&read, &cut_by_hand(&value, "", &fields));
        prop_assert_eq!(&again, &cut);
        // A recipient reads it, and only the granted fields are in it.
        let reader = ReaderSchema::parse(projection.json(), projection.reference()).unwrap();
        let received = reader.decode(&cut).unwrap().to_json();
        let mut sent = schema.decode(&body).unwrap().to_json();
        prune(&mut sent, &received);
        prop_assert_eq!(received, sent);
        prop_assert_eq!(projection.apply(&schema.decode(&body).unwrap()).unwrap(), cut);
    }
}

/// Leaves in `whole` only what `part` has.
fn prune(whole: &mut Value, part: &Value) {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => {
            whole.retain(|key, _| part.contains_key(key));
            whole.iter_mut().for_each(|(key, value)| prune(value, &part[key]));
        }
        (Value::Array(whole), Value::Array(part)) => {
            whole.iter_mut().zip(part).for_each(|(w, p)| prune(w, p))
        }
        _ => {}
    }
}

#[test]
fn a_projection_copies_blocks_whose_size_was_written() {
    let schema = REGISTRY.get("nc.employment.offer.published", 1).unwrap();
    let projection = schema.project(&["employers.name".to_owned()]).unwrap();
    let record = json!({"status": "open", "title": "t", "employers": [{"name": "a", "ridet": "0213652002"}, {"name": "b"}]});
    let body = schema.encode_json(&record).unwrap();
    // At the end are the count of the employers, 16 bytes and 5 bytes of them,
    // the end of the array, and a null.
    let count = body.len() - 24;
    assert_eq!(body[count], 4);
    let mut sized = body[..count].to_vec();
    sized.extend([3, 42]);
    sized.extend(&body[count + 1..]);
    let reader = ReaderSchema::parse(projection.json(), projection.reference()).unwrap();
    let plain = reader.decode(&projection.apply(&body).unwrap()).unwrap().to_json();
    assert_eq!(plain, json!({"employers": [{"name": "a"}, {"name": "b"}]}));
    assert!(schema.decode(&sized).is_ok());
    assert_eq!(reader.decode(&projection.apply(&sized).unwrap()).unwrap().to_json(), plain);
}

#[test]
fn a_grant_of_everything_is_the_schema_itself() {
    let whole = jobseeker().project(&["*".to_owned()]).unwrap();
    assert_eq!(whole.reference(), jobseeker().reference());
    assert_eq!(whole.json(), jobseeker().json());
    assert!(whole.is_whole() && whole.withheld().is_empty());
    let body = jobseeker().encode_json(&a_jobseeker()).unwrap();
    assert_eq!(whole.apply(&body).unwrap(), body);
}

fn grant(fields: &[&str]) -> Result<Arc<Projection>, SchemaFault> {
    jobseeker().project(&fields.iter().map(|f| (*f).to_owned()).collect::<Vec<_>>())
}

#[test]
fn a_grant_keeps_the_schemas_order_and_lists_the_rest() {
    let projection =
        grant(&["status", "person.birthdate", "person.given_names", "person.family_name"]).unwrap();
    assert_eq!(
        projection.granted(),
        ["person.given_names", "person.family_name", "person.birthdate", "status"]
    );
    assert!(projection.withheld().contains(&"contact.address.commune".to_owned()));
    assert!(projection.withheld().contains(&"person.other_names.name".to_owned()));
    assert!(!projection.withheld().contains(&"status".to_owned()));
    let body = jobseeker().encode_json(&a_jobseeker()).unwrap();
    let reader = ReaderSchema::parse(projection.json(), projection.reference()).unwrap();
    assert_eq!(
        reader.decode(&projection.apply(&body).unwrap()).unwrap().to_json(),
        json!({
            "person": {"given_names": ["Marie-Joseph", "Wéa"], "family_name": "N’Djaouna", "birthdate": "1950-07"},
            "status": "active",
        })
    );
}

#[test]
fn a_grant_of_a_field_within_a_granted_record_adds_nothing() {
    let one = grant(&["person"]).unwrap();
    for fields in [&["person", "person.gender"][..], &["person.gender", "person"], &["person", "person"]] {
        let other = grant(fields).unwrap();
        assert_eq!(other.granted(), ["person"]);
        assert_eq!(other.reference(), one.reference());
    }
}

#[test]
fn a_projections_reference_is_made_from_its_text() {
    use sha2::Digest;
    let projection = grant(&["person.family_name", "status"]).unwrap();
    let hash = sha2::Sha256::digest(projection.json().as_bytes());
    let hex: String = hash.iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(projection.reference().projection.as_deref(), Some(&hex[..32]));
    assert_eq!(projection.reference().version, 1);
    for property in
        ["\"pii\":\"identity\"", "\"doc\":\"Nom de naissance. / Birth name.\"", "\"maxLength\":200"]
    {
        assert!(projection.json().contains(property), "{property}");
    }
    let again = grant(&["status", "person.family_name"]).unwrap();
    assert_eq!(again.json(), projection.json());
    let mut reference = projection.reference().clone();
    reference.projection = Some("0".repeat(32));
    assert!(ReaderSchema::parse(projection.json(), &reference).is_err());
}

#[test]
fn a_type_that_is_cut_in_two_ways_has_two_names() {
    let coded = "\"name\":\"nc.common.Coded";
    let projection = grant(&["education_level.code", "driving_licences.label", "languages.code"]).unwrap();
    let json = projection.json();
    assert_eq!(json.matches(coded).count(), 2, "{json}");
    assert!(json.contains("\"name\":\"nc.common.Coded_2\""), "{json}");
    assert!(json.contains("\"items\":\"nc.common.Coded\""), "{json}");
    let mut record = a_jobseeker();
    record["education_level"] = json!({"code": "IV", "label": "Bac"});
    record["driving_licences"] = json!([{"code": "B", "label": "Permis B"}]);
    record["languages"] = json!([{"code": "fr", "label": "Français"}, {"label": "Drehu"}]);
    let cut = projection.apply(&jobseeker().encode_json(&record).unwrap()).unwrap();
    by_the_book(json, &cut);
    let reader = ReaderSchema::parse(json, projection.reference()).unwrap();
    assert_eq!(
        reader.decode(&cut).unwrap().to_json(),
        json!({
            "education_level": {"code": "IV"},
            "driving_licences": [{"label": "Permis B"}],
            "languages": [{"code": "fr"}, {"code": null}],
        })
    );
}

#[test]
fn a_grant_of_what_does_not_exist_names_it_and_what_is_near() {
    let fault = grant(&["person.famly_name"]).unwrap_err();
    assert_eq!(fault.field, "person.famly_name");
    assert!(fault.detail.contains("person.family_name"), "{fault}");
    let fault = grant(&["birthdate"]).unwrap_err();
    assert!(fault.detail.contains("person.birthdate"), "{fault}");
    for fields in [&[][..], &["*", "status"], &[""], &["person."], &["status.x"], &["person.*"]] {
        assert!(grant(fields).is_err(), "{fields:?}");
    }
}

#[test]
fn a_projection_refuses_a_body_of_another_schema() {
    let projection = grant(&["status"]).unwrap();
    let offer = REGISTRY.get("nc.employment.offer.published", 1).unwrap();
    let body = offer.encode_json(&json!({"status": "open", "title": "t"})).unwrap();
    assert_eq!(projection.apply(&body).unwrap_err().kind, DataFaultKind::WrongFingerprint);
}
