//! `pirogue demo`.

use super::hub::stop_signal;
use super::runtime::block_on;
use super::{Printed, logging};
use crate::config::{Log, LogFormat, LogLevel};
use crate::demo::options::{BrokerOptions, DemoOptions};
use std::path::PathBuf;

/// Show the whole exchange on this machine, with synthetic people.
///
/// Starts a server that answers as the employment software Boost does, a hub,
/// and two members: province-sud publishes from Boost, gouvernement receives
/// under an agreement that grants some fields of jobseekers, and whole offers.
/// Slips in one bad message for each reason to refuse one, and one duplicate.
/// Ends with a table of what was sent, taken in, refused, delivered and
/// withheld, and one jobseeker as sent and as received.
///
/// It needs no service and no configuration. With --broker the same goes over
/// RabbitMQ, in a virtual host that the demo makes, and takes away again
/// unless --data keeps it. Without --once it goes on
/// publishing a few events until Ctrl-C. The exit status is 1 unless every
/// event came exactly once, in order and verified, and every bad message was
/// refused for its own reason.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  pirogue demo --once\n  pirogue demo --once --json --events 50000\n  \
                  pirogue demo --data ./demo    (keeps everything for a look afterwards)\n  \
                  pirogue demo --once --broker amqp://guest:guest@127.0.0.1")]
pub(super) struct DemoCommand {
    /// How many events to load: half jobseekers, half offers.
    #[arg(long, value_name = "N", default_value_t = 5000, value_parser = clap::value_parser!(u64).range(2..))]
    events: u64,
    /// Keep store, journal, configuration and received files in this folder.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// End after the load.
    #[arg(long)]
    once: bool,
    /// Print only a JSON object on standard output.
    #[arg(long)]
    json: bool,
    /// From what the synthetic people are made: the same seed, the same people.
    #[arg(long, value_name = "N", default_value_t = 988)]
    seed: u64,
    /// The port of the Boost-like server; 0 is any free one.
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    boost_port: u16,
    /// Use this RabbitMQ, as an administrator, instead of the embedded bus.
    #[arg(long, value_name = "URL", env = "PIROGUE_DEMO_BROKER", hide_env_values = true)]
    broker: Option<String>,
    /// Its management API, where it isn't at port 15672 of the same host.
    #[arg(
        long,
        value_name = "URL",
        env = "PIROGUE_DEMO_MANAGEMENT",
        hide_env_values = true,
        requires = "broker"
    )]
    management: Option<String>,
}

impl From<DemoCommand> for DemoOptions {
    fn from(command: DemoCommand) -> DemoOptions {
        let DemoCommand { events, data, once, json, seed, boost_port, broker, management } = command;
        let broker = broker.map(|url| BrokerOptions { url, management });
        DemoOptions { events, data, once, json, seed, boost_port, broker }
    }
}

impl DemoCommand {
    /// Runs the demonstration.
    pub(super) fn run(self, verbose: u8) -> anyhow::Result<()> {
        // What is said at level info would drown the progress bar.
        logging::start(&Log { format: LogFormat::Text, level: LogLevel::Warn }, verbose);
        let options = DemoOptions::from(self);
        match block_on(async { crate::demo::run(&options, stop_signal()).await })? {
            true => Ok(()),
            false => Err(Printed.into()),
        }
    }
}
