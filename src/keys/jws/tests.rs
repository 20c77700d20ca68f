use super::*;
use crate::keys::{PrivateKey, encode_base64url};
use hmac::{KeyInit, Mac};
use proptest::prelude::*;

fn key() -> PrivateKey {
    PrivateKey::from_seed(&decode_base64url_exactly("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A").unwrap())
}

fn attributes() -> Attributes {
    let mut attributes = Attributes::default();
    for (name, value) in [
        ("specversion", "1.0"),
        ("id", "e-1"),
        ("source", "/province-sud/boost"),
        ("type", "nc.employment.offer.published"),
        ("subject", "offer/1"),
        ("time", "2026-11-24T00:00:00Z"),
        ("datacontenttype", "application/avro"),
        ("dataschema", "urn:pirogue:schema:nc.employment.offer.published:1"),
    ] {
        attributes.set(name, value);
    }
    attributes
}

/// A JWS with this header, signed or not: the parser doesn't look.
fn with_header(json: &str) -> String {
    format!("{}..{}", encode_base64url(json), encode_base64url([7; 64]))
}

fn refusal(json: &str) -> JwsFault {
    DetachedJws::parse(&with_header(json)).map(|_| json).unwrap_err()
}

#[test]
fn the_signing_input_is_that_of_rfc_7797_section_4_2() {
    let secret = decode_base64url(
        "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow",
    )
    .unwrap();
    let header = encode_base64url(r#"{"alg":"HS256","b64":false,"crit":["b64"]}"#);
    let mut mac = hmac::Hmac::<sha2::Sha256>::new_from_slice(&secret).unwrap();
    mac.update(&signing_input(&header, b"$.02"));
    let jws = format!("{header}..{}", encode_base64url(mac.finalize().into_bytes()));
    assert_eq!(
        jws,
        "eyJhbGciOiJIUzI1NiIsImI2NCI6ZmFsc2UsImNyaXQiOlsiYjY0Il19..\
         A5dxf2s96_n5FLueVuW1Z_vh161FwXZC4YLPff6dmDY"
    );
}

/// Made by Node's `crypto.sign` with the key of RFC 8037 appendix A: spaces and
/// line ends in the header, another order, `typ`, escapes, `Ed25519`.
#[test]
fn a_signature_that_another_program_made_is_read_and_holds() {
    let text = "ewogInR5cCI6ICJ4IiwKICJhbGciOiAiRWQyNTUxOSIsCiAiY3JpdCI6IFsKICAiYjY0IgogXSwKICJiNjQiOiBmYWxzZSwK\
                ICJhdWQiOiAiaHViLW5jIiwKICJraWQiOiAia1ByS19xbXhWV2FZVkE5d3dCRjZJdW8zdlZ6ejdUeEhDVHdYQnlnclM0ayIs\
                CiAiY2UiOiB7CiAgInNwZWN2ZXJzaW9uIjogIjEuMCIsCiAgImlkIjogImUtMSIsCiAgInNvdXJjZSI6ICIvcHJvdmluY2Ut\
                c3VkL2Jvb3N0IiwKICAidHlwZSI6ICJuYy5lbXBsb3ltZW50Lm9mZmVyLnB1Ymxpc2hlZCIsCiAgInN1YmplY3QiOiAib2Zm\
                ZXIvMSIsCiAgInRpbWUiOiAiMjAyNi0xMS0yNFQwMDowMDowMFoiLAogICJkYXRhY29udGVudHR5cGUiOiAiYXBwbGljYXRp\
                b24vYXZybyIsCiAgImRhdGFzY2hlbWEiOiAidXJuOnBpcm9ndWU6c2NoZW1hOm5jLmVtcGxveW1lbnQub2ZmZXIucHVibGlz\
                aGVkOjEiLAogICJub3RlIjogIkvDtGhh8J-btiBcInhcIiBcXCDigKgiCiB9Cn0..HkSrNmLSPlqBO0FzMuK1KnILx4ayBTT\
                2vq5tHx6tVnRp3H0y1R5KU3CcZmlTkknDWQoiRv_TpIhByxFr80z-DQ";
    let jws = DetachedJws::parse(text).unwrap();
    let mut expected = attributes();
    expected.set("note", "Kôha\u{1F6F6} \"x\" \\ \u{2028}");
    assert!(jws.ce == expected);
    assert_eq!(jws.audience.as_deref(), Some("hub-nc"));
    assert_eq!(jws.kid, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    let body = b"\xc3\x01\x00\xff\x2e\x0a";
    assert!(jws.verify(key().public(), body));
    assert!(!jws.verify(key().public(), &body[1..]));
    assert!(!jws.verify(PrivateKey::generate().unwrap().public(), body));
}

#[test]
fn an_event_is_signed_as_wire_section_1_shows() {
    let text = key().sign_event("hub-nc", &attributes(), b"body");
    let header = decode_base64url(text.split_once("..").unwrap().0).unwrap();
    assert_eq!(
        String::from_utf8(header).unwrap(),
        concat!(
            r#"{"alg":"EdDSA","b64":false,"crit":["b64"],"kid":"kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k","#,
            r#""aud":"hub-nc","ce":{"datacontenttype":"application/avro","#,
            r#""dataschema":"urn:pirogue:schema:nc.employment.offer.published:1","id":"e-1","#,
            r#""source":"/province-sud/boost","specversion":"1.0","subject":"offer/1","#,
            r#""time":"2026-11-24T00:00:00Z","type":"nc.employment.offer.published"}}"#
        )
    );
    assert_eq!(text, key().sign_event("hub-nc", &attributes(), b"body"));
}

#[test]
fn a_signature_that_names_another_key_than_it_was_made_with_does_not_hold() {
    let header = encode_base64url(format!(r#"{{"alg":"EdDSA","b64":false,"crit":["b64"],"kid":"k",{CE}}}"#));
    let signature = encode_base64url(key().sign(&signing_input(&header, b"body")));
    let jws = DetachedJws::parse(&format!("{header}..{signature}")).unwrap();
    assert!(!jws.verify(key().public(), b"body"));
    let named = header_of(&key().sign_event("hub-nc", &attributes(), b"body"));
    let signature = encode_base64url(key().sign(&signing_input(&named, b"body")));
    assert!(DetachedJws::parse(&format!("{named}..{signature}")).unwrap().verify(key().public(), b"body"));
}

fn header_of(jws: &str) -> String {
    jws.split_once("..").unwrap().0.to_owned()
}

#[test]
fn what_is_printed_holds_no_value() {
    let jws = DetachedJws::parse(&key().sign_event("hub-nc", &attributes(), b"body")).unwrap();
    let printed = format!("{jws:?}");
    assert!(printed.contains("subject") && !printed.contains("offer/1"), "{printed}");
}

const CE: &str = r#""ce":{"id":"1"}"#;

#[test]
fn each_departure_from_the_form_is_refused_for_its_own_reason() {
    let member = |member, json: &str| match refusal(json) {
        JwsFault::Member { member: named, .. } => assert_eq!(named, member, "{json}"),
        other => panic!("{json}: {other}"),
    };
    for crit in [
        r#"[]"#,
        r#"["b64","b64"]"#,
        r#"["b64","exp"]"#,
        r#"["exp"]"#,
        r#""b64""#,
        "null",
        "[1]",
        "{}",
        "[null]",
    ] {
        member("crit", &format!(r#"{{"alg":"EdDSA","b64":false,"crit":{crit},"kid":"k",{CE}}}"#));
    }
    for b64 in ["true", "null", "0", r#""false""#] {
        member("b64", &format!(r#"{{"alg":"EdDSA","b64":{b64},"crit":["b64"],"kid":"k",{CE}}}"#));
    }
    for alg in [r#""none""#, r#""HS256""#, r#""ES256""#, r#""eddsa""#, r#""Ed448""#, "null", r#"["EdDSA"]"#] {
        member("alg", &format!(r#"{{"alg":{alg},"b64":false,"crit":["b64"],"kid":"k",{CE}}}"#));
    }
    for other in ["1", "null", r#"["k"]"#] {
        member("kid", &format!(r#"{{"alg":"EdDSA","b64":false,"crit":["b64"],"kid":{other},{CE}}}"#));
        member(
            "aud",
            &format!(r#"{{"alg":"EdDSA","b64":false,"crit":["b64"],"kid":"k","aud":{other},{CE}}}"#),
        );
    }
    for ce in [
        "1",
        "[]",
        "null",
        r#"{"id":""}"#,
        r#"{"id":1}"#,
        r#"{"id":null}"#,
        r#"{"id":{}}"#,
        r#"{"signature":"x"}"#,
    ] {
        member("ce", &format!(r#"{{"alg":"EdDSA","b64":false,"crit":["b64"],"kid":"k","ce":{ce}}}"#));
    }
    member("ce", r#"{"alg":"EdDSA","b64":false,"crit":["b64"],"kid":"k","ce":{"originsignature":"x"}}"#);
}

#[test]
fn each_member_that_is_missing_is_named() {
    let members = [
        ("alg", r#""alg":"EdDSA""#),
        ("b64", r#""b64":false"#),
        ("crit", r#""crit":["b64"]"#),
        ("kid", r#""kid":"k""#),
        ("ce", CE),
    ];
    let all: Vec<_> = members.iter().map(|m| m.1).collect();
    assert!(DetachedJws::parse(&with_header(&format!("{{{}}}", all.join(",")))).is_ok());
    for (name, _) in members {
        let rest: Vec<_> = members.iter().filter(|m| m.0 != name).map(|m| m.1).collect();
        assert_eq!(refusal(&format!("{{{}}}", rest.join(","))), JwsFault::Missing(name));
    }
}

#[test]
fn a_key_that_stands_twice_is_refused_at_any_depth() {
    let start = r#""alg":"EdDSA","b64":false,"crit":["b64"],"kid":"k""#;
    for header in [
        format!(r#"{{{start},{CE},"kid":"k"}}"#),
        format!(r#"{{{start},{CE},"ki\u0064":"k"}}"#),
        format!(r#"{{{start},{CE},"alg":"EdDSA"}}"#),
        format!(r#"{{{start},{CE},"b64":false}}"#),
        format!(r#"{{{start},{CE},"crit":["b64"]}}"#),
        format!(r#"{{{start},{CE},{CE}}}"#),
        format!(r#"{{{start},"aud":"h",{CE},"aud":"h"}}"#),
        format!(r#"{{"typ":"a","typ":"a",{start},{CE}}}"#),
        format!(r#"{{{start},"ce":{{"id":"1","id":"1"}}}}"#),
        format!(r#"{{{start},"ce":{{"id":"1","i\u0064":"1"}}}}"#),
        format!(r#"{{{start},{CE},"x":{{"a":1,"a":1}}}}"#),
        format!(r#"{{{start},{CE},"x":[[0,{{"b":{{"a":1,"\u0061":null}}}}]]}}"#),
    ] {
        assert_eq!(refusal(&header), JwsFault::DuplicateKey, "{header}");
    }
    let other = format!(r#"{{{start},{CE},"typ":"JWT","x":{{"a":{{"a":[1,-1,1.5,true,null,"a"]}}}}}}"#);
    assert!(DetachedJws::parse(&with_header(&other)).is_ok());
}

#[test]
fn a_header_that_is_no_json_object_is_refused() {
    let deep = format!(r#"{{"x":{}{}}}"#, "[".repeat(5000), "]".repeat(5000));
    let good = format!(r#"{{"alg":"EdDSA","b64":false,"crit":["b64"],"kid":"k",{CE}}}"#);
    assert!(DetachedJws::parse(&with_header(&good)).is_ok());
    for header in ["", "1", "[]", "\"x\"", "null", "{", "{}x", &format!("{good} {{}}"), &good[1..], &deep] {
        let fault = DetachedJws::parse(&with_header(header)).unwrap_err();
        assert!(
            matches!(fault, JwsFault::NotJson | JwsFault::NotDetached | JwsFault::Missing(_)),
            "{header}"
        );
    }
    let lone = format!(r#"{{"alg":"EdDSA","b64":false,"crit":["b64"],"kid":"\ud800",{CE}}}"#);
    assert_eq!(refusal(&lone), JwsFault::NotJson);
    let latin: Vec<u8> = good.replace("\"k\"", "\"\u{e9}\"").chars().map(|c| c as u8).collect();
    let text = format!("{}..{}", encode_base64url(latin), encode_base64url([7; 64]));
    assert_eq!(DetachedJws::parse(&text).unwrap_err(), JwsFault::NotJson);
}

#[test]
fn the_outer_form_is_strict() {
    let good = key().sign_event("hub-nc", &attributes(), b"body");
    let (header, signature) = good.split_once("..").unwrap();
    let refused = |text: &str| DetachedJws::parse(text).unwrap_err();
    for text in [
        format!("{header}.{signature}"),
        format!("{header}.Ym9keQ.{signature}"),
        format!("{header}...{signature}"),
        format!("{good}."),
        format!("..{signature}"),
        header.to_owned(),
        String::new(),
    ] {
        assert_eq!(refused(&text), JwsFault::NotDetached, "{text}");
    }
    for text in [format!("{good}="), format!("{good}AA"), format!("{header}.."), format!("{good}\n")] {
        assert_eq!(refused(&text), JwsFault::SignatureEncoding, "{text}");
    }
    // 64 bytes leave 4 unused bits in the last character: all must be zero.
    let last = good.chars().last().unwrap();
    assert!("AQgw".contains(last));
    let next = char::from(last as u8 + 1);
    assert_eq!(refused(&format!("{}{next}", &good[..good.len() - 1])), JwsFault::SignatureEncoding);
    assert_eq!(refused(&format!(" {good}")), JwsFault::HeaderEncoding);
    assert_eq!(refused(&format!("{header}=..{signature}")), JwsFault::HeaderEncoding);
    assert_eq!(refused(&"A".repeat(MAX_JWS_BYTES + 1)), JwsFault::TooLarge);
}

fn any_attributes() -> impl Strategy<Value = Attributes> {
    prop::collection::vec((any::<String>(), any::<String>()), 0..8).prop_map(|pairs| {
        let mut attributes = Attributes::default();
        for (name, value) in pairs {
            if !value.is_empty() && !matches!(name.as_str(), "signature" | "originsignature") {
                attributes.set(&name, value);
            }
        }
        attributes
    })
}

proptest! {
    #[test]
    fn what_is_signed_reads_back_and_holds(ce in any_attributes(), audience in any::<String>(), body in any::<Vec<u8>>()) {
        let text = key().sign_event(&audience, &ce, &body);
        let jws = DetachedJws::parse(&text).unwrap();
        prop_assert!(jws.ce == ce);
        prop_assert_eq!(jws.audience.as_deref(), Some(audience.as_str()));
        prop_assert!(jws.verify(key().public(), &body));
    }

    #[test]
    fn the_header_is_the_json_that_serde_writes(ce in any_attributes(), audience in any::<String>()) {
        let written = write_event_header(key().public().thumbprint(), &audience, &ce);
        let read: serde_json::Value = serde_json::from_slice(&written).unwrap();
        prop_assert_eq!(read["aud"].as_str(), Some(audience.as_str()));
        prop_assert_eq!(read["ce"].as_object().unwrap().len(), ce.len());
        prop_assert!(read["ce"].as_object().unwrap().iter().all(|(n, v)| ce.get(n) == v.as_str()));
    }

    #[test]
    fn any_flipped_bit_fails(body in prop::collection::vec(any::<u8>(), 1..40), bit in any::<prop::sample::Index>()) {
        let text = key().sign_event("hub-nc", &attributes(), &body);
        let bit = bit.index((text.len() + body.len()) * 8);
        let (mut bytes, mut body) = (text.into_bytes(), body);
        match bit / 8 {
            at if at < bytes.len() => bytes[at] ^= 1 << (bit % 8),
            at => body[at - bytes.len()] ^= 1 << (bit % 8),
        }
        let Ok(text) = String::from_utf8(bytes) else { return Ok(()) };
        prop_assert!(!DetachedJws::parse(&text).is_ok_and(|jws| jws.verify(key().public(), &body)));
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in any::<String>()) {
        let _ = DetachedJws::parse(&text);
    }

    #[test]
    fn no_header_makes_the_parser_panic(header in any::<Vec<u8>>()) {
        let text = format!("{}..{}", encode_base64url(header), encode_base64url([7; 64]));
        let _ = DetachedJws::parse(&text);
    }

    #[test]
    fn no_header_like_text_makes_the_parser_panic(
        tokens in prop::collection::vec(prop::sample::select(vec![
            "{", "}", "[", "]", ",", ":", "\"alg\"", "\"EdDSA\"", "\"b64\"", "false", "\"crit\"", "\"kid\"",
            "\"ce\"", "\"aud\"", "\"x\"", "null", "1e999", "-", "\"\\ud800\"",
        ]), 0..40)
    ) {
        let _ = DetachedJws::parse(&with_header(&tokens.concat()));
        let _ = DetachedJws::parse(&with_header(&format!("{{{}}}", tokens.concat())));
    }
}
