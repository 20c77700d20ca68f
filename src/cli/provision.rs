//! `pirogue provision`.

use super::render::{count, plain, print};
use crate::admin::credentials::CredentialFault;
use crate::admin::joining;
use crate::admin::prepare;
use crate::admin::provision::{Plan, ProvisionFault};
use crate::bus::manage::Management;
use crate::cli::runtime::block_on;
use crate::config::HubConfig;
use crate::event::MemberName;
use crate::ops::broker;
use anyhow::Context;
use std::path::PathBuf;

/// Set up RabbitMQ for a hub and its members: queues, users, permissions.
///
/// Reads the hub's configuration and the folder of its members, compares with
/// what is on the broker, over the management API that [management] names, and
/// makes what is missing: the virtual host, exchanges, queues, bindings, users,
/// permissions. Nothing is taken away. Done twice, the second time changes
/// nothing.
///
/// A member whose password's hash lies in the folder [management] users (as
/// `pirogue member admit` puts it there) logs in by that password. For another,
/// one is made, and kept in MEMBER.password there: hand it over, then remove the
/// file. A user that the broker has already keeps its password.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pirogue provision --config hub.toml --dry-run
  pirogue provision --config hub.toml
  pirogue provision --config hub.toml --export definitions.json
  rabbitmqctl import_definitions definitions.json")]
pub(super) struct ProvisionCommand {
    /// The hub's configuration file.
    #[arg(long, value_name = "FILE", env = "PIROGUE_CONFIG")]
    config: PathBuf,
    /// Show what would be made, and make nothing.
    #[arg(long)]
    dry_run: bool,
    /// Write a definitions file that RabbitMQ imports, and change nothing on the broker.
    ///
    /// It takes no management API. Passwords stand there as hashes; the file is
    /// readable by its owner alone.
    #[arg(long, value_name = "FILE", conflicts_with = "dry_run")]
    export: Option<PathBuf>,
}

/// The management API that a configuration names.
pub(super) fn management(config: &HubConfig) -> anyhow::Result<Option<Management>> {
    Ok(broker::management(&config.management)?)
}

impl ProvisionCommand {
    /// Compares, and makes what is missing.
    pub(super) fn run(self) -> anyhow::Result<()> {
        let config = HubConfig::load(&self.config)?;
        if let Some(file) = &self.export {
            let _alone = joining::lock(&config)?;
            let plan = Plan::of(&config, &[])?;
            plan.keep()?;
            let definitions = plan.definitions()?;
            prepare::write_private(file, &definitions).map_err(CredentialFault::from)?;
            told_of_passwords(&plan, plan.made())?;
            let shown = file.display();
            return print(&format!(
                "Written: {shown}. Import it with rabbitmqctl import_definitions {shown}"
            ));
        }
        // What is wrong with the files is said before anyone is asked.
        Plan::of(&config, &[])?;
        let management = management(&config)?.with_context(|| {
            format!(
                "{} doesn't set management.url, RabbitMQ's management API: set it, or write a file for RabbitMQ to \
                 import with --export FILE",
                self.config.display()
            )
        })?;
        block_on(self.over(&config, &management))
    }

    async fn over(&self, config: &HubConfig, management: &Management) -> anyhow::Result<()> {
        let users = management.users().await?;
        if self.dry_run {
            let missing = Plan::of(config, &users)?.layout().missing(management).await?;
            if missing.is_empty() {
                return print("Nothing to do: the broker has all that the hub and its members need.");
            }
            let lines: Vec<String> = missing.iter().map(|change| plain(&change.to_string())).collect();
            return print(&format!("{}\nNothing was changed.", lines.join("\n")));
        }
        let _alone = joining::lock(config)?;
        let plan = Plan::of(config, &users)?;
        let done = carry_out(&plan, management).await?;
        told_of_passwords(&plan, plan.made())?;
        match done {
            0 => print("Nothing to do: the broker has all that the hub and its members need."),
            done => print(&format!("{} made.", count(done as u64, "change"))),
        }
    }
}

/// Makes what is missing, a line for each.
pub(super) async fn carry_out(plan: &Plan, management: &Management) -> Result<usize, ProvisionFault> {
    // Standard output may be gone: the changes go on.
    plan.carry_out(management, &mut |line| drop(print(&plain(&line)))).await
}

/// Says which passwords were made, and never what they are.
fn told_of_passwords<'a>(plan: &Plan, made: impl Iterator<Item = &'a MemberName>) -> anyhow::Result<()> {
    for member in made {
        print(&format!(
            "A password was made for {member}: hand {} over to it by a safe way, then remove the file.",
            plan.password_file(member).display()
        ))?;
    }
    Ok(())
}
