//! `pirogue erase`.

use super::ask::{WhichHub, print_json, unexpected};
use super::confirm;
use super::render::{count, plain, print, time};
use crate::hub::operator::{Answer, ErasureReport, Request, Told};
use anyhow::bail;

/// Erase a person: what the hub holds of it, for good and in every backup.
///
/// The person is named as a member names it: the member, then the identifier that
/// its software gives as KIND/LOCAL-ID (person/4711), or LOCAL-ID alone for a
/// person. What the hub holds under that name can't be read any more, in no copy
/// either: the keys of the payloads are overwritten, refused messages are removed,
/// messages that wait are replaced, and nothing leads from the person to the
/// journal. Each member that got something is told, by the identifier that it
/// knows (nc.hub.person.erased); one that takes part no longer is only named.
///
/// Outside of it are the recipients' own systems, and RabbitMQ's files: a message
/// that was published before stays there until its recipient has taken it. What
/// the member sends of the person after this is taken in anew: see that it
/// doesn't.
///
/// The hub is asked where it runs; its store is, where it doesn't. The erasure is
/// written down in the file of erasure.log first, by which a data folder that comes
/// back from a backup is erased again when the hub starts.
///
/// The exit status is 1 where the hub has nothing of such a person.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  pirogue erase --person province-sud 4711 --dry-run --config /etc/pirogue/hub.toml\n  \
                  pirogue erase --person province-sud person/4711 --yes --config /etc/pirogue/hub.toml"
)]
pub(super) struct EraseCommand {
    /// The member, and the identifier that it gives, [KIND/]LOCAL-ID.
    #[arg(long, num_args = 2, value_names = ["MEMBER", "LOCAL-ID"], required = true)]
    person: Vec<String>,
    /// Only say what there is.
    #[arg(long)]
    dry_run: bool,
    /// Don't ask whether to go on.
    #[arg(long, short = 'y', conflicts_with = "dry_run")]
    yes: bool,
    #[command(flatten)]
    hub: WhichHub,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
}

impl EraseCommand {
    /// Asks the hub what there is, asks whether to go on, erases and tells.
    pub(super) fn run(self) -> anyhow::Result<()> {
        let [member, subject] = self.person.as_slice() else { bail!("say whom: --person MEMBER LOCAL-ID") };
        let ask = |dry_run| -> anyhow::Result<ErasureReport> {
            let request = Request::Erase { member: member.clone(), subject: subject.clone(), dry_run };
            let Answer::Erased(report) = self.hub.ask(&request)? else { return Err(unexpected()) };
            Ok(report)
        };
        if !self.dry_run && !self.yes {
            if !confirm::is_possible() {
                bail!("this can't be undone: say --yes, or --dry-run to see first what there is");
            }
            print(&tell(&ask(true)?))?;
            confirm::ask("\nThis can't be undone. Erase all of it?", "nothing was erased")?;
        }
        let report = ask(self.dry_run)?;
        if self.json { print_json(&report) } else { print(&tell(&report)) }
    }
}

fn tell(report: &ErasureReport) -> String {
    let mut text = if report.dry_run {
        "Nothing was erased. This hub holds of the person:\n".to_owned()
    } else {
        format!("Erased on {} in Nouméa:\n", time(report.at))
    };
    text += &format!(
        "  {}, {} of them with a payload\n  {} in quarantine\n  {} that waited to be sent\n",
        count(report.events, "event"),
        report.payloads,
        count(report.quarantined, "message"),
        count(report.pending, "message"),
    );
    if let Some(queued) = report.queued {
        text += &format!("  {} that waited in queues\n", count(queued, "message"));
    }
    let then = if report.dry_run { "would be told" } else { "are told" };
    match report.told.as_slice() {
        [] if report.left.is_empty() => text += "No recipient got anything of the person.\n",
        [] => {}
        told => text += &format!("These got something and {then} to erase it: {}.\n", names(told)),
    }
    if !report.left.is_empty() {
        text += &format!(
            "These got something, take part no longer and can't be told by the hub: {}. Tell them otherwise.\n",
            names(&report.left)
        );
    }
    if !report.dry_run && report.queued.is_none() && !report.told.is_empty() {
        text += "What RabbitMQ has stays in its files until the recipient has taken it.\n";
    }
    text
}

fn names(told: &[Told]) -> String {
    let name = |told: &Told| format!("{} ({})", plain(&told.recipient), count(told.messages, "message"));
    told.iter().map(name).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_erased_is_told_in_counts() {
        let report = ErasureReport {
            dry_run: true,
            at: 1_793_675_112_345,
            events: 12,
            payloads: 11,
            pending: 2,
            queued: None,
            quarantined: 1,
            told: vec![Told { recipient: "gouvernement".into(), messages: 12 }],
            left: vec![],
        };
        insta::assert_snapshot!(tell(&report), @r"
        Nothing was erased. This hub holds of the person:
          12 events, 11 of them with a payload
          1 message in quarantine
          2 messages that waited to be sent
        These got something and would be told to erase it: gouvernement (12 messages).
        ");
        insta::assert_snapshot!(tell(&ErasureReport { dry_run: false, queued: Some(3), ..report.clone() }), @r"
        Erased on 3 November 2026 at 14:05:12 in Nouméa:
          12 events, 11 of them with a payload
          1 message in quarantine
          2 messages that waited to be sent
          3 messages that waited in queues
        These got something and are told to erase it: gouvernement (12 messages).
        ");
        assert!(tell(&ErasureReport { dry_run: false, ..report.clone() }).contains("RabbitMQ"));
        let left = vec![Told { recipient: "province-nord".into(), messages: 1 }];
        let said = tell(&ErasureReport { told: vec![], left, ..report });
        let words = "These got something, take part no longer and can't be told by the hub: province-nord (1 message).";
        assert!(said.contains(words) && !said.contains("No recipient"), "{said}");
    }
}
