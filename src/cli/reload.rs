//! `pirogue reload`.

use super::ask::{WhichHub, print_json, unexpected};
use super::render::{count, plain, print};
use crate::hub::operator::{Answer, ReloadReport, Request};

/// Make a running hub read members, agreements and schemas again.
///
/// All three are read and checked before any takes effect; where one of them
/// can't be used, what was in force stays in force.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  pirogue reload --config /etc/pirogue/hub.toml")]
pub(super) struct ReloadCommand {
    #[command(flatten)]
    hub: WhichHub,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
}

impl ReloadCommand {
    /// Asks the hub and prints what is in force now.
    pub(super) fn run(self) -> anyhow::Result<()> {
        let Answer::Reloaded(report) = self.hub.ask(&Request::Reload)? else { return Err(unexpected()) };
        if self.json { print_json(&report) } else { print(&tell(&report)) }
    }
}

fn tell(report: &ReloadReport) -> String {
    let mut text = format!(
        "In force now: {}, {}, {}.\n",
        count(report.members as u64, "member"),
        count(report.agreements_in_force as u64, "agreement"),
        count(report.event_types as u64, "event type")
    );
    for note in &report.notes {
        text += &format!("- {}\n", plain(note));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_in_force_is_told_with_why() {
        let report = ReloadReport {
            members: 2,
            agreements_in_force: 1,
            event_types: 7,
            notes: vec!["emploi:2 isn't in force: gouvernement hasn't signed it".to_owned()],
        };
        insta::assert_snapshot!(tell(&report), @r"
        In force now: 2 members, 1 agreement, 7 event types.
        - emploi:2 isn't in force: gouvernement hasn't signed it
        ");
    }
}
