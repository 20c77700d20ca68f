//! Places as Boost writes them: a commune's code is its name in capitals.

use super::Labelled;

/// A commune: Boost's code and label, and the province that Boost names first.
pub(super) struct Commune {
    pub(super) named: Labelled,
    pub(super) province: Labelled,
    /// How many in a thousand live there, about.
    weight: u16,
    /// The postal code, as an address carries it.
    pub(super) postal: &'static str,
}

const SUD: Labelled = Labelled { code: "PROVINCE_SUD", label: "Province Sud" };
const NORD: Labelled = Labelled { code: "PROVINCE_NORD", label: "Province Nord" };
const ILES: Labelled = Labelled { code: "PROVINCE_ILES", label: "Province des îles Loyauté" };

const fn commune(
    code: &'static str,
    label: &'static str,
    province: Labelled,
    weight: u16,
    postal: &'static str,
) -> Commune {
    Commune { named: Labelled { code, label }, province, weight, postal }
}

/// The 33 communes. The postal codes are those of letters; they aren't INSEE's.
pub(super) const COMMUNES: [Commune; 33] = [
    commune("NOUMEA", "Nouméa", SUD, 345, "98800"),
    commune("DUMBEA", "Dumbéa", SUD, 132, "98835"),
    commune("MONT-DORE (LE)", "Le Mont-Dore", SUD, 102, "98809"),
    commune("PAITA", "Païta", SUD, 91, "98890"),
    commune("LIFOU", "Lifou", ILES, 34, "98820"),
    commune("KONE", "Koné", NORD, 30, "98860"),
    commune("MARE", "Maré", ILES, 21, "98828"),
    commune("BOURAIL", "Bourail", SUD, 20, "98870"),
    commune("POINDIMIE", "Poindimié", NORD, 18, "98822"),
    commune("HOUAILOU", "Houaïlou", NORD, 16, "98816"),
    commune("KOUMAC", "Koumac", NORD, 15, "98850"),
    commune("CANALA", "Canala", NORD, 14, "98813"),
    commune("FOA (LA)", "La Foa", SUD, 13, "98880"),
    commune("KAALA-GOMEN", "Kaala-Gomen", NORD, 12, "98817"),
    commune("OUVEA", "Ouvéa", ILES, 12, "98814"),
    commune("BOULOUPARIS", "Boulouparis", SUD, 12, "98812"),
    commune("POYA", "Poya", NORD, 11, "98827"),
    commune("VOH", "Voh", NORD, 11, "98833"),
    commune("PONERIHOUEN", "Ponérihouen", NORD, 10, "98823"),
    commune("POUEMBOUT", "Pouembout", NORD, 10, "98825"),
    commune("HIENGHENE", "Hienghène", NORD, 9, "98815"),
    commune("THIO", "Thio", SUD, 9, "98829"),
    commune("POUEBO", "Pouébo", NORD, 9, "98824"),
    commune("OUEGOA", "Ouégoa", NORD, 8, "98821"),
    commune("TOUHO", "Touho", NORD, 8, "98831"),
    commune("ILE DES PINS (L')", "L'Île-des-Pins", SUD, 8, "98832"),
    commune("YATE", "Yaté", SUD, 6, "98834"),
    commune("KOUAOUA", "Kouaoua", NORD, 5, "98818"),
    commune("POUM", "Poum", NORD, 5, "98826"),
    commune("BELEP", "Bélep", NORD, 4, "98811"),
    commune("MOINDOU", "Moindou", SUD, 3, "98819"),
    commune("FARINO", "Farino", SUD, 3, "98881"),
    commune("SARRAMEA", "Sarraméa", SUD, 3, "98882"),
];

/// One commune, the populous ones more often.
pub(super) fn commune_of(draw: &mut super::draw::Draw) -> &'static Commune {
    let total: u64 = COMMUNES.iter().map(|c| u64::from(c.weight)).sum();
    let mut left = draw.below(total);
    for commune in &COMMUNES {
        match left.checked_sub(u64::from(commune.weight)) {
            Some(rest) => left = rest,
            None => return commune,
        }
    }
    &COMMUNES[0]
}

/// France, where New Caledonia's communes are, by INSEE's country codes.
pub(super) const FRANCE: Labelled = Labelled { code: "99100", label: "France" };

/// Countries where people who live in New Caledonia were born.
pub(super) const COUNTRIES: [Labelled; 8] = [
    Labelled { code: "99243", label: "Viêt Nam" },
    Labelled { code: "99231", label: "Indonésie" },
    Labelled { code: "99514", label: "Vanuatu" },
    Labelled { code: "99508", label: "Fidji" },
    Labelled { code: "99501", label: "Australie" },
    Labelled { code: "99502", label: "Nouvelle-Zélande" },
    Labelled { code: "99131", label: "Belgique" },
    Labelled { code: "99217", label: "Japon" },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_communes_are_33_and_their_codes_are_all_different() {
        let mut codes: Vec<&str> = COMMUNES.iter().map(|c| c.named.code).collect();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), 33);
        for province in [(SUD.code, 13), (NORD.code, 17), (ILES.code, 3)] {
            assert_eq!(COMMUNES.iter().filter(|c| c.province.code == province.0).count(), province.1);
        }
    }
}
