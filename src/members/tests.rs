use super::*;
use crate::keys::{Jwk, PrivateKey};
use proptest::prelude::*;

fn member(name: &str) -> MemberName {
    MemberName::parse(name).unwrap()
}

fn jwk(seed: u8, key_use: KeyUse, owner: &str) -> Jwk {
    Jwk::new(PrivateKey::from_seed(&[seed; 32]).public().clone(), key_use, Some(owner.to_owned()))
}

fn folder(files: &[(&str, String)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

fn set(keys: &[Jwk]) -> String {
    Jwks { keys: keys.to_vec() }.to_json()
}

fn refusal(files: &[(&str, String)]) -> DirectoryFault {
    Directory::load(folder(files).path()).unwrap_err()
}

#[test]
fn a_folder_of_key_sets_is_a_directory() {
    let sud = [jwk(1, KeyUse::Event, "province-sud"), jwk(2, KeyUse::Agreement, "province-sud")];
    let nord = [jwk(3, KeyUse::Event, "province-nord"), jwk(4, KeyUse::Event, "province-nord")];
    let folder = folder(&[
        ("province-sud.jwks.json", set(&sud)),
        ("province-nord.jwks.json", set(&nord)),
        ("isee.jwks.json", set(&[])),
        ("README.md", "the members".to_owned()),
        (".province-sud.jwks.json.swp", "x".to_owned()),
    ]);
    let directory = Directory::load(folder.path()).unwrap();
    let names: Vec<_> = directory.members().map(MemberName::as_str).collect();
    assert_eq!(names, ["isee", "province-nord", "province-sud"]);
    assert_eq!(directory.keys().count(), 4);
    assert!(directory.contains("isee") && !directory.contains("province"));
    for key in sud.iter().chain(&nord) {
        let found = directory.find(key.public.thumbprint().as_str()).unwrap();
        assert_eq!((&found.public, Some(found.member.to_string())), (&key.public, key.member.clone()));
    }
    assert!(directory.find("").is_none());
    let of = |name, key_use| directory.keys_of(name, key_use).map(|k| k.public.clone()).collect::<Vec<_>>();
    assert_eq!(of("province-sud", KeyUse::Agreement), [sud[1].public.clone()]);
    assert_eq!(of("province-nord", KeyUse::Event), [nord[0].public.clone(), nord[1].public.clone()]);
    assert!(of("province-nord", KeyUse::Agreement).is_empty() && of("hub", KeyUse::Event).is_empty());
}

#[test]
fn an_empty_directory_finds_nothing() {
    let directory = Directory::empty();
    assert_eq!(directory.members().count() + directory.keys().count(), 0);
    assert!(directory.find("x").is_none() && !directory.contains("x"));
}

#[test]
fn a_file_that_is_not_named_after_a_member_is_refused() {
    for name in
        ["hub.jwks.json", "Province.jwks.json", "a.jwks.json", "province-sud.json", "province_sud.jwks.json"]
    {
        let fault = refusal(&[(name, set(&[]))]);
        assert!(matches!(fault, DirectoryFault::FileName { .. }), "{fault}");
        assert!(fault.to_string().contains(name), "{fault}");
    }
}

#[test]
fn each_unusable_set_is_refused_with_the_file_s_name() {
    use DirectoryFault::*;
    let file = "province-sud.jwks.json";
    let named = |fault: DirectoryFault| {
        assert!(fault.to_string().contains(file), "{fault}");
        fault
    };
    assert!(matches!(named(refusal(&[(file, "{".to_owned())])), Keys { .. }));
    let other = named(refusal(&[(file, set(&[jwk(1, KeyUse::Event, "isee")]))]));
    assert!(matches!(other, OtherMember { position: 1, .. }), "{other}");
    let mut nobody = jwk(1, KeyUse::Event, "x");
    nobody.member = None;
    let good = jwk(2, KeyUse::Event, "province-sud");
    assert!(matches!(
        named(refusal(&[(file, set(&[good.clone(), nobody]))])),
        OtherMember { position: 2, .. }
    ));
    for key_use in [KeyUse::Delivery, KeyUse::Checkpoint] {
        let fault = named(refusal(&[(file, set(&[jwk(1, key_use, "province-sud")]))]));
        assert!(matches!(fault, HubUse { .. }) && fault.to_string().contains(key_use.as_str()), "{fault}");
    }
    let twice = named(refusal(&[(file, set(&[good.clone(), good.clone()]))]));
    assert!(matches!(twice, Twice { position: 2, .. }), "{twice}");
    let also = jwk(2, KeyUse::Agreement, "isee");
    let twice = named(refusal(&[(file, set(&[good])), ("isee.jwks.json", set(&[also]))]));
    assert!(matches!(twice, Twice { .. }) && twice.to_string().contains("isee.jwks.json"), "{twice}");
    let missing = Directory::load(Path::new("/nowhere/members")).unwrap_err();
    assert!(matches!(missing, Read { .. }) && missing.to_string().contains("/nowhere/members"));
}

fn key(not_before: Option<i64>, expires: Option<i64>, revoked: Option<i64>) -> MemberKey {
    MemberKey {
        member: member("isee"),
        key_use: KeyUse::Event,
        public: PrivateKey::from_seed(&[9; 32]).public().clone(),
        not_before,
        expires,
        revoked,
    }
}

#[test]
fn a_key_is_valid_from_its_beginning_to_seven_days_after_its_end() {
    use Standing::*;
    let ended = key(Some(1_000), Some(2_000), None);
    for (now, standing) in [
        (999, NotYet),
        (1_000, Valid),
        (2_000, Valid),
        (2_000 + 604_800, Valid),
        (2_000 + 604_801, Ended),
        (i64::MAX, Ended),
        (i64::MIN, NotYet),
    ] {
        assert_eq!(ended.event_standing(now), standing, "{now}");
        assert_eq!(ended.was_valid_at(now), standing == Valid, "{now}");
    }
    assert_eq!(key(None, None, None).event_standing(i64::MAX), Valid);
    assert_eq!(key(None, Some(i64::MAX), None).event_standing(i64::MAX), Valid);
}

#[test]
fn a_revoked_key_is_never_valid_and_a_key_for_agreements_never_for_events() {
    let revoked = key(Some(1_000), Some(2_000), Some(1_500));
    for now in [0, 1_200, 1_500, 1_600, 9_999_999] {
        assert_eq!(revoked.event_standing(now), Standing::Revoked);
        assert!(!revoked.was_valid_at(now));
    }
    let mut agreement = key(None, None, None);
    agreement.key_use = KeyUse::Agreement;
    assert_eq!(agreement.event_standing(0), Standing::OtherUse);
    assert!(!agreement.was_valid_at(0));
}

proptest! {
    #[test]
    fn a_member_s_keys_are_found_as_they_were_given(owners in prop::collection::vec((0..4usize, any::<bool>()), 0..20)) {
        let names = ["cafat", "isee", "noumea", "province-sud"];
        let mut sets: BTreeMap<MemberName, Jwks> = BTreeMap::new();
        for (seed, (owner, event)) in owners.iter().enumerate() {
            let key_use = if *event { KeyUse::Event } else { KeyUse::Agreement };
            sets.entry(member(names[*owner])).or_default().keys.push(jwk(seed as u8, key_use, names[*owner]));
        }
        let directory = Directory::of(sets.clone()).unwrap();
        prop_assert_eq!(directory.keys().count(), owners.len());
        for (name, set) in &sets {
            for key_use in [KeyUse::Event, KeyUse::Agreement] {
                let given: Vec<_> = set.keys.iter().filter(|k| k.key_use == key_use).map(|k| &k.public).collect();
                let found: Vec<_> = directory.keys_of(name.as_str(), key_use).map(|k| &k.public).collect();
                prop_assert_eq!(given, found);
            }
        }
    }
}
