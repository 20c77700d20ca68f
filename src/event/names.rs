//! The names that nearly every message has: they aren't written anew for each.

use super::HEADER_PREFIX;
use std::borrow::Cow;

/// The name of a header or an attribute. Those of WIRE.md take no memory of
/// their own.
pub type Name = Cow<'static, str>;

/// The attributes of WIRE.md and their headers, sorted.
const KNOWN: [(&str, &str); 16] = [
    ("agreement", "cloudEvents_agreement"),
    ("datacontenttype", "cloudEvents_datacontenttype"),
    ("dataschema", "cloudEvents_dataschema"),
    ("epoch", "cloudEvents_epoch"),
    ("id", "cloudEvents_id"),
    ("origin", "cloudEvents_origin"),
    ("originsignature", "cloudEvents_originsignature"),
    ("recipient", "cloudEvents_recipient"),
    ("sequence", "cloudEvents_sequence"),
    ("signature", "cloudEvents_signature"),
    ("source", "cloudEvents_source"),
    ("specversion", "cloudEvents_specversion"),
    ("subject", "cloudEvents_subject"),
    ("time", "cloudEvents_time"),
    ("traceparent", "cloudEvents_traceparent"),
    ("type", "cloudEvents_type"),
];

fn known(attribute: &str) -> Option<(&'static str, &'static str)> {
    KNOWN.binary_search_by(|(name, _)| (*name).cmp(attribute)).ok().map(|at| KNOWN[at])
}

/// The name of an attribute.
pub(super) fn attribute(name: &str) -> Name {
    known(name).map_or_else(|| Cow::Owned(name.to_owned()), |(name, _)| Cow::Borrowed(name))
}

/// The name of an attribute's header.
pub(super) fn header_of(attribute: &str) -> Name {
    known(attribute).map_or_else(
        || Cow::Owned(format!("{HEADER_PREFIX}{attribute}")),
        |(_, header)| Cow::Borrowed(header),
    )
}

/// The name of a header.
pub fn header_name(name: &str) -> Name {
    match name.strip_prefix(HEADER_PREFIX).and_then(known) {
        Some((_, header)) => Cow::Borrowed(header),
        None => Cow::Owned(name.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_they_are_whether_known_or_not() {
        assert!(KNOWN.is_sorted());
        for (name, header) in KNOWN {
            assert_eq!(header, format!("{HEADER_PREFIX}{name}"));
            assert!(matches!(attribute(name), Cow::Borrowed(known) if known == name));
            assert!(matches!(header_of(name), Cow::Borrowed(known) if known == header));
            assert!(matches!(header_name(header), Cow::Borrowed(known) if known == header));
        }
        assert_eq!(attribute("other"), "other");
        assert_eq!(header_of("other"), "cloudEvents_other");
        for other in ["id", "x-id", "cloudEvents_other", "cloudevents_id"] {
            assert_eq!(header_name(other), other);
        }
    }
}
