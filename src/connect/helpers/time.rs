//! The time of a record.

use super::HelperFault;
use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};
use jiff::{Timestamp, Unit};

const FORM: HelperFault = HelperFault(
    "utc_time: expected an RFC 3339 time such as 2026-03-14T08:12:45+11:00, or a day and time without offset, which is \
     read in Pacific/Noumea",
);
pub(super) const FAULTS: &[HelperFault] = &[FORM];

/// The time in UTC, cut to the second, as WIRE.md section 0 writes it:
/// `2026-03-13T21:12:45Z`.
///
/// Takes RFC 3339 with an offset or `Z`, or a civil date and time, with `T` or a
/// blank between, or a day alone (its midnight), which are New Caledonia's:
/// UTC+11 all year.
pub fn utc_time(text: &str) -> Result<String, HelperFault> {
    let text = text.trim();
    let zoned: Option<Timestamp> = text.parse().ok();
    let time = match zoned {
        Some(time) => time,
        None => {
            let civil: DateTime = text.parse().map_err(|_| FORM)?;
            let noumea = TimeZone::fixed(Offset::constant(11));
            civil.to_zoned(noumea).map_err(|_| FORM)?.timestamp()
        }
    };
    let cut = jiff::TimestampRound::new().smallest(Unit::Second).mode(jiff::RoundMode::Floor);
    let time = time.round(cut).map_err(|_| FORM)?;
    let written = time.to_string();
    // A year before 0 or after 9999 isn't of the wire's form.
    crate::event::parse_time(&written).map_err(|_| FORM)?;
    Ok(written)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_time_is_cut_to_the_second_in_utc() {
        for (written, utc) in [
            ("2026-03-14T08:12:45+11:00", "2026-03-13T21:12:45Z"),
            ("2026-03-14T08:12:45.999+11:00", "2026-03-13T21:12:45Z"),
            ("2026-03-13T21:12:45Z", "2026-03-13T21:12:45Z"),
            ("2026-03-14T08:12:45", "2026-03-13T21:12:45Z"),
            ("2026-03-14 08:12:45.5", "2026-03-13T21:12:45Z"),
            ("2026-03-14", "2026-03-13T13:00:00Z"),
            ("1969-12-31T23:59:59.5Z", "1969-12-31T23:59:59Z"),
        ] {
            assert_eq!(utc_time(written).as_deref(), Ok(utc), "{written}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for wrong in [
            "",
            "hier",
            "14/03/2026",
            "2026-02-30T00:00:00Z",
            "1773436365",
            "2026-03",
            "-000001-01-01T00:00:00Z",
        ] {
            assert_eq!(utc_time(wrong), Err(FORM), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn what_it_gives_is_the_wires_form(text in any::<String>()) {
            if let Ok(time) = utc_time(&text) {
                prop_assert!(crate::event::parse_time(&time).is_ok());
            }
        }
    }
}
