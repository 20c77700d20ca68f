//! `pirogue quarantine`.

use super::ask::{WhichHub, print_json, unexpected};
use super::render::{count, plain, print, short_time, size, table, time};
use crate::fault::Reason;
use crate::hub::operator::{Answer, QuarantineDetail, QuarantineReport, Request};

/// Look at the messages that a hub refused.
///
/// A refused message is kept, sealed, for the days that the configuration says.
/// What is shown names its fields and sizes, and never what they hold: that is
/// its publisher's.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  pirogue quarantine list --config /etc/pirogue/hub.toml",
    arg_required_else_help = true
)]
pub(super) struct QuarantineCommand {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    List(ListCommand),
    Show(ShowCommand),
}

/// List the refused messages, the newest first.
///
/// Each has an id, for `pirogue quarantine show`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  pirogue quarantine list --reason bad-signature --config /etc/pirogue/hub.toml"
)]
struct ListCommand {
    #[command(flatten)]
    hub: WhichHub,
    /// Only those refused for this reason.
    #[arg(long, value_parser = clap::builder::PossibleValuesParser::new(Reason::ALL.map(Reason::as_str)))]
    reason: Option<String>,
    /// At most so many.
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: usize,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
}

/// Show one refused message: who sent it, why it was refused, what it is made of.
///
/// Its id is in the list.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  pirogue quarantine show 12 --config /etc/pirogue/hub.toml")]
struct ShowCommand {
    #[command(flatten)]
    hub: WhichHub,
    /// The entry's id, from the list.
    id: String,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
}

impl QuarantineCommand {
    /// Asks the hub and prints what it says.
    pub(super) fn run(self) -> anyhow::Result<()> {
        match self.what {
            What::List(ListCommand { hub, reason, limit, json }) => {
                let request = Request::QuarantineList { limit, reason };
                let Answer::Quarantine(report) = hub.ask(&request)? else { return Err(unexpected()) };
                if json { print_json(&report) } else { print(&list(&report)) }
            }
            What::Show(ShowCommand { hub, id, json }) => {
                let request = Request::QuarantineShow { id };
                let Answer::QuarantineEntry(detail) = hub.ask(&request)? else { return Err(unexpected()) };
                if json { print_json(&detail) } else { print(&show(&detail)) }
            }
        }
    }
}

fn or_unknown(text: &Option<String>) -> String {
    text.as_deref().map_or_else(|| "not known".to_owned(), plain)
}

fn list(report: &QuarantineReport) -> String {
    if report.entries.is_empty() {
        return "Nothing is in quarantine.\n".to_owned();
    }
    let mut entries = table(&["id", "when (Nouméa)", "from", "reason", "why"]);
    for entry in &report.entries {
        entries.add_row([
            plain(&entry.id),
            short_time(entry.at),
            or_unknown(&entry.sender),
            plain(&entry.reason),
            plain(&entry.detail),
        ]);
    }
    let shown = report.entries.len() as u64;
    let more = match report.total.saturating_sub(shown) {
        0 => format!("{}.\n", count(shown, "message")),
        more => format!("{}, and {more} more: --limit shows more.\n", count(shown, "message")),
    };
    format!("{entries}\n{more}")
}

fn show(detail: &QuarantineDetail) -> String {
    let entry = &detail.entry;
    let mut text = format!("Refused on {} in Nouméa: {}.\n", time(entry.at), plain(&entry.reason));
    text += &format!("{}\n", plain(&entry.detail));
    text += &format!("It will be dropped on {}.\n\n", time(entry.expires_at));
    let mut facts = table(&["message", &plain(&entry.id)]);
    facts.add_row(["sent by".to_owned(), or_unknown(&entry.sender)]);
    facts.add_row(["source".to_owned(), or_unknown(&entry.source)]);
    facts.add_row(["event id".to_owned(), or_unknown(&entry.event_id)]);
    facts.add_row(["type".to_owned(), or_unknown(&entry.event_type)]);
    facts.add_row(["size".to_owned(), size(entry.bytes)]);
    facts.add_row(["body".to_owned(), size(detail.body_bytes)]);
    facts.add_row(["SHA-256 of the body".to_owned(), plain(&detail.body_sha256)]);
    for (name, bytes) in &detail.headers {
        facts.add_row([format!("header {}", plain(name)), size(*bytes)]);
    }
    text += &format!("{facts}\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::operator::QuarantineEntry;

    fn entry() -> QuarantineEntry {
        QuarantineEntry {
            id: "12".into(),
            at: 1_793_675_112_345,
            sender: Some("province-sud".into()),
            reason: "bad-signature".into(),
            detail: "the signature isn't of this header and body".into(),
            source: Some("/province-sud/boost\u{1b}[2J".into()),
            event_id: None,
            event_type: Some("nc.employment.offer.published".into()),
            bytes: 2100,
            expires_at: 1_796_267_112_345,
        }
    }

    #[test]
    fn the_list_and_its_end_read_well() {
        insta::assert_snapshot!(list(&QuarantineReport { entries: vec![entry()], total: 3 }), @r#"
        ┌────┬─────────────────────┬──────────────┬───────────────┬─────────────────────────────────────────────┐
        │ id ┆ when (Nouméa)       ┆ from         ┆ reason        ┆ why                                         │
        ╞════╪═════════════════════╪══════════════╪═══════════════╪═════════════════════════════════════════════╡
        │ 12 ┆ 2026-11-03 14:05:12 ┆ province-sud ┆ bad-signature ┆ the signature isn't of this header and body │
        └────┴─────────────────────┴──────────────┴───────────────┴─────────────────────────────────────────────┘
        1 message, and 2 more: --limit shows more.
        "#);
        assert_eq!(list(&QuarantineReport::default()), "Nothing is in quarantine.\n");
    }

    #[test]
    fn one_message_is_shown_without_what_it_holds() {
        let detail = QuarantineDetail {
            entry: entry(),
            headers: vec![("cloudEvents_id".into(), 36)],
            body_bytes: 1024,
            body_sha256: "00ff".into(),
        };
        insta::assert_snapshot!(show(&detail), @r#"
        Refused on 3 November 2026 at 14:05:12 in Nouméa: bad-signature.
        the signature isn't of this header and body
        It will be dropped on 3 December 2026 at 14:05:12.

        ┌───────────────────────┬───────────────────────────────┐
        │ message               ┆ 12                            │
        ╞═══════════════════════╪═══════════════════════════════╡
        │ sent by               ┆ province-sud                  │
        │ source                ┆ /province-sud/boost�[2J       │
        │ event id              ┆ not known                     │
        │ type                  ┆ nc.employment.offer.published │
        │ size                  ┆ 2.1 KiB                       │
        │ body                  ┆ 1.0 KiB                       │
        │ SHA-256 of the body   ┆ 00ff                          │
        │ header cloudEvents_id ┆ 36 B                          │
        └───────────────────────┴───────────────────────────────┘
        "#);
    }
}
