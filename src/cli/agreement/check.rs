//! `pirogue agreement check`.

use super::Surroundings;
use crate::admin::agreements as files;
use crate::agreements::{Gravity, check};
use crate::cli::Printed;
use crate::cli::ask::print_json;
use crate::cli::render::{plain, print};
use std::fmt::Write as _;
use std::path::PathBuf;

/// Check agreements, signed or not, and name every fault with its line.
///
/// A fault is what would keep an agreement from coming into force: a key that
/// doesn't exist, a field, type or version that no schema has, days the wrong
/// way round, more than 36 months without a justification, a party that doesn't
/// take part, a signature that is missing or bad, a second agreement between
/// the same parties for the same type and days. Parties and signatures are
/// checked where --members is given, other agreements where --against is; with
/// --config, both. A text without signatures isn't asked for them. The exit
/// status is 1 if there is a fault; warnings are no faults.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  pirogue agreement check emploi-gouvernement.toml --members members --against agreements
  pirogue agreement check agreements/*.note --config /etc/pirogue/hub.toml")]
pub(super) struct CheckCommand {
    /// The texts (TOML) and signed notes.
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    surroundings: Surroundings,
    /// Print the findings as JSON.
    #[arg(long)]
    json: bool,
}

impl CheckCommand {
    /// Checks, prints, and ends with status 1 where there is a fault.
    pub(super) fn run(self) -> anyhow::Result<()> {
        let known = self.surroundings.read()?;
        let mut contents = Vec::new();
        for path in &self.files {
            contents.push((path.display().to_string(), files::read(path)?));
        }
        let findings = check(&contents, &known.against());
        let wrong = |gravity| matches!(gravity, Gravity::Fault | Gravity::Unsigned);
        let faults = findings.iter().filter(|finding| wrong(finding.gravity)).count();
        if self.json {
            print_json(&findings)?;
        } else {
            let mut report = String::new();
            for (file, _) in &contents {
                let mut of_file = findings.iter().filter(|finding| finding.file == *file).peekable();
                if of_file.peek().is_none() {
                    // Writing to a text can't fail.
                    let _ = writeln!(report, "{}: ok", plain(file));
                }
                for finding in of_file {
                    let kind = if wrong(finding.gravity) { "" } else { "warning: " };
                    let _ = writeln!(report, "{}: {kind}{}", plain(file), plain(&finding.sentence));
                }
            }
            print(&report)?;
        }
        if faults > 0 { Err(Printed.into()) } else { Ok(()) }
    }
}
