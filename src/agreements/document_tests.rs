//! Agreements as documents: checked, signed, explained, compared, registered.

use super::tests::{BOTH, DAY, directory, key, member, of, signed, version};
use super::text::tests::EXAMPLE;
use super::*;
use crate::members::Directory;
use crate::schema::Registry;
use jiff::civil::date;

fn registry() -> Registry {
    Registry::embedded().unwrap()
}

/// The findings on `files`, one a line.
fn findings(files: &[(&str, &str)], directory: Option<&Directory>, notes: &[(&str, String)]) -> String {
    let files: Vec<_> = files.iter().map(|(f, t)| ((*f).to_owned(), (*t).to_owned())).collect();
    let notes: Vec<_> = notes.iter().map(|(f, t)| ((*f).to_owned(), t.clone())).collect();
    let registry = registry();
    let against = Against { registry: &registry, directory, notes: &notes, today: DAY };
    let lines = check(&files, &against)
        .into_iter()
        .map(|finding| format!("{} {:?} {}", finding.file, finding.gravity, finding.sentence));
    lines.collect::<Vec<_>>().join("\n")
}

/// The example's agreement with everything that can be said of one.
fn second() -> String {
    version(2)
        .replace("\"status\"]", "\"contact.email\"]")
        .replace("\"person.given_names\", ", "")
        .replace("2028-12-31", "2030-06-01")
        .replace(
            "retention_months = 12",
            "retention_months = 48\nretention_justification = \"Code du travail\"",
        )
        .replace("subject = \"pseudonym\"", "subject = \"own\"")
        + "\n[[grant]]\ntype = \"nc.employment.offer.published\"\nversions = [1]\nfields = [\"*\"]\n"
}

#[test]
fn an_agreement_is_explained_in_french() {
    let agreement = parse_agreement(EXAMPLE).unwrap();
    let text = explain(&agreement, &registry(), Lang::Fr);
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    insta::assert_snapshot!("explain_fr", text);
}

#[test]
fn an_agreement_is_explained_in_english() {
    let agreement = parse_agreement(&second()).unwrap();
    let text = explain(&agreement, &registry(), Lang::En);
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    insta::assert_snapshot!("explain_en", text);
}

#[test]
fn what_the_next_version_changes_is_said_field_by_field() {
    let (old, new) = (parse_agreement(EXAMPLE).unwrap(), parse_agreement(&second()).unwrap());
    insta::assert_snapshot!("diff_fr", explain_changes(&old, &new, &registry(), Lang::Fr));
    // And back again: what was given is withdrawn.
    insta::assert_snapshot!("diff_en", explain_changes(&new, &old, &registry(), Lang::En));
}

#[test]
fn a_version_that_changes_nothing_says_so_and_a_record_is_its_fields() {
    let compare = |old: &str, new: &str| {
        let (old, new) = (parse_agreement(old).unwrap(), parse_agreement(new).unwrap());
        explain_changes(&old, &new, &registry(), Lang::En)
    };
    let same = compare(EXAMPLE, &version(2));
    assert!(same.contains("Nothing else changes but the version."), "{same}");
    assert!(!same.contains("Careful"), "{same}");
    let at_once = EXAMPLE.replace("\"status\"]", "\"contact\"]");
    let one_by_one =
        at_once.replace("\"contact\"", "\"contact.email\", \"contact.phone\", \"contact.address\"");
    assert!(compare(&at_once, &one_by_one).contains("The fields that are given stay the same."));
    assert!(
        compare(&version(2), EXAMPLE).contains("The version isn't higher")
            || compare(&version(2), EXAMPLE).contains("the version isn't higher")
    );
    assert!(
        compare(EXAMPLE, &EXAMPLE.replace("\"gouvernement\"", "\"isee\"")).contains("aren't two versions")
    );
}

#[test]
fn what_no_schema_has_is_explained_with_a_warning() {
    let text = EXAMPLE.replace("\"status\"]", "\"statuss\"]");
    let explained = explain(&parse_agreement(&text).unwrap(), &registry(), Lang::Fr);
    assert!(explained.contains("Attention : le schéma n'a pas statuss"), "{explained}");
    let text = EXAMPLE.replace("versions = [1]", "versions = [7]");
    let explained = explain(&parse_agreement(&text).unwrap(), &registry(), Lang::En);
    assert!(explained.contains("Careful: no known schema has this type"), "{explained}");
    assert!(explained.contains("  - person.family_name"), "{explained}");
}

#[test]
fn a_text_can_not_drive_the_terminal_of_who_reads_it() {
    let text = EXAMPLE.replace("\"Suivi des demandeurs d'emploi\"", "\"a\\u001b[2Jb\\nc \\u202ed\"");
    let agreement = parse_agreement(&text).unwrap();
    for text in [
        explain(&agreement, &registry(), Lang::Fr),
        explain_in_short(&agreement, &registry(), Lang::En),
        explain_changes(&agreement, &parse_agreement(EXAMPLE).unwrap(), &registry(), Lang::Fr),
    ] {
        assert!(text.contains("a\u{fffd}[2Jb c \u{fffd}d"), "{text}");
        assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
    }
}

#[test]
fn a_sound_text_has_no_findings_and_a_note_none_once_both_signed() {
    let directory = directory();
    assert_eq!(findings(&[("a.toml", EXAMPLE)], Some(&directory), &[]), "");
    let both = signed(EXAMPLE, &BOTH);
    assert_eq!(findings(&[("a.note", &both)], Some(&directory), &[("a.note", both.clone())]), "");
    let one = signed(EXAMPLE, &BOTH[..1]);
    let unsigned = "a.note Unsigned it isn't signed by gouvernement";
    assert_eq!(findings(&[("a.note", &one)], Some(&directory), &[]), unsigned);
    // Without the members' keys it is said what couldn't be verified.
    let said = findings(&[("a.note", &one)], None, &[]);
    assert!(said.contains("Warning the signature of province-sud wasn't verified"), "{said}");
    assert!(said.contains(unsigned), "{said}");
}

#[test]
fn everything_that_is_wrong_is_found_at_once() {
    let text = EXAMPLE
        .replace("provider = \"province-sud\"", "provider = \"province-sut\"")
        .replace("2028-12-31", "2025-12-31")
        .replace("retention_months = 12", "retention_months = 37")
        .replace("versions = [1]", "versions = [1, 4]")
        .replace("\"status\"]", "\"person\",\n  \"statuss\",\n]")
        .replace("\"pseudonym\"", "\"publisher\"")
        + "\n[[grant]]\ntype = \"nc.employment.ofer.published\"\nversions = [1]\nfields = [\"*\"]\n\
           \n[[grant]]\ntype = \"nc.hub.person.erased\"\nversions = [1]\nfields = [\"*\"]\n";
    insta::assert_snapshot!("check", findings(&[("a.toml", &text)], Some(&directory()), &[]));
}

#[test]
fn signatures_that_do_not_count_are_told_apart() {
    let directory = directory();
    let changed = signed(EXAMPLE, &BOTH).replace("= 12", "= 13");
    let of = |note: &str| findings(&[("a.note", note)], Some(&directory), &[]);
    assert!(of(&changed).contains("Fault the signature of province-sud isn't of this text"));
    let unknown = of(&signed(EXAMPLE, &[("province-sud", 50), ("gouvernement", 2)]));
    assert!(unknown.contains("Fault the signature of province-sud is by no key"), "{unknown}");
    let stranger = of(&signed(EXAMPLE, &[BOTH[0], BOTH[1], ("isee", 3)]));
    assert_eq!(stranger, "a.note Warning the signature of isee counts for nothing: isee isn't a party");
    assert!(of(EXAMPLE).contains("the note has no signatures"));
}

#[test]
fn a_second_agreement_for_the_same_type_and_days_is_found() {
    let directory = directory();
    let other = EXAMPLE.replace("emploi-gouvernement", "autre");
    let there = [("1.note", signed(EXAMPLE, &BOTH))];
    let said = findings(&[("a.toml", &other)], Some(&directory), &there);
    assert!(
        said.contains("granted between the same parties by emploi-gouvernement:1 (1.note) too"),
        "{said}"
    );
    // Within the files of one command, too.
    let said = findings(&[("a.toml", EXAMPLE), ("b.toml", &other)], Some(&directory), &[]);
    assert!(said.starts_with("b.toml Fault") && said.contains("(a.toml)"), "{said}");
    // Not where it isn't signed, is replaced or ended, or is of other days, parties or types.
    let later = other.replace("2026-01-01", "2029-01-01").replace("2028-12-31", "2029-12-31");
    let isee = other.replace("\"gouvernement\"", "\"isee\"");
    assert_eq!(findings(&[("a.toml", &later)], Some(&directory), &there), "");
    assert_eq!(findings(&[("a.toml", &isee)], Some(&directory), &there), "");
    let unsigned = [("1.note", signed(EXAMPLE, &BOTH[..1]))];
    assert_eq!(findings(&[("a.toml", &other)], Some(&directory), &unsigned), "");
    let offers = version(2).replace("nc.employment.jobseeker.registered", "nc.employment.offer.published");
    let offers = offers.replace("\"person.family_name\", \"person.given_names\", \"person.birthdate\", ", "");
    let replaced = [there[0].clone(), ("2.note", signed(&offers, &BOTH))];
    assert_eq!(findings(&[("a.toml", &other)], Some(&directory), &replaced), "");
    let end = ("e.revoked.note", signed("revoke = \"emploi-gouvernement\"\n", &BOTH[1..]));
    assert_eq!(findings(&[("a.toml", &other)], Some(&directory), &[there[0].clone(), end.clone()]), "");
    // Who ended it has to take another id.
    let said = findings(&[("a.toml", &version(2))], Some(&directory), &[end]);
    assert!(said.contains("gouvernement ended emploi-gouvernement with all its versions"), "{said}");
}

#[test]
fn another_text_of_the_same_version_is_found_and_a_higher_one_is_told() {
    let there = [("2.note", signed(&version(2), &BOTH))];
    let changed = version(2).replace("= 12", "= 13");
    let said = findings(&[("a.toml", &changed)], None, &there);
    assert!(said.contains("`version`: 2.note has another text with the same id and version"), "{said}");
    let said = findings(&[("a.toml", EXAMPLE)], None, &there);
    assert_eq!(said, "a.toml Warning `version`: 2.note has version 2, which replaces this one");
    assert_eq!(findings(&[("a.toml", &version(3))], None, &there), "");
}

#[test]
fn each_party_signs_what_the_check_lets_pass_and_nobody_else() {
    let (registry, directory) = (registry(), directory());
    let against = |directory| Against { registry: &registry, directory, notes: &[], today: DAY };
    let sign = |content: &str, name: &str, seed, directory| {
        sign_checked("a", content, &member(name), &key(seed), &against(directory))
    };
    let first = sign(EXAMPLE, "province-sud", 1, None).unwrap();
    assert_eq!(first, signed(EXAMPLE, &BOTH[..1]));
    let both = sign(&first, "gouvernement", 2, Some(&directory)).unwrap();
    assert_eq!(both, signed(EXAMPLE, &BOTH));
    // To sign again replaces the earlier signature: its key may be revoked.
    let again = sign(&both, "province-sud", 11, Some(&directory)).unwrap();
    assert_eq!(again, signed(EXAMPLE, &[("gouvernement", 2), ("province-sud", 11)]));

    assert!(
        matches!(sign(&first, "gouvernement", 2, None), Err(SignFault::Unverified(name)) if name == "province-sud")
    );
    assert!(matches!(sign(EXAMPLE, "isee", 3, None), Err(SignFault::NotAParty { .. })));
    assert!(matches!(sign(EXAMPLE, "province-sud", 50, Some(&directory)), Err(SignFault::Unpublished(_))));
    assert!(matches!(sign(EXAMPLE, "province-sud", 91, Some(&directory)), Err(SignFault::Unpublished(_))));
    let tampered = first.replace("= 12", "= 13");
    for (content, said) in [
        (tampered.as_str(), "the signature of province-sud isn't of this text"),
        (&signed(EXAMPLE, &[("province-sud", 50)]), "by no key that it has published"),
        (&EXAMPLE.replace("\"status\"", "\"statuss\""), "near it are status"),
        (&EXAMPLE.replace("version = 1", "version =\t1"), "line 2 holds a control character"),
        (EXAMPLE.trim_end(), "doesn't end in a newline"),
    ] {
        let fault = sign(content, "gouvernement", 2, Some(&directory)).unwrap_err().to_string();
        assert!(fault.contains(said), "{fault}");
    }
}

#[test]
fn a_new_text_names_every_field_and_grants_none_until_it_is_chosen() {
    let blank = |fields: &[&str]| Blank {
        id: "emploi".to_owned(),
        provider: member("province-sud"),
        recipient: member("gouvernement"),
        title: Some("Suivi \"emploi\"".to_owned()),
        purpose: Some("Aides".to_owned()),
        legal_basis: Some(LegalBasis::PublicInterest),
        legal_reference: None,
        retention_months: 12,
        valid_from: date(2026, 1, 1),
        valid_until: date(2028, 12, 31),
        types: vec![EventType::parse("nc.employment.jobseeker.registered").unwrap()],
        fields: fields.iter().map(|field| (*field).to_owned()).collect(),
        subject: SubjectMode::Pseudonym,
    };
    let registry = registry();
    let none = template(&blank(&[]), &registry).unwrap();
    let faults = findings(&[("a.toml", &none)], None, &[]);
    assert_eq!(faults.lines().count(), 1, "{faults}");
    assert!(faults.contains("grant 1: `fields`: expected paths"), "{faults}");
    for path in registry.get("nc.employment.jobseeker.registered", 1).unwrap().field_paths() {
        assert!(none.contains(&format!("    # \"{path}\",  # ")), "{path} isn't in {none}");
    }
    let some = template(&blank(&["status", "person.birthdate"]), &registry).unwrap();
    assert_eq!(findings(&[("a.toml", &some)], None, &[]), "");
    let agreement = parse_agreement(&some).unwrap();
    assert_eq!(agreement.grants[0].fields, ["person.birthdate", "status"]);
    assert_eq!(agreement.title, "Suivi \"emploi\"");
    let all = parse_agreement(&template(&blank(&["*"]), &registry).unwrap()).unwrap();
    assert!(all.grants[0].is_whole());
    let empty = Blank { title: None, purpose: None, legal_basis: None, ..blank(&["status"]) };
    let faults = agreement_faults(&template(&empty, &registry).unwrap());
    assert_eq!(faults.len(), 3, "{faults:?}");
    let fault = template(&blank(&["statuss"]), &registry).unwrap_err().to_string();
    assert!(fault.contains("near it are status"), "{fault}");
    let unknown = Blank { types: vec![EventType::parse("nc.a.b").unwrap()], ..blank(&[]) };
    let fault = template(&unknown, &registry).unwrap_err().to_string();
    assert!(fault.contains("nc.employment.offer.published") && !fault.contains("nc.hub."), "{fault}");
}

#[test]
fn the_next_version_is_the_text_with_its_version_one_higher() {
    let commented = EXAMPLE.replace("version = 1\n", "version = 1  # version = 1\n");
    let next = next_version(&commented).unwrap();
    assert_eq!(next, commented.replace("version = 1  #", "version = 2  #"));
    assert_eq!(next_version(&version(9)).unwrap(), version(10));
    assert!(matches!(next_version("id = 1\n"), Err(TemplateFault::Agreement(_))));
    assert_eq!(next_version(&version(u32::MAX)), Err(TemplateFault::LastVersion(u32::MAX)));
}

/// Agreements in every state, one with a text that wants to be code.
fn registered() -> Agreements {
    let hostile = EXAMPLE
        .replace("emploi-gouvernement", "hostile")
        .replace("\"gouvernement\"", "\"isee\"")
        .replace("Suivi des demandeurs d'emploi", "=HYPERLINK(\\\"http://x\\\")<script>alert(1)</script>&\\n")
        .replace(
            "[\"person.family_name\", \"person.given_names\", \"person.birthdate\", \"status\"]",
            "[\"status\"]",
        );
    let notes = [
        ("1.note", signed(EXAMPLE, &BOTH)),
        ("2.note", signed(&second(), &BOTH)),
        ("3.note", signed(&version(3), &BOTH[..1])),
        ("h.note", signed(&hostile, &[("province-sud", 1), ("isee", 3)])),
    ];
    of(&directory(), &notes).fit_to(&registry())
}

#[test]
fn the_register_is_a_page_that_prints_and_loads_nothing() {
    let register = Register::of("nc", &registered(), &registry(), DAY, Lang::Fr);
    let page = register.to_html();
    assert!(page.starts_with("<!DOCTYPE html>\n<html lang=\"fr\">"));
    assert!(!page.contains("<script") && !page.contains("src=") && !page.contains("http://x\""), "{page}");
    assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;&amp;"), "{page}");
    for header in page.match_indices("<th").map(|(at, _)| &page[at..]) {
        let plain = header.starts_with("<th scope=\"col\">") || header.starts_with("<th scope=\"row\">");
        assert!(plain || header.starts_with("<thead>"), "{header:.60}");
    }
    insta::assert_snapshot!("register_fr", page);
    let english = Register::of("n<c", &Agreements::default(), &registry(), DAY, Lang::En).to_html();
    assert!(english.contains("<html lang=\"en\">") && english.contains("No agreement has counted yet."));
    assert!(english.contains("n&lt;c") && !english.contains("n<c"));
}

#[test]
fn the_register_has_a_line_for_each_agreement_and_type_in_every_form() {
    let register = Register::of("nc", &registered(), &registry(), DAY, Lang::Fr);
    let names: Vec<_> =
        register.treatments.iter().map(|t| (t.agreement.as_str(), t.version, t.state.as_str())).collect();
    let replaced = "remplacée par la version 2 (2.note)";
    assert_eq!(
        names,
        [
            ("emploi-gouvernement", 1, replaced),
            ("emploi-gouvernement", 2, "en vigueur"),
            ("emploi-gouvernement", 2, "en vigueur"),
            ("hostile", 1, "en vigueur"),
        ]
    );
    let csv = register.to_csv();
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    assert_eq!(rows.len(), 4);
    assert!(rows[3][2].starts_with("'=HYPERLINK("), "{}", &rows[3][2]);
    assert!(rows.iter().all(|row| row.iter().all(|cell| !cell.starts_with(['=', '+', '-', '@']))));
    let json = serde_json::to_value(&register).unwrap();
    assert_eq!(json["treatments"][0]["data_categories"], "identité, vie professionnelle");
    assert_eq!(json["treatments"][2]["data_subjects"], "aucune : l'événement ne parle pas d'une personne");
    assert_eq!(json["language"], "fr");
    let english = Register::of("nc", &registered(), &registry(), date(2031, 1, 1), Lang::En);
    assert_eq!(english.treatments[1].state, "not in force: it ended on 2030-06-01");
}
