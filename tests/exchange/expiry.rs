//! What is in quarantine is forgotten when its time is over: the row, the key,
//! and the log with its last message.

use crate::harness::*;
use pirogue::event::Message;

const DAY: jiff::SignedDuration = jiff::SignedDuration::from_hours(24);

fn quarantine_logs(exchange: &Exchange) -> Vec<std::path::PathBuf> {
    let folder = exchange.data().join("quarantine");
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// Publishes an event whose body was changed after signing.
fn refuse_one(exchange: &Exchange, id: &str) {
    let record = jobseeker("Kaemo");
    let mut sent = Draft::new(SUD, JOBSEEKER, id, "person/1", &record).signed(exchange.key(SUD));
    let mut body = sent.message.body.to_vec();
    body[12] ^= 1;
    sent.message = Message { body: body.into(), ..sent.message };
    exchange.publish([sent]);
    exchange.decided();
}

#[test]
fn a_refused_message_is_forgotten_when_its_time_is_over() {
    let mut exchange = Exchange::simple();
    refuse_one(&exchange, "bad-1");
    refuse_one(&exchange, "bad-2");
    let now = jiff::Timestamp::now();
    assert_eq!(exchange.block_on(exchange.hub().forget(now + DAY * 29)).unwrap(), 0);
    assert_eq!(exchange.hub().quarantine().unwrap().len(), 2);
    assert_eq!(quarantine_logs(&exchange).len(), 1);

    assert_eq!(exchange.block_on(exchange.hub().forget(now + DAY * 31)).unwrap(), 2);
    assert!(exchange.hub().quarantine().unwrap().is_empty());
    for index in 0..2 {
        assert!(exchange.hub().open_quarantined(index).unwrap().is_none());
    }
    assert_eq!(quarantine_logs(&exchange), Vec::<std::path::PathBuf>::new());
    let slots = std::fs::read(exchange.data().join("slots/quarantine")).unwrap();
    assert_eq!(slots, vec![0; 64], "a key of a forgotten message is still there");

    // The next one is kept as ever, under a number of its own, also after a
    // restart.
    refuse_one(&exchange, "bad-3");
    exchange.stop();
    exchange.start();
    let rows = exchange.hub().quarantine().unwrap();
    assert_eq!(rows.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [2]);
    assert!(exchange.hub().open_quarantined(2).unwrap().is_some());
}

#[test]
fn a_member_that_is_refused_without_end_loses_its_oldest_and_others_lose_nothing() {
    let mut exchange = Exchange::prepare(&[SUD, GOUV]);
    exchange.config.quarantine.max_items = 5;
    exchange.start();
    let of_other = Draft::new(GOUV, OFFER, "other", "offer/1", &offer("Mécanicien"));
    let mut of_other = of_other.signed(exchange.key(GOUV));
    of_other.message.headers.retain(|(name, _)| name != "cloudEvents_time");
    exchange.publish([of_other]);
    exchange.decided();
    for n in 0..8 {
        refuse_one(&exchange, &format!("bad-{n}"));
    }
    let held = |exchange: &Exchange| -> Vec<u64> {
        exchange.hub().quarantine().unwrap().into_iter().map(|(index, _)| index).collect()
    };
    assert_eq!(held(&exchange), [0, 4, 5, 6, 7, 8]);
    assert!(exchange.hub().open_quarantined(3).unwrap().is_none());
    assert!(exchange.hub().open_quarantined(4).unwrap().is_some());
    let slots = std::fs::read(exchange.data().join("slots/quarantine")).unwrap();
    let gone: Vec<bool> = slots.chunks(32).map(|slot| slot.iter().all(|byte| *byte == 0)).collect();
    assert_eq!(gone, [false, true, true, true, false, false, false, false, false]);
    assert_eq!(quarantine_logs(&exchange).len(), 2, "one of each member");

    // The member was told from the first that it is about on, and the operator is.
    let notices = exchange.take_all(SUD, 0);
    let details: Vec<String> = notices
        .iter()
        .filter(|got| got.event_type() == pirogue::hub::REJECTED)
        .map(|got| read(pirogue::hub::REJECTED, got.body())["detail"].as_str().unwrap().to_owned())
        .collect();
    let warned: Vec<bool> = details.iter().map(|detail| detail.contains("its oldest are dropped")).collect();
    assert_eq!(warned, [false, false, false, false, false, true, true, true]);
    let status = exchange.status();
    assert_eq!((status.dropped.len(), status.dropped[0].member.as_str()), (1, SUD));
    assert_eq!(status.dropped[0].messages, 3);
    assert!(status.problems.is_empty());

    // A lower ceiling holds from the next one on, and the count goes on.
    exchange.stop();
    exchange.config.quarantine.max_items = 2;
    exchange.start();
    refuse_one(&exchange, "bad-8");
    assert_eq!(held(&exchange), [0, 8, 9]);
    assert_eq!(exchange.status().dropped[0].messages, 7);

    // A restart knows what is there, a log goes with its last message, and the
    // next message is kept.
    let soon = jiff::Timestamp::now() + DAY * 31;
    assert_eq!(exchange.block_on(exchange.hub().forget(soon)).unwrap(), 3);
    assert!(quarantine_logs(&exchange).is_empty());
    refuse_one(&exchange, "bad-9");
    assert_eq!(held(&exchange), [10]);
}
