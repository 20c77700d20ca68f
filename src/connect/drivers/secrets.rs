//! Secrets by name, from the environment or a file, never from a manifest.

use super::DriverFault;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use zeroize::Zeroizing;

/// A secret. It is wiped when dropped, and never printed.
#[derive(Clone)]
pub struct SecretText(Zeroizing<String>);

impl std::fmt::Debug for SecretText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretText(…)")
    }
}

impl SecretText {
    /// Takes a secret.
    pub fn new(text: impl Into<String>) -> SecretText {
        SecretText(Zeroizing::new(text.into()))
    }

    /// The secret itself, for the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// Where secrets are found. A manifest names a secret, `boost-api-key`; its
/// value is, in this order, what the program set, the environment variable
/// `PIROGUE_SECRET_BOOST_API_KEY`, or the file `boost-api-key` in the folder of
/// secrets.
#[derive(Clone, Debug, Default)]
pub struct Secrets {
    set: Arc<BTreeMap<String, SecretText>>,
    folder: Option<PathBuf>,
}

impl Secrets {
    /// Secrets of the environment and, if given, of the files in `folder`.
    pub fn new(folder: Option<PathBuf>) -> Secrets {
        Secrets { set: Arc::default(), folder }
    }

    /// The same with this one set.
    pub fn with(mut self, name: &str, secret: SecretText) -> Secrets {
        Arc::make_mut(&mut self.set).insert(name.to_owned(), secret);
        self
    }

    /// The secret called `name`. The end of the last line of a file isn't part
    /// of it. A file that others than its owner can read is refused.
    pub fn find(&self, name: &str) -> Result<SecretText, DriverFault> {
        if let Some(secret) = self.set.get(name) {
            return Ok(secret.clone());
        }
        let variable = variable(name);
        if let Ok(value) = std::env::var(&variable) {
            return checked(name, value);
        }
        let Some(folder) = &self.folder else {
            return Err(DriverFault::halt(format!(
                "the secret {name} isn't set; set the environment variable {variable}, or name a folder of secrets"
            )));
        };
        let path = folder.join(name);
        refuse_readable(&path)?;
        match std::fs::read_to_string(&path) {
            Ok(text) => checked(name, text.trim_end_matches(['\r', '\n']).to_owned()),
            Err(error) => Err(DriverFault::halt(format!(
                "the secret {name} isn't in the variable {variable}, and {} can't be read ({}); provide one of them",
                path.display(),
                error.kind()
            ))),
        }
    }
}

fn variable(name: &str) -> String {
    let upper = name.to_ascii_uppercase();
    format!("PIROGUE_SECRET_{}", upper.replace(|c: char| !c.is_ascii_alphanumeric(), "_"))
}

fn checked(name: &str, value: String) -> Result<SecretText, DriverFault> {
    if value.trim().is_empty() {
        return Err(DriverFault::halt(format!("the secret {name} is empty; give it its value")));
    }
    Ok(SecretText::new(value))
}

#[cfg(unix)]
fn refuse_readable(path: &std::path::Path) -> Result<(), DriverFault> {
    use std::os::unix::fs::PermissionsExt;
    // A file that isn't there is said by the read that follows.
    let Ok(metadata) = std::fs::metadata(path) else { return Ok(()) };
    if metadata.permissions().mode() & 0o077 != 0 {
        return Err(DriverFault::halt(format!(
            "others than its owner can read {0}; run: chmod 600 {0}",
            path.display()
        )));
    }
    Ok(())
}

#[cfg(not(unix))]
fn refuse_readable(_: &std::path::Path) -> Result<(), DriverFault> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_comes_from_a_file_of_ones_own() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("boost-api-key");
        std::fs::write(&path, "s3cret\n").unwrap();
        let secrets = Secrets::new(Some(folder.path().to_owned()));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
            let fault = secrets.find("boost-api-key").unwrap_err().to_string();
            assert!(fault.contains("chmod 600") && !fault.contains("s3cret"), "{fault}");
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        }
        assert_eq!(secrets.find("boost-api-key").unwrap().expose(), "s3cret");
        assert!(secrets.find("other").unwrap_err().to_string().contains("PIROGUE_SECRET_OTHER"));
    }

    #[test]
    fn a_secret_is_never_printed() {
        let secrets = Secrets::new(None).with("k", SecretText::new("s3cret"));
        assert_eq!(secrets.find("k").unwrap().expose(), "s3cret");
        assert!(!format!("{secrets:?} {:?}", secrets.find("k")).contains("s3cret"));
        assert_eq!(variable("boost-api-key"), "PIROGUE_SECRET_BOOST_API_KEY");
        assert!(Secrets::new(None).with("k", SecretText::new("x")).find("absent").is_err());
    }
}
