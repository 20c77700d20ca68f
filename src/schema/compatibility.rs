//! Whether a new version of a schema can take the place of the one before.
//!
//! What was written with the version before must be readable with the new one
//! (Avro 1.12, "Schema Resolution"). apache-avro decides that; it passes some
//! changes that don't hold, so those are looked for here: a named type that goes
//! to another namespace (logical types aren't used), a text that takes another
//! format. And a version can't make less of
//! a person: what was marked as personal stays so.

use super::event_schema::EventSchema;
use super::fault::SchemaFault;
use super::model::{RecordType, Type, join};
use apache_avro::schema_compatibility::{Compatibility, SchemaCompatibility};

/// Fails where `new` can't follow `old`; `place` is the file of `new`.
pub(super) fn check(place: &str, old: &EventSchema, new: &EventSchema) -> Result<(), SchemaFault> {
    let fault = |field: String, detail: String| SchemaFault { place: place.to_owned(), field, detail };
    let before = old.version();
    same_kinds(old.root(), new.root(), "")
        .map_err(|(field, detail)| fault(field, format!("{detail} in version {before}")))?;
    match SchemaCompatibility::can_read(old.expanded(), new.expanded()) {
        Ok(Compatibility::Full) => {}
        Ok(Compatibility::Partial) => {
            return Err(fault(
                String::new(),
                format!(
                    "it can't read everything that version {before} can hold (a symbol or a branch is gone)"
                ),
            ));
        }
        Err(e) => return Err(fault(String::new(), format!("it can't read version {before}: {e}"))),
    }
    match old.subject_kinds().find(|(kind, personal)| *personal && !new.is_personal(kind)) {
        Some((kind, _)) => Err(fault(
            String::new(),
            format!("the subject kind `{kind}` was personal in version {before}, and stays so"),
        )),
        None => Ok(()),
    }
}

fn same_kinds(old: &RecordType, new: &RecordType, prefix: &str) -> Result<(), (String, String)> {
    for field in &new.fields {
        let Some(before) = old.fields.iter().find(|f| f.name == field.name) else { continue };
        let path = join(prefix, &field.name);
        if before.extra.contains_key("pii") && !field.extra.contains_key("pii") {
            return Err((path, "it has no `pii`, and had one".to_owned()));
        }
        if before.extra.get("format") != field.extra.get("format") {
            return Err((path, "its `format` isn't the one that it has".to_owned()));
        }
        same_kind(&before.ty, &field.ty, &path)?;
    }
    Ok(())
}

fn same_kind(old: &Type, new: &Type, path: &str) -> Result<(), (String, String)> {
    match (old, new) {
        (Type::Optional { inner: old, .. }, Type::Optional { inner: new, .. })
        | (Type::Array(old), Type::Array(new)) => same_kind(old, new, path),
        (old, Type::Optional { inner: new, .. }) => same_kind(old, new, path),
        (Type::Record(old), Type::Record(new)) if old.name == new.name => same_kinds(old, new, path),
        (Type::Enum(old), Type::Enum(new)) if old.name == new.name => Ok(()),
        (Type::Record(_), Type::Record(_)) | (Type::Enum(_), Type::Enum(_)) => {
            Err((path.to_owned(), "its type has another name than".to_owned()))
        }
        // What else differs, apache-avro decides.
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::registry::Registry;
    use super::super::registry::testing::folder_with;

    fn schema(fields: &str) -> String {
        format!(
            r#"{{"type": "record", "name": "nc.test.thing.made", "doc": "Essai. / Test.",
                "subjects": {{"thing": {{"personal": false}}, "person": {{"personal": true}}}},
                "fields": [{fields}]}}"#
        )
    }

    const A: &str = r#"{"name": "a", "type": "int", "doc": "Champ. / Field."}"#;

    fn second_version(first: &str, second: &str) -> Result<Registry, String> {
        let folder = folder_with(&[
            ("nc.test.thing.made/1.avsc", &schema(first)),
            ("nc.test.thing.made/2.avsc", &schema(second)),
        ]);
        Registry::load(folder.path()).map_err(|e| e.to_string())
    }

    #[test]
    fn a_field_with_a_default_may_come_and_a_field_may_go() {
        let b = r#"{"name": "b", "type": ["null", "long"], "default": null, "doc": "Champ. / Field."}"#;
        second_version(A, &format!("{A}, {b}")).unwrap();
        second_version(&format!("{A}, {b}"), A).unwrap();
        second_version(A, r#"{"name": "a", "type": ["null", "long"], "doc": "Champ. / Field."}"#).unwrap();
    }

    #[test]
    fn what_the_new_version_cannot_read_is_refused() {
        let field = |ty: &str, more: &str| {
            format!(r#"{{"name": "a", "type": {ty}, "doc": "Champ. / Field."{more}}}"#)
        };
        let symbols = |name: &str, symbols: &str| {
            format!(r#"{{"type": "enum", "name": "{name}", "symbols": {symbols}, "doc": "Champ. / Field."}}"#)
        };
        for (first, second) in [
            (A.to_owned(), format!(r#"{A}, {{"name": "b", "type": "int", "doc": "Champ. / Field."}}"#)),
            (field("\"long\"", ""), A.to_owned()),
            (field("[\"null\", \"int\"]", ""), A.to_owned()),
            (field("\"string\"", r#", "format": "date""#), field("\"string\"", r#", "format": "email""#)),
            (field("\"string\"", r#", "format": "date""#), field("\"string\"", r#", "maxLength": 9"#)),
            (field(&symbols("nc.t.E", r#"["A", "B"]"#), ""), field(&symbols("nc.t.E", r#"["A"]"#), "")),
            (field(&symbols("nc.t.E", r#"["A"]"#), ""), field(&symbols("nc.u.E", r#"["A"]"#), "")),
            (field("\"int\"", r#", "pii": "identity""#), A.to_owned()),
        ] {
            let fault = second_version(&first, &second).err();
            let fault = fault.unwrap_or_else(|| panic!("{first} then {second} was accepted"));
            assert!(fault.starts_with("nc.test.thing.made/2.avsc: "), "{fault}");
        }
    }

    #[test]
    fn a_kind_of_subject_stays_personal() {
        let second = schema(A).replace(r#""person": {"personal": true}"#, r#""person": {"personal": false}"#);
        let folder =
            folder_with(&[("nc.test.thing.made/1.avsc", &schema(A)), ("nc.test.thing.made/2.avsc", &second)]);
        let fault = Registry::load(folder.path()).unwrap_err().to_string();
        assert!(fault.contains("`person` was personal"), "{fault}");
    }
}
