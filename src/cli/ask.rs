//! What the commands that ask a running hub have in common.

use crate::cli::runtime::block_on;
use crate::config::HubConfig;
use crate::hub::operator::{Answer, Request};
use crate::ops::{client, node};
use anyhow::{anyhow, bail};
use std::path::{Path, PathBuf};

/// Which hub to ask. Both may be set, since the configuration may come from the
/// environment: then the data folder counts.
#[derive(Clone, Debug, clap::Args)]
#[group(required = true, multiple = true)]
pub(super) struct WhichHub {
    /// The hub's configuration file, which names its data folder.
    #[arg(long, value_name = "FILE", env = "PIROGUE_CONFIG")]
    config: Option<PathBuf>,
    /// The hub's data folder, instead of its configuration.
    ///
    /// A running hub is asked over its socket there. Where none runs, its store is
    /// asked, as far as it can answer, if hub.toml lies in the folder or --config
    /// is given.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

impl WhichHub {
    /// Asks the hub; where none runs, its store, if the configuration is known
    /// and the question is one about the past. An answer that it can't be done
    /// is a fault.
    pub(super) fn ask(&self, request: &Request) -> anyhow::Result<Answer> {
        let data = self.data()?;
        let answer = match (client::call(&data, request), self.at_rest(&data, request)) {
            (Err(client::CallFault::NoHub { .. }), Some(config)) => {
                let config = HubConfig::load(&config)?;
                block_on(node::ask_at_rest(&config, request.clone()))?
            }
            (answer, _) => answer?,
        };
        match answer {
            Answer::Failed { detail } | Answer::NotFound { detail } => Err(anyhow!(detail)),
            answer => Ok(answer),
        }
    }

    /// The hub's data folder.
    pub(super) fn data(&self) -> anyhow::Result<PathBuf> {
        match (&self.data, &self.config) {
            (Some(data), _) => Ok(data.clone()),
            (None, Some(config)) => Ok(HubConfig::load(config)?.data),
            (None, None) => bail!("say which hub: --config FILE or --data DIR"),
        }
    }

    /// The configuration with which `request` can be answered without a hub.
    fn at_rest(&self, data: &Path, request: &Request) -> Option<PathBuf> {
        // How a hub is can only be said of one that runs, and only that one sends.
        if matches!(
            request,
            Request::Status | Request::Reload | Request::Shutdown | Request::Metrics | Request::Replay { .. }
        ) {
            return None;
        }
        // A hub whose data folder is that of its configuration is common.
        let beside = data.join("hub.toml");
        self.config.clone().or_else(|| beside.exists().then_some(beside))
    }
}

/// The fault that a hub answered something else than what was asked.
pub(super) fn unexpected() -> anyhow::Error {
    anyhow!("the hub answered something else than what was asked: are hub and command of the same version?")
}

/// Prints a report as JSON on standard output.
pub(super) fn print_json(report: &impl serde::Serialize) -> anyhow::Result<()> {
    super::render::print(&serde_json::to_string_pretty(report)?)
}
