//! How members join an exchange, and how their keys change (WIRE.md section 4).
//!
//! The hub's operator writes an [`Invitation`]; the member makes its keys and
//! answers with a signed [`Request`]; the operator [admits](Checked) it. A new
//! key comes by a request that the old one signed. What is written on the hub's
//! side is written under a lock, by rename, and read by the hub at its next
//! reload, which journals every change of a key.

mod admit;
mod fault;
mod invitation;
mod list;
mod member;
mod request;
mod revoke;
mod rotate;
#[cfg(test)]
mod tests;

pub use admit::{Checked, check};
pub use fault::JoinFault;
pub use invitation::{INVITATION_DAYS, Invitation, invite, invited_until};
pub use list::{KeyState, ListedInvitation, ListedKey, ListedMember, invitations, members};
pub use member::{Joined, join};
pub use request::{JoinRequest, Request, RotationRequest};
pub use revoke::{What, revoke};
pub use rotate::{Rotation, next_file, rotate, switch};

use crate::config::HubConfig;
use crate::event::MemberName;
use crate::keys::{Jwks, Thumbprint};
use crate::members::FILE_ENDING;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

/// No invitation or request is longer, in bytes.
const MAX_FILE_BYTES: u64 = 256 * 1024;

/// Held while members, credentials or invitations of a hub change.
pub struct Lock(#[allow(dead_code, reason = "it is held, not used")] File);

/// Waits until no other command changes members, credentials or invitations of
/// the hub of `config`. The lock ends when it is dropped.
pub fn lock(config: &HubConfig) -> Result<Lock, JoinFault> {
    let path = invitations_folder(config).join(".lock");
    let fault = |source| JoinFault::Write { path: path.clone(), source };
    super::prepare::folder(&invitations_folder(config))?;
    let file = File::options().create(true).append(true).open(&path).map_err(fault)?;
    file.lock().map_err(fault)?;
    Ok(Lock(file))
}

/// A key's thumbprint as digits that can be read out on the telephone: six
/// groups of five, from 30 of its 32 bytes.
pub fn spoken(kid: &Thumbprint) -> String {
    let bytes = URL_SAFE_NO_PAD.decode(kid.as_str()).unwrap_or_default();
    let group = |five: &[u8]| five.iter().fold(0u64, |sum, byte| sum << 8 | u64::from(*byte)) % 100_000;
    let groups: Vec<String> = bytes.chunks_exact(5).map(|five| format!("{:05}", group(five))).collect();
    groups.join(" ")
}

/// Where the hub remembers its invitations.
fn invitations_folder(config: &HubConfig) -> PathBuf {
    config.data.join("invitations")
}

/// The file of a member's public keys at its hub.
fn member_file(config: &HubConfig, member: &MemberName) -> PathBuf {
    config.members.join(format!("{member}{FILE_ENDING}"))
}

/// The keys of `member` at its hub; none where it is no member.
fn member_keys(config: &HubConfig, member: &MemberName) -> Result<Option<Jwks>, JoinFault> {
    let path = member_file(config, member);
    match std::fs::read_to_string(&path) {
        Ok(text) => Jwks::parse(&text).map(Some).map_err(|fault| JoinFault::Keys { path, fault }),
        Err(source) if source.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(JoinFault::Read { path, source }),
    }
}

/// The text of a file, which isn't long.
fn read(path: &Path) -> Result<String, JoinFault> {
    let fault = |source| JoinFault::Read { path: path.to_owned(), source };
    let mut text = String::new();
    let file = File::open(path).map_err(fault)?;
    file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text).map_err(fault)?;
    match text.len() as u64 > MAX_FILE_BYTES {
        true => Err(JoinFault::TooLong(path.to_owned())),
        false => Ok(text),
    }
}

/// `2026-11-03T03:05:12Z`, from seconds since 1970.
fn time(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map_or_else(|_| seconds.to_string(), |time| time.to_string())
}

/// Seconds since 1970 of a time as [`time()`] writes it.
fn seconds(text: &str) -> Option<i64> {
    crate::event::parse_time(text).ok().map(|time| time.as_second())
}
