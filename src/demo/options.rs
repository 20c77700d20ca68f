//! What a demonstration can be asked.

use std::path::PathBuf;

/// What a demonstration can be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DemoOptions {
    /// How many events to load: half jobseekers, half offers.
    pub events: u64,
    /// The folder to keep; none is a temporary one that goes at the end.
    pub data: Option<PathBuf>,
    /// Whether to end after the load, instead of publishing on until Ctrl-C.
    pub once: bool,
    /// Whether to print only a JSON object.
    pub json: bool,
    /// From what the synthetic people are made: the same seed, the same people.
    pub seed: u64,
    /// The port of the Boost-like server; 0 is any free one.
    pub boost_port: u16,
    /// The RabbitMQ to use; none is the embedded bus.
    pub broker: Option<BrokerOptions>,
}

/// The RabbitMQ that a demonstration uses.
#[derive(Clone, PartialEq, Eq)]
pub struct BrokerOptions {
    /// Its address, `amqp://[USER:PASSWORD@]HOST[:PORT][/VHOST]`. The user is an
    /// administrator, `guest` where none is named. Without a virtual host the
    /// demonstration makes one of its own.
    pub url: String,
    /// Its management API, `http[s]://[USER:PASSWORD@]HOST[:PORT]`; without it,
    /// port 15672 of the broker's host, as the same user.
    pub management: Option<String>,
}

/// A URL can hold a password.
impl std::fmt::Debug for BrokerOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BrokerOptions").finish_non_exhaustive()
    }
}
