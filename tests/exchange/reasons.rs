//! Bad input, for each reason of WIRE.md section 2: the reason, the notice to
//! who sent it, the message kept unchanged in quarantine, and the good events
//! before and after it delivered.

use crate::cases::{Case, DAY, Keys, MARK, cases, in_minutes, spoil, spoil_sent};
use crate::harness::*;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use pirogue::bus::Delivery;
use pirogue::event::Message;
use pirogue::fault::Reason;
use pirogue::hub::HubOptions;
use pirogue::hub::check::Received;
use pirogue::keys::PrivateKey;
use serde_json::json;

/// What of a message's source and id the hub may repeat: what has their form.
fn named(message: &Message) -> (Option<String>, Option<String>) {
    let source = message.text("cloudEvents_source").filter(|s| pirogue::event::Origin::parse(s).is_ok());
    let id = message.text("cloudEvents_id").filter(|id| pirogue::event::is_event_id(id));
    let id = id.or(message.message_id.as_deref().filter(|id| pirogue::event::is_event_id(id)));
    (source.map(str::to_owned), id.map(str::to_owned))
}

#[test]
fn each_reason_has_its_notice_and_its_quarantine_and_stops_nothing_else() {
    let mut exchange = Exchange::prepare(&[SUD, GOUV]);
    exchange.agree(&whole("tout", SUD, GOUV));
    let keys = Keys::new(&exchange);
    let all: Vec<(Reason, Case)> = Reason::ALL
        .into_iter()
        .flat_map(|reason| {
            let cases = cases(reason, &keys);
            assert!(!cases.is_empty(), "{reason} has no case");
            cases.into_iter().map(move |case| (reason, case))
        })
        .collect();
    // Good ones before, between and after: good-0, bad, good-1, bad, …
    let good = |n: usize| {
        let record = jobseeker("Kaemo");
        Draft::new(SUD, JOBSEEKER, &format!("good-{n}"), "person/1", &record).signed(keys.good)
    };
    let mut sent = vec![good(0)];
    for (n, (_, case)) in all.iter().enumerate() {
        sent.extend([case.sent.clone(), good(n + 1)]);
    }
    let expected: Vec<String> = (0..=all.len()).map(|n| format!("good-{n}")).collect();
    drop(keys);
    exchange.start();
    exchange.publish(sent);

    // Quarantine: each for its reason, unchanged, with a detail that names the
    // field.
    exchange.decided();
    let rows = exchange.hub().quarantine().unwrap();
    for ((index, row), (reason, case)) in rows.iter().zip(&all) {
        let what = format!("{reason}, {}", case.what);
        assert_eq!(row.reason, reason.as_str(), "{what}: {}", row.detail);
        assert!(row.detail.contains(&case.names), "{what} has to name {}: {}", case.names, row.detail);
        assert!(!row.detail.contains(MARK), "{what} repeats the value: {}", row.detail);
        let kept = exchange.hub().open_quarantined(*index).unwrap().unwrap();
        assert!(kept.message == case.sent.message, "{what}: the message was changed");
        assert_eq!(kept.routing_key, case.sent.routing_key, "{what}");
        assert_eq!(row.user, case.sent.message.user_id, "{what}");
        assert_eq!((row.source.clone(), row.id.clone()), named(&case.sent.message), "{what}");
        assert_eq!(row.until - row.at, 30 * 86_400_000);
    }
    assert_eq!(rows.len(), all.len());

    // The notices go to who was authenticated, in the order of the messages.
    for member in [SUD, GOUV] {
        let theirs = |message: &Message| message.user_id.as_deref() == Some(member);
        let mine: Vec<_> =
            all.iter().zip(&rows).filter(|((_, case), _)| theirs(&case.sent.message)).collect();
        let got = exchange.take_all(member, 0);
        let (notices, events): (Vec<_>, Vec<_>) =
            got.into_iter().partition(|one| one.event_type() == pirogue::hub::REJECTED);
        assert_eq!(notices.len(), mine.len(), "{member}");
        for (notice, ((reason, case), (_, row))) in notices.iter().zip(mine) {
            let what = format!("{reason}, {}", case.what);
            let (source, id) = named(&case.sent.message);
            let said = notice.notice();
            assert_eq!(said["reason"], reason.as_str(), "{what}");
            assert_eq!((&said["source"], &said["id"]), (&json!(source), &json!(id)), "{what}");
            assert_eq!(said["detail"], row.detail.as_str(), "{what}");
            assert!(!contains(notice.body(), MARK.as_bytes()), "{what}: the notice repeats the value");
            assert_eq!(notice.attribute("source"), format!("/hub/{NAME}"));
        }
        if member == GOUV {
            assert_eq!(ids(&events), expected, "the good ones, all and in order");
        }
    }
    assert!(!was_logged(MARK), "a value was logged");
    assert_eq!(exchange.status().problems, Vec::<String>::new());
    exchange.stop();
}

#[test]
fn a_message_with_two_faults_is_refused_for_the_one_that_is_checked_first() {
    let mut exchange = Exchange::prepare(&[SUD, GOUV]);
    let keys = Keys::new(&exchange);
    let stranger = PrivateKey::generate().unwrap();
    let original = Draft::new(SUD, JOBSEEKER, "taken-in", "person/1", &jobseeker("Kaemo"));
    let mut sent = vec![original.with("time", "2026-01-01T00:00:00Z").signed(keys.good)];
    let mut expected = Vec::new();
    for (at, first) in Reason::ALL.into_iter().enumerate() {
        for second in Reason::ALL.into_iter().skip(at) {
            // A key that nobody has can't also be one that isn't valid.
            if (first, second) == (Reason::UnknownKey, Reason::KeyNotValid) {
                continue;
            }
            let id = format!("{first}-{second}");
            let mut draft = Draft::new(SUD, JOBSEEKER, &id, "person/1", &jobseeker("Kaemo"));
            spoil(first, &mut draft);
            if first != second {
                spoil(second, &mut draft);
            }
            let signs = |reason| first == reason || second == reason;
            let key = match () {
                () if signs(Reason::UnknownKey) => &stranger,
                () if signs(Reason::KeyNotValid) => &keys.revoked.0,
                () => keys.good,
            };
            let mut one = draft.signed(key);
            spoil_sent(first, &mut one.message);
            if first != second {
                spoil_sent(second, &mut one.message);
            }
            sent.push(one);
            expected.push((id, first));
        }
    }
    drop(keys);
    exchange.start();
    exchange.publish(sent);
    exchange.decided();
    let rows = exchange.hub().quarantine().unwrap();
    for ((_, row), (id, first)) in rows.iter().zip(&expected) {
        assert_eq!(row.reason, first.as_str(), "{id}: {}", row.detail);
    }
    assert_eq!(rows.len(), expected.len());
    assert_eq!(exchange.hub().recorded_of_members().unwrap(), 1);
}

#[test]
fn a_key_that_ended_six_days_ago_and_a_clock_four_minutes_ahead_are_taken_in() {
    let mut exchange = Exchange::prepare(&[SUD, GOUV]);
    exchange.agree(&whole("tout", SUD, GOUV));
    let (ended, jwk) = event_key(SUD, Some(-30 * DAY), Some(-6 * DAY), None);
    exchange.publish_keys(SUD, &[jwk]);
    exchange.start();
    let draft = |id| Draft::new(SUD, JOBSEEKER, id, "person/1", &jobseeker("Kaemo"));
    exchange.publish([
        draft("old-key").signed(&ended),
        draft("ahead").with("time", &in_minutes(4)).signed(exchange.key(SUD)),
    ]);
    let got = exchange.take_all(GOUV, 0);
    assert_eq!(ids(&got), ["old-key", "ahead"]);
}

/// What no broker lets through is checked all the same, at any time.
#[test]
fn a_routing_key_of_another_member_is_refused_and_times_count_to_the_second() {
    let exchange = Exchange::simple();
    let world = exchange.block_on(exchange.hub().reload()).unwrap();
    let rules = HubOptions::of(&exchange.config).rules;
    let verify = |sent: Sent, now: jiff::Timestamp| {
        let Sent { routing_key, message, .. } = sent;
        let received = Received::new(Delivery { tag: 1, redelivered: false, routing_key, message });
        received.verify(&world, &rules, now).map(drop).map_err(|refused| refused.refusal)
    };
    let draft = Draft::new(SUD, JOBSEEKER, "e-1", "person/1", &jobseeker("Kaemo"));
    let good = draft.signed(exchange.key(SUD));
    let now = jiff::Timestamp::now();
    assert_eq!(verify(good.clone(), now), Ok(()));
    for routing_key in [format!("{GOUV}.{JOBSEEKER}"), format!("{SUD}x.{JOBSEEKER}"), String::new()] {
        let refused = verify(Sent { routing_key, ..good.clone() }, now).unwrap_err();
        assert_eq!(refused.reason, Reason::NotYourSource);
        assert!(refused.detail.contains("routing key"), "{}", refused.detail);
    }
    let time: jiff::Timestamp = "2026-03-14T08:12:45Z".parse().unwrap();
    let minutes = jiff::SignedDuration::from_mins;
    assert_eq!(verify(good.clone(), time - minutes(5)), Ok(()));
    let early = verify(good, time - minutes(5) - jiff::SignedDuration::from_secs(1)).unwrap_err();
    assert_eq!(early.reason, Reason::FromTheFuture);
}

/// The broker's part: a member can't publish as another one.
#[test]
fn the_broker_lets_a_member_publish_and_consume_in_its_own_name_only() {
    let exchange = Exchange::simple();
    let good = Draft::new(SUD, JOBSEEKER, "e-1", "person/1", &jobseeker("Kaemo")).signed(exchange.key(SUD));
    exchange.block_on(async {
        let bus = exchange.node().bus(GOUV).unwrap();
        for (exchange, routing_key, user) in [
            ("pirogue.events", good.routing_key.as_str(), GOUV),
            ("pirogue.events", &format!("{GOUV}.{JOBSEEKER}"), SUD),
            ("pirogue.deliveries", &format!("{GOUV}.{JOBSEEKER}"), GOUV),
        ] {
            let message = Message { user_id: Some(user.to_owned()), ..good.message.clone() };
            assert!(bus.publish(exchange, vec![(routing_key.to_owned(), message)]).await.is_err());
        }
        for queue in ["pirogue.to.province-sud", "pirogue.inbox"] {
            assert!(bus.consume(queue, 0).await.is_err());
        }
    });
}

/// A search that finds nothing says nothing unless there is something to find.
#[test]
fn the_values_that_are_searched_for_are_really_in_the_messages() {
    let exchange = Exchange::prepare(&[SUD, GOUV]);
    let keys = Keys::new(&exchange);
    let marked = |case: &Case| {
        let mut bytes = Vec::new();
        case.sent.message.encode(&mut bytes);
        let jws = case.sent.message.text("cloudEvents_signature").unwrap_or_default();
        let header = URL_SAFE_NO_PAD.decode(jws.split('.').next().unwrap()).unwrap_or_default();
        contains(&bytes, MARK.as_bytes()) || contains(&header, MARK.as_bytes())
    };
    for reason in Reason::ALL {
        let all = cases(reason, &keys);
        let count = all.iter().filter(|case| marked(case)).count();
        // A key, a time or who sent it has no place for a name.
        let none = [Reason::UnknownKey, Reason::KeyNotValid, Reason::NotYourSource, Reason::FromTheFuture];
        assert_eq!(count > 0, !none.contains(&reason), "{reason}");
    }
}
