//! Stopped in good order, or in the middle of everything, and started again.

use crate::harness::*;
use crate::pressure::{CLOG, clog};
use pirogue::journal::Entry;

fn people(exchange: &Exchange, from: usize, to: usize) -> Vec<Sent> {
    let sign = |n| {
        let record = jobseeker("Kaemo");
        Draft::new(SUD, JOBSEEKER, &format!("e-{n}"), "person/1", &record).signed(exchange.key(SUD))
    };
    (from..to).map(sign).collect()
}

fn delivered(entries: &[Entry]) -> Vec<&Entry> {
    entries.iter().filter(|entry| matches!(entry, Entry::Delivered { .. })).collect()
}

#[test]
fn after_an_orderly_stop_only_what_wasnt_acknowledged_comes_again() {
    let mut exchange = Exchange::simple();
    exchange.publish(people(&exchange, 0, 6));
    // The schema and three events are acknowledged, one more is in the hand.
    let first = exchange.receive(GOUV, 5);
    exchange.ack(GOUV, first[3].tag);
    exchange.stop();
    exchange.start();
    let again = exchange.receive(GOUV, 3);
    assert_eq!(again[0].message, first[4].message);
    assert!(again[0].redelivered);
    exchange.ack(GOUV, again[2].tag);
    let again = exchange.check(GOUV, again);
    assert_eq!(ids(&again), ["e-3", "e-4", "e-5"]);
    assert!(again.iter().map(Got::sequence).eq(5..=7));

    exchange.publish(people(&exchange, 6, 8));
    let got = exchange.take_all(GOUV, 7);
    assert_eq!(ids(&got), ["e-6", "e-7"]);
    exchange.settled();
    exchange.stop();
    exchange.start();
    assert_eq!(exchange.settled().recipients[0].queue_messages, 0, "nothing is sent again");
    exchange.stop();
    assert_eq!(delivered(&exchange.entries()).len(), 9);
}

#[test]
fn after_a_crash_what_was_decided_is_sent_again_byte_for_byte() {
    let mut exchange = Exchange::prepare(&[SUD, GOUV]);
    exchange.agree(&whole("tout", SUD, GOUV));
    exchange.config.queue.max_mib = 1;
    exchange.start();
    // One batch that fits, and one that doesn't fit behind it: some of its
    // messages are in the queue, and none of it counts as confirmed.
    let big = |n: usize| {
        let mut record = offer("Mécanicien");
        record["description"] = "é".repeat(20_000).into();
        Draft::new(SUD, OFFER, &format!("big-{n}"), "offer/1", &record).signed(exchange.key(SUD))
    };
    exchange.publish((0..14).map(big).collect::<Vec<_>>());
    exchange.wait("the first batch is in the queue", |s| s.recipients[0].queue_messages == 15);
    exchange.publish((14..28).map(big).collect::<Vec<_>>());
    exchange.wait("the second batch is stuck", |s| {
        let recipient = &s.recipients[0];
        recipient.undecided == 0 && recipient.sequence == 29 && recipient.queue_messages > 20
    });
    // Kept in the queue: what follows adds to it.
    let in_queue = exchange.status().recipients[0].queue_messages as usize;
    let before = exchange.receive(GOUV, in_queue);
    exchange.crash();

    exchange.start();
    let first = exchange.receive(GOUV, in_queue);
    assert!(first.iter().zip(&before).all(|(a, b)| a.message == b.message && a.routing_key == b.routing_key));
    exchange.ack(GOUV, first.last().unwrap().tag);
    // Now the whole second batch, from the first of its numbers that wasn't
    // confirmed; a repeat is the same to the byte.
    let mut rest = exchange.receive(GOUV, 1);
    while sequence(rest.last().unwrap()) < 29 {
        rest.extend(exchange.receive(GOUV, 1));
    }
    exchange.ack(GOUV, rest.last().unwrap().tag);
    let repeats = before.iter().filter(|one| sequence(one) >= sequence(&rest[0]));
    assert!(repeats.clone().count() >= in_queue - 15, "the second batch is sent again whole");
    for (repeat, one) in repeats.zip(&rest) {
        assert_eq!(sequence(repeat), sequence(one));
        assert_eq!((&repeat.message, &repeat.routing_key), (&one.message, &one.routing_key));
    }
    let first_of_rest = sequence(&rest[0]);
    let rest = exchange.check(GOUV, rest);
    assert!(rest.iter().map(Got::sequence).eq(first_of_rest..=29));
    exchange.settled();
    exchange.stop();
    assert_eq!(delivered(&exchange.entries()).len(), 29, "nothing was decided twice");
}

fn sequence(one: &pirogue::bus::Delivery) -> u64 {
    one.message.text("cloudEvents_sequence").unwrap().parse().unwrap()
}

/// What a recipient makes of its queue by the sequence rule.
fn handle(exchange: &mut Exchange, handled: &mut Vec<String>, until: usize) {
    while handled.len() < until {
        let one = exchange.receive(GOUV, 1).remove(0);
        let next = handled.len() as u64 + 1;
        assert!(sequence(&one) <= next, "number {} came before {next}", sequence(&one));
        exchange.ack(GOUV, one.tag);
        if sequence(&one) == next {
            handled.extend(exchange.check(GOUV, vec![one]).iter().map(|one| one.attribute("id").to_owned()));
        }
    }
}

#[test]
fn crashes_at_any_moment_lose_nothing_and_change_no_number() {
    let mut exchange = Exchange::simple();
    let mut handled = Vec::new();
    for round in 0..6 {
        let from = round * 40;
        for n in 0..8 {
            exchange.publish(people(&exchange, from + n * 5, from + n * 5 + 5));
        }
        // Wherever the hub is now, it ends there.
        if round % 2 == 0 {
            handle(&mut exchange, &mut handled, from + 1 + round * 3);
        }
        exchange.crash();
        exchange.start();
    }
    handle(&mut exchange, &mut handled, 241);
    let expected: Vec<String> = (0..240).map(|n| format!("e-{n}")).collect();
    assert_eq!(handled[1..], expected);
    assert_eq!(exchange.settled().recipients[0].sequence, 241);
    assert_eq!(exchange.hub().recorded_of_members().unwrap(), 240);
    exchange.stop();
    assert_eq!(delivered(&exchange.entries()).len(), 241);
    nothing_panicked();
}

#[test]
fn a_crash_with_a_full_queue_loses_nothing() {
    let mut exchange = Exchange::prepare(&[SUD, GOUV]);
    exchange.agree(&whole("tout", SUD, GOUV));
    clog(&mut exchange);
    exchange.crash();
    exchange.start();
    let mut handled = Vec::new();
    handle(&mut exchange, &mut handled, CLOG + 1);
    let expected: Vec<String> = (0..CLOG).map(|n| format!("big-{n}")).collect();
    assert_eq!(handled[1..], expected);
}

#[test]
fn a_delivery_key_isnt_changed_under_messages_that_wait() {
    let mut exchange = Exchange::prepare(&[SUD, GOUV]);
    exchange.agree(&whole("tout", SUD, GOUV));
    clog(&mut exchange);
    exchange.stop();
    let path = exchange.config.keys.delivery.clone();
    let aside = path.with_extension("aside");
    std::fs::rename(&path, &aside).unwrap();
    pirogue::keys::PrivateKey::generate().unwrap().write(&path, None).unwrap();
    exchange.start();
    let ended = exchange.block_on(exchange.hub().wait()).unwrap_err();
    assert!(matches!(ended, pirogue::hub::HubFault::DeliveryKeyChanged), "{ended}");
    exchange.crash();
    std::fs::rename(&aside, &path).unwrap();
    exchange.start();
    let got = exchange.take(GOUV, CLOG + 1);
    assert!(got.iter().map(Got::sequence).eq(1..=CLOG as u64 + 1));
}
