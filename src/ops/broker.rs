//! RabbitMQ as a configuration names it.

use crate::bus::amqp::{Connection, Options};
use crate::bus::manage::{ManageFault, Management};
use crate::bus::{BusFault, Tls};
use crate::config::{self, Broker, SecretFault};

/// Why RabbitMQ can't be connected to.
#[derive(Debug, thiserror::Error)]
pub enum BrokerFault {
    /// A password can't be had.
    #[error(transparent)]
    Secret(#[from] SecretFault),
    /// The address or the TLS files can't be used, or the broker refuses.
    #[error(transparent)]
    Bus(#[from] BusFault),
    /// The management API can't be used.
    #[error(transparent)]
    Management(#[from] ManageFault),
}

/// A connection to the RabbitMQ at `url`, as `user` where the URL names no
/// other. It is opened when it is first used.
pub fn connection(url: &str, user: &str, broker: &Broker) -> Result<Connection, BrokerFault> {
    let options = Options::configured(user, broker)?;
    Ok(Connection::new(url, options)?)
}

/// The management API that `settings` name, if they do.
pub fn management(settings: &config::Management) -> Result<Option<Management>, BrokerFault> {
    let (Some(url), Some(password)) = (&settings.url, &settings.password) else { return Ok(None) };
    let tls = Tls { ca: settings.ca.clone(), ..Tls::default() };
    Ok(Some(Management::new(url, &settings.user, password.read()?, &tls)?))
}
