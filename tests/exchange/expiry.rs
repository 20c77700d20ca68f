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
