# One offer of Boost (societe/offre_emploi) → nc.employment.offer.published, version 1.
# Helpers in Rust: see connectors/README.md. [A] is assumed: see README.md here.

# A {code, label} of Boost; nothing where it holds neither.
def entry:
  {code: (.code | person_name), label: ((.label | person_name) // (.code | person_name))}
  | if .label then . else empty end;

def coded: entry // null;

def all_coded: [(. // [])[] | entry];

# A draft isn't published yet [A]: no event.
select(.statut != "BROUILLON")
| {
    number: (.numero | person_name),
    status: (
      if .statut == null then error("statut is missing")
      else {PUBLIEE: "open", SUSPENDUE: "suspended", POURVUE: "filled", CLOTUREE: "closed", ANNULEE: "cancelled"}[.statut] // "other"
      end),
    title: (.intituleDuPoste | person_name // error("intituleDuPoste is missing")),
    description: (.resumeGrandPublic | html_text),
    positions: .nbPostesDisponibles,
    start_date: (.dateRecrutement | partial_date),
    occupation: (.rome | coded),
    appellation: (.appellation | coded),
    contract_type: (.typeDeContrat | coded),
    # annee, mois and jour are the contract's duration [A], not a date.
    contract_duration: (
      {years: (.annee // 0), months: (.mois // 0), days: (.jour // 0)}
      | if .years + .months + .days == 0 then null else . end),
    working_time: (
      if .dureeHebdomadaire == null then null
      else {TEMPS_COMPLET: "full_time", TEMPS_PARTIEL: "part_time"}[.dureeHebdomadaire]
        // error("dureeHebdomadaire isn't TEMPS_COMPLET or TEMPS_PARTIEL")
      end),
    experience: (
      if .niveauExperience == null then null
      else {
          AUCUNE: "none", MOINS_1AN: "less_than_one_year", AU_MOINS_1AN: "one_year",
          "3AN": "three_years", "5AN": "five_years", "10AN": "ten_years"
        }[.niveauExperience]
        // error("niveauExperience isn't AUCUNE, MOINS_1AN, AU_MOINS_1AN, 3AN, 5AN or 10AN")
      end),
    education_level: (.niveauDeDiplome | coded),
    diploma_required: .diplomeExige,
    diploma: (.intituleDiplome | person_name),
    district: (.quartier | person_name),
    commune: (.commune.code | commune_code),
    # As Boost says, never from the commune: Poya lies in two provinces.
    province: (
      if .province.code == null then null
      else {PROVINCE_NORD: "nord", PROVINCE_SUD: "sud", PROVINCE_ILES: "iles"}[.province.code]
        // error("province.code isn't PROVINCE_NORD, PROVINCE_SUD or PROVINCE_ILES")
      end),
    skills: (.competence | all_coded),
    driving_licences: (.permisExiges | all_coded),
    caces: (.permisCacesExiges | all_coded),
    certificates: (.brevetEtCertificats | all_coded),
    languages: (.langue | all_coded),
    software: (.logiciel | all_coded),
    employers: [
      (.employeur // [])[]
      | {
          name: ((.raison_sociale | person_name) // (.label | person_name) // error("employeur has no raison_sociale and no label")),
          trade_name: (.enseigne | person_name),
          ridet: (.ridet | ridet),
          # An employer's number has 7 digits. One of 6 may be a person's own number: it isn't sent on.
          cafat_number: (.numero_cafat | if type == "string" and length == 7 then . else null end)
        }
    ],
    updated_at: (._operation_date | utc_time)
  }
