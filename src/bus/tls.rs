//! TLS towards a broker: rustls with ring.

use super::BusFault;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Files for TLS, in PEM. They are read at each connection, so that a renewed
/// certificate is used from the next one on.
#[derive(Clone, Debug, Default)]
pub struct Tls {
    /// The certificates of the authorities that may have signed the broker's.
    /// None is trusted otherwise.
    pub ca: Option<PathBuf>,
    /// The client's certificate, followed by those up to its authority.
    pub certificate: Option<PathBuf>,
    /// The private key of the client's certificate.
    pub key: Option<PathBuf>,
}

impl Tls {
    /// The configuration of a client. Fails where a file can't be used.
    pub(super) fn client(&self) -> Result<rustls::ClientConfig, BusFault> {
        let mut roots = rustls::RootCertStore::empty();
        if let Some(path) = &self.ca {
            for certificate in certificates(path)? {
                roots.add(certificate).map_err(|_| unreadable(path, "a certificate in it can't be used"))?;
            }
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|_| BusFault::Address("TLS can't be set up".to_owned()))?
            .with_root_certificates(roots);
        let (Some(certificate), Some(key_file)) = (&self.certificate, &self.key) else {
            return Ok(config.with_no_client_auth());
        };
        let key = PrivateKeyDer::from_pem_file(key_file)
            .map_err(|_| unreadable(key_file, "there is no private key in PEM"))?;
        config
            .with_client_auth_cert(certificates(certificate)?, key)
            .map_err(|_| unreadable(key_file, "the key isn't that of the client certificate"))
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, BusFault> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match read {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(unreadable(path, "there is no certificate in PEM")),
    }
}

fn unreadable(path: &Path, why: &str) -> BusFault {
    BusFault::Address(format!("of the file {}: {why}", path.display()))
}
