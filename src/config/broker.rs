//! How to connect to RabbitMQ: `hub.toml` and `connect.toml` say what each key
//! means.

use super::{BusSetting, OutOfRange, SecretSource, resolve, words};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

words! {
    /// How a user proves who it is.
    BrokerLogin {
        /// By its name and a password.
        Password = "password",
        /// By its client certificate.
        Certificate = "certificate",
    }
}

/// `[broker]`: how to connect to RabbitMQ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(expecting = "a table")]
pub struct Broker {
    /// How the user proves who it is.
    pub login: BrokerLogin,
    /// Where the user's password is.
    pub password: Option<SecretSource>,
    /// The authorities that may have signed the broker's certificate, PEM.
    pub ca: Option<PathBuf>,
    /// The client's certificate, PEM.
    pub certificate: Option<PathBuf>,
    /// The private key of the client's certificate, PEM.
    pub key: Option<PathBuf>,
    /// In a hub's: the URL of the broker that members are to use, where it isn't
    /// the hub's own.
    pub advertise: Option<String>,
}

/// `[management]`: RabbitMQ's management API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(expecting = "a table")]
pub struct Management {
    /// Where it is; none is not to use it.
    pub url: Option<String>,
    /// The user, who needs the tag `administrator`.
    pub user: String,
    /// Where the user's password is.
    pub password: Option<SecretSource>,
    /// The authorities that may have signed its certificate, PEM.
    pub ca: Option<PathBuf>,
    /// The folder of the members' broker passwords as hashes, `MEMBER.hash` for
    /// each.
    pub users: PathBuf,
}

impl Broker {
    pub(super) fn resolve(&mut self, folder: &Path) {
        let paths = self.ca.iter_mut().chain(&mut self.certificate).chain(&mut self.key);
        paths.for_each(|path| resolve(folder, path));
        self.password.iter_mut().for_each(|secret| secret.resolve(folder));
    }

    /// Checks what the bus needs. The faults are of the key `bus`, which asks
    /// for what isn't there.
    pub(super) fn check(&self, bus: &BusSetting) -> Result<(), OutOfRange> {
        if let Some(url) = &self.advertise {
            let fault = |what: &str| Err(("broker.advertise", what.to_owned()));
            if !(url.starts_with("amqp://") || url.starts_with("amqps://")) {
                return fault("expected the URL of RabbitMQ, amqp://HOST or amqps://HOST");
            }
            if url.contains('@') {
                return fault(
                    "it goes to members, each of which has a name and a password of its own: leave USER@ out",
                );
            }
        }
        let BusSetting::Amqp(url) = bus else { return Ok(()) };
        let missing = |what: &str| Err(("bus", what.to_owned()));
        let secure = url.starts_with("amqps://");
        if secure && self.ca.is_none() {
            return missing("amqps:// takes broker.ca, the authority that signed the broker's certificate");
        }
        if self.certificate.is_some() != self.key.is_some() {
            return missing("broker.certificate and broker.key go together");
        }
        match self.login {
            BrokerLogin::Password if self.password.is_none() => {
                missing("to log in takes broker.password, { env = \"NAME\" } or { file = \"PATH\" }")
            }
            BrokerLogin::Certificate if !secure || self.certificate.is_none() => {
                missing("to log in by certificate takes amqps://, broker.certificate and broker.key")
            }
            _ => Ok(()),
        }
    }
}

impl Management {
    pub(super) fn resolve(&mut self, folder: &Path) {
        self.ca.iter_mut().for_each(|path| resolve(folder, path));
        resolve(folder, &mut self.users);
        self.password.iter_mut().for_each(|secret| secret.resolve(folder));
    }

    pub(super) fn check(&self) -> Result<(), OutOfRange> {
        let Some(url) = &self.url else { return Ok(()) };
        let fault = |what: &str| Err(("management.url", what.to_owned()));
        if !(url.starts_with("http://") || url.starts_with("https://")) {
            return fault("expected http://HOST:PORT or https://HOST:PORT");
        }
        if has_password(url) {
            return fault(
                "a password isn't written in a configuration: name its place in management.password",
            );
        }
        if self.password.is_none() {
            return fault("it takes management.password, { env = \"NAME\" } or { file = \"PATH\" }");
        }
        Ok(())
    }
}

/// Whether a URL holds a password: `scheme://user:password@host`.
pub(super) fn has_password(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    authority.rsplit_once('@').is_some_and(|(user, _)| user.contains(':'))
}
