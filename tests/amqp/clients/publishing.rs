//! What programs in four languages publish, others receive.

use super::exchange::{Exchange, HUB_NAME, OFFER, count, expected, lines, read, record};
use super::programs::{PUBLISHERS, RECIPIENTS};
use crate::broker::shared;
use crate::lab::{PASSWORD, await_empty};
use crate::process::{Process, hub_status, wait_until};
use pirogue::bus::amqp::{Connection, Options};
use pirogue::bus::{BatchLimits, Bus, HUB, INBOX};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// How many records each publisher has: more than are on their way at once, so
/// that a publisher is killed between two windows.
const RECORDS: usize = 620;
const WINDOW: usize = 500;

/// Runs a publisher to its end, which has to be a good one.
fn publish(exchange: &Exchange, language: &str, file: &Path) {
    let ended = exchange.settings(language).publish(language, file).end();
    assert!(ended.status.success(), "{language}: {}", ended.stderr);
    assert_eq!(ended.stdout, format!("{RECORDS} events are taken, 0 records left out\n"));
    assert_eq!(ended.stderr, "");
}

/// Starts a publisher whose records come from a pipe that stays open, and kills
/// it once the hub has what the first of them say.
fn publish_and_kill(exchange: &Exchange, language: &str) {
    let pipe = exchange.path().join(format!("{language}.pipe"));
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let taken = || hub_status(exchange.path()).map_or(0, |status| status.events) as usize;
    let before = taken();
    let publisher = exchange.settings(language).publish(language, &pipe);
    // Opens once the publisher reads.
    let mut file = fs::OpenOptions::new().write(true).open(&pipe).unwrap();
    file.write_all(lines((0..WINDOW + 50).map(|n| record(language, n))).as_bytes()).unwrap();
    wait_until("the hub has a window of events", || taken() >= before + WINDOW);
    publisher.kill();
}

/// Holds what `recipient` wrote against what all others published.
fn reconcile(exchange: &Exchange, recipient: &str) {
    let folder = exchange.received(recipient);
    let aside = read(&folder.join("aside.jsonl"));
    let why = |item: &Value| format!("{} {}", item["why"], item["headers"]["cloudEvents_type"]);
    assert!(aside.is_empty(), "{recipient}: {} aside, {}", aside.len(), why(&aside[0]));
    let received = read(&folder.join("received.jsonl"));
    let mut of: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    let (mut ids, mut pseudonyms) = (BTreeSet::new(), BTreeSet::new());
    for (line, sequence) in received.iter().zip(1u64..) {
        assert_eq!((&line["epoch"], &line["sequence"]), (&1.into(), &sequence.into()), "{recipient}");
        assert!(ids.insert((line["source"].as_str(), line["id"].as_str())), "an event was handled twice");
        of.entry(line["source"].as_str().unwrap()).or_default().push(line);
    }
    let schemas = of.remove(&*format!("/hub/{HUB_NAME}")).unwrap();
    assert!(!schemas.is_empty() && schemas.iter().all(|line| line["type"] == "nc.hub.schema.published"));
    let others: Vec<_> = PUBLISHERS.iter().filter(|language| **language != recipient).collect();
    assert_eq!(of.len(), others.len());
    for publisher in others {
        let got = &of[&*format!("/{publisher}/boost")];
        assert_eq!(got.len(), RECORDS, "{recipient} from {publisher}");
        for (n, line) in got.iter().enumerate() {
            let sent = record(publisher, n);
            assert_eq!(line["data"], expected(&sent), "{recipient} from {publisher}, record {n}");
            assert_eq!(line["type"], sent["type"]);
            assert_eq!(line["agreement"], format!("{publisher}-{recipient}:1"));
            match line["type"] == OFFER {
                true => {
                    for name in ["id", "subject", "time"] {
                        assert_eq!(line[name], sent[name]);
                    }
                }
                false => {
                    let subject = line["subject"].as_str().unwrap();
                    assert!(subject.starts_with("person/~"), "{subject}");
                    assert!(pseudonyms.insert(subject), "two persons have one pseudonym");
                    assert_eq!(line["time"], sent["time"].as_str().unwrap().replace(".25Z", "Z"));
                }
            }
        }
    }
}

#[test]
fn what_four_languages_publish_three_receive_once_though_each_is_killed() {
    let node = shared().node();
    let exchange = Exchange::prepare(node, "languages", &PUBLISHERS, 1 << 30);
    for provider in PUBLISHERS {
        for recipient in RECIPIENTS.iter().filter(|recipient| **recipient != provider) {
            exchange.agree(provider, recipient);
        }
    }
    let mut hub = exchange.start_hub();
    hub.answers(exchange.path());
    exchange.fetch_schemas();

    // With nobody who receives yet, so that they are killed amid a load.
    for language in PUBLISHERS {
        publish_and_kill(&exchange, language);
        let file = exchange.path().join(format!("{language}.jsonl"));
        fs::write(&file, lines((0..RECORDS).map(|n| record(language, n)))).unwrap();
        let began = Instant::now();
        publish(&exchange, language, &file);
        println!(
            "{language} published {RECORDS} events again in {:.1?}, its start included",
            began.elapsed()
        );
    }
    wait_until("the hub has taken all in", || {
        hub_status(exchange.path()).is_some_and(|status| status.events as usize >= RECORDS * PUBLISHERS.len())
    });

    let file = |language: &str| exchange.received(language).join("received.jsonl");
    let start = |language: &str| exchange.settings(language).receive(language, &exchange.received(language));
    let all = RECORDS * (PUBLISHERS.len() - 1);
    let mut killed = Vec::new();
    for language in RECIPIENTS {
        let mut process = start(language);
        wait_until("some events are handled", || {
            assert!(!process.has_ended(), "{language}: {}", process.stderr());
            count(&file(language)) > 0
        });
        process.kill();
        killed.push(count(&file(language)));
    }
    let mut running: Vec<Process> = RECIPIENTS.map(start).into();
    for (at, language) in RECIPIENTS.into_iter().enumerate() {
        wait_until("all events are handled", || {
            assert!(!running[at].has_ended(), "{language}: {}", running[at].stderr());
            count(&file(language)) > all
        });
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let queue = |member: &str| format!("pirogue.to.{member}");
    // All is acknowledged, and nobody got a notice that something was refused.
    for member in PUBLISHERS {
        runtime.block_on(await_empty(node, &exchange.vhost, &queue(member)));
    }
    let status = hub_status(exchange.path()).unwrap();
    assert_eq!(status.events as usize, RECORDS * PUBLISHERS.len());
    assert!(status.quarantined.is_empty(), "{:?}", status.quarantined);
    running.drain(..).for_each(|process| drop(process.kill()));
    for recipient in RECIPIENTS {
        reconcile(&exchange, recipient);
    }
    println!("each publisher killed after {WINDOW} events; the recipients after {killed:?} of {}", all + 1);
}

/// An inbox that takes no more.
#[test]
fn a_publisher_that_is_refused_tries_again_in_order() {
    const COUNT: usize = 900;
    let node = shared().node();
    for language in PUBLISHERS {
        let exchange = Exchange::prepare(node, &format!("refused-{language}"), &[language], 60_000);
        let file = exchange.path().join("records.jsonl");
        fs::write(&file, lines((0..COUNT).map(|n| record(language, n)))).unwrap();
        let mut publisher = exchange.settings(language).publish(language, &file);
        wait_until("it says that it is refused", || {
            assert!(!publisher.has_ended(), "{language}: {}", publisher.stderr());
            publisher.stderr().contains("the hub's inbox takes no more now: ")
        });
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let ids = runtime.block_on(async {
            let url = node.url(HUB, &exchange.vhost);
            let hub = Connection::connect(&url, Options::default()).await.unwrap();
            let mut consumer = hub.consume(INBOX, 100).await.unwrap();
            let limits = BatchLimits { messages: 50, bytes: 1 << 20, linger: Duration::ZERO };
            let (mut ids, mut seen) = (Vec::new(), BTreeSet::new());
            while ids.len() < COUNT {
                let batch = tokio::time::timeout(Duration::from_secs(60), consumer.next(&limits)).await;
                let batch = batch.unwrap_or_else(|_| panic!("{language} sends no more")).unwrap();
                for delivery in &batch {
                    let id = delivery.message.message_id.clone().unwrap();
                    // What comes again is what the hub drops.
                    if seen.insert(id.clone()) {
                        ids.push(id);
                    }
                }
                consumer.ack(batch.last().unwrap().tag).await.unwrap();
            }
            // What still comes again.
            while let Ok(batch) =
                tokio::time::timeout(Duration::from_millis(300), consumer.next(&limits)).await
            {
                consumer.ack(batch.unwrap().last().unwrap().tag).await.unwrap();
            }
            ids
        });
        let ended = publisher.end();
        assert!(ended.status.success(), "{language}: {}", ended.stderr);
        assert_eq!(ids.into_iter().collect::<BTreeSet<_>>().len(), COUNT);
    }
}

#[test]
fn a_publisher_whose_event_finds_no_queue_says_so_and_fails() {
    let node = shared().node();
    let exchange = Exchange::prepare(node, "unrouted", &PUBLISHERS, 1 << 30);
    node.ctl(&["delete_queue", "-p", &exchange.vhost, INBOX]);
    for language in PUBLISHERS {
        let file = exchange.path().join(format!("{language}.jsonl"));
        fs::write(&file, lines((0..3).map(|n| record(language, n)))).unwrap();
        let ended = exchange.settings(language).publish(language, &file).end();
        assert_eq!(ended.status.code(), Some(1), "{language}: {}", ended.stderr);
        assert!(ended.stderr.contains("the broker has no queue for "), "{language}: {}", ended.stderr);
        assert_eq!(ended.stdout, "", "{language}");
    }
}

#[test]
fn a_publisher_leaves_out_what_isnt_a_record_and_names_the_line_and_no_value() {
    let node = shared().node();
    let exchange = Exchange::prepare(node, "left-out", &PUBLISHERS, 1 << 30);
    for language in PUBLISHERS {
        let mut records: Vec<_> = (0..6).map(|n| record(language, n)).collect();
        records[1]["data"]["commune_de_travail"] = "Mystère".into();
        records[2]["data"]["status"] = "Mystère".into();
        records[3].as_object_mut().unwrap().remove("time");
        records[4]["data"]["person"].as_object_mut().unwrap().remove("family_name");
        let file = exchange.path().join(format!("{language}.jsonl"));
        fs::write(&file, lines(records.into_iter()) + "{\"Mystère\"\n").unwrap();
        let ended = exchange.settings(language).publish(language, &file).end();
        assert_eq!(ended.status.code(), Some(1), "{language}: {}", ended.stderr);
        assert_eq!(ended.stdout, "2 events are taken, 5 records left out\n", "{language}: {}", ended.stderr);
        for number in [2, 3, 4, 5, 7] {
            assert!(
                ended.stderr.contains(&format!("line {number} is left out: ")),
                "{language}: {}",
                ended.stderr
            );
        }
        assert!(!ended.stderr.contains("Mystère"), "{language}: {}", ended.stderr);
    }
}

#[test]
fn programs_speak_tls_to_a_broker_of_the_authority_that_they_are_given_and_to_no_other() {
    let node = shared().node();
    let exchange = Exchange::prepare(node, "clients-tls", &PUBLISHERS, 1 << 30);
    let authority = |name: &str| node.certificates().join(name).to_str().unwrap().to_owned();
    let other = |host: &str, ca: &str, member: &str| {
        let mut settings = exchange.settings(member);
        settings.broker = format!("amqps://{member}:{PASSWORD}@{host}:{}/{}", node.tls_port, exchange.vhost);
        settings.more.push(("CA_FILE", authority(ca)));
        settings
    };
    for language in PUBLISHERS {
        let file = exchange.path().join(format!("{language}.jsonl"));
        fs::write(&file, lines((0..3).map(|n| record(language, n)))).unwrap();
        let ended = other("localhost", "ca.pem", language).publish(language, &file).end();
        assert!(ended.status.success(), "{language}: {}", ended.stderr);
        let mut publisher = other("localhost", "other-ca.pem", language).publish(language, &file);
        wait_until("it refuses the broker", || {
            assert!(!publisher.has_ended(), "{language}: {}", publisher.stderr());
            publisher.stderr().contains("no connection")
        });
    }
    for language in RECIPIENTS {
        let mut recipient =
            other("localhost", "other-ca.pem", language).receive(language, &exchange.received(language));
        wait_until("it refuses the broker", || {
            assert!(!recipient.has_ended(), "{language}: {}", recipient.stderr());
            recipient.stderr().contains("no connection")
        });
    }
    let waiting = |queue: &str| {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let queues = runtime.block_on(node.management().queues(&exchange.vhost)).unwrap();
        queues.iter().find(|found| found.name == queue).map_or(0, |found| found.messages)
    };
    wait_until("the broker has what was published over TLS", || {
        waiting(INBOX) == 3 * PUBLISHERS.len() as u64
    });
}
