//! Erasing a person, and sending again, by a hub on RabbitMQ: what the broker has
//! it keeps, and what the hub still has to send says nothing of the person.

use super::broker::shared;
use super::lab::{LIMITS, Lab, MEMBERS, SUD, member, publish_all};
use super::messages::{Draft, JOBSEEKER, OFFER, jobseeker, offer, read, whole};
use super::process::{PATIENCE, Process, wait_until};
use super::site::Site;
use pirogue::admin::prepare::{self, MemberKeys};
use pirogue::bus::{Bus, Consumer, EVENTS};
use pirogue::config::HubConfig;
use pirogue::connect::recipient::Recipient;
use pirogue::event::Message;
use pirogue::hub::operator::{Answer, RecipientStatus, Request, StatusReport};
use pirogue::hub::{ERASED, WITHHELD};
use pirogue::journal::{self, Entry};
use pirogue::members::Directory;
use pirogue::ops::client;
use pirogue::store::{Store, StoreOptions};
use serde_json::{Value, json};

const VHOST: &str = "erasing";
/// The recipient.
const PROVINCE: &str = MEMBERS[0];
const PERSON: &str = "person/dn-4711";
/// In every payload about the person, and in nobody else's.
const NAME_OF_PERSON: &str = "Wamytan-Effacé";
/// What the hub logs each time that a queue is full; it waits longer each time.
const FULL: &str = "the recipient's queue takes no more";

fn event(keys: &MemberKeys, id: &str, subject: &str, event_type: &str, record: &Value) -> (String, Message) {
    let sent = Draft::new(SUD, event_type, id, subject, record).signed(&keys.event);
    (sent.routing_key, sent.message)
}

fn about(keys: &MemberKeys, id: &str, subject: &str) -> (String, Message) {
    let name = if subject == PERSON { NAME_OF_PERSON } else { "Kaemo" };
    event(keys, id, subject, JOBSEEKER, &jobseeker(name))
}

/// An offer of about 210,000 bytes.
fn big(keys: &MemberKeys, id: &str) -> (String, Message) {
    let skills: Vec<_> = (0..700).map(|n| json!({"label": format!("{n:0>297}")})).collect();
    let mut record = offer("Mécanicien");
    record["skills"] = skills.into();
    event(keys, id, "offer/1", OFFER, &record)
}

fn contains(message: &Message, text: &str) -> bool {
    message.body.windows(text.len()).any(|window| window == text.as_bytes())
}

fn status(site: &Site) -> Option<StatusReport> {
    match client::call(&site.at("data"), &Request::Status) {
        Ok(Answer::Status(status)) => Some(status),
        _ => None,
    }
}

/// Waits until `condition` holds of the hub's status and its recipient's.
fn wait(
    site: &Site,
    hub: &mut Process,
    what: &str,
    condition: impl Fn(&StatusReport, &RecipientStatus, &str) -> bool,
) -> RecipientStatus {
    let mut found = None;
    wait_until(what, || {
        assert!(!hub.has_ended(), "{}", hub.stderr());
        let Some(status) = status(site) else { return false };
        let its = status.recipients.iter().find(|r| r.recipient == PROVINCE).cloned();
        found = its.filter(|its| condition(&status, its, &hub.stderr()));
        found.is_some()
    });
    found.unwrap()
}

/// The next message of the recipient, checked as `pirogue connect` does, with its
/// number.
async fn next(consumer: &mut dyn Consumer, recipient: &Recipient) -> (u64, Message) {
    let limits = pirogue::bus::BatchLimits { messages: 1, ..LIMITS };
    let taken = tokio::time::timeout(PATIENCE, consumer.next(&limits)).await;
    let delivery = taken.expect("a message comes").unwrap().remove(0);
    consumer.ack(delivery.tag).await.unwrap();
    let message = delivery.message.clone();
    let accepted =
        recipient.check(delivery.message).unwrap_or_else(|unverified| panic!("{}", unverified.why));
    (accepted.delivery.sequence, message)
}

fn kind(message: &Message) -> &str {
    message.kind.as_deref().unwrap()
}

fn withheld(message: &Message) -> Option<String> {
    let reason = || read(WITHHELD, &message.body)["reason"].as_str().unwrap().to_owned();
    (kind(message) == WITHHELD).then(reason)
}

/// The hub's folder, with an agreement that hands everything over unchanged.
fn site() -> (Site, MemberKeys) {
    let node = shared().node();
    let site = Site::on(node, VHOST, "[limits]\nbatch_events = 1\n[queue]\nmax_mib = 1\n");
    MEMBERS.iter().for_each(|name| site.member(name));
    let keys = prepare::member(&site.at(SUD)).unwrap();
    let its = prepare::member(&site.at(PROVINCE)).unwrap();
    let (provider, recipient) = (member(SUD), member(PROVINCE));
    let text = whole("tout", SUD, PROVINCE).text();
    let note = site.at("agreements/tout.note");
    prepare::agreement(&note, &text, (&provider, &keys.agreement), (&recipient, &its.agreement)).unwrap();
    (site, keys)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_erased_is_published_no_more_and_a_replay_keeps_its_numbers() {
    let node = shared().node();
    let (site, keys) = site();
    let lab = Lab::open(node, VHOST, 1 << 20).await;
    let (sud, province) = (lab.connect(node, SUD).await, lab.connect(node, PROVINCE).await);
    let mut hub = site.start("hub --config hub.toml");
    wait(&site, &mut hub, "the hub answers", |_, _, _| true);

    // In the queue of a recipient that is away.
    let first: Vec<_> = (0..5)
        .map(|n| about(&keys, &format!("e-{n}"), if n % 2 == 0 { PERSON } else { "person/dn-4712" }))
        .collect();
    publish_all(&sud, EVENTS, &first).await;
    let settled = |events: u64| {
        move |status: &StatusReport, its: &RecipientStatus| {
            status.events == events && its.undecided == 0 && its.confirmed == its.sequence
        }
    };
    wait(&site, &mut hub, "all is published", |status, its, _| settled(5)(status, its));
    // Its queue fills up: what is decided can't be sent.
    let mut events = 5;
    while !hub.stderr().contains(FULL) {
        publish_all(&sud, EVENTS, &[big(&keys, &format!("big-{events}"))]).await;
        events += 1;
        wait(&site, &mut hub, "it is published, or waits", |status, its, log| {
            settled(events)(status, its) || log.contains(FULL)
        });
    }
    let before = wait(&site, &mut hub, "the last is decided", |status, its, _| {
        status.events == events && its.undecided == 0 && its.sequence > its.confirmed
    });
    publish_all(&sud, EVENTS, &[about(&keys, "decided", PERSON)]).await;
    wait(&site, &mut hub, "it is decided", |_, its, _| its.sequence == before.sequence + 1);
    // The hub tries again once in five seconds then; right after a try, what comes
    // isn't decided for a while.
    let tries = |hub: &Process| hub.stderr().matches(FULL).count();
    wait_until("it tries seldom", || tries(&hub) >= 8);
    let count = tries(&hub);
    wait_until("it has just tried", || tries(&hub) > count);
    let undecided: Vec<_> = (0..3).map(|n| about(&keys, &format!("undecided-{n}"), PERSON)).collect();
    publish_all(&sud, EVENTS, &undecided).await;
    events += 4;
    wait(&site, &mut hub, "all is recorded", |status, _, _| status.events == events);

    let said = site.ok(&format!("erase --person {SUD} dn-4711 --yes --json --config hub.toml"));
    let report: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((report["events"].as_u64(), report["payloads"].as_u64()), (Some(7), Some(7)), "{report}");
    let pending = report["pending"].as_u64().unwrap();
    assert!((1..4).contains(&pending), "one is decided, and not all are: {report}");
    assert_eq!(report["told"], json!([{"recipient": PROVINCE, "messages": 3 + pending}]));
    assert!(report["queued"].is_null(), "what RabbitMQ has is out of the hub's reach");

    // The recipient comes back.
    let hub_keys = pirogue::hub::published_keys(&HubConfig::load(&site.at("hub.toml")).unwrap()).unwrap();
    let directory = || Directory::load(&site.at("members")).unwrap();
    let recipient = Recipient::new(member(PROVINCE), hub_keys, directory());
    let mut consumer = province.consume(&format!("pirogue.to.{PROVINCE}"), 0).await.unwrap();
    let mut got: Vec<Message> = Vec::new();
    while got.last().is_none_or(|last| kind(last) != ERASED) {
        let (number, message) = next(consumer.as_mut(), &recipient).await;
        assert!(number <= got.len() as u64 + 1, "{number} comes after {}: the numbers have a gap", got.len());
        assert!(number <= before.confirmed || !contains(&message, NAME_OF_PERSON), "{number}");
        if number == got.len() as u64 + 1 {
            got.push(message);
        }
    }
    let with_name = got.iter().filter(|message| contains(message, NAME_OF_PERSON)).count();
    assert_eq!(with_name, 3, "what the broker had before stays there until it is taken");
    let gone: Vec<String> = got.iter().filter_map(withheld).collect();
    assert_eq!(gone, vec!["erased"; pending as usize]);
    assert_eq!(read(ERASED, &got.last().unwrap().body), json!({"subject": PERSON}));
    let bigs = got.iter().filter(|message| kind(message) == OFFER).count() as u64;
    // The schemas of both types, the others' events, and the notice.
    assert_eq!(bigs, events - 5 - 4);
    assert_eq!(got.len() as u64, 2 + 5 + bigs + pending + 1, "what wasn't decided takes no number");

    // Sent again, twice, and once by another process: the same to the byte.
    let last = got.len() as u64;
    let mut once: Option<Vec<Message>> = None;
    for round in 0..2 {
        // What was confirmed is written down a little later.
        wait(&site, &mut hub, "all is confirmed", |_, its, _| {
            its.undecided == 0 && (its.sequence, its.confirmed) == (last, last)
        });
        let replay = site.start(&format!("replay --to {PROVINCE} --from 2 --json --config hub.toml"));
        let mut again = Vec::new();
        while (again.len() as u64) < last - 1 {
            let (number, message) = next(consumer.as_mut(), &recipient).await;
            assert_eq!(number, again.len() as u64 + 2);
            let first = &got[again.len() + 1];
            match contains(first, NAME_OF_PERSON) {
                true => assert_eq!(withheld(&message).as_deref(), Some("erased"), "{number}"),
                false => assert_eq!(message, *first, "{number}"),
            }
            again.push(message);
        }
        let report: Value = serde_json::from_str(&replay.end().stdout).unwrap();
        let withheld = 3 + pending;
        assert_eq!(
            report,
            json!({"recipient": PROVINCE, "first": 2, "last": last, "messages": last - 1, "withheld": withheld})
        );
        assert!(once.as_ref().is_none_or(|once| *once == again));
        once = Some(again);
        if round == 0 {
            hub.kill();
            hub = site.start("hub --config hub.toml");
        }
    }
    let said = site.refused(&format!("replay --to {PROVINCE} --from {} --config hub.toml", last + 1), 1);
    assert!(said.contains(&format!("was sent the numbers 1 to {last}")), "{said}");

    drop(consumer);
    let ended = hub.terminate();
    assert!(ended.status.success(), "{}", ended.stderr);
    assert!(!ended.stderr.contains("dn-4711") && !ended.stderr.contains(NAME_OF_PERSON), "{}", ended.stderr);
    let key = site.ok("journal key --config hub.toml");
    let said = site.ok(&format!("journal verify data --hub-key {}", key.trim()));
    assert!(said.contains("is whole"), "{said}");
    let store = Store::open(&site.at("data"), StoreOptions::default()).unwrap();
    let entries = journal::read_all(&store).unwrap();
    let delivered = entries.iter().filter_map(|entry| match entry {
        Entry::Delivered { recipient, sequence, .. } if recipient == PROVINCE => Some(*sequence),
        _ => None,
    });
    assert!(delivered.eq(1..=last), "each number has its entry, once");
}
