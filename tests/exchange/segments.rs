//! The end of whole segments: with the last payload in it a file goes, and what
//! the hub knows of its events stays.

use crate::harness::*;
use crate::people::*;
use crate::pressure::big;
use pirogue::hub::Expired;
use pirogue::journal::Entry;

/// How many rounds are published; a round is more than half a segment.
const ROUNDS: usize = 8;
/// The events of a round: large ones, one about the person, one about another.
const ROUND: usize = 5;

fn round(exchange: &Exchange, n: usize) -> Vec<Sent> {
    let mut all: Vec<Sent> = (0..3).map(|at| big(exchange, &format!("big-{n}-{at}"))).collect();
    all.push(about(exchange, &format!("person-{n}"), PERSON));
    all.push(about(exchange, &format!("other-{n}"), OTHER));
    all
}

fn segments(exchange: &Exchange) -> Vec<String> {
    let names = std::fs::read_dir(exchange.data().join("segments")).unwrap();
    let mut names: Vec<_> = names.map(|name| name.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn expire_at(exchange: &Exchange, now: jiff::Timestamp) -> Expired {
    let stop = tokio::sync::watch::Sender::new(false);
    // The hub itself expires nothing meanwhile.
    let days = jiff::SignedDuration::from_hours(24 * i64::from(exchange.config.retention.replay_days));
    exchange.block_on(exchange.hub().expire(now + days, &stop.subscribe())).unwrap()
}

/// What became of the messages `from` to the last for the recipient, sent again:
/// an id, or why there is none.
fn again(exchange: &mut Exchange, from: u64) -> Vec<String> {
    let until = exchange.sequence(GOUV);
    let report = replay(exchange, GOUV, from, None);
    assert_eq!((report.first, report.last), (from, until));
    let got = exchange.take(GOUV, (until - from + 1) as usize);
    assert!(got.iter().map(Got::sequence).eq(from..=until));
    let told = got.iter().map(|one| withheld(one).unwrap_or_else(|| one.attribute("id").to_owned()));
    told.collect()
}

/// What a replay tells of round `n`, whose payloads are gone.
fn gone() -> Vec<&'static str> {
    vec!["expired", "expired", "expired", "erased", "expired"]
}

fn whole_round(n: usize) -> Vec<String> {
    let bigs = (0..3).map(|at| format!("big-{n}-{at}"));
    bigs.chain([format!("person-{n}"), format!("other-{n}")]).collect()
}

#[test]
fn a_segment_goes_as_a_whole_and_what_is_known_of_its_events_stays() {
    let mut exchange = Exchange::prepare(&[SUD, GOUV]);
    exchange.agree(&whole("tout", SUD, GOUV));
    exchange.config.store.segment_mib = 1;
    exchange.start();
    let mut half = None;
    for n in 0..ROUNDS {
        if n == ROUNDS / 2 {
            // A moment that is after the events before, and before those after.
            half = Some(jiff::Timestamp::now());
            while jiff::Timestamp::now().as_millisecond() <= half.unwrap().as_millisecond() {
                std::thread::yield_now();
            }
        }
        exchange.publish(round(&exchange, n));
        exchange.settled();
    }
    let first = exchange.take_all(GOUV, 0);
    let all = segments(&exchange);
    assert!(all.len() >= 3, "{all:?}");

    // Erasing leaves holes in every segment, and no file goes by it.
    assert_eq!(erase(&exchange, PERSON, false).payloads, ROUNDS as u64);
    exchange.settled();
    let notice = exchange.take(GOUV, 1).remove(0);
    assert!(segments(&exchange).starts_with(&all));
    exchange.publish(round(&exchange, ROUNDS));
    exchange.settled();
    let later = exchange.take(GOUV, ROUND);
    let all = segments(&exchange);

    // The days of the first half are over: with them, some segments are done with.
    let expired = expire_at(&exchange, half.unwrap());
    assert_eq!(expired.events, (ROUNDS / 2 * ROUND) as u64);
    assert!((1..all.len() as u64 - 1).contains(&expired.segments), "{expired:?} of {all:?}");
    assert_eq!(segments(&exchange), all[expired.segments as usize..]);
    assert_eq!(expire_at(&exchange, half.unwrap()), Expired::default());
    for orderly in [true, false] {
        if orderly {
            exchange.stop();
        } else {
            exchange.crash();
        }
        exchange.start();
        // Two schemas come first, each before its first event.
        let told = again(&mut exchange, 3);
        let expected: Vec<String> = (0..ROUNDS)
            .flat_map(|n| match n < ROUNDS / 2 {
                true => gone().into_iter().map(str::to_owned).collect(),
                false => {
                    let mut round = whole_round(n);
                    round[3] = "erased".to_owned();
                    round
                }
            })
            .chain([notice.attribute("id").to_owned()])
            .chain(whole_round(ROUNDS))
            .collect();
        assert_eq!(told, expected);
    }

    // The days of all are over. The segment that grows stays, and grows on.
    let events = exchange.status().events;
    let soon = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(1);
    let expired = expire_at(&exchange, soon);
    assert_eq!(expired.events, events - (ROUNDS / 2 * ROUND) as u64);
    assert_eq!(segments(&exchange), all[all.len() - 1..]);
    exchange.stop();
    exchange.start();
    for n in 1..=2 {
        exchange.publish(round(&exchange, ROUNDS + n));
        exchange.settled();
    }
    let newest = exchange.take(GOUV, 2 * ROUND);
    assert!(segments(&exchange).len() > 1 && segments(&exchange).starts_with(&all[all.len() - 1..]));
    exchange.stop();
    exchange.start();
    let told = again(&mut exchange, 3);
    let (before, last) = told.split_at(told.len() - 2 * ROUND);
    let erased = before.iter().filter(|why| *why == "erased").count();
    assert_eq!(erased, ROUNDS, "who was erased stays told from what is over its days");
    // The notice is the hub's own, and its days are over too.
    assert_eq!(before.iter().filter(|why| *why == "expired").count(), before.len() - ROUNDS);
    assert_eq!(last, [whole_round(ROUNDS + 1), whole_round(ROUNDS + 2)].concat());

    // Each event's story, and each person's, is told as it was.
    let source = format!("/{SUD}/boost");
    for (id, why) in [("other-0", Some("expired")), ("person-0", Some("erased")), ("other-9", None)] {
        let story = exchange.trace(&source, id);
        assert_eq!(story.taken_in.unwrap().gone.as_deref(), why, "{id}");
        assert!(story.decisions[0].delivered_at.is_some(), "{id}");
    }
    let known = access(&exchange, OTHER);
    assert_eq!((known.events, known.deliveries.len()), (ROUNDS as u64 + 3, ROUNDS + 3));
    assert_eq!(known.deliveries.iter().filter(|delivery| delivery.provable).count(), 2);
    // What the person had sent since the erasure is known again.
    assert_eq!(access(&exchange, PERSON).events, 3);
    exchange.stop();
    let delivered =
        exchange.entries().iter().filter(|entry| matches!(entry, Entry::Delivered { .. })).count();
    assert_eq!(delivered, first.len() + 1 + later.len() + newest.len());
    nothing_panicked();
}
