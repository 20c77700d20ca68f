//! `pirogue connect`.

use super::hub::stop_signal;
use super::logging;
use super::runtime::block_on;
use crate::config::{BusSetting, ConnectConfig};
use crate::ops::node;
use std::path::PathBuf;

/// Run a member's connectors, and receive what the hub delivers.
///
/// Reads from the member's software, signs each event with the member's key and
/// publishes it; verifies what the hub delivers and hands it to the sink.
///
/// It works until it is told to stop, by Ctrl-C or SIGTERM. This takes RabbitMQ
/// (`bus = "amqps://HOST"`). On the embedded bus a member runs in its hub's own
/// process: add its file to the list `connect` of the hub's configuration.
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
        let BusSetting::Amqp(url) = &config.bus else {
            anyhow::bail!(
                "bus = \"embedded\" is the bus of a hub's own process: add this file to the list connect of the \
                 hub's configuration, and run pirogue hub. A process of its own for {} takes RabbitMQ, bus = \
                 \"amqps://HOST\"",
                config.member
            );
        };
        block_on::<_, anyhow::Error>(async {
            let told = stop_signal();
            let connect = node::connect_on_rabbitmq(&config, url).await?;
            tracing::info!(
                member = config.member,
                connectors = config.connectors.len(),
                inbox = config.inbox.enabled,
                door = connect.door().map(|door| format!("http://{door}")),
                "the member's side runs; stop it with Ctrl-C or SIGTERM"
            );
            tokio::select! {
                ended = connect.wait() => ended?,
                () = told => {}
            }
            tracing::info!("the member's side stops: what was read and isn't confirmed is read again");
            Ok(connect.stop().await?)
        })
    }
}
