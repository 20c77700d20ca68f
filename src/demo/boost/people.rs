//! Synthetic jobseekers, of the form assumed of Boost's table.

use serde::Serialize;

use super::Labelled;
use super::draw::{self, Draw};
use super::names::{COMMUNITIES, MELANESIAN, Names, STREETS};
use super::places::{COUNTRIES, FRANCE, commune_of};
use super::work::OCCUPATIONS;

/// Distinguishes the table's draws from other tables'.
pub(super) const SALT: u64 = 0xD3;

/// A row of the table of jobseekers: assumed, in the style of the offers.
///
/// It has no `Debug`, like anything that holds a person, though nobody here exists.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Jobseeker {
    id: String,
    numero: String,
    #[serde(rename = "row_hash")]
    row_hash: String,
    statut: &'static str,
    nom: String,
    nom_usage: Option<String>,
    prenoms: String,
    civilite: Option<&'static str>,
    date_naissance: String,
    commune_naissance: Option<Labelled>,
    pays_naissance: Labelled,
    courriel: Option<String>,
    telephone: Option<String>,
    adresse: Option<String>,
    commune: Labelled,
    date_inscription: String,
    niveau_de_formation: Option<Labelled>,
    rome: Vec<Labelled>,
    autres_noms: Vec<OtherName>,
    #[serde(rename = "_operation_date")]
    operation_date: String,
}

/// Another name of a person: customary, individual Melanesian, usage, former.
#[derive(Serialize)]
struct OtherName {
    /// `USAGE`, `COUTUMIER`, `MELANESIEN` or `ANCIEN`.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The name, as it was written.
    valeur: String,
    /// Since when: a date, a partial date, or not known.
    depuis: Option<String>,
}

/// The levels of education, as the French nomenclature of 1969 writes them.
pub(super) const LEVELS: [Labelled; 6] = [
    Labelled { code: "VI", label: "Sans diplôme" },
    Labelled { code: "V", label: "CAP, BEP" },
    Labelled { code: "IV", label: "Baccalauréat" },
    Labelled { code: "III", label: "Bac + 2" },
    Labelled { code: "II", label: "Licence, maîtrise" },
    Labelled { code: "I", label: "Master et au-delà" },
];

impl Jobseeker {
    /// The id of row `row`: 32 hex digits, rising with the row.
    pub fn id(seed: u64, row: usize) -> String {
        draw::row_id(seed, SALT, row as u64)
    }

    /// Row `row` of the table that `seed` makes.
    pub fn row(seed: u64, row: usize) -> Jobseeker {
        let row = row as u64;
        let draw = &mut Draw::of(seed, SALT, row);
        let entered = draw::entered(seed, SALT, row);
        let names = community(draw);
        let woman = draw.percent(52);

        let apostrophe = draw.pick(names.apostrophes);
        let nom = family_name(names, apostrophe, draw);
        let prenoms = given_names(names, woman, apostrophe, draw);
        let nom_usage = usage_name(names, woman, draw);
        let abroad = draw.percent(6);
        let commune = commune_of(draw);
        let adresse = draw.percent(85).then(|| {
            let (number, street) = (draw.within(1, 260), draw.pick(STREETS));
            let (postal, town) = (commune.postal, commune.named.label);
            format!("{number}, {street}\n{postal} {town}")
        });
        Jobseeker {
            id: draw::row_id(seed, SALT, row),
            numero: format!("DE-{:04}-{:06}", entered.year(), row + 1),
            row_hash: draw::hex32(draw.next(), draw.next()),
            statut: match draw.below(100) {
                0..80 => "INSCRIT",
                80..92 => "RADIE",
                _ => "SUSPENDU",
            },
            courriel: draw.percent(70).then(|| mail(&prenoms, &nom, row)),
            nom,
            nom_usage,
            civilite: match draw.below(100) {
                0..3 => None,
                _ => Some(if woman { "MME" } else { "M" }),
            },
            date_naissance: birthdate(entered.year(), draw),
            commune_naissance: (!abroad).then(|| commune_of(draw).named),
            pays_naissance: if abroad { draw.pick(&COUNTRIES) } else { FRANCE },
            telephone: telephone(draw),
            adresse,
            commune: commune.named,
            date_inscription: entered.date().to_string(),
            niveau_de_formation: draw.percent(90).then(|| draw.pick(&LEVELS)),
            rome: occupations(draw),
            autres_noms: other_names(names, woman, entered.year(), draw),
            prenoms,
            operation_date: draw::with_offset(&entered),
        }
    }
}

fn community(draw: &mut Draw) -> &'static Names {
    let mut left = draw.below(100);
    for names in &COMMUNITIES {
        match left.checked_sub(names.percent) {
            Some(rest) => left = rest,
            None => return names,
        }
    }
    &COMMUNITIES[0]
}

/// `text` with its apostrophes written as `apostrophe`.
fn spelled(text: String, apostrophe: char) -> String {
    if apostrophe == '\'' || !text.contains('\'') {
        return text;
    }
    text.chars().map(|c| if c == '\'' { apostrophe } else { c }).collect()
}

/// Mostly in capitals, as clerks type it; sometimes double.
fn family_name(names: &Names, apostrophe: char, draw: &mut Draw) -> String {
    let mut name = draw.pick(names.family).to_owned();
    if draw.percent(8) {
        name.push('-');
        name.push_str(draw.pick(names.family));
    }
    // The apostrophe last: U+A78C counts as a small letter and has a capital.
    spelled(if draw.percent(75) { name.to_uppercase() } else { name }, apostrophe)
}

fn given_names(names: &Names, woman: bool, apostrophe: char, draw: &mut Draw) -> String {
    let from = if woman { names.woman } else { names.man };
    let mut text = (draw.pick(from)).to_owned();
    for _ in 0..draw.below(3) {
        text.push(' ');
        text.push_str(draw.pick(from));
    }
    if names.customary && draw.percent(25) {
        text.push(' ');
        text.push_str(draw.pick(MELANESIAN));
    }
    spelled(text, apostrophe)
}

/// The name of a husband, or another community's: people marry.
fn usage_name(names: &Names, woman: bool, draw: &mut Draw) -> Option<String> {
    if !draw.percent(if woman { 28 } else { 3 }) {
        return None;
    }
    let of = if draw.percent(70) { names } else { community(draw) };
    let apostrophe = draw.pick(of.apostrophes);
    Some(family_name(of, apostrophe, draw))
}

fn other_names(names: &Names, woman: bool, year: i16, draw: &mut Draw) -> Vec<OtherName> {
    let mut others = Vec::new();
    if names.customary {
        if draw.percent(35) {
            others.push(OtherName { kind: "MELANESIEN", valeur: draw.pick(MELANESIAN).into(), depuis: None });
        }
        if draw.percent(20) {
            let apostrophe = draw.pick(names.apostrophes);
            let valeur = family_name(names, apostrophe, draw);
            let since = u64::try_from(year).unwrap_or(2019) - draw.within(1, 20);
            let depuis = Some(partial_date(since, draw));
            others.push(OtherName { kind: "COUTUMIER", valeur, depuis });
        }
    }
    if woman && draw.percent(4) {
        let valeur = family_name(names, '’', draw);
        others.push(OtherName { kind: "ANCIEN", valeur, depuis: None });
    }
    others
}

/// A day, a month or a year of `year`, as Boost is assumed to write each.
fn partial_date(year: u64, draw: &mut Draw) -> String {
    let (month, day) = (draw.within(1, 12), draw.within(1, 28));
    match draw.below(100) {
        0..70 => format!("{year:04}-{month:02}-{day:02}"),
        70..85 => format!("{year:04}-{month:02}-00"),
        _ => format!("{year:04}-00-00"),
    }
}

/// A birth date. Older people's are partial more often.
fn birthdate(now: i16, draw: &mut Draw) -> String {
    let age = draw.within(17, 64);
    let year = u64::try_from(now).unwrap_or(2019) - age;
    let (month, day) = (draw.within(1, 12), draw.within(1, 28));
    match draw.below(100) {
        0..82 => format!("{year:04}-{month:02}-{day:02}"),
        82..90 => format!("{day:02}/{month:02}/{year:04}"),
        90..94 => format!("{year:04}-{month:02}-00"),
        94..97 => format!("{year:04}-00-00"),
        _ => format!("{year:04}"),
    }
}

/// A telephone as people write it; none for one in ten.
fn telephone(draw: &mut Draw) -> Option<String> {
    let first = draw.pick(&[2_u64, 4, 5, 7, 7, 8, 8, 9]);
    let number = first * 100_000 + draw.below(100_000);
    let (a, b, c) = (number / 10_000, number / 100 % 100, number % 100);
    match draw.below(100) {
        0..10 => None,
        10..45 => Some(format!("{a:02}.{b:02}.{c:02}")),
        45..65 => Some(format!("{a:02} {b:02} {c:02}")),
        65..80 => Some(format!("{number:06}")),
        80..94 => Some(format!("+687 {a:02} {b:02} {c:02}")),
        94..97 => Some(format!("+687{number:06}")),
        // The range that ARCEP keeps for fiction.
        _ => Some(format!("+33 6 39 98 {b:02} {c:02}")),
    }
}

fn occupations(draw: &mut Draw) -> Vec<Labelled> {
    let first = draw.below(OCCUPATIONS.len() as u64) as usize;
    let count = draw.below(4) as usize;
    // A stride prime to the list's length never gives one twice.
    (0..count).map(|n| OCCUPATIONS[(first + n * 5) % OCCUPATIONS.len()].rome).collect()
}

/// The letters of a name that may be in an address, then the row: unique.
fn mail(given: &str, family: &str, row: u64) -> String {
    let mut address = String::with_capacity(40);
    let plain = |text: &str| text.chars().filter(char::is_ascii_alphabetic).take(10).collect::<String>();
    address.push_str(&plain(given).to_ascii_lowercase());
    address.push('.');
    address.push_str(&plain(family).to_ascii_lowercase());
    address.push_str(&row.to_string());
    address.push_str("@example.org");
    address
}

#[cfg(test)]
mod tests {
    use super::*;

    fn people(count: usize) -> Vec<Jobseeker> {
        (0..count).map(|row| Jobseeker::row(4, row)).collect()
    }

    #[test]
    fn a_row_depends_on_its_seed_and_its_number_alone() {
        let text = |seed, row| serde_json::to_string(&Jobseeker::row(seed, row)).unwrap();
        assert_eq!(text(4, 17), text(4, 17));
        assert_ne!(text(4, 17), text(4, 18));
        assert_ne!(text(4, 17), text(5, 17));
    }

    #[test]
    fn a_row_has_the_members_that_the_connector_reads_in_their_order() {
        let row = serde_json::to_value(Jobseeker::row(4, 0)).unwrap();
        let names: Vec<&str> = row.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(
            names,
            [
                "id",
                "numero",
                "row_hash",
                "statut",
                "nom",
                "nomUsage",
                "prenoms",
                "civilite",
                "dateNaissance",
                "communeNaissance",
                "paysNaissance",
                "courriel",
                "telephone",
                "adresse",
                "commune",
                "dateInscription",
                "niveauDeFormation",
                "rome",
                "autresNoms",
                "_operation_date"
            ]
        );
    }

    #[test]
    fn every_form_of_the_apostrophe_and_the_letters_that_dont_decompose_occur() {
        let all: String = people(4_000).iter().map(|p| format!("{}{}", p.nom, p.prenoms)).collect();
        for c in ['\'', '’', '`', 'ʻ', 'ꞌ', 'Đ', 'Œ', 'Æ'] {
            assert!(all.contains(c), "{c} U+{:04X}", c as u32);
        }
    }

    #[test]
    fn birth_dates_are_whole_partial_and_the_wrong_way_round() {
        let people = people(2_000);
        let has = |what: &dyn Fn(&str) -> bool| people.iter().any(|p| what(&p.date_naissance));
        assert!(has(&|d| d.len() == 4));
        assert!(has(&|d| d.ends_with("-00-00")));
        assert!(has(&|d| d.ends_with("-00") && !d.ends_with("-00-00")));
        assert!(has(&|d| d.contains('/')));
        assert!(has(&|d| d.len() == 10 && !d.ends_with("-00") && !d.contains('/')));
    }

    #[test]
    fn who_is_born_abroad_has_no_commune_and_who_isnt_has_one() {
        for p in people(1_000) {
            assert_eq!(p.commune_naissance.is_none(), p.pays_naissance != FRANCE);
        }
    }

    #[test]
    fn addresses_and_telephones_are_of_nobody() {
        for p in people(1_000) {
            assert!(p.courriel.is_none_or(|mail| mail.ends_with("@example.org")));
            let telephone = p.telephone.unwrap_or_default();
            let digits = telephone.bytes().filter(u8::is_ascii_digit).count();
            assert!(matches!(digits, 0 | 6 | 9 | 11), "{digits} digits");
            assert!(digits != 11 || telephone.starts_with("+33 6 39 98 "));
        }
    }

    #[test]
    fn nobody_seeks_the_same_occupation_twice() {
        for p in people(1_000) {
            let mut codes: Vec<&str> = p.rome.iter().map(|r| r.code).collect();
            codes.sort_unstable();
            codes.dedup();
            assert_eq!(codes.len(), p.rome.len());
        }
    }
}
