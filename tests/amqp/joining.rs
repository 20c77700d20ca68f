//! A member joins, publishes, changes its keys and loses them: by the commands
//! that README shows, with a hub and a member's side as processes of their own.

use super::broker::shared;
use super::process::{Process, wait_until};
use super::site::{HUB_NAME, Site};
use pirogue::bus::{Bus, Confirm, EVENTS, queue_of};
use pirogue::config::ConnectConfig;
use pirogue::event::{Attributes, Envelope};
use pirogue::hub::operator::{Answer, Request, StatusReport};
use pirogue::journal::{self, Entry};
use pirogue::keys::PrivateKey;
use pirogue::ops::{broker, client};
use pirogue::schema::Registry;
use pirogue::store::{Store, StoreOptions};
use serde_json::{Value, json};
use std::path::Path;

const OFFER: &str = "nc.employment.offer.published";

/// Publishes the offer `id` as the member whose configuration is `config`, with
/// its own credentials, signed by the key in `key`.
fn publish(config: &Path, key: &Path, id: &str) {
    let config = ConnectConfig::load(config).unwrap();
    let member = config.member.as_str();
    let key = PrivateKey::read(key, None).unwrap();
    let schema = Registry::embedded().unwrap();
    let record = json!({"status": "open", "title": "Mécanicien", "positions": 2, "commune": "98818"});
    let body = schema.get(OFFER, 1).unwrap().encode_json(&record).unwrap();
    let mut attributes = Attributes::default();
    for (name, value) in [
        ("specversion", "1.0"),
        ("id", id),
        ("source", &format!("/{member}/agence")),
        ("type", OFFER),
        ("subject", "offer/1"),
        ("time", "2026-03-14T08:12:45Z"),
        ("datacontenttype", "application/avro"),
        ("dataschema", &format!("urn:pirogue:schema:{OFFER}:1")),
    ] {
        attributes.set(name, value);
    }
    let signature = key.sign_event(&config.hub, &attributes, &body);
    let message = Envelope { attributes, signature, origin_signature: None }.message(member, body.into());
    let url = String::from(config.bus.clone());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let confirms = runtime.block_on(async {
        let bus = broker::connection(&url, member, &config.broker).unwrap();
        bus.publish(EVENTS, vec![(format!("{member}.{OFFER}"), message)]).await.unwrap()
    });
    assert_eq!(confirms, [Confirm::Accepted]);
}

fn status(data: &Path) -> Option<StatusReport> {
    match client::call(data, &Request::Status) {
        Ok(Answer::Status(status)) => Some(status),
        _ => None,
    }
}

/// The hub in `site`, once it answers.
fn running_hub(site: &Site) -> Process {
    let mut hub = site.start("hub --config hub.toml");
    wait_until("the hub answers", || {
        assert!(!hub.has_ended(), "{}", hub.stderr());
        status(&site.at("data")).is_some()
    });
    hub
}

/// Whether the hub took in the offer `id` of `province-nord`.
fn is_taken_in(site: &Site, id: &str) -> bool {
    let request = Request::Trace { source: "/province-nord/agence".to_owned(), id: id.to_owned() };
    match client::call(&site.at("data"), &request) {
        Ok(Answer::Trace(trace)) => trace.taken_in.is_some(),
        Ok(Answer::NotFound { .. }) => false,
        other => panic!("{other:?}"),
    }
}

fn await_event(site: &Site, id: &str) {
    wait_until("the event is taken in", || is_taken_in(site, id));
}

/// The reasons that the notices told that the member's side received.
fn notices(site: &Site, member: &str) -> Vec<String> {
    let path = site.at(&format!("{member}/received/nc.hub.event.rejected.jsonl"));
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let whole = &text[..text.rfind('\n').map_or(0, |at| at + 1)];
    let reason = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap();
        line["data"]["reason"].as_str().unwrap().to_owned()
    };
    whole.lines().map(reason).collect()
}

/// The digits that two people compare.
fn digits(said: &str) -> Vec<&str> {
    let is_digits = |line: &&str| line.len() > 20 && line.bytes().all(|b| b.is_ascii_digit() || b == b' ');
    said.lines().map(str::trim).filter(is_digits).collect()
}

/// What the journal of a hub that has stopped says of keys.
fn journalled_keys(data: &Path) -> Vec<(String, String, String)> {
    let store = Store::open(data, StoreOptions::default()).unwrap();
    let of = |entry| match entry {
        Entry::Key { owner, key_use, change, .. } => Some((owner, key_use, change)),
        _ => None,
    };
    journal::read_all(&store).unwrap().into_iter().filter_map(of).collect()
}

/// The lines `pirogue …` of README's section on joining, without `pirogue`.
fn shown_in_readme() -> Vec<String> {
    let readme = include_str!("../../README.md");
    let section = readme.split("\n## ").find(|section| section.starts_with("Join, in minutes")).unwrap();
    let lines = section.lines().filter_map(|line| line.strip_prefix("pirogue "));
    lines.map(|line| line.split(" #").next().unwrap().trim_end().to_owned()).collect()
}

#[test]
fn a_member_joins_in_minutes_publishes_and_changes_and_loses_its_keys() {
    let node = shared().node();
    let site = Site::on(node, "joining", "");
    site.ok("provision --config hub.toml --dry-run");
    site.ok("provision --config hub.toml --export definitions.json");
    site.ok("provision --config hub.toml");
    let hub = running_hub(&site);

    let said = site.ok("member invite province-nord --config hub.toml --out province-nord.invitation");
    let of_hub = digits(&said).into_iter().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(of_hub.len(), 2, "{said}");
    assert!(site.ok("member list --config hub.toml").contains("invited: province-nord, open until"));

    let join = "member join province-nord.invitation --dir province-nord --out province-nord.request";
    let said = site.ok(join);
    let (ours, theirs) = said.split_once("the hub's keys").unwrap();
    assert_eq!(digits(theirs), of_hub);
    let password = site.read("province-nord/keys/broker.password");
    assert!(!site.read("province-nord.request").contains(password.trim_end()));

    let admit = "member admit province-nord.request --config hub.toml";
    let checked = site.ok(&format!("{admit} --check"));
    assert_eq!(digits(&checked), digits(ours));
    assert!(
        !site.at("members/province-nord.jwks.json").exists()
            && !site.at("broker/province-nord.hash").exists()
    );
    let admitted = site.ok(admit);
    assert_eq!(digits(&admitted), digits(ours));
    assert!(admitted.contains("let province-nord publish to pirogue.events"), "{admitted}");
    assert!(admitted.ends_with("The running hub goes by it from now on. It can publish.\n"), "{admitted}");
    let again = site.ok(admit);
    assert!(again.contains("admitted already: nothing changes"), "{again}");
    let nothing = site.ok("provision --config hub.toml");
    assert!(nothing.starts_with("Nothing to do:"), "{nothing}");

    let mut connect = site.start("connect --config province-nord/connect.toml");
    let (config, event) = (site.at("province-nord/connect.toml"), site.at("province-nord/keys/event.pem"));
    publish(&config, &event, "1");
    await_event(&site, "1");

    // A new key: both are good, once the hub has admitted it.
    let rotate = "member rotate-key --config province-nord/connect.toml --out province-nord.rotation";
    let ours = site.ok(rotate);
    let next = site.at("province-nord/keys/event.next.pem");
    publish(&config, &next, "too-early");
    wait_until("the notice comes", || {
        assert!(!connect.has_ended(), "{}", connect.stderr());
        notices(&site, "province-nord") == ["unknown-key"]
    });
    let admitted = site.ok("member admit province-nord.rotation --config hub.toml");
    assert_eq!(digits(&admitted), digits(&ours));
    assert!(site.ok("member admit province-nord.rotation --config hub.toml").contains("admitted already"));
    publish(&config, &event, "2");
    publish(&config, &next, "3");
    await_event(&site, "2");
    await_event(&site, "3");
    site.ok("member rotate-key --config province-nord/connect.toml --switch");
    assert!(!next.exists());
    publish(&config, &event, "4");
    await_event(&site, "4");

    // The old key is lost.
    let listed: Value = serde_json::from_str(&site.ok("member list --config hub.toml --json")).unwrap();
    let keys = listed["members"][0]["keys"].as_array().unwrap();
    assert_eq!(listed["members"][0]["member"], "province-nord");
    assert!(listed["members"][0]["queue_messages"].is_u64(), "{listed}");
    assert_eq!((keys.len(), keys[0]["state"].as_str()), (3, Some("valid")));
    assert!(keys[0]["valid_until"].is_i64() && keys[2]["valid_until"].is_null());
    let kid = keys[0]["kid"].as_str().unwrap();
    let said = site.ok(&format!("member revoke-key {kid} --config hub.toml"));
    assert!(said.contains("The running hub goes by it"), "{said}");
    let kept: Vec<_> = std::fs::read_dir(site.at("province-nord/keys"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_str().unwrap().contains("event.was-"))
        .collect();
    publish(&config, &kept[0], "by-the-lost-key");
    wait_until("the notice comes", || {
        assert!(!connect.has_ended(), "{}", connect.stderr());
        notices(&site, "province-nord") == ["unknown-key", "key-not-valid"]
    });
    publish(&config, &event, "5");
    await_event(&site, "5");

    // And now all of them.
    let said = site.ok("member revoke-key --all province-nord --config hub.toml");
    assert!(said.contains("has no key for event any more"), "{said}");
    publish(&config, &event, "6");
    wait_until("the notice comes", || notices(&site, "province-nord").len() == 3);
    for id in ["too-early", "by-the-lost-key", "6"] {
        assert!(!is_taken_in(&site, id), "{id}");
    }
    assert!(site.ok("member revoke-key --all province-nord --config hub.toml").contains("revoked already"));

    for process in [connect, hub] {
        let ended = process.terminate();
        assert!(ended.status.success(), "{}", ended.stderr);
        assert!(!ended.stderr.contains(password.trim_end()));
    }
    let own = journalled_keys(&site.at("data"));
    let own: Vec<_> =
        own.iter().map(|(owner, key_use, change)| format!("{owner} {key_use} {change}")).collect();
    let count = |what: &str| own.iter().filter(|line| *line == what).count();
    assert_eq!(count("province-nord event added"), 2, "{own:?}");
    assert_eq!(count("province-nord agreement added"), 1, "{own:?}");
    // The old key got its end, then was revoked; the new one was revoked.
    assert_eq!(count("province-nord event changed"), 3, "{own:?}");
    assert_eq!(count("province-nord agreement changed"), 1, "{own:?}");
    // Without a hub the management API knows the queue.
    let listed: Value = serde_json::from_str(&site.ok("member list --config hub.toml --json")).unwrap();
    assert!(listed["members"][0]["queue_messages"].is_u64(), "{listed}");

    // README shows nothing that wasn't run here.
    let ran: Vec<String> = site.ran().iter().map(|line| line.replace(kid, "KID")).collect();
    let shown = shown_in_readme();
    assert!(shown.len() > 15, "{shown:#?}");
    for line in shown {
        assert!(ran.contains(&line), "{line} in {ran:#?}");
    }
}

#[test]
fn what_isnt_admitted_is_said_in_a_sentence_and_leaves_no_trace() {
    let node = shared().node();
    let site = Site::on(node, "refusals", "");
    site.ok("provision --config hub.toml");
    let invite = |name: &str| {
        site.ok(&format!("member invite {name} --config hub.toml --out {name}.invitation"));
        site.ok(&format!("member join {name}.invitation --dir {name} --out {name}.request"));
    };
    let refused = |file: &str, expected: &str| {
        let sentence = site.refused(&format!("member admit {file} --config hub.toml"), 1);
        assert!(sentence.contains(expected), "{expected}: {sentence}");
    };
    invite("houailou");
    invite("ponerihouen");

    // Tampered with: another password's hash.
    let good = site.read("houailou.request");
    let other = site.read("ponerihouen.request");
    let hash = |text: &str| {
        text.lines().find(|line| line.starts_with("password_hash")).expect("there is a hash").to_owned()
    };
    site.write("tampered", &good.replace(&hash(&good), &hash(&other)));
    refused("tampered", "isn't signed by its event key");
    // Another's name.
    site.write("posing", &good.replace("houailou", "ponerihouen"));
    refused("posing", "isn't signed by its event key");
    // The token of an invitation that another followed.
    site.ok("member invite houailou --config hub.toml --out second.invitation");
    refused("houailou.request", "doesn't answer the last invitation");
    // Too late.
    invite("houailou");
    let remembered = site.read("data/invitations/houailou.json");
    let expires: Value = serde_json::from_str(&remembered).unwrap();
    let past = remembered.replace(&expires["expires"].to_string(), "1700000000");
    site.write("data/invitations/houailou.json", &past);
    refused("houailou.request", "ended at 2023-11-14");
    // For another hub.
    let hub = site.read("hub.toml");
    site.write("hub.toml", &hub.replace(HUB_NAME, "autre-pays"));
    refused("ponerihouen.request", "for the hub nouvelle-caledonie, and this is autre-pays");
    site.write("hub.toml", &hub);
    refused("hub.toml", "can't be used");

    assert_eq!(std::fs::read_dir(site.at("members")).unwrap().count(), 0);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let users = runtime.block_on(node.management().users()).unwrap();
    assert!(users.iter().all(|user| user.name != "houailou" && user.name != "ponerihouen"));

    // Replayed after all is well: nothing changes. Without a hub it is read at its start.
    let said = site.ok("member admit ponerihouen.request --config hub.toml");
    assert!(said.contains("it is read when the hub starts"), "{said}");
    site.ok("member admit ponerihouen.request --config hub.toml");
    let sentence = site.refused("member invite ponerihouen --config hub.toml --out x", 1);
    assert!(sentence.contains("is a member already") && !site.at("x").exists(), "{sentence}");
    let queue = queue_of(&super::lab::member("ponerihouen"));
    let queues = runtime.block_on(node.management().queues("refusals")).unwrap();
    assert!(queues.iter().any(|found| found.name == queue));
}

#[test]
fn over_tls_a_member_gets_the_authority_with_its_invitation_and_may_log_in_by_certificate() {
    let node = shared().node();
    let certificates = node.certificates();
    let plain = super::site::settings(node, "tls-joining", "");
    let port = |port: u16| format!("127.0.0.1:{port}/");
    let secure = plain.replace("amqp://", "amqps://").replace(&port(node.port), &port(node.tls_port));
    let ca = format!("[broker]\nca = '{}'\n", certificates.join("ca.pem").display());
    let by_password = secure.replace("[broker]\n", &ca);
    let site = Site::new(&by_password);
    let join = |name: &str| {
        site.ok(&format!("member invite {name} --config hub.toml --out {name}.invitation"));
        site.ok(&format!("member join {name}.invitation --dir {name} --out {name}.request"));
        site.ok(&format!("member admit {name}.request --config hub.toml"));
    };
    // The broker needs nothing else beforehand.
    join("thio");
    let at = |path: &str| site.at(path);
    publish(&at("thio/connect.toml"), &at("thio/keys/event.pem"), "1");

    let login = "[broker]\nlogin = 'certificate'\ncertificate = 'hub.pem'\nkey = 'hub.key'\n";
    site.write("hub.toml", &by_password.replace("[broker]\n", login));
    join("province-sud");
    assert!(!site.read("province-sud.request").contains("password_hash ="));
    std::fs::create_dir(at("province-sud/tls")).unwrap();
    for (from, to) in [("province-sud.pem", "client.pem"), ("province-sud.key", "client.key")] {
        std::fs::copy(certificates.join(from), at("province-sud/tls").join(to)).unwrap();
    }
    publish(&at("province-sud/connect.toml"), &at("province-sud/keys/event.pem"), "1");
}

#[test]
fn on_the_embedded_bus_a_member_joins_too() {
    let site =
        Site::new(&format!("name = '{HUB_NAME}'\n[http]\nenabled = false\n[store]\nlow_water_mib = 64\n"));
    let hub = running_hub(&site);
    site.ok("member invite province-nord --config hub.toml --out province-nord.invitation");
    let said =
        site.ok("member join province-nord.invitation --dir province-nord --out province-nord.request");
    assert!(said.contains("the list connect of hub.toml"), "{said}");
    let said = site.ok("member admit province-nord.request --config hub.toml");
    assert!(said.contains("province-nord is admitted. The running hub goes by it"), "{said}");
    assert_eq!(status(&site.at("data")).unwrap().members, 1);
    // A key that the hub can't read is told, and it goes on by what it read before.
    site.write("members/other.jwks.json", "{}");
    let sentence = site.refused("reload --config hub.toml", 1);
    assert!(sentence.contains("other.jwks.json"), "{sentence}");
    std::fs::remove_file(site.at("members/other.jwks.json")).unwrap();
    assert!(hub.terminate().status.success());

    // The member's side runs in the hub's process.
    site.write("hub.toml", &format!("connect = ['province-nord/connect.toml']\n{}", site.read("hub.toml")));
    let hub = running_hub(&site);
    assert!(hub.terminate().status.success());
    let sentence = site.refused("provision --config hub.toml", 2);
    assert!(sentence.contains("nothing to provision"), "{sentence}");
}
