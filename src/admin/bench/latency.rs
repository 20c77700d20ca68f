//! How long from publishing to receiving: through the hub, and through one
//! quorum queue alone.
//!
//! Both are published by the same connections at the same pace, and received in
//! the same way, one slice of the time after the other, so that what else the
//! machine does falls on both. An event's time begins when it is handed to the
//! client library and ends when its recipient has it; whether one comes late
//! delays none that follows.

use super::broker::{BARE, BARE_KEY, Place};
use super::events::{Events, number};
use super::hub::{HubProcess, free_port};
use super::setup::{Class, Site};
use super::{BenchFault, Progress};
use crate::bus::amqp::Connection;
use crate::bus::{BatchLimits, Bus, Confirm, DELIVERIES, EVENTS, queue_of};
use serde::Serialize;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// How many slices each of both has.
const SLICES: usize = 3;
/// How long the last event of a slice may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// How many messages a consumer may hold.
const PREFETCH: usize = 512;

/// How long it took.
#[derive(Clone, Debug, Serialize)]
pub struct Distribution {
    /// Half took at most so long, in milliseconds.
    pub p50_ms: f64,
    /// Ninety-nine of a hundred.
    pub p99_ms: f64,
    /// The longest.
    pub max_ms: f64,
    /// How many there were.
    pub messages: usize,
}

/// The hub beside a bare hop.
#[derive(Clone, Debug, Serialize)]
pub struct Latency {
    /// Events published a second.
    pub rate: u32,
    /// For how long each of both.
    pub seconds: u32,
    /// From publishing to receiving through the hub.
    pub hub: Distribution,
    /// From publishing to receiving through one quorum queue.
    pub bare: Distribution,
    /// What the hub adds to the 99th percentile, in milliseconds.
    pub added_p99_ms: f64,
}

/// What latency is measured with.
pub(super) struct Course<'a> {
    pub(super) place: &'a Place,
    pub(super) site: &'a Site,
    /// As many as are published.
    pub(super) events: Arc<Events>,
    pub(super) ca: Option<&'a Path>,
    pub(super) progress: Progress<'a>,
}

/// When each event was published and received, in nanoseconds since `epoch`; 0
/// where it wasn't yet.
struct Times {
    epoch: Instant,
    sent: Vec<AtomicU64>,
    received: Vec<AtomicU64>,
}

impl Times {
    fn new(count: usize) -> Times {
        let zeros = || (0..count).map(|_| AtomicU64::new(0)).collect();
        // Long ago, so that no time is 0.
        Times { epoch: Instant::now() - Duration::from_millis(1), sent: zeros(), received: zeros() }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Notes the first time that event `nth` is received.
    fn receive(&self, nth: usize) {
        if let Some(received) = self.received.get(nth) {
            let _ = received.compare_exchange(0, self.now(), Relaxed, Relaxed);
        }
    }

    fn distribution(&self) -> Distribution {
        let took =
            self.sent.iter().zip(&self.received).map(|(sent, received)| {
                received.load(Relaxed).saturating_sub(sent.load(Relaxed)) as f64 / 1e6
            });
        distribution(took.collect())
    }
}

impl Course<'_> {
    /// Publishes `rate` events a second for `seconds`, through each of both.
    pub(super) async fn run(&self, rate: u32, seconds: u32) -> Result<Latency, BenchFault> {
        self.site.agree(1)?;
        self.place.empty(self.site.members()).await?;
        let sources = self.place.sources().await?;
        let receiving = self.place.connect("receiving").await?;
        let times = [(); 2].map(|()| Arc::new(Times::new(self.events.len())));
        let [hub_times, bare_times] = &times;
        let mut consuming = JoinSet::new();
        consume(&mut consuming, &receiving, BARE.to_owned(), bare_times).await?;
        for class in Class::all() {
            let queue = queue_of(self.site.member(class.receivers().start));
            consume(&mut consuming, &receiving, queue, hub_times).await?;
        }
        let port = free_port()?;
        let config = self.site.configure(self.place.url()?.as_str(), self.ca, port)?;
        let mut hub = HubProcess::start(&config, port, self.place.password()).await?;
        hub.answers().await?;
        let share = self.events.len().div_ceil(SLICES);
        for slice in 0..SLICES {
            let numbers = slice * share..((slice + 1) * share).min(self.events.len());
            for (bare, times) in [(true, bare_times), (false, hub_times)] {
                let which = if bare { "one queue" } else { "the hub" };
                (self.progress)(&format!("latency, {} of {SLICES}: {which}", slice + 1));
                let published = pace(&sources, &self.events, numbers.clone(), rate, bare, times);
                tokio::select! {
                    published = published => published?,
                    Some(ended) = consuming.join_next() => ended.map_err(|_| BenchFault::Own)??,
                }
                received(times, numbers.clone()).await?;
            }
        }
        hub.kill().await?;
        let (hub, bare) = (hub_times.distribution(), bare_times.distribution());
        let added_p99_ms = hub.p99_ms - bare.p99_ms;
        Ok(Latency { rate, seconds, hub, bare, added_p99_ms })
    }
}

/// Receives from `queue` until the set of tasks is dropped, and notes when.
async fn consume(
    tasks: &mut JoinSet<Result<(), BenchFault>>,
    connection: &Connection,
    queue: String,
    times: &Arc<Times>,
) -> Result<(), BenchFault> {
    let mut consumer = connection.consume(&queue, PREFETCH).await?;
    let times = Arc::clone(times);
    tasks.spawn(async move {
        let limits = BatchLimits { messages: PREFETCH, bytes: 4 << 20, linger: Duration::ZERO };
        loop {
            let deliveries = consumer.next(&limits).await?;
            let numbers = deliveries.iter().filter_map(|delivery| number(&delivery.message.body));
            numbers.for_each(|nth| times.receive(nth));
            if let Some(last) = deliveries.last() {
                consumer.ack(last.tag).await?;
            }
        }
    });
    Ok(())
}

/// Publishes events, each at its time, and waits until all are confirmed.
async fn pace(
    sources: &[Arc<Connection>],
    events: &Arc<Events>,
    numbers: std::ops::Range<usize>,
    rate: u32,
    bare: bool,
    times: &Arc<Times>,
) -> Result<(), BenchFault> {
    let (begun, mut publishing) = (tokio::time::Instant::now(), JoinSet::new());
    for (turn, nth) in numbers.enumerate() {
        tokio::time::sleep_until(begun + Duration::from_secs_f64(turn as f64 / f64::from(rate))).await;
        let (events, times) = (Arc::clone(events), Arc::clone(times));
        let connection = Arc::clone(&sources[Class::of(nth).source()]);
        publishing.spawn(async move {
            let (routing_key, message) = events.get(nth);
            let (exchange, routing_key) =
                if bare { (DELIVERIES, BARE_KEY.to_owned()) } else { (EVENTS, routing_key) };
            times.sent[nth].store(times.now(), Relaxed);
            let confirms = connection.publish(exchange, vec![(routing_key, message)]).await?;
            if confirms == [Confirm::Accepted] { Ok(()) } else { Err(BenchFault::NotTaken) }
        });
        while let Some(published) = publishing.try_join_next() {
            published.map_err(|_| BenchFault::Own)??;
        }
    }
    while let Some(published) = publishing.join_next().await {
        published.map_err(|_| BenchFault::Own)??;
    }
    Ok(())
}

/// Waits until each of `numbers` is received.
async fn received(times: &Times, numbers: std::ops::Range<usize>) -> Result<(), BenchFault> {
    let until = Instant::now() + PATIENCE;
    for nth in numbers {
        while times.received[nth].load(Relaxed) == 0 {
            if Instant::now() > until {
                return Err(BenchFault::NotReceived);
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
    Ok(())
}

/// The percentiles of times in milliseconds, by the nearest rank.
fn distribution(mut took: Vec<f64>) -> Distribution {
    took.sort_by(f64::total_cmp);
    let of = |share: f64| {
        let rank = (took.len() as f64 * share).ceil() as usize;
        took.get(rank.saturating_sub(1)).copied().unwrap_or_default()
    };
    Distribution { p50_ms: of(0.5), p99_ms: of(0.99), max_ms: of(1.0), messages: took.len() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let one_to_hundred = distribution((1..=100).rev().map(f64::from).collect());
        let Distribution { p50_ms, p99_ms, max_ms, messages } = one_to_hundred;
        assert_eq!((p50_ms, p99_ms, max_ms, messages), (50.0, 99.0, 100.0, 100));
        assert_eq!(distribution(vec![7.0]).p99_ms, 7.0);
        assert_eq!(distribution(Vec::new()).messages, 0);
    }
}
