//! Telephone numbers.

use super::HelperFault;

const FORM: HelperFault = HelperFault(
    "e164: expected a New Caledonian number of 6 digits, or an international one that begins with + or 00",
);
const LENGTH: HelperFault = HelperFault(
    "e164: an international number has 8 to 15 digits after the +, doesn't begin with 0, and has 6 digits after +687",
);
pub(super) const FAULTS: &[HelperFault] = &[FORM, LENGTH];

/// The number in ITU-T E.164 form, `+687751234`.
///
/// Six digits are New Caledonian. Blanks, dots, hyphens, slashes and brackets
/// may separate the digits; an international number begins with `+` or `00`, or
/// is 687 and six digits. The trunk zero of `+33 (0)6…` goes. A French number
/// without its prefix (`06…`) is refused: it isn't known to be French.
pub fn e164(text: &str) -> Result<String, HelperFault> {
    let text = text.trim();
    let (mut international, rest) = match text.strip_prefix('+') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let rest = if international { rest.replacen("(0)", "", 1) } else { rest.to_owned() };
    let mut digits = String::with_capacity(16);
    for c in rest.chars() {
        match c {
            '0'..='9' => digits.push(c),
            '.' | '-' | '/' | '(' | ')' => {}
            c if c.is_whitespace() => {}
            _ => return Err(FORM),
        }
    }
    if !international {
        if let Some(rest) = digits.strip_prefix("00") {
            digits = rest.to_owned();
            international = true;
        } else if digits.len() == 9 && digits.starts_with("687") {
            international = true;
        }
    }
    match (international, digits.len()) {
        (false, 6) => Ok(format!("+687{digits}")),
        (false, _) => Err(FORM),
        (true, 8..=15) if !digits.starts_with('0') => match digits.strip_prefix("687") {
            Some(local) if local.len() != 6 => Err(LENGTH),
            _ => Ok(format!("+{digits}")),
        },
        (true, _) => Err(LENGTH),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn six_digits_are_new_caledonian() {
        for written in [
            "751234",
            "75.12.34",
            "75 12 34",
            "75-12-34",
            "+687 75 12 34",
            "00687 751234",
            "687751234",
            "(687) 75.12.34",
        ] {
            assert_eq!(e164(written).as_deref(), Ok("+687751234"), "{written}");
        }
    }

    #[test]
    fn an_international_number_keeps_its_country() {
        assert_eq!(e164("+33 6 12 34 56 78").as_deref(), Ok("+33612345678"));
        assert_eq!(e164("+33 (0)6 12 34 56 78").as_deref(), Ok("+33612345678"));
        assert_eq!(e164("0061 2 9876 5432").as_deref(), Ok("+61298765432"));
        assert_eq!(e164("+678 22345").as_deref(), Ok("+67822345"));
    }

    #[test]
    fn what_isnt_surely_a_number_is_refused() {
        for wrong in ["06 12 34 56 78", "12345", "1234567", "75.12.34 poste 2", "néant", "75+1234", "٧٥١٢٣٤"]
        {
            assert_eq!(e164(wrong), Err(FORM), "{wrong}");
        }
        for wrong in ["+687 7512", "+687 75 12 34 5", "+0612345678", "+1234567", "+1234567890123456", "+"] {
            assert_eq!(e164(wrong), Err(LENGTH), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn what_it_gives_is_e164_and_stable(text in any::<String>()) {
            if let Ok(number) = e164(&text) {
                prop_assert!(number.starts_with('+') && (9..=16).contains(&number.len()));
                prop_assert_eq!(e164(&number), Ok(number));
            }
        }
    }
}
