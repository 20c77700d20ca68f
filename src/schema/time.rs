//! Avro's dates and times, and their form in JSON.
//!
//! Avro 1.12, "Logical Types": a `date` is a number of days and a
//! `timestamp-millis` a number of milliseconds since 1970-01-01. In JSON both
//! are texts of RFC 3339 in UTC. The years are 0001 to 9999, which every
//! language can hold.

use crate::event::parse_time;
use jiff::civil::{Date, date};

const EPOCH: Date = date(1970, 1, 1);
/// 0001-01-01 and 9999-12-31.
const DAYS: std::ops::RangeInclusive<i32> = -719_162..=2_932_896;
const DAY_MILLISECONDS: i64 = 86_400_000;

/// The days of a date `YYYY-MM-DD`.
pub(super) fn days(text: &str) -> Option<i32> {
    let b = text.as_bytes();
    let fits = b.len() == 10
        && b.iter().enumerate().all(|(i, c)| if i == 4 || i == 7 { *c == b'-' } else { c.is_ascii_digit() });
    if !fits {
        return None;
    }
    let number = |part: &[u8]| part.iter().fold(0i16, |n, c| n * 10 + i16::from(c - b'0'));
    let date = Date::new(number(&b[..4]), number(&b[5..7]) as i8, number(&b[8..]) as i8).ok()?;
    let days = i32::try_from(date.duration_since(EPOCH).as_hours() / 24).ok()?;
    DAYS.contains(&days).then_some(days)
}

/// The date of a number of days, `YYYY-MM-DD`.
pub(super) fn date_text(days: i32) -> Option<String> {
    if !DAYS.contains(&days) {
        return None;
    }
    let date = EPOCH.checked_add(jiff::SignedDuration::from_hours(i64::from(days) * 24)).ok()?;
    Some(date.to_string())
}

/// The milliseconds of a time as WIRE.md section 0 writes it, with at most 3
/// decimals.
pub(super) fn milliseconds(text: &str) -> Option<i64> {
    let time = parse_time(text).ok()?;
    let whole = time.subsec_nanosecond() % 1_000_000 == 0;
    let n = time.as_millisecond();
    (whole && in_range(n)).then_some(n)
}

/// The time of a number of milliseconds, with no decimals or with 3.
pub(super) fn time_text(milliseconds: i64) -> Option<String> {
    if !in_range(milliseconds) {
        return None;
    }
    let time = jiff::Timestamp::from_millisecond(milliseconds).ok()?;
    Some(match milliseconds.rem_euclid(1000) {
        0 => time.to_string(),
        _ => format!("{time:.3}"),
    })
}

fn in_range(milliseconds: i64) -> bool {
    i32::try_from(milliseconds.div_euclid(DAY_MILLISECONDS)).is_ok_and(|days| DAYS.contains(&days))
}

/// Whether a date of so many days is in the years 0001 to 9999.
pub(super) fn is_date(days: i32) -> bool {
    DAYS.contains(&days)
}

/// Whether a time of so many milliseconds is in the years 0001 to 9999.
pub(super) fn is_time(milliseconds: i64) -> bool {
    in_range(milliseconds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn dates_and_times_have_the_numbers_of_the_specification() {
        for (text, n) in [
            ("1970-01-01", 0),
            ("1969-12-31", -1),
            ("2026-11-24", 20_781),
            ("0001-01-01", -719_162),
            ("9999-12-31", 2_932_896),
        ] {
            assert_eq!(days(text), Some(n), "{text}");
            assert_eq!(date_text(n).as_deref(), Some(text));
        }
        assert_eq!(milliseconds("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(milliseconds("1970-01-01T00:00:00.5Z"), Some(500));
        assert_eq!(time_text(500).as_deref(), Some("1970-01-01T00:00:00.500Z"));
        assert_eq!(time_text(-1).as_deref(), Some("1969-12-31T23:59:59.999Z"));
        for bad in ["1970-01-01T00:00:00.0001Z", "1970-01-01", "0000-12-31T00:00:00Z"] {
            assert_eq!(milliseconds(bad), None, "{bad}");
        }
        for bad in ["0000-12-31", "2023-02-29", "2023-1-1", "2023-01-01 ", "20230-1-01"] {
            assert_eq!(days(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_date_reads_back_as_it_was_written(n in any::<i32>()) {
            prop_assert_eq!(date_text(n).is_some(), is_date(n));
            if let Some(text) = date_text(n) {
                prop_assert_eq!(days(&text), Some(n));
            }
        }

        #[test]
        fn a_time_reads_back_as_it_was_written(n in prop_oneof![any::<i64>(), -70_000_000_000_000..300_000_000_000_000i64]) {
            prop_assert_eq!(time_text(n).is_some(), is_time(n));
            if let Some(text) = time_text(n) {
                prop_assert_eq!(milliseconds(&text), Some(n));
            }
        }
    }
}
