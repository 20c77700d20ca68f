//! Invitations: what the hub's side hands to one who is to join.

use super::{JoinFault, invitations_folder, member_keys, read, seconds, time};
use crate::admin::credentials::random_text;
use crate::admin::prepare;
use crate::bus::{EVENTS, amqp, queue_of};
use crate::config::{BrokerLogin, BusSetting, HubConfig};
use crate::event::MemberName;
use crate::keys::Jwks;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::io::ErrorKind;
use std::path::Path;
use toml::Value;
use zeroize::Zeroizing;

/// How long an invitation is open, in days.
pub const INVITATION_DAYS: i64 = 14;

/// What a hub hands to one who is to join: where it is, its keys, and a token
/// that works once.
pub struct Invitation {
    /// The hub's name.
    pub hub: String,
    /// The name that the member is to have.
    pub member: MemberName,
    /// Ties the request to the invitation.
    pub token: Zeroizing<String>,
    /// When it ends, in seconds since 1970.
    pub expires: i64,
    /// Where the broker is for members.
    pub bus: BusSetting,
    /// How members log in there.
    pub login: BrokerLogin,
    /// The certificates of the authorities that may have signed the broker's.
    pub ca: Option<String>,
    /// Where the schemas are served.
    pub schemas: Option<String>,
    /// The hub's public keys.
    pub keys: Jwks,
}

/// An invitation as the hub remembers it: not the token, but its SHA-256.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Remembered {
    pub(super) member: MemberName,
    token_sha256: String,
    pub(super) expires: i64,
}

/// Until when the invitation of `member` holds that another one would end, in
/// seconds since 1970; none where it has none at `now`.
pub fn invited_until(config: &HubConfig, member: &MemberName, now: i64) -> Result<Option<i64>, JoinFault> {
    let known = Remembered::of(config, member)?;
    Ok(known.map(|known| known.expires).filter(|expires| *expires > now))
}

/// Invites `member`, at `now` in seconds since 1970: the hub remembers it, in
/// place of an earlier invitation. Fails where it is a member already.
///
/// Call it under [`lock`](super::lock()).
pub fn invite(config: &HubConfig, member: &MemberName, now: i64) -> Result<Invitation, JoinFault> {
    if member_keys(config, member)?.is_some() {
        return Err(JoinFault::MemberAlready(member.clone()));
    }
    let keys = crate::hub::published_keys(config)?;
    let bus = for_members(&config.bus, config.broker.advertise.as_deref());
    let ca = config.broker.ca.as_deref().map(certificates).transpose()?;
    if ca.is_none() && matches!(&bus, BusSetting::Amqp(url) if url.starts_with("amqps://")) {
        return Err(JoinFault::NoAuthority);
    }
    let invitation = Invitation {
        hub: config.name.clone(),
        member: member.clone(),
        token: random_text(32).map_err(JoinFault::Random)?,
        expires: now + INVITATION_DAYS * 86_400,
        bus,
        login: config.broker.login,
        ca,
        schemas: config.http.enabled.then(|| format!("http://{}/schemas", config.http.listen)),
        keys,
    };
    let remembered = Remembered {
        member: member.clone(),
        token_sha256: hash(&invitation.token),
        expires: invitation.expires,
    };
    let text = serde_json::json!(remembered);
    prepare::write_private(&file(config, member), &format!("{text:#}\n"))?;
    Ok(invitation)
}

/// The file in which the hub remembers the invitation of `member`.
pub(super) fn file(config: &HubConfig, member: &MemberName) -> std::path::PathBuf {
    invitations_folder(config).join(format!("{member}.json"))
}

impl Remembered {
    /// The invitation of `member`, if there is one.
    pub(super) fn of(config: &HubConfig, member: &MemberName) -> Result<Option<Remembered>, JoinFault> {
        let path = file(config, member);
        match read(&path) {
            Ok(text) => match serde_json::from_str(&text) {
                Ok(remembered) => Ok(Some(remembered)),
                // Someone wrote into it: an invitation that can't be told isn't one.
                Err(_) => Ok(None),
            },
            Err(JoinFault::Read { source, .. }) if source.kind() == ErrorKind::NotFound => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    /// Whether `token` is its token. Both are hashed: how long the comparison
    /// takes says nothing about the token.
    pub(super) fn is_tied_to(&self, token: &str) -> bool {
        self.token_sha256 == hash(token)
    }
}

fn hash(token: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(token))
}

/// Where members find the broker: the URL without a user, and with the virtual
/// host of the hub's where `advertise` names none.
fn for_members(bus: &BusSetting, advertise: Option<&str>) -> BusSetting {
    let BusSetting::Amqp(own) = bus else { return BusSetting::Embedded };
    let split = |url: &str| -> Option<(String, String, String)> {
        let (scheme, rest) = url.split_once("://")?;
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        Some((scheme.to_owned(), host.to_owned(), path.to_owned()))
    };
    let (Some(own), advertised) = (split(own), advertise.and_then(split)) else { return bus.clone() };
    let (scheme, host, path) = advertised.unwrap_or_else(|| own.clone());
    let path = if path.is_empty() { own.2 } else { path };
    let slash = if path.is_empty() { "" } else { "/" };
    BusSetting::Amqp(format!("{scheme}://{host}{slash}{path}"))
}

/// The certificates in a PEM file, and nothing else of it: a key that lies there
/// by mistake isn't handed out.
fn certificates(path: &Path) -> Result<String, JoinFault> {
    let text = read(path)?;
    let (mut kept, mut within) = (String::new(), false);
    for line in text.lines().map(str::trim_end) {
        within |= line == "-----BEGIN CERTIFICATE-----";
        if within {
            kept.push_str(line);
            kept.push('\n');
        }
        within &= line != "-----END CERTIFICATE-----";
    }
    let is_pem = |c: char| c.is_ascii_alphanumeric() || "+/=- \n".contains(c);
    if kept.is_empty() || within || !kept.chars().all(is_pem) {
        return Err(JoinFault::NotACertificate(path.to_owned()));
    }
    Ok(kept)
}

/// What stands in the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    hub: String,
    member: String,
    token: String,
    expires: String,
    bus: String,
    login: String,
    // What a client of another maker needs of WIRE.md section 7.
    #[serde(rename = "vhost")]
    _vhost: Option<String>,
    #[serde(rename = "exchange")]
    _exchange: String,
    #[serde(rename = "queue")]
    _queue: String,
    schemas: Option<String>,
    ca: Option<String>,
    hub_keys: String,
}

impl Invitation {
    /// The invitation as a file for people and programs, TOML.
    pub fn render(&self) -> Zeroizing<String> {
        let quoted = |text: &str| Value::String(text.to_owned()).to_string();
        let Invitation { hub, member, .. } = self;
        let mut text = format!(
            "# An invitation to take part in the exchange {hub}, as {member}.\n\
             #\n\
             # On {member}'s side, where its software is:\n\
             #   pirogue member join THIS-FILE --dir {member} --out {member}.request\n\
             # and send {member}.request back to whoever sent this.\n\
             #\n\
             # The token works once. Keep this file to yourself until you have joined.\n\n\
             hub = {}\nmember = {}\ntoken = {}\nexpires = {}\n\n",
            quoted(hub),
            quoted(member.as_str()),
            quoted(&self.token),
            quoted(&time(self.expires)),
        );
        let url = String::from(self.bus.clone());
        text += "# Where the broker is, and how to log in there: as the member, by the password of which the\n\
                 # request carries the hash, or by certificate.\n";
        text += &format!("bus = {}\nlogin = {}\n", quoted(&url), quoted(self.login.as_str()));
        if let Ok(vhost) = amqp::vhost_of(&url)
            && matches!(self.bus, BusSetting::Amqp(_))
        {
            text += &format!("vhost = {}\n", quoted(&vhost));
        }
        text += "# Events are published to this exchange by the routing key MEMBER.TYPE; deliveries come from this\n\
                 # queue (WIRE.md section 7).\n";
        text += &format!("exchange = {}\nqueue = {}\n", quoted(EVENTS), quoted(&queue_of(member)));
        if let Some(schemas) = &self.schemas {
            text += "# The hub serves the schemas at /TYPE/VERSION below this, as its own machine reaches it. They\n\
                     # also come by the queue.\n";
            text += &format!("schemas = {}\n", quoted(schemas));
        }
        if let Some(ca) = &self.ca {
            text += "\n# The authorities that may have signed the broker's certificate.\n";
            text += &format!("ca = '''\n{ca}'''\n");
        }
        text += "\n# The hub's public keys: what it delivers is signed by the one for delivery.\n";
        text += &format!("hub_keys = '''\n{}'''\n", self.keys.to_json());
        Zeroizing::new(text)
    }

    /// Reads an invitation's file.
    pub fn read(path: &Path) -> Result<Invitation, JoinFault> {
        Invitation::parse(&Zeroizing::new(read(path)?))
    }

    /// Reads an invitation. Fails with a sentence that names what is wrong, and
    /// never repeats the token.
    pub fn parse(text: &str) -> Result<Invitation, JoinFault> {
        let wrong = |what: &str| JoinFault::NotAnInvitation(what.to_owned());
        // The parser's own sentence would show the line.
        let wire: Wire = toml::from_str(text).map_err(|fault| {
            let line = fault.span().map_or(1, |span| text[..span.start].lines().count().max(1));
            JoinFault::NotAnInvitation(format!(
                "it isn't one as pirogue member invite writes it, near line {line}"
            ))
        })?;
        let member = MemberName::parse(&wire.member).map_err(|_| wrong("member isn't a member's name"))?;
        // A hub's name has the form of a member's, and may be `hub`.
        let is_hub = wire.hub == "hub" || MemberName::parse(&wire.hub).is_ok();
        let bus = BusSetting::try_from(wire.bus)
            .map_err(|_| wrong("bus isn't the URL of RabbitMQ, or embedded"))?;
        let keys = Jwks::parse(&wire.hub_keys)
            .map_err(|fault| JoinFault::NotAnInvitation(format!("hub_keys: {fault}")))?;
        if !is_hub {
            return Err(wrong("hub isn't a hub's name"));
        }
        if keys.keys.is_empty() || keys.keys.iter().any(|key| !key.key_use.is_hub()) {
            return Err(wrong("hub_keys aren't the keys of a hub"));
        }
        Ok(Invitation {
            hub: wire.hub,
            member,
            token: Zeroizing::new(wire.token),
            expires: seconds(&wire.expires).ok_or_else(|| wrong("expires isn't a time"))?,
            bus,
            login: BrokerLogin::try_from(wire.login)
                .map_err(|_| wrong("login is password or certificate"))?,
            ca: wire.ca,
            schemas: wire.schemas,
            keys,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_told_the_broker_without_the_hubs_user() {
        let own = BusSetting::Amqp("amqp://hub@10.0.0.1:5673/pays".to_owned());
        for (advertise, expected) in [
            (None, "amqp://10.0.0.1:5673/pays"),
            (Some("amqps://exchange.nc"), "amqps://exchange.nc/pays"),
            (Some("amqps://exchange.nc:5671/autre"), "amqps://exchange.nc:5671/autre"),
        ] {
            assert_eq!(String::from(for_members(&own, advertise)), expected);
        }
        let bare = BusSetting::Amqp("amqp://h".to_owned());
        assert_eq!(String::from(for_members(&bare, None)), "amqp://h");
        assert_eq!(for_members(&BusSetting::Embedded, None), BusSetting::Embedded);
    }

    #[test]
    fn of_the_authoritys_file_only_certificates_are_handed_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        let block = |what: &str| format!("-----BEGIN {what}-----\nTUlJ\n-----END {what}-----\n");
        let certificate = block("CERTIFICATE");
        let text = format!("A note\n{certificate}{}{certificate}", block("PRIVATE KEY"));
        std::fs::write(&path, text).unwrap();
        assert_eq!(certificates(&path).unwrap(), certificate.repeat(2));
        for text in ["", &block("PRIVATE KEY"), "-----BEGIN CERTIFICATE-----\nTUlJ\n"] {
            std::fs::write(&path, text).unwrap();
            assert!(matches!(certificates(&path), Err(JoinFault::NotACertificate(_))), "{text}");
        }
    }
}
