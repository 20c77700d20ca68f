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
}
