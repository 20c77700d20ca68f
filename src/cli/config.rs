//! `pirogue config`.

use super::render::print;
use crate::config::{ConnectConfig, HubConfig};
use std::path::PathBuf;

/// Check a configuration and show what is in force; print the defaults.
///
/// What is in force is the defaults, the file, and the environment variables
/// PIROGUE__SECTION__KEY, the later before the earlier. An unknown key or a
/// value that can't be used is an error.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  pirogue config show hub --config /etc/pirogue/hub.toml",
    arg_required_else_help = true
)]
pub(super) struct ConfigCommand {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    Show(ShowCommand),
    Defaults(DefaultsCommand),
}

/// Of which program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Program {
    /// `pirogue hub`.
    Hub,
    /// `pirogue connect`.
    Connect,
}

/// Check a configuration file and show every setting in force, as TOML.
///
/// Each key stands below its meaning, and behind its value who set it: default,
/// file, or the environment variable. Paths are shown in full. Secrets are shown
/// by the place where they are, and what looks like one is hidden.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  pirogue config show connect --config /etc/pirogue/province-sud.toml")]
struct ShowCommand {
    /// Which program's configuration it is.
    #[arg(value_enum)]
    program: Program,
    /// The configuration file.
    #[arg(long, value_name = "FILE", env = "PIROGUE_CONFIG")]
    config: PathBuf,
}

/// Print the defaults, each key with its meaning: a file to begin from.
///
/// A key behind a single # has no default; the line is an example.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  pirogue config defaults hub > hub.toml")]
struct DefaultsCommand {
    /// Which program's defaults.
    #[arg(value_enum)]
    program: Program,
}

impl ConfigCommand {
    /// Prints the settings or the defaults.
    pub(super) fn run(self) -> anyhow::Result<()> {
        let text = match self.what {
            What::Show(ShowCommand { program: Program::Hub, config }) => {
                let (config, origins) = HubConfig::load_known(&config)?;
                config.explained(&origins)?
            }
            What::Show(ShowCommand { program: Program::Connect, config }) => {
                let (config, origins) = ConnectConfig::load_known(&config)?;
                config.explained(&origins)?
            }
            What::Defaults(DefaultsCommand { program: Program::Hub }) => HubConfig::defaults().to_owned(),
            What::Defaults(DefaultsCommand { program: Program::Connect }) => {
                ConnectConfig::defaults().to_owned()
            }
        };
        print(&text)
    }
}
