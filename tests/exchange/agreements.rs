//! No agreement, no delivery: WIRE.md section 5.

use crate::harness::*;
use pirogue::agreements::sign_text;

const NORD: &str = "province-nord";
const ILES: &str = "province-iles";

fn person(exchange: &Exchange, id: &str) -> Sent {
    Draft::new(SUD, JOBSEEKER, id, "person/1", &jobseeker("Kaemo")).signed(exchange.key(SUD))
}

fn an_offer(exchange: &Exchange, id: &str) -> Sent {
    Draft::new(SUD, OFFER, id, "offer/1", &offer("Mécanicien")).signed(exchange.key(SUD))
}

/// Why the agreement isn't in force.
fn why_not(exchange: &Exchange, agreement: &str) -> Option<String> {
    let all = exchange.status().agreements;
    all.into_iter().find(|a| a.agreement == agreement).expect("it is listed").not_in_force
}

#[test]
fn without_an_agreement_that_both_signed_as_it_is_nothing_is_delivered() {
    let mut exchange = Exchange::prepare(&[SUD, GOUV, NORD, ILES]);
    let to = |id, recipient| whole(id, SUD, recipient);
    exchange.agree_signed(&to("provider-only", GOUV), &[SUD]);
    exchange.agree_signed(&to("recipient-only", GOUV), &[GOUV]);
    exchange.agree_signed(&to("another", GOUV), &[SUD, NORD]);
    // Changed after both had signed.
    let note = exchange.sign(&to("changed", NORD).text(), &[SUD, NORD]);
    exchange.write_note("changed", &note.replace("retention_months = 12", "retention_months = 24"));
    // Signed with the keys for events.
    let (sud, nord) = (name(SUD), name(NORD));
    let keys = [(&sud, exchange.key(SUD)), (&nord, exchange.key(NORD))];
    exchange.write_note("wrong-keys", &sign_text(&to("wrong-keys", NORD).text(), &keys).unwrap());
    // In the other direction, over, and to come.
    exchange.agree(&whole("other-way", ILES, SUD));
    let dated = |id, from, until| {
        let text = to(id, ILES).text().replace("2026-01-01", from).replace("2099-12-31", until);
        exchange.write_note(id, &exchange.sign(&text, &[SUD, ILES]));
    };
    dated("over", "2020-01-01", "2020-12-31");
    dated("to-come", "2090-01-01", "2099-12-31");
    exchange.start();
    exchange.publish([person(&exchange, "e-1"), an_offer(&exchange, "o-1")]);
    let status = exchange.decided();
    assert_eq!(status.events, 2);
    for recipient in &status.recipients {
        assert_eq!((recipient.sequence, recipient.queue_messages), (0, 0), "{}", recipient.recipient);
    }
    for (agreement, why) in [
        ("provider-only:1", "signed by gouvernement"),
        ("recipient-only:1", "signed by province-sud"),
        ("another:1", "signed by gouvernement"),
        ("changed:1", "changed after signing"),
        ("wrong-keys:1", "signed by province-sud"),
        ("over:1", "ended on"),
        ("to-come:1", "begins on"),
    ] {
        let said = why_not(&exchange, agreement).expect("it isn't in force");
        assert!(said.contains(why), "{agreement}: {said}");
    }
    assert_eq!(why_not(&exchange, "other-way:1"), None);
}

#[test]
fn two_agreements_for_one_type_grant_nothing_of_it_until_one_ends() {
    let mut exchange = Exchange::prepare(&[SUD, GOUV]);
    exchange.agree(&whole("tout", SUD, GOUV));
    exchange.agree(&Terms {
        id: "personnes",
        version: 1,
        provider: SUD,
        recipient: GOUV,
        grants: &[(JOBSEEKER, &["status"], "pseudonym")],
    });
    exchange.start();
    exchange.publish([person(&exchange, "e-1"), an_offer(&exchange, "o-1")]);
    let got = exchange.take_all(GOUV, 0);
    assert_eq!(ids(&got), ["o-1"]);
    let said = why_not(&exchange, "tout:1").expect("it is said");
    assert!(said.contains(JOBSEEKER), "{said}");

    exchange.revoke("personnes", GOUV);
    exchange.reload();
    exchange.publish([person(&exchange, "e-2")]);
    let got = exchange.take_all(GOUV, got.len() as u64);
    assert_eq!(ids(&got), ["e-2"]);
    assert_eq!(why_not(&exchange, "tout:1"), None);
    // One side of it is in force all the time, and an operator is told so.
    let both = Terms {
        id: "encore",
        version: 1,
        provider: SUD,
        recipient: GOUV,
        grants: &[(JOBSEEKER, &["status"], "pseudonym")],
    };
    exchange.agree(&both);
    let report = exchange.reload();
    assert_eq!(report.agreements_in_force, 2);
    let said = "The agreement tout:1 (province-sud to gouvernement) is in force, except that \
                nc.employment.jobseeker.registered is granted by both tout:1 and encore:1, so neither counts for it.";
    assert!(report.notes.contains(&said.to_owned()), "{:?}", report.notes);
    let said = "The agreement personnes:1 (province-sud to gouvernement) isn't in force: gouvernement ended it (personnes.revoked.note).";
    assert!(report.notes.contains(&said.to_owned()), "{:?}", report.notes);
}

/// What no agreement granted when it was taken in isn't withheld by the end of
/// one.
#[test]
fn an_event_that_two_agreements_claimed_is_no_one_s_to_withhold() {
    let (mut exchange, mut all) = some_undecided();
    exchange.agree(&Terms {
        id: "personnes",
        version: 1,
        provider: SUD,
        recipient: GOUV,
        grants: &[(JOBSEEKER, &["status"], "pseudonym")],
    });
    exchange.reload();
    exchange.publish([person(&exchange, "e-1")]);
    exchange.wait("it is recorded", |status| status.events == all.len() as u64 + 1);
    leave_undecided(&exchange, &mut all, 1);
    exchange.revoke("tout", GOUV);
    exchange.revoke("personnes", GOUV);
    exchange.reload();
    let came = take_what_was_decided(&mut exchange, &all);
    exchange.stop();
    let entries = exchange.entries();
    let lapsed = entries.iter().filter(|e| matches!(e, pirogue::journal::Entry::Withheld { .. }));
    assert_eq!(lapsed.count(), all.len() - came);
}

#[test]
fn a_higher_version_replaces_a_lower_one_once_both_signed_it() {
    let mut exchange = Exchange::prepare(&[SUD, GOUV]);
    let version = |version, grants| Terms { id: "emploi", version, provider: SUD, recipient: GOUV, grants };
    exchange.agree(&version(1, &[(JOBSEEKER, &["person.family_name"], "pseudonym")]));
    exchange.start();
    let second = version(2, &[(JOBSEEKER, &["status"], "pseudonym")]);
    let mut last = 0;
    let agreements: [&dyn Fn(&Exchange); 3] =
        [&|_| (), &|exchange| exchange.agree_signed(&second, &[SUD]), &|exchange| exchange.agree(&second)];
    for (n, (agree, expected)) in agreements.into_iter().zip(["emploi:1", "emploi:1", "emploi:2"]).enumerate()
    {
        agree(&exchange);
        exchange.reload();
        exchange.publish([person(&exchange, &format!("e-{n}"))]);
        let got = exchange.take_all(GOUV, last);
        last += got.len() as u64;
        let event = got.last().unwrap();
        assert_eq!(event.attribute("agreement"), expected);
        let has_name = contains(event.body(), b"Kaemo");
        assert_eq!(has_name, expected == "emploi:1");
    }
    // Two schemas and three events.
    assert_eq!(last, 5);
    assert!(why_not(&exchange, "emploi:1").unwrap().contains("version 2 replaces it"));
}

#[test]
fn either_party_ends_an_agreement_and_nobody_else() {
    for by in [SUD, GOUV] {
        let mut exchange = Exchange::prepare(&[SUD, GOUV, NORD]);
        exchange.agree(&whole("tout", SUD, GOUV));
        exchange.start();
        exchange.publish([person(&exchange, "e-1")]);
        let before = exchange.take_all(GOUV, 0);
        assert_eq!(ids(&before), ["e-1"]);
        exchange.revoke("tout", NORD);
        exchange.reload();
        exchange.publish([person(&exchange, "e-2")]);
        let got = exchange.take_all(GOUV, 2);
        assert_eq!(ids(&got), ["e-2"], "a third member's note ends nothing");

        exchange.revoke("tout", by);
        let report = exchange.reload();
        assert_eq!(report.agreements_in_force, 0);
        assert_eq!(report.notes.len(), 1);
        assert!(report.notes[0].contains(&format!("{by} ended it")), "{}", report.notes[0]);
        exchange.publish([person(&exchange, "e-3")]);
        exchange.decided();
        assert_eq!(exchange.sequence(GOUV), 3);
        exchange.stop();
        exchange.start();
        assert_eq!(exchange.decided().recipients[0].queue_messages, 0);
    }
}

/// The queue of the recipient is full: some events wait for their decision, as
/// many as [`leave_undecided`] says. Gives the ids of all.
fn some_undecided() -> (Exchange, Vec<String>) {
    let mut exchange = Exchange::prepare(&[SUD, GOUV]);
    exchange.agree(&whole("tout", SUD, GOUV));
    crate::pressure::clog(&mut exchange);
    let mut all: Vec<String> = (0..crate::pressure::CLOG).map(|n| format!("big-{n}")).collect();
    leave_undecided(&exchange, &mut all, 0);
    (exchange, all)
}

/// Publishes until more events wait for their decision than a hub that tries the
/// queue again decides on meanwhile. There are `others` beside `all`.
fn leave_undecided(exchange: &Exchange, all: &mut Vec<String>, others: u64) {
    while exchange.status().recipients[0].undecided < 16 {
        all.push(format!("late-{}", all.len()));
        exchange.publish([an_offer(exchange, all.last().unwrap())]);
        exchange.wait("it is recorded", |status| status.events == all.len() as u64 + others);
    }
}

/// The events of which the trace says that they were withheld.
fn withheld(exchange: &Exchange, all: &[String]) -> Vec<String> {
    let ids = all.iter().cloned();
    ids.filter(|id| {
        let trace = exchange.trace(&format!("/{SUD}/boost"), id);
        let [decision] = &trace.decisions[..] else { panic!("{id} wasn't decided") };
        assert_eq!(decision.agreement.as_deref(), Some("tout:1"));
        assert_eq!(decision.sequence.is_none(), decision.not_sent.is_some());
        decision.not_sent.is_some()
    })
    .collect()
}

/// Takes what comes: what was decided before the end, and that is the beginning
/// of `all`, but not all. Returns how many events these are.
fn take_what_was_decided(exchange: &mut Exchange, all: &[String]) -> usize {
    // Five fill the queue; the rest comes once they are gone.
    let mut got = exchange.take(GOUV, 5);
    got.extend(exchange.take_all(GOUV, 5));
    exchange.settled();
    let came: Vec<String> = ids(&got).into_iter().map(str::to_owned).collect();
    assert!(all.starts_with(&came) && (5..all.len()).contains(&came.len()), "{came:?} of {all:?}");
    assert_eq!(exchange.sequence(GOUV), came.len() as u64 + 1);
    assert_eq!(withheld(exchange, all), all[came.len()..]);
    came.len()
}

fn what_lapsed_takes_no_number_and_leaves_an_entry(mut exchange: Exchange, all: &[String]) {
    let came = take_what_was_decided(&mut exchange, all);
    let next = came as u64 + 2;
    // The next number follows.
    exchange.agree(&whole("encore", SUD, GOUV));
    exchange.reload();
    exchange.publish([an_offer(&exchange, "o-1")]);
    let got = exchange.take(GOUV, 1);
    assert_eq!((got[0].sequence(), got[0].attribute("agreement")), (next, "encore:1"));
    exchange.settled();
    exchange.stop();

    let entries = exchange.entries();
    let events: Vec<_> = entries
        .iter()
        .filter_map(|entry| match entry {
            pirogue::journal::Entry::Event { name, .. } => Some(*name),
            _ => None,
        })
        .collect();
    let withheld: Vec<_> = entries
        .iter()
        .filter_map(|entry| match entry {
            pirogue::journal::Entry::Withheld { event, recipient, agreement, .. } => {
                assert_eq!((recipient.as_str(), agreement.as_str()), (GOUV, "tout:1"));
                Some(*event)
            }
            _ => None,
        })
        .collect();
    // Under a name that only the event's key leads to, and not twice.
    let names: std::collections::BTreeSet<_> = withheld.iter().collect();
    assert_eq!((withheld.len(), names.len()), (all.len() - came, withheld.len()));
    assert!(withheld.iter().all(|name| !events.contains(name)));
    exchange.start();
    assert_eq!(exchange.settled().recipients[0].sequence, next);
    exchange.stop();
    assert_eq!(exchange.entries(), entries, "a restart decides nothing again");
}

#[test]
fn what_was_recorded_and_not_decided_when_its_agreement_ends_is_withheld() {
    let (exchange, all) = some_undecided();
    exchange.revoke("tout", GOUV);
    exchange.reload();
    what_lapsed_takes_no_number_and_leaves_an_entry(exchange, &all);
}

#[test]
fn an_agreement_that_ends_while_the_hub_is_down_withholds_too() {
    let (mut exchange, all) = some_undecided();
    exchange.crash();
    exchange.revoke("tout", GOUV);
    exchange.start();
    // What the queue had of the batch comes first, again with the same numbers.
    let got = exchange.receive(GOUV, 5);
    exchange.ack(GOUV, got.last().unwrap().tag);
    let numbers: Vec<_> = exchange.check(GOUV, got).iter().map(Got::sequence).collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5]);
    exchange.settled();
    let came = exchange.sequence(GOUV) as usize - 1;
    assert!((5..all.len()).contains(&came), "{came}");
    assert_eq!(withheld(&exchange, &all), all[came..]);
    exchange.stop();
    let entries = exchange.entries();
    let lapsed = entries.iter().filter(|e| matches!(e, pirogue::journal::Entry::Withheld { .. }));
    assert_eq!(lapsed.count(), all.len() - came);
}

#[test]
fn a_member_and_its_agreement_come_by_a_reload_without_a_restart() {
    let mut exchange = Exchange::simple();
    exchange.publish([person(&exchange, "e-1")]);
    exchange.decided();
    exchange.join(NORD);
    exchange.agree(&whole("nord", SUD, NORD));
    let report = exchange.reload();
    assert_eq!((report.members, report.agreements_in_force), (3, 2));
    assert_eq!(report.notes, Vec::<String>::new());
    exchange.publish([person(&exchange, "e-2")]);
    // It receives what came after it joined, and publishes.
    let got = exchange.take_all(NORD, 0);
    assert_eq!(ids(&got), ["e-2"]);
    let mine = Draft::new(NORD, OFFER, "o-1", "offer/1", &offer("Mécanicien"));
    exchange.agree(&whole("du-nord", NORD, GOUV));
    exchange.reload();
    exchange.publish([mine.signed(exchange.key(NORD))]);
    let got = exchange.take_all(GOUV, 0);
    assert_eq!(ids(&got), ["e-1", "e-2", "o-1"]);
}

#[test]
fn reloads_at_the_same_time_start_one_release_a_member() {
    let mut exchange = Exchange::simple();
    let members: Vec<String> = (0..8).map(|n| format!("commune-{n}")).collect();
    for member in &members {
        exchange.join(member);
        exchange.agree(&whole(member, SUD, member));
    }
    exchange.block_on(async {
        let hub = exchange.node().hub();
        let reloads: Vec<_> = (0..8)
            .map(|_| {
                let hub = hub.clone();
                tokio::spawn(async move { hub.reload().await.map(drop) })
            })
            .collect();
        for reload in reloads {
            reload.await.unwrap().unwrap();
        }
    });
    exchange.publish((0..20).map(|n| person(&exchange, &format!("e-{n}"))).collect::<Vec<_>>());
    for member in &members {
        let got = exchange.take_all(member, 0);
        assert_eq!(ids(&got).len(), 20, "{member}");
    }
    for recipient in exchange.settled().recipients.iter().filter(|r| r.recipient != GOUV) {
        assert_eq!(recipient.queue_messages, 0, "{} got more than was decided", recipient.recipient);
    }
    exchange.stop();
    let in_force = exchange
        .entries()
        .into_iter()
        .filter(|entry| matches!(entry, pirogue::journal::Entry::Agreement { in_force: true, .. }));
    assert_eq!(in_force.count(), 9, "an agreement comes into force once");
}

#[test]
fn the_journal_names_an_agreement_by_the_text_that_was_signed_and_not_by_its_signatures() {
    use pirogue::journal::Entry;
    let mut exchange = Exchange::prepare(&[SUD, GOUV]);
    let text = whole("emploi", SUD, GOUV).text();
    exchange.write_note("emploi", &exchange.sign(&text, &[SUD, GOUV]));
    exchange.start();
    exchange.write_note("emploi", &exchange.sign(&text, &[GOUV, SUD]));
    assert_eq!(exchange.reload().agreements_in_force, 1);
    // Another text that both signed under the same version is another agreement.
    let other = text.replace("title = \"", "title = \"Autre : ");
    assert_ne!(text, other);
    exchange.write_note("emploi", &exchange.sign(&other, &[SUD, GOUV]));
    assert_eq!(exchange.reload().agreements_in_force, 1);
    exchange.stop();
    let said: Vec<_> = exchange
        .entries()
        .into_iter()
        .filter_map(|entry| match entry {
            Entry::Agreement { digest, in_force, .. } => Some((digest, in_force)),
            _ => None,
        })
        .collect();
    let [first, ended, second] = said[..] else { panic!("{said:?}") };
    assert_eq!((first.1, ended, second.1), (true, (first.0, false), true));
    assert_ne!(first.0, second.0);
}

/// An id is its parties' own: two pairs of members may choose the same, and what
/// is wrong with one agreement, or ends it, is nothing to the other.
#[test]
fn two_pairs_of_members_may_give_their_agreements_the_same_id() {
    let mut exchange = Exchange::prepare(&[SUD, GOUV, NORD]);
    exchange.write_note("gouv", &exchange.sign(&whole("emploi", SUD, GOUV).text(), &[SUD, GOUV]));
    let unfit = Terms {
        id: "emploi",
        version: 1,
        provider: SUD,
        recipient: NORD,
        grants: &[(JOBSEEKER, &["statuss"], "pseudonym")],
    };
    exchange.write_note("nord", &exchange.sign(&unfit.text(), &[SUD, NORD]));
    exchange.start();
    exchange.publish([person(&exchange, "e-1")]);
    let first = exchange.take_all(GOUV, 0);
    assert_eq!(ids(&first), ["e-1"]);
    let report = exchange.reload();
    assert_eq!(report.agreements_in_force, 1);
    let said = "The agreement emploi:1 (province-sud to province-nord) isn't in force: \
                nc.employment.jobseeker.registered has no field statuss in version 1";
    assert!(report.notes.iter().any(|note| note.starts_with(said)), "{:?}", report.notes);

    // Both in force; then one of them ends.
    exchange.write_note("nord", &exchange.sign(&whole("emploi", SUD, NORD).text(), &[SUD, NORD]));
    assert_eq!(exchange.reload().agreements_in_force, 2);
    exchange.publish([person(&exchange, "e-2")]);
    let nord = exchange.take_all(NORD, 0);
    assert_eq!(ids(&nord), ["e-2"]);
    exchange.revoke("emploi", NORD);
    assert_eq!(exchange.reload().agreements_in_force, 1);
    exchange.publish([person(&exchange, "e-3")]);
    assert_eq!(ids(&exchange.take_all(GOUV, first.len() as u64)), ["e-2", "e-3"]);
    // Nothing more came to the other one.
    assert!(exchange.take_all(NORD, nord.len() as u64).is_empty());
}
