//! An agreement ends in the middle of a load.

use super::broker::shared;
use super::lab::member;
use super::load::{Load, Part, rounds};
use super::process::{command, hub_status};
use pirogue::agreements::sign_text;
use pirogue::keys::PrivateKey;

/// How many events the hub has taken in for the recipient, and not decided on.
fn undecided(load: &Load) -> u64 {
    let recipients = hub_status(load.path()).map(|status| status.recipients).unwrap_or_default();
    recipients.iter().find(|one| one.recipient == "gouvernement").map_or(0, |one| one.undecided)
}

#[test]
fn what_is_undecided_when_an_agreement_ends_is_withheld_and_no_number_is_missing() {
    rounds(|| {
        let node = shared().node();
        let mut load = Load::start("agreement ends", node);
        let small = r#"{"max-length-bytes":50000}"#;
        let queue = r"^pirogue\.to\.gouvernement$";
        node.ctl(&["set_policy", "-p", &load.vhost, "small", queue, small, "--apply-to", "queues"]);
        load.until_fault(1, 2, 0);
        // What its queue doesn't take waits undecided.
        load.stop(Part::Recipient);
        load.open_source_up_to(load.events * 4 / 5);
        load.wait("events wait to be decided on", |load| {
            load.count(Part::Hub, "takes no more") > 0 && undecided(load) >= load.events / 8
        });
        assert!(load.recorded() < load.events, "the load was over before the agreement ended");

        let recipient = member("gouvernement");
        let key = PrivateKey::read(&load.path().join("gouvernement/keys/agreement.pem"), None).unwrap();
        let note = sign_text("revoke = \"emploi-gouvernement\"\n", &[(&recipient, &key)]).unwrap();
        let notes = load.path().join("hub/agreements");
        std::fs::write(notes.join("emploi-gouvernement.revoked.note"), note).unwrap();
        let config = load.path().join("hub/hub.toml");
        let reloaded = command(&["reload", "--config", config.to_str().unwrap()]).output().unwrap();
        let said = String::from_utf8_lossy(&reloaded.stdout).into_owned();
        assert!(reloaded.status.success() && said.contains("0 agreements"), "{said}");

        load.open_source();
        load.wait("the rest is taken in", |load| load.recorded() >= load.events);
        load.run(Part::Recipient);
        load.is_over(Part::Recipient);
        load.recover();
        let (events, account) = (load.events, load.finish_part());
        assert!(account.messages > events / 3, "{} messages were handled", account.messages);
        assert!(account.withheld > 0 && account.later > 0, "{} and {}", account.withheld, account.later);
    });
}
