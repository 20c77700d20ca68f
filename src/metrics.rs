//! Every metric's name, unit and help, in one place.
//!
//! One [`Metrics`] for a hub, shared by `Arc`, and no global. What counts adds
//! once for a batch: a relaxed atomic add, so that counting costs nothing.
//! Labels are reasons, members, queues and stages: never anything about a
//! person. [`Metrics::render`] writes the Prometheus text format 0.0.4, with
//! names and units as its guide of conventions asks (`_total`, `_seconds`,
//! `_bytes`).

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The content type of what [`Metrics::render`] writes.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    /// What was added so far.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A number that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// Sets the number.
    pub fn set(&self, n: u64) {
        self.0.store(n, Relaxed);
    }

    /// The number that was set last; 0 before.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// The first and the last time that something happened.
#[derive(Debug, Default)]
pub struct Moments {
    /// Microseconds since 1970; 0 before it happened.
    first: AtomicU64,
    last: AtomicU64,
}

impl Moments {
    /// It happens now.
    pub fn note(&self) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = u64::try_from(now.as_micros()).unwrap_or(u64::MAX);
        self.last.fetch_max(now, Relaxed);
        if self.first.load(Relaxed) == 0 {
            let _ = self.first.compare_exchange(0, now, Relaxed, Relaxed);
        }
    }

    /// The first and the last time, in seconds since 1970; none before it
    /// happened.
    pub fn seconds(&self) -> Option<(f64, f64)> {
        let seconds = |at: &AtomicU64| at.load(Relaxed) as f64 / 1e6;
        (self.first.load(Relaxed) > 0).then(|| (seconds(&self.first), seconds(&self.last)))
    }
}

/// The same metric for each value of one label.
#[derive(Debug, Default)]
pub struct Family<M>(RwLock<BTreeMap<String, Arc<M>>>);

impl<M: Default> Family<M> {
    /// The metric for `label`; it is made at its first use. Keep the `Arc` where
    /// it is used often.
    pub fn with(&self, label: &str) -> Arc<M> {
        // A map of atomics is whole even where a thread panicked with the lock.
        if let Some(metric) = self.0.read().unwrap_or_else(PoisonError::into_inner).get(label) {
            return metric.clone();
        }
        let mut metrics = self.0.write().unwrap_or_else(PoisonError::into_inner);
        metrics.entry(label.to_owned()).or_default().clone()
    }

    /// Every label with its metric, sorted by label.
    pub fn all(&self) -> Vec<(String, Arc<M>)> {
        let metrics = self.0.read().unwrap_or_else(PoisonError::into_inner);
        metrics.iter().map(|(label, metric)| (label.clone(), metric.clone())).collect()
    }
}

/// The upper bounds of a [`Histogram`]'s buckets, in seconds: from a flush on a
/// fast disk to one that an operator should hear about.
const BUCKETS: [f64; 10] = [0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.5];

/// How long something took, by size.
#[derive(Debug, Default)]
pub struct Histogram {
    /// How many fell into each bucket; the last is above every bound.
    buckets: [AtomicU64; BUCKETS.len() + 1],
    nanoseconds: AtomicU64,
}

impl Histogram {
    /// Adds one that took `duration`.
    pub fn observe(&self, duration: Duration) {
        let seconds = duration.as_secs_f64();
        let bucket = BUCKETS.iter().position(|bound| seconds <= *bound).unwrap_or(BUCKETS.len());
        self.buckets[bucket].fetch_add(1, Relaxed);
        self.nanoseconds.fetch_add(nanoseconds(duration), Relaxed);
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|bucket| bucket.load(Relaxed)).sum()
    }

    /// How long they took together.
    pub fn total(&self) -> Duration {
        Duration::from_nanos(self.nanoseconds.load(Relaxed))
    }
}

/// What an event goes through at the hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Parsing the envelope, verifying the signature.
    Verify,
    /// Decoding the body and checking its values.
    Decode,
    /// Looking for duplicates, sealing the message at rest.
    Record,
    /// Waiting until what a stage writes is on disk.
    Commit,
    /// Choosing what a recipient gets by the agreements.
    Decide,
    /// Cutting the body to the granted fields, translating the subject, signing
    /// the delivery.
    Seal,
    /// Publishing and waiting for the confirms.
    Publish,
}

impl Stage {
    /// Every stage, in the order in which an event goes through them.
    pub const ALL: [Stage; 7] = [
        Stage::Verify,
        Stage::Decode,
        Stage::Record,
        Stage::Commit,
        Stage::Decide,
        Stage::Seal,
        Stage::Publish,
    ];

    /// The stage's name, `verify` for instance.
    pub fn as_str(self) -> &'static str {
        match self {
            Stage::Verify => "verify",
            Stage::Decode => "decode",
            Stage::Record => "record",
            Stage::Commit => "commit",
            Stage::Decide => "decide",
            Stage::Seal => "seal",
            Stage::Publish => "publish",
        }
    }
}

/// How long a stage took in all, and for how many events.
#[derive(Debug, Default)]
pub struct StageTime {
    nanoseconds: AtomicU64,
    events: AtomicU64,
}

impl StageTime {
    /// Adds a batch of `events` that took `duration`. Where threads share a
    /// batch, each adds its own share: the total is thread time.
    pub fn add(&self, duration: Duration, events: u64) {
        self.nanoseconds.fetch_add(nanoseconds(duration), Relaxed);
        self.events.fetch_add(events, Relaxed);
    }

    /// Runs `work` on a batch of `events` and adds what it took.
    pub fn time<T>(&self, events: u64, work: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let done = work();
        self.add(start.elapsed(), events);
        done
    }

    /// How long the stage took in all.
    pub fn total(&self) -> Duration {
        Duration::from_nanos(self.nanoseconds.load(Relaxed))
    }

    /// How many events went through it.
    pub fn events(&self) -> u64 {
        self.events.load(Relaxed)
    }
}

/// What a hub counts.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Messages taken from the inbox.
    pub received: Counter,
    /// Events that were taken in: recorded in the journal.
    pub accepted: Counter,
    /// Messages that were refused, by reason.
    pub refused: Family<Counter>,
    /// Refused messages that were dropped before their days were over, by member.
    pub quarantine_dropped: Family<Counter>,
    /// Messages that repeated an event taken in before.
    pub duplicates: Counter,
    /// Messages that the bus handed over again, since they hadn't been
    /// acknowledged.
    pub redelivered: Counter,
    /// Messages handed to the bus and confirmed, by recipient.
    pub delivered: Family<Counter>,
    /// When the first and the last of these were confirmed.
    pub deliveries: Moments,
    /// Messages that wait in a queue, by queue.
    pub queue_depth: Family<Gauge>,
    /// Durable commits of the store.
    pub commits: Counter,
    /// How long a commit took until it was durable.
    pub commit_seconds: Histogram,
    /// Free disk space under the data folder, in bytes.
    pub disk_free_bytes: Gauge,
    /// Entries of the journal under its last checkpoint.
    pub checkpoint_entries: Gauge,
    /// When that was signed, in seconds since 1970; 0 before the first.
    pub checkpoint_at: Gauge,
    /// Entries of the journal.
    pub journal_entries: Gauge,
    stages: [StageTime; Stage::ALL.len()],
}

impl Metrics {
    /// Nothing counted yet.
    pub fn new() -> Arc<Metrics> {
        Arc::new(Metrics::default())
    }

    /// The time that `stage` takes.
    pub fn stage(&self, stage: Stage) -> &StageTime {
        &self.stages[stage as usize]
    }

    /// A batch of `count` events or messages was made durable in `took`.
    pub fn committed(&self, took: Duration, count: u64) {
        self.stage(Stage::Commit).add(took, count);
        self.commits.add(1);
        self.commit_seconds.observe(took);
    }

    /// Every metric in the Prometheus text format 0.0.4.
    pub fn render(&self) -> String {
        let mut out = Text(String::with_capacity(8192));
        out.counter("pirogue_received_total", "Messages taken from the inbox.", &self.received);
        out.counter("pirogue_accepted_total", "Events taken in.", &self.accepted);
        let refused = self.refused.all();
        let refused = refused.iter().map(|(reason, n)| (reason.as_str(), n.get()));
        out.family("pirogue_refused_total", "counter", "Messages refused, by reason.", "reason", refused);
        let dropped = self.quarantine_dropped.all();
        let dropped = dropped.iter().map(|(member, n)| (member.as_str(), n.get()));
        let help = "Refused messages dropped since there were too many of their member.";
        out.family("pirogue_quarantine_dropped_total", "counter", help, "member", dropped);
        out.counter("pirogue_duplicates_total", "Messages that repeated an event.", &self.duplicates);
        out.counter(
            "pirogue_redelivered_total",
            "Messages that the bus handed over again.",
            &self.redelivered,
        );
        let delivered = self.delivered.all();
        let delivered = delivered.iter().map(|(recipient, n)| (recipient.as_str(), n.get()));
        let help = "Messages delivered, by recipient.";
        out.family("pirogue_delivered_total", "counter", help, "recipient", delivered);
        // Before the first there is no time to give.
        if let Some((first, last)) = self.deliveries.seconds() {
            let name = "pirogue_first_delivery_timestamp_seconds";
            out.head(name, "gauge", "When the first message since the start was delivered.");
            out.sample(name, &[], format_args!("{first:.6}"));
            let name = "pirogue_last_delivery_timestamp_seconds";
            out.head(name, "gauge", "When the last message was delivered.");
            out.sample(name, &[], format_args!("{last:.6}"));
        }
        let depth = self.queue_depth.all();
        let depth = depth.iter().map(|(queue, n)| (queue.as_str(), n.get()));
        out.family("pirogue_queue_depth", "gauge", "Messages that wait, by queue.", "queue", depth);
        let stages = Stage::ALL.map(|stage| (stage.as_str(), self.stage(stage)));
        let seconds = stages.iter().map(|(stage, time)| (*stage, time.total().as_secs_f64()));
        let help = "Thread time spent, by stage.";
        out.family("pirogue_stage_seconds_total", "counter", help, "stage", seconds);
        let events = stages.iter().map(|(stage, time)| (*stage, time.events()));
        let help = "Events that went through, by stage.";
        out.family("pirogue_stage_events_total", "counter", help, "stage", events);
        out.counter(
            "pirogue_commits_total",
            "Batches made durable; some share a commit of the store.",
            &self.commits,
        );
        let help = "Time until a commit was durable.";
        out.histogram("pirogue_commit_seconds", help, &self.commit_seconds);
        let free = &self.disk_free_bytes;
        out.head("pirogue_disk_free_bytes", "gauge", "Free disk space under the data folder.");
        out.sample("pirogue_disk_free_bytes", &[], free.get());
        for (name, help, gauge) in [
            ("pirogue_journal_entries", "Entries of the journal.", &self.journal_entries),
            (
                "pirogue_journal_checkpoint_entries",
                "Entries of the journal under its last checkpoint.",
                &self.checkpoint_entries,
            ),
            (
                "pirogue_journal_checkpoint_timestamp_seconds",
                "When the journal's last checkpoint was signed; 0 before the first.",
                &self.checkpoint_at,
            ),
        ] {
            out.head(name, "gauge", help);
            out.sample(name, &[], gauge.get());
        }
        out.0
    }
}

/// Text in the making.
struct Text(String);

impl Text {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a String can't fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        self.0.push_str(name);
        for (at, (label, text)) in labels.iter().enumerate() {
            let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = write!(self.0, "{}{label}=\"{text}\"", if at == 0 { "{" } else { "," });
        }
        let _ = writeln!(self.0, "{} {value}", if labels.is_empty() { "" } else { "}" });
    }

    fn counter(&mut self, name: &str, help: &str, counter: &Counter) {
        self.head(name, "counter", help);
        self.sample(name, &[], counter.get());
    }

    fn family<'a, V: std::fmt::Display>(
        &mut self,
        name: &str,
        kind: &str,
        help: &str,
        label: &str,
        samples: impl Iterator<Item = (&'a str, V)>,
    ) {
        self.head(name, kind, help);
        samples.for_each(|(text, value)| self.sample(name, &[(label, text)], value));
    }

    fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) {
        self.head(name, "histogram", help);
        let mut so_far = 0;
        let bounds = BUCKETS.iter().map(f64::to_string).chain(["+Inf".to_owned()]);
        for (bucket, bound) in histogram.buckets.iter().zip(bounds) {
            so_far += bucket.load(Relaxed);
            self.sample(&format!("{name}_bucket"), &[("le", &bound)], so_far);
        }
        self.sample(&format!("{name}_sum"), &[], histogram.total().as_secs_f64());
        // The count is the sum that was just written, not read again: a scrape
        // must agree with itself.
        self.sample(&format!("{name}_count"), &[], so_far);
    }
}

/// 584 years fit.
fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_counted_is_rendered_with_its_help_and_type() {
        let metrics = Metrics::new();
        metrics.received.add(7);
        metrics.accepted.add(256);
        metrics.accepted.add(1);
        metrics.refused.with("bad-signature").add(2);
        metrics.delivered.with("gouvernement").add(250);
        metrics.queue_depth.with("pirogue.inbox").set(5);
        metrics.queue_depth.with("pirogue.inbox").set(3);
        metrics.stage(Stage::Verify).add(Duration::from_millis(1500), 256);
        metrics.committed(Duration::from_millis(2), 256);
        metrics.committed(Duration::from_secs(60), 1);
        metrics.disk_free_bytes.set(1 << 40);
        let text = metrics.render();
        for line in [
            "# HELP pirogue_accepted_total Events taken in.",
            "# TYPE pirogue_accepted_total counter",
            "pirogue_received_total 7",
            "pirogue_accepted_total 257",
            "pirogue_refused_total{reason=\"bad-signature\"} 2",
            "pirogue_delivered_total{recipient=\"gouvernement\"} 250",
            "# TYPE pirogue_queue_depth gauge",
            "pirogue_queue_depth{queue=\"pirogue.inbox\"} 3",
            "pirogue_stage_seconds_total{stage=\"verify\"} 1.5",
            "pirogue_stage_events_total{stage=\"verify\"} 256",
            "pirogue_stage_seconds_total{stage=\"publish\"} 0",
            "# TYPE pirogue_commit_seconds histogram",
            "pirogue_commit_seconds_bucket{le=\"0.001\"} 0",
            "pirogue_commit_seconds_bucket{le=\"0.0025\"} 1",
            "pirogue_commit_seconds_bucket{le=\"2.5\"} 1",
            "pirogue_commit_seconds_bucket{le=\"+Inf\"} 2",
            "pirogue_commit_seconds_sum 60.002",
            "pirogue_commit_seconds_count 2",
            "pirogue_disk_free_bytes 1099511627776",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} isn't in\n{text}");
        }
    }

    #[test]
    fn every_line_has_the_form_of_the_text_format() {
        let metrics = Metrics::new();
        metrics.refused.with("a \"quoted\\\nlabel").add(1);
        let text = metrics.render();
        assert!(text.contains(r#"{reason="a \"quoted\\\nlabel"} 1"#), "{text}");
        let mut typed = "";
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                typed = rest.split(' ').next().unwrap();
            } else if !line.starts_with("# HELP ") {
                let (name, value) = line.rsplit_once(' ').unwrap();
                assert!(!typed.is_empty() && name.starts_with(typed), "{line}");
                value.parse::<f64>().unwrap();
            }
        }
    }

    #[test]
    fn the_stages_are_counted_apart() {
        let metrics = Metrics::new();
        for (n, stage) in (1..).zip(Stage::ALL) {
            metrics.stage(stage).add(Duration::from_nanos(n), n);
        }
        for (n, stage) in (1..).zip(Stage::ALL) {
            assert_eq!(metrics.stage(stage).total(), Duration::from_nanos(n));
            assert_eq!(metrics.stage(stage).events(), n);
        }
        let names: std::collections::BTreeSet<_> = Stage::ALL.map(Stage::as_str).into_iter().collect();
        assert_eq!(names.len(), Stage::ALL.len());
    }

    #[test]
    fn threads_lose_no_addition() {
        let metrics = Metrics::new();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..1000).for_each(|_| metrics.refused.with("malformed").add(1)));
            }
        });
        assert_eq!(metrics.refused.with("malformed").get(), 4000);
    }
}
