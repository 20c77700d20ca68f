//! `pirogue member`: who takes part, and with which keys.

mod admit;
mod invite;
mod join;
mod list;
mod revoke_key;
mod rotate_key;
mod sandbox;

use super::render::{plain, short_time, time};
use crate::admin::joining::{self, ListedKey};
use crate::config::HubConfig;
use crate::event::MemberName;
use crate::hub::operator::{Answer, ReloadReport, Request};
use crate::keys::Jwk;
use crate::ops::client::{self, CallFault};
use std::path::PathBuf;

/// Invite, join, admit members; list them; replace and revoke their keys.
///
/// The hub's operator invites; the member joins, which makes its keys; the
/// operator admits. Private keys and passwords never leave the member.
#[derive(Debug, clap::Subcommand)]
#[command(after_help = "\
Example, the operator's lines with --config and the member's without:
  pirogue member invite province-nord --config hub.toml --out province-nord.invitation
  pirogue member join province-nord.invitation --dir province-nord --out province-nord.request
  pirogue member admit province-nord.request --config hub.toml")]
pub(super) enum MemberCommand {
    Invite(invite::InviteCommand),
    Join(join::JoinCommand),
    Admit(admit::AdmitCommand),
    List(list::ListCommand),
    RotateKey(rotate_key::RotateKeyCommand),
    RevokeKey(revoke_key::RevokeKeyCommand),
    Sandbox(sandbox::SandboxCommand),
}

impl MemberCommand {
    /// Runs the command.
    pub(super) fn run(self, verbose: u8) -> anyhow::Result<()> {
        match self {
            MemberCommand::Invite(command) => command.run(),
            MemberCommand::Join(command) => command.run(),
            MemberCommand::Admit(command) => command.run(),
            MemberCommand::List(command) => command.run(),
            MemberCommand::RotateKey(command) => command.run(),
            MemberCommand::RevokeKey(command) => command.run(),
            MemberCommand::Sandbox(command) => command.run(verbose),
        }
    }
}

/// Which hub's files.
#[derive(Debug, clap::Args)]
struct OfHub {
    /// The hub's configuration file.
    #[arg(long, value_name = "FILE", env = "PIROGUE_CONFIG")]
    config: PathBuf,
}

impl OfHub {
    fn load(&self) -> anyhow::Result<HubConfig> {
        Ok(HubConfig::load(&self.config)?)
    }
}

/// Reads a member's name on the command line.
fn member_name(text: &str) -> Result<MemberName, String> {
    MemberName::parse(text).map_err(|fault| fault.to_string())
}

/// Seconds since 1970.
fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

/// A time in Nouméa, from seconds since 1970.
fn moment(seconds: i64) -> String {
    time(seconds.saturating_mul(1000))
}

/// What two people compare on the telephone: a line or two for each key.
fn fingerprints<'a>(keys: impl Iterator<Item = &'a Jwk>) -> String {
    let line = |key: &Jwk| {
        let kid = key.public.thumbprint();
        format!("  {:<10} {kid}\n             {}\n", key.key_use.to_string(), joining::spoken(kid))
    };
    keys.map(line).collect()
}

/// How long a key is valid, for a table's cell.
fn validity(key: &ListedKey) -> String {
    let moment = |seconds: i64| short_time(seconds.saturating_mul(1000));
    match (key.revoked, key.valid_from, key.valid_until) {
        (Some(at), ..) => format!("revoked {}", moment(at)),
        (None, Some(from), _) if key.state == joining::KeyState::Later => format!("from {}", moment(from)),
        (None, _, Some(end)) if key.state == joining::KeyState::Ended => format!("ended {}", moment(end)),
        (None, _, Some(end)) => format!("until {}", moment(end)),
        (None, _, None) => "valid".to_owned(),
    }
}

/// What became of the reload.
enum Reload {
    /// The hub goes by it now.
    Done(ReloadReport),
    /// No hub runs: it is read at the start.
    AtStart,
}

impl Reload {
    fn sentence(&self) -> String {
        match self {
            Reload::Done(report) => {
                let notes: String = report.notes.iter().map(|note| format!("\n- {}", plain(note))).collect();
                format!("The running hub goes by it from now on.{notes}")
            }
            Reload::AtStart => "No hub runs on its data folder: it is read when the hub starts.".to_owned(),
        }
    }
}

/// Tells the running hub, if there is one, to read its members again. `done` says
/// what is written already, should the hub not do it.
fn reload(config: &HubConfig, done: &str) -> anyhow::Result<Reload> {
    match client::call(&config.data, &Request::Reload) {
        Ok(Answer::Reloaded(report)) => Ok(Reload::Done(report)),
        Err(CallFault::NoHub { .. }) => Ok(Reload::AtStart),
        Ok(Answer::Failed { detail }) => {
            anyhow::bail!(
                "{done}, but the running hub goes on as before, since it can't read everything: {detail}"
            )
        }
        Ok(_) => Err(super::ask::unexpected()),
        Err(fault) => Err(anyhow::Error::new(fault)
            .context(format!("{done}, but the running hub wasn't told: run pirogue reload"))),
    }
}
