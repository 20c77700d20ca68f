//! Companies' numbers: RID and RIDET.

use super::HelperFault;

const RIDET_FORM: HelperFault = HelperFault(
    "ridet: expected 10 digits (9 where a leading zero was lost), with dots or spaces between them if need be",
);
const RIDET_IS_RID: HelperFault = HelperFault(
    "ridet: this has a RID's length (7 digits, 6 where a zero was lost): the establishment's 3 digits are missing",
);
const RID_FORM: HelperFault = HelperFault(
    "rid: expected 7 digits (6 where a leading zero was lost), or a RIDET of 10 (9), with dots or spaces between \
     them if need be",
);
pub(super) const FAULTS: &[HelperFault] = &[RIDET_FORM, RIDET_IS_RID, RID_FORM];

/// The canonical RIDET of an establishment: 10 digits, the company's RID (7) and
/// the establishment (3).
///
/// Takes dots and spaces as separators, and puts back a leading zero that a
/// spreadsheet lost (9 digits).
pub fn ridet(text: &str) -> Result<String, HelperFault> {
    match digits(text) {
        Some(digits) if digits.len() == 10 => Ok(digits),
        Some(digits) if digits.len() == 9 => Ok(format!("0{digits}")),
        Some(digits) if matches!(digits.len(), 6 | 7) => Err(RIDET_IS_RID),
        _ => Err(RIDET_FORM),
    }
}

/// The canonical RID of a company: 7 digits. A RIDET is cut to its RID.
pub fn rid(text: &str) -> Result<String, HelperFault> {
    match digits(text) {
        Some(digits) if digits.len() == 7 => Ok(digits),
        Some(digits) if digits.len() == 6 => Ok(format!("0{digits}")),
        Some(digits) if matches!(digits.len(), 9 | 10) => {
            let mut rid = format!("{digits:0>10}");
            rid.truncate(7);
            Ok(rid)
        }
        _ => Err(RID_FORM),
    }
}

/// The ASCII digits of `text`, or none if it holds something else than digits,
/// dots and blanks.
fn digits(text: &str) -> Option<String> {
    let mut digits = String::with_capacity(10);
    for c in text.chars() {
        match c {
            '0'..='9' => digits.push(c),
            '.' => {}
            c if c.is_whitespace() => {}
            _ => return None,
        }
    }
    Some(digits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_ridet_is_ten_digits_however_it_is_written() {
        for written in [
            "0213652002",
            "0213652.002",
            "0 213 652 002",
            "0\u{a0}213\u{202f}652.002",
            "213652002",
            "213652.002",
        ] {
            assert_eq!(ridet(written).as_deref(), Ok("0213652002"), "{written}");
        }
        assert_eq!(ridet("1213652.002").as_deref(), Ok("1213652002"));
    }

    #[test]
    fn what_is_no_ridet_is_refused() {
        assert_eq!(ridet("0213652"), Err(RIDET_IS_RID));
        assert_eq!(ridet("213652"), Err(RIDET_IS_RID));
        for wrong in
            ["12345678", "02136520021", "0213652/002", "RIDET 0213652002", "0213652-002", "٠213652002", "."]
        {
            assert_eq!(ridet(wrong), Err(RIDET_FORM), "{wrong}");
        }
    }

    #[test]
    fn a_rid_is_seven_digits_and_the_beginning_of_a_ridet() {
        for written in ["0213652", "213652", "0 213 652", "0213652.002", "213652002"] {
            assert_eq!(rid(written).as_deref(), Ok("0213652"), "{written}");
        }
        assert_eq!(rid("12345678"), Err(RID_FORM));
        assert_eq!(rid("12345"), Err(RID_FORM));
    }

    proptest! {
        #[test]
        fn a_canonical_ridet_stays_as_it_is_and_holds_its_rid(number in 0u64..10_000_000_000) {
            let canonical = format!("{number:010}");
            prop_assert_eq!(ridet(&canonical), Ok(canonical.clone()));
            prop_assert_eq!(rid(&canonical), Ok(canonical[..7].to_owned()));
            let lost = canonical.strip_prefix('0').unwrap_or(&canonical);
            prop_assert_eq!(ridet(lost), Ok(canonical.clone()));
        }

        #[test]
        fn no_text_makes_it_panic(text in any::<String>()) {
            let _ = (rid(&text), ridet(&text));
        }
    }
}
