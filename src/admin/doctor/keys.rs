//! Keys: those of the hub, of a member, of all members.

use super::{DAY, Findings, Left, day, days, files, left};
use crate::config::{ConnectConfig, HubConfig};
use crate::hub;
use crate::keys::{Jwk, Jwks, KeyUse, PublicKey};
use crate::members::{Directory, GRACE_SECONDS, MemberKey, Standing};
use jiff::Timestamp;
use std::path::Path;

const PUBLISHED: &str = "the hub's public keys";
const MEMBERS: &str = "members' keys";
const EVENT_KEY: &str = "event key";

/// The hub's own keys, and the file of their public halves that members have.
/// Returns the one of the checkpoints, if it can be used.
pub(super) fn of_hub(
    config: &HubConfig,
    file: &Path,
    now: Timestamp,
    findings: &mut Findings,
) -> Option<PublicKey> {
    let keys = &config.keys;
    let delivery = files::private_key(
        "delivery key",
        &keys.delivery,
        keys.delivery_passphrase.as_ref(),
        "delivery",
        findings,
    );
    let checkpoint = files::private_key(
        "checkpoint key",
        &keys.checkpoint,
        keys.checkpoint_passphrase.as_ref(),
        "checkpoint",
        findings,
    );
    for (check, key) in [("delivery key", &delivery), ("checkpoint key", &checkpoint)] {
        if let Some(key) = key {
            findings.ok(check, format!("can be used: {}", key.public().thumbprint()));
        }
    }
    let is_store = config.data.join("HEAD").exists();
    files::master(
        "master key",
        &keys.master,
        "what the store holds can't be read without it",
        !is_store,
        findings,
    );
    let checkpoint = checkpoint?;
    let delivery = delivery.filter(|delivery| {
        let is_other = delivery.public() != checkpoint.public();
        if !is_other {
            findings.failed(
                "checkpoint key",
                "it is the delivery key: each key has one use",
                "make another for the checkpoints: `pirogue keys generate --use checkpoint --out FILE`",
            );
        }
        is_other
    });
    if let Some(delivery) = delivery {
        let own = hub::own_keys(&delivery, &checkpoint);
        published(&file.with_file_name("hub.jwks.json"), &own, now, findings);
    }
    Some(checkpoint.public().clone())
}

/// Whether `own` are in the file that goes to members.
fn published(path: &Path, own: &Jwks, now: Timestamp, findings: &mut Findings) {
    let shown = path.display();
    if !path.exists() {
        return findings.warning(
            PUBLISHED,
            format!("{shown} isn't there: it is what members check deliveries with"),
            format!(
                "put the JWK that `pirogue keys show KEYFILE --use delivery --member hub` prints, and that of the \
                 checkpoint key, into {shown}, and give it to members"
            ),
        );
    }
    let set = match std::fs::read_to_string(path).map_err(|error| error.to_string()) {
        Ok(text) => Jwks::parse(&text).map_err(|fault| fault.to_string()),
        Err(why) => Err(why),
    };
    let set = match set {
        Ok(set) => set,
        Err(why) => {
            return findings.failed(
                PUBLISHED,
                format!("{shown} can't be used: {why}"),
                "correct it, and give it to members again",
            );
        }
    };
    for key in &own.keys {
        let stands = set.find(key.public.thumbprint().as_str());
        let what = match stands {
            None => format!("the {} key isn't in {shown}", key.key_use),
            Some(found) if found.key_use != key.key_use => {
                format!("the {} key stands in {shown} as one for {}", key.key_use, found.key_use)
            }
            Some(found) if found.revoked.is_some() => {
                format!("the {} key stands in {shown} as revoked", key.key_use)
            }
            Some(found) if found.expires.is_some_and(|end| end <= now.as_second()) => {
                format!("the {} key stands in {shown} as ended", key.key_use)
            }
            Some(_) => continue,
        };
        return findings.failed(
            PUBLISHED,
            format!("{what}: members would refuse what it signs"),
            format!(
                "put the JWK that `pirogue keys show KEYFILE --use {} --member hub` prints into {shown}, and give \
                 it to members",
                key.key_use
            ),
        );
    }
    findings.ok(PUBLISHED, format!("{shown} has the delivery key and the checkpoint key"));
}

/// The members and their keys. None where the folder can't be used.
pub(super) fn members(folder: &Path, now: Timestamp, findings: &mut Findings) -> Option<Directory> {
    let directory = match Directory::load(folder) {
        Ok(directory) => directory,
        Err(fault) => {
            findings.failed(MEMBERS, fault.to_string(), "correct that file, or take it out of the folder");
            return None;
        }
    };
    let members: Vec<_> = directory.members().collect();
    if members.is_empty() {
        findings.warning(
            MEMBERS,
            format!("there is no member in {}", folder.display()),
            "put MEMBER.jwks.json there for each member, with its public keys",
        );
        return Some(directory);
    }
    let mut fine = 0;
    for member in &members {
        let keys: Vec<_> = directory.keys_of(member.as_str(), KeyUse::Event).collect();
        let lasting = lasting(&keys, now.as_second());
        let new_key = format!(
            "let {member} make a new event key (`pirogue keys generate --use event --member {member} --out FILE`) and \
             send its JWK: it goes beside the old one in {member}.jwks.json, then `pirogue reload`"
        );
        match lasting {
            Lasting::None => findings.warning(
                MEMBERS,
                format!("{member} has no event key that is valid now: its events are refused"),
                new_key,
            ),
            Lasting::Grace(end) => findings.warning(
                MEMBERS,
                format!(
                    "the event key of {member} ended on {}: its events are refused from {} on",
                    day(end),
                    day(end + GRACE_SECONDS)
                ),
                new_key,
            ),
            Lasting::Until(end) if matches!(left(end, now.as_second()), Left::Soon) => findings.warning(
                MEMBERS,
                format!("the event key of {member} ends on {}, in {}", day(end), days(end - now.as_second())),
                new_key,
            ),
            Lasting::Until(_) | Lasting::Ever => fine += 1,
        }
        let agreement = directory.keys_of(member.as_str(), KeyUse::Agreement);
        if agreement.filter(|key| key.revoked.is_none()).count() == 0 {
            findings.warning(
                MEMBERS,
                format!("{member} has no agreement key: none of its agreements is in force"),
                format!("add the JWK of its agreement key to {member}.jwks.json, then `pirogue reload`"),
            );
        }
    }
    if fine == members.len() {
        let each = if fine == 1 { "1 member, with".to_owned() } else { format!("{fine} members, each with") };
        findings.ok(MEMBERS, format!("{each} an event key that is valid for more than 30 days"));
    }
    Some(directory)
}

/// How long a member can still sign events.
enum Lasting {
    /// It can't.
    None,
    /// Its last key ended then, and what it signed is still taken for some days.
    Grace(i64),
    /// Until then.
    Until(i64),
    /// Without an end.
    Ever,
}

fn lasting(keys: &[&MemberKey], now: i64) -> Lasting {
    let valid: Vec<_> = keys.iter().filter(|key| key.event_standing(now) == Standing::Valid).collect();
    if valid.is_empty() {
        return Lasting::None;
    }
    if valid.iter().any(|key| key.expires.is_none()) {
        return Lasting::Ever;
    }
    match valid.iter().filter_map(|key| key.expires).max() {
        Some(end) if end <= now => Lasting::Grace(end),
        Some(end) => Lasting::Until(end),
        None => Lasting::Ever,
    }
}

/// A member's own keys, and those of the hub that it trusts.
pub(super) fn of_member(config: &ConnectConfig, now: Timestamp, findings: &mut Findings) {
    let keys = &config.keys;
    let event = files::private_key(EVENT_KEY, &keys.event, keys.event_passphrase.as_ref(), "event", findings);
    // A secret that is made anew gives every event another id, which is sent twice.
    let is_store = config.data.join("HEAD").exists();
    let why = "with another, every event would get another id and be sent again, and what was set aside can't be read";
    let is_needed = is_store && (!config.connectors.is_empty() || config.data.join("set-aside").exists());
    files::master("id secret", &config.id_secret, why, !is_needed, findings);
    let directory = match Directory::load(&config.members) {
        Ok(directory) => Some(directory),
        Err(fault) => {
            findings.failed(
                MEMBERS,
                fault.to_string(),
                format!(
                    "ask the hub's operator for the members' public keys, and put them into {}",
                    config.members.display()
                ),
            );
            None
        }
    };
    if let Some(event) = event {
        let kid = event.public().thumbprint();
        match directory.as_ref().filter(|directory| directory.contains(&config.member)) {
            None => findings.ok(
                EVENT_KEY,
                format!(
                    "can be used: {kid}; what the hub knows of it can't be seen here, since {} has no {}.jwks.json",
                    config.members.display(),
                    config.member
                ),
            ),
            Some(directory) => own_key(config, directory.find(kid.as_str()), kid.as_str(), now, findings),
        }
    }
    trusted(config, directory.as_ref(), now, findings);
}

/// What the hub says of this member's event key, as far as the member has it.
fn own_key(
    config: &ConnectConfig,
    found: Option<&MemberKey>,
    kid: &str,
    now: Timestamp,
    findings: &mut Findings,
) {
    let member = &config.member;
    let set = config.members.join(format!("{member}.jwks.json"));
    let another = format!(
        "make a new one (`pirogue keys generate --use event --member {member} --out FILE`), send its JWK to the hub's \
         operator, and set keys.event to it"
    );
    let seconds = now.as_second();
    let Some(found) = found else {
        return findings.failed(
            EVENT_KEY,
            format!("{kid} isn't in {}: the hub would refuse its events as unknown-key", set.display()),
            format!(
                "send what `pirogue keys show {} --use event --member {member}` prints to the hub's operator; if the \
                 hub has it, get its newer {member}.jwks.json",
                config.keys.event.display()
            ),
        );
    };
    if found.member.as_str() != member {
        return findings.failed(
            EVENT_KEY,
            format!("it is the key of {}, not of {member}", found.member),
            another,
        );
    }
    match found.event_standing(seconds) {
        Standing::OtherUse => findings.failed(
            EVENT_KEY,
            format!("it is published for {}, and not for events", found.key_use),
            "set keys.event to the file of the event key",
        ),
        Standing::Revoked => findings.failed(EVENT_KEY, "it is revoked: the hub refuses its events", another),
        Standing::NotYet => findings.failed(
            EVENT_KEY,
            format!("it isn't valid before {}", found.not_before.map(day).unwrap_or_default()),
            "sign with the key before it until then: set keys.event to its file",
        ),
        Standing::Ended => findings.failed(
            EVENT_KEY,
            format!("it ended on {}: the hub refuses its events", found.expires.map(day).unwrap_or_default()),
            another,
        ),
        Standing::Valid => match found.expires {
            None => findings.ok(EVENT_KEY, format!("can be used, without an end: {kid}")),
            Some(end) => match left(end, seconds) {
                Left::Over => findings.failed(
                    EVENT_KEY,
                    format!(
                        "it ended on {}: the hub takes its events until {} only",
                        day(end),
                        day(end + GRACE_SECONDS)
                    ),
                    another,
                ),
                Left::Soon => findings.warning(
                    EVENT_KEY,
                    format!("it ends on {}, in {}", day(end), days(end - seconds)),
                    another,
                ),
                Left::Long => findings.ok(
                    EVENT_KEY,
                    format!("can be used until {}, for {} days: {kid}", day(end), (end - seconds) / DAY),
                ),
            },
        },
    }
}

/// The hub's keys as this member has them.
fn trusted(config: &ConnectConfig, members: Option<&Directory>, now: Timestamp, findings: &mut Findings) {
    let shown = config.hub_keys.display();
    let ask =
        format!("ask the hub's operator for hub.jwks.json, by a way that you trust, and put it at {shown}");
    let set = std::fs::read_to_string(&config.hub_keys).map_err(|error| error.to_string());
    let set = match set.and_then(|text| Jwks::parse(&text).map_err(|fault| fault.to_string())) {
        Ok(set) => set,
        Err(why) => return findings.failed(PUBLISHED, format!("{shown} can't be used: {why}"), ask),
    };
    let counts = |key: &&Jwk| key.key_use == KeyUse::Delivery && key.revoked.is_none();
    let delivery: Vec<_> = set.keys.iter().filter(counts).collect();
    let ends = delivery.iter().map(|key| key.expires.unwrap_or(i64::MAX)).max();
    let seconds = now.as_second();
    match ends {
        None => {
            findings.failed(PUBLISHED, format!("{shown} has no delivery key: nothing could be received"), ask)
        }
        Some(end) if end <= seconds => {
            findings.warning(PUBLISHED, format!("the delivery key in {shown} ended on {}", day(end)), ask);
        }
        Some(end) if end < i64::MAX && matches!(left(end, seconds), Left::Soon) => {
            findings.warning(PUBLISHED, format!("the delivery key in {shown} ends on {}", day(end)), ask);
        }
        Some(_) => match members.and_then(|members| {
            delivery.iter().find_map(|key| members.find(key.public.thumbprint().as_str()))
        }) {
            Some(key) => findings.failed(
                PUBLISHED,
                format!(
                    "a delivery key in {shown} is also a key of {}: nothing it signs is accepted",
                    key.member
                ),
                ask,
            ),
            None => findings.ok(PUBLISHED, format!("{shown} has a delivery key")),
        },
    }
}
