//! `pirogue agreement register`.

use super::{day, lang, of_hub};
use crate::agreements::{Lang, Register, today};
use crate::cli::ask::print_json;
use crate::cli::render::print;
use crate::config::HubConfig;
use jiff::civil::Date;
use std::path::PathBuf;

/// Export the record of processing activities (GDPR, article 30).
///
/// The registre des traitements, as far as the agreements say it: one entry for
/// each agreement and event type, with its purpose, parties, categories of
/// persons and of data, legal basis, retention, security and transfers. Texts
/// that a party didn't sign aren't in it. As CSV, as JSON, or as a page of HTML
/// that can be printed and loads nothing.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  pirogue agreement register --config /etc/pirogue/hub.toml --format html > registre.html")]
pub(super) struct RegisterCommand {
    /// The hub's configuration file.
    #[arg(long, value_name = "FILE", env = "PIROGUE_CONFIG")]
    config: PathBuf,
    /// The form.
    #[arg(long, value_enum)]
    format: Format,
    /// The language: fr or en.
    #[arg(long, value_name = "LANG", default_value = "fr", value_parser = lang())]
    lang: Lang,
    /// The day for which the states hold, today unless it is given.
    #[arg(long, value_name = "DAY", value_parser = day)]
    on: Option<Date>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Format {
    /// A table for spreadsheets and programs, with commas, in UTF-8.
    Csv,
    /// For programs.
    Json,
    /// A page to print.
    Html,
}

impl RegisterCommand {
    /// Reads the folders and prints the record.
    pub(super) fn run(self) -> anyhow::Result<()> {
        let config = HubConfig::load(&self.config)?;
        let (agreements, registry) = of_hub(&config)?;
        let day = self.on.unwrap_or_else(today);
        let register = Register::of(&config.name, &agreements, &registry, day, self.lang);
        match self.format {
            Format::Csv => print(&register.to_csv()),
            Format::Json => print_json(&register),
            Format::Html => print(&register.to_html()),
        }
    }
}
