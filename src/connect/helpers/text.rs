//! Names: kept as they were written, compared folded.

use unicode_normalization::UnicodeNormalization;

/// The name without blanks at its ends, inner blanks one space each, and
/// everything else as it was written: every apostrophe, accent and case. None
/// if nothing is left.
pub fn person_name(text: &str) -> Option<String> {
    let mut name = String::with_capacity(text.len());
    for word in text.split_whitespace() {
        if !name.is_empty() {
            name.push(' ');
        }
        name.push_str(word);
    }
    (!name.is_empty()).then_some(name)
}

/// The form in which two spellings of a name are compared: never shown, never
/// sent in place of the name.
///
/// NFKD without combining marks, lower case, the letters that NFKD leaves alone
/// (Đ, Œ, Æ, Ł, Ø, ß, ı) in ASCII, every apostrophe and glottal letter (`'`, `’`,
/// `` ` ``, `ʻ`, `ʼ`, `ꞌ`) the same apostrophe, every hyphen and dash the same
/// hyphen, blanks one space.
pub fn folded(text: &str) -> String {
    let mut folded = String::with_capacity(text.len());
    let mut blank = false;
    // NFKD takes U+00B4 for a blank with an accent.
    let text = text.chars().map(|c| if c == '´' { '\'' } else { c });
    for c in text.nfkd().flat_map(char::to_lowercase).nfkd() {
        if unicode_normalization::char::is_combining_mark(c) {
            continue;
        }
        if c.is_whitespace() {
            blank = true;
            continue;
        }
        if std::mem::take(&mut blank) && !folded.is_empty() {
            folded.push(' ');
        }
        match c {
            'đ' | 'ð' => folded.push('d'),
            'ł' => folded.push('l'),
            'ø' => folded.push('o'),
            'ħ' => folded.push('h'),
            'ŧ' => folded.push('t'),
            'ı' => folded.push('i'),
            'œ' => folded.push_str("oe"),
            'æ' => folded.push_str("ae"),
            'ß' => folded.push_str("ss"),
            'þ' => folded.push_str("th"),
            '’' | '‘' | '‛' | '`' | '´' | '′' | 'ʻ' | 'ʼ' | 'ʽ' | 'ʹ' | 'ʾ' | 'ʿ' | 'ˈ' | 'ꞌ' | '＇' =>
            {
                folded.push('\'');
            }
            '‐' | '‑' | '‒' | '–' | '—' | '―' | '−' => folded.push('-'),
            c => folded.push(c),
        }
    }
    folded
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_name_keeps_everything_but_blanks() {
        assert_eq!(
            person_name("  Marie-Noëlle \u{a0} ʻAhuleo\tĐạt ").as_deref(),
            Some("Marie-Noëlle ʻAhuleo Đạt")
        );
        for name in
            ["N'GUYEN", "N’GUYEN", "N`GUYEN", "Taʻaloga", "Taꞌaloga", "Noe\u{301}", "DUPONT", "d'Almeida"]
        {
            assert_eq!(person_name(name).as_deref(), Some(name));
        }
        assert_eq!(person_name(" \u{a0}\t"), None);
    }

    #[test]
    fn spellings_of_one_name_fold_alike() {
        for spellings in [
            &["N'Guyen", "N’GUYEN", "n`guyen", "Nʻguyen", "Nꞌguyen", "Nʼguyen", "N´guyen"][..],
            &["Đạt", "dat", "DAT", "Ðat"],
            &["Œuvre", "OEUVRE", "œuvre"],
            &["Lætitia", "LAETITIA"],
            &["Łukasz", "lukasz"],
            &["Groß", "GROSS", "groẞ"],
            &["Noe\u{301}", "Noé", "NOE"],
            &["Marie–Noëlle", "marie-noelle", "MARIE‑NOËLLE"],
            &["Jean  Paul", " jean paul "],
        ] {
            for spelling in spellings {
                assert_eq!(folded(spelling), folded(spellings[0]), "{spelling}");
            }
        }
        assert_ne!(folded("N'Guyen"), folded("Nguyen"));
        assert_eq!(folded("İstanbul"), "istanbul");
    }

    proptest! {
        #[test]
        fn folding_twice_is_folding_once(text in any::<String>()) {
            let once = folded(&text);
            prop_assert_eq!(folded(&once), once);
        }

        #[test]
        fn a_name_only_loses_blanks(text in any::<String>()) {
            let squeezed = |t: &str| t.chars().filter(|c| !c.is_whitespace()).collect::<String>();
            let name = person_name(&text).unwrap_or_default();
            prop_assert_eq!(squeezed(&name), squeezed(&text));
            prop_assert_eq!(person_name(&name).unwrap_or_default(), name);
        }
    }
}
