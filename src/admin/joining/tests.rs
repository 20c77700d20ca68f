//! Joining and key changes, by the files alone, on the embedded bus.

use super::*;
use crate::admin::prepare;
use crate::config::ConnectConfig;
use crate::event::MemberName;
use crate::keys::{Jwk, KeyUse, PrivateKey};
use crate::members::{Directory, Standing};
use std::os::unix::fs::PermissionsExt;
use tempfile::TempDir;

/// 3 November 2026 in the morning, in UTC.
const NOW: i64 = 1_793_675_112;
const DAY: i64 = 86_400;

fn name(text: &str) -> MemberName {
    MemberName::parse(text).unwrap()
}

struct Lab {
    folder: TempDir,
    hub: HubConfig,
}

impl Lab {
    fn new() -> Lab {
        Lab::with("")
    }

    fn with(settings: &str) -> Lab {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().join("hub");
        prepare::hub(&at).unwrap();
        std::fs::write(at.join("hub.toml"), format!("name = 'nc'\n{settings}")).unwrap();
        let hub = HubConfig::load(&at.join("hub.toml")).unwrap();
        Lab { folder, hub }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    /// What the member's side makes of the invitation of `member`.
    fn join(&self, member: &str) -> Joined {
        let invitation = invite(&self.hub, &name(member), NOW).unwrap();
        let read = Invitation::parse(&invitation.render()).unwrap();
        join(&read, &self.at(member), NOW).unwrap()
    }

    fn admit(&self, request: &str) {
        let checked = check(&self.hub, request, NOW).unwrap();
        assert!(!checked.is_admitted());
        checked.keep_credential(&self.hub).unwrap();
        checked.admit(&self.hub).unwrap();
    }

    fn refused(&self, request: &str, now: i64) -> String {
        let before = self.written();
        let sentence = check(&self.hub, request, now).err().expect("it isn't refused").to_string();
        assert_eq!(before, self.written());
        assert!(!sentence.contains('\n'), "{sentence}");
        sentence
    }

    /// Every file that the hub's side wrote.
    fn written(&self) -> Vec<(PathBuf, String)> {
        let mut files = Vec::new();
        for folder in ["hub/members", "hub/broker", "hub/data/invitations"] {
            let Ok(entries) = std::fs::read_dir(self.at(folder)) else { continue };
            for entry in entries {
                let path = entry.unwrap().path();
                let text = std::fs::read_to_string(&path).unwrap();
                files.push((path, text));
            }
        }
        files.sort();
        files
    }

    fn directory(&self) -> Directory {
        Directory::load(&self.hub.members).unwrap()
    }

    fn key(&self, member: &str, file: &str) -> PrivateKey {
        PrivateKey::read(&self.at(member).join("keys").join(file), None).unwrap()
    }

    fn rotation(&self, member: &str, key_use: KeyUse, file: &str) -> Rotation {
        let file = self.at(member).join("keys").join(file);
        rotate(("nc", &name(member), key_use), &file, None, 30, NOW).unwrap()
    }
}

#[test]
fn an_invited_member_joins_and_is_admitted_once() {
    let lab = Lab::new();
    let joined = lab.join("province-nord");
    assert_eq!(invitations(&lab.hub, NOW).unwrap().len(), 1);
    lab.admit(&joined.request);
    let directory = lab.directory();
    for key_use in [KeyUse::Event, KeyUse::Agreement] {
        let keys: Vec<_> = directory.keys_of("province-nord", key_use).collect();
        assert_eq!(keys.len(), 1);
        let file = lab.key("province-nord", &format!("{key_use}.pem"));
        assert_eq!(keys[0].public, *file.public());
    }
    assert!(invitations(&lab.hub, NOW).unwrap().is_empty());

    let before = lab.written();
    // Replayed, be it years later.
    assert!(check(&lab.hub, &joined.request, NOW + 1000 * DAY).unwrap().is_admitted());
    assert_eq!(before, lab.written());
    let again = invite(&lab.hub, &name("province-nord"), NOW).err().unwrap().to_string();
    assert!(again.contains("rotate-key"), "{again}");
}

#[test]
fn the_members_folder_is_ready_to_run_and_joining_again_keeps_it() {
    let ca = "-----BEGIN CERTIFICATE-----\nTUlJ\n-----END CERTIFICATE-----\n";
    let lab = Lab::with(
        "bus = 'amqps://10.0.0.1'\n[broker]\npassword = { env = 'NOT_NEEDED' }\nca = 'ca.pem'\n\
         advertise = 'amqps://exchange.nc:5671'\n",
    );
    std::fs::write(lab.at("hub/ca.pem"), ca).unwrap();
    let joined = lab.join("province-nord");
    let config = ConnectConfig::load(&joined.config).unwrap();
    assert_eq!((config.member.as_str(), config.hub.as_str()), ("province-nord", "nc"));
    assert_eq!(String::from(config.bus.clone()), "amqps://exchange.nc:5671");
    assert_eq!(std::fs::read_to_string(config.broker.ca.as_ref().unwrap()).unwrap(), ca);
    let published = Jwks::parse(&std::fs::read_to_string(&config.hub_keys).unwrap()).unwrap();
    assert_eq!(published, crate::hub::published_keys(&lab.hub).unwrap());
    let password = config.broker.password.as_ref().unwrap().read().unwrap();
    for file in ["event.pem", "agreement.pem", "broker.password", "id.secret"] {
        let mode = std::fs::metadata(lab.at("province-nord/keys").join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    let (Request::Join(request), _) = Request::parse(&joined.request).unwrap() else { panic!() };
    let hash = request.password_hash.unwrap();
    assert!(crate::bus::manage::is_hash_of(&hash, &password));
    let private = std::fs::read_to_string(lab.at("province-nord/keys/event.pem")).unwrap();
    let secret = private.lines().nth(1).unwrap();
    assert!(!joined.request.contains(password.as_str()) && !joined.request.contains(secret));

    // Another invitation: the keys and the configuration are those of before.
    std::fs::write(&joined.config, std::fs::read_to_string(&joined.config).unwrap() + "# mine\n").unwrap();
    let nord = name("province-nord");
    assert!(invited_until(&lab.hub, &nord, NOW).unwrap().is_some_and(|until| until > NOW));
    assert_eq!(invited_until(&lab.hub, &nord, i64::MAX).unwrap(), None);
    let again = lab.join("province-nord");
    assert!(again.config_kept && again.keys == joined.keys);
    assert!(std::fs::read_to_string(&again.config).unwrap().ends_with("# mine\n"));
    assert_eq!(*config.broker.password.unwrap().read().unwrap(), *password);
    // The first request isn't what the hub waits for any more.
    assert!(lab.refused(&joined.request, NOW).contains("doesn't answer the last invitation"));
    lab.admit(&again.request);
    let kept = std::fs::read_to_string(lab.at("hub/broker/province-nord.hash")).unwrap();
    assert!(crate::bus::manage::is_hash_of(kept.trim_end(), &password));

    // A folder is one member's.
    let other = invite(&lab.hub, &name("province-sud"), NOW).unwrap();
    let fault = join(&other, &lab.at("province-nord"), NOW).err().unwrap().to_string();
    assert!(fault.contains("another folder"), "{fault}");
}

#[test]
fn what_is_wrong_with_a_request_is_said_in_a_sentence_and_changes_nothing() {
    let lab = Lab::new();
    let good = lab.join("province-nord").request;
    for (from, to, expected) in [
        ("hub = \"nc\"", "hub = \"autre\"", "isn't signed by its event key"),
        ("\nmade = \"2026", "\nmade = \"2025", "isn't signed by its event key"),
        ("province-nord", "province-sud", "isn't signed by its event key"),
        ("\ntoken = \"", "\ntoken = \"A", "isn't signed by its event key"),
        ("request = \"join\"", "request = \"leave\"", "asks for something else"),
        ("request = \"join\"", "request = \"rotate\"", "to rotate takes"),
        ("\nmade = ", "\nmore = ", "near line"),
        ("\"pirogue_use\": \"event\"", "\"pirogue_use\": \"delivery\"", "isn't marked as the member's"),
        (
            "\"pirogue_use\": \"event\",",
            "\"pirogue_use\": \"event\", \"exp\": 1,",
            "which only the hub gives",
        ),
        ("\n— province-nord ", "\n— province-nord x", "signature 1 isn't of the form"),
    ] {
        let text = good.replace(from, to);
        assert_ne!(text, good, "{from}");
        let sentence = lab.refused(&text, NOW);
        assert!(sentence.contains(expected), "{sentence}");
    }
    // One of the two signatures is missing: whoever sends it doesn't hold that key.
    let last = good.trim_end().rfind('\n').unwrap();
    assert!(lab.refused(&good[..=last], NOW).contains("isn't signed by its agreement key"));
    let unsigned = good.split("\n— ").next().unwrap();
    assert!(lab.refused(unsigned, NOW).contains("no signatures"));
    assert!(lab.refused("", NOW).contains("can't be used"));
    lab.admit(&good);
}

/// A request that its sender signed well, and that the hub has no reason to take.
fn made_up(lab: &Lab, hub: &str, member: &str, token: &str) -> String {
    let keys = prepare::member(&lab.at("stranger")).unwrap();
    let request = Request::Join(JoinRequest {
        hub: hub.to_owned(),
        member: name(member),
        token: token.to_owned(),
        made: NOW,
        password_hash: None,
        keys: keys.public(&name(member)),
    });
    request.sign(&[&keys.event, &keys.agreement]).unwrap()
}

#[test]
fn only_who_was_invited_is_admitted_in_time_and_by_its_own_name() {
    let lab = Lab::new();
    let invitation = invite(&lab.hub, &name("province-nord"), NOW).unwrap();
    let token = invitation.token.as_str();
    let cases = [
        (made_up(&lab, "nc", "province-nord", "guessed"), NOW, "doesn't answer the last invitation"),
        (made_up(&lab, "nc", "province-sud", token), NOW, "no invitation of province-sud"),
        (made_up(&lab, "autre", "province-nord", token), NOW, "for the hub autre, and this is nc"),
        (made_up(&lab, "nc", "province-nord", token), NOW + 14 * DAY, "ended at 2026-11-17"),
    ];
    for (request, now, expected) in cases {
        let sentence = lab.refused(&request, now);
        assert!(sentence.contains(expected) && !sentence.contains(token), "{sentence}");
    }
    let late = join(&invitation, &lab.at("province-nord"), NOW + 14 * DAY).err().unwrap().to_string();
    assert!(late.contains("ask the hub's operator for another"), "{late}");
    assert!(!lab.at("province-nord").exists());

    // A member's name isn't taken over by an invitation that was kept.
    lab.admit(&made_up(&lab, "nc", "province-nord", token));
    std::fs::remove_dir_all(lab.at("stranger")).unwrap();
    let other = made_up(&lab, "nc", "province-nord", token);
    assert!(lab.refused(&other, NOW).contains("is a member already"));
}

#[test]
fn who_is_to_log_in_by_password_sends_the_hash_of_one() {
    let lab = Lab::with("bus = 'amqp://h'\n[broker]\npassword = { env = 'NOT_NEEDED' }\n");
    let invitation = invite(&lab.hub, &name("province-nord"), NOW).unwrap();
    let without = made_up(&lab, "nc", "province-nord", &invitation.token);
    assert!(lab.refused(&without, NOW).contains("password_hash"));
    lab.admit(&lab.join("province-nord").request);
}

#[test]
fn a_key_of_another_or_of_the_hub_isnt_admitted() {
    let lab = Lab::new();
    lab.admit(&lab.join("province-sud").request);
    for (stolen, owner) in [
        (lab.key("province-sud", "event.pem"), "province-sud's"),
        (PrivateKey::read(&lab.hub.keys.delivery, None).unwrap(), "the hub's"),
    ] {
        let invitation = invite(&lab.hub, &name("province-nord"), NOW).unwrap();
        let own = PrivateKey::generate().unwrap();
        let jwk = |key: &PrivateKey, key_use| {
            Jwk::new(key.public().clone(), key_use, Some("province-nord".to_owned()))
        };
        let request = Request::Join(JoinRequest {
            hub: "nc".to_owned(),
            member: name("province-nord"),
            token: invitation.token.to_string(),
            made: NOW,
            password_hash: None,
            keys: Jwks { keys: vec![jwk(&stolen, KeyUse::Event), jwk(&own, KeyUse::Agreement)] },
        });
        let request = request.sign(&[&stolen, &own]).unwrap();
        let sentence = lab.refused(&request, NOW);
        assert!(sentence.contains(owner), "{sentence}");
    }
}

#[test]
fn an_invitation_that_isnt_one_is_told_without_its_token() {
    let lab = Lab::new();
    let invitation = invite(&lab.hub, &name("province-nord"), NOW).unwrap();
    let good = invitation.render();
    let remembered = std::fs::read_to_string(lab.at("hub/data/invitations/province-nord.json")).unwrap();
    assert!(!remembered.contains(invitation.token.as_str()), "the hub remembers the token itself");
    for (from, to) in [
        ("member = \"province-nord\"", "member = \"Province Nord\""),
        ("expires = \"", "expires = \"on "),
        ("token = ", "tokn = "),
        ("token = \"", "token = \"\"\n\""),
        ("bus = \"embedded\"", "bus = \"amqp://u:p4ss@h\""),
        ("bus = \"embedded\"", "bus = \"http://h\""),
        ("login = \"password\"", "login = \"none\""),
        ("\"pirogue_use\": \"delivery\"", "\"pirogue_use\": \"event\""),
        ("hub = \"nc\"", "hub = \"N C\""),
    ] {
        let text = good.replace(from, to);
        assert_ne!(text, *good, "{from}");
        let sentence = Invitation::parse(&text).err().expect(to).to_string();
        assert!(!sentence.contains(invitation.token.as_str()) && !sentence.contains("p4ss"), "{sentence}");
        assert!(!sentence.contains('\n'), "{sentence}");
    }
}

#[test]
fn a_new_key_signed_by_the_old_one_is_taken_and_the_old_one_ends_after_the_overlap() {
    let lab = Lab::new();
    lab.admit(&lab.join("province-nord").request);
    let old = lab.key("province-nord", "event.pem");
    let rotation = lab.rotation("province-nord", KeyUse::Event, "event.pem");
    let again = lab.rotation("province-nord", KeyUse::Event, "event.pem");
    assert_eq!(rotation.request, again.request, "the new key is made once");
    assert!(!check(&lab.hub, &rotation.request, NOW).unwrap().is_admitted());
    lab.admit(&rotation.request);
    assert!(check(&lab.hub, &rotation.request, NOW).unwrap().is_admitted());

    let directory = lab.directory();
    let standing = |kid: &Thumbprint, at| directory.find(kid.as_str()).unwrap().event_standing(at);
    for kid in [&rotation.old, &rotation.new] {
        assert_eq!(standing(kid, NOW), Standing::Valid);
    }
    assert_eq!(directory.find(rotation.old.as_str()).unwrap().expires, Some(NOW + 30 * DAY));
    assert_eq!(standing(&rotation.old, NOW + 38 * DAY), Standing::Ended);
    assert_eq!(standing(&rotation.new, NOW + 38 * DAY), Standing::Valid);
    let listed = members(&lab.hub, NOW + 31 * DAY).unwrap();
    let states: Vec<_> = listed[0].keys.iter().map(|key| (key.key_use, key.state)).collect();
    assert_eq!(
        states,
        [("event", KeyState::Ended), ("agreement", KeyState::Valid), ("event", KeyState::Valid)]
    );

    let file = lab.at("province-nord/keys/event.pem");
    let (new, kept) = switch(&file, None).unwrap();
    assert_eq!(new, rotation.new);
    assert_eq!(lab.key("province-nord", "event.pem").public().thumbprint(), &rotation.new);
    assert_eq!(PrivateKey::read(&kept, None).unwrap().public(), old.public());
    assert!(switch(&file, None).unwrap_err().to_string().contains("no new key waits"));
}

#[test]
fn an_encrypted_key_is_followed_by_one_under_the_same_passphrase() {
    let lab = Lab::new();
    lab.admit(&lab.join("province-nord").request);
    let agreement = lab.key("province-nord", "agreement.pem");
    let file = lab.at("province-nord/keys/sealed.pem");
    agreement.write(&file, Some("te kagou")).unwrap();
    let of = ("nc", &name("province-nord"), KeyUse::Agreement);
    assert!(matches!(rotate(of, &file, None, 30, NOW), Err(JoinFault::Key(_))));
    let rotation = rotate(of, &file, Some("te kagou"), 30, NOW).unwrap();
    assert!(std::fs::read_to_string(&rotation.next).unwrap().contains("ENCRYPTED"));
    lab.admit(&rotation.request);
    assert_eq!(switch(&file, Some("te kagou")).unwrap().0, rotation.new);
}

#[test]
fn a_key_is_only_replaced_by_who_holds_it_while_it_is_good() {
    let lab = Lab::new();
    lab.admit(&lab.join("province-nord").request);
    lab.admit(&lab.join("province-sud").request);
    let nord = lab.key("province-nord", "event.pem");
    let kid = nord.public().thumbprint().to_string();
    let new = PrivateKey::generate().unwrap();
    let request = |member: &str, old: &str, new: &PrivateKey, key_use, made| {
        Request::Rotation(Box::new(RotationRequest {
            hub: "nc".to_owned(),
            member: name(member),
            made,
            old: old.to_owned(),
            overlap_days: 30,
            new: Jwk::new(new.public().clone(), key_use, Some(member.to_owned())),
        }))
    };
    let event = KeyUse::Event;
    let good = request("province-nord", &kid, &new, event, NOW);
    let sud = lab.key("province-sud", "event.pem");
    for (request, signers, expected) in [
        (good.clone(), vec![&new], "isn't signed by the old key"),
        (good.clone(), vec![&new, &sud], "isn't signed by the old key"),
        (good.clone(), vec![&nord], "isn't signed by its event key"),
        (request("province-sud", &kid, &new, event, NOW), vec![&nord, &new], "the hub doesn't know it"),
        (request("nobody", &kid, &new, event, NOW), vec![&nord, &new], "isn't a member"),
        (request("province-nord", &kid, &new, KeyUse::Agreement, NOW), vec![&nord, &new], "another use"),
        (request("province-nord", &kid, &new, event, NOW - 15 * DAY), vec![&nord, &new], "14 days ago"),
        (request("province-nord", &kid, &new, event, NOW + 600), vec![&nord, &new], "in the future"),
        (request("province-nord", &kid, &sud, event, NOW), vec![&nord, &sud], "is province-sud's already"),
        (request("province-nord", &kid, &nord, event, NOW), vec![&nord], "is province-nord's already"),
    ] {
        let sentence = lab.refused(&request.sign(&signers).unwrap(), NOW);
        assert!(sentence.contains(expected), "{expected}: {sentence}");
    }
    let good = good.sign(&[&nord, &new]).unwrap();
    let revoked = revoke(&lab.hub, &What::Key(kid.clone()), NOW).unwrap();
    assert_eq!((revoked.member.as_str(), revoked.keys.len()), ("province-nord", 1));
    assert_eq!(revoked.without, [KeyUse::Event]);
    assert!(lab.refused(&good, NOW).contains("it is revoked"));
}

#[test]
fn a_revoked_key_keeps_its_time_and_doesnt_come_back() {
    let lab = Lab::new();
    lab.admit(&lab.join("province-nord").request);
    let rotation = lab.rotation("province-nord", KeyUse::Event, "event.pem");
    lab.admit(&rotation.request);
    revoke(&lab.hub, &What::Key(rotation.new.to_string()), NOW + 5).unwrap();
    assert!(lab.refused(&rotation.request, NOW).contains("is revoked, for good"));

    let all = revoke(&lab.hub, &What::AllOf(name("province-nord")), NOW + 9).unwrap();
    assert_eq!((all.keys.len(), all.without.len()), (2, 2));
    let times: Vec<_> = lab.directory().keys().map(|key| key.revoked.unwrap() - NOW).collect();
    assert_eq!(times, [9, 9, 5]);
    let again = revoke(&lab.hub, &What::AllOf(name("province-nord")), NOW + 20).unwrap();
    assert!(again.keys.is_empty());
    for (what, expected) in [
        (What::AllOf(name("nobody")), "isn't a member"),
        (What::Key("nokey".to_owned()), "no member has a key"),
    ] {
        let sentence = revoke(&lab.hub, &what, NOW).err().unwrap().to_string();
        assert!(sentence.contains(expected), "{sentence}");
    }
}

#[test]
fn two_at_once_wait_for_each_other() {
    let lab = Lab::new();
    let held = lock(&lab.hub).unwrap();
    let hub = lab.hub.clone();
    let (sent, received) = std::sync::mpsc::channel();
    let other = std::thread::spawn(move || {
        let _lock = lock(&hub).unwrap();
        sent.send(()).unwrap();
    });
    let file = File::options().append(true).open(lab.at("hub/data/invitations/.lock")).unwrap();
    assert!(file.try_lock().is_err());
    assert!(received.try_recv().is_err());
    drop(held);
    received.recv().unwrap();
    other.join().unwrap();
}

/// Computed with Python's hashlib and base64 from RFC 8037's key.
#[test]
fn a_thumbprint_has_digits_for_the_telephone() {
    let key = PrivateKey::from_seed(&[
        0x9d, 0x61, 0xb1, 0x9d, 0xef, 0xfd, 0x5a, 0x60, 0xba, 0x84, 0x4a, 0xf4, 0x92, 0xec, 0x2c, 0xc4, 0x44,
        0x49, 0xc5, 0x69, 0x7b, 0x32, 0x69, 0x19, 0x70, 0x3b, 0xac, 0x03, 0x1c, 0xae, 0x7f, 0x60,
    ]);
    assert_eq!(key.public().thumbprint().as_str(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    assert_eq!(spoken(key.public().thumbprint()), "98089 98420 45018 09564 03465 82763");
}
