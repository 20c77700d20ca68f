//! `pirogue doctor`.

use super::ask::print_json;
use super::exit::Printed;
use super::render::{plain, print};
use super::runtime::block_on;
use crate::admin::doctor::{self, Finding, Level, Running};
use crate::config::{ConnectConfig, HubConfig};
use crate::hub::operator::{Answer, Request};
use crate::ops::client::{self, CallFault};
use std::path::{Path, PathBuf};

/// Check before starting what would fail, and say what to do about it.
///
/// A line for each check: ok, warning or failed, what was found, and after an
/// arrow what to do. Looked at are the configuration, keys and how long they are
/// valid still, secrets, members, agreements, schemas, connectors, disk space,
/// ports, clocks, and at the broker what the program's own user finds there: the
/// login, the queue, the exchange. With [management], the broker's layout,
/// alarms and queue lengths too.
///
/// Nothing is changed: no message is taken or published, and a hub that runs goes
/// on. The exit status is 0 where all is ok or a warning, 1 where something
/// failed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pirogue doctor --config /etc/pirogue/hub.toml
  pirogue doctor connect --config /etc/pirogue/province-sud.toml --json")]
pub(super) struct DoctorCommand {
    /// Which program's configuration it is; without it, the file's keys tell.
    #[arg(value_enum)]
    program: Option<super::config::Program>,
    /// The configuration file of a hub or of a member's side.
    #[arg(long, value_name = "FILE", env = "PIROGUE_CONFIG")]
    config: PathBuf,
    /// Print the findings as JSON.
    #[arg(long)]
    json: bool,
}

impl DoctorCommand {
    /// Looks at everything and prints what was found.
    pub(super) fn run(self) -> anyhow::Result<()> {
        use super::config::Program;
        let file = std::path::absolute(&self.config).unwrap_or_else(|_| self.config.clone());
        let findings = match self.program.unwrap_or_else(|| program_of(&file)) {
            Program::Hub => match HubConfig::load(&file) {
                Ok(config) => {
                    block_on(async { anyhow::Ok(doctor::hub(&config, &file, &running(&config.data)).await) })?
                }
                Err(fault) => doctor::unusable(&fault, "hub"),
            },
            Program::Connect => match ConnectConfig::load(&file) {
                Ok(config) => block_on(async { anyhow::Ok(doctor::connect(&config, &file).await) })?,
                Err(fault) => doctor::unusable(&fault, "connect"),
            },
        };
        let failed = findings.iter().any(|finding| finding.level == Level::Failed);
        if self.json {
            print_json(&findings)?
        } else {
            print(&tell(&findings))?
        }
        if failed { Err(Printed.into()) } else { Ok(()) }
    }
}

/// Which program the file is for: a member's side says whose it is. What can't
/// be read is told as a hub's.
fn program_of(file: &Path) -> super::config::Program {
    use super::config::Program;
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let Ok(table) = text.parse::<toml::Table>() else { return Program::Hub };
    let of_member = ["member", "hub", "hub_keys", "id_secret", "connector", "inbox"];
    match of_member.iter().any(|key| table.contains_key(*key)) {
        true => Program::Connect,
        false => Program::Hub,
    }
}

/// Whether a hub answers on the data folder `data`.
fn running(data: &Path) -> Running {
    match client::call(data, &Request::Status) {
        Ok(Answer::Status(status)) => Running::Yes(Box::new(status)),
        Ok(_) => Running::Unknown("it answered something else than what was asked".to_owned()),
        Err(CallFault::NoHub { .. }) => Running::No,
        Err(fault) => Running::Unknown(fault.to_string()),
    }
}

fn tell(findings: &[Finding]) -> String {
    let width = findings.iter().map(|finding| finding.check.chars().count()).max().unwrap_or_default();
    let mut text = String::new();
    for Finding { check, level, found, remedy } in findings {
        let remedy = remedy.as_ref().map_or_else(String::new, |remedy| format!(" → {remedy}"));
        text += &plain(&format!("{:<7}  {check:<width$}  {found}{remedy}", level.as_str()));
        text.push('\n');
    }
    let count = |level| findings.iter().filter(|finding| finding.level == level).count();
    text + &format!(
        "{} ok, {} to look at, {} failed\n",
        count(Level::Ok),
        count(Level::Warning),
        count(Level::Failed)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_finding_is_one_line_with_what_to_do() {
        let finding = |check: &str, level, found: &str, remedy: Option<&str>| Finding {
            check: check.to_owned(),
            level,
            found: found.to_owned(),
            remedy: remedy.map(str::to_owned),
        };
        let findings = [
            finding("clock", Level::Ok, "both clocks agree", None),
            finding("disk space", Level::Warning, "900 MiB\nare free", Some("free some")),
            finding("queue", Level::Failed, "it isn't there", Some("`pirogue provision`")),
        ];
        insta::assert_snapshot!(tell(&findings), @r"
        ok       clock       both clocks agree
        warning  disk space  900 MiB�are free → free some
        failed   queue       it isn't there → `pirogue provision`
        1 ok, 1 to look at, 1 failed
        ");
    }

    #[test]
    fn a_file_tells_which_program_it_is_for() {
        use super::super::config::Program;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.toml");
        for (text, program) in [
            ("name = 'nc'", Program::Hub),
            ("member = 'sud'\nhub = 'nc'", Program::Connect),
            ("[inbox]\nenabled = true", Program::Connect),
            ("not toml", Program::Hub),
        ] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(program_of(&path), program, "{text}");
        }
    }
}
