//! `pirogue connector`: what someone who writes a connector uses.

use crate::connect::manifest::Connector;
use crate::connect::testing;
use crate::schema::Registry;
use anyhow::Context;
use clap::Subcommand;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// Work on connectors: folders of data that link a software to the exchange.
///
/// A connector is a folder with connector.toml, its jq mappings and its cases.
/// Nothing is rebuilt to use one.
#[derive(Debug, Subcommand)]
#[command(after_help = "Example:\n  pirogue connector test connectors/boost")]
pub enum ConnectorCommand {
    /// Run the cases of a connector, and show what differs.
    ///
    /// Each file tests/*.json of the folder holds a record and what it becomes.
    /// What it becomes is also checked against the schema of its event type.
    /// The exit status is 1 if a case fails.
    #[command(after_help = "Example:\n  pirogue connector test connectors/boost")]
    Test {
        /// The connector's folder.
        #[arg(value_name = "FOLDER")]
        folder: PathBuf,
        /// A folder of schemas beside those that the program has.
        #[arg(long, value_name = "FOLDER")]
        schemas: Option<PathBuf>,
    },
}

impl ConnectorCommand {
    /// Runs the command; what it finds goes to standard output.
    ///
    /// Fails if the connector or the schemas can't be read, or a case fails.
    pub fn run(self) -> anyhow::Result<()> {
        match self {
            ConnectorCommand::Test { folder, schemas } => {
                let (report, failed) = test(&folder, schemas.as_deref())?;
                std::io::stdout().write_all(report.as_bytes()).context("standard output can't be written")?;
                verdict(&folder, failed)
            }
        }
    }
}

fn verdict(folder: &Path, failed: usize) -> anyhow::Result<()> {
    match failed {
        0 => Ok(()),
        1 => anyhow::bail!("a case of {} fails", folder.display()),
        failed => anyhow::bail!("{failed} cases of {} fail", folder.display()),
    }
}

/// Runs the cases of the connector in `folder`. Returns what to print, and how
/// many fail.
fn test(folder: &Path, schemas: Option<&Path>) -> anyhow::Result<(String, usize)> {
    let connector = Connector::load(folder)?;
    let registry = match schemas {
        Some(schemas) => Registry::load(schemas),
        None => Registry::embedded(),
    }?;
    let outcomes = testing::run(&connector, &|event_type, version, output| {
        let Some(schema) = registry.get(event_type, version) else {
            return vec![format!(
                "no schema of {event_type} has version {version}; add it, or correct connector.toml"
            )];
        };
        let faults = schema.encode_json(output).err().unwrap_or_default();
        faults.iter().map(ToString::to_string).collect()
    })?;
    let mut report = String::new();
    let mut failed = 0;
    for outcome in &outcomes {
        let name = outcome.file.file_stem().unwrap_or_default().to_string_lossy();
        // Writing to a text can't fail.
        let _ = match &outcome.failure {
            None => writeln!(report, "ok    {name}"),
            Some(failure) => {
                failed += 1;
                writeln!(report, "FAILS {name}\n{}", indented(failure))
            }
        };
    }
    let _ = match outcomes.len() {
        1 => writeln!(report, "1 case, {failed} failing"),
        cases => writeln!(report, "{cases} cases, {failed} failing"),
    };
    Ok((report, failed))
}

fn indented(text: &str) -> String {
    text.trim_end().lines().map(|line| format!("      {line}")).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_of_boost_holds_and_fits_its_schema() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("connectors/boost");
        let (report, failed) = test(&folder, None).unwrap();
        assert_eq!(failed, 0, "{report}");
        assert!(report.lines().count() > 15, "{report}");
    }

    #[test]
    fn a_failing_case_is_shown_with_its_difference() {
        let boost = Path::new(env!("CARGO_MANIFEST_DIR")).join("connectors/boost");
        let folder = tempfile::tempdir().unwrap();
        for file in ["connector.toml", "offers.jq", "jobseekers.jq"] {
            std::fs::copy(boost.join(file), folder.path().join(file)).unwrap();
        }
        std::fs::create_dir(folder.path().join("tests")).unwrap();
        let case = std::fs::read_to_string(boost.join("tests/offer-whole.json")).unwrap();
        std::fs::write(folder.path().join("tests/wrong.json"), case.replace("\"98817\"", "\"98818\""))
            .unwrap();
        let (report, failed) = test(folder.path(), None).unwrap();
        assert_eq!(failed, 1);
        assert!(report.contains("FAILS wrong") && report.contains("-  \"commune\": \"98818\""), "{report}");
        assert!(report.contains("+  \"commune\": \"98817\""), "{report}");
        assert!(verdict(folder.path(), failed).unwrap_err().to_string().contains("a case of"));
        assert!(verdict(folder.path(), 0).is_ok());
    }

    #[test]
    fn a_folder_that_is_no_connector_is_said_in_a_sentence() {
        let folder = tempfile::tempdir().unwrap();
        assert!(test(folder.path(), None).unwrap_err().to_string().contains("connector.toml"));
    }
}
