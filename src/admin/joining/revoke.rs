//! Revoking keys.

use super::{JoinFault, member_file, member_keys};
use crate::admin::prepare;
use crate::config::HubConfig;
use crate::event::MemberName;
use crate::keys::{Jwk, KeyUse};
use crate::members::Directory;

/// Which keys to revoke.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// The one with this identifier.
    Key(String),
    /// Every key of this member.
    AllOf(MemberName),
}

/// What was revoked.
pub struct Revoked {
    /// Whose keys.
    pub member: MemberName,
    /// Those that are revoked now and weren't before.
    pub keys: Vec<Jwk>,
    /// The uses for which the member has no key any more that isn't revoked.
    pub without: Vec<KeyUse>,
}

/// Revokes keys of a member of the hub of `config`, from `now` on, in seconds
/// since 1970. One that is revoked keeps its time.
///
/// Call it under [`lock`](super::lock()).
pub fn revoke(config: &HubConfig, what: &What, now: i64) -> Result<Revoked, JoinFault> {
    let member = match what {
        What::AllOf(member) => member.clone(),
        What::Key(kid) => {
            let directory = Directory::load(&config.members)?;
            directory.find(kid).ok_or_else(|| JoinFault::NoKey(kid.clone()))?.member.clone()
        }
    };
    let mut keys = member_keys(config, &member)?.ok_or_else(|| JoinFault::NoMember(member.clone()))?;
    let mut revoked = Vec::new();
    for key in &mut keys.keys {
        let is_meant = match what {
            What::AllOf(_) => true,
            What::Key(kid) => key.public.thumbprint().as_str() == kid,
        };
        if is_meant && key.revoked.is_none() {
            key.revoked = Some(now);
            revoked.push(key.clone());
        }
    }
    if !revoked.is_empty() {
        prepare::write(&member_file(config, &member), &keys.to_json())?;
    }
    let is_left =
        |key_use: &KeyUse| keys.keys.iter().any(|key| key.key_use == *key_use && key.revoked.is_none());
    let mut without = vec![KeyUse::Event, KeyUse::Agreement];
    without.retain(|key_use| !is_left(key_use));
    Ok(Revoked { member, keys: revoked, without })
}
