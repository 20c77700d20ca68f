//! The hub that is measured: a process of its own, so that its CPU time and its
//! memory are its own.

use super::BenchFault;
use super::setup::PASSWORD;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::process::{Child, Command};

/// How often it is asked for its counts. Each answer takes it some 50 µs.
const GLANCE: Duration = Duration::from_millis(20);
/// How long nothing may change before the benchmark gives up.
const PATIENCE: Duration = Duration::from_secs(60);
/// What fields 14 and 15 of /proc/PID/stat count in: USER_HZ, 100 a second on
/// every Linux (proc(5)).
const TICK: Duration = Duration::from_millis(10);

/// A running hub. It is killed when it is dropped.
pub(super) struct HubProcess {
    child: Child,
    metrics: String,
    http: reqwest::Client,
    log: PathBuf,
}

/// What a hub has delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Counts {
    /// The messages that the broker confirmed.
    pub(super) delivered: u64,
    /// When it confirmed the first and the last, in seconds since 1970.
    pub(super) first: f64,
    pub(super) last: f64,
    /// The messages that were refused, or repeated an event: there are none.
    pub(super) refused: u64,
}

/// What a hub took of the machine.
#[derive(Clone, Copy, Debug)]
pub(super) struct Usage {
    /// In user and in kernel mode, since it started.
    pub(super) cpu: Duration,
    /// The most memory that it had in use (`VmHWM`), in bytes.
    pub(super) peak_memory: u64,
}

/// A port that nobody listens on now.
pub(super) fn free_port() -> Result<u16, BenchFault> {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).map_err(BenchFault::System)?;
    Ok(listener.local_addr().map_err(BenchFault::System)?.port())
}

impl HubProcess {
    /// Starts this program's hub with the configuration `config` and an empty
    /// store, which answers HTTP on `port`.
    pub(super) async fn start(config: &Path, port: u16, password: &str) -> Result<HubProcess, BenchFault> {
        let folder = config.parent().unwrap_or(Path::new("."));
        match tokio::fs::remove_dir_all(folder.join("data")).await {
            Err(fault) if fault.kind() != std::io::ErrorKind::NotFound => {
                return Err(BenchFault::System(fault));
            }
            _ => {}
        }
        let log = folder.join("hub.log");
        let program = std::env::current_exe().map_err(BenchFault::System)?;
        let mut command = Command::new(program);
        command.arg("hub").arg("--config").arg(config).kill_on_drop(true);
        // The configuration is the benchmark's alone.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("PIROGUE") {
                command.env_remove(name);
            }
        }
        command.env(PASSWORD, password).stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(File::create(&log).map_err(BenchFault::System)?);
        let child = command.spawn().map_err(BenchFault::System)?;
        let metrics = format!("http://127.0.0.1:{port}/metrics");
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10)).build();
        Ok(HubProcess { child, metrics, http: http.map_err(|_| BenchFault::Own)?, log })
    }

    /// Waits until it has answered.
    pub(super) async fn answers(&mut self) -> Result<(), BenchFault> {
        let until = Instant::now() + PATIENCE;
        while self.counts().await?.is_none() {
            if Instant::now() > until {
                return Err(self.stuck("the hub doesn't answer"));
            }
            tokio::time::sleep(GLANCE).await;
        }
        Ok(())
    }

    /// Waits until it has delivered `wanted` messages, and returns its counts
    /// then. `progress` is told how many there are.
    pub(super) async fn delivered(
        &mut self,
        wanted: u64,
        progress: impl Fn(u64),
    ) -> Result<Counts, BenchFault> {
        let (mut before, mut changed) = (Counts::default(), Instant::now());
        loop {
            let counts = self.counts().await?.unwrap_or(before);
            if counts.refused > 0 {
                return Err(self.stuck("the hub refused events"));
            }
            if counts.delivered >= wanted {
                return Ok(counts);
            }
            if counts != before {
                (before, changed) = (counts, Instant::now());
                progress(counts.delivered);
            } else if changed.elapsed() > PATIENCE {
                return Err(self.stuck("the hub delivers nothing more"));
            }
            tokio::time::sleep(GLANCE).await;
        }
    }

    /// What it says of itself; none while it doesn't answer yet.
    async fn counts(&mut self) -> Result<Option<Counts>, BenchFault> {
        if self.child.try_wait().map_err(BenchFault::System)?.is_some() {
            return Err(self.stuck("the hub ended"));
        }
        let Ok(response) = self.http.get(&self.metrics).send().await else { return Ok(None) };
        let Ok(text) = response.text().await else { return Ok(None) };
        Ok(Some(read_counts(&text)))
    }

    /// What it took of the machine until now.
    pub(super) fn usage(&self) -> Result<Usage, BenchFault> {
        let id = self.child.id().ok_or(BenchFault::Own)?;
        let read =
            |file: &str| std::fs::read_to_string(format!("/proc/{id}/{file}")).map_err(BenchFault::System);
        let (stat, status) = (read("stat")?, read("status")?);
        Ok(Usage {
            cpu: read_cpu(&stat).ok_or(BenchFault::Own)?,
            peak_memory: read_peak(&status).ok_or(BenchFault::Own)?,
        })
    }

    /// Kills it: its store isn't needed any more.
    pub(super) async fn kill(mut self) -> Result<(), BenchFault> {
        self.child.kill().await.map_err(BenchFault::System)
    }

    /// Why the benchmark can't go on, with what the hub said last.
    fn stuck(&self, what: &'static str) -> BenchFault {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let last = log.lines().last().unwrap_or("nothing").to_owned();
        BenchFault::Hub { what, last }
    }
}

/// The counts in a text of metrics.
fn read_counts(text: &str) -> Counts {
    let mut counts = Counts::default();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let Some((name, value)) = line.rsplit_once(' ') else { continue };
        let number = || value.parse::<u64>().unwrap_or_default();
        match name.split('{').next().unwrap_or_default() {
            "pirogue_delivered_total" => counts.delivered += number(),
            "pirogue_refused_total" | "pirogue_duplicates_total" => counts.refused += number(),
            "pirogue_first_delivery_timestamp_seconds" => counts.first = value.parse().unwrap_or_default(),
            "pirogue_last_delivery_timestamp_seconds" => counts.last = value.parse().unwrap_or_default(),
            _ => {}
        }
    }
    counts
}

/// The CPU time in a /proc/PID/stat: fields 14 and 15, of which the program's
/// name, in parentheses, is the second.
fn read_cpu(stat: &str) -> Option<Duration> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let ticks: Option<Vec<u32>> =
        after_name.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse().ok()).collect();
    let ticks = ticks.filter(|ticks| ticks.len() == 2)?;
    Some(TICK * ticks.iter().sum())
}

/// The most memory in use, in a /proc/PID/status, in bytes.
fn read_peak(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? << 10)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    #[test]
    fn the_counts_are_read_from_what_a_hub_answers() {
        let metrics = Metrics::new();
        assert_eq!(read_counts(&metrics.render()), Counts::default());
        metrics.delivered.with("a").add(3);
        metrics.delivered.with("b").add(4);
        metrics.deliveries.note();
        metrics.refused.with("malformed").add(2);
        metrics.duplicates.add(1);
        let counts = read_counts(&metrics.render());
        assert_eq!((counts.delivered, counts.refused), (7, 3));
        let (first, last) = metrics.deliveries.seconds().unwrap();
        assert!((counts.first - first).abs() < 2e-6 && (counts.last - last).abs() < 2e-6);
    }

    #[test]
    fn this_process_has_used_cpu_time_and_memory() {
        let stat = "7 (a (b) c) R 1 1 1 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 8 0 1 2 3";
        assert_eq!(read_cpu(stat), Some(Duration::from_secs(3)));
        assert_eq!(read_cpu("7 (a) R 1"), None);
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        assert!(read_peak(&status).unwrap() > 1 << 20);
    }
}
