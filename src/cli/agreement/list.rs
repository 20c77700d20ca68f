//! `pirogue agreement list`.

use super::{day, of_hub};
use crate::agreements::{Agreements, Lang, NotInForce, Status, state_in_words, today};
use crate::cli::ask::print_json;
use crate::cli::render::{plain, print, table};
use crate::config::HubConfig;
use jiff::civil::Date;
use serde::Serialize;
use std::path::PathBuf;

/// List every agreement of a hub's folder with its state, and why.
///
/// The folders that the configuration names are read, no hub is asked: it shows
/// what a hub would go by after `pirogue reload`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  pirogue agreement list --config /etc/pirogue/hub.toml")]
pub(super) struct ListCommand {
    /// The hub's configuration file.
    #[arg(long, value_name = "FILE", env = "PIROGUE_CONFIG")]
    config: PathBuf,
    /// The day for which the states hold, today unless it is given.
    #[arg(long, value_name = "DAY", value_parser = day)]
    on: Option<Date>,
    /// Print the list as JSON.
    #[arg(long)]
    json: bool,
}

/// One agreement, or one file that counts for nothing.
#[derive(Debug, Serialize)]
struct Line {
    file: String,
    /// `ID:VERSION`; none of a file that isn't an agreement.
    agreement: Option<String>,
    title: Option<String>,
    provider: Option<String>,
    recipient: Option<String>,
    types: Vec<String>,
    valid_from: Option<String>,
    valid_until: Option<String>,
    /// One of the words of [`word`].
    state: &'static str,
    /// The state in a sentence, with its reason.
    detail: String,
}

/// The state as a word for programs.
fn word(status: &Status) -> &'static str {
    match status {
        Status::InForce => "in-force",
        Status::InForceExcept(_) => "in-force-in-part",
        Status::NotInForce(reason) => match reason {
            NotInForce::NotYet(_) | NotInForce::KeyNotYet(_) => "to-come",
            NotInForce::Ended(_) => "ended",
            NotInForce::Unsigned(_) => "unsigned",
            NotInForce::Superseded { .. } => "superseded",
            NotInForce::Revoked { .. } => "revoked",
            NotInForce::Copy(_) => "copy",
            NotInForce::NotAMember(_)
            | NotInForce::BadSignature(_)
            | NotInForce::RevokedKey(_)
            | NotInForce::OtherText(_)
            | NotInForce::Unfit(_) => "unfit",
        },
    }
}

impl ListCommand {
    /// Reads the folders and prints the list.
    pub(super) fn run(self) -> anyhow::Result<()> {
        let config = HubConfig::load(&self.config)?;
        let (agreements, _) = of_hub(&config)?;
        let lines = lines(&agreements, self.on.unwrap_or_else(today));
        if self.json { print_json(&lines) } else { print(&shown(&lines)) }
    }
}

fn lines(agreements: &Agreements, day: Date) -> Vec<Line> {
    let read = agreements.files(day).map(|(file, agreement, status)| Line {
        file: file.to_owned(),
        agreement: Some(agreement.reference()),
        title: Some(agreement.title.clone()),
        provider: Some(agreement.provider.to_string()),
        recipient: Some(agreement.recipient.to_string()),
        types: agreement.grants.iter().map(|grant| grant.event_type.to_string()).collect(),
        valid_from: Some(agreement.valid_from.to_string()),
        valid_until: Some(agreement.valid_until.to_string()),
        state: word(&status),
        detail: state_in_words(&status, Lang::En),
    });
    let unusable = agreements.unusable().iter().map(|unusable| Line {
        file: unusable.file.clone(),
        agreement: None,
        title: None,
        provider: None,
        recipient: None,
        types: Vec::new(),
        valid_from: None,
        valid_until: None,
        state: "unfit",
        detail: unusable.reason.to_string(),
    });
    let mut lines: Vec<Line> = read.chain(unusable).collect();
    lines.sort_by(|a, b| a.file.cmp(&b.file));
    lines
}

fn shown(lines: &[Line]) -> String {
    if lines.is_empty() {
        return "There are no agreements: nothing is delivered.".to_owned();
    }
    let mut table = table(&["Agreement", "Gives", "From", "Until", "State", "File"]);
    for line in lines {
        let text = |text: &Option<String>| plain(text.as_deref().unwrap_or("–"));
        let gives = match (&line.provider, &line.recipient) {
            (Some(provider), Some(recipient)) => format!("{provider} to {recipient}"),
            _ => "–".to_owned(),
        };
        table.add_row([
            text(&line.agreement),
            gives,
            text(&line.valid_from),
            text(&line.valid_until),
            plain(&line.detail),
            plain(&line.file),
        ]);
    }
    table.to_string()
}
