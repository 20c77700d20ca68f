//! How many messages a second: the hub, and the broker's own shovel, over the
//! same messages.
//!
//! Both clocks run from the first to the last message that is confirmed where
//! it has to arrive, so that neither's start counts.
//!
//! **The hub** notes the times of its first and last confirm itself
//! ([`crate::metrics::Metrics::deliveries`]); its counts are asked for every 20
//! ms only to see the end. What counts are the events: the schemas that it
//! sends ahead, one for each recipient, are work of its own and count nothing.
//!
//! **The shovel** says nothing of the kind, and the management API's counts are
//! seconds old. So the broker is asked every 5 ms how many messages its target
//! queue has ready (a passive `queue.declare`, which asks the queue itself). The
//! clock starts at the first look that sees messages, and those that it sees
//! don't count; it ends at the first look that sees all. A message is ready in a
//! quorum queue when it is committed, which is when it is confirmed. Each end is
//! at most one look late, 5 ms in a second or more. Where the first look that
//! sees messages sees all, which needs very few, the clock starts at the look
//! before it.

use super::broker::{GLANCE, Place, TO};
use super::events::Events;
use super::hub::{HubProcess, free_port};
use super::setup::{Class, Site};
use super::{BenchFault, Progress};
use crate::bus::amqp::Connection;
use crate::bus::{Bus, Confirm, EVENTS, INBOX};
use serde::Serialize;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How many messages are handed to the client library at once.
const CHUNK: usize = 2048;
/// How long nothing may change before the benchmark gives up.
const PATIENCE: Duration = Duration::from_secs(60);

/// The hub and the shovel, one after the other.
#[derive(Clone, Debug, Serialize)]
pub struct Pair {
    /// Events that the hub delivered a second, each recipient counted.
    pub hub_per_second: f64,
    /// Messages that the shovel moved a second.
    pub shovel_per_second: f64,
    /// The first by the second.
    pub ratio: f64,
    /// CPU time of the hub's process for each delivery, from its start to its
    /// last confirm, in microseconds.
    pub hub_cpu_us: f64,
    /// The most memory that the hub had in use, in bytes.
    pub hub_peak_bytes: u64,
}

/// Several pairs, and what is in their middle.
#[derive(Clone, Debug, Serialize)]
pub struct Rates {
    /// How many recipients each event has.
    pub recipients_per_event: usize,
    /// The median of the hub's rates.
    pub hub_per_second: f64,
    /// The median of the shovel's rates.
    pub shovel_per_second: f64,
    /// The median of the pairs' ratios.
    pub ratio: f64,
    /// The median of the hub's CPU times for a delivery, in microseconds.
    pub hub_cpu_us: f64,
    /// The most memory that any of the hubs had in use, in bytes.
    pub hub_peak_bytes: u64,
    /// Each pair, in the order in which they ran.
    pub pairs: Vec<Pair>,
}

/// What a rate is measured with.
pub(super) struct Course<'a> {
    pub(super) place: &'a Place,
    pub(super) site: &'a Site,
    pub(super) events: &'a Events,
    pub(super) ca: Option<&'a Path>,
    pub(super) progress: Progress<'a>,
}

impl Course<'_> {
    /// Runs `pairs` pairs with `recipients` for each event. Which of the two
    /// goes first alternates.
    pub(super) async fn run(&self, pairs: usize, recipients: usize) -> Result<Rates, BenchFault> {
        self.site.agree(recipients)?;
        let sources = self.place.sources().await?;
        let looking = self.place.connect("looking").await?;
        let mut done = Vec::new();
        for nth in 0..pairs {
            let what = format!("{recipients} to an event, pair {} of {pairs}", nth + 1);
            (self.progress)(&format!("{what}: publishing"));
            self.place.empty(self.site.members()).await?;
            publish(&sources, self.events).await?;
            // Both have all of it before either begins.
            for queue in [INBOX, super::broker::FROM] {
                await_ready(&looking, queue, self.events.len() as u64).await?;
            }
            let ((hub, cpu, peak), shovel) = if nth % 2 == 0 {
                let hub = self.hub(recipients, &what).await?;
                (hub, self.shovel(&looking, &what).await?)
            } else {
                let shovel = self.shovel(&looking, &what).await?;
                (self.hub(recipients, &what).await?, shovel)
            };
            done.push(Pair {
                hub_per_second: hub,
                shovel_per_second: shovel,
                ratio: hub / shovel,
                hub_cpu_us: cpu,
                hub_peak_bytes: peak,
            });
        }
        let middle = |of: fn(&Pair) -> f64| median(done.iter().map(of).collect());
        Ok(Rates {
            recipients_per_event: recipients,
            hub_per_second: middle(|pair| pair.hub_per_second),
            shovel_per_second: middle(|pair| pair.shovel_per_second),
            ratio: middle(|pair| pair.ratio),
            hub_cpu_us: middle(|pair| pair.hub_cpu_us),
            hub_peak_bytes: done.iter().map(|pair| pair.hub_peak_bytes).max().unwrap_or_default(),
            pairs: done,
        })
    }

    /// Lets a hub deliver what is in its inbox. Returns its rate, its CPU time
    /// for each delivery in microseconds, and its peak memory in bytes.
    async fn hub(&self, recipients: usize, what: &str) -> Result<(f64, f64, u64), BenchFault> {
        let port = free_port()?;
        let config = self.site.configure(self.place.url()?.as_str(), self.ca, port)?;
        let mut hub = HubProcess::start(&config, port, self.place.password()).await?;
        let deliveries = (self.events.len() * recipients) as u64;
        // Each recipient gets the schema of its class first.
        let used = Class::all().count().min(self.events.len()) * recipients;
        let wanted = deliveries + used as u64;
        let counts = hub
            .delivered(wanted, |count| (self.progress)(&format!("{what}: the hub, {count} of {wanted}")))
            .await?;
        let usage = hub.usage()?;
        hub.kill().await?;
        let rate = deliveries as f64 / (counts.last - counts.first).max(1e-6);
        Ok((rate, usage.cpu.as_secs_f64() * 1e6 / deliveries as f64, usage.peak_memory))
    }

    /// Lets the shovel move the same messages. Returns its rate.
    async fn shovel(&self, looking: &Connection, what: &str) -> Result<f64, BenchFault> {
        self.place.start_shovel().await?;
        (self.progress)(&format!("{what}: the shovel"));
        let wanted = self.events.len() as u64;
        let begun = await_ready(looking, TO, 1).await?;
        let ended = await_ready(looking, TO, wanted).await?;
        self.place.end_shovel().await?;
        // So few that one look saw none and the next saw all: between the two.
        let (from, moved) = match wanted.saturating_sub(begun.ready) {
            0 => (begun.looked_before, wanted),
            moved => (begun.looked, moved),
        };
        Ok(moved as f64 / (ended.looked - from).as_secs_f64().max(1e-6))
    }
}

/// A look at a queue.
struct Look {
    /// When it was, and when the look before it was.
    looked: Instant,
    looked_before: Instant,
    /// How many messages were ready.
    ready: u64,
}

/// Looks at a queue until it has at least `wanted` messages ready.
async fn await_ready(looking: &Connection, queue: &str, wanted: u64) -> Result<Look, BenchFault> {
    let (mut before, mut changed) = (0, Instant::now());
    let mut looked_before = changed;
    loop {
        let ready = looking.ready(queue).await?;
        let now = Instant::now();
        if ready >= wanted {
            return Ok(Look { looked: now, looked_before, ready });
        }
        looked_before = now;
        if ready != before {
            (before, changed) = (ready, now);
        } else if changed.elapsed() > PATIENCE {
            return Err(BenchFault::Stuck { queue: queue.to_owned(), ready, wanted });
        }
        tokio::time::sleep(GLANCE).await;
    }
}

/// Publishes all events, each source on its own connection.
async fn publish(sources: &[Arc<Connection>], events: &Events) -> Result<(), BenchFault> {
    let mut publishing = Vec::new();
    for (source, connection) in sources.iter().enumerate() {
        let (connection, mut rest) = (Arc::clone(connection), events.of_source(source));
        publishing.push(tokio::spawn(async move {
            while !rest.is_empty() {
                let later = rest.split_off(rest.len().min(CHUNK));
                let confirms = connection.publish(EVENTS, rest).await?;
                if confirms.iter().any(|confirm| *confirm != Confirm::Accepted) {
                    return Err(BenchFault::NotTaken);
                }
                rest = later;
            }
            Ok(())
        }));
    }
    for published in publishing {
        published.await.map_err(|_| BenchFault::Own)??;
    }
    Ok(())
}

/// The middle of numbers; between the two that are in the middle.
fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    let half = numbers.len() / 2;
    match numbers.len() {
        0 => 0.0,
        count if count % 2 == 1 => numbers[half],
        _ => (numbers[half - 1] + numbers[half]) / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(vec![]), 0.0);
        assert_eq!(median(vec![3.0, 1.0, 9.0]), 3.0);
        assert_eq!(median(vec![3.0, 1.0, 9.0, 5.0]), 4.0);
    }
}
