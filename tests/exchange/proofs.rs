//! What a proof is made of: each event and each message leads to its own entry
//! of the journal, and to no other, as long as its event isn't erased.

use crate::harness::*;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pirogue::hub::operator::{Answer, Handler, ProofParts, Request};
use pirogue::journal::{Entry, fingerprint, message_name};

const NORD: &str = "province-nord";

fn bytes(text: &str) -> [u8; 32] {
    STANDARD.decode(text).unwrap().try_into().unwrap()
}

fn ask(exchange: &Exchange, request: Request) -> Result<ProofParts, String> {
    match exchange.block_on(exchange.hub().handle(request)) {
        Answer::Proof(parts) => Ok(parts),
        Answer::NotFound { detail } => Err(detail),
        other => panic!("{other:?}"),
    }
}

fn of_delivery(exchange: &Exchange, member: &str, sequence: u64) -> Result<ProofParts, String> {
    let recipient = member.to_owned();
    ask(exchange, Request::ProveDelivery { recipient, sequence, epoch: None })
}

fn of_event(exchange: &Exchange, id: &str) -> Result<ProofParts, String> {
    ask(exchange, Request::ProveEvent { source: format!("/{SUD}/boost"), id: id.to_owned() })
}

fn person(exchange: &Exchange, id: &str) -> Sent {
    Draft::new(SUD, JOBSEEKER, id, "person/1", &jobseeker("Kaemo")).signed(exchange.key(SUD))
}

/// The name that the parts lead to.
fn name_of(parts: &ProofParts) -> [u8; 32] {
    message_name(&bytes(&parts.salt), &bytes(&parts.fingerprint))
}

/// The name of its event that the parts lead to; zero for a schema.
fn event_of(parts: &ProofParts) -> [u8; 32] {
    match (&parts.event_salt, &parts.event_fingerprint) {
        (Some(salt), Some(fingerprint)) => message_name(&bytes(salt), &bytes(fingerprint)),
        _ => [0; 32],
    }
}

#[test]
fn each_event_and_each_message_leads_to_its_own_entry() {
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
    let (mut sent, mut got) = (Vec::new(), Vec::new());
    // Several decisions, and a restart between them.
    for (round, count) in [3, 1, 40, 2].into_iter().enumerate() {
        let events: Vec<Sent> = (0..count).map(|n| person(&exchange, &format!("e-{round}-{n}"))).collect();
        exchange.publish(events.clone());
        sent.extend((0..count).map(|n| format!("e-{round}-{n}")).zip(events));
        for member in [GOUV, NORD] {
            // The schema comes before the first event.
            let messages = exchange.take(member, count + usize::from(round == 0));
            got.extend(messages.into_iter().map(|one| (member, one)));
        }
        exchange.settled();
        if round == 1 {
            exchange.stop();
            exchange.start();
        }
    }
    let delivered: Vec<_> = got
        .iter()
        .map(|(member, one)| {
            let parts = of_delivery(&exchange, member, one.sequence()).unwrap();
            let message = &one.accepted.message;
            let signature = message.text("cloudEvents_signature").unwrap();
            assert_eq!(parts.signature.as_deref(), Some(signature), "{member} {}", one.sequence());
            assert_eq!(bytes(&parts.fingerprint), fingerprint(signature, &message.body));
            (*member, one.sequence(), parts)
        })
        .collect();
    let taken: Vec<_> = sent
        .iter()
        .map(|(id, sent)| {
            let parts = of_event(&exchange, id).unwrap();
            let signature = sent.message.text("cloudEvents_signature").unwrap();
            assert_eq!(bytes(&parts.fingerprint), fingerprint(signature, &sent.message.body), "{id}");
            parts
        })
        .collect();
    for (member, sequence) in
        [(GOUV, 0), (GOUV, 48), (NORD, 48), (SUD, 1), ("nobody-here", 1), ("No Member", 1)]
    {
        assert!(of_delivery(&exchange, member, sequence).is_err(), "{member} {sequence}");
    }
    let other_epoch = Request::ProveDelivery { recipient: GOUV.into(), sequence: 1, epoch: Some(2) };
    assert!(ask(&exchange, other_epoch).unwrap_err().contains("in epoch 2"));
    assert!(of_event(&exchange, "e-9-9").unwrap_err().contains("never took in"));
    exchange.stop();

    let entries = exchange.entries();
    for (member, number, parts) in &delivered {
        match &entries[parts.index as usize] {
            Entry::Delivered { name, event, recipient, sequence, .. } => {
                assert_eq!((recipient.as_str(), *sequence, *name), (*member, *number, name_of(parts)));
                assert_eq!(*event, event_of(parts));
            }
            other => panic!("{member} {number}: {other:?}"),
        }
    }
    // Both recipients got the same events: the proofs say so, the journal doesn't.
    for member in [GOUV, NORD] {
        let events = delivered.iter().filter(|(of, ..)| *of == member);
        let fingerprints: Vec<_> = events.filter_map(|(.., parts)| parts.event_fingerprint.clone()).collect();
        assert_eq!(fingerprints, taken.iter().map(|parts| parts.fingerprint.clone()).collect::<Vec<_>>());
    }
    for parts in &taken {
        let Entry::Event { name, .. } = &entries[parts.index as usize] else { panic!("{parts:?}") };
        assert_eq!(*name, name_of(parts));
    }
}
