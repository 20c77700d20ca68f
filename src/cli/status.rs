//! `pirogue status`.

use super::Printed;
use super::ask::{WhichHub, print_json, unexpected};
use super::render::{count, plain, print, size, table, time};
use crate::hub::operator::{Answer, Request, StatusReport};

/// Show how a running hub is: what it took in, who got what, what waits.
///
/// The exit status is 1 where the hub says that something is wrong with it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  pirogue status --config /etc/pirogue/hub.toml\n  \
                        pirogue status --data ./demo/hub --json")]
pub(super) struct StatusCommand {
    #[command(flatten)]
    hub: WhichHub,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
}

impl StatusCommand {
    /// Asks the hub and prints how it is.
    pub(super) fn run(self) -> anyhow::Result<()> {
        let Answer::Status(report) = self.hub.ask(&Request::Status)? else { return Err(unexpected()) };
        if self.json {
            print_json(&report)?
        } else {
            print(&tell(&report))?
        }
        if report.problems.is_empty() { Ok(()) } else { Err(Printed.into()) }
    }
}

fn tell(report: &StatusReport) -> String {
    let mut text = format!(
        "Hub {}, version {}, since {} in Nouméa.\n",
        plain(&report.name),
        plain(&report.version),
        time(report.started_at)
    );
    if report.problems.is_empty() {
        text += "It works as it should.\n";
    }
    for problem in &report.problems {
        text += &format!("PROBLEM: {}\n", plain(problem));
    }
    text += &format!(
        "{} taken in, {} in the inbox to be taken.\n{} in the journal, root {}.\n{} of disk space free.\n",
        count(report.events, "event"),
        count(report.inbox_waiting, "message"),
        count(report.journal_entries, "entry"),
        plain(&report.journal_root),
        size(report.disk_free_bytes),
    );
    if let Some(at) = report.checkpoint_at {
        let entries = count(report.checkpoint_entries, "entry");
        text += &format!("The journal's last checkpoint is over {entries}, signed on {}.\n", time(at));
    }
    for witness in &report.witnesses {
        let name = plain(&witness.name);
        text += &match (&witness.problem, witness.at) {
            (Some(problem), _) => format!("The witness {name} doesn't cosign: {}\n", plain(problem)),
            (None, Some(at)) => {
                let entries = count(witness.entries, "entry");
                format!("The witness {name} cosigned {entries} on {}.\n", time(at))
            }
            (None, None) => format!("The witness {name} wasn't asked yet.\n"),
        };
    }
    if !report.recipients.is_empty() {
        let headings = ["recipient", "sequence", "confirmed", "undecided", "in its queue", "bytes"];
        let mut recipients = table(&headings);
        for one in &report.recipients {
            recipients.add_row([
                plain(&one.recipient),
                one.sequence.to_string(),
                one.confirmed.to_string(),
                one.undecided.to_string(),
                one.queue_messages.to_string(),
                size(one.queue_bytes),
            ]);
        }
        text += &format!("\n{recipients}\n");
    }
    if !report.agreements.is_empty() {
        let mut agreements = table(&["agreement", "provider", "recipient", "in force"]);
        for one in &report.agreements {
            let in_force = match &one.not_in_force {
                None => "yes".to_owned(),
                Some(why) => format!("no: {}", plain(why)),
            };
            agreements.add_row([
                plain(&one.agreement),
                plain(&one.provider),
                plain(&one.recipient),
                in_force,
            ]);
        }
        text += &format!("\n{agreements}\n");
    }
    if !report.quarantined.is_empty() {
        let mut quarantined = table(&["in quarantine because", "messages"]);
        for (reason, n) in &report.quarantined {
            quarantined.add_row([plain(reason), n.to_string()]);
        }
        text += &format!("\n{quarantined}\n");
    }
    for one in &report.dropped {
        let whose = if one.member.is_empty() { "a sender that it can't name" } else { &plain(&one.member) };
        text += &format!(
            "\nMore of {whose} was refused than the quarantine keeps: {}, its oldest, went, the last on {}. Raise \
             quarantine.max_items or max_mib, or see that it stops.\n",
            count(one.messages, "message"),
            time(one.at)
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::operator::{AgreementStatus, DroppedStatus, RecipientStatus, WitnessStatus};

    #[test]
    fn a_status_reads_well() {
        let report = StatusReport {
            name: "nc".into(),
            version: "0.1.0".into(),
            started_at: 1_793_675_112_345,
            problems: vec![],
            epoch: 1,
            events: 5000,
            journal_entries: 10_000,
            journal_root: "cm9vdA==".into(),
            checkpoint_entries: 9_990,
            checkpoint_at: Some(1_793_675_112_345),
            witnesses: vec![
                WitnessStatus {
                    name: "w.example".into(),
                    entries: 9_900,
                    at: Some(1_793_675_110_000),
                    problem: None,
                },
                WitnessStatus {
                    name: "x.example".into(),
                    problem: Some("it is away".into()),
                    ..Default::default()
                },
            ],
            disk_free_bytes: 3 << 30,
            members: 2,
            agreements: vec![AgreementStatus {
                agreement: "emploi-gouvernement:1".into(),
                provider: "province-sud".into(),
                recipient: "gouvernement".into(),
                not_in_force: None,
            }],
            recipients: vec![RecipientStatus {
                recipient: "gouvernement".into(),
                sequence: 4999,
                confirmed: 4999,
                undecided: 1,
                queue_messages: 12,
                queue_bytes: 4096,
            }],
            inbox_waiting: 0,
            quarantined: vec![("bad-signature".into(), 1)],
            dropped: vec![],
        };
        insta::assert_snapshot!(tell(&report), @r#"
        Hub nc, version 0.1.0, since 3 November 2026 at 14:05:12 in Nouméa.
        It works as it should.
        5,000 events taken in, 0 messages in the inbox to be taken.
        10,000 entries in the journal, root cm9vdA==.
        3.0 GiB of disk space free.
        The journal's last checkpoint is over 9,990 entries, signed on 3 November 2026 at 14:05:12.
        The witness w.example cosigned 9,900 entries on 3 November 2026 at 14:05:10.
        The witness x.example doesn't cosign: it is away

        ┌──────────────┬──────────┬───────────┬───────────┬──────────────┬─────────┐
        │ recipient    ┆ sequence ┆ confirmed ┆ undecided ┆ in its queue ┆ bytes   │
        ╞══════════════╪══════════╪═══════════╪═══════════╪══════════════╪═════════╡
        │ gouvernement ┆ 4999     ┆ 4999      ┆ 1         ┆ 12           ┆ 4.0 KiB │
        └──────────────┴──────────┴───────────┴───────────┴──────────────┴─────────┘

        ┌───────────────────────┬──────────────┬──────────────┬──────────┐
        │ agreement             ┆ provider     ┆ recipient    ┆ in force │
        ╞═══════════════════════╪══════════════╪══════════════╪══════════╡
        │ emploi-gouvernement:1 ┆ province-sud ┆ gouvernement ┆ yes      │
        └───────────────────────┴──────────────┴──────────────┴──────────┘

        ┌───────────────────────┬──────────┐
        │ in quarantine because ┆ messages │
        ╞═══════════════════════╪══════════╡
        │ bad-signature         ┆ 1        │
        └───────────────────────┴──────────┘
        "#);
        let failing = StatusReport { problems: vec!["the disk is nearly full".into()], ..report };
        assert!(tell(&failing).contains("\nPROBLEM: the disk is nearly full\n"));
        assert!(!tell(&failing).contains("as it should"));
        let of = |member: &str| DroppedStatus { member: member.into(), messages: 12, at: 1_793_675_112_345 };
        let said = tell(&StatusReport { dropped: vec![of("cafat"), of("")], ..failing });
        let words = "\nMore of cafat was refused than the quarantine keeps: 12 messages, its oldest, went, the last on \
                     3 November 2026 at 14:05:12.";
        assert!(said.contains(words) && said.contains("More of a sender that"), "{said}");
    }
}
