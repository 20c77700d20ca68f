//! The journal agrees with what happened, and what rests on disk gives nothing
//! away.

use crate::harness::*;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use pirogue::journal::Entry;
use std::collections::BTreeSet;

const NORD: &str = "province-nord";
/// Values that only the messages hold.
const FAMILY_NAME: &str = "Wamytanjrn";
const LOCAL_ID: &str = "LI-jrn-4711";
const EMAIL: &str = "jrn-secret@exemple.nc";

fn person(exchange: &Exchange, id: &str) -> Sent {
    let mut record = jobseeker(FAMILY_NAME);
    record["contact"]["email"] = EMAIL.into();
    Draft::new(SUD, JOBSEEKER, id, &format!("person/{LOCAL_ID}"), &record).signed(exchange.key(SUD))
}

/// A hub that took in, refused, delivered whole and projected, and stopped.
fn lived() -> (Exchange, Vec<Got>, Vec<Got>, u64) {
    let mut exchange = Exchange::prepare(&[SUD, GOUV, NORD]);
    exchange.agree(&whole("tout", SUD, GOUV));
    exchange.agree(&Terms {
        id: "noms",
        version: 1,
        provider: SUD,
        recipient: NORD,
        grants: &[(JOBSEEKER, &["person.family_name"], "pseudonym")],
    });
    exchange.start();
    let mut bad = person(&exchange, "bad");
    bad.message.headers.retain(|(name, _)| name != "cloudEvents_time");
    let mut sent: Vec<Sent> = (0..5).map(|n| person(&exchange, &format!("e-{n}"))).collect();
    sent.extend([bad, sent[0].clone()]);
    exchange.publish(sent);
    let whole = exchange.receive(GOUV, 6);
    // A message that is on the wire has its entry already.
    let entries = exchange.status().journal_entries;
    let whole = exchange.check(GOUV, whole);
    let projected = exchange.receive(NORD, 6);
    let projected = exchange.check(NORD, projected);
    exchange.settled();
    (exchange, whole, projected, entries)
}

#[test]
fn the_journal_agrees_with_what_happened() {
    let (mut exchange, whole, projected, entries_then) = lived();
    let status = exchange.status();
    let kid = exchange.key(SUD).public().thumbprint().to_string();
    let hub_kids: BTreeSet<String> =
        exchange.hub().public_keys().keys.iter().map(|k| k.public.thumbprint().to_string()).collect();
    exchange.stop();
    let entries = exchange.entries();
    assert_eq!(entries.len() as u64, status.journal_entries);

    // Keys and agreements come first: what the hub goes by.
    let keys = entries.iter().filter(|e| matches!(e, Entry::Key { change, .. } if change == "added")).count();
    assert_eq!(keys, 3 * 2 + 2);
    let (start, rest) = entries.split_at(keys + 2);
    assert!(start.iter().all(|e| matches!(e, Entry::Key { .. } | Entry::Agreement { in_force: true, .. })));
    let own = start.iter().filter_map(|e| match e {
        Entry::Key { owner, kid, .. } if owner == "hub" => Some(kid.clone()),
        _ => None,
    });
    assert_eq!(own.collect::<BTreeSet<_>>(), hub_kids);
    let agreements: Vec<_> = start
        .iter()
        .filter_map(|e| match e {
            Entry::Agreement { reference, .. } => Some(reference.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(agreements, ["noms:1", "tout:1"]);

    // One entry an event; the notice of the refusal is an event of the hub's.
    let events: Vec<_> = rest
        .iter()
        .filter_map(|e| match e {
            Entry::Event { name, publisher, event_type, version, kid, .. } => {
                Some((*name, publisher.as_str(), event_type.as_str(), *version, kid.as_str()))
            }
            _ => None,
        })
        .collect();
    assert_eq!(events.len() as u64, status.events);
    for (n, (_, publisher, event_type, version, signed_by)) in events.iter().enumerate() {
        let expected =
            if n < 5 { (SUD, JOBSEEKER, 1, kid.as_str()) } else { ("hub", pirogue::hub::REJECTED, 1, "") };
        assert_eq!((*publisher, *event_type, *version, *signed_by), expected);
    }
    let names: Vec<_> = events.iter().map(|event| event.0).collect();
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), 6, "each name is another");

    // One entry a message, in the order of the numbers, each with its event.
    let of = |member: &str| -> Vec<_> {
        let all = rest.iter().enumerate().filter_map(|(at, e)| match e {
            Entry::Delivered { name, event, recipient, epoch, sequence, agreement, .. }
                if recipient == member =>
            {
                assert_eq!(*epoch, 1);
                Some((at, *name, *event, *sequence, agreement.clone()))
            }
            _ => None,
        });
        all.collect()
    };
    let mut all_names = BTreeSet::new();
    for (member, got, agreement) in [(GOUV, &whole, "tout:1"), (NORD, &projected, "noms:1")] {
        let delivered = of(member);
        assert_eq!(delivered.len(), got.len(), "{member}");
        for (n, ((_, name, event, sequence, under), got)) in delivered.iter().zip(got).enumerate() {
            assert_eq!(*sequence, got.sequence());
            let expected = if got.is_schema() { ([0; 32], "") } else { (names[n - 1], agreement) };
            assert_eq!((*event, under.as_str()), expected, "{member}, {sequence}");
            all_names.insert(*name);
        }
    }
    let notice = of(SUD);
    assert_eq!(notice.len(), 1);
    assert_eq!((notice[0].2, notice[0].4.as_str()), (names[5], ""));
    assert_eq!(all_names.len(), whole.len() + projected.len());
    let last = of(GOUV).last().unwrap().0;
    assert!(((start.len() + last) as u64) < entries_then, "an entry came after its message");
    assert_eq!(rest.len(), 6 + 6 + 6 + 1, "and nothing else happened");

    // A key that is revoked, one that comes, an agreement that ends.
    let (_, jwk) = event_key(SUD, None, None, Some(-1));
    exchange.publish_keys(SUD, &[jwk]);
    exchange.revoke("noms", NORD);
    exchange.start();
    exchange.stop();
    let more = exchange.entries().split_off(entries.len());
    assert!(matches!(&more[..], [
        Entry::Key { owner, change, validity: [0, 0, revoked], .. },
        Entry::Agreement { reference, in_force: false, .. },
    ] if owner == SUD && change == "added" && *revoked > 0 && reference == "noms:1"));
}

/// `text` as it looks in clear, and at each place of base64's groups of three.
fn disguises(text: &str) -> Vec<Vec<u8>> {
    let mut all = vec![text.as_bytes().to_vec()];
    for shift in 0..3 {
        // What comes before and after changes the outermost characters.
        let padded = [&vec![b' '; shift][..], text.as_bytes()].concat();
        for encoded in [URL_SAFE_NO_PAD.encode(&padded), STANDARD.encode(&padded)] {
            let encoded = encoded.trim_end_matches('=');
            all.push(encoded.as_bytes()[if shift == 0 { 0 } else { 4 }..encoded.len() - 2].to_vec());
        }
    }
    all
}

fn found_on_disk(exchange: &Exchange, text: &str) -> Vec<String> {
    let needles = disguises(text);
    let files = files(exchange.data());
    let found = files.iter().filter(|(_, bytes)| needles.iter().any(|needle| contains(bytes, needle)));
    found.map(|(path, _)| path.display().to_string()).collect()
}

#[test]
fn nothing_on_disk_holds_a_name_or_a_local_id_in_clear() {
    let (mut exchange, whole, projected, _) = lived();
    // The values are really in what passed: a search could find them.
    assert!(whole.iter().skip(1).all(|one| contains(one.body(), FAMILY_NAME.as_bytes())));
    assert!(projected.iter().skip(1).all(|one| contains(one.body(), FAMILY_NAME.as_bytes())));
    let kept = exchange.hub().open_quarantined(0).unwrap().unwrap();
    assert!(contains(&kept.message.body, FAMILY_NAME.as_bytes()));
    let jws = kept.message.text("cloudEvents_signature").unwrap().to_owned();
    assert!(disguises(LOCAL_ID).iter().any(|needle| contains(jws.as_bytes(), needle)));

    for when in ["running", "stopped", "crashed"] {
        match when {
            "stopped" => exchange.stop(),
            "crashed" => {
                exchange.start();
                exchange.publish([person(&exchange, "e-9")]);
                exchange.crash();
            }
            _ => {}
        }
        for secret in [FAMILY_NAME, LOCAL_ID, EMAIL, "Kaoline"] {
            assert_eq!(found_on_disk(&exchange, secret), Vec::<String>::new(), "{secret}, {when}");
        }
        // Nor the journal anything of an event but its type and who published it.
        let journal = std::fs::read(exchange.data().join("journal/entries")).unwrap();
        for secret in ["person/", "e-0", "/boost"] {
            assert!(!contains(&journal, secret.as_bytes()), "{secret}, {when}");
        }
        assert!(contains(&journal, JOBSEEKER.as_bytes()), "there is something to find");
        assert!(!found_on_disk(&exchange, "noms:1").is_empty(), "there is something to find");
    }
    for secret in [FAMILY_NAME, LOCAL_ID, EMAIL] {
        assert!(!was_logged(secret), "{secret} was logged");
    }
}
