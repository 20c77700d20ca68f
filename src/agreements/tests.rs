use super::text::tests::EXAMPLE;
use super::*;
use crate::keys::note::SignedNote;
use crate::keys::{Jwk, Jwks, KeyUse, PrivateKey, note};
use crate::members::Directory;
use crate::schema::Registry;
use jiff::civil::date;
use proptest::prelude::*;

const JOBSEEKER: &str = "nc.employment.jobseeker.registered";
const OFFER: &str = "nc.employment.offer.published";

pub(super) fn member(name: &str) -> MemberName {
    MemberName::parse(name).unwrap()
}

pub(super) fn key(seed: u8) -> PrivateKey {
    PrivateKey::from_seed(&[seed; 32])
}

/// Each member's keys for agreements: seeds 1 and 11, 2, 3. Seed 91 is a key
/// for events of province-sud.
fn directory_with(change: impl Fn(u8, &mut Jwk)) -> Directory {
    let set = |name: &str, keys: &[(u8, KeyUse)]| {
        let keys = keys.iter().map(|(seed, key_use)| {
            let mut jwk = Jwk::new(key(*seed).public().clone(), *key_use, Some(name.to_owned()));
            change(*seed, &mut jwk);
            jwk
        });
        (member(name), Jwks { keys: keys.collect() })
    };
    use KeyUse::{Agreement, Event};
    Directory::of([
        set("province-sud", &[(1, Agreement), (11, Agreement), (91, Event)]),
        set("gouvernement", &[(2, Agreement)]),
        set("isee", &[(3, Agreement)]),
    ])
    .unwrap()
}

pub(super) fn directory() -> Directory {
    directory_with(|_, _| ())
}

/// `text` signed by these members with these seeds.
pub(super) fn signed(text: &str, signers: &[(&str, u8)]) -> String {
    let mut note = SignedNote::unsigned(text).unwrap();
    note.signatures = signers.iter().map(|(name, seed)| note::sign(text, name, &key(*seed))).collect();
    note.render()
}

pub(super) const BOTH: [(&str, u8); 2] = [("province-sud", 1), ("gouvernement", 2)];

pub(super) fn of(directory: &Directory, notes: &[(&str, String)]) -> Agreements {
    Agreements::of(notes.iter().map(|(file, note)| ((*file).to_owned(), note.clone())), directory)
}

pub(super) const DAY: Date = date(2026, 11, 24);

/// The status of the agreement in each file, as a sentence, sorted by file.
fn statuses(agreements: &Agreements, today: Date) -> Vec<String> {
    agreements.all(today).map(|(_, status)| status.to_string()).collect()
}

fn granted(agreements: &Agreements, today: Date) -> Option<String> {
    let found = agreements.grant("province-sud", "gouvernement", JOBSEEKER, 1, today);
    found.map(|(agreement, _)| agreement.reference())
}

pub(super) fn version(number: u32) -> String {
    EXAMPLE.replace("version = 1\n", &format!("version = {number}\n"))
}

#[test]
fn an_agreement_signed_by_both_parties_is_in_force_on_its_days() {
    let text = sign_text(EXAMPLE, &[(&member("province-sud"), &key(1)), (&member("gouvernement"), &key(2))]);
    let text = text.unwrap();
    assert_eq!(text, signed(EXAMPLE, &BOTH));
    let all = of(&directory(), &[("a.note", text.clone())]);
    assert_eq!(all.all(DAY).next().unwrap().0.note(), text);
    for (day, status) in [
        (date(2025, 12, 31), "not in force: it begins on 2026-01-01"),
        (date(2026, 1, 1), "in force"),
        (date(2028, 12, 31), "in force"),
        (date(2029, 1, 1), "not in force: it ended on 2028-12-31"),
    ] {
        assert_eq!(statuses(&all, day), [status]);
        assert_eq!(granted(&all, day).is_some(), status == "in force", "{day}");
        assert_eq!(all.recipients("province-sud", JOBSEEKER, day).count(), usize::from(status == "in force"));
    }
    let grant = |provider, recipient, event_type, version| {
        all.grant(provider, recipient, event_type, version, DAY).is_some()
    };
    assert!(grant("province-sud", "gouvernement", JOBSEEKER, 1));
    assert!(!grant("gouvernement", "province-sud", JOBSEEKER, 1));
    assert!(!grant("province-sud", "isee", JOBSEEKER, 1));
    assert!(!grant("province-sud", "gouvernement", OFFER, 1));
    assert!(!grant("province-sud", "gouvernement", JOBSEEKER, 2));
    assert!(all.unusable().is_empty());
}

#[test]
fn the_second_party_signs_what_the_first_one_signed() {
    let first = sign_text(EXAMPLE, &[(&member("province-sud"), &key(1))]).unwrap();
    let both = add_signature(&first, &member("gouvernement"), &key(2)).unwrap();
    assert_eq!(both, signed(EXAMPLE, &BOTH));
    assert_eq!(add_signature(&both, &member("gouvernement"), &key(2)).unwrap(), both);
    assert!(sign_text("id = 1\n", &[]).is_err());
    assert!(sign_text(EXAMPLE.trim_end(), &[]).is_err());
    assert!(add_signature(EXAMPLE, &member("gouvernement"), &key(2)).is_err());
    assert!(sign_text("revoke = \"x1\"\n", &[(&member("isee"), &key(3))]).is_ok());
}

#[test]
fn without_good_signatures_of_both_parties_nothing_is_granted() {
    let changed = signed(EXAMPLE, &BOTH).replace("retention_months = 12", "retention_months = 13");
    let stranger = EXAMPLE.replace("gouvernement\"\npurpose", "cafat\"\npurpose");
    let sud = "not in force: it isn't signed by province-sud with a published key for agreements";
    let gouv = "not in force: it isn't signed by gouvernement with a published key for agreements";
    for (note, status) in [
        (signed(EXAMPLE, &[("province-sud", 1)]), gouv),
        (signed(EXAMPLE, &[("gouvernement", 2)]), sud),
        (signed(EXAMPLE, &[("province-sud", 1), ("isee", 3)]), gouv),
        // Another's key under its name, an unknown key, a key for events.
        (signed(EXAMPLE, &[("province-sud", 1), ("gouvernement", 3)]), gouv),
        (signed(EXAMPLE, &[("province-sud", 50), ("gouvernement", 2)]), sud),
        (signed(EXAMPLE, &[("province-sud", 91), ("gouvernement", 2)]), sud),
        (
            changed,
            "not in force: the signature of province-sud isn't of this text: it was changed after signing",
        ),
        (signed(&stranger, &[("province-sud", 1), ("cafat", 2)]), "not in force: cafat isn't a member"),
    ] {
        let all = of(&directory(), &[("a.note", note)]);
        assert_eq!(statuses(&all, DAY), [status]);
        assert_eq!(granted(&all, DAY), None);
        assert_eq!(all.recipients("province-sud", JOBSEEKER, DAY).count(), 0);
    }
}

#[test]
fn a_good_signature_does_not_mend_a_bad_one() {
    let mut note = SignedNote::parse(&signed(EXAMPLE, &BOTH)).unwrap();
    note.signatures.push(note::sign("another text\n", "province-sud", &key(11)));
    let all = of(&directory(), &[("a.note", note.render())]);
    assert!(statuses(&all, DAY)[0].contains("changed after signing"));
}

#[test]
fn a_key_counts_while_it_is_not_revoked_and_from_its_first_day() {
    let text = signed(EXAMPLE, &BOTH);
    // 2026-11-24T13:00Z is 2026-11-25 00:00 in Nouméa.
    let second = "2026-11-24T13:00:00Z".parse::<jiff::Timestamp>().unwrap().as_second();
    let status = |change: &dyn Fn(&mut Jwk), day| {
        let directory = directory_with(|seed, jwk| {
            if seed == 1 {
                change(jwk);
            }
        });
        let all = of(&directory, &[("a.note", text.clone())]);
        assert_eq!(granted(&all, day).is_some(), statuses(&all, day) == ["in force"]);
        statuses(&all, day).remove(0)
    };
    let revoked =
        "not in force: the key with which province-sud signed is revoked: sign it again with another key";
    assert_eq!(status(&|k| k.revoked = Some(i64::MAX), DAY), revoked);
    assert_eq!(status(&|k| k.expires = Some(0), DAY), "in force");
    let not_yet = "not in force: a key with which it is signed is valid from 2026-11-25 only";
    assert_eq!(status(&|k| k.not_before = Some(second), DAY), not_yet);
    assert_eq!(status(&|k| k.not_before = Some(second), date(2026, 11, 25)), "in force");
    assert_eq!(status(&|k| k.not_before = Some(second - 1), DAY), "in force");
    assert!(status(&|k| k.not_before = Some(i64::MAX), DAY).contains("valid from 9999-12-31"));
    assert_eq!(status(&|k| k.not_before = Some(i64::MIN), DAY), "in force");
}

#[test]
fn a_second_signature_stands_in_for_a_revoked_or_future_key() {
    let text = signed(EXAMPLE, &[("province-sud", 1), ("province-sud", 11), ("gouvernement", 2)]);
    for revoked in [1, 11] {
        let directory = directory_with(|seed, jwk| jwk.revoked = (seed == revoked).then_some(5));
        assert_eq!(statuses(&of(&directory, &[("a.note", text.clone())]), DAY), ["in force"]);
        // Of two keys that aren't valid from the start, the earlier one counts.
        let directory = directory_with(|seed, jwk| match seed {
            1 | 11 => jwk.not_before = Some(if seed == revoked { i64::MAX } else { 5 }),
            _ => {}
        });
        assert_eq!(statuses(&of(&directory, &[("a.note", text.clone())]), DAY), ["in force"]);
        let directory = directory_with(|seed, jwk| jwk.not_before = (seed == revoked).then_some(i64::MAX));
        assert_eq!(statuses(&of(&directory, &[("a.note", text.clone())]), DAY), ["in force"]);
    }
}

#[test]
fn the_highest_version_that_both_signed_alone_counts() {
    let all = of(
        &directory(),
        &[
            ("1.note", signed(EXAMPLE, &BOTH)),
            ("2.note", signed(&version(2), &BOTH)),
            ("3.note", signed(&version(3), &[("province-sud", 1)])),
        ],
    );
    assert_eq!(granted(&all, DAY).as_deref(), Some("emploi-gouvernement:2"));
    assert_eq!(
        statuses(&all, DAY),
        [
            "not in force: version 2 replaces it (2.note)",
            "in force",
            "not in force: it isn't signed by gouvernement with a published key for agreements",
        ]
    );
}

#[test]
fn a_higher_version_replaces_before_it_begins_after_it_ended_and_when_its_key_is_revoked() {
    let later = version(2).replace("2026-01-01", "2027-01-01");
    let over = version(2).replace("2028-12-31", "2026-02-01");
    for text in [later, over] {
        let notes = [("1.note", signed(EXAMPLE, &BOTH)), ("2.note", signed(&text, &BOTH))];
        assert_eq!(granted(&of(&directory(), &notes), DAY), None);
    }
    let directory = directory_with(|seed, jwk| jwk.revoked = (seed == 11).then_some(5));
    let second = signed(&version(2), &[("province-sud", 11), ("gouvernement", 2)]);
    let all = of(&directory, &[("1.note", signed(EXAMPLE, &BOTH)), ("2.note", second)]);
    assert_eq!(granted(&all, DAY), None);
    assert!(statuses(&all, DAY)[0].contains("version 2 replaces it"));
}

#[test]
fn two_texts_of_one_version_count_neither_and_a_copy_does_no_harm() {
    let other = EXAMPLE.replace("\"status\"", "\"person.email\"");
    let all = of(&directory(), &[("1.note", signed(EXAMPLE, &BOTH)), ("2.note", signed(&other, &BOTH))]);
    assert_eq!(granted(&all, DAY), None);
    let sentences = statuses(&all, DAY);
    assert!(
        sentences[0].contains("2.note: neither counts") && sentences[1].contains("1.note: neither counts")
    );

    let all = of(&directory(), &[("1.note", signed(EXAMPLE, &BOTH)), ("2.note", signed(EXAMPLE, &BOTH))]);
    assert_eq!(statuses(&all, DAY), ["in force", "not in force: the same text is in 1.note"]);

    // The copy that was signed again with another key counts.
    let directory = directory_with(|seed, jwk| jwk.revoked = (seed == 1).then_some(5));
    let again = signed(EXAMPLE, &[("province-sud", 11), ("gouvernement", 2)]);
    let all = of(&directory, &[("1.note", signed(EXAMPLE, &BOTH)), ("2.note", again)]);
    assert_eq!(granted(&all, DAY).as_deref(), Some("emploi-gouvernement:1"));
}

#[test]
fn others_cannot_replace_or_end_what_two_parties_agreed() {
    let hijack = version(9).replace("gouvernement\"\npurpose", "isee\"\npurpose");
    let hijack = signed(&hijack, &[("province-sud", 1), ("isee", 3)]);
    let end = signed("revoke = \"emploi-gouvernement\"\n", &[("isee", 3)]);
    let all = of(&directory(), &[("1.note", signed(EXAMPLE, &BOTH)), ("9.note", hijack)]);
    assert_eq!(statuses(&all, DAY), ["in force", "in force"]);
    let all = of(&directory(), &[("1.note", signed(EXAMPLE, &BOTH)), ("x.revoked.note", end)]);
    assert_eq!(statuses(&all, DAY), ["in force"]);
    assert_eq!(all.unusable()[0].reason, Unfit::EndsNothing("emploi-gouvernement".to_owned()));
}

#[test]
fn two_agreements_for_one_type_count_neither_for_it_while_both_are_in_force() {
    let offers = format!("\n[[grant]]\ntype = \"{OFFER}\"\nversions = [1]\nfields = [\"*\"]\n");
    let first = format!("{EXAMPLE}{offers}");
    let second = EXAMPLE.replace("emploi-gouvernement", "autre").replace("2026-01-01", "2026-06-01");
    let all = of(&directory(), &[("1.note", signed(&first, &BOTH)), ("2.note", signed(&second, &BOTH))]);
    let before = date(2026, 5, 31);
    assert_eq!(granted(&all, before).as_deref(), Some("emploi-gouvernement:1"));
    assert_eq!(granted(&all, DAY), None);
    assert_eq!(all.recipients("province-sud", JOBSEEKER, DAY).count(), 0);
    assert!(all.grant("province-sud", "gouvernement", OFFER, 1, DAY).is_some());
    assert_eq!(
        statuses(&all, DAY),
        [
            "in force, except that nc.employment.jobseeker.registered is granted by both \
             emploi-gouvernement:1 and autre:1, so neither counts for it",
            "in force, except that nc.employment.jobseeker.registered is granted by both autre:1 and \
             emploi-gouvernement:1, so neither counts for it",
        ]
    );
    assert_eq!(statuses(&all, before)[0], "in force");
}

#[test]
fn either_party_ends_an_agreement_with_all_its_versions_for_good() {
    for (name, seed) in BOTH {
        let end = signed("revoke = \"emploi-gouvernement\"\n", &[(name, seed)]);
        let notes = [
            ("1.note", signed(EXAMPLE, &BOTH)),
            ("2.note", signed(&version(2), &BOTH)),
            // By its text, whatever its name.
            ("end.note", end),
        ];
        let all = of(&directory(), &notes);
        assert_eq!(granted(&all, DAY), None);
        assert_eq!(statuses(&all, DAY)[1], format!("not in force: {name} ended it (end.note)"));
        assert!(all.unusable().is_empty());
        // That the key is revoked, or ended, doesn't revive it. (11 signs for province-sud.)
        let notes = [
            ("1.note", signed(EXAMPLE, &[("province-sud", 11), ("gouvernement", 2)])),
            ("x.revoked.note", signed("revoke = \"emploi-gouvernement\"\n", &[("province-sud", 1)])),
        ];
        let directory = directory_with(|seed, jwk| jwk.revoked = (seed == 1).then_some(5));
        assert_eq!(granted(&of(&directory, &notes), DAY), None);
    }
}

#[test]
fn a_revocation_that_nobody_or_a_stranger_signed_ends_nothing() {
    let text = "revoke = \"emploi-gouvernement\"\n";
    let changed =
        signed("revoke = \"autre\"\n", &[("gouvernement", 2)]).replace("autre", "emploi-gouvernement");
    for (note, reason) in [
        (signed(text, &[("gouvernement", 3)]), Unfit::EndsNothing("emploi-gouvernement".to_owned())),
        (signed("revoke = \"autre\"\n", &BOTH), Unfit::EndsNothing("autre".to_owned())),
        (changed, Unfit::BadSignature),
    ] {
        let all = of(&directory(), &[("1.note", signed(EXAMPLE, &BOTH)), ("x.revoked.note", note)]);
        assert_eq!(all.unusable()[0].reason, reason);
        assert!(granted(&all, DAY).is_some());
    }
}

#[test]
fn every_file_of_a_folder_is_in_force_or_listed_with_its_reason() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).unwrap();
    write("a.note", signed(EXAMPLE, &BOTH).as_bytes());
    write("b.note", EXAMPLE.as_bytes());
    write("c.note", &[0xFF, 0xFE]);
    write("d.toml", EXAMPLE.as_bytes());
    write("e.revoked.note", signed(EXAMPLE, &BOTH).as_bytes());
    write("f.note", signed("id = 1\n", &BOTH).as_bytes());
    write("g.note", &b"x".repeat(MAX_TEXT_BYTES * 5));
    write(".a.note.swp", b"x");
    std::fs::create_dir(folder.path().join("old")).unwrap();
    let all = Agreements::load(folder.path(), &directory()).unwrap();
    assert_eq!(all.files(DAY).map(|(file, ..)| file).collect::<Vec<_>>(), ["a.note"]);
    assert!(granted(&all, DAY).is_some());
    let files: Vec<_> = all.unusable().iter().map(|u| u.file.as_str()).collect();
    assert!(all.unusable()[0].reason.to_string().contains("no signatures"));
    assert_eq!(files, ["b.note", "c.note", "d.toml", "e.revoked.note", "f.note", "g.note"]);
    let fault = Agreements::load(&folder.path().join("none"), &directory()).unwrap_err();
    assert!(fault.to_string().contains("none can't be read"), "{fault}");
}

#[test]
fn what_no_schema_has_is_not_granted_and_the_status_says_what() {
    let registry = Registry::embedded().unwrap();
    let wrong = EXAMPLE.replace("\"status\"", "\"statuss\"");
    let all = of(&directory(), &[("a.note", signed(&wrong, &BOTH))]).fit_to(&registry);
    assert_eq!(granted(&all, DAY), None);
    assert_eq!(all.recipients("province-sud", JOBSEEKER, DAY).count(), 0);
    let status = statuses(&all, DAY).remove(0);
    assert!(status.starts_with("not in force: ") && status.contains("statuss"), "{status}");
    assert!(status.contains("near it are status"), "{status}");
    let other = EXAMPLE.replace("versions = [1]", "versions = [1, 9]");
    let all = of(&directory(), &[("a.note", signed(&other, &BOTH))]).fit_to(&registry);
    assert_eq!(
        statuses(&all, DAY),
        [format!("not in force: it grants version 9 of {JOBSEEKER}, of which there is no schema")]
    );
    let all = of(&directory(), &[("a.note", signed(EXAMPLE, &BOTH))]).fit_to(&registry);
    assert_eq!(statuses(&all, DAY), ["in force"]);
}

#[test]
fn an_unfit_agreement_takes_nothing_from_others_that_have_its_id() {
    let registry = Registry::embedded().unwrap();
    let theirs = EXAMPLE.replace("recipient = \"gouvernement\"", "recipient = \"isee\"");
    let theirs = theirs.replace("\"status\"", "\"statuss\"");
    assert_eq!(parse_agreement(&theirs).unwrap().reference(), "emploi-gouvernement:1");
    let notes = [
        ("a.note", signed(EXAMPLE, &BOTH)),
        ("b.note", signed(&theirs, &[("province-sud", 1), ("isee", 3)])),
    ];
    let all = of(&directory(), &notes).fit_to(&registry);
    assert_eq!(granted(&all, DAY).as_deref(), Some("emploi-gouvernement:1"));
    assert!(all.grant("province-sud", "isee", JOBSEEKER, 1, DAY).is_none());
    assert_eq!(statuses(&all, DAY)[0], "in force");
    assert!(statuses(&all, DAY)[1].contains("statuss"));
}

#[test]
fn a_day_is_a_day_in_noumea() {
    for (time, day) in [
        ("2026-12-31T12:59:59Z", date(2026, 12, 31)),
        ("2026-12-31T13:00:00Z", date(2027, 1, 1)),
        ("2026-07-01T12:59:59Z", date(2026, 7, 1)),
        ("2026-07-01T13:00:00Z", date(2026, 7, 2)),
    ] {
        assert_eq!(day_of(time.parse().unwrap()), day, "{time}");
    }
}

#[test]
fn the_rules_of_the_zone_are_compiled_in() {
    let bundled = jiff::tz::TimeZoneDatabase::bundled();
    assert!(bundled.get("Pacific/Noumea").is_ok());
}

proptest! {
    #[test]
    fn any_flipped_bit_takes_an_agreement_out_of_force(bit in any::<prop::sample::Index>()) {
        let mut bytes = signed(EXAMPLE, &BOTH).into_bytes();
        let bit = bit.index(bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        let Ok(note) = String::from_utf8(bytes) else { return Ok(()) };
        let all = of(&directory(), &[("a.note", note)]);
        prop_assert!(all.all(DAY).all(|(_, status)| !status.is_in_force()));
    }

    /// However the files are named, the same agreement is in force.
    #[test]
    fn the_order_of_the_files_does_not_matter(order in Just(vec![0usize, 1, 2, 3]).prop_shuffle(), day in 0..3000i32) {
        let texts = [
            signed(EXAMPLE, &BOTH),
            signed(&version(2), &BOTH),
            signed(&version(3), &[("province-sud", 1)]),
            signed(&EXAMPLE.replace("emploi-gouvernement", "autre").replace("2026-01-01", "2028-01-01"), &BOTH),
        ];
        let name = |at: usize| format!("{at}.note");
        let as_given = Agreements::of((0..4).map(|at| (name(at), texts[at].clone())), &directory());
        let shuffled = Agreements::of((0..4).map(|at| (name(at), texts[order[at]].clone())), &directory());
        let day = date(2024, 1, 1).saturating_add(jiff::Span::new().days(day));
        prop_assert_eq!(granted(&as_given, day), granted(&shuffled, day));
    }
}
