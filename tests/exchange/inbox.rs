//! A member's inbox when its keys are behind: nothing is lost, and nothing that
//! comes later waits for what can't be proven.

use crate::harness::*;
use pirogue::admin::prepare;
use pirogue::bus::{DELIVERIES, HUB};
use pirogue::config::ConnectConfig;
use pirogue::connect::Connect;
use pirogue::keys::{Jwk, Jwks, KeyUse, PrivateKey};
use std::path::PathBuf;
use std::time::{Duration, Instant};

struct Member {
    _folder: tempfile::TempDir,
    hub_keys: PathBuf,
    members: PathBuf,
    connect: Connect,
}

/// Runs the inbox of `gouvernement` with its own copies of the public keys:
/// `hub` and, in its folder of members, `sud`.
fn inbox(exchange: &Exchange, hub: &Jwks, sud: &Jwks) -> Member {
    let folder = tempfile::tempdir().unwrap();
    let hub_keys = folder.path().join("hub.jwks.json");
    let members = folder.path().join("members");
    prepare::write(&hub_keys, &hub.to_json()).unwrap();
    prepare::write(&members.join(format!("{SUD}.jwks.json")), &sud.to_json()).unwrap();
    let toml = folder.path().join("connect.toml");
    prepare::write(&toml, &format!("member = \"{GOUV}\"\nhub = \"{NAME}\"\n[inbox]\nenabled = true\n"))
        .unwrap();
    let config = ConnectConfig::load_beside_hub(&toml).unwrap();
    let bus = exchange.node().bus(GOUV).unwrap();
    let connect = exchange.block_on(Connect::start(&config, bus)).unwrap();
    Member { _folder: folder, hub_keys, members, connect }
}

fn wait(exchange: &Exchange, what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    exchange.block_on(async {
        while !condition() {
            assert!(Instant::now() < deadline, "waited in vain until {what}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
}

fn publish(exchange: &Exchange, id: &str) {
    let record = jobseeker("Kaemo");
    exchange.publish([Draft::new(SUD, JOBSEEKER, id, "person/1", &record).signed(exchange.key(SUD))]);
}

#[test]
fn messages_by_a_key_of_the_hub_that_isnt_known_yet_wait_until_it_is() {
    let exchange = Exchange::simple();
    let other =
        Jwk::new(PrivateKey::from_seed(&[9; 32]).public().clone(), KeyUse::Delivery, Some("hub".to_owned()));
    let sud = exchange.keys(SUD).public(&name(SUD));
    let member = inbox(&exchange, &Jwks { keys: vec![other] }, &sud);
    publish(&exchange, "e-1");
    let counts = member.connect.counts();
    wait(&exchange, "the message came twice", || counts.received.get() >= 4);
    assert_eq!((counts.handled.get(), counts.unverified.get()), (0, 0));

    prepare::write(&member.hub_keys, &exchange.hub().public_keys().to_json()).unwrap();
    // The schema and the event.
    wait(&exchange, "the messages are handled", || counts.handled.get() == 2);
    assert!(member.connect.set_aside().unwrap().is_empty());
    exchange.block_on(member.connect.stop()).unwrap();
}

#[test]
fn an_event_whose_publisher_cant_be_proven_is_set_aside_and_the_next_ones_go_on() {
    let exchange = Exchange::simple();
    let stranger =
        Jwk::new(PrivateKey::from_seed(&[9; 32]).public().clone(), KeyUse::Event, Some(SUD.to_owned()));
    let hub = exchange.hub().public_keys().clone();
    let member = inbox(&exchange, &hub, &Jwks { keys: vec![stranger] });
    publish(&exchange, "e-1");
    let counts = member.connect.counts();
    wait(&exchange, "the event is set aside", || counts.unverified.get() == 1);

    // The key that was added since is found without a restart.
    let sud = exchange.keys(SUD).public(&name(SUD)).to_json();
    prepare::write(&member.members.join(format!("{SUD}.jwks.json")), &sud).unwrap();
    publish(&exchange, "e-2");
    wait(&exchange, "the next event is handled", || counts.handled.get() == 2);
    let aside = member.connect.set_aside().unwrap();
    assert_eq!(aside.iter().map(|row| row.what.as_str()).collect::<Vec<_>>(), ["unverified"]);
    assert!(aside[0].why.contains("originsignature"), "{}", aside[0].why);
    exchange.block_on(member.connect.stop()).unwrap();
}

#[test]
fn messages_that_overtook_others_are_put_in_order_and_each_is_handled_once() {
    let mut exchange = Exchange::simple();
    for n in 1..=4 {
        publish(&exchange, &format!("e-{n}"));
    }
    // The schema and the events. They come again as a full queue leaves them:
    // what was in flight after a nack first, and all of it once more.
    let got = exchange.receive(GOUV, 5);
    exchange.ack(GOUV, got[4].tag);
    exchange.hang_up(GOUV);
    let again = [3, 4, 0, 1, 2, 3, 4].map(|n: usize| (got[n].routing_key.clone(), got[n].message.clone()));
    let bus = exchange.node().bus(HUB).unwrap();
    exchange.block_on(bus.publish(DELIVERIES, again.to_vec())).unwrap();

    let hub = exchange.hub().public_keys().clone();
    let member = inbox(&exchange, &hub, &exchange.keys(SUD).public(&name(SUD)));
    let counts = member.connect.counts();
    wait(&exchange, "all is handled", || counts.handled.get() == 5);
    wait(&exchange, "the repeated ones came", || counts.repeated.get() == 2);
    assert_eq!((counts.early.get(), counts.received.get()), (0, 7));
    exchange.block_on(member.connect.stop()).unwrap();
}
