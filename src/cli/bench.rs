//! `pirogue bench`.

use super::hub::stop_signal;
use super::render::{count, plain, print, size, table};
use super::{Printed, logging};
use crate::admin::bench::{self, Options, Rates, Report};
use crate::cli::runtime::block_on;
use crate::config::{Log, LogFormat, LogLevel};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::path::PathBuf;
use std::time::Duration;

/// Measure how fast an exchange is.
///
/// Each benchmark makes what it needs and removes it again.
#[derive(Debug, clap::Subcommand)]
#[command(after_help = "Example:\n  pirogue bench exchange --broker amqp://admin:PASSWORD@127.0.0.1:5672 \
                        --management http://127.0.0.1:15672")]
pub(super) enum BenchCommand {
    Exchange(ExchangeCommand),
}

impl BenchCommand {
    /// Runs the benchmark.
    pub(super) fn run(self, verbose: u8) -> anyhow::Result<()> {
        match self {
            BenchCommand::Exchange(command) => command.run(verbose),
        }
    }
}

/// Measure a hub on RabbitMQ beside the broker's own shovel.
///
/// In a virtual host of its own, 60 members have signed agreements, and three of
/// them publish signed events of four types. The events wait in the inbox when
/// the hub starts, as a process of its own: what counts is the time from the
/// first to the last delivery that the broker confirmed, and the CPU time and
/// the memory of that process. In turn the broker's shovel moves the same
/// messages from one quorum queue to another, which is the least that any
/// program could do. A second table has five recipients for each event. Then
/// events are published at a steady pace, through the hub and through one queue
/// alone, and what the hub adds is told.
///
/// The user in the URL needs the tag administrator, and the broker its plugins
/// rabbitmq_management and rabbitmq_shovel. Run it on a machine that does
/// nothing else; the broker's work is part of what is measured where it runs on
/// the same machine. Everything that was made is removed at the end.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  pirogue bench exchange --broker amqp://guest:guest@127.0.0.1:5672 \
                  --management http://127.0.0.1:15672\n  \
                  pirogue bench exchange --json --events 100000 --skip-latency    (URLs from the environment)")]
pub(super) struct ExchangeCommand {
    /// The broker, amqp[s]://USER:PASSWORD@HOST[:PORT]; its virtual hosts are left alone.
    #[arg(long, value_name = "URL", env = "PIROGUE_BENCH_BROKER", hide_env_values = true)]
    broker: String,
    /// The broker's management API, http[s]://HOST:PORT.
    #[arg(long, value_name = "URL", env = "PIROGUE_BENCH_MANAGEMENT", hide_env_values = true)]
    management: String,
    /// With amqps:// or https://, the authorities that may have signed the certificates, PEM.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Make the hub's store in this folder, and not in the system's temporary one.
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
    /// How many events are published for each pair.
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(100..=10_000_000))]
    events: u32,
    /// How many times hub and shovel take turns.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pairs: u32,
    /// At how many events a second latency is measured.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: u32,
    /// For how many seconds latency is measured.
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=3600))]
    seconds: u32,
    /// Measure no rates, only latency.
    #[arg(long, conflicts_with = "skip_latency")]
    skip_rates: bool,
    /// Leave out the second table, with five recipients for each event.
    #[arg(long)]
    skip_five: bool,
    /// Measure no latency.
    #[arg(long)]
    skip_latency: bool,
    /// Keep the virtual host, its user and the hub's folder.
    #[arg(long)]
    keep: bool,
    /// Print only a JSON object on standard output.
    #[arg(long)]
    json: bool,
}

impl ExchangeCommand {
    fn run(self, verbose: u8) -> anyhow::Result<()> {
        logging::start(&Log { format: LogFormat::Text, level: LogLevel::Warn }, verbose);
        let json = self.json;
        let options = Options {
            broker: self.broker,
            management: self.management,
            ca: self.ca,
            folder: self.folder,
            events: self.events as usize,
            pairs: if self.skip_rates { 0 } else { self.pairs as usize },
            rate: self.rate,
            seconds: if self.skip_latency { 0 } else { self.seconds },
            five: !self.skip_five,
            keep: self.keep,
        };
        let spinner = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed} {wide_msg}") {
            spinner.set_style(style);
        }
        spinner.enable_steady_tick(Duration::from_millis(250));
        let tell = |what: &str| spinner.set_message(what.to_owned());
        let report = block_on(async { bench::exchange(&options, &tell, stop_signal()).await });
        spinner.finish_and_clear();
        // Stopped: what there would be to say isn't known.
        let Some(report) = report? else { return Err(Printed.into()) };
        if json { print(&serde_json::to_string(&report)?) } else { print(&self::tell(&report)) }
    }
}

fn tell(report: &Report) -> String {
    let mut text = format!(
        "RabbitMQ {}, {}. {}, each about {} of body and {} of headers.\n",
        plain(&report.broker_version),
        count(report.cores as u64, "core"),
        count(report.events as u64, "event"),
        size(report.body_bytes as u64),
        size(report.headers_bytes as u64),
    );
    for rates in report.one.iter().chain(&report.five) {
        text += &format!("\n{} for each event:\n", count(rates.recipients_per_event as u64, "recipient"));
        text += &rates_table(rates);
    }
    if let Some(latency) = &report.latency {
        text += &format!(
            "\nFrom publishing to receiving, {} a second for {} s:\n",
            count(latency.rate.into(), "event"),
            latency.seconds
        );
        let mut times = table(&["through", "p50", "p99", "longest", "events"]);
        for (through, took) in [("the hub", &latency.hub), ("one queue", &latency.bare)] {
            let ms = |value: f64| format!("{value:.1} ms");
            let cells = [ms(took.p50_ms), ms(took.p99_ms), ms(took.max_ms), took.messages.to_string()];
            times.add_row([vec![through.to_owned()], cells.to_vec()].concat());
        }
        text += &format!("{times}\nThe hub adds {:.1} ms to the p99.\n", latency.added_p99_ms);
    }
    if let Some((name, folder)) = &report.kept {
        text += &format!(
            "\nKept: the virtual host and the user {}, and the folder {}.\n",
            plain(name),
            plain(&folder.display().to_string())
        );
    }
    text
}

fn rates_table(rates: &Rates) -> String {
    let mut lines = table(&["pair", "hub a second", "shovel a second", "ratio", "hub's CPU", "hub's memory"]);
    let mut row = |name: String, [hub, shovel, ratio, cpu]: [f64; 4], memory: u64| {
        lines.add_row([
            name,
            format!("{hub:.0}"),
            format!("{shovel:.0}"),
            format!("{ratio:.2}"),
            format!("{cpu:.0} µs"),
            size(memory),
        ]);
    };
    for (nth, pair) in rates.pairs.iter().enumerate() {
        let numbers = [pair.hub_per_second, pair.shovel_per_second, pair.ratio, pair.hub_cpu_us];
        row((nth + 1).to_string(), numbers, pair.hub_peak_bytes);
    }
    let numbers = [rates.hub_per_second, rates.shovel_per_second, rates.ratio, rates.hub_cpu_us];
    row("median".to_owned(), numbers, rates.hub_peak_bytes);
    format!("{lines}\nThe CPU is for each delivery; the memory in the last line is the most of all.\n")
}
