//! A member that takes part no longer: what it got is still told.

use crate::harness::*;
use pirogue::hub::operator::{Answer, Handler, Request};

const NORD: &str = "province-nord";

#[test]
fn who_left_is_still_told_to_have_got_something_and_is_named_at_an_erasure() {
    let mut exchange = Exchange::prepare(&[SUD, GOUV, NORD]);
    exchange.agree(&whole("tout", SUD, GOUV));
    exchange.agree(&whole("nord", SUD, NORD));
    exchange.start();
    let record = jobseeker("Wamytan");
    exchange.publish([Draft::new(SUD, JOBSEEKER, "e-1", "person/4711", &record).signed(exchange.key(SUD))]);
    exchange.settled();
    std::fs::remove_file(exchange.config.members.join(format!("{NORD}.jwks.json"))).unwrap();
    assert_eq!(exchange.reload().members, 2);
    exchange.publish([Draft::new(SUD, JOBSEEKER, "e-2", "person/4711", &record).signed(exchange.key(SUD))]);
    exchange.settled();

    let ask = |exchange: &Exchange, request| exchange.block_on(exchange.hub().handle(request));
    let (member, subject) = (SUD.to_owned(), "person/4711".to_owned());
    // At once, and after a start that knows only those who are there.
    for _ in 0..2 {
        let lang = "en".to_owned();
        let request = Request::Access { member: member.clone(), subject: subject.clone(), lang };
        let Answer::Access(report) = ask(&exchange, request) else { panic!() };
        let mut got: Vec<_> = report.deliveries.iter().map(|d| (d.recipient.as_str(), d.sequence)).collect();
        got.sort_unstable();
        assert_eq!(got.iter().map(|(to, _)| *to).collect::<Vec<_>>(), [GOUV, GOUV, NORD]);
        assert!(report.deliveries.iter().all(|d| d.delivered_at.is_some() && d.journal_entry.is_some()));
        exchange.stop();
        exchange.start();
    }
    let request = Request::Trace { source: "/province-sud/boost".into(), id: "e-1".into() };
    let Answer::Trace(trace) = ask(&exchange, request) else { panic!() };
    assert!(trace.decisions.iter().any(|d| d.recipient == NORD && d.sequence.is_some()));
    let request = Request::Trace { source: "/province-sud/boost".into(), id: "e-2".into() };
    let Answer::Trace(trace) = ask(&exchange, request) else { panic!() };
    assert!(trace.undecided.is_empty(), "nothing is decided any more for who left: {:?}", trace.undecided);

    for dry_run in [true, false] {
        let request = Request::Erase { member: member.clone(), subject: subject.clone(), dry_run };
        let Answer::Erased(report) = ask(&exchange, request) else { panic!() };
        let [told] = &report.told[..] else { panic!("{report:?}") };
        assert_eq!((told.recipient.as_str(), told.messages), (GOUV, 2));
        let [left] = &report.left[..] else { panic!("{report:?}") };
        assert_eq!((left.recipient.as_str(), left.messages), (NORD, 1));
    }
}
