//! Erasing a person, and what is left then: in the folder, in any copy of it from
//! before, in the queues, and in a backup that comes back.

use crate::disk::*;
use crate::harness::*;
use crate::people::*;
use crate::pressure::{CLOG, big, clog};
use pirogue::hub::ERASED;
use pirogue::hub::operator::{Answer, Request};
use pirogue::journal::Entry;
use pirogue::persons::Tagger;
use serde_json::json;

/// Everyone's events: of the person every third, from number 0.
fn publish(exchange: &Exchange, count: usize) {
    let sent =
        |n: usize| about(exchange, &format!("e-{n}"), if n.is_multiple_of(3) { PERSON } else { OTHER });
    let mut all: Vec<Sent> = (0..count).map(sent).collect();
    all.extend([bad(exchange, "bad-1", PERSON), bad(exchange, "bad-2", OTHER)]);
    exchange.publish(all);
    exchange.settled();
}

#[test]
fn nothing_that_is_left_opens_anything_of_an_erased_person_in_any_copy() {
    let mut exchange = prepared();
    exchange.start();
    publish(&exchange, 30);
    // One recipient has taken some, and holds one; the other has taken nothing.
    let taken = exchange.take(GOUV, 5);
    exchange.hang_up(GOUV);
    exchange.stop();
    let before = Copy::of(&exchange);
    let ours: Vec<u64> = before.events_with(NAME_OF_PERSON.as_bytes());
    assert_eq!(ours.len(), 10, "a search finds what is there");
    assert_eq!(before.quarantined_with(NAME_OF_PERSON.as_bytes()).len(), 1);
    let frames = before.frames_with(NAME_OF_PERSON.as_bytes());
    assert!(frames.iter().any(|frame| frame.log.contains("pirogue.to.gouvernement")));
    assert!(frames.iter().any(|frame| frame.log.contains("pirogue.to.province-nord")));
    let tag = Tagger::new(before.master.derive("persons")).tag(SUD, PERSON);
    assert!(!before.found(&[tag.to_vec()]).is_empty());

    exchange.start();
    let dry = erase(&exchange, "4711", true);
    assert_eq!((dry.events, dry.payloads, dry.quarantined, dry.queued), (10, 10, 1, None));
    assert_eq!(access(&exchange, PERSON).deliveries.len(), 20, "a dry run erases nothing");
    let report = erase(&exchange, "4711", false);
    assert_eq!((report.events, report.payloads, report.pending, report.quarantined), (10, 10, 0, 1));
    let told: Vec<_> = report.told.iter().map(|told| (told.recipient.as_str(), told.messages)).collect();
    assert_eq!(told, [(GOUV, 10), (NORD, 10)]);
    // Of ten, the second and fourth message were taken; all of the other's wait.
    assert_eq!(report.queued, Some(8 + 10));
    exchange.settled();
    exchange.stop();

    let after = Copy::of(&exchange);
    after.opens_nothing_of(&before, &ours, &frames);
    // Nor is any key, wrapped or not, any salt or any tag of it anywhere, in the
    // state's file neither.
    let mut secrets = before.secrets_of(&ours);
    secrets.push(tag.to_vec());
    secrets.extend(before.keys_of(&frames));
    assert_eq!(after.found(&secrets), Vec::<String>::new());
    for text in [NAME_OF_PERSON, "4711"] {
        assert!(
            after.events_with(text.as_bytes()).iter().all(|index| *index >= 32),
            "only the notice is left"
        );
        assert!(after.quarantined_with(text.as_bytes()).is_empty());
    }
    assert!(after.frames_with(NAME_OF_PERSON.as_bytes()).is_empty());
    assert_eq!(after.events_with(b"Kaemo").len(), 20, "the others' are all there");
    let delivered = exchange.entries().iter().filter(|e| matches!(e, Entry::Delivered { .. })).count();

    // What is delivered then: each number once, and no word of the person.
    exchange.start();
    let rest = exchange.take_all(GOUV, 5);
    let whole: Vec<&Got> = taken.iter().chain(&rest).collect();
    for n in 0..30 {
        let got = whole[n + 1];
        assert_eq!(got.sequence(), n as u64 + 2);
        match (n % 3, n < 4) {
            (0, true) => assert!(contains(got.body(), NAME_OF_PERSON.as_bytes())),
            (0, false) => assert_eq!(withheld(got).as_deref(), Some("erased")),
            _ => assert_eq!(got.attribute("id"), format!("e-{n}")),
        }
    }
    assert_eq!(whole[31].event_type(), ERASED);
    assert_eq!(read(ERASED, whole[31].body()), json!({"subject": PERSON}));
    let nord = exchange.take_all(NORD, 0);
    let of_other = nord.iter().find(|one| one.event_type() == JOBSEEKER).unwrap();
    assert_eq!(nord.iter().filter(|one| withheld(one).is_some()).count(), 10);
    let notice = read(ERASED, nord.last().unwrap().body());
    let pseudonym = notice["subject"].as_str().unwrap();
    assert!(pseudonym.starts_with("person/~") && pseudonym != of_other.attribute("subject"));

    // Sent again: the same to the byte, but for what is gone.
    let report = replay(&exchange, GOUV, 1, Some(31));
    assert_eq!((report.first, report.last, report.messages, report.withheld), (1, 31, 31, 10));
    let again = exchange.take(GOUV, 31);
    for (one, first) in again.iter().zip(&whole) {
        assert_eq!(one.sequence(), first.sequence());
        match withheld(one) {
            Some(why) => assert_eq!(why, "erased"),
            None => assert_eq!(one.accepted.message, first.accepted.message),
        }
    }
    let left = access(&exchange, PERSON);
    assert_eq!((left.events, left.deliveries.len(), left.erased_at.is_some()), (0, 0, true));
    assert_eq!(access(&exchange, OTHER).deliveries.len(), 40);
    assert!(matches!(
        ask(&exchange, Request::Erase { member: SUD.into(), subject: PERSON.into(), dry_run: false }),
        Answer::NotFound { .. }
    ));
    exchange.stop();
    let entries = exchange.entries();
    assert_eq!(entries.iter().filter(|e| matches!(e, Entry::Delivered { .. })).count(), delivered);
    nothing_panicked();
}

#[test]
fn a_person_is_erased_while_messages_wait_and_others_come() {
    let mut exchange = prepared();
    exchange.start();
    publish(&exchange, 9);
    // A consumer that holds messages, and has more of them staged.
    let held = exchange.receive(GOUV, 3);
    assert_eq!(erase(&exchange, PERSON, false).queued, Some(6));
    exchange.publish((0..6).map(|n| about(&exchange, &format!("later-{n}"), OTHER)).collect::<Vec<_>>());
    let sequence = exchange.settled().recipients.iter().find(|r| r.recipient == GOUV).unwrap().sequence;
    let rest = exchange.receive(GOUV, (sequence - 3) as usize);
    let last = rest.last().unwrap().tag;
    let held = exchange.check(GOUV, held);
    let rest = exchange.check(GOUV, rest);
    assert!(contains(held[1].body(), NAME_OF_PERSON.as_bytes()), "what was handed out is handed out");
    let numbers: Vec<u64> = held.iter().chain(&rest).map(Got::sequence).collect();
    assert!(numbers.iter().copied().eq(1..=sequence), "{numbers:?}");
    assert!(rest.iter().all(|one| !contains(one.body(), NAME_OF_PERSON.as_bytes())));
    assert_eq!(rest.iter().filter(|one| withheld(one).is_some()).count(), 2);
    exchange.ack(GOUV, last);
    exchange.take_all(NORD, 0);
    exchange.take_all(SUD, 0);
    let status = exchange.wait("nothing waits", |s| s.recipients.iter().all(|r| r.queue_messages == 0));
    assert!(status.recipients.iter().all(|r| r.queue_bytes == 0), "{:?}", status.recipients);
    exchange.stop();
    exchange.entries();
}

#[test]
fn what_was_decided_and_could_not_be_sent_is_withheld() {
    let mut exchange = Exchange::prepare(&[SUD, GOUV]);
    exchange.agree(&whole("tout", SUD, GOUV));
    exchange.config.limits.batch_events = 1;
    exchange.config.queue.max_mib = 1;
    exchange.start();
    for n in 0..5 {
        exchange.publish([big(&exchange, &format!("big-{n}"))]);
    }
    // The fifth doesn't fit into the queue, and what is decided next waits with it.
    exchange.wait("the fifth waits", |status| {
        let recipient = &status.recipients[0];
        (recipient.sequence, recipient.confirmed, recipient.queue_messages) == (6, 5, 5)
    });
    exchange.publish([about(&exchange, "ours-0", PERSON)]);
    exchange.wait("it is decided", |status| status.recipients[0].sequence == 8);
    exchange.publish((1..4).map(|n| about(&exchange, &format!("ours-{n}"), PERSON)).collect::<Vec<_>>());
    exchange.wait("all is recorded", |status| status.events == 9);
    let report = erase(&exchange, PERSON, false);
    assert_eq!((report.events, report.payloads, report.queued), (4, 4, Some(0)));
    assert!(report.pending >= 1, "{report:?}");
    let mut got = exchange.take(GOUV, 6);
    got.extend(exchange.take_all(GOUV, 6));
    assert!(got.iter().all(|one| !contains(one.body(), NAME_OF_PERSON.as_bytes())));
    // What wasn't decided yet takes no number at all.
    let gone: Vec<_> = got.iter().filter_map(withheld).collect();
    assert_eq!(gone, vec!["erased"; report.pending as usize]);
    assert_eq!(got.last().unwrap().event_type(), ERASED);
}

#[test]
fn a_backup_that_comes_back_is_erased_again() {
    let mut exchange = prepared();
    exchange.start();
    publish(&exchange, 9);
    exchange.stop();
    let backup = Copy::of(&exchange);
    exchange.start();
    erase(&exchange, PERSON, false);
    // Who comes back after the erasure is someone whom the hub knows again.
    exchange.publish([about(&exchange, "again", PERSON)]);
    exchange.settled();
    assert_eq!(access(&exchange, PERSON).events, 1);
    exchange.stop();
    exchange.start();
    assert_eq!(access(&exchange, PERSON).events, 1, "the log is followed once");
    exchange.stop();

    std::fs::remove_dir_all(exchange.data()).unwrap();
    copy_folder(backup.folder.path(), exchange.data());
    assert_eq!(Copy::of(&exchange).events_with(NAME_OF_PERSON.as_bytes()).len(), 3);
    exchange.start();
    let left = access(&exchange, PERSON);
    assert_eq!((left.events, left.erased_at.is_some()), (0, true));
    assert_eq!(access(&exchange, OTHER).events, 6);
    exchange.settled();
    let got = exchange.take_all(GOUV, 0);
    assert_eq!(got.iter().filter(|one| withheld(one).is_some()).count(), 3);
    assert_eq!(got.iter().filter(|one| one.event_type() == ERASED).count(), 1);
    exchange.stop();
    let after = Copy::of(&exchange);
    assert!(after.events_with(NAME_OF_PERSON.as_bytes()).is_empty());
    assert!(after.frames_with(NAME_OF_PERSON.as_bytes()).is_empty());
    exchange.entries();
}

#[test]
fn a_store_from_before_the_index_of_persons_gets_one_at_its_start() {
    let mut exchange = prepared();
    exchange.start();
    publish(&exchange, 9);
    exchange.stop();
    {
        let options = pirogue::store::StoreOptions::default();
        let store = pirogue::store::Store::open(exchange.data(), options).unwrap();
        let without = store.commit_blocking(|tx| {
            tx.delete_log("persons/tags");
            tx.delete_log("persons/quarantine");
            Ok(())
        });
        without.unwrap();
    }
    exchange.start();
    let report = erase(&exchange, PERSON, true);
    assert_eq!((report.events, report.quarantined), (3, 1));
    assert_eq!(access(&exchange, PERSON).deliveries.len(), 6);
}

#[test]
fn payloads_go_when_they_are_delivered_and_their_days_are_over() {
    let mut exchange = prepared();
    exchange.config.retention.replay_days = 30;
    exchange.start();
    publish(&exchange, 9);
    let first = exchange.take_all(GOUV, 0);
    assert_eq!(expire(&exchange).events, 0, "their days aren't over");
    exchange.stop();
    exchange.config.retention.replay_days = 0;
    exchange.start();
    exchange.settled();
    let events = exchange.status().events;
    let trace = |exchange: &Exchange| exchange.trace(&format!("/{SUD}/boost"), "e-4");
    let mut before = trace(&exchange);
    assert_eq!(expire(&exchange).events, events);
    assert_eq!(expire(&exchange).events, 0);
    // What became of an event is told as before, but that its payload is gone.
    let after = trace(&exchange);
    if let Some(taken_in) = &mut before.taken_in {
        taken_in.gone = Some("expired".to_owned());
    }
    assert_eq!(json!(after), json!(before));
    // Who got what is known still; and a person can be erased of whom nothing else
    // is left.
    let known = access(&exchange, PERSON);
    assert_eq!((known.events, known.deliveries.len()), (3, 6));
    assert!(known.deliveries.iter().all(|d| !d.provable && d.delivered_at.is_some()));
    exchange.publish([about(&exchange, "later", OTHER)]);
    exchange.settled();
    let later = exchange.take_all(GOUV, first.len() as u64);
    assert_eq!(ids(&later), ["later"]);
    let report = replay(&exchange, GOUV, 2, None);
    assert_eq!((report.messages, report.withheld), (10, 9));
    let again = exchange.take(GOUV, 10);
    assert_eq!(again.iter().filter_map(withheld).collect::<Vec<_>>(), ["expired"; 9]);
    assert_eq!(again[9].accepted.message, later[0].accepted.message);
    let report = erase(&exchange, PERSON, false);
    assert_eq!((report.events, report.payloads), (3, 0));
    exchange.settled();
    replay(&exchange, GOUV, 2, Some(4));
    let mut reasons = exchange.take(GOUV, 4);
    assert_eq!(reasons.remove(0).event_type(), ERASED);
    let reasons: Vec<_> = reasons.iter().filter_map(withheld).collect();
    assert_eq!(reasons, ["erased", "expired", "expired"]);
    exchange.stop();
    exchange.entries();
    assert!(Copy::of(&exchange).events_with(NAME_OF_PERSON.as_bytes()).is_empty());
}

#[test]
fn what_is_not_delivered_to_all_stays() {
    let mut exchange = Exchange::prepare(&[SUD, GOUV]);
    exchange.config.retention.replay_days = 0;
    exchange.agree(&whole("tout", SUD, GOUV));
    clog(&mut exchange);
    assert!(expire(&exchange).events <= 4, "the fifth waits");
    let got = exchange.take(GOUV, CLOG + 1);
    assert!(got.iter().all(|one| withheld(one).is_none()));
    exchange.settled();
    expire(&exchange);
    exchange.stop();
    assert!(Copy::of(&exchange).events_with(b"boost").is_empty());
}

#[test]
fn a_replay_of_what_was_never_sent_is_refused_in_a_sentence() {
    let mut exchange = prepared();
    exchange.start();
    publish(&exchange, 3);
    for (to, from, until, sentence) in [
        (GOUV, 0, None, "the numbers 1 to 4"),
        (GOUV, 5, None, "the numbers 1 to 4"),
        (GOUV, 2, Some(9), "the numbers 1 to 4"),
        (GOUV, 3, Some(2), "the numbers 1 to 4"),
        ("nobody", 1, None, "no such recipient"),
    ] {
        let request = Request::Replay { to: to.to_owned(), from, until };
        let Answer::Failed { detail } = ask(&exchange, request) else { panic!("{to} {from}") };
        assert!(detail.contains(sentence), "{detail}");
    }
    for (member, subject) in [("nobody", "4711"), (SUD, "person/none")] {
        let request = Request::Access { member: member.into(), subject: subject.into(), lang: "fr".into() };
        assert!(matches!(ask(&exchange, request), Answer::NotFound { .. }), "{member} {subject}");
    }
}

#[test]
fn a_person_is_told_who_got_which_fields_why_and_by_what_right() {
    let mut exchange = prepared();
    exchange.start();
    publish(&exchange, 3);
    let report = access(&exchange, "4711");
    assert_eq!((report.events, report.deliveries.len(), report.erased_at), (1, 2, None));
    let nord = report.deliveries.iter().find(|d| d.recipient == NORD).unwrap();
    assert_eq!(
        (nord.agreement.as_str(), nord.title.as_str(), nord.purpose.as_str()),
        ("noms:1", "Essai", "Essai")
    );
    assert!(nord.legal_basis.contains("RGPD, article 6-1-e"), "{}", nord.legal_basis);
    let paths: Vec<&str> = nord.fields.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(paths, ["person.family_name"]);
    assert!(nord.fields[0].1.contains("Nom"), "{}", nord.fields[0].1);
    assert!(nord.provable && nord.delivered_at.is_some() && nord.sequence == 2);
    let gouv = report.deliveries.iter().find(|d| d.recipient == GOUV).unwrap();
    assert!(gouv.fields.len() > 8);
    exchange.stop();
    let entries = exchange.entries();
    for delivery in &report.deliveries {
        let entry = &entries[delivery.journal_entry.unwrap() as usize];
        assert!(
            matches!(entry, Entry::Delivered { recipient, sequence, .. }
                if *recipient == delivery.recipient && *sequence == delivery.sequence),
            "{entry:?}"
        );
    }
}
