# One jobseeker of Boost (societe/demandeur_emploi, assumed [A]) →
# nc.employment.jobseeker.registered, version 1.
# Helpers in Rust: see connectors/README.md.

# A {code, label} of Boost; nothing where it holds neither.
def entry:
  {code: (.code | person_name), label: ((.label | person_name) // (.code | person_name))}
  | if .label then . else empty end;

def coded: entry // null;

# The postal code that a line of an address begins with, if it does: New Caledonia's begin with 988.
def postal_code:
  if startswith("988") then .[:5] | select(length == 5 and all(explode[]; . >= 48 and . <= 57)) else empty end;

{
  person: {
    # All given names in one text, separated by blanks [A].
    given_names: ((.prenoms | person_name | values / " ") // []),
    family_name: (.nom | person_name // error("nom is missing")),
    preferred_username: (.nomUsage | person_name),
    birthdate: (.dateNaissance | partial_date),
    gender: (
      if .civilite == null then null
      else {M: "male", MME: "female", MLLE: "female"}[.civilite] // error("civilite isn't M, MME or MLLE")
      end),
    # A commune by its name, or none: birth abroad [A].
    birthplace: (.communeNaissance.code | commune_code),
    birthcountry: (.paysNaissance.code | person_name),
    other_names: [
      (.autresNoms // [])[]
      | {
          kind: ({COUTUMIER: "customary", MELANESIEN: "individual_melanesian", USAGE: "usage", ANCIEN: "former"}[.type // ""]
            // error("autresNoms.type isn't COUTUMIER, MELANESIEN, USAGE or ANCIEN")),
          name: (.valeur | person_name // error("autresNoms.valeur is missing")),
          from: (.depuis | partial_date)
        }
    ]
  },
  contact: (
    {
      email: (.courriel | person_name),
      phone: (.telephone | e164),
      address: (
        [(.adresse // "" | . / "\n")[] | person_name | values] as $lines
        # The last line holds the postal code and the commune's name, if there is a code.
        | (($lines[-1] // "" | postal_code) // null) as $code
        | {
            lines: (if $code then $lines[:-1] else $lines end),
            postal_code: $code,
            commune: (.commune.code | commune_code)
          }
        | if .lines == [] and .postal_code == null and .commune == null then null else . end)
    }
    | if .email == null and .phone == null and .address == null then null else . end),
  status: (
    if .statut == null then error("statut is missing")
    else {INSCRIT: "active", EN_FORMATION: "in_training", SUSPENDU: "suspended", RADIE: "closed"}[.statut] // "other"
    end),
  registered_on: (.dateInscription | partial_date // error("dateInscription is missing")),
  sought_occupations: [(.rome // [])[] | entry],
  education_level: (.niveauDeFormation | coded),
  updated_at: (._operation_date | utc_time)
}
