# One jobseeker of Boost (societe/demandeur_emploi, assumed [A]) →
# nc.employment.jobseeker.registered, version 1.
# Helpers in Rust: see connectors/README.md.

# A {code, label} of Boost; none where it holds neither.
def coded:
  if . == null then null
  else (.code | person_name) as $code | ((.label | person_name) // $code) as $label
    | if $label == null then null else {code: $code, label: $label} end
  end;

# The postal code that a line of an address begins with, if it does.
def postal_code: .[:5] | select(length == 5 and all(explode[]; . >= 48 and . <= 57));

{
  person: {
    # All given names in one text, separated by blanks [A].
    given_names: ((.prenoms | person_name) as $names | if $names == null then [] else $names / " " end),
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
        ((.adresse // "") / "\n" | map(person_name | values)) as $lines
        | (.commune.code | commune_code) as $commune
        | if $lines == [] and $commune == null then null
          else {
            lines: [$lines[] | select([postal_code] == [])],
            postal_code: ([$lines[] | postal_code] | last),
            commune: $commune
          }
          end)
    }
    | if .email == null and .phone == null and .address == null then null else . end),
  status: (
    if .statut == null then error("statut is missing")
    else {INSCRIT: "active", EN_FORMATION: "in_training", SUSPENDU: "suspended", RADIE: "closed"}[.statut] // "other"
    end),
  registered_on: (.dateInscription | partial_date // error("dateInscription is missing")),
  sought_occupations: [(.rome // [])[] | coded | values],
  education_level: (.niveauDeFormation | coded),
  updated_at: (._operation_date | utc_time)
}
