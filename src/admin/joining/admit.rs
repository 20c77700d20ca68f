//! The hub's side: a request is checked, and what it asks for is written.

use super::invitation::{self, Remembered};
use super::{JoinFault, JoinRequest, Request, RotationRequest, member_file, member_keys, time};
use crate::admin::credentials;
use crate::admin::prepare;
use crate::config::{BrokerLogin, BusSetting, HubConfig};
use crate::event::MemberName;
use crate::keys::note::SignedNote;
use crate::keys::{Jwk, Jwks};
use crate::members::Directory;

/// A request older than this isn't taken, in seconds: 14 days, as long as an
/// invitation is open.
const MAX_AGE: i64 = invitation::INVITATION_DAYS * 86_400;

/// How far ahead the clock of who made a request may be, in seconds.
const AHEAD: i64 = 300;

/// A request that may be admitted.
pub struct Checked {
    request: Request,
    /// The member's keys as they are to be; none where all is done already.
    keys: Option<Jwks>,
}

/// Checks the request in `text` by the invitations, the members and the keys of
/// the hub of `config`, at `now` in seconds since 1970. Nothing is written.
///
/// Call it under [`lock`](super::lock()).
pub fn check(config: &HubConfig, text: &str, now: i64) -> Result<Checked, JoinFault> {
    let (request, signed) = Request::parse(text)?;
    if request.hub() != config.name {
        return Err(JoinFault::OtherHub { found: request.hub().to_owned(), hub: config.name.clone() });
    }
    let known = member_keys(config, request.member())?;
    let keys = match &request {
        Request::Join(join) => joining(config, join, known, now)?,
        Request::Rotation(rotation) => rotated(rotation, &signed, known, now)?,
    };
    if keys.is_some() {
        not_taken(config, &request)?;
    }
    Ok(Checked { request, keys })
}

/// The keys of a member that joins; none where it did already.
fn joining(
    config: &HubConfig,
    join: &JoinRequest,
    known: Option<Jwks>,
    now: i64,
) -> Result<Option<Jwks>, JoinFault> {
    if let Some(known) = known {
        let has = |key: &Jwk| known.keys.iter().any(|k| k.public == key.public && k.key_use == key.key_use);
        return match join.keys.keys.iter().all(has) {
            true => Ok(None),
            false => Err(JoinFault::MemberAlready(join.member.clone())),
        };
    }
    let Some(invitation) = Remembered::of(config, &join.member)? else {
        return Err(JoinFault::NotInvited(join.member.clone()));
    };
    if invitation.member != join.member || !invitation.is_tied_to(&join.token) {
        return Err(JoinFault::WrongToken(join.member.clone()));
    }
    if invitation.expires <= now {
        return Err(JoinFault::Expired { member: join.member.clone(), ended: time(invitation.expires) });
    }
    let by_password = config.bus != BusSetting::Embedded && config.broker.login == BrokerLogin::Password;
    if by_password && join.password_hash.is_none() {
        return Err(JoinFault::NoPasswordHash(join.member.clone()));
    }
    Ok(Some(join.keys.clone()))
}

/// The keys of a member after the rotation; none where it was done already.
fn rotated(
    rotation: &RotationRequest,
    signed: &SignedNote,
    known: Option<Jwks>,
    now: i64,
) -> Result<Option<Jwks>, JoinFault> {
    let member = &rotation.member;
    let Some(mut keys) = known else { return Err(JoinFault::NoMember(member.clone())) };
    let fault = |why| JoinFault::OldKey { member: member.clone(), kid: rotation.old.clone(), why };
    let found = |kid: &str| keys.keys.iter().position(|key| key.public.thumbprint().as_str() == kid);
    let Some(old) = found(&rotation.old) else { return Err(fault("the hub doesn't know it")) };
    if !signed.verified_by(member.as_str(), &keys.keys[old].public) {
        return Err(JoinFault::NotSignedByOld(keys.keys[old].public.thumbprint().clone()));
    }
    let new = rotation.new.public.thumbprint();
    if let Some(at) = found(new.as_str()) {
        return match (keys.keys[at].revoked, keys.keys[at].key_use == rotation.new.key_use) {
            (Some(_), _) => Err(JoinFault::Revoked(new.clone())),
            (None, true) if at != old => Ok(None),
            _ => Err(JoinFault::KeyTaken { kid: new.clone(), owner: member.to_string() }),
        };
    }
    let stale = |how| JoinFault::Stale { made: time(rotation.made), how };
    if rotation.made > now.saturating_add(AHEAD) {
        return Err(stale("in the future"));
    }
    if rotation.made < now - MAX_AGE {
        return Err(stale("more than 14 days ago"));
    }
    let key = &mut keys.keys[old];
    if key.key_use != rotation.new.key_use {
        return Err(fault("the new one is for another use"));
    }
    if key.revoked.is_some() {
        return Err(fault("it is revoked"));
    }
    if key.expires.is_some_and(|end| end <= now) {
        return Err(fault("it ended"));
    }
    if key.not_before.is_some_and(|from| now < from) {
        return Err(fault("it isn't valid yet"));
    }
    let end = now + i64::from(rotation.overlap_days) * 86_400;
    key.expires = Some(key.expires.map_or(end, |before| before.min(end)));
    keys.keys.push(rotation.new.clone());
    Ok(Some(keys))
}

/// Nobody else has a key of the request, the hub neither: with such a key the
/// hub's next reload would fail.
fn not_taken(config: &HubConfig, request: &Request) -> Result<(), JoinFault> {
    let directory = Directory::load(&config.members)?;
    let own = crate::hub::published_keys(config)?;
    for key in request.keys() {
        let kid = key.public.thumbprint();
        let owner = match (directory.find(kid.as_str()), own.find(kid.as_str())) {
            (Some(taken), _) => taken.member.to_string(),
            (None, Some(_)) => "the hub".to_owned(),
            (None, None) => continue,
        };
        return Err(JoinFault::KeyTaken { kid: kid.clone(), owner });
    }
    Ok(())
}

impl Checked {
    /// What is asked for.
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// Who asks.
    pub fn member(&self) -> &MemberName {
        self.request.member()
    }

    /// Whether it is admitted already, so that nothing changes.
    pub fn is_admitted(&self) -> bool {
        self.keys.is_none()
    }

    /// Keeps the hash of the broker's password, for [`Plan`]: before the broker
    /// is set up.
    ///
    /// [`Plan`]: crate::admin::provision::Plan
    pub fn keep_credential(&self, config: &HubConfig) -> Result<(), JoinFault> {
        let (Some(_), Request::Join(JoinRequest { password_hash: Some(hash), member, .. })) =
            (&self.keys, &self.request)
        else {
            return Ok(());
        };
        let users = &config.management.users;
        credentials::keep_hash(users, member.as_str(), hash)?;
        // One that provision had made isn't its password any more.
        let path = credentials::password_file(users, member.as_str());
        match std::fs::remove_file(&path) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                Err(JoinFault::Write { path, source })
            }
            _ => Ok(()),
        }
    }

    /// Writes the member's keys, where the hub reads them at its next reload,
    /// and closes the invitation.
    pub fn admit(&self, config: &HubConfig) -> Result<(), JoinFault> {
        if let Some(keys) = &self.keys {
            prepare::write(&member_file(config, self.member()), &keys.to_json())?;
        }
        // Stopped between the two, an invitation would stay that nobody can use.
        let path = invitation::file(config, self.member());
        match std::fs::remove_file(&path) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                Err(JoinFault::Write { path, source })
            }
            _ => Ok(()),
        }
    }
}
