//! `pirogue hub`.

use super::logging;
use crate::config::{ConnectConfig, HubConfig};
use crate::ops::node::Node;
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
        let members = config.connect.iter().map(|path| ConnectConfig::load_beside_hub(path));
        let members = members.collect::<Result<Vec<_>, _>>()?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(async {
            let node = Node::start(&config, &members).await?;
            tracing::info!(
                hub = config.name,
                members = node.members().len(),
                http = node.address().map(tracing::field::display),
                "the hub runs; stop it with Ctrl-C, SIGTERM or the operator's command"
            );
            let ended = tokio::select! {
                ended = node.wait() => ended,
                () = stop_signal() => Ok(()),
            };
            tracing::info!("the hub stops: what was taken in is kept");
            // A hub whose store failed has nothing to finish.
            match ended {
                Ok(()) => Ok(node.stop().await?),
                Err(fault) => Err(fault.into()),
            }
        })
    }
}

/// Waits for Ctrl-C or SIGTERM.
pub(super) async fn stop_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        let _ = tokio::signal::ctrl_c().await;
        return;
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}
