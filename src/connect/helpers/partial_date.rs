//! Dates of which the day, or the month too, may be unknown.

use super::HelperFault;

const FORM: HelperFault = HelperFault(
    "partial_date: expected YYYY, YYYY-MM, YYYY-MM-DD, MM/YYYY or DD/MM/YYYY, with 00 for a month or day that isn't \
     known",
);
const CALENDAR: HelperFault =
    HelperFault("partial_date: the calendar has no such day, or the year isn't 1800 to 2199");
const DAY_WITHOUT_MONTH: HelperFault = HelperFault("partial_date: a day is given and its month is 00");
pub(super) const FAULTS: &[HelperFault] = &[FORM, CALENDAR, DAY_WITHOUT_MONTH];

/// The canonical form of a date that can be partial: `YYYY`, `YYYY-MM` or
/// `YYYY-MM-DD`.
///
/// Takes those, civil registers' `1950-00-00` and `1950-07-00`, and the French
/// `DD/MM/YYYY` and `MM/YYYY`. What isn't known is left out, never made up.
pub fn partial_date(text: &str) -> Result<String, HelperFault> {
    let text = text.trim();
    let slashed = text.contains('/');
    let mut parts: Vec<&str> = text.split(if slashed { '/' } else { '-' }).collect();
    if slashed {
        parts.reverse();
    }
    let (year, month, day) = match parts[..] {
        [year] if !slashed => (year, None, None),
        [year, month] => (year, Some(month), None),
        [year, month, day] => (year, Some(month), Some(day)),
        _ => return Err(FORM),
    };
    let year = number(year, 4).ok_or(FORM)?;
    let month = month.map_or(Some(0), |m| number(m, 2)).ok_or(FORM)?;
    let day = day.map_or(Some(0), |d| number(d, 2)).ok_or(FORM)?;
    if !(1800..=2199).contains(&year) || month > 12 {
        return Err(CALENDAR);
    }
    match (month, day) {
        (0, 0) => Ok(format!("{year:04}")),
        (0, _) => Err(DAY_WITHOUT_MONTH),
        (month, 0) => Ok(format!("{year:04}-{month:02}")),
        (month, day) if jiff::civil::Date::new(year, month as i8, day as i8).is_ok() => {
            Ok(format!("{year:04}-{month:02}-{day:02}"))
        }
        _ => Err(CALENDAR),
    }
}

/// The number that `text` writes in exactly `width` ASCII digits.
fn number(text: &str, width: usize) -> Option<i16> {
    (text.len() == width && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_isnt_known_is_left_out() {
        for (written, canonical) in [
            ("1950", "1950"),
            ("1950-00-00", "1950"),
            ("1950-00", "1950"),
            ("00/00/1950", "1950"),
            ("1950-07", "1950-07"),
            ("1950-07-00", "1950-07"),
            ("07/1950", "1950-07"),
            ("00/07/1950", "1950-07"),
            ("1950-07-14", "1950-07-14"),
            ("14/07/1950", "1950-07-14"),
            (" 14/07/1950 ", "1950-07-14"),
            ("2024-02-29", "2024-02-29"),
        ] {
            assert_eq!(partial_date(written).as_deref(), Ok(canonical), "{written}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for wrong in [
            "50",
            "19500714",
            "1950-7-4",
            "1950/07/14",
            "14-07-1950",
            "1950-07-14T00:00:00",
            "1950-",
            "/1950",
            "٠٩٥٠",
            "hier",
            "-1950",
            "14/07/50",
            "1950-07-14-01",
            "+950",
            "1950- 7-14",
        ] {
            assert_eq!(partial_date(wrong), Err(FORM), "{wrong}");
        }
        for wrong in ["2023-02-29", "1950-13-01", "1950-04-31", "0000-00-00", "1799", "2200", "31/02/1950"] {
            assert_eq!(partial_date(wrong), Err(CALENDAR), "{wrong}");
        }
        assert_eq!(partial_date("1950-00-14"), Err(DAY_WITHOUT_MONTH));
    }

    proptest! {
        #[test]
        fn the_canonical_form_is_stable(text in "[0-9]{4}(-[0-9]{2}){0,2}|[0-9]{2}/[0-9]{2}/[0-9]{4}") {
            if let Ok(canonical) = partial_date(&text) {
                prop_assert_eq!(partial_date(&canonical), Ok(canonical));
            }
        }

        #[test]
        fn no_text_makes_it_panic(text in any::<String>()) {
            let _ = partial_date(&text);
        }
    }
}
