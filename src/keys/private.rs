//! Private keys and their files.

use super::jws::write_event_header;
use super::{KeyFault, PublicKey, encode_base64url};
use crate::event::Attributes;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::ed25519::signature::MultipartSigner;
use ed25519_dalek::pkcs8::{DecodePrivateKey, EncodePrivateKey, KeypairBytes};
use ed25519_dalek::{Signer, SigningKey};
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use zeroize::{Zeroize, Zeroizing};

/// No key file is longer: what is, isn't read.
const MAX_FILE_BYTES: u64 = 16 * 1024;

/// An Ed25519 private key. Wiped from memory when dropped, and never printed.
pub struct PrivateKey {
    signing: SigningKey,
    public: PublicKey,
}

impl PrivateKey {
    /// A new key from the system's randomness. Fails where it gives none.
    pub fn generate() -> Result<PrivateKey, KeyFault> {
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(seed.as_mut_slice()).map_err(KeyFault::Randomness)?;
        Ok(PrivateKey::from_seed(&seed))
    }

    /// The key with this seed (RFC 8032 section 5.1.5): for published vectors
    /// and synthetic data. A seed that isn't 32 random bytes protects nothing.
    pub fn from_seed(seed: &[u8; 32]) -> PrivateKey {
        PrivateKey::new(SigningKey::from_bytes(seed))
    }

    fn new(signing: SigningKey) -> PrivateKey {
        PrivateKey { public: PublicKey::new(signing.verifying_key()), signing }
    }

    /// Reads a PKCS#8 PEM file (RFC 5958, RFC 8410), encrypted (PBES2,
    /// RFC 8018) or not, as `openssl genpkey` and [`PrivateKey::write`] make
    /// them. `passphrase` is only used where the file is encrypted.
    ///
    /// Fails with a sentence that names the file where it can't be read, isn't
    /// an Ed25519 key, the passphrase is missing or wrong, or anyone but the
    /// owner can read or write it.
    pub fn read(path: &Path, passphrase: Option<&str>) -> Result<PrivateKey, KeyFault> {
        let failed = |source| KeyFault::Read { path: path.to_owned(), source };
        let file = File::open(path).map_err(failed)?;
        let facts = file.metadata().map_err(failed)?;
        if !facts.is_file() {
            return Err(KeyFault::NotPkcs8 { path: path.to_owned() });
        }
        let mode = facts.permissions().mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(KeyFault::ReadableByOthers { path: path.to_owned(), mode });
        }
        // Room for all of it from the start: a growing buffer leaves copies behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_FILE_BYTES as usize + 1));
        file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
        let pem = std::str::from_utf8(&bytes)
            .ok()
            .filter(|text| text.len() as u64 <= MAX_FILE_BYTES)
            .ok_or_else(|| KeyFault::NotPkcs8 { path: path.to_owned() })?;
        PrivateKey::from_pem(pem, path, passphrase)
    }

    fn from_pem(pem: &str, path: &Path, passphrase: Option<&str>) -> Result<PrivateKey, KeyFault> {
        let owned = || path.to_owned();
        if !pem.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----") {
            return match SigningKey::from_pkcs8_pem(pem) {
                Ok(key) => Ok(PrivateKey::new(key)),
                Err(_) if is_pkcs8(pem) => Err(KeyFault::NotEd25519 { path: owned() }),
                Err(_) => Err(KeyFault::NotPkcs8 { path: owned() }),
            };
        }
        let passphrase = passphrase.ok_or_else(|| KeyFault::PassphraseMissing { path: owned() })?;
        let (label, document) =
            pkcs8::SecretDocument::from_pem(pem).map_err(|_| KeyFault::NotPkcs8 { path: owned() })?;
        let encrypted = pkcs8::EncryptedPrivateKeyInfoRef::try_from(document.as_bytes())
            .ok()
            .filter(|_| label == "ENCRYPTED PRIVATE KEY")
            .ok_or_else(|| KeyFault::NotPkcs8 { path: owned() })?;
        // CBC without authentication: a wrong passphrase shows as bad padding
        // or, once in a few hundred times, as bytes that aren't PKCS#8.
        let plain = encrypted.decrypt(passphrase).map_err(|_| KeyFault::WrongPassphrase { path: owned() })?;
        match pkcs8::PrivateKeyInfoRef::try_from(plain.as_bytes()) {
            Err(_) => Err(KeyFault::WrongPassphrase { path: owned() }),
            Ok(_) => SigningKey::from_pkcs8_der(plain.as_bytes())
                .map(PrivateKey::new)
                .map_err(|_| KeyFault::NotEd25519 { path: owned() }),
        }
    }

    /// Writes the key to a new file: PKCS#8 PEM with mode 0600, encrypted
    /// (PBES2 with scrypt and AES-256-CBC, which openssl reads) where there is
    /// a `passphrase`. The file and its folder are flushed to the disk, and the
    /// file is there whole or not at all, wherever the process is stopped.
    ///
    /// Fails where the file exists already, can't be written, or the
    /// passphrase is empty.
    pub fn write(&self, path: &Path, passphrase: Option<&str>) -> Result<(), KeyFault> {
        let pem = self.to_pem(passphrase)?;
        create(path, pem.as_bytes()).map_err(|source| match source.kind() {
            ErrorKind::AlreadyExists => KeyFault::Exists { path: path.to_owned() },
            _ => KeyFault::Write { path: path.to_owned(), source },
        })
    }

    /// The key in PKCS#8 PEM, as [`PrivateKey::write`] writes it.
    fn to_pem(&self, passphrase: Option<&str>) -> Result<Zeroizing<String>, KeyFault> {
        // Without the public key: openssl before 3.2 doesn't read version 2 of the format.
        let mut bytes = KeypairBytes { secret_key: self.signing.to_bytes(), public_key: None };
        let pem = match passphrase {
            Some("") => return Err(KeyFault::EmptyPassphrase),
            Some(passphrase) => bytes.to_pkcs8_encrypted_pem(passphrase, Default::default()),
            None => bytes.to_pkcs8_pem(Default::default()),
        };
        bytes.secret_key.zeroize();
        pem.map_err(|_| KeyFault::Encoding)
    }

    /// The public half.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// The signature over `bytes` (RFC 8032 section 5.1.6): the same for the
    /// same bytes.
    pub fn sign(&self, bytes: &[u8]) -> [u8; 64] {
        self.signing.sign(bytes).to_bytes()
    }

    /// Signs an event: the detached JWS over its attributes and its body, for
    /// `audience` (WIRE.md section 1). The same for the same event.
    ///
    /// `attributes` are what the signature covers, `datacontenttype` among
    /// them. Returns `BASE64URL(header)..BASE64URL(signature)`.
    pub fn sign_event(&self, audience: &str, attributes: &Attributes, body: &[u8]) -> String {
        let header = write_event_header(self.public.thumbprint(), audience, attributes);
        let mut jws = String::with_capacity(header.len().div_ceil(3) * 4 + 2 + 86);
        URL_SAFE_NO_PAD.encode_string(&header, &mut jws);
        let signature = self.signing.multipart_sign(&[jws.as_bytes(), b".", body]);
        jws.push_str("..");
        jws.push_str(&encode_base64url(signature.to_bytes()));
        jws
    }
}

/// Writes the file under another name and links it into place: half a key is no
/// use, and one that is there is never replaced.
fn create(path: &Path, pem: &[u8]) -> std::io::Result<()> {
    if std::fs::symlink_metadata(path).is_ok() {
        return Err(ErrorKind::AlreadyExists.into());
    }
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let beside = path.with_file_name(name);
    // One of a process that had this number and was stopped half-way.
    let _ = std::fs::remove_file(&beside);
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(0o600).open(&beside)?;
    let written =
        file.write_all(pem).and_then(|()| file.sync_all()).and_then(|()| std::fs::hard_link(&beside, path));
    let removed = std::fs::remove_file(&beside);
    written.and(removed)?;
    let folder = path.parent().filter(|f| !f.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

/// Whether `pem` is PKCS#8, of whatever algorithm.
fn is_pkcs8(pem: &str) -> bool {
    pkcs8::SecretDocument::from_pem(pem).is_ok_and(|(label, document)| {
        label == "PRIVATE KEY" && pkcs8::PrivateKeyInfoRef::try_from(document.as_bytes()).is_ok()
    })
}

/// Prints the public key's thumbprint.
impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PrivateKey").field(self.public.thumbprint()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    /// `openssl genpkey -algorithm ed25519` (3.0).
    const PLAIN: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIO46zWI+u8NR0HCA5Ve2Eoh7q6/2Dp6IZ66a8iLX/Xvb
-----END PRIVATE KEY-----
";
    /// The same key: `openssl pkey -aes-256-cbc -passout pass:'Nouméa 1853'`.
    const PBKDF2: &str = "-----BEGIN ENCRYPTED PRIVATE KEY-----
MIGbMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAjmFPHfnwQjjQICCAAw
DAYIKoZIhvcNAgkFADAdBglghkgBZQMEASoEEBFV6iZPtRpMPIHvRv0o0rIEQLRf
imgMqxxr4vFFJYsA5Wpqg61WYD3x4kInDHKv/EUW1AC7l7/jDVUNBeHTkRxkGSnr
pCWYjHrdeKxG6Ee1uhE=
-----END ENCRYPTED PRIVATE KEY-----
";
    /// The same key: `openssl pkcs8 -topk8 -scrypt -passout pass:'Nouméa 1853'`.
    const SCRYPT: &str = "-----BEGIN ENCRYPTED PRIVATE KEY-----
MIGTME8GCSqGSIb3DQEFDTBCMCEGCSsGAQQB2kcECzAUBAipUAVecPdIAAICQAAC
AQgCAQEwHQYJYIZIAWUDBAEqBBA7ABYIOKOLRq6Id4g6hZ5UBED39YzHnX+Y5TdZ
siQtYSMWDcFb3eb06le9NMvQR68OjakyGKKtLha0frc+9NXwi/DVTJk/Krqnhj9H
ATqE+Xbr
-----END ENCRYPTED PRIVATE KEY-----
";
    /// `openssl genpkey -algorithm X25519`.
    const X25519: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VuBCIEINC9AYLdOJgkg6u+fQ/j47wB89bMyS4uvOIGgZkDyyFF
-----END PRIVATE KEY-----
";
    const PASSPHRASE: &str = "Nouméa 1853";
    const PUBLIC: &str = "630e7b657552d359cdf565d871d3d65edfaf0d42125cb1acd8f2c001db5e3f2c";

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }

    fn file(folder: &tempfile::TempDir, text: &str, mode: u32) -> PathBuf {
        let path = folder.path().join(format!("key-{mode:o}-{}.pem", text.len()));
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    #[test]
    fn key_files_that_openssl_made_are_read() {
        let folder = tempfile::tempdir().unwrap();
        for (text, passphrase) in [
            (PLAIN, None),
            (PLAIN, Some("not needed")),
            (PBKDF2, Some(PASSPHRASE)),
            (SCRYPT, Some(PASSPHRASE)),
        ] {
            let key = PrivateKey::read(&file(&folder, text, 0o600), passphrase).unwrap();
            assert_eq!(hex(key.public().bytes()), PUBLIC);
        }
        assert!(PrivateKey::read(&file(&folder, PLAIN, 0o400), None).is_ok());
    }

    #[test]
    fn a_key_file_is_written_once_with_mode_0600_and_reads_back() {
        let folder = tempfile::tempdir().unwrap();
        let key = PrivateKey::generate().unwrap();
        for passphrase in [None, Some("a passphrase")] {
            let path = folder.path().join(format!("{}.pem", passphrase.is_some()));
            key.write(&path, passphrase).unwrap();
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
            let read = PrivateKey::read(&path, passphrase).unwrap();
            assert_eq!(read.public(), key.public());
            let before = std::fs::read(&path).unwrap();
            let again = PrivateKey::generate().unwrap().write(&path, None).unwrap_err();
            assert!(matches!(again, KeyFault::Exists { .. }), "{again}");
            assert_eq!(std::fs::read(&path).unwrap(), before);
        }
        // What a process of this number left when it was stopped half-way.
        let half = folder.path().join(format!("half.pem.{}.new", std::process::id()));
        std::fs::write(&half, &PLAIN[..40]).unwrap();
        key.write(&folder.path().join("half.pem"), None).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3, "nothing else is left behind");
        let empty = key.write(&folder.path().join("empty.pem"), Some("")).unwrap_err();
        assert!(matches!(empty, KeyFault::EmptyPassphrase));
        assert!(!folder.path().join("empty.pem").exists());
    }

    #[test]
    fn an_unencrypted_file_is_what_openssl_writes() {
        let key = PrivateKey::from_pem(PLAIN, Path::new("x"), None).unwrap();
        assert_eq!(*key.to_pem(None).unwrap(), PLAIN);
    }

    #[test]
    fn a_file_that_others_can_reach_is_refused_in_one_sentence() {
        let folder = tempfile::tempdir().unwrap();
        for mode in [0o640, 0o604, 0o644, 0o620, 0o601, 0o660] {
            let path = file(&folder, PLAIN, mode);
            let fault = PrivateKey::read(&path, None).unwrap_err();
            assert!(matches!(fault, KeyFault::ReadableByOthers { .. }), "{fault}");
            assert!(fault.to_string().contains(&format!("chmod 600 {}", path.display())), "{fault}");
        }
    }

    #[test]
    fn each_unusable_file_has_its_own_sentence() {
        let folder = tempfile::tempdir().unwrap();
        let read = |text: &str, passphrase| PrivateKey::read(&file(&folder, text, 0o600), passphrase);
        assert!(matches!(read(PBKDF2, None), Err(KeyFault::PassphraseMissing { .. })));
        for wrong in ["", "Noumea 1853", "nouméa 1853"] {
            assert!(matches!(read(PBKDF2, Some(wrong)), Err(KeyFault::WrongPassphrase { .. })));
            assert!(matches!(read(SCRYPT, Some(wrong)), Err(KeyFault::WrongPassphrase { .. })));
        }
        assert!(matches!(read(X25519, None), Err(KeyFault::NotEd25519 { .. })));
        let public = PLAIN.replace("PRIVATE", "PUBLIC");
        let long = "x".repeat(20_000);
        for text in ["", "hello", &PLAIN[..60], &public, &long, &PBKDF2.replace("MIGb", "MIGc")] {
            assert!(matches!(read(text, Some("x")), Err(KeyFault::NotPkcs8 { .. })), "{text}");
        }
        let missing = PrivateKey::read(&folder.path().join("none.pem"), None);
        assert!(matches!(missing, Err(KeyFault::Read { .. })));
        assert!(matches!(PrivateKey::read(folder.path(), None), Err(KeyFault::NotPkcs8 { .. })));
    }

    #[test]
    fn nothing_secret_is_printed() {
        let key = PrivateKey::from_pem(PLAIN, Path::new("x"), None).unwrap();
        let printed = format!("{key:?}");
        assert_eq!(printed, format!("PrivateKey(\"{}\")", key.public().thumbprint()));
    }

    #[test]
    fn two_new_keys_differ() {
        let (a, b) = (PrivateKey::generate().unwrap(), PrivateKey::generate().unwrap());
        assert_ne!(a.public(), b.public());
    }
}
