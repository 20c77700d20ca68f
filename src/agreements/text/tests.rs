use super::*;
use jiff::civil::date;
use proptest::prelude::*;

const JOBSEEKER: &str = "nc.employment.jobseeker.registered";
const OFFER: &str = "nc.employment.offer.published";

/// The example of WIRE.md section 5, without the comments.
pub const EXAMPLE: &str = r#"id = "emploi-gouvernement"
version = 1
title = "Suivi des demandeurs d'emploi"
provider = "province-sud"
recipient = "gouvernement"
purpose = "Instruction des aides à l'embauche"
legal_basis = "public-interest"
legal_reference = "Délibération n° 140/CP"
retention_months = 12
valid_from = 2026-01-01
valid_until = 2028-12-31

[[grant]]
type = "nc.employment.jobseeker.registered"
versions = [1]
fields = ["person.family_name", "person.given_names", "person.birthdate", "status"]
subject = "pseudonym"
"#;

#[test]
fn the_example_of_wire_section_5_reads_as_it_should() {
    let agreement = parse_agreement(EXAMPLE).unwrap();
    assert_eq!(agreement.reference(), "emploi-gouvernement:1");
    assert_eq!(agreement.legal_basis, LegalBasis::PublicInterest);
    assert_eq!((agreement.valid_from, agreement.valid_until), (date(2026, 1, 1), date(2028, 12, 31)));
    assert_eq!(agreement.note(), EXAMPLE);
    let grant = agreement.grant_of(JOBSEEKER).unwrap();
    assert_eq!(grant.versions, [1]);
    assert_eq!(grant.fields, ["person.family_name", "person.given_names", "person.birthdate", "status"]);
    assert_eq!(grant.subject, SubjectMode::Pseudonym);
    assert!(!grant.is_whole() && agreement.grant_of(OFFER).is_none());
    let whole = EXAMPLE
        .replace(r#"["person.family_name", "person.given_names", "person.birthdate", "status"]"#, r#"["*"]"#)
        .replace("subject = \"pseudonym\"\n", "");
    let grant = &parse_agreement(&whole).unwrap().grants[0];
    assert!(grant.is_whole() && grant.subject == SubjectMode::Pseudonym);
}

#[test]
fn each_departure_from_the_form_is_refused_with_its_key_or_line() {
    assert!(parse_agreement(EXAMPLE).is_ok());
    let fields = r#"["person.family_name", "person.given_names", "person.birthdate", "status"]"#;
    let grant = EXAMPLE.split_once("\n[[grant]]").unwrap().1;
    let twice = format!("{EXAMPLE}\n[[grant]]{grant}");
    assert!(parse_agreement(&twice).unwrap_err().to_string().starts_with("grant 2: `type`"));
    for (from, to, named) in [
        ("id = \"emploi-gouvernement\"", "id = \"Emploi\"", "`id`"),
        ("id = \"emploi-gouvernement\"", "id = \"a:1\"", "`id`"),
        ("id = \"emploi-gouvernement\"\n", "", "missing field `id`"),
        ("version = 1\n", "version = 0\n", "`version`"),
        ("version = 1\n", "version = -1\n", "line 2"),
        ("version = 1\n", "version = 4294967296\n", "line 2"),
        ("version = 1\n", "version = \"1\"\n", "line 2"),
        ("version = 1\n", "version = 1\nversion = 1\n", "line 3"),
        ("version = 1\n", "version = 1\nverzion = 1\n", "verzion"),
        ("\"Suivi des demandeurs d'emploi\"", "\" \"", "`title`"),
        ("\"Instruction des aides à l'embauche\"", "\"\"", "`purpose`"),
        ("\"Délibération n° 140/CP\"", "\"\"", "`legal_reference`"),
        ("\"province-sud\"", "\"hub\"", "`provider`"),
        ("\"gouvernement\"", "\"Gouvernement\"", "`recipient`"),
        ("\"gouvernement\"", "\"province-sud\"", "`recipient`"),
        ("public-interest", "legitimate-interest", "line 7"),
        ("retention_months = 12", "retention_months = 0", "`retention_months`"),
        ("retention_months = 12", "retention_months = 1201", "`retention_months`"),
        ("retention_months = 12", "retention_months = 37", "`retention_justification`"),
        (
            "retention_months = 12",
            "retention_months = 12\nretention_justification = \"\"",
            "`retention_justification`",
        ),
        ("2026-01-01", "\"2026-01-01\"", "line 10"),
        ("2026-01-01", "2026-01-01T00:00:00", "`valid_from`"),
        ("2026-01-01", "2026-01-01T00:00:00Z", "`valid_from`"),
        ("2026-01-01", "12:00:00", "`valid_from`"),
        ("2026-01-01", "2026-02-30", "line 10"),
        ("2028-12-31", "2025-12-31", "`valid_until`"),
        ("nc.employment.jobseeker.registered", "jobseeker", "grant 1: `type`"),
        ("versions = [1]", "versions = []", "grant 1: `versions`"),
        ("versions = [1]", "versions = [0]", "grant 1: `versions`"),
        ("versions = [1]", "versions = [1, 2, 1]", "grant 1: `versions`"),
        ("versions = [1]\n", "", "missing field `versions`"),
        (fields, "[]", "grant 1: `fields`"),
        (fields, r#"["*", "status"]"#, "grant 1: `fields`"),
        (fields, r#"["*", "*"]"#, "grant 1: `fields`"),
        (fields, r#"["status", "status"]"#, "grant 1: `fields`"),
        (fields, r#"["person."]"#, "grant 1: `fields`"),
        (fields, r#"["person..x"]"#, "grant 1: `fields`"),
        (fields, r#"["1person"]"#, "grant 1: `fields`"),
        (fields, r#"["Person"]"#, "grant 1: `fields`"),
        (fields, r#"["person.*"]"#, "grant 1: `fields`"),
        (fields, r#"[""]"#, "grant 1: `fields`"),
        ("\"pseudonym\"", "\"Own\"", "line 17"),
        ("\"pseudonym\"", "\"pseudonym\"\nmore = 1", "more"),
        ("\"pseudonym\"\n", "\"pseudonym\"", "newline"),
        ("version = 1\n", "version =\t1\n", "line 2 holds a control character"),
        ("version = 1\n", "version = 1\r\n", "line 2 holds a control character"),
    ] {
        let text = EXAMPLE.replacen(from, to, 1);
        assert_ne!(text, EXAMPLE, "{from} isn't in the example");
        let sentence = parse_agreement(&text).unwrap_err().to_string();
        assert!(sentence.contains(named), "{from} → {to}: {sentence}");
    }
    let none = EXAMPLE.split_once("\n[[grant]]").unwrap().0;
    assert!(parse_agreement(none).unwrap_err().to_string().contains("grant"));
    assert!(parse_agreement(&format!("{none}grant = []\n")).unwrap_err().to_string().contains("`grant`"));
    let long = "# x\n".repeat(MAX_TEXT_BYTES);
    assert_eq!(parse_agreement(&long), Err(AgreementFault::TooLarge));
    let justified =
        EXAMPLE.replace("= 12\n", "= 120\nretention_justification = \"Code du travail, article Lp. 1\"\n");
    assert!(parse_agreement(&justified).is_ok());
}

#[test]
fn deep_nesting_ends_in_an_error() {
    for open in ["[", "{a=", "[{a="] {
        let text = format!("id = {}\n", open.repeat(60_000));
        assert!(parse_agreement(&text).is_err());
    }
    let text = format!("{}\n", "a.".repeat(60_000));
    assert!(parse_agreement(&text).is_err());
    for text in ["[PATHa]\n", "PATHa = 1\n", "[[PATHa]]\n", "id = {PATHa = 1}\n"] {
        assert!(parse_agreement(&text.replace("PATH", &"a.".repeat(60_000))).is_err());
    }
}

#[test]
fn a_revocation_is_one_line_and_no_more() {
    assert_eq!(parse_revocation("revoke = \"emploi\"\n").unwrap(), "emploi");
    for text in
        ["revoke = \"emploi\"", "revoke = \"E\"\n", "revoke = 1\n", "\n", "revoke = \"emploi\"\nid = \"x\"\n"]
    {
        assert!(parse_revocation(text).is_err(), "{text}");
    }
}

proptest! {
    #[test]
    fn no_text_makes_the_parsers_panic(text in any::<String>()) {
        let _ = parse_agreement(&text);
        let _ = parse_agreement(&format!("{text}\n"));
        let _ = parse_revocation(&format!("{text}\n"));
    }

    #[test]
    fn no_change_of_the_example_makes_the_parser_panic(at in any::<prop::sample::Index>(), cut in 0..30usize, with in "[ -~\n\"\\[\\]{}.=]{0,20}") {
        let mut chars: Vec<char> = EXAMPLE.chars().collect();
        let at = at.index(chars.len());
        let end = (at + cut).min(chars.len());
        chars.splice(at..end, with.chars());
        let text: String = chars.into_iter().collect();
        let _ = parse_agreement(&text);
    }
}
