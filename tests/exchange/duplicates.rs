//! The same event again, and another event under a known id (WIRE.md section 2).

use crate::harness::*;
use pirogue::fault::Reason;

fn event(id: &str, family_name: &str) -> Draft {
    Draft::new(SUD, JOBSEEKER, id, "person/1", &jobseeker(family_name))
}

/// The reasons of the messages in quarantine.
fn refused(exchange: &Exchange) -> Vec<String> {
    exchange.hub().quarantine().unwrap().into_iter().map(|(_, row)| row.reason).collect()
}

#[test]
fn a_repeat_is_acknowledged_and_counted_and_goes_no_further() {
    let mut exchange = Exchange::prepare(&[SUD, GOUV]);
    exchange.agree(&whole("tout", SUD, GOUV));
    let (next_key, jwk) = event_key(SUD, None, None, None);
    exchange.publish_keys(SUD, &[jwk]);
    exchange.start();
    let first = event("e-1", "Kaemo").signed(exchange.key(SUD));
    // In its own batch, in a later one, and signed by the key that follows.
    exchange.publish([first.clone(), first.clone()]);
    exchange.decided();
    exchange.publish([first.clone(), event("e-1", "Kaemo").signed(&next_key)]);
    exchange.publish([event("e-2", "Kaemo").signed(&next_key)]);
    let got = exchange.take_all(GOUV, 0);
    assert_eq!(ids(&got), ["e-1", "e-2"]);
    assert_eq!(exchange.hub().duplicates().unwrap(), 3);
    assert_eq!(exchange.hub().metrics().duplicates.get(), 3);
    assert_eq!(exchange.hub().recorded_of_members().unwrap(), 2);
    assert_eq!(exchange.status().inbox_waiting, 0);
    let last = exchange.sequence(GOUV);

    exchange.stop();
    exchange.start();
    exchange.publish([
        first,
        event("e-1", "Kaemo").signed(&next_key),
        event("e-3", "Kaemo").signed(exchange.key(SUD)),
    ]);
    let got = exchange.take_all(GOUV, last);
    assert_eq!(ids(&got), ["e-3"]);
    assert_eq!(exchange.hub().duplicates().unwrap(), 5);
    assert_eq!(exchange.hub().recorded_of_members().unwrap(), 3);
    assert_eq!(refused(&exchange), Vec::<String>::new());
}

#[test]
fn another_content_under_a_known_id_is_refused_in_the_same_batch_a_later_one_and_after_a_restart() {
    let mut exchange = Exchange::simple();
    let sign = |exchange: &Exchange, id, name| event(id, name).signed(exchange.key(SUD));
    let original = sign(&exchange, "e-1", "Kaemo");
    exchange.publish([original.clone(), sign(&exchange, "e-1", "Wabealo")]);
    exchange.decided();
    assert_eq!(refused(&exchange), ["id-reused"], "in the same batch");
    exchange.publish([sign(&exchange, "e-1", "Wabealo")]);
    exchange.decided();
    assert_eq!(refused(&exchange).len(), 2, "in a later batch");
    exchange.stop();
    exchange.start();
    exchange.publish([sign(&exchange, "e-1", "Wabealo"), original, sign(&exchange, "e-2", "Kaemo")]);
    let got = exchange.take_all(GOUV, 0);
    assert_eq!(refused(&exchange), [Reason::IdReused.as_str(); 3], "after a restart");
    assert_eq!(ids(&got), ["e-1", "e-2"]);
    let names = |got: &Got| read(JOBSEEKER, got.body())["person"]["family_name"].clone();
    assert!(got.iter().filter(|one| !one.is_schema()).all(|one| names(one) == "Kaemo"));
    // The three notices, and nothing else, went to the publisher.
    let notices = exchange.take_all(SUD, 0);
    assert!(notices.iter().all(|one| one.notice()["reason"] == "id-reused" && one.notice()["id"] == "e-1"));
    assert_eq!(notices.len(), 3);
    assert_eq!(exchange.hub().duplicates().unwrap(), 1);
    let trace = exchange.trace(&format!("/{SUD}/boost"), "e-1");
    assert!(trace.taken_in.is_some());
    assert_eq!(trace.refused.len(), 3);
}

#[test]
fn an_id_counts_within_its_source_and_only_once_it_was_taken_in() {
    let mut exchange = Exchange::simple();
    let mut bad = event("e-1", "Kaemo").signed(exchange.key(SUD));
    bad.message.delivery_mode = None;
    exchange.publish([
        bad,
        event("e-1", "Wabealo").signed(exchange.key(SUD)),
        event("e-1", "Kaemo").with("source", &format!("/{SUD}/other")).signed(exchange.key(SUD)),
    ]);
    let got = exchange.take_all(GOUV, 0);
    let sources: Vec<_> =
        got.iter().filter(|one| !one.is_schema()).map(|one| one.attribute("source")).collect();
    assert_eq!(sources, ["/province-sud/boost", "/province-sud/other"]);
    assert_eq!(refused(&exchange), ["malformed"]);
}
