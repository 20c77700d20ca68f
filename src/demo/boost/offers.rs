//! Synthetic offers of employment, of the form of Boost's public table.

use serde::Serialize;

use super::Labelled;
use super::draw::{self, Draw};
use super::people::LEVELS;
use super::places::commune_of;
use super::work::{COMPANIES, DUTIES, ENDINGS, OCCUPATIONS, Occupation, QUARTERS};

/// Distinguishes the table's draws from other tables'.
pub(super) const SALT: u64 = 0x0F;

/// A row of the table of offers, as is public but for `_operation_date`, which
/// is public on the log's table only.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Offer {
    id: String,
    numero: String,
    statut: &'static str,
    #[serde(rename = "row_hash")]
    row_hash: String,
    intitule_du_poste: String,
    resume_grand_public: String,
    nb_postes_disponibles: u32,
    date_recrutement: String,
    annee: Option<u32>,
    mois: Option<u32>,
    jour: Option<u32>,
    duree_hebdomadaire: Option<&'static str>,
    niveau_experience: Option<&'static str>,
    diplome_exige: bool,
    intitule_diplome: Option<&'static str>,
    quartier: Option<&'static str>,
    rome: Labelled,
    appellation: Labelled,
    type_de_contrat: Option<Labelled>,
    niveau_de_diplome: Option<Labelled>,
    commune: Labelled,
    province: Labelled,
    competence: Vec<Labelled>,
    permis_exiges: Vec<Labelled>,
    permis_caces_exiges: Vec<Labelled>,
    brevet_et_certificats: Vec<Labelled>,
    langue: Vec<Labelled>,
    logiciel: Vec<Labelled>,
    employeur: Vec<Employer>,
    #[serde(rename = "_operation_date")]
    operation_date: String,
}

/// Who offers the post.
#[derive(Serialize)]
struct Employer {
    label: &'static str,
    ridet: String,
    enseigne: &'static str,
    #[serde(rename = "numero_cafat")]
    numero_cafat: String,
    #[serde(rename = "raison_sociale")]
    raison_sociale: &'static str,
}

const CDI: Labelled = Labelled { code: "CDI", label: "Contrat à durée indéterminée" };
const CDD: Labelled = Labelled { code: "CDD", label: "Contrat à durée déterminée" };
const CDIC: Labelled = Labelled { code: "CDIC", label: "Contrat à durée indéterminée de chantier" };
const FRENCH: Labelled = Labelled { code: "FR", label: "Français" };
const ENGLISH: Labelled = Labelled { code: "EN", label: "Anglais" };
const LICENCES: [Labelled; 3] = [
    Labelled { code: "B", label: "Permis B" },
    Labelled { code: "C", label: "Permis C" },
    Labelled { code: "EC", label: "Permis EC" },
];
const CACES: Labelled = Labelled { code: "R489", label: "Chariots de manutention" };
const FIRST_AID: Labelled = Labelled { code: "SST", label: "Sauveteur secouriste du travail" };
const OFFICE: Labelled = Labelled { code: "TABLEUR", label: "Tableur" };

impl Offer {
    /// The id of row `row`: 32 hex digits, rising with the row.
    pub fn id(seed: u64, row: usize) -> String {
        draw::row_id(seed, SALT, row as u64)
    }

    /// Row `row` of the table that `seed` makes.
    pub fn row(seed: u64, row: usize) -> Offer {
        let row = row as u64;
        let draw = &mut Draw::of(seed, SALT, row);
        let entered = draw::entered(seed, SALT, row);
        let occupation = &OCCUPATIONS[draw.below(OCCUPATIONS.len() as u64) as usize];
        let commune = commune_of(draw);
        let contract = contract(draw);
        let [annee, mois, jour] = duration(contract, draw);
        let diploma = draw.percent(30);
        let start = entered.date().saturating_add(jiff::Span::new().days(draw.within(3, 90) as i64));
        Offer {
            id: draw::row_id(seed, SALT, row),
            numero: format!("OF-{:04}-{:02}-{:05}", entered.year(), entered.month(), row + 1),
            statut: match draw.below(100) {
                0..78 => "PUBLIEE",
                78..94 => "POURVUE",
                _ => "ANNULEE",
            },
            row_hash: draw::hex32(draw.next(), draw.next()),
            intitule_du_poste: title(occupation, draw),
            resume_grand_public: description(draw),
            nb_postes_disponibles: if draw.percent(80) { 1 } else { draw.within(2, 12) as u32 },
            date_recrutement: start.to_string(),
            annee,
            mois,
            jour,
            duree_hebdomadaire: draw.pick(&[
                Some("TEMPS_COMPLET"),
                Some("TEMPS_COMPLET"),
                Some("TEMPS_COMPLET"),
                Some("TEMPS_PARTIEL"),
                None,
            ]),
            niveau_experience: draw.pick(&[
                Some("AUCUNE"),
                Some("AUCUNE"),
                Some("MOINS_1AN"),
                Some("AU_MOINS_1AN"),
                Some("3AN"),
                Some("5AN"),
                Some("10AN"),
                None,
            ]),
            diplome_exige: diploma,
            intitule_diplome: (diploma && draw.percent(60)).then_some("Diplôme d’État ou équivalent"),
            quartier: draw.percent(25).then(|| draw.pick(&QUARTERS)),
            rome: occupation.rome,
            appellation: occupation.job,
            type_de_contrat: contract,
            niveau_de_diplome: diploma.then(|| draw.pick(&LEVELS)),
            commune: commune.named,
            province: commune.province,
            competence: occupation.skills[..draw.below(3) as usize].to_vec(),
            permis_exiges: some(draw.percent(35), draw.pick(&LICENCES)),
            permis_caces_exiges: some(occupation.caces && draw.percent(60), CACES),
            brevet_et_certificats: some(draw.percent(8), FIRST_AID),
            langue: languages(draw),
            logiciel: some(occupation.rome.code.starts_with('M') && draw.percent(50), OFFICE),
            employeur: if draw.percent(97) { vec![employer(draw)] } else { Vec::new() },
            operation_date: draw::with_offset(&entered),
        }
    }
}

fn some(is: bool, what: Labelled) -> Vec<Labelled> {
    if is { vec![what] } else { Vec::new() }
}

fn contract(draw: &mut Draw) -> Option<Labelled> {
    match draw.below(100) {
        0..45 => Some(CDD),
        45..90 => Some(CDI),
        90..97 => Some(CDIC),
        _ => None,
    }
}

/// Years, months and days of the contract: none where it has no end.
fn duration(contract: Option<Labelled>, draw: &mut Draw) -> [Option<u32>; 3] {
    match contract {
        Some(CDD) => match draw.below(3) {
            0 => [Some(0), Some(draw.within(1, 11) as u32), Some(0)],
            1 => [Some(1), Some(0), Some(0)],
            _ => [Some(0), Some(0), Some(draw.within(5, 28) as u32)],
        },
        _ => [None; 3],
    }
}

fn title(occupation: &Occupation, draw: &mut Draw) -> String {
    let job = occupation.job.label;
    match draw.below(4) {
        0 => job.to_owned(),
        1 => format!("{job} (H/F)"),
        2 => job.to_uppercase(),
        _ => format!("{} – {}", job.replace('\'', "’"), occupation.rome.label),
    }
}

/// A description in HTML, with the entities and the sloppiness of an editor.
fn description(draw: &mut Draw) -> String {
    let mut html = String::with_capacity(512);
    html.push_str("<p>Au sein de l&#39;&eacute;quipe, vous assurez&nbsp;:</p><ul>");
    let first = draw.below(DUTIES.len() as u64) as usize;
    for n in 0..draw.within(2, 4) as usize {
        html.push_str(DUTIES[(first + n) % DUTIES.len()]);
    }
    html.push_str("</ul>");
    html.push_str(draw.pick(&ENDINGS));
    html
}

fn languages(draw: &mut Draw) -> Vec<Labelled> {
    let mut languages = some(draw.percent(60), FRENCH);
    if draw.percent(15) {
        languages.push(ENGLISH);
    }
    languages
}

/// One of the companies, with a RIDET of its own in one of the forms met.
fn employer(draw: &mut Draw) -> Employer {
    let which = draw.below(COMPANIES.len() as u64);
    let (name, sign) = COMPANIES[which as usize];
    // Up to 6 significant digits in four out of five: the first 0 is lost easily.
    let company = if which.is_multiple_of(5) { 1_300_000 + which * 7_919 } else { 200_000 + which * 13_597 };
    let place = draw.within(1, 4);
    let ridet = match draw.below(100) {
        0..70 => format!("{company:07}.{place:03}"),
        70..85 => {
            let (a, b, c) = (company / 1_000_000, company / 1_000 % 1_000, company % 1_000);
            format!("{a} {b:03} {c:03} {place:03}")
        }
        // As a spreadsheet gives it back, without its leading zero.
        _ => format!("{company}{place:03}"),
    };
    Employer {
        label: name,
        ridet,
        enseigne: sign,
        numero_cafat: format!("{:07}", 100_000 + which * 4_217),
        raison_sociale: name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offers(count: usize) -> Vec<Offer> {
        (0..count).map(|row| Offer::row(4, row)).collect()
    }

    #[test]
    fn a_row_has_the_members_of_boosts_public_table_in_their_order() {
        let row = serde_json::to_value(Offer::row(4, 0)).unwrap();
        let names: Vec<&str> = row.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(
            names.join(" "),
            "id numero statut row_hash intituleDuPoste resumeGrandPublic nbPostesDisponibles \
             dateRecrutement annee mois jour dureeHebdomadaire niveauExperience diplomeExige \
             intituleDiplome quartier rome appellation typeDeContrat niveauDeDiplome commune province \
             competence permisExiges permisCacesExiges brevetEtCertificats langue logiciel employeur \
             _operation_date"
        );
        let employer = serde_json::to_value(employer(&mut Draw::of(4, 0, 0))).unwrap();
        let names: Vec<&str> = employer.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(names, ["label", "ridet", "enseigne", "numero_cafat", "raison_sociale"]);
    }

    #[test]
    fn ridets_are_in_boosts_form_in_others_and_without_their_leading_zero() {
        let ridets: Vec<String> =
            offers(2_000).into_iter().flat_map(|o| o.employeur).map(|e| e.ridet).collect();
        assert!(ridets.iter().any(|r| r.len() == 11 && r.as_bytes()[7] == b'.'));
        assert!(ridets.iter().any(|r| r.contains(' ') && r.starts_with("0 ")));
        assert!(ridets.iter().any(|r| r.len() == 9 && r.bytes().all(|b| b.is_ascii_digit())));
        for ridet in &ridets {
            let digits = ridet.bytes().filter(u8::is_ascii_digit).count();
            assert!(digits == 10 || (digits == 9 && ridet.len() == 9), "{ridet}");
        }
    }

    #[test]
    fn some_offers_leave_out_what_boost_may_leave_out() {
        let offers = offers(2_000);
        assert!(offers.iter().any(|o| o.employeur.is_empty()));
        assert!(offers.iter().any(|o| o.type_de_contrat.is_none()));
        assert!(offers.iter().any(|o| o.duree_hebdomadaire.is_none()));
        assert!(offers.iter().any(|o| o.commune.code == "MONT-DORE (LE)"));
        assert!(offers.iter().any(|o| o.resume_grand_public.contains("&#xE9;")));
    }

    #[test]
    fn the_occupations_have_33_different_codes() {
        let mut codes: Vec<&str> = OCCUPATIONS.iter().map(|o| o.rome.code).collect();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), 33);
    }
}
