//! Published keys: JWK and JWK sets (RFC 7517, RFC 8037; WIRE.md section 4).

use super::{JwkFault, KeyUse, PublicKey, decode_base64url_exactly, encode_base64url};
use crate::event::MemberName;
use serde::de::IgnoredAny;

/// The longest key set that is read, in bytes.
const MAX_SET_BYTES: usize = 1024 * 1024;

/// One published key, as WIRE.md section 4 gives it. Times are in seconds since
/// 1970 (UTC), as in RFC 7519 section 2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Jwk {
    /// The key.
    pub public: PublicKey,
    /// What it is for (`pirogue_use`).
    pub key_use: KeyUse,
    /// Whose it is (`pirogue_member`): a member's name, or `hub`.
    pub member: Option<String>,
    /// From when it is valid (`nbf`).
    pub not_before: Option<i64>,
    /// From when it isn't any more (`exp`).
    pub expires: Option<i64>,
    /// When it was revoked. Whatever the time: a revoked key is never valid.
    pub revoked: Option<i64>,
}

/// A set of published keys: a file `MEMBER.jwks.json`, or the hub's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Jwks {
    /// The keys, in the order of the file.
    pub keys: Vec<Jwk>,
}

impl Jwk {
    /// The key for this use, of `member` (a member's name, or `hub`), without
    /// limits in time.
    pub fn new(public: PublicKey, key_use: KeyUse, member: Option<String>) -> Jwk {
        Jwk { public, key_use, member, not_before: None, expires: None, revoked: None }
    }

    /// The JWK as JSON, its members in the order of WIRE.md section 4.
    pub fn to_json(&self) -> serde_json::Value {
        let mut json = serde_json::json!({
            "kty": "OKP",
            "crv": "Ed25519",
            "x": encode_base64url(self.public.bytes()),
            "kid": self.public.thumbprint().as_str(),
            "use": "sig",
            "pirogue_use": self.key_use.as_str(),
        });
        if let Some(member) = &self.member {
            json["pirogue_member"] = member.as_str().into();
        }
        for (name, time) in [("nbf", self.not_before), ("exp", self.expires), ("revoked", self.revoked)] {
            if let Some(time) = time {
                json[name] = time.into();
            }
        }
        json
    }

    /// `wire` as key number `position` of its set, checked.
    fn read(wire: WireJwk, position: usize) -> Result<Jwk, JwkFault> {
        let wrong = |member, expected| JwkFault::Member { position, member, expected };
        if wire.d.is_some() {
            return Err(JwkFault::Private { position });
        }
        if wire.kty != "OKP" {
            return Err(wrong("kty", "has to be OKP"));
        }
        if wire.crv != "Ed25519" {
            return Err(wrong("crv", "has to be Ed25519"));
        }
        if wire.r#use != "sig" {
            return Err(wrong("use", "has to be sig"));
        }
        let public = decode_base64url_exactly(&wire.x)
            .and_then(|bytes| PublicKey::from_bytes(&bytes).ok())
            .ok_or_else(|| wrong("x", "isn't an Ed25519 public key in base64url without padding"))?;
        if wire.kid != public.thumbprint().as_str() {
            return Err(wrong("kid", "isn't the key's thumbprint: `pirogue keys show` prints it"));
        }
        let key_use = wire.pirogue_use.parse();
        let key_use =
            key_use.map_err(|_| wrong("pirogue_use", "is one of event, agreement, delivery, checkpoint"))?;
        if wire.pirogue_member.as_deref().is_some_and(|m| m != "hub" && MemberName::parse(m).is_err()) {
            return Err(wrong("pirogue_member", "is a member's name, or hub"));
        }
        if let (Some(from), Some(to)) = (wire.nbf, wire.exp)
            && to <= from
        {
            return Err(wrong("exp", "has to be later than `nbf`"));
        }
        Ok(Jwk {
            public,
            key_use,
            member: wire.pirogue_member,
            not_before: wire.nbf,
            expires: wire.exp,
            revoked: wire.revoked,
        })
    }
}

impl Jwks {
    /// Reads a JWK set, strictly: only the members of WIRE.md section 4, each
    /// once, since a misspelt `revoked` would leave a key valid.
    ///
    /// Fails with a sentence that names the key of the set and the member: a
    /// private key (`d`), another `kty` or `crv`, a `kid` that isn't the
    /// thumbprint, an unknown use. A set over 1 MiB is refused.
    pub fn parse(text: &str) -> Result<Jwks, JwkFault> {
        if text.len() > MAX_SET_BYTES {
            return Err(JwkFault::TooLarge);
        }
        let set: WireSet = serde_json::from_str(text).map_err(|e| JwkFault::NotAKeySet(e.to_string()))?;
        let keys = set.keys.into_iter().enumerate().map(|(at, key)| Jwk::read(key, at + 1));
        Ok(Jwks { keys: keys.collect::<Result<_, _>>()? })
    }

    /// The set as JSON for people: indented, with a newline at its end.
    pub fn to_json(&self) -> String {
        let keys: Vec<_> = self.keys.iter().map(Jwk::to_json).collect();
        format!("{:#}\n", serde_json::json!({ "keys": keys }))
    }

    /// The key whose identifier is `kid`.
    pub fn find(&self, kid: &str) -> Option<&Jwk> {
        self.keys.iter().find(|key| key.public.thumbprint().as_str() == kid)
    }
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct WireSet {
    keys: Vec<WireJwk>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct WireJwk {
    kty: String,
    crv: String,
    x: String,
    kid: String,
    r#use: String,
    pirogue_use: String,
    pirogue_member: Option<String>,
    nbf: Option<i64>,
    exp: Option<i64>,
    revoked: Option<i64>,
    /// The private half. Its value is skipped, not read.
    d: Option<IgnoredAny>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::PrivateKey;
    use crate::keys::public::tests::{RFC8037_D, RFC8037_X, rfc8037};
    use proptest::prelude::*;
    use serde_json::json;

    fn good() -> serde_json::Value {
        Jwk::new(rfc8037().public().clone(), KeyUse::Event, Some("province-sud".to_owned())).to_json()
    }

    fn parse(key: &serde_json::Value) -> Result<Jwks, JwkFault> {
        Jwks::parse(&json!({ "keys": [key] }).to_string())
    }

    #[test]
    fn a_key_is_published_as_wire_section_4_shows() {
        let mut key = Jwk::new(rfc8037().public().clone(), KeyUse::Delivery, Some("hub".to_owned()));
        (key.not_before, key.expires, key.revoked) = (Some(1), Some(2), Some(3));
        assert_eq!(
            key.to_json().to_string(),
            format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{RFC8037_X}","#,)
                + r#""kid":"kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k","use":"sig","pirogue_use":"delivery","#
                + r#""pirogue_member":"hub","nbf":1,"exp":2,"revoked":3}"#
        );
    }

    #[test]
    fn each_unusable_key_is_refused_with_the_member_that_is_wrong() {
        assert!(parse(&good()).is_ok());
        for (member, value) in [
            ("kty", json!("EC")),
            ("crv", json!("X25519")),
            ("use", json!("enc")),
            ("x", json!("AAAA")),
            ("x", json!(format!("{RFC8037_X}="))),
            ("x", json!("AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")),
            ("kid", json!("2011-04-29")),
            ("pirogue_use", json!("Event")),
            ("pirogue_member", json!("Province Sud")),
        ] {
            let mut key = good();
            key[member] = value;
            match parse(&key) {
                Err(JwkFault::Member { position: 1, member: named, .. }) => assert_eq!(named, member),
                other => panic!("{member}: {other:?}"),
            }
        }
        let mut key = good();
        (key["nbf"], key["exp"]) = (json!(5), json!(5));
        assert!(matches!(parse(&key), Err(JwkFault::Member { member: "exp", .. })));
    }

    #[test]
    fn a_private_key_is_refused_and_not_repeated() {
        let mut key = good();
        key["d"] = json!(RFC8037_D);
        let fault = parse(&key).unwrap_err();
        assert_eq!(fault, JwkFault::Private { position: 1 });
        assert!(!fault.to_string().contains(RFC8037_D));
    }

    #[test]
    fn members_that_are_unknown_twice_or_missing_are_refused() {
        for (name, value) in [("alg", json!("EdDSA")), ("revokd", json!(1))] {
            let mut key = good();
            key[name] = value;
            assert!(parse(&key).unwrap_err().to_string().contains(name));
        }
        for name in ["kty", "crv", "x", "kid", "use", "pirogue_use"] {
            let mut key = good();
            key.as_object_mut().unwrap().remove(name);
            assert!(parse(&key).unwrap_err().to_string().contains(name), "{name}");
        }
        let twice = format!(r#"{{"keys":[{}]}}"#, good().to_string().replace("{", r#"{"kty":"OKP","#));
        assert!(matches!(Jwks::parse(&twice), Err(JwkFault::NotAKeySet(_))));
        for text in ["", "[]", "{}", r#"{"keys":[],"more":1}"#, r#"{"keys":[]} x"#] {
            assert!(matches!(Jwks::parse(text), Err(JwkFault::NotAKeySet(_))), "{text}");
        }
        assert_eq!(Jwks::parse(&" ".repeat(MAX_SET_BYTES + 1)), Err(JwkFault::TooLarge));
    }

    proptest! {
        #[test]
        fn a_set_reads_back_as_it_was_written(
            keys in prop::collection::vec((any::<[u8; 32]>(), 0..4usize, prop::option::of(0..1000i64),
                prop::option::of(1000..2000i64), prop::option::of(any::<i64>()), any::<bool>()), 0..4)
        ) {
            let keys: Vec<_> = keys.into_iter().map(|(seed, at, not_before, expires, revoked, hub)| Jwk {
                public: PrivateKey::from_seed(&seed).public().clone(),
                key_use: KeyUse::ALL[at],
                member: Some(if hub { "hub" } else { "province-sud" }.to_owned()),
                not_before, expires, revoked,
            }).collect();
            let set = Jwks { keys };
            let read = Jwks::parse(&set.to_json()).unwrap();
            for key in &set.keys {
                prop_assert!(read.find(key.public.thumbprint().as_str()).is_some());
            }
            prop_assert_eq!(read, set);
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in any::<String>()) {
            let _ = Jwks::parse(&text);
        }
    }
}
