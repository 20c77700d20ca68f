//! `pirogue hub`.

use super::logging;
use crate::config::HubConfig;
use std::path::PathBuf;

/// Run a hub: take events in, and deliver what the agreements grant.
///
/// Reads its configuration, opens its store, and works until it is told to
/// stop: by Ctrl-C, SIGTERM, or the operator. Members, agreements and schemas
/// are read again on `pirogue reload`, without a restart.
///
/// Every key of the configuration is explained by `pirogue config defaults hub`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  pirogue hub --config /etc/pirogue/hub.toml")]
pub(super) struct HubCommand {
    /// The hub's configuration file.
    #[arg(long, value_name = "FILE", env = "PIROGUE_CONFIG")]
    config: PathBuf,
}

impl HubCommand {
    /// Runs the hub until it is told to stop.
    pub(super) fn run(self, verbose: u8) -> anyhow::Result<()> {
        let config = HubConfig::load(&self.config)?;
        logging::start(&config.log, verbose);
        anyhow::bail!("the hub {} can't start: this build has no hub in it", config.name)
    }
}
