//! The command line: one file per command.
//!
//! A command is a `clap` struct with `run(self) -> anyhow::Result<()>`. It
//! prints its answer on standard output; a fault becomes one sentence on
//! standard error and an exit status, in `exit`.

mod agreement;
mod ask;
mod bench;
mod config;
mod confirm;
mod connect;
mod connector;
mod demo;
mod doctor;
mod erase;
mod exit;
mod hub;
mod journal;
mod keys;
mod logging;
mod member;
mod provision;
mod quarantine;
mod reload;
mod render;
mod replay;
mod runtime;
mod status;
mod trace;

pub use exit::Printed;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Exchange signed events between administrations, field by field, as their
/// agreements say.
///
/// A hub takes in events that members signed, keeps a journal of them, and
/// delivers to each recipient the fields that a signed agreement grants it.
/// Members run their connectors beside their own software.
///
/// The exit status is 0 for success, 1 where the answer is no, 2 for a wrong
/// command line or configuration, 3 where the store can't be used, 4 where a
/// port, a server or a hub can't be reached.
#[derive(Debug, Parser)]
#[command(
    name = "pirogue",
    version,
    after_help = "Example, with nothing installed and nothing configured:\n  pirogue demo --once",
    subcommand_required = true,
    arg_required_else_help = true
)]
struct Cli {
    /// Log more: -v is debug, -vv is trace.
    #[arg(short, long, global = true, display_order = 100, action = clap::ArgAction::Count)]
    verbose: u8,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::DemoCommand),
    Hub(hub::HubCommand),
    Connect(connect::ConnectCommand),
    Trace(trace::TraceCommand),
    #[command(subcommand)]
    Journal(Box<journal::JournalCommand>),
    Status(status::StatusCommand),
    Reload(reload::ReloadCommand),
    Quarantine(quarantine::QuarantineCommand),
    Replay(replay::ReplayCommand),
    Erase(erase::EraseCommand),
    Provision(provision::ProvisionCommand),
    #[command(subcommand)]
    Member(member::MemberCommand),
    Config(config::ConfigCommand),
    Doctor(doctor::DoctorCommand),
    #[command(subcommand)]
    Bench(bench::BenchCommand),
    #[command(subcommand)]
    Keys(keys::KeysCommand),
    Agreement(agreement::AgreementCommand),
    #[command(subcommand)]
    Connector(connector::ConnectorCommand),
}

/// Runs the program with the arguments of this process.
pub fn run() -> ExitCode {
    // A hub's memory is many small pieces on many threads. The allocator asks for
    // huge pages for them, of which most stays empty: half the memory, and time to
    // clear it. Where the kernel can't be told, it is as fast as it was.
    #[cfg(target_os = "linux")]
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    let Cli { verbose, command } = Cli::parse();
    let done = match command {
        Command::Demo(command) => command.run(verbose),
        Command::Hub(command) => command.run(verbose),
        Command::Connect(command) => command.run(verbose),
        Command::Trace(command) => command.run(),
        Command::Journal(command) => command.run(),
        Command::Status(command) => command.run(),
        Command::Reload(command) => command.run(),
        Command::Quarantine(command) => command.run(),
        Command::Replay(command) => command.run(),
        Command::Erase(command) => command.run(),
        Command::Provision(command) => command.run(),
        Command::Member(command) => command.run(verbose),
        Command::Config(command) => command.run(),
        Command::Doctor(command) => command.run(),

        Command::Bench(command) => command.run(verbose),
        Command::Keys(command) => command.run(),
        Command::Agreement(command) => command.run(),
        Command::Connector(command) => command.run(),
    };
    exit::status(done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn each(command: &clap::Command, path: String, visit: &mut impl FnMut(&str, &clap::Command)) {
        visit(&path, command);
        for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
            each(sub, format!("{path} {}", sub.get_name()), visit);
        }
    }

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_says_what_it_does_in_a_line_and_shows_an_example() {
        let mut seen = 0;
        each(&Cli::command(), "pirogue".to_owned(), &mut |path, command| {
            seen += 1;
            let about = command.get_about().unwrap_or_else(|| panic!("{path} has no line")).to_string();
            assert!(!about.contains('\n') && about.len() <= 90, "{path}: {about}");
            assert!(command.get_long_about().is_some(), "{path} has no long text");
            let example = command.get_after_help().unwrap_or_else(|| panic!("{path} has no example"));
            assert!(example.to_string().contains(path), "{path}: the example shows another command");
        });
        assert!(seen > 8);
    }

    #[test]
    fn every_argument_says_what_it_is() {
        each(&Cli::command(), "pirogue".to_owned(), &mut |path, command| {
            for argument in command.get_arguments() {
                assert!(argument.get_help().is_some(), "{path}: {}", argument.get_id());
            }
        });
    }
}
