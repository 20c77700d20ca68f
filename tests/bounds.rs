//! No bytes from outside make a parser panic, or allocate more than a fixed
//! multiple of what they are: random ones, mutated good ones, and ones made to
//! hurt.
//!
//! One test, since what it counts is what the whole process allocates.

use pirogue::event::{Attributes, Context, Envelope, HeaderValue, Message};
use pirogue::keys::note::SignedNote;
use pirogue::keys::{DetachedJws, Jwks, PrivateKey};
use pirogue::schema::{ReaderSchema, Registry};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// At most so many bytes are allocated for each byte of input, all allocations
/// added up, freed or not.
const MULTIPLE: usize = 80;
/// And so many besides, for what doesn't depend on the input: a table, a fault.
const BESIDES: usize = 16 * 1024;

/// Runs `parse` on `input` and counts.
fn bounded<T>(what: &str, input: &[u8], parse: impl FnOnce(&[u8]) -> T) {
    let region = Region::new(ALLOCATOR);
    let parsed = parse(input);
    let allocated = region.change().bytes_allocated;
    drop(parsed);
    let allowed = input.len() * MULTIPLE + BESIDES;
    assert!(
        allocated <= allowed,
        "{what}: {allocated} bytes for an input of {}, at most {allowed}",
        input.len()
    );
}

fn parse_all(registry: &Registry, input: &[u8]) {
    bounded("message", input, |bytes| Message::decode(&bytes::Bytes::copy_from_slice(bytes)));
    for schema in registry.schemas() {
        bounded("body", input, |bytes| schema.decode(bytes).map(|datum| datum.to_json()));
        let mut body = vec![0xC3, 0x01];
        body.extend_from_slice(&schema.fingerprint());
        body.extend_from_slice(input);
        bounded("body with its fingerprint", &body, |bytes| {
            schema.decode(bytes).map(|datum| datum.to_json())
        });
    }
    let Ok(text) = std::str::from_utf8(input) else { return };
    bounded("JWS", input, |_| DetachedJws::parse(text));
    let wrapped = format!("{}..{}", base64_url(input), base64_url(&[0; 64]));
    bounded("JWS header", wrapped.as_bytes(), |_| DetachedJws::parse(&wrapped));
    bounded("note", input, |_| SignedNote::parse(text));
    bounded("agreement", input, |_| pirogue::agreements::parse_agreement(text));
    bounded("key set", input, |_| Jwks::parse(text));
    bounded("schema", input, |_| {
        let reference = pirogue::event::SchemaRef::parse("urn:pirogue:schema:a.b.c:1").expect("a reference");
        ReaderSchema::parse(text, &reference).is_ok()
    });
    let message = Message {
        content_type: Some(text.to_owned()),
        message_id: Some(text.to_owned()),
        headers: vec![
            ("cloudEvents_time".into(), HeaderValue::Text(text.to_owned())),
            (format!("cloudEvents_{text}").into(), HeaderValue::Text("x".to_owned())),
            ("cloudEvents_signature".into(), HeaderValue::Bytes(input.to_vec())),
        ],
        ..Default::default()
    };
    bounded("envelope", input, |_| {
        let read = Envelope::read(&message).is_ok();
        let attributes = Attributes::read(&message).unwrap_or_default();
        (read, Context::of_publication(&attributes).is_ok(), Context::of_delivery(&attributes).is_ok())
    });
}

fn base64_url(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}

/// Inputs made to hurt: deep nesting, great counts, many small things.
fn hurtful() -> Vec<Vec<u8>> {
    let mut inputs: Vec<Vec<u8>> = vec![
        b"[".repeat(50_000),
        b"{\"a\":".repeat(10_000),
        format!("{{\"ce\":{{{}}}}}", "\"a\":\"b\",".repeat(3_000)).into_bytes(),
        b"a=[".repeat(10_000),
        b"[[grant]]\n".repeat(5_000),
        (0..3_000).map(|n| format!("k{n}=1\n")).collect::<String>().into_bytes(),
        format!("text\n\n{}", "\u{2014} a AAAAAAAAAA==\n".repeat(3_000)).into_bytes(),
        "\n".repeat(50_000).into_bytes(),
        "é".repeat(20_000).into_bytes(),
    ];
    // Avro's zigzag varints of the greatest and the least count, over and over.
    inputs.push([0xFE, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01].repeat(500));
    inputs.push([0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01].repeat(500));
    inputs.push(vec![0x02; 5_000]);
    inputs.push(vec![0x01; 5_000]);
    inputs.push(vec![0xFF; 5_000]);
    inputs
}

/// Good inputs, to be mutated.
fn good() -> Vec<Vec<u8>> {
    let key = PrivateKey::from_seed(&[7; 32]);
    let mut attributes = Attributes::default();
    for (name, value) in [("id", "e-1"), ("specversion", "1.0"), ("source", "/province-sud/boost")] {
        attributes.set(name, value);
    }
    let jws = key.sign_event("hub", &attributes, b"body");
    let envelope = Envelope { attributes, signature: jws.clone(), origin_signature: None };
    let mut message = Vec::new();
    envelope.message("province-sud", bytes::Bytes::from_static(b"body")).encode(&mut message);
    let agreement = "id = \"emploi\"\nversion = 1\ntitle = \"t\"\nprovider = \"province-sud\"\nrecipient = \
                     \"gouvernement\"\npurpose = \"p\"\nlegal_basis = \"consent\"\nretention_months = 1\nvalid_from = \
                     2026-01-01\nvalid_until = 2027-01-01\n\n[[grant]]\ntype = \"a.b.c\"\nversions = [1]\nfields = \
                     [\"x\"]\n";
    let mut note = SignedNote::unsigned(agreement).expect("a note");
    note.signatures.push(pirogue::keys::note::sign(agreement, "province-sud", &key));
    vec![jws.into_bytes(), message, agreement.as_bytes().to_vec(), note.render().into_bytes()]
}

#[test]
fn no_bytes_make_a_parser_panic_or_allocate_without_bound() {
    let registry = Registry::embedded().expect("the schemas that are built in");
    // What is made once is made before anything is counted.
    parse_all(&registry, b"");
    for input in hurtful().iter().chain(&good()) {
        parse_all(&registry, input);
    }
    let good = good();
    let mutated = (0..good.len(), any::<prop::sample::Index>(), any::<u8>(), any::<prop::sample::Index>())
        .prop_map(move |(which, at, byte, cut)| {
            let mut bytes = good[which].clone();
            let place = at.index(bytes.len());
            bytes[place] = byte;
            bytes.truncate(cut.index(bytes.len() + 1));
            bytes
        });
    let input = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..2_000),
        "[ -~\n]{0,400}".prop_map(String::into_bytes),
        mutated,
    ];
    let mut runner = TestRunner::new(Config { cases: 600, failure_persistence: None, ..Config::default() });
    runner
        .run(&input, |input| {
            parse_all(&registry, &input);
            Ok(())
        })
        .expect("no input breaks the bound");
}
