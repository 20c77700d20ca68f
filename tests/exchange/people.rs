//! People whom events are about, and what an operator does with them.

use crate::harness::*;
use pirogue::hub::WITHHELD;
use pirogue::hub::operator::{AccessReport, Answer, ErasureReport, Handler, ReplayReport, Request};

pub const PERSON: &str = "person/4711";
pub const OTHER: &str = "person/4712";
/// In every payload about the person, and in nobody else's.
pub const NAME_OF_PERSON: &str = "Wamytan-Effacé";

pub fn about(exchange: &Exchange, id: &str, subject: &str) -> Sent {
    called(exchange, id, subject, if subject == PERSON { NAME_OF_PERSON } else { "Kaemo" })
}

/// An event about `subject`, whose family name is `name`.
pub fn called(exchange: &Exchange, id: &str, subject: &str, name: &str) -> Sent {
    Draft::new(SUD, JOBSEEKER, id, subject, &jobseeker(name)).signed(exchange.key(SUD))
}

/// One that is refused.
pub fn bad(exchange: &Exchange, id: &str, subject: &str) -> Sent {
    refused(about(exchange, id, subject))
}

/// As `sent`, so that it is refused.
pub fn refused(mut bad: Sent) -> Sent {
    bad.message.headers.retain(|(name, _)| name != "cloudEvents_time");
    bad
}

/// A hub with three members. One gets all unchanged, one a name and a pseudonym.
pub fn prepared() -> Exchange {
    let exchange = Exchange::prepare(&[SUD, GOUV, NORD]);
    exchange.agree(&whole("tout", SUD, GOUV));
    exchange.agree(&Terms {
        id: "noms",
        version: 1,
        provider: SUD,
        recipient: NORD,
        grants: &[(JOBSEEKER, &["person.family_name"], "pseudonym")],
    });
    exchange
}

pub const NORD: &str = "province-nord";

pub fn ask(exchange: &Exchange, request: Request) -> Answer {
    exchange.block_on(exchange.hub().handle(request))
}

pub fn erase(exchange: &Exchange, subject: &str, dry_run: bool) -> ErasureReport {
    let request = Request::Erase { member: SUD.to_owned(), subject: subject.to_owned(), dry_run };
    match ask(exchange, request) {
        Answer::Erased(report) => report,
        other => panic!("{other:?}"),
    }
}

pub fn access(exchange: &Exchange, subject: &str) -> AccessReport {
    let lang = "fr".to_owned();
    match ask(exchange, Request::Access { member: SUD.to_owned(), subject: subject.to_owned(), lang }) {
        Answer::Access(report) => report,
        other => panic!("{other:?}"),
    }
}

pub fn replay(exchange: &Exchange, to: &str, from: u64, until: Option<u64>) -> ReplayReport {
    match ask(exchange, Request::Replay { to: to.to_owned(), from, until }) {
        Answer::Replayed(report) => report,
        other => panic!("{other:?}"),
    }
}

pub fn expire(exchange: &Exchange) -> pirogue::hub::Expired {
    let stop = tokio::sync::watch::Sender::new(false);
    let soon = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(1);
    exchange.block_on(exchange.hub().expire(soon, &stop.subscribe())).unwrap()
}

/// Why the message is withheld, where it is.
pub fn withheld(got: &Got) -> Option<String> {
    (got.event_type() == WITHHELD).then(|| read(WITHHELD, got.body())["reason"].as_str().unwrap().to_owned())
}
