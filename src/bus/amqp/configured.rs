//! How a configuration says to connect.

use super::target::{Login, Options};
use crate::bus::Tls;
use crate::config::{Broker, BrokerLogin, SecretFault};

impl Options {
    /// What `[broker]` says, for `user` where the URL names no other. Fails where
    /// the password can't be had.
    pub fn configured(user: &str, broker: &Broker) -> Result<Options, SecretFault> {
        let login = match (broker.login, &broker.password) {
            (BrokerLogin::Certificate, _) => Login::Certificate,
            (BrokerLogin::Password, Some(place)) => Login::Password(place.read()?),
            (BrokerLogin::Password, None) => Login::Url,
        };
        let tls =
            Tls { ca: broker.ca.clone(), certificate: broker.certificate.clone(), key: broker.key.clone() };
        Ok(Options {
            user: user.to_owned(),
            login,
            tls,
            name: format!("pirogue {user}"),
            ..Options::default()
        })
    }
}
