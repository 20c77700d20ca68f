//! A recipient that doesn't keep up, and a disk that is full.

use crate::harness::*;
use serde_json::json;

/// How many events [`clog`] publishes.
pub const CLOG: usize = 8;

/// An offer of about 210,000 bytes.
pub fn big(exchange: &Exchange, id: &str) -> Sent {
    let skills: Vec<_> = (0..700).map(|n| json!({"label": format!("{n:0>297}")})).collect();
    let mut record = offer("Mécanicien");
    record["skills"] = skills.into();
    Draft::new(SUD, OFFER, id, "offer/1", &record).signed(exchange.key(SUD))
}

/// Starts the hub with batches of one event and queues of 1 MiB, and publishes
/// [`CLOG`] large offers that nobody consumes. Four of them, after their schema,
/// are in the queue then; the fifth is refused by it and waits to be sent again,
/// those behind it too, as far as they are decided.
pub fn clog(exchange: &mut Exchange) {
    exchange.config.limits.batch_events = 1;
    exchange.config.queue.max_mib = 1;
    exchange.start();
    for n in 0..CLOG {
        exchange.publish([big(exchange, &format!("big-{n}"))]);
    }
    exchange.wait("the last ones wait", |status| {
        let recipient = &status.recipients[0];
        status.inbox_waiting == 0
            && status.events == CLOG as u64
            && recipient.sequence + recipient.undecided == CLOG as u64 + 1
            && recipient.sequence > 5
            && (recipient.confirmed, recipient.queue_messages) == (5, 5)
    });
}

#[test]
fn a_full_queue_makes_the_hub_wait_and_everything_comes_in_order_later() {
    let mut exchange = Exchange::prepare(&[SUD, GOUV]);
    exchange.agree(&whole("tout", SUD, GOUV));
    clog(&mut exchange);
    // Intake goes on for everyone else.
    let small = Draft::new(SUD, JOBSEEKER, "small", "person/1", &jobseeker("Kaemo"));
    exchange.publish([small.signed(exchange.key(SUD))]);
    exchange.wait("it is recorded", |status| status.events == CLOG as u64 + 1);
    let status = exchange.status();
    assert_eq!(status.recipients[0].confirmed, 5);
    assert!(status.recipients[0].queue_bytes <= 1 << 20);

    // One by one, as a slow recipient does.
    let mut got = Vec::new();
    for _ in 0..CLOG + 3 {
        got.extend(exchange.take(GOUV, 1));
    }
    assert!(got.iter().map(Got::sequence).eq(1..=CLOG as u64 + 3));
    let mut expected: Vec<String> = (0..CLOG).map(|n| format!("big-{n}")).collect();
    expected.push("small".to_owned());
    assert_eq!(ids(&got), expected);
    let status = exchange.settled();
    assert_eq!((status.recipients[0].sequence, status.recipients[0].queue_messages), (CLOG as u64 + 3, 0));
}

#[test]
fn a_hub_stops_while_a_queue_is_full_and_goes_on_where_it_was() {
    let mut exchange = Exchange::prepare(&[SUD, GOUV]);
    exchange.agree(&whole("tout", SUD, GOUV));
    clog(&mut exchange);
    exchange.stop();
    exchange.start();
    let got = exchange.take(GOUV, CLOG + 1);
    assert!(got.iter().map(Got::sequence).eq(1..=CLOG as u64 + 1));
    exchange.settled();
    assert_eq!(exchange.sequence(GOUV), CLOG as u64 + 1);
}

#[test]
fn too_little_disk_space_pauses_intake_and_says_so_and_nothing_is_lost() {
    let mut exchange = Exchange::prepare(&[SUD, GOUV]);
    exchange.agree(&whole("tout", SUD, GOUV));
    let usual = exchange.config.store.low_water_mib;
    exchange.config.store.low_water_mib = 1 << 30;
    exchange.start();
    exchange.wait("the hub says so", |status| !status.problems.is_empty());
    let draft = Draft::new(SUD, JOBSEEKER, "e-1", "person/1", &jobseeker("Kaemo"));
    exchange.publish([draft.signed(exchange.key(SUD))]);
    let status = exchange.status();
    let [problem] = &status.problems[..] else { panic!("{:?}", status.problems) };
    assert!(problem.contains("free disk space") && problem.contains("nothing is taken in"), "{problem}");
    assert_eq!((status.events, status.inbox_waiting), (0, 1));
    // It stops all the same, and takes in what waits once there is space.
    exchange.stop();
    exchange.config.store.low_water_mib = usual;
    exchange.start();
    let got = exchange.take_all(GOUV, 0);
    assert_eq!(ids(&got), ["e-1"]);
    assert_eq!(exchange.status().problems, Vec::<String>::new());
}
