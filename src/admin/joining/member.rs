//! The member's side of joining: its folder, and the request.

use super::{Invitation, JoinFault, JoinRequest, Request, read, time};
use crate::admin::credentials;
use crate::admin::prepare;
use crate::config::{BrokerLogin, BusSetting, ConnectConfig};
use crate::keys::{Jwk, Jwks};
use crate::seal::MasterKey;
use std::path::{Path, PathBuf};
use toml::Value;
use zeroize::Zeroizing;

/// What a member that asked to join has.
pub struct Joined {
    /// The request, to be sent to the hub's operator.
    pub request: String,
    /// The member's keys.
    pub keys: Jwks,
    /// The configuration with which `pirogue connect` runs.
    pub config: PathBuf,
    /// Whether the configuration was there before, and is left as it was.
    pub config_kept: bool,
}

/// Prepares `folder` for the member whom `invitation` invites, at `now` in
/// seconds since 1970: keys, the broker's password, the hub's keys, and
/// `connect.toml`. What is there is kept, but the hub's keys and the authority's
/// certificate, which are the invitation's.
pub fn join(invitation: &Invitation, folder: &Path, now: i64) -> Result<Joined, JoinFault> {
    let member = &invitation.member;
    if invitation.expires <= now {
        return Err(JoinFault::Expired { member: member.clone(), ended: time(invitation.expires) });
    }
    let config = folder.join("connect.toml");
    let config_kept = config.exists();
    if config_kept {
        let found = ConnectConfig::load(&config)?;
        if found.member != member.as_str() || found.hub != invitation.hub {
            return Err(JoinFault::OtherFolder { path: config, member: found.member, hub: found.hub });
        }
    }
    let own = prepare::member(folder)?;
    MasterKey::read_or_create(&folder.join("keys/id.secret"))?;
    // Where the members' keys are read from, to check a publisher's own signature.
    prepare::folder(&folder.join("members"))?;
    prepare::write(&folder.join("hub.jwks.json"), &invitation.keys.to_json())?;
    if let Some(ca) = &invitation.ca {
        prepare::write(&folder.join("ca.pem"), ca)?;
    }
    let by_password =
        matches!(invitation.bus, BusSetting::Amqp(_)) && invitation.login == BrokerLogin::Password;
    let password_hash =
        if by_password { Some(password(&folder.join("keys/broker.password"))?) } else { None };
    if !config_kept {
        prepare::write(&config, &configuration(invitation))?;
    }
    let keys = own.public(member);
    let request = Request::Join(JoinRequest {
        hub: invitation.hub.clone(),
        member: member.clone(),
        token: invitation.token.to_string(),
        made: now,
        password_hash,
        keys: keys.clone(),
    });
    Ok(Joined { request: request.sign(&[&own.event, &own.agreement])?, keys, config, config_kept })
}

/// The hash of the password in `path`; of a new one where there is none.
fn password(path: &Path) -> Result<String, JoinFault> {
    let new = Zeroizing::new(format!("{}\n", *credentials::new_password()?));
    prepare::secret(path, &new)?;
    let password = Zeroizing::new(read(path)?);
    Ok(credentials::hash_of(password.trim_end())?)
}

/// `connect.toml`, ready to run.
fn configuration(invitation: &Invitation) -> String {
    let Invitation { hub, member, .. } = invitation;
    let mut text = format!(
        "# {member}'s side of the exchange {hub}: `pirogue connect --config connect.toml` runs it.\n\
         # `pirogue config defaults connect` explains every key; connectors/README.md says how to read from a\n\
         # software, with a [[connector]] here.\n\n\
         member = \"{member}\"\nhub = \"{hub}\"\n"
    );
    if let BusSetting::Amqp(url) = &invitation.bus {
        text += &format!("bus = {}\n\n[broker]\n", Value::String(url.clone()));
        match invitation.login {
            BrokerLogin::Password => text += "password = { file = \"keys/broker.password\" }\n",
            BrokerLogin::Certificate => {
                text += &format!(
                    "login = \"certificate\"\n# Put them there: the certificate's CN is {member}.\n"
                );
                text += "certificate = \"tls/client.pem\"\nkey = \"tls/client.key\"\n";
            }
        }
        if invitation.ca.is_some() {
            text += "ca = \"ca.pem\"\n";
        }
    }
    text += "\n[inbox]\n# What the hub delivers goes to received/, and what it refuses of ours is told there too.\n\
             enabled = true\n";
    text
}

impl Joined {
    /// The member's keys, one after the other.
    pub fn keys(&self) -> impl Iterator<Item = &Jwk> {
        self.keys.keys.iter()
    }
}
