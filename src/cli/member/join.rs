//! `pirogue member join`.

use super::{fingerprints, now};
use crate::admin::joining::{self, Invitation};
use crate::admin::prepare;
use crate::cli::render::{plain, print};
use crate::config::BusSetting;
use std::path::PathBuf;

/// Answer an invitation: make keys, a configuration and a request.
///
/// For the member, on its own machine. In the folder it makes the keys for events
/// and for agreements, the broker's password (files that only their owner can
/// read), the hub's public keys, and connect.toml, ready to run. The request holds
/// the public keys, the password's hash and the token, signed by both keys; there
/// is no other secret in it. Send it back to the hub's operator.
///
/// Done again it keeps what is there, and writes the same request anew.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  pirogue member join province-nord.invitation --dir province-nord --out province-nord.request")]
pub(in crate::cli) struct JoinCommand {
    /// The invitation that the hub's operator sent.
    #[arg(value_name = "FILE")]
    invitation: PathBuf,
    /// The folder for the member's keys and configuration.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// Where to write the request.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

impl JoinCommand {
    /// Makes the folder and the request.
    pub(super) fn run(self) -> anyhow::Result<()> {
        let invitation = Invitation::read(&self.invitation)?;
        let joined = joining::join(&invitation, &self.dir, now())?;
        prepare::write_private(&self.out, &joined.request)?;
        let config = joined.config.display();
        let mut text = match joined.config_kept {
            true => format!("{config} was there and is left as it is.\n"),
            false => {
                format!("{config} and the keys beside it are made. Keep a copy of keys/ somewhere safe.\n")
            }
        };
        text += &format!(
            "Send {} to the hub's operator, and compare on the telephone:\n\nour keys\n{}\nthe hub's keys\n{}\n",
            self.out.display(),
            fingerprints(joined.keys()),
            fingerprints(invitation.keys.keys.iter()),
        );
        text += &match &invitation.bus {
            BusSetting::Amqp(_) => format!("Once admitted: pirogue connect --config {config}"),
            BusSetting::Embedded => format!(
                "Once admitted, it runs in the process of the hub {}: its operator adds {config} to the list connect \
                 of hub.toml",
                plain(&invitation.hub)
            ),
        };
        print(&text)
    }
}
