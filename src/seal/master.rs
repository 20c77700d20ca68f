//! The master key, from which every other secret of a hub is derived.

use super::{SealFault, Secret32};
use base64::prelude::{BASE64_STANDARD, Engine};
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use zeroize::Zeroizing;

const BEGIN: &str = "-----BEGIN PIROGUE MASTER KEY-----";
const END: &str = "-----END PIROGUE MASTER KEY-----";

/// 32 random bytes in a file of their own. Whoever has them reads everything
/// that is sealed; who loses them loses it.
pub struct MasterKey(Secret32);

impl std::fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MasterKey(…)")
    }
}

/// A key under which keys are wrapped.
#[derive(Clone, Debug)]
pub struct Kek(Secret32);

impl Kek {
    /// The key for `label` below this one.
    pub fn derive(&self, label: &str) -> Kek {
        Kek(self.0.derive(label))
    }

    pub(super) fn expose(&self) -> &[u8; 32] {
        self.0.expose()
    }
}

impl MasterKey {
    /// A key of given bytes, for tests and synthetic demonstrations.
    pub fn from_bytes(bytes: [u8; 32]) -> MasterKey {
        MasterKey(Secret32::new(bytes))
    }

    /// Reads the key from the file at `path`, or creates it there with mode
    /// 0600, fsynced with its folder, when there is none.
    ///
    /// A file that its group or others can read is refused.
    pub fn read_or_create(path: &Path) -> Result<MasterKey, SealFault> {
        let fault = |action| move |error| SealFault::Io { path: path.to_owned(), action, error };
        match File::open(path) {
            Ok(mut file) => {
                if file.metadata().map_err(fault("read"))?.mode() & 0o077 != 0 {
                    return Err(SealFault::Exposed(path.to_owned()));
                }
                // Reserved, so that no copy is left behind when it grows.
                let mut text = Zeroizing::new(String::with_capacity(1024));
                Read::by_ref(&mut file).take(1024).read_to_string(&mut text).map_err(fault("read"))?;
                parse(&text).ok_or_else(|| SealFault::NotAKey(path.to_owned()))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let mut bytes = Zeroizing::new([0; 32]);
                getrandom::fill(&mut *bytes).map_err(SealFault::Random)?;
                let line = Zeroizing::new(BASE64_STANDARD.encode(*bytes));
                let text = Zeroizing::new(format!("{BEGIN}\n{}\n{END}\n", *line));
                create(path, text.as_bytes()).map_err(fault("written"))?;
                Ok(MasterKey(Secret32(bytes)))
            }
            Err(error) => Err(fault("read")(error)),
        }
    }

    /// The secret for `label`: HMAC-SHA-256 under the master key.
    pub fn derive(&self, label: &str) -> Secret32 {
        self.0.derive(label)
    }

    /// The key for `label` under which keys are wrapped.
    pub fn kek(&self, label: &str) -> Kek {
        Kek(self.derive(label))
    }
}

/// Writes the file under another name and links it into place: a key file is
/// there whole or not at all, and one that is there is never replaced.
fn create(path: &Path, text: &[u8]) -> std::io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let temporary = path.with_file_name(name);
    // One of a process that had this number and was stopped half-way.
    let _ = std::fs::remove_file(&temporary);
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        file.write_all(text)?;
        file.sync_all()?;
        std::fs::hard_link(&temporary, path)
    })();
    let removed = std::fs::remove_file(&temporary);
    written.and(removed)?;
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

fn parse(text: &str) -> Option<MasterKey> {
    let mut lines = text.lines();
    if lines.next()? != BEGIN {
        return None;
    }
    let bytes = Zeroizing::new(BASE64_STANDARD.decode(lines.next()?).ok()?);
    if lines.next()? != END || lines.next().is_some() {
        return None;
    }
    let mut key = Zeroizing::new([0; 32]);
    if bytes.len() != key.len() {
        return None;
    }
    key.copy_from_slice(&bytes);
    Some(MasterKey(Secret32(key)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_master_key_is_created_once_and_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("master.key");
        let created = MasterKey::read_or_create(&path).unwrap();
        let read = MasterKey::read_or_create(&path).unwrap();
        assert_eq!(created.derive("a").expose(), read.derive("a").expose());
        assert_ne!(created.derive("a").expose(), read.derive("b").expose());
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file is left");
    }

    #[test]
    fn a_master_key_that_others_can_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("master.key");
        MasterKey::read_or_create(&path).unwrap();
        for mode in [0o640, 0o604, 0o620] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let fault = MasterKey::read_or_create(&path).unwrap_err();
            assert!(fault.to_string().ends_with(&format!("chmod 600 {}", path.display())), "{fault}");
        }
    }

    #[test]
    fn a_damaged_master_key_is_refused_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("master.key");
        MasterKey::read_or_create(&path).unwrap();
        let good = fs::read_to_string(&path).unwrap();
        for bad in ["".to_owned(), good[..50].to_owned(), good.replace("KEY", "KEI"), format!("{good}more\n")]
        {
            fs::write(&path, &bad).unwrap();
            assert!(matches!(MasterKey::read_or_create(&path), Err(SealFault::NotAKey(_))), "{bad:?}");
            assert_eq!(fs::read_to_string(&path).unwrap(), bad);
        }
    }
}
