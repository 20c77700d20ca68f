//! What the demo says at its end: a table, one person as sent and as received,
//! and where to look.

use super::reconcile::Tally;
use super::setup::{PROVIDER, RECIPIENT};
use crate::fault::Reason;
use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{Cell, CellAlignment, ColumnConstraint, ContentArrangement, Table};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;

/// What happened.
pub(super) struct Outcome {
    pub(super) agreement: String,
    pub(super) published: u64,
    pub(super) recorded: u64,
    pub(super) delivered: u64,
    pub(super) quarantined: Vec<(String, u64)>,
    pub(super) duplicates: u64,
    pub(super) tally: Tally,
    pub(super) unverified: u64,
    pub(super) seconds: f64,
    pub(super) redelivered: u64,
    pub(super) offers: u64,
    pub(super) jobseekers: u64,
    pub(super) withheld: Vec<String>,
    pub(super) stages: Vec<(&'static str, Duration, u64)>,
}

impl Outcome {
    /// Whether every event came once, in order and verified, and each bad
    /// message was refused for its own reason.
    pub(super) fn is_good(&self) -> bool {
        let each_once = Reason::ALL.iter().all(|reason| {
            self.quarantined.iter().any(|(name, count)| name == reason.as_str() && *count == 1)
        });
        let none = self.tally.lost == 0 && self.tally.out_of_order == 0 && self.unverified == 0;
        none && each_once && self.quarantined.len() == Reason::ALL.len()
    }

    /// The account as one JSON object.
    pub(super) fn to_json(&self) -> String {
        let quarantined: serde_json::Map<String, Value> =
            self.quarantined.iter().map(|(reason, count)| (reason.clone(), json!(count))).collect();
        json!({
            "published": self.published,
            "recorded": self.recorded,
            "delivered": { RECIPIENT: self.delivered },
            "quarantined": quarantined,
            "duplicates": self.duplicates,
            "lost": self.tally.lost,
            "out_of_order": self.tally.out_of_order,
            "unverified": self.unverified,
            "seconds": (self.seconds * 1000.0).round() / 1000.0,
            "redelivered": self.redelivered,
        })
        .to_string()
    }
}

/// Prints on standard output. Where nobody reads it, there is nobody to tell.
pub(super) fn line(text: &str) {
    let _ = std::io::Write::write_fmt(&mut std::io::stdout(), format_args!("{text}\n"));
}

/// A progress bar; hidden where it would be in the way.
pub(super) fn bar(events: u64, hidden: bool) -> ProgressBar {
    let target = if hidden { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
    // It fits a terminal of 80 columns.
    let style = ProgressStyle::with_template("{bar:32} {pos}/{len} reçus / received, {rate}/s");
    let bar = ProgressBar::with_draw_target(Some(events), target);
    let rate = |state: &ProgressState, text: &mut dyn std::fmt::Write| {
        let _ = write!(text, "{:.0}", state.per_sec());
    };
    match style {
        Ok(style) => bar.with_style(style.with_key("rate", rate)),
        Err(_) => bar,
    }
}

fn grid() -> Table {
    let mut table = Table::new();
    table.load_preset(UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Dynamic);
    // Where there is no terminal to ask, a page's width.
    if table.width().is_none() {
        table.set_width(110);
    }
    table
}

/// The width of what is written below the tables: never longer than is read with
/// ease.
fn text_width() -> usize {
    grid().width().map_or(100, usize::from).clamp(40, 102) - 2
}

fn number(n: u64) -> Cell {
    Cell::new(digits(n)).set_alignment(CellAlignment::Right)
}

/// A number as it is written in French.
fn digits(n: u64) -> String {
    let digits = n.to_string();
    let mut spaced = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            // A narrow space that doesn't break.
            spaced.push('\u{202f}');
        }
        spaced.push(digit);
    }
    spaced
}

/// Why a message is refused, in French and English.
fn because(reason: &str) -> (&'static str, &'static str) {
    match Reason::parse(reason) {
        Some(Reason::TooLarge) => ("message trop grand", "larger than a message may be"),
        Some(Reason::Malformed) => ("message incomplet ou mal formé", "incomplete or malformed"),
        Some(Reason::UnknownKey) => ("clé inconnue", "signed with an unknown key"),
        Some(Reason::KeyNotValid) => ("clé révoquée", "signed with a revoked key"),
        Some(Reason::BadSignature) => ("signature fausse", "the signature isn't right"),
        Some(Reason::AttributeMismatch) => {
            ("en-tête changé après la signature", "changed after it was signed")
        }
        Some(Reason::NotYourSource) => ("publié au nom d'un autre", "published in another's name"),
        Some(Reason::WrongAudience) => ("signé pour un autre hub", "signed for another hub"),
        Some(Reason::FromTheFuture) => ("daté dans le futur", "dated in the future"),
        Some(Reason::UnknownSchema) => ("schéma inconnu", "by an unknown schema"),
        Some(Reason::InvalidData) => ("donnée invalide", "a value that can't be"),
        Some(Reason::IdReused) => ("identifiant déjà utilisé", "an id that was used before"),
        None => ("autre raison", "another reason"),
    }
}

/// The account for people: French at the left, English at the right.
pub(super) fn table(outcome: &Outcome) -> String {
    let mut table = grid();
    table.set_header(["Ce qui s'est passé", "Nombre", "What happened"]);
    let mut row = |french: String, count: Option<u64>, english: String| {
        table.add_row([Cell::new(french), count.map_or_else(|| Cell::new(""), number), Cell::new(english)]);
    };
    let plain = |text: &str| text.to_owned();
    row(format!("Envoyés par {PROVIDER}"), Some(outcome.published), format!("Sent by {PROVIDER}"));
    row(plain("· demandeurs d'emploi"), Some(outcome.jobseekers), plain("· jobseekers"));
    row(plain("· offres d'emploi"), Some(outcome.offers), plain("· job offers"));
    row(
        plain("Vérifiés, inscrits au journal"),
        Some(outcome.recorded),
        plain("Verified, and in the journal"),
    );
    row(format!("Livrés à {RECIPIENT}"), Some(outcome.delivered), format!("Delivered to {RECIPIENT}"));
    let agreement = &outcome.agreement;
    row(format!("· selon la convention {agreement}"), None, format!("· under the agreement {agreement}"));
    row(plain("Doublons écartés"), Some(outcome.duplicates), plain("Repeats dropped"));
    let refused = outcome.quarantined.iter().map(|(_, count)| count).sum();
    row(plain("Refusés"), Some(refused), plain("Refused"));
    for (reason, count) in &outcome.quarantined {
        let (french, english) = because(reason);
        row(format!("· {french}"), Some(*count), format!("· {english} ({reason})"));
    }
    row(plain("Perdus *"), Some(outcome.tally.lost), plain("Lost *"));
    row(plain("Dans le désordre *"), Some(outcome.tally.out_of_order), plain("Out of order *"));
    row(plain("Reçus sans preuve *"), Some(outcome.unverified), plain("Received without proof *"));
    let seconds = outcome.seconds;
    let rate = if seconds > 0.0 { (outcome.delivered as f64 / seconds) as u64 } else { 0 };
    let rate = digits(rate);
    let mut text = format!(
        "{table}\n* Compté par le destinataire. / Counted by the recipient.\n\n\
         En {} s, soit {rate} événements par seconde. / In {seconds:.2} s: {rate} events a second.\n\n\
         Jamais transmis, faute d'accord (champs d'un demandeur d'emploi) /\n\
         Never passed on, since no agreement grants them (fields of a jobseeker):\n",
        format!("{seconds:.2}").replace('.', ",")
    );
    text += &wrapped(&outcome.withheld.join(", "), text_width());
    text += "\nOù va le temps du hub, en µs par événement /\nWhere the hub's time goes, in µs an event:\n";
    let parts = outcome
        .stages
        .iter()
        .filter(|(_, _, events)| *events > 0)
        .map(|(stage, time, events)| format!("{stage} {:.0}", time.as_secs_f64() * 1e6 / *events as f64));
    text += &wrapped(&parts.collect::<Vec<_>>().join(", "), text_width());
    text += "  commit, publish : attente du disque, le calcul continue\n";
    text += "  commit, publish: waiting for the disk, while work goes on\n";
    text
}

fn wrapped(text: &str, width: usize) -> String {
    let mut lines = String::new();
    let mut length = usize::MAX;
    for word in text.split(' ') {
        if length.saturating_add(word.chars().count() + 1) > width {
            lines += if lines.is_empty() { "  " } else { "\n  " };
            length = 2;
        } else {
            lines.push(' ');
            length += 1;
        }
        lines += word;
        length += word.chars().count();
    }
    lines + "\n"
}

/// A jobseeker as sent and as received. These are synthetic people.
pub(super) fn side_by_side(subject: &str, sent: &Value, received: &Value) -> String {
    let mut table = grid();
    table.set_header([
        "Une personne fictive\nA fictitious person",
        &format!("Envoyé / Sent\n{PROVIDER}"),
        &format!("Reçu / Received\n{RECIPIENT}"),
    ]);
    // The fields' names stay whole, however narrow the terminal.
    if let Some(names) = table.column_mut(0) {
        names.set_constraint(ColumnConstraint::ContentWidth);
    }
    let got = received.get("subject").and_then(Value::as_str).unwrap_or_default();
    table.add_row(["subject", subject, got]);
    let mut paths = Vec::new();
    leaves(sent, String::new(), &mut paths);
    let mut seen = Vec::new();
    leaves(received.get("data").unwrap_or(&Value::Null), String::new(), &mut seen);
    for (path, value) in &paths {
        let received = seen.iter().find(|(other, _)| other == path);
        // What is null was sent as null: nothing to show on either side.
        if value.is_null() {
            continue;
        }
        let received = received.map_or_else(|| "—".to_owned(), |(_, value)| text(value));
        table.add_row([path.clone(), text(value), received]);
    }
    table.to_string() + "\n"
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The paths down to the values, with the values.
fn leaves(value: &Value, path: String, out: &mut Vec<(String, Value)>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                leaves(member, path, out);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for (at, item) in items.iter().enumerate() {
                leaves(item, format!("{path}[{at}]"), out);
            }
        }
        value => out.push((path, value.clone())),
    }
}

/// Where to look.
pub(super) fn kept(folder: &Path, received: &Path) -> String {
    format!(
        "Tout est gardé dans / Everything is kept in {}\n  reçu / received: {}\n  \
         une histoire / a story: pirogue trace SOURCE ID --data {}",
        folder.display(),
        received.display(),
        folder.join("hub").display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome() -> Outcome {
        Outcome {
            agreement: "a:1".into(),
            published: 12_345,
            recorded: 12_345,
            delivered: 12_345,
            quarantined: Reason::ALL.iter().map(|r| (r.as_str().to_owned(), 1)).collect(),
            duplicates: 1,
            tally: Tally::default(),
            unverified: 0,
            seconds: 2.0,
            redelivered: 0,
            offers: 6_172,
            jobseekers: 6_173,
            withheld: vec!["person.gender".into()],
            stages: vec![("verify", Duration::from_millis(100), 1000)],
        }
    }

    #[test]
    fn each_reason_must_have_been_met_exactly_once() {
        assert!(outcome().is_good());
        let mut twice = outcome();
        twice.quarantined[3].1 = 2;
        assert!(!twice.is_good());
        let mut missing = outcome();
        missing.quarantined.remove(0);
        assert!(!missing.is_good());
        let spoils: [fn(&mut Outcome); 3] =
            [|o| o.tally.lost = 1, |o| o.tally.out_of_order = 1, |o| o.unverified = 1];
        for spoil in spoils {
            let mut spoiled = outcome();
            spoil(&mut spoiled);
            assert!(!spoiled.is_good());
        }
    }

    #[test]
    fn numbers_are_written_as_in_french() {
        assert_eq!(number(0).content(), "0");
        assert_eq!(number(12_345).content(), "12\u{202f}345");
        assert_eq!(number(1_234_567).content(), "1\u{202f}234\u{202f}567");
    }

    #[test]
    fn the_table_names_every_reason_in_both_languages() {
        let text = table(&outcome());
        for reason in Reason::ALL {
            assert!(text.contains(reason.as_str()), "{reason}");
            assert_ne!(because(reason.as_str()).0, "autre raison");
        }
    }
}
