//! `pirogue connect`.

use super::logging;
use crate::config::{BusSetting, ConnectConfig};
use std::path::PathBuf;

/// Run a member's connectors, and receive what the hub delivers.
///
/// Reads from the member's software, signs each event with the member's key and
/// publishes it; verifies what the hub delivers and hands it to the sink.
///
/// In this release a member runs in its hub's own process: add its file to the
/// list `connect` of the hub's configuration, and run `pirogue hub`. This command
/// checks the file, and says so.
///
/// Every key of the configuration is explained by `pirogue config defaults
/// connect`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  pirogue connect --config /etc/pirogue/province-sud.toml")]
pub(super) struct ConnectCommand {
    /// The member's configuration file.
    #[arg(long, value_name = "FILE", env = "PIROGUE_CONFIG")]
    config: PathBuf,
}

impl ConnectCommand {
    /// Says where a member's side runs in this release.
    pub(super) fn run(self, verbose: u8) -> anyhow::Result<()> {
        let config = ConnectConfig::load(&self.config)?;
        logging::start(&config.log, verbose);
        let BusSetting::Embedded = config.bus;
        anyhow::bail!(
            "bus = \"embedded\" is the bus of a hub's own process: add this file to the list connect of the hub's \
             configuration, and run pirogue hub. A process of its own for {} takes RabbitMQ, which comes with the \
             next release",
            config.member
        )
    }
}
