//! `pirogue connect`.

use super::logging;
use crate::config::ConnectConfig;
use std::path::PathBuf;

/// Run a member's connectors, and receive what the hub delivers.
///
/// Reads from the member's software, signs each event with the member's key and
/// publishes it; verifies what the hub delivers and hands it to the sink. It
/// works until it is told to stop, by Ctrl-C or SIGTERM.
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
    /// Runs the member's side until it is told to stop.
    pub(super) fn run(self, verbose: u8) -> anyhow::Result<()> {
        let config = ConnectConfig::load(&self.config)?;
        logging::start(&config.log, verbose);
        anyhow::bail!("the connectors of {} can't start: this build has none in it", config.member)
    }
}
