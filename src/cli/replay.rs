//! `pirogue replay`.

use super::ask::{WhichHub, print_json, unexpected};
use super::render::{count, plain, print};
use crate::hub::operator::{Answer, ReplayReport, Request};

/// Send a recipient again what it was sent before, under the same numbers.
///
/// The messages are made again of what was decided, byte for byte, and go to the
/// recipient's queue beside what is sent to it anyway: a recipient ignores the
/// numbers that it has handled (WIRE.md section 3). In place of a message whose
/// payload was erased, or is over its days (retention.replay_days), it gets an
/// nc.hub.delivery.withheld under that number.
///
/// The hub has to run. Where the recipient's queue is full, the replay waits for
/// it to take messages, and says where it stopped if it doesn't.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  pirogue replay --to gouvernement --from 4711 --config /etc/pirogue/hub.toml"
)]
pub(super) struct ReplayCommand {
    /// The recipient.
    #[arg(long, value_name = "RECIPIENT")]
    to: String,
    /// The number of the first message.
    #[arg(long, value_name = "SEQUENCE")]
    from: u64,
    /// The number of the last message; otherwise the last that was sent.
    #[arg(long, value_name = "SEQUENCE")]
    until: Option<u64>,
    #[command(flatten)]
    hub: WhichHub,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
}

impl ReplayCommand {
    /// Asks the hub and prints what it sent.
    pub(super) fn run(self) -> anyhow::Result<()> {
        let request = Request::Replay { to: self.to, from: self.from, until: self.until };
        let Answer::Replayed(report) = self.hub.ask(&request)? else { return Err(unexpected()) };
        if self.json { print_json(&report) } else { print(&tell(&report)) }
    }
}

fn tell(report: &ReplayReport) -> String {
    let ReplayReport { recipient, first, last, messages, withheld } = report;
    let mut text = format!(
        "{} sent again to {}, numbers {first} to {last}.\n",
        count(*messages, "message"),
        plain(recipient)
    );
    if *withheld > 0 {
        text += &format!(
            "In place of {withheld} of them it gets nc.hub.delivery.withheld: what they said was erased, or is over its \
             days.\n"
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sent_again_is_told() {
        let report =
            ReplayReport { recipient: "gouvernement".into(), first: 7, last: 9, messages: 3, withheld: 1 };
        insta::assert_snapshot!(tell(&report), @r"
        3 messages sent again to gouvernement, numbers 7 to 9.
        In place of 1 of them it gets nc.hub.delivery.withheld: what they said was erased, or is over its days.
        ");
        assert!(!tell(&ReplayReport { withheld: 0, ..report }).contains("withheld"));
    }
}
