//! The journal agrees with what happened, and what rests on disk gives nothing
//! away.

use crate::harness::*;
use crate::people::{NORD, prepared, refused};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use pirogue::journal::tile::{Folder, Tree};
use pirogue::journal::{Check, Entry, LogKey, SignedCheckpoint, verify_consistency};
use pirogue::keys::PrivateKey;
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::sync::Arc;

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
    let mut exchange = prepared();
    exchange.start();
    let bad = refused(person(&exchange, "bad"));
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
            Entry::Agreement { reference, provider, recipient, digest, .. } => {
                Some((reference.as_str(), provider.as_str(), recipient.as_str(), *digest))
            }
            _ => None,
        })
        .collect();
    let [(noms, .., first), (tout, .., second)] = agreements[..] else { panic!("{agreements:?}") };
    assert_eq!((noms, tout), ("noms:1", "tout:1"));
    // By its parties, and by the text that they signed: what stands above the
    // signatures, whatever their order.
    for (reference, provider, recipient, digest) in &agreements {
        let note = exchange.note(&reference.replace(':', "-"));
        let text = &note[..=note.rfind("\n\n").unwrap()];
        let party = |word: &str, name: &str| text.contains(&format!("{word} = \"{name}\""));
        assert!(party("provider", provider) && party("recipient", recipient), "{text}");
        assert_eq!(*digest, <[u8; 32]>::from(Sha256::digest(text)));
    }
    assert_ne!(first, second);

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
    let (mut all_names, mut event_names) = (BTreeSet::new(), BTreeSet::new());
    for (member, got, agreement) in [(GOUV, &whole, "tout:1"), (NORD, &projected, "noms:1")] {
        let delivered = of(member);
        assert_eq!(delivered.len(), got.len(), "{member}");
        for (n, ((_, name, event, sequence, under), got)) in delivered.iter().zip(got).enumerate() {
            assert_eq!(*sequence, got.sequence());
            let (is_event, agreement) = if got.is_schema() { (false, "") } else { (true, agreement) };
            assert_eq!((*event != [0; 32], under.as_str()), (is_event, agreement), "{member}, {sequence}");
            // Its event goes by another name for each recipient: nothing joins them.
            assert!(!names.contains(event) && (!is_event || event_names.insert(*event)), "{member}, {n}");
            all_names.insert(*name);
        }
    }
    let notice = of(SUD);
    assert_eq!(notice.len(), 1);
    assert_eq!(notice[0].4, "");
    assert!(!names.contains(&notice[0].2) && event_names.insert(notice[0].2));
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

/// The bytes of all files in `folder` and below.
fn files_in(folder: &std::path::Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            bytes.extend(files_in(&path));
        } else if let Ok(content) = std::fs::read(&path) {
            // What isn't in its place yet may be gone by now.
            bytes.extend(content);
        }
    }
    bytes
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
        let journal = files_in(&exchange.data().join("journal"));
        // An id as an entry would hold it: three letters alone stand in any hash.
        for secret in ["person/", "\u{3}\0e-0", "/boost"] {
            assert!(!contains(&journal, secret.as_bytes()), "{secret}, {when}");
        }
        assert!(contains(&journal, JOBSEEKER.as_bytes()), "there is something to find");
        assert!(!found_on_disk(&exchange, "noms:1").is_empty(), "there is something to find");
    }
    for secret in [FAMILY_NAME, LOCAL_ID, EMAIL] {
        assert!(!was_logged(secret), "{secret} was logged");
    }
}

/// The checkpoint that stands in the hub's folder, verified, and how many entries
/// it is over.
fn checkpoint(exchange: &Exchange) -> Option<(SignedCheckpoint, u64)> {
    let note = std::fs::read_to_string(exchange.data().join("journal/checkpoint")).ok()?;
    let key = PrivateKey::read(&exchange.config.keys.checkpoint, None).unwrap();
    let key = LogKey { name: NAME.into(), key: key.public().clone() };
    let signed = SignedCheckpoint::open(&note, &key).unwrap();
    let size = signed.head().size;
    Some((signed, size))
}

/// Checks the whole log from outside.
fn verify(exchange: &Exchange) -> SignedCheckpoint {
    let (signed, _) = checkpoint(exchange).unwrap();
    let log = Arc::new(Folder(exchange.data().join("journal")));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let mut check = Check::begin(log, signed.head(), None).unwrap();
        while check.step(|_, _| None::<()>).await.unwrap().is_some() {}
    });
    signed
}

#[test]
fn a_running_hub_publishes_its_journal_and_a_crash_changes_nothing_that_was_signed() {
    let mut exchange = Exchange::prepare(&[SUD, GOUV]);
    exchange.agree(&whole("tout", SUD, GOUV));
    exchange.config.journal.checkpoint_ms = 50;
    let mut signed: Vec<SignedCheckpoint> = Vec::new();
    let mut on_the_wire = 0;
    for round in 0..6 {
        exchange.start();
        exchange.publish((0..40).map(|n| person(&exchange, &format!("e-{round}-{n}"))));
        let received = exchange.receive(GOUV, 10 + round);
        exchange.ack(GOUV, received.last().unwrap().tag);
        on_the_wire += 10 + round;
        if round % 2 == 0 {
            exchange.wait("a checkpoint is over all", |status| {
                status.checkpoint_entries == status.journal_entries && status.journal_entries > 0
            });
            signed.extend(checkpoint(&exchange).map(|(signed, _)| signed));
        }
        match round {
            2 => exchange.stop(),
            _ => exchange.crash(),
        }
        signed.extend(checkpoint(&exchange).map(|(signed, _)| signed));
    }
    exchange.start();
    let status = exchange.settled();
    exchange.stop();
    // At a stop it is over everything.
    let last = verify(&exchange);
    let entries = exchange.entries();
    assert_eq!(last.head().size, entries.len() as u64);
    let log = Folder(exchange.data().join("journal"));
    assert!(signed.len() > 6, "checkpoints were seen");
    for before in signed {
        let proof =
            Tree::new(&log, last.head().size).consistency(before.head().size, last.head().size).unwrap();
        verify_consistency(&before.head(), &last.head(), &proof).unwrap();
    }
    // What was acknowledged has its entry, and so has each message.
    let events = entries.iter().filter(|e| matches!(e, Entry::Event { .. })).count();
    assert_eq!(events, 6 * 40);
    let delivered = entries.iter().filter(|e| matches!(e, Entry::Delivered { .. })).count() as u64;
    let sequence = sequence_in(&status, GOUV);
    assert!(delivered == sequence && sequence >= on_the_wire as u64);
}

#[test]
fn a_store_older_than_the_journal_is_refused_by_the_hub_before_anything_is_added() {
    let mut exchange = Exchange::prepare(&[SUD, GOUV]);
    exchange.agree(&whole("tout", SUD, GOUV));
    exchange.start();
    exchange.stop();
    let entries = exchange.entries();
    let (earlier, _) = checkpoint(&exchange).unwrap();
    let key = PrivateKey::read(&exchange.config.keys.checkpoint, None).unwrap();
    let mut builder = pirogue::journal::tile::TileBuilder::new();
    entries.iter().for_each(|entry| builder.push(&entry.encode()).unwrap());
    builder.push(b"one that the backup doesn't have").unwrap();
    let later = pirogue::journal::Checkpoint::new(NAME, builder.head()).sign(&key).unwrap();
    let file = exchange.data().join("journal/checkpoint");
    std::fs::write(&file, later.render()).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let started = runtime.block_on(pirogue::ops::node::Node::start(&exchange.config, &[]));
    let fault = started.map(|_| ()).unwrap_err().to_string();
    assert!(fault.contains("was restored from an older backup"), "{fault}");
    std::fs::write(&file, earlier.render()).unwrap();
    assert_eq!(exchange.entries(), entries, "nothing was added");
}
