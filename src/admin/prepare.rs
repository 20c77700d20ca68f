//! Prepares the folders of a hub and of members: keys, public keys,
//! configuration. What is there already is left as it is, so that preparing a
//! folder twice changes nothing.

use crate::agreements::{AgreementFault, sign_text};
use crate::event::MemberName;
use crate::keys::{Jwk, Jwks, KeyFault, KeyUse, PrivateKey};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Why a folder can't be prepared.
#[derive(Debug, thiserror::Error)]
pub enum PrepareFault {
    /// A key can't be made or read.
    #[error(transparent)]
    Key(#[from] KeyFault),
    /// An agreement's text isn't one.
    #[error(transparent)]
    Agreement(#[from] AgreementFault),
    /// A file or folder can't be written.
    #[error("{} can't be written: {source}; check the path, the rights and the space", .path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// Makes `folder`, and what is above it.
pub fn folder(folder: &Path) -> Result<(), PrepareFault> {
    std::fs::create_dir_all(folder).map_err(|source| PrepareFault::Io { path: folder.to_owned(), source })
}

/// Writes `text` to `path`, replacing what is there, by a temporary file beside it.
pub fn write(path: &Path, text: &str) -> Result<(), PrepareFault> {
    let io = |source| PrepareFault::Io { path: path.to_owned(), source };
    if let Some(parent) = path.parent() {
        folder(parent)?;
    }
    let beside = path.with_extension("new");
    let mut file = std::fs::File::create(&beside).map_err(io)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(io)?;
    std::fs::rename(&beside, path).map_err(io)
}

/// As [`write()`], readable by its owner alone (mode 0600).
pub fn write_private(path: &Path, text: &str) -> Result<(), PrepareFault> {
    use std::os::unix::fs::OpenOptionsExt;
    let io = |source| PrepareFault::Io { path: path.to_owned(), source };
    if let Some(parent) = path.parent() {
        folder(parent)?;
    }
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let beside = path.with_file_name(name);
    // One that was left half-way may have another mode.
    match std::fs::remove_file(&beside) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => return Err(io(source)),
        _ => {}
    }
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(0o600).open(&beside).map_err(io)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(io)?;
    std::fs::rename(&beside, path).map_err(io)
}

/// Writes the secret `text` to `path`, mode 0600, unless it is there. It is
/// there whole or not at all, wherever the process is stopped.
pub fn secret(path: &Path, text: &str) -> Result<(), PrepareFault> {
    use std::os::unix::fs::OpenOptionsExt;
    let io = |source| PrepareFault::Io { path: path.to_owned(), source };
    if path.exists() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        folder(parent)?;
    }
    let beside = path.with_extension("new");
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&beside).map_err(io)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(io)?;
    std::fs::rename(&beside, path).map_err(io)
}

/// The key in `path`; a new one where there is none.
pub fn key(path: &Path) -> Result<PrivateKey, PrepareFault> {
    if let Some(parent) = path.parent() {
        folder(parent)?;
    }
    if path.exists() {
        return Ok(PrivateKey::read(path, None)?);
    }
    let key = PrivateKey::generate()?;
    key.write(path, None)?;
    Ok(key)
}

/// The keys of a hub.
pub struct HubKeys {
    /// Signs deliveries.
    pub delivery: PrivateKey,
    /// Signs checkpoints.
    pub checkpoint: PrivateKey,
}

/// Prepares the folder of a hub: `keys/`, `members/`, `agreements/`, and
/// `hub.jwks.json` for its members.
pub fn hub(at: &Path) -> Result<HubKeys, PrepareFault> {
    for name in ["keys", "members", "agreements"] {
        folder(&at.join(name))?;
    }
    let keys = HubKeys {
        delivery: key(&at.join("keys/delivery.pem"))?,
        checkpoint: key(&at.join("keys/checkpoint.pem"))?,
    };
    write(&at.join("hub.jwks.json"), &crate::hub::own_keys(&keys.delivery, &keys.checkpoint).to_json())?;
    Ok(keys)
}

/// The keys of a member.
pub struct MemberKeys {
    /// Signs events.
    pub event: PrivateKey,
    /// Signs agreements.
    pub agreement: PrivateKey,
}

impl MemberKeys {
    /// The public keys, as a hub keeps them in `members/MEMBER.jwks.json`.
    pub fn public(&self, member: &MemberName) -> Jwks {
        let of =
            |key: &PrivateKey, key_use| Jwk::new(key.public().clone(), key_use, Some(member.to_string()));
        Jwks { keys: vec![of(&self.event, KeyUse::Event), of(&self.agreement, KeyUse::Agreement)] }
    }
}

/// Prepares the keys of a member in its folder.
pub fn member(at: &Path) -> Result<MemberKeys, PrepareFault> {
    Ok(MemberKeys {
        event: key(&at.join("keys/event.pem"))?,
        agreement: key(&at.join("keys/agreement.pem"))?,
    })
}

/// Writes an agreement that both parties sign.
pub fn agreement(
    path: &Path,
    text: &str,
    provider: (&MemberName, &PrivateKey),
    recipient: (&MemberName, &PrivateKey),
) -> Result<(), PrepareFault> {
    write(path, &sign_text(text, &[provider, recipient])?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn preparing_a_folder_twice_keeps_its_keys() {
        let at = tempfile::tempdir().unwrap();
        let first = hub(at.path()).unwrap();
        let published = std::fs::read_to_string(at.path().join("hub.jwks.json")).unwrap();
        let second = hub(at.path()).unwrap();
        assert_eq!(first.delivery.public(), second.delivery.public());
        assert_eq!(published, std::fs::read_to_string(at.path().join("hub.jwks.json")).unwrap());
        assert!(!published.contains("\"d\""), "a private key is published");
    }
}
