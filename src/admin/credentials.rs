//! The broker's users as the hub knows them: `NAME.hash` in the folder
//! `[management] users` for each, the hash of its password.
//!
//! A member makes its password itself and sends only the hash, so the operator
//! never has it. Where `pirogue provision` had to make one, it lies beside the
//! hash as `NAME.password` until it is handed over.

use super::prepare::{self, PrepareFault};
use crate::bus::manage::{is_hash_of, is_password_hash, password_hash};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Why a credential can't be had. No sentence holds one.
#[derive(Debug, thiserror::Error)]
pub enum CredentialFault {
    /// The file can't be read.
    #[error("{path} can't be read: {source}", path = .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file holds something else.
    #[error(
        "{path} doesn't hold the hash of a password as RabbitMQ keeps it: put the one there from the member's \
         request, or remove the file", path = .0.display()
    )]
    NotAHash(PathBuf),
    /// The file can't be written.
    #[error(transparent)]
    Write(#[from] PrepareFault),
    /// The system gives no random bytes.
    #[error("the system gives no random bytes ({0}): no password can be made; look at /dev/urandom")]
    Random(getrandom::Error),
}

/// So many random bytes, in base64url.
pub fn random_text(bytes: usize) -> Result<Zeroizing<String>, getrandom::Error> {
    let mut drawn = Zeroizing::new(vec![0; bytes]);
    getrandom::fill(&mut drawn)?;
    Ok(Zeroizing::new(URL_SAFE_NO_PAD.encode(drawn.as_slice())))
}

/// A new password: 32 random bytes in base64url, 43 characters.
pub fn new_password() -> Result<Zeroizing<String>, CredentialFault> {
    random_text(32).map_err(CredentialFault::Random)
}

/// The hash of `password` under a new salt.
pub fn hash_of(password: &str) -> Result<String, CredentialFault> {
    password_hash(password).map_err(CredentialFault::Random)
}

/// The file of the hash of `user`'s password in the folder `users`.
pub fn hash_file(users: &Path, user: &str) -> PathBuf {
    users.join(format!("{user}.hash"))
}

/// The file of the password of `user`, where provision made it.
pub fn password_file(users: &Path, user: &str) -> PathBuf {
    users.join(format!("{user}.password"))
}

/// The hash of `user`'s password, if the hub knows it.
pub fn known_hash(users: &Path, user: &str) -> Result<Option<String>, CredentialFault> {
    let path = hash_file(users, user);
    match std::fs::read_to_string(&path) {
        Ok(text) if is_password_hash(text.trim_end()) => Ok(Some(text.trim_end().to_owned())),
        Ok(_) => Err(CredentialFault::NotAHash(path)),
        Err(source) if source.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(CredentialFault::Read { path, source }),
    }
}

/// Keeps the hash of `user`'s password. Writes nothing where it is kept
/// already.
pub fn keep_hash(users: &Path, user: &str, hash: &str) -> Result<(), CredentialFault> {
    let path = hash_file(users, user);
    let line = format!("{hash}\n");
    if std::fs::read_to_string(&path).is_ok_and(|found| found == line) {
        return Ok(());
    }
    Ok(prepare::write_private(&path, &line)?)
}

/// Keeps a password that provision made, beside its hash. The password is
/// there first: a hash alone would be one that nobody can use.
pub fn keep_password(users: &Path, user: &str, password: &str, hash: &str) -> Result<(), CredentialFault> {
    prepare::write_private(&password_file(users, user), &Zeroizing::new(format!("{password}\n")))?;
    keep_hash(users, user, hash)
}

/// The hash of `user`'s password, which is known: the one that is kept or that
/// the broker has, where it is of this password; else a new one. So the same
/// password always has the same hash, and a new one another.
pub fn hash_of_known(
    users: &Path,
    user: &str,
    password: &str,
    at_broker: Option<&str>,
) -> Result<String, CredentialFault> {
    let kept = known_hash(users, user)?;
    match at_broker.or(kept.as_deref()).filter(|hash| is_hash_of(hash, password)) {
        Some(hash) => Ok(hash.to_owned()),
        None => match kept.filter(|hash| is_hash_of(hash, password)) {
            Some(hash) => Ok(hash),
            None => hash_of(password),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_known_password_keeps_its_hash_and_a_new_one_has_another() {
        let folder = tempfile::tempdir().unwrap();
        let users = folder.path().join("broker");
        let first = hash_of_known(&users, "hub", "kagou", None).unwrap();
        keep_hash(&users, "hub", &first).unwrap();
        assert_eq!(hash_of_known(&users, "hub", "kagou", None).unwrap(), first);
        // The broker knows the same password under another salt: its hash is taken over.
        let at_broker = hash_of("kagou").unwrap();
        assert_eq!(hash_of_known(&users, "hub", "kagou", Some(&at_broker)).unwrap(), at_broker);
        let of_another = hash_of("notou").unwrap();
        assert_eq!(hash_of_known(&users, "hub", "kagou", Some(&of_another)).unwrap(), first);
        assert_ne!(hash_of_known(&users, "hub", "cagou", None).unwrap(), first);
    }

    #[test]
    fn a_password_that_was_made_lies_beside_its_hash_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let password = new_password().unwrap();
        assert_eq!(password.len(), 43);
        let hash = hash_of(&password).unwrap();
        keep_password(folder.path(), "province-sud", &password, &hash).unwrap();
        let kept = std::fs::read_to_string(password_file(folder.path(), "province-sud")).unwrap();
        assert!(is_hash_of(&known_hash(folder.path(), "province-sud").unwrap().unwrap(), kept.trim_end()));
        for entry in std::fs::read_dir(folder.path()).unwrap() {
            let mode = entry.unwrap().metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[test]
    fn a_file_that_holds_something_else_is_named_and_not_repeated() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(known_hash(folder.path(), "province-sud").unwrap(), None);
        std::fs::write(hash_file(folder.path(), "province-sud"), "kagou\n").unwrap();
        let sentence = known_hash(folder.path(), "province-sud").unwrap_err().to_string();
        assert!(sentence.contains("province-sud.hash") && !sentence.contains("kagou"), "{sentence}");
    }
}
