//! `pirogue member admit`.

use super::{OfHub, Reload, fingerprints, moment, now, reload};
use crate::admin::joining::{self, Checked, Request};
use crate::admin::provision::Plan;
use crate::cli::provision::{carry_out, management};
use crate::cli::render::print;
use crate::cli::runtime::block_on;
use crate::config::{BusSetting, HubConfig};
use anyhow::Context;
use std::path::PathBuf;

/// Admit a member that joins, or its new key: the hub's side.
///
/// Checks the request's signatures, its token, name and age; sets up the member's
/// queue, user and permissions on RabbitMQ; writes its public keys into the
/// members' folder; and tells the running hub. The same request again changes
/// nothing.
///
/// The keys are shown: compare them with the member on the telephone, before,
/// with --check.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pirogue member admit province-nord.request --config hub.toml --check
  pirogue member admit province-nord.request --config hub.toml")]
pub(in crate::cli) struct AdmitCommand {
    /// The request that the member sent.
    #[arg(value_name = "FILE")]
    request: PathBuf,
    #[command(flatten)]
    hub: OfHub,
    /// Check the request and show its keys, and change nothing.
    #[arg(long)]
    check: bool,
}

impl AdmitCommand {
    /// Checks, and admits.
    pub(super) fn run(self) -> anyhow::Result<()> {
        let config = self.hub.load()?;
        let text = std::fs::read_to_string(&self.request)
            .with_context(|| format!("the request {} can't be read", self.request.display()))?;
        let _alone = joining::lock(&config)?;
        let checked = joining::check(&config, &text, now())?;
        let member = checked.member();
        if checked.is_admitted() {
            // What a command that was stopped left behind.
            checked.admit(&config)?;
            return print(&format!("{member}'s request is admitted already: nothing changes."));
        }
        print(&asked_for(&checked))?;
        if self.check {
            return print("The request is good. Nothing was changed.");
        }
        let provisioned = match checked.request() {
            Request::Join(_) => provision(&config, &checked)?,
            Request::Rotation(_) => String::new(),
        };
        checked.admit(&config)?;
        let done = match checked.request() {
            Request::Join(_) => format!("{member} is admitted"),
            Request::Rotation(_) => format!("{member}'s new key is admitted"),
        };
        let reloaded = reload(&config, &done)?;
        let next = match (checked.request(), &reloaded) {
            (Request::Join(_), Reload::Done(_)) => " It can publish.",
            (Request::Join(_), Reload::AtStart) => "",
            (Request::Rotation(_), _) => " Tell it to run pirogue member rotate-key --switch.",
        };
        print(&format!("{done}.{provisioned} {}{next}", reloaded.sentence()))
    }
}

fn asked_for(checked: &Checked) -> String {
    let keys = fingerprints(checked.request().keys().iter());
    let member = checked.member();
    match checked.request() {
        Request::Join(_) => format!("{member} asks to join, with these keys:\n{keys}"),
        Request::Rotation(rotation) => format!(
            "{member} asks on {} to replace its key {} within {} days by:\n{keys}",
            moment(rotation.made),
            rotation.old,
            rotation.overlap_days
        ),
    }
}

/// Sets up RabbitMQ for the member. Returns what there is to say of it.
fn provision(config: &HubConfig, checked: &Checked) -> anyhow::Result<String> {
    checked.keep_credential(config)?;
    if config.bus == BusSetting::Embedded {
        return Ok(String::new());
    }
    let Some(management) = management(config)? else {
        return Ok(
            " RabbitMQ isn't set up for it, since management.url isn't set: import what pirogue provision \
                   --export writes."
                .to_owned(),
        );
    };
    block_on(async {
        let users = management.users().await?;
        let plan = Plan::for_members(config, [checked.member().clone()], &users)?;
        anyhow::Ok(carry_out(&plan, &management).await?)
    })?;
    Ok(String::new())
}
