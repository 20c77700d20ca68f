//! The member's side of a new key: it is made beside the old one, which signs
//! the request, and put in its place once the hub has admitted it.

use super::{JoinFault, Request, RotationRequest};
use crate::event::MemberName;
use crate::keys::{Jwk, KeyUse, PrivateKey, Thumbprint};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// A rotation that was asked for.
pub struct Rotation {
    /// The request, to be sent to the hub's operator.
    pub request: String,
    /// The key that is replaced.
    pub old: Thumbprint,
    /// The new key.
    pub new: Thumbprint,
    /// Where the new key waits.
    pub next: PathBuf,
}

/// Where the key that is to follow the one in `key_file` waits:
/// `keys/event.next.pem`.
pub fn next_file(key_file: &Path) -> PathBuf {
    key_file.with_extension("next.pem")
}

/// Asks `hub` to replace `member`'s key in `key_file` by a new one, at `now` in
/// seconds since 1970. The new key is made beside the old, encrypted by the same
/// passphrase; one that waits there already is asked for again.
pub fn rotate(
    (hub, member, key_use): (&str, &MemberName, KeyUse),
    key_file: &Path,
    passphrase: Option<&str>,
    overlap_days: u32,
    now: i64,
) -> Result<Rotation, JoinFault> {
    let old = PrivateKey::read(key_file, passphrase)?;
    let next = next_file(key_file);
    let new = match next.exists() {
        true => PrivateKey::read(&next, passphrase)?,
        false => {
            let new = PrivateKey::generate()?;
            let is_encrypted = PrivateKey::read(key_file, None).is_err();
            new.write(&next, passphrase.filter(|_| is_encrypted))?;
            new
        }
    };
    let request = Request::Rotation(Box::new(RotationRequest {
        hub: hub.to_owned(),
        member: member.clone(),
        made: now,
        old: old.public().thumbprint().to_string(),
        overlap_days,
        new: Jwk::new(new.public().clone(), key_use, Some(member.to_string())),
    }));
    Ok(Rotation {
        request: request.sign(&[&old, &new])?,
        old: old.public().thumbprint().clone(),
        new: new.public().thumbprint().clone(),
        next,
    })
}

/// Puts the key that waits beside `key_file` in its place, and keeps the old one
/// as `event.was-KID.pem`, the first 8 of its identifier's characters. There is a
/// whole key in `key_file` at every moment. Returns the new key, and where the
/// old one is.
pub fn switch(key_file: &Path, passphrase: Option<&str>) -> Result<(Thumbprint, PathBuf), JoinFault> {
    let next = next_file(key_file);
    if !next.exists() {
        return Err(JoinFault::NoNextKey(next));
    }
    let new = PrivateKey::read(&next, passphrase)?;
    let old = PrivateKey::read(key_file, passphrase)?;
    let kid: String = old.public().thumbprint().as_str().chars().take(8).collect();
    let kept = key_file.with_extension(format!("was-{kid}.pem"));
    let fault = |path: &Path| {
        let path = path.to_owned();
        move |source| JoinFault::Write { path, source }
    };
    match std::fs::hard_link(key_file, &kept) {
        // Stopped half-way before: the old key is kept already.
        Err(source) if source.kind() != ErrorKind::AlreadyExists => return Err(fault(&kept)(source)),
        _ => {}
    }
    std::fs::rename(&next, key_file).map_err(fault(key_file))?;
    if let Some(folder) = key_file.parent() {
        std::fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(fault(folder))?;
    }
    Ok((new.public().thumbprint().clone(), kept))
}
