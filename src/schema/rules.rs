//! The rules on values that a field's properties state: `format`, `codelist`,
//! `maxLength`, `minimum` and `maximum`.

use super::codelists::CodeList;
use super::wire::{Walk, trouble};
use crate::event::{SchemaRef, parse_time};
use std::sync::Arc;

/// The form of a text. `schemas/README.md` describes each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    PartialDate,
    Date,
    DateTime,
    Commune,
    Country,
    Ridet,
    Rid,
    Cafat,
    Email,
    E164,
    Rome,
    Appellation,
    PostalCode,
    Sha256,
    SchemaReference,
    Subject,
}

impl Format {
    const ALL: [(&'static str, Format); 16] = [
        ("partial-date", Format::PartialDate),
        ("date", Format::Date),
        ("date-time", Format::DateTime),
        ("commune", Format::Commune),
        ("country", Format::Country),
        ("ridet", Format::Ridet),
        ("rid", Format::Rid),
        ("cafat-employer", Format::Cafat),
        ("email", Format::Email),
        ("e164", Format::E164),
        ("rome", Format::Rome),
        ("rome-appellation", Format::Appellation),
        ("postal-code", Format::PostalCode),
        ("sha256", Format::Sha256),
        ("schema-reference", Format::SchemaReference),
        ("subject", Format::Subject),
    ];

    /// The format that a schema calls `name`.
    pub(super) fn parse(name: &str) -> Option<Format> {
        Format::ALL.iter().find(|(n, _)| *n == name).map(|(_, format)| *format)
    }

    /// The names of all formats, for a sentence.
    pub(super) fn names() -> String {
        Format::ALL.map(|(name, _)| name).join(", ")
    }

    /// What is expected, for a sentence.
    fn expected(self) -> &'static str {
        match self {
            Format::PartialDate => "expected a date written YYYY, YYYY-MM or YYYY-MM-DD",
            Format::Date => "expected a date written YYYY-MM-DD",
            Format::DateTime => "expected a time written YYYY-MM-DDThh:mm:ssZ",
            Format::Commune => "expected a commune's INSEE code, 5 characters such as 98818",
            Format::Country => "expected a country's INSEE code, 5 digits such as 99100",
            Format::Ridet => "expected a RIDET, 10 digits and no separator",
            Format::Rid => "expected a RID, 7 digits and no separator",
            Format::Cafat => "expected an employer's CAFAT number, 7 digits",
            Format::Email => "expected an e-mail address",
            Format::E164 => {
                "expected a telephone number in E.164, such as +687 followed by 6 digits, no space"
            }
            Format::Rome => "expected a ROME code, such as M1601",
            Format::Appellation => "expected the code of a ROME appellation, 5 or 6 digits",
            Format::PostalCode => "expected a postal code, 5 digits",
            Format::Sha256 => "expected a SHA-256 in 64 lowercase hexadecimal digits",
            Format::SchemaReference => "expected urn:pirogue:schema:TYPE:VERSION",
            Format::Subject => "expected a subject of the form KIND/LOCAL-ID",
        }
    }

    /// Whether `text` has this form.
    pub(super) fn accepts(self, text: &str) -> bool {
        let b = text.as_bytes();
        match self {
            Format::PartialDate => is_partial_date(b),
            Format::Date => b.len() == 10 && is_partial_date(b),
            Format::DateTime => parse_time(text).is_ok(),
            // 2A and 2B are Corsica's departments.
            Format::Commune => {
                b.len() == 5
                    && b[0].is_ascii_digit()
                    && (b[1].is_ascii_digit() || (b[0] == b'2' && matches!(b[1], b'A' | b'B')))
                    && digits(&b[2..])
            }
            Format::Country => b.len() == 5 && b.starts_with(b"99") && digits(b),
            Format::Ridet => b.len() == 10 && digits(b),
            Format::Rid | Format::Cafat => b.len() == 7 && digits(b),
            Format::Email => is_email(text),
            Format::E164 => (8..=16).contains(&b.len()) && b[0] == b'+' && b[1] != b'0' && digits(&b[1..]),
            Format::Rome => b.len() == 5 && matches!(b[0], b'A'..=b'N') && digits(&b[1..]),
            Format::Appellation => matches!(b.len(), 5 | 6) && digits(b),
            Format::PostalCode => b.len() == 5 && digits(b),
            Format::Sha256 => b.len() == 64 && b.iter().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f')),
            Format::SchemaReference => SchemaRef::parse(text).is_ok(),
            Format::Subject => crate::event::is_subject(text),
        }
    }
}

fn digits(bytes: &[u8]) -> bool {
    bytes.iter().all(u8::is_ascii_digit)
}

/// `YYYY`, `YYYY-MM` or `YYYY-MM-DD`, a month and a day that exist.
fn is_partial_date(b: &[u8]) -> bool {
    let fits = matches!(b.len(), 4 | 7 | 10)
        && b.iter().enumerate().all(|(i, c)| if i == 4 || i == 7 { *c == b'-' } else { c.is_ascii_digit() });
    if !fits {
        return false;
    }
    let number = |part: &[u8]| part.iter().fold(0i16, |n, c| n * 10 + i16::from(c - b'0'));
    let year = number(&b[..4]);
    let month = if b.len() >= 7 { number(&b[5..7]) } else { 1 };
    let day = if b.len() == 10 { number(&b[8..10]) } else { 1 };
    year >= 1 && jiff::civil::Date::new(year, month as i8, day as i8).is_ok()
}

/// One `@`, something before it, a domain of at least two labels after it. More
/// than that only a message to the address can tell (RFC 5321 section 4.5.3 for
/// the lengths).
fn is_email(text: &str) -> bool {
    let Some((local, domain)) = text.split_once('@') else { return false };
    text.len() <= 254
        && (1..=64).contains(&local.len())
        && text.chars().all(|c| !c.is_whitespace() && !c.is_control())
        && domain.contains('.')
        && domain.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.chars().all(|c| c.is_alphanumeric() || c == '-')
        })
}

/// The rules on one field's values; in an array they hold for each item.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Rules {
    pub(super) format: Option<Format>,
    pub(super) codelist: Option<Arc<CodeList>>,
    /// In characters (Unicode scalar values).
    pub(super) max_length: Option<usize>,
    pub(super) minimum: Option<i64>,
    pub(super) maximum: Option<i64>,
    /// Whether rules count at all: a recipient leaves them to the hub, whose
    /// code lists may be newer.
    pub(super) strict: bool,
}

impl Rules {
    /// Checks a text.
    pub(super) fn check_text(&self, text: &str) -> Walk<()> {
        if !self.strict {
            return Ok(());
        }
        if text.is_empty() {
            return trouble("an empty text; leave the field out, or null, instead");
        }
        if let Some(format) = self.format
            && !format.accepts(text)
        {
            return trouble(format.expected());
        }
        if let Some(list) = &self.codelist
            && !list.contains(text)
        {
            return trouble(format!("expected a code of the list {}", list.name()));
        }
        // A character takes at least a byte: counting is seldom needed.
        if let Some(max) = self.max_length
            && text.len() > max
            && text.chars().nth(max).is_some()
        {
            return trouble(format!("expected at most {max} characters"));
        }
        Ok(())
    }

    /// Checks a whole number.
    pub(super) fn check_number(&self, n: i64) -> Walk<()> {
        if let Some(minimum) = self.minimum
            && n < minimum
        {
            return trouble(format!("expected {minimum} or more"));
        }
        if let Some(maximum) = self.maximum
            && n > maximum
        {
            return trouble(format!("expected {maximum} or less"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_format_accepts_its_form_and_no_other() {
        let cases: [(&str, &[&str], &[&str]); 16] = [
            (
                "partial-date",
                &["1950", "1950-07", "1950-07-31", "2024-02-29"],
                &[
                    "1950-00-00",
                    "1950-07-00",
                    "1950-13",
                    "2023-02-29",
                    "0000",
                    "50",
                    "1950-7",
                    "1950/07",
                    "1950-07-3",
                ],
            ),
            ("date", &["2024-02-29"], &["2024", "2024-02", "2024-02-30"]),
            ("date-time", &["2026-11-24T01:02:03Z"], &["2026-11-24T01:02:03", "2026-11-24"]),
            ("commune", &["98818", "2A004", "75056"], &["9881", "988180", "2C004", "A8818", "1A004"]),
            ("country", &["99100"], &["98818", "9910", "991000"]),
            ("ridet", &["0213652002"], &["0213652.002", "213652002", "0 213 652 002"]),
            ("rid", &["0213652"], &["213652", "0213652002"]),
            ("cafat-employer", &["0123456"], &["123456"]),
            (
                "email",
                &["a.b@c.nc", "é@exemple.nc"],
                &["a@b", "a b@c.nc", "@c.nc", "a@@c.nc", "a@.nc", "a@-c.nc", "a"],
            ),
            ("e164", &["+687261234", "+33123456789"], &["261234", "+0687261234", "+687 26 12 34", "+687"]),
            ("rome", &["M1601", "A1101"], &["M160", "O1601", "m1601", "M16011"]),
            ("rome-appellation", &["10372", "126549"], &["1037", "M1601"]),
            ("postal-code", &["98800"], &["9880", "98 800"]),
            ("sha256", &[&"a0".repeat(32)], &[&"A0".repeat(32), &"a".repeat(63)]),
            ("schema-reference", &["urn:pirogue:schema:nc.a.b:1"], &["nc.a.b:1"]),
            ("subject", &["person/~abc"], &["person"]),
        ];
        for (name, good, bad) in cases {
            let format = Format::parse(name).unwrap();
            for text in good {
                assert!(format.accepts(text), "{name} {text}");
            }
            for text in bad.iter().chain(&[""]) {
                assert!(!format.accepts(text), "{name} {text}");
            }
        }
        assert_eq!(Format::parse("phone"), None);
    }

    #[test]
    fn lengths_are_counted_in_characters() {
        let rules = Rules { max_length: Some(4), strict: true, ..Rules::default() };
        assert!(rules.check_text("Koné").is_ok());
        assert!(rules.check_text("Konés").is_err());
        assert!(rules.check_text("").is_err());
    }
}
