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
    assert!(parse_agreement(&twice).unwrap_err().to_string().contains("grant 2: `type`"));
    for (from, to, named) in [
        ("id = \"emploi-gouvernement\"", "id = \"Emploi\"", "`id`"),
        ("id = \"emploi-gouvernement\"", "id = \"a:1\"", "`id`"),
        ("id = \"emploi-gouvernement\"\n", "", "the key `id` is missing"),
        ("version = 1\n", "version = 0\n", "`version`"),
        ("version = 1\n", "version = -1\n", "line 2"),
        ("version = 1\n", "version = 4294967296\n", "line 2"),
        ("version = 1\n", "version = \"1\"\n", "line 2"),
        ("version = 1\n", "version = 1\nversion = 1\n", "line 3"),
        (
            "version = 1\n",
            "version = 1\nverzion = 1\n",
            "line 3: `verzion` isn't a key of an agreement: did you mean `version`?",
        ),
        ("\"Suivi des demandeurs d'emploi\"", "\" \"", "`title`"),
        ("\"Instruction des aides à l'embauche\"", "\"\"", "`purpose`"),
        ("\"Délibération n° 140/CP\"", "\"\"", "`legal_reference`"),
        ("\"province-sud\"", "\"hub\"", "`provider`"),
        ("\"gouvernement\"", "\"Gouvernement\"", "`recipient`"),
        ("\"gouvernement\"", "\"province-sud\"", "`recipient`"),
        ("public-interest", "legitimate-interest", "line 7"),
        ("retention_months = 12", "retention_months = 0", "`retention_months`"),
        ("retention_months = 12", "retention_months = 1201", "`retention_months`"),
        (
            "retention_months = 12",
            "retention_months = 37",
            "line 9: `retention_months`: expected a `retention_justification`",
        ),
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
        ("versions = [1]\n", "", "the key `versions` is missing"),
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
fn every_fault_is_told_in_the_order_of_the_lines() {
    assert_eq!(agreement_faults(EXAMPLE), []);
    let text = EXAMPLE
        .replace("version = 1\n", "version =\t0\nverzion = 2\n")
        .replace("provider = \"province-sud\"\n", "")
        .replace("retention_months = 12", "retention_months = 60")
        .replace("2028-12-31", "2025-12-31")
        .replace("versions = [1]", "versions = [1, 1]")
        .replace("\"status\"]", "\"status\",\n  \"Status\"]");
    let faults: Vec<String> = agreement_faults(&text).iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(faults.join("\n"), @r#"
    the key `provider` is missing; expected a member's name: 2 to 32 of a-z, 0-9 and -, starting with a letter, and not hub
    line 2 holds a control character (a tab, or a carriage return): take it out
    line 2: `version`: expected a whole number from 1
    line 3: `verzion` isn't a key of an agreement: did you mean `version`?
    line 9: `retention_months`: expected a `retention_justification` beside it, why data is kept for more than 36 months
    line 11: `valid_until`: expected a day that isn't before `valid_from`
    line 15: grant 1: `versions`: expected at least one version, from 1, each once
    line 16: grant 1: `fields`: expected paths such as person.birthdate, each once, or exactly ["*"]
    "#);
    // What is read first is what the parser says.
    assert_eq!(parse_agreement(&text).unwrap_err().to_string(), faults[1]);
    let broken = EXAMPLE.replace("id = ", "id ").replace("[1]", "[1").replace("title = ", "title = =");
    let faults = agreement_faults(&broken);
    assert!(
        faults.len() > 1 && faults.iter().all(|f| matches!(f, AgreementFault::Toml { .. })),
        "{faults:?}"
    );
    assert_eq!(agreement_faults("\n").len(), 11);
    // A text that is wrong in every line isn't told of for ever.
    assert_eq!(agreement_faults(&"[[grant]]\n".repeat(5_000)).len(), MOST_FAULTS);
    assert_eq!(agreement_faults(&"\t\n".repeat(5_000)).len(), MOST_FAULTS);
    assert_eq!(agreement_faults(&"#\n".repeat(MAX_TEXT_BYTES)), [AgreementFault::TooLarge]);
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
        assert_eq!(parse_agreement(&text).is_ok(), agreement_faults(&text).is_empty());
    }
}
