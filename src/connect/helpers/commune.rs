//! A commune by its name.

use super::HelperFault;
use super::text::folded;
use std::collections::HashMap;
use std::sync::LazyLock;

const NUMBER: HelperFault = HelperFault(
    "commune_code: expected a commune's name and got a number; an INSEE code and a postal code look alike (98832 is \
     Yaté's INSEE code and Île des Pins' postal code), so say in the mapping which it is",
);
const UNKNOWN: HelperFault = HelperFault(
    "commune_code: no commune of New Caledonia has this name; correct it in the software, or map its spelling \
     explicitly",
);
pub(super) const FAULTS: &[HelperFault] = &[NUMBER, UNKNOWN];

/// The 33 communes: INSEE code (code officiel géographique) and name without
/// its article.
const COMMUNES: [(&str, &str); 33] = [
    ("98801", "Bélep"),
    ("98802", "Boulouparis"),
    ("98803", "Bourail"),
    ("98804", "Canala"),
    ("98805", "Dumbéa"),
    ("98806", "Farino"),
    ("98807", "Hienghène"),
    ("98808", "Houaïlou"),
    ("98809", "Île des Pins"),
    ("98810", "Kaala-Gomen"),
    ("98811", "Koné"),
    ("98812", "Koumac"),
    ("98813", "Foa"),
    ("98814", "Lifou"),
    ("98815", "Maré"),
    ("98816", "Moindou"),
    ("98817", "Mont-Dore"),
    ("98818", "Nouméa"),
    ("98819", "Ouégoa"),
    ("98820", "Ouvéa"),
    ("98821", "Païta"),
    ("98822", "Poindimié"),
    ("98823", "Ponérihouen"),
    ("98824", "Pouébo"),
    ("98825", "Pouembout"),
    ("98826", "Poum"),
    ("98827", "Poya"),
    ("98828", "Sarraméa"),
    ("98829", "Thio"),
    ("98830", "Touho"),
    ("98831", "Voh"),
    ("98832", "Yaté"),
    ("98833", "Kouaoua"),
];

static BY_NAME: LazyLock<HashMap<String, &'static str>> =
    LazyLock::new(|| COMMUNES.iter().map(|(code, name)| (without_article(name), *code)).collect());

/// The INSEE code of the commune that is called `name`, in any case, with or
/// without accents, hyphens and article, the article in front or behind as
/// Boost writes it (`MONT-DORE (LE)`).
///
/// A number is refused, even if it is some commune's code: the postal codes are
/// of the same form. Poya is one commune, whatever the province.
pub fn commune_code(name: &str) -> Result<&'static str, HelperFault> {
    if name.chars().any(|c| c.is_ascii_digit()) {
        return Err(NUMBER);
    }
    BY_NAME.get(&without_article(name)).copied().ok_or(UNKNOWN)
}

/// The folded name, its words separated by one space, without the article.
fn without_article(name: &str) -> String {
    let folded = folded(name);
    let mut words: Vec<&str> =
        folded.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let article = |word: &str| matches!(word, "le" | "la" | "les" | "l");
    if words.len() > 1 {
        if article(words[0]) {
            words.remove(0);
        } else if article(words[words.len() - 1]) {
            words.pop();
        }
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commune_is_found_however_it_is_written() {
        for (written, code) in [
            ("MONT-DORE (LE)", "98817"),
            ("Le Mont-Dore", "98817"),
            ("mont dore", "98817"),
            ("NOUMEA", "98818"),
            ("Noume\u{301}a", "98818"),
            (" Nouméa ", "98818"),
            ("FOA (LA)", "98813"),
            ("La Foa", "98813"),
            ("ILE DES PINS (L')", "98809"),
            ("L’Île-des-Pins", "98809"),
            ("L'ÎLE DES PINS", "98809"),
            ("KAALA-GOMEN", "98810"),
            ("HOUAILOU", "98808"),
            ("POYA", "98827"),
            ("Yaté", "98832"),
        ] {
            assert_eq!(commune_code(written), Ok(code), "{written}");
        }
    }

    #[test]
    fn every_commune_has_its_own_code_and_is_found_by_its_own_name() {
        assert_eq!(BY_NAME.len(), COMMUNES.len());
        for (at, (code, name)) in COMMUNES.iter().enumerate() {
            assert_eq!(*code, format!("988{:02}", at + 1));
            assert_eq!(commune_code(name), Ok(*code));
            assert_eq!(commune_code(&name.to_uppercase()), Ok(*code));
        }
    }

    #[test]
    fn the_schemas_code_list_has_the_same_communes() {
        let list = include_str!("../../../schemas/codelists/communes.csv");
        let mut rows = csv::Reader::from_reader(list.as_bytes());
        let rows: Vec<csv::StringRecord> = rows.records().map(Result::unwrap).collect();
        assert_eq!(rows.len(), COMMUNES.len());
        for row in rows {
            assert_eq!(commune_code(&row[1]), Ok(&row[0]));
        }
    }

    #[test]
    fn a_postal_code_is_not_a_name_even_where_it_is_an_insee_code() {
        assert_eq!(commune_code("98832"), Err(NUMBER));
        assert_eq!(commune_code("98800"), Err(NUMBER));
        assert_eq!(commune_code("98800 NOUMEA"), Err(NUMBER));
    }

    #[test]
    fn an_unknown_name_is_an_error_and_never_a_guess() {
        for name in ["Paris", "Mont", "Dore", "Nouméa Sud", "LE", "()", "Île", "Pins"] {
            assert_eq!(commune_code(name), Err(UNKNOWN), "{name}");
        }
    }
}
