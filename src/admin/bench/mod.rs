//! Benchmarks: how fast an exchange is on a broker, beside what the broker does
//! by itself.
//!
//! [`exchange`] makes a virtual host of its own and removes it. In it are 60
//! members with signed agreements; three of them publish events of four types.
//! Each of the twelve kinds of events is granted to one of the members, or to
//! five of them, which are then all 60. A hub runs as a process of its own; the
//! events were signed and published before it started.

mod broker;
mod events;
mod hub;
mod latency;
mod rate;
mod setup;

pub use latency::{Distribution, Latency};
pub use rate::{Pair, Rates};

use crate::admin::prepare::PrepareFault;
use crate::bus::BusFault;
use crate::bus::manage::ManageFault;
use crate::schema::SchemaFault;
use broker::Place;
use events::Events;
use serde::Serialize;
use setup::{MOST_RECIPIENTS, Site};
use std::path::PathBuf;
use std::sync::Arc;

/// Why a benchmark can't be had.
#[derive(Debug, thiserror::Error)]
pub enum BenchFault {
    /// An option's URL can't be used. It may hold a password, and isn't said.
    #[error("{0} isn't a URL with a host: write amqp://USER:PASSWORD@HOST:PORT and http://HOST:PORT")]
    Address(&'static str),
    /// No URL names the administrator.
    #[error(
        "the URLs name no administrator, who makes a virtual host and a user for this: write \
         amqp://USER:PASSWORD@HOST:PORT"
    )]
    Administrator,
    /// The folder can't be prepared.
    #[error(transparent)]
    Prepare(#[from] PrepareFault),
    /// The management API didn't do what it was asked.
    #[error(transparent)]
    Management(#[from] ManageFault),
    /// The broker didn't do what it was asked.
    #[error(transparent)]
    Bus(#[from] BusFault),
    /// The benchmark's schemas can't be loaded.
    #[error(transparent)]
    Schema(#[from] SchemaFault),
    /// The system refused a file, a port or a process.
    #[error("the hub's process can't be had, or what it needs: {0}; check the space and the rights")]
    System(std::io::Error),
    /// The hub doesn't do what it should.
    #[error("{what}; the last that it said: {last}")]
    Hub {
        /// What is wrong.
        what: &'static str,
        /// The last line of its log.
        last: String,
    },
    /// The broker took no more.
    #[error("the broker refuses events: give it memory and disk space, or fewer events (--events)")]
    NotTaken,
    /// Not all that was published came.
    #[error(
        "not all events came within 30 seconds: the machine is too slow for that many, try a smaller --rate"
    )]
    NotReceived,
    /// A queue doesn't fill.
    #[error(
        "the queue {queue} stays at {ready} messages of {wanted}: look at the broker's log; its shovel must be able \
         to reach the broker at the address of --broker"
    )]
    Stuck {
        /// The queue.
        queue: String,
        /// How many it has.
        ready: u64,
        /// How many it should have.
        wanted: u64,
    },
    /// What the benchmark made of itself isn't as it should be.
    #[error("the benchmark failed by a defect of its own, which is one to report")]
    Own,
}

/// What to measure, and where.
#[derive(Clone)]
pub struct Options {
    /// The broker, `amqp[s]://USER:PASSWORD@HOST[:PORT]`. The virtual host is
    /// the benchmark's own.
    pub broker: String,
    /// Its management API, `http[s]://HOST:PORT`, whose user is the broker's if it
    /// names none.
    pub management: String,
    /// The authority that signed the broker's certificates.
    pub ca: Option<PathBuf>,
    /// Where the hub's store is made; the system's folder for temporary files if
    /// none.
    pub folder: Option<PathBuf>,
    /// How many events are published for each pair.
    pub events: usize,
    /// How many pairs of hub and shovel run; with 0 no rate is measured.
    pub pairs: usize,
    /// At how many events a second latency is measured.
    pub rate: u32,
    /// For how long, in seconds; with 0 no latency is measured.
    pub seconds: u32,
    /// Whether pairs with five recipients for each event run too.
    pub five: bool,
    /// Whether the virtual host, the user and the folder stay.
    pub keep: bool,
}

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The broker's version.
    pub broker_version: String,
    /// The processor cores of this machine.
    pub cores: usize,
    /// How many events were published for each pair.
    pub events: usize,
    /// The mean size of an event's body, in bytes.
    pub body_bytes: usize,
    /// The mean size of an event's headers, in bytes.
    pub headers_bytes: usize,
    /// With one recipient for each event.
    pub one: Option<Rates>,
    /// With five.
    pub five: Option<Rates>,
    /// From publishing to receiving.
    pub latency: Option<Latency>,
    /// What stays: the virtual host's name, which is the user's too, and the
    /// folder.
    pub kept: Option<(String, PathBuf)>,
}

/// Who is told what goes on, in a few words.
pub type Progress<'a> = &'a (dyn Fn(&str) + Sync);

/// Measures an exchange on a broker, until `stop` is done; none where it is done
/// first. What was made on the broker is removed whatever happens, unless it is
/// to be kept.
pub async fn exchange(
    options: &Options,
    progress: Progress<'_>,
    stop: impl Future<Output = ()>,
) -> Result<Option<Report>, BenchFault> {
    let place = Place::find(options).await?;
    let mut builder = tempfile::Builder::new();
    builder.prefix("pirogue-bench-").disable_cleanup(options.keep);
    let folder = match &options.folder {
        Some(folder) => builder.tempdir_in(folder),
        None => builder.tempdir(),
    };
    let folder = folder.map_err(BenchFault::System)?;
    let measured = tokio::select! {
        measured = measure(options, &place, folder.path(), progress) => measured.map(Some),
        () = stop => Ok(None),
    };
    if options.keep {
        let kept = Some((place.name().to_owned(), folder.path().to_owned()));
        return measured.map(|report| report.map(|report| Report { kept, ..report }));
    }
    // Why it failed says more than that something stays.
    let removed = place.remove().await;
    let report = measured?;
    removed?;
    Ok(report)
}

async fn measure(
    options: &Options,
    place: &Place,
    folder: &std::path::Path,
    progress: Progress<'_>,
) -> Result<Report, BenchFault> {
    progress("making members, keys and agreements");
    let site = Arc::new(Site::prepare(folder)?);
    progress("making queues");
    place.make(&site).await?;
    progress("signing events");
    let now = jiff::Timestamp::now();
    let events = Events::sign(&site, "rate", options.events, now).await?;
    let (body_bytes, headers_bytes) = events.sizes();
    let ca = options.ca.as_deref();
    let course = rate::Course { place, site: &site, events: &events, ca, progress };
    let (mut one, mut five, mut latency) = (None, None, None);
    if options.pairs > 0 {
        one = Some(course.run(options.pairs, 1).await?);
        if options.five {
            five = Some(course.run(options.pairs, MOST_RECIPIENTS).await?);
        }
    }
    if options.seconds > 0 {
        progress("signing events");
        let count = options.rate as usize * options.seconds as usize;
        let events = Arc::new(Events::sign(&site, "latency", count, now).await?);
        let course = latency::Course { place, site: &site, events, ca, progress };
        latency = Some(course.run(options.rate, options.seconds).await?);
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let (broker_version, events) = (place.version.clone(), options.events);
    Ok(Report { broker_version, cores, events, body_bytes, headers_bytes, one, five, latency, kept: None })
}
