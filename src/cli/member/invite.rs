//! `pirogue member invite`.

use super::{OfHub, fingerprints, member_name, moment, now};
use crate::admin::joining;
use crate::admin::prepare;
use crate::cli::render::print;
use crate::event::MemberName;
use std::path::PathBuf;

/// Write an invitation for one who is to join: the hub's side.
///
/// The file says where the broker is for members ([broker] advertise, or that of
/// the hub), the hub's name and public keys, and holds a token that works once,
/// within 14 days. Send it to the member alone. Inviting the same member again
/// closes the invitation before.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  pirogue member invite province-nord --config hub.toml --out province-nord.invitation")]
pub(in crate::cli) struct InviteCommand {
    /// The name that the member is to have.
    #[arg(value_name = "NAME", value_parser = member_name)]
    member: MemberName,
    #[command(flatten)]
    hub: OfHub,
    /// Where to write the invitation.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

impl InviteCommand {
    /// Writes the invitation.
    pub(super) fn run(self) -> anyhow::Result<()> {
        let config = self.hub.load()?;
        let _alone = joining::lock(&config)?;
        let earlier = joining::invited_until(&config, &self.member, now())?;
        let invitation = joining::invite(&config, &self.member, now())?;
        prepare::write_private(&self.out, &invitation.render())?;
        let out = self.out.display();
        if let Some(until) = earlier {
            let until = moment(until);
            eprintln!("It was invited until {until}: that invitation is ended, and this one alone counts.");
        }
        print(&format!(
            "{member} is invited until {end} in Nouméa.\n\
             Send {out} to it, by a way that only it can read. On its side:\n  \
             pirogue member join {file} --dir {member} --out {member}.request\n\n\
             The hub's keys, to be compared on the telephone with what that prints:\n{keys}",
            member = self.member,
            end = moment(invitation.expires),
            file = self.out.file_name().unwrap_or_default().display(),
            keys = fingerprints(invitation.keys.keys.iter()),
        ))
    }
}
