//! `pirogue member revoke-key`.

use super::{OfHub, member_name, now, reload};
use crate::admin::joining::{self, What};
use crate::cli::render::print;
use crate::event::MemberName;

/// Revoke a member's key, or all of them, from now on: the hub's side.
///
/// A revoked key proves nothing any more, to anyone, whenever it signed: events
/// by it are refused (key-not-valid), and agreements that it signed are no longer
/// in force. It stays in the member's file, and the journal says when. There is no
/// way back: the member makes another key.
///
/// The member's user at the broker isn't touched; to shut it out altogether,
/// remove that as well (rabbitmqctl delete_user NAME).
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pirogue member revoke-key kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k --config hub.toml
  pirogue member revoke-key --all province-nord --config hub.toml")]
pub(in crate::cli) struct RevokeKeyCommand {
    /// The key's identifier, as pirogue member list shows it.
    #[arg(
        value_name = "KID",
        required_unless_present = "all",
        conflicts_with = "all",
        allow_hyphen_values = true
    )]
    kid: Option<String>,
    /// Revoke every key of this member.
    #[arg(long, value_name = "NAME", value_parser = member_name)]
    all: Option<MemberName>,
    #[command(flatten)]
    hub: OfHub,
}

impl RevokeKeyCommand {
    /// Revokes, and tells the hub.
    pub(super) fn run(self) -> anyhow::Result<()> {
        let config = self.hub.load()?;
        let what = match (self.kid, self.all) {
            (Some(kid), _) => What::Key(kid),
            (None, Some(member)) => What::AllOf(member),
            (None, None) => anyhow::bail!("say which key: KID, or --all NAME"),
        };
        let revoked = {
            let _alone = joining::lock(&config)?;
            joining::revoke(&config, &what, now())?
        };
        let member = &revoked.member;
        if revoked.keys.is_empty() {
            return print(&format!("What is named of {member} is revoked already: nothing changes."));
        }
        let mut text = String::new();
        for key in &revoked.keys {
            text += &format!("{member}'s key for {} is revoked: {}\n", key.key_use, key.public.thumbprint());
        }
        for key_use in &revoked.without {
            text += &format!("{member} has no key for {key_use} any more.\n");
        }
        let reloaded = reload(&config, &format!("{member}'s file says that it is revoked"))?;
        print(&format!("{text}{}", reloaded.sentence()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(flatten)]
        command: RevokeKeyCommand,
    }

    #[test]
    fn an_identifier_may_begin_with_a_hyphen_and_one_of_both_is_named() {
        use clap::Parser;
        let parse = |line: &[&str]| Line::try_parse_from([&["x", "--config", "hub.toml"], line].concat());
        let kid = "-PrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k";
        assert_eq!(parse(&[kid]).unwrap().command.kid.as_deref(), Some(kid));
        assert_eq!(
            parse(&["--all", "province-nord"]).unwrap().command.all,
            MemberName::parse("province-nord").ok()
        );
        // It names a file in the members' folder, and none beside it.
        assert!(parse(&["--all", "../hub"]).is_err());
        assert!(parse(&[]).is_err());
        assert!(parse(&[kid, "--all", "province-nord"]).is_err());
        assert_eq!(parse(&[kid]).unwrap().command.hub.config.to_str(), Some("hub.toml"));
    }
}
