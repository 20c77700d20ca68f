//! The grammar of WIRE.md section 0.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

/// A text that isn't of the form that WIRE.md section 0 gives. It says which
/// form was expected and never repeats the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {0}")]
pub struct GrammarFault(pub &'static str);

fn all(text: &str, allowed: impl Fn(u8) -> bool) -> bool {
    text.bytes().all(allowed)
}

fn is_name(text: &str) -> bool {
    (2..=32).contains(&text.len())
        && text.as_bytes()[0].is_ascii_lowercase()
        && all(text, |b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// Whether `text` is an event id: 1 to 128 of `[A-Za-z0-9._~-]`.
pub fn is_event_id(text: &str) -> bool {
    (1..=128).contains(&text.len())
        && all(text, |b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'~' | b'-'))
}

/// Whether `text` is a LOCAL-ID: the same form as an event id.
pub fn is_local_id(text: &str) -> bool {
    is_event_id(text)
}

/// Whether `text` is a subject, `KIND/LOCAL-ID`.
pub fn is_subject(text: &str) -> bool {
    text.split_once('/').is_some_and(|(kind, id)| {
        (1..=32).contains(&kind.len()) && all(kind, |b| b.is_ascii_lowercase()) && is_local_id(id)
    })
}

/// Reads a time `YYYY-MM-DDThh:mm:ss[.fraction]Z` with no second 60.
///
/// Returns the instant, or what form was expected.
pub fn parse_time(text: &str) -> Result<jiff::Timestamp, GrammarFault> {
    const FORM: GrammarFault = GrammarFault("a time of the form YYYY-MM-DDThh:mm:ss[.fraction]Z");
    let b = text.as_bytes();
    if b.len() < 20 || b[b.len() - 1] != b'Z' {
        return Err(FORM);
    }
    let shape = b"dddd-dd-ddTdd:dd:dd";
    let fits = shape.iter().zip(b).all(|(s, c)| match s {
        b'd' => c.is_ascii_digit(),
        s => s == c,
    });
    let fraction = &b[19..b.len() - 1];
    let fraction_fits = fraction.is_empty()
        || (fraction[0] == b'.'
            && (2..=10).contains(&fraction.len())
            && fraction[1..].iter().all(u8::is_ascii_digit));
    // jiff reads second 60 as 59; WIRE.md refuses it.
    if !fits || !fraction_fits || &b[17..19] == b"60" {
        return Err(FORM);
    }
    text.parse().map_err(|_| FORM)
}

/// A member's name: `[a-z][a-z0-9-]{1,31}`, and not `hub`. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MemberName(Arc<str>);

/// An event type: `[a-z][a-z0-9]*(\.[a-z][a-z0-9]*){2,7}`. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EventType(Arc<str>);

impl MemberName {
    /// Reads a member's name, or says what form was expected.
    pub fn parse(text: &str) -> Result<MemberName, GrammarFault> {
        if is_name(text) && text != "hub" {
            Ok(MemberName(text.into()))
        } else {
            Err(GrammarFault(
                "a member's name: 2 to 32 of a-z, 0-9 and -, starting with a letter, and not `hub`",
            ))
        }
    }

    /// Whether `text` has the form of a system's name (WIRE.md section 0).
    pub fn is_system(text: &str) -> bool {
        is_name(text) && text != "hub"
    }
}

impl EventType {
    /// Reads an event type, or says what form was expected.
    pub fn parse(text: &str) -> Result<EventType, GrammarFault> {
        let segments = text.split('.').count();
        let fits = (3..=8).contains(&segments)
            && text.split('.').all(|s| {
                s.as_bytes().first().is_some_and(u8::is_ascii_lowercase)
                    && all(s, |b| b.is_ascii_lowercase() || b.is_ascii_digit())
            });
        if fits {
            Ok(EventType(text.into()))
        } else {
            Err(GrammarFault("an event type such as `nc.employment.offer.published`"))
        }
    }
}

macro_rules! text_type {
    ($name:ident) => {
        impl $name {
            /// The text as it is on the wire.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
        impl TryFrom<String> for $name {
            type Error = GrammarFault;
            fn try_from(text: String) -> Result<Self, GrammarFault> {
                $name::parse(&text)
            }
        }
        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0.to_string()
            }
        }
        impl std::str::FromStr for $name {
            type Err = GrammarFault;
            fn from_str(text: &str) -> Result<Self, GrammarFault> {
                $name::parse(text)
            }
        }
    };
}
text_type!(MemberName);
text_type!(EventType);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_types_follow_the_grammar() {
        for good in ["province-sud", "ab", "a1", &"a".repeat(32)] {
            assert!(MemberName::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "a", "hub", "1a", "-a", "Province", "a_b", "é", "aé", &"a".repeat(33)] {
            assert!(MemberName::parse(bad).is_err(), "{bad}");
        }
        for good in ["nc.employment.offer", "a.b.c.d.e.f.g.h", "a1.b2.c3"] {
            assert!(EventType::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "a.b", "a.b.c.d.e.f.g.h.i", "a..b", "a.b.C", "a.b.1c", "a.b.c.", ".a.b.c"] {
            assert!(EventType::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn subjects_and_ids_follow_the_grammar() {
        for good in ["person/4711", "person/~abc", "offer/A.b_c~d-9", &format!("p/{}", "x".repeat(128))] {
            assert!(is_subject(good), "{good}");
        }
        for bad in ["person", "/1", "Person/1", "person/", "person/a/b", "person/a b", "p1/x"] {
            assert!(!is_subject(bad), "{bad}");
        }
        assert!(!is_event_id("") && !is_event_id(&"x".repeat(129)) && !is_event_id("a/b"));
    }

    #[test]
    fn times_follow_the_grammar() {
        for good in ["2026-11-24T01:02:03Z", "2026-11-24T01:02:03.123456789Z", "2024-02-29T00:00:00Z"] {
            assert!(parse_time(good).is_ok(), "{good}");
        }
        for bad in [
            "2026-11-24T01:02:60Z",
            "2026-11-24T01:02:03",
            "2026-11-24 01:02:03Z",
            "2026-11-24T01:02:03+11:00",
            "2026-11-24T01:02:03.Z",
            "2026-11-24T01:02:03.1234567890Z",
            "2026-02-30T00:00:00Z",
            "2026-11-24T24:00:00Z",
            "2026-11-24t01:02:03z",
            "-026-11-24T01:02:03Z",
        ] {
            assert!(parse_time(bad).is_err(), "{bad}");
        }
    }
}
