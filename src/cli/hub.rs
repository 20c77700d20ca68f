//! `pirogue hub`.

use super::logging;
use super::runtime::block_on;
use crate::config::{BusSetting, ConnectConfig, HubConfig};
use crate::ops::node::{HubNode, Node};
use std::path::PathBuf;

/// Run a hub: take events in, and deliver what the agreements grant.
///
/// Reads its configuration, opens its store, and works until it is told to
/// stop, by Ctrl-C or SIGTERM. Members, agreements and schemas are read again
/// on `pirogue reload`, without a restart.
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
        // Whole paths, so that a fault names ../province-sud/… by its real place. What
        // isn't there is told by the loading.
        let whole = |path: &PathBuf| path.canonicalize().unwrap_or_else(|_| path.clone());
        let members = config.connect.iter().map(|path| ConnectConfig::load_beside_hub(&whole(path)));
        let members = members.collect::<Result<Vec<_>, _>>()?;
        if let BusSetting::Amqp(url) = &config.bus {
            return block_on(on_rabbitmq(&config, url));
        }
        block_on::<_, anyhow::Error>(async {
            let told = stop_signal();
            let node = Node::start(&config, &members).await?;
            tracing::info!(
                hub = config.name,
                members = node.members().len(),
                http = node.address().map(tracing::field::display),
                "the hub runs; stop it with Ctrl-C or SIGTERM"
            );
            let ended = tokio::select! {
                ended = node.wait() => ended,
                () = told => Ok(()),
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

/// Runs the hub alone, on RabbitMQ.
async fn on_rabbitmq(config: &HubConfig, url: &str) -> anyhow::Result<()> {
    let told = stop_signal();
    let node = HubNode::on_rabbitmq(config, url).await?;
    tracing::info!(
        hub = config.name,
        http = node.address().map(tracing::field::display),
        "the hub runs; stop it with Ctrl-C or SIGTERM"
    );
    tokio::select! {
        ended = node.wait() => ended?,
        () = told => {}
    }
    tracing::info!("the hub stops: what was taken in is kept");
    Ok(node.stop().await?)
}

/// Ends at Ctrl-C or SIGTERM. It listens from the call on, not from the first
/// wait: what comes in between isn't missed. Takes a running runtime.
pub(super) fn stop_signal() -> impl Future<Output = ()> {
    use tokio::signal::unix::{SignalKind, signal};
    let (interrupt, terminate) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
    async move {
        // A signal that can't be listened to ends the process, as it does by default.
        let (Ok(mut interrupt), Ok(mut terminate)) = (interrupt, terminate) else {
            return std::future::pending().await;
        };
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    }
}
