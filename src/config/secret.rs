//! Where a secret is: a configuration names it and never holds it.

use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Where a secret is: `{ env = "NAME" }` or `{ file = "PATH" }`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "serde_json::Value")]
pub enum SecretSource {
    /// In an environment variable.
    #[serde(rename = "env")]
    Env(String),
    /// In a file that only its owner may read. One newline at its end doesn't
    /// count.
    #[serde(rename = "file")]
    File(PathBuf),
}

/// Why a secret can't be had. It names the place and never the secret.
#[derive(Debug, thiserror::Error)]
pub enum SecretFault {
    /// The environment variable isn't set, or isn't UTF-8.
    #[error("the environment variable {0}, which should hold a secret, isn't set: set it, then start again")]
    NotSet(String),
    /// The file can't be read.
    #[error("the file {path}, which should hold a secret, can't be read: {source}", path = .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Others than the owner can read the file.
    #[error("others than its owner can read the file {path}, which holds a secret: run chmod 600 {path}",
        path = .0.display())]
    Exposed(PathBuf),
    /// The variable or the file is empty.
    #[error("{0}, which should hold a secret, is empty")]
    Empty(String),
}

impl SecretSource {
    /// Reads the secret. It is wiped from memory when dropped.
    ///
    /// Fails where the variable isn't set, the file can't be read or can be read
    /// by others, or the secret is empty.
    pub fn read(&self) -> Result<Zeroizing<String>, SecretFault> {
        let (secret, place) = match self {
            SecretSource::Env(name) => {
                let secret = std::env::var(name).map_err(|_| SecretFault::NotSet(name.clone()))?;
                (Zeroizing::new(secret), format!("the environment variable {name}"))
            }
            SecretSource::File(path) => (read_file(path)?, format!("the file {}", path.display())),
        };
        if secret.is_empty() { Err(SecretFault::Empty(place)) } else { Ok(secret) }
    }

    /// Makes a relative path begin at `folder`.
    pub(crate) fn resolve(&mut self, folder: &Path) {
        if let SecretSource::File(path) = self {
            super::resolve(folder, path);
        }
    }
}

fn read_file(path: &Path) -> Result<Zeroizing<String>, SecretFault> {
    use std::io::Read;
    use std::os::unix::fs::PermissionsExt;
    let unreadable = |source| SecretFault::Unreadable { path: path.to_owned(), source };
    let mut file = std::fs::File::open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    if metadata.permissions().mode() & 0o077 != 0 {
        return Err(SecretFault::Exposed(path.to_owned()));
    }
    // Sized at once: a buffer that grows leaves copies that nothing wipes.
    let mut secret = Zeroizing::new(String::with_capacity(metadata.len() as usize + 1));
    file.read_to_string(&mut secret).map_err(unreadable)?;
    if secret.ends_with('\n') {
        secret.pop();
        if secret.ends_with('\r') {
            secret.pop();
        }
    }
    Ok(secret)
}

impl TryFrom<serde_json::Value> for SecretSource {
    type Error = &'static str;

    /// What is written where a place is expected may be the secret itself: the
    /// sentence doesn't repeat it.
    fn try_from(value: serde_json::Value) -> Result<SecretSource, &'static str> {
        const FORM: &str = "a secret isn't written in a configuration; say where it is, { env = \"NAME\" } or { file = \"PATH\" }";
        let table = value.as_object().filter(|table| table.len() == 1).ok_or(FORM)?;
        let text = |key| table.get(key).and_then(|v| v.as_str()).filter(|t| !t.is_empty());
        match (text("env"), text("file")) {
            (Some(name), None) => Ok(SecretSource::Env(name.to_owned())),
            (None, Some(path)) => Ok(SecretSource::File(path.into())),
            _ => Err(FORM),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    fn secret_file(content: &str, mode: u32) -> (tempfile::TempDir, SecretSource) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        (folder, SecretSource::File(path))
    }

    #[test]
    fn a_secret_is_read_without_the_newline_at_its_end() {
        for (content, secret) in [("opened sesame\n", "opened sesame"), ("a\r\n", "a"), ("a\n\n", "a\n")] {
            let (_folder, source) = secret_file(content, 0o600);
            assert_eq!(source.read().unwrap().as_str(), secret);
        }
    }

    #[test]
    fn a_secret_that_others_can_read_is_refused() {
        for mode in [0o640, 0o604, 0o660] {
            let (_folder, source) = secret_file("open", mode);
            let sentence = source.read().unwrap_err().to_string();
            assert!(sentence.contains("chmod 600"), "{sentence}");
        }
    }

    #[test]
    fn an_empty_or_absent_secret_is_refused() {
        let (folder, source) = secret_file("\n", 0o600);
        assert!(matches!(source.read(), Err(SecretFault::Empty(_))));
        let absent = SecretSource::File(folder.path().join("absent"));
        assert!(matches!(absent.read(), Err(SecretFault::Unreadable { .. })));
        let absent = SecretSource::Env("PIROGUE_TEST_NO_SUCH_VARIABLE".to_owned());
        assert!(absent.read().unwrap_err().to_string().contains("PIROGUE_TEST_NO_SUCH_VARIABLE"));
    }
}
