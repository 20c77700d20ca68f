//! The identity of an event: its id, its subject and its time, made of the
//! record alone, so that a record read again is the same event.

use super::drivers::Record;
use super::helpers::utc_time;
use super::manifest::IdentityRules;
use crate::event::is_local_id;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// What an event takes from its record.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    /// The event's id (WIRE.md section 0).
    pub id: String,
    /// `KIND/LOCAL-ID`.
    pub subject: String,
    /// When what it says happened, in UTC, cut to the second.
    pub time: String,
}

/// Prints nothing: a subject is a local identifier.
impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}

/// The id of an event: BASE64URL of HMAC-SHA-256 (RFC 2104) under the member's
/// secret, over the parts, each preceded by its length in 8 bytes, big-endian.
///
/// The same record in the same version gives the same id, so that a repeat is a
/// duplicate that the hub drops; nobody without the secret reads the key off it.
/// Another `generation` sends what there is again, as new events.
pub fn event_id(
    secret: &[u8],
    system: &str,
    event_type: &str,
    key: &str,
    version: &str,
    generation: u32,
) -> String {
    // HMAC takes a key of any length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret) else { return String::new() };
    let generation = generation.to_string();
    for part in [system, event_type, key, version, &generation] {
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part.as_bytes());
    }
    URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes())
}

/// The version of a record: what the software says, or the SHA-256 of the record
/// where it says nothing.
pub fn record_version(record: &Record) -> String {
    match &record.version {
        Some(version) => version.clone(),
        None => URL_SAFE_NO_PAD.encode(Sha256::digest(record.value.to_string())),
    }
}

impl IdentityRules {
    /// The identity of the event that the `nth` output (from 0) of the mapping
    /// becomes. Several outputs of one record are told apart by their position.
    ///
    /// Fails with a sentence that names the field of the record, never its value.
    pub fn identify(
        &self,
        record: &Record,
        nth: usize,
        secret: &[u8],
        system: &str,
        event_type: &str,
        generation: u32,
    ) -> Result<Identity, String> {
        let text = |pointer: &str| match record.value.pointer(pointer) {
            Some(Value::String(text)) => Some(text.clone()),
            Some(Value::Number(number)) => Some(number.to_string()),
            _ => None,
        };
        let local = text(&self.subject_id).filter(|id| is_local_id(id) && !id.starts_with('~')).ok_or_else(|| {
            format!(
                "the record's {} can't be a subject: 1 to 128 of A-Z, a-z, 0-9, '.', '_', '~' and '-' are expected, \
                 not beginning with '~'",
                self.subject_id
            )
        })?;
        let time = text(&self.time).ok_or_else(|| format!("the record has no time at {}", self.time))?;
        let time = utc_time(&time).map_err(|_| {
            format!(
                "the record's {} isn't a time such as 2026-03-14T08:12:45+11:00, or a day and time in Pacific/Noumea",
                self.time
            )
        })?;
        let mut version = record_version(record);
        if nth > 0 {
            // No software's version ends like this by accident: U+001F separates units.
            version.push('\u{1f}');
            version.push_str(&nth.to_string());
        }
        Ok(Identity {
            id: event_id(secret, system, event_type, &record.key, &version, generation),
            subject: format!("{}/{local}", self.subject_kind),
            time,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rules() -> IdentityRules {
        IdentityRules {
            key: "/id".into(),
            record_version: Some("/row_hash".into()),
            time: "/at".into(),
            subject_kind: "person".into(),
            subject_id: "/id".into(),
        }
    }

    fn record(value: Value) -> Record {
        Record { key: "4711".into(), version: Some("v1".into()), kind: String::new(), value, raw: None }
    }

    /// Computed with Python's hmac and base64.
    #[test]
    fn an_id_is_the_hmac_of_its_parts_with_their_lengths() {
        assert_eq!(
            event_id(b"secret", "boost", "nc.employment.offer.published", "4711", "v1", 1),
            "v8G3pbtOJdtk58NaiotjX33bRqLQQm1gtVxSiTH6qZg"
        );
    }

    #[test]
    fn every_part_counts_in_an_id_and_none_runs_into_the_next() {
        let id = |secret: &[u8], s: &str, t: &str, k: &str, v: &str, g| event_id(secret, s, t, k, v, g);
        let ids = [
            id(b"a", "s", "t", "k", "v", 1),
            id(b"b", "s", "t", "k", "v", 1),
            id(b"a", "st", "", "k", "v", 1),
            id(b"a", "s", "tk", "", "v", 1),
            id(b"a", "s", "t", "kv", "", 1),
            id(b"a", "s", "t", "k", "v1", 1),
            id(b"a", "s", "t", "k", "v", 2),
            id(b"a", "s", "t", "k", "v", 11),
        ];
        let distinct: std::collections::BTreeSet<_> = ids.iter().collect();
        assert_eq!(distinct.len(), ids.len());
        assert!(ids.iter().all(|id| crate::event::is_event_id(id) && id.len() == 43));
    }

    #[test]
    fn identity_comes_from_the_record_and_never_from_the_clock() {
        let record = record(json!({"id": "4711", "at": "2026-03-14T08:12:45.7+11:00"}));
        let identify =
            |nth, generation| rules().identify(&record, nth, b"s", "boost", "a.b.c", generation).unwrap();
        let first = identify(0, 1);
        assert_eq!((first.subject.as_str(), first.time.as_str()), ("person/4711", "2026-03-13T21:12:45Z"));
        assert_eq!(first, identify(0, 1));
        assert_ne!(first.id, identify(1, 1).id);
        assert_ne!(first.id, identify(0, 2).id);
        assert_eq!(first.id, event_id(b"s", "boost", "a.b.c", "4711", "v1", 1));
    }

    #[test]
    fn a_record_without_version_has_its_content_for_one() {
        let versionless = |value| Record { version: None, ..record(value) };
        assert_eq!(
            record_version(&versionless(json!({"a": 1}))),
            record_version(&versionless(json!({"a": 1})))
        );
        assert_ne!(
            record_version(&versionless(json!({"a": 1}))),
            record_version(&versionless(json!({"a": 2})))
        );
    }

    #[test]
    fn what_cant_be_an_identity_names_the_field_and_no_value() {
        for (value, field) in [
            (json!({"id": "Jean Dupont", "at": "2026-03-14"}), "/id"),
            (json!({"id": "~x", "at": "2026-03-14"}), "/id"),
            (json!({"at": "2026-03-14"}), "/id"),
            (json!({"id": 7, "at": "Dupont"}), "/at"),
            (json!({"id": 7}), "/at"),
        ] {
            let text = rules().identify(&record(value), 0, b"s", "boost", "a.b.c", 1).unwrap_err();
            assert!(text.contains(field) && !text.contains("Dupont"), "{text}");
        }
    }
}
