//! Secrets and key files: what is wrong with one, and what to do.

use super::Findings;
use crate::config::{SecretFault, SecretSource};
use crate::keys::{KeyFault, PrivateKey};
use crate::seal::{MasterKey, SealFault};
use std::io::ErrorKind;
use std::path::Path;
use zeroize::Zeroizing;

/// What to do about a file that this user may not read: it may be as it should be.
pub(super) const AS_THE_SERVICE: &str = "run this as the user who runs the service";

/// Where a secret is, for people.
pub(super) fn place(source: &SecretSource) -> String {
    match source {
        SecretSource::Env(name) => format!("the environment variable {name}"),
        SecretSource::File(path) => format!("the file {}", path.display()),
    }
}

/// Reads a secret; a finding where it can't be had.
pub(super) fn secret(
    check: &str,
    source: &SecretSource,
    findings: &mut Findings,
) -> Option<Zeroizing<String>> {
    let fault = match source.read() {
        Ok(secret) => return Some(secret),
        Err(fault) => fault,
    };
    let (found, remedy) = match &fault {
        SecretFault::NotSet(name) => (
            format!("the environment variable {name} isn't set"),
            format!("set {name} in the environment of the service, and of this command"),
        ),
        SecretFault::Unreadable { path, source } if source.kind() == ErrorKind::PermissionDenied => {
            (format!("{} can't be read ({source})", path.display()), AS_THE_SERVICE.to_owned())
        }
        SecretFault::Unreadable { path, source } => (
            format!("{} can't be read ({source})", path.display()),
            format!("put the secret there, readable by its owner alone: `chmod 600 {}`", path.display()),
        ),
        SecretFault::Exposed(path) => (
            format!("{} can be read by others than its owner", path.display()),
            format!("`chmod 600 {}`, and change the secret if somebody may have read it", path.display()),
        ),
        SecretFault::Empty(place) => (format!("{place} is empty"), "put the secret there".to_owned()),
    };
    findings.failed(check, found, remedy);
    None
}

/// Reads a private key; a finding where it can't be used. `key_use` is what it
/// is for.
pub(super) fn private_key(
    check: &str,
    path: &Path,
    passphrase: Option<&SecretSource>,
    key_use: &str,
    findings: &mut Findings,
) -> Option<PrivateKey> {
    let known = match passphrase {
        Some(source) => Some(secret(&format!("{check}'s passphrase"), source, findings)?),
        None => None,
    };
    let fault = match PrivateKey::read(path, known.as_ref().map(|passphrase| passphrase.as_str())) {
        Ok(key) => return Some(key),
        Err(fault) => fault,
    };
    let shown = path.display();
    let (found, remedy) = match &fault {
        KeyFault::Read { source, .. } if source.kind() == ErrorKind::PermissionDenied => {
            (format!("{shown} can't be read ({source})"), AS_THE_SERVICE.to_owned())
        }
        KeyFault::Read { source, .. } => (
            format!("{shown} can't be read ({source})"),
            format!("restore it, or make a new one: `pirogue keys generate --use {key_use} --out {shown}`"),
        ),
        KeyFault::ReadableByOthers { mode, .. } => (
            format!("{shown} can be read by others (mode {mode:04o})"),
            format!("`chmod 600 {shown}`, and make a new key if somebody may have read it"),
        ),
        KeyFault::PassphraseMissing { .. } => (
            format!("{shown} is encrypted, and the configuration doesn't say where its passphrase is"),
            format!("set keys.{key_use}_passphrase to {{ env = \"NAME\" }} or {{ file = \"PATH\" }}"),
        ),
        KeyFault::WrongPassphrase { .. } => (
            format!("the passphrase doesn't open {shown}"),
            format!(
                "put the right one in {}; `pirogue keys show {shown}` tries one",
                passphrase.map_or_else(|| "its place".to_owned(), place)
            ),
        ),
        _ => {
            (fault.to_string(), format!("`pirogue keys generate --use {key_use} --out FILE` makes a new one"))
        }
    };
    findings.failed(check, found, remedy);
    None
}

/// Looks at the file of a 32-byte secret. `why` says what depends on it. Where
/// there is none and `may_be_new`, the first start makes it.
pub(super) fn master(check: &str, path: &Path, why: &str, may_be_new: bool, findings: &mut Findings) {
    let shown = path.display();
    // A file that isn't there would be made.
    if !path.exists() {
        if may_be_new {
            findings.ok(
                check,
                format!("{shown} isn't there yet, and is made at the first start: keep a copy of it"),
            );
        } else {
            findings.failed(
                check,
                format!("{shown} is missing, and {why}"),
                format!("restore {shown} from its backup"),
            );
        }
        return;
    }
    let (found, remedy) = match MasterKey::read_or_create(path) {
        Ok(_) => return findings.ok(check, format!("{shown} can be read, by its owner alone")),
        Err(SealFault::Exposed(_)) => {
            (format!("{shown} can be read by others than its owner"), format!("`chmod 600 {shown}`"))
        }
        Err(SealFault::NotAKey(_)) => {
            (format!("{shown} isn't such a key"), format!("restore {shown} from its backup"))
        }
        Err(fault) => (fault.to_string(), AS_THE_SERVICE.to_owned()),
    };
    findings.failed(check, found, remedy);
}
