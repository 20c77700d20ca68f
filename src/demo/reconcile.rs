//! What was received, held against what the server served: counted by the
//! receiving side, from its own files, without asking the hub.
//!
//! An event's id and subject are the recipient's own, so a record is found by
//! what it says: the fields that the agreement grants.

use super::boost::{BoostServer, Table};
use super::setup::{GRANTED, JOBSEEKER, OFFER};
use crate::connect::manifest::SourceStream;
use crate::schema::{EventSchema, Projection, ReaderSchema};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::{HashMap, VecDeque};
use std::io::BufRead;
use std::path::{Path, PathBuf};

/// What the receiving side counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// Events received.
    pub(super) received: u64,
    /// Records served and not received.
    pub(super) lost: u64,
    /// Events received before one that was served earlier, or more than once.
    pub(super) out_of_order: u64,
}

/// Why the two can't be held against each other.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReconcileFault {
    #[error("{} can't be read: {why}", .path.display())]
    File { path: PathBuf, why: String },
    #[error("a record that the server served can't be mapped: {0}")]
    Record(String),
    #[error(transparent)]
    Schema(#[from] crate::schema::SchemaFault),
}

/// The streams of the connector, each with its schema.
pub(super) struct Streams<'a> {
    pub(super) offers: (&'a SourceStream, &'a EventSchema),
    pub(super) jobseekers: (&'a SourceStream, &'a EventSchema),
}

impl Streams<'_> {
    fn of(&self, table: Table) -> (&SourceStream, &EventSchema, &'static str) {
        match table {
            Table::Offers => (self.offers.0, self.offers.1, OFFER),
            Table::Jobseekers => (self.jobseekers.0, self.jobseekers.1, JOBSEEKER),
        }
    }
}

/// Reads the files under `received` and compares them with all that `server`
/// holds.
pub(super) fn reconcile(
    received: &Path,
    server: &BoostServer,
    streams: &Streams<'_>,
) -> Result<Tally, ReconcileFault> {
    let mut tally = Tally::default();
    for table in Table::ALL {
        let (stream, schema, event_type) = streams.of(table);
        let view = View::of(table, schema)?;
        let mut expected: HashMap<[u8; 16], VecDeque<u32>> = HashMap::new();
        for row in 0..server.rows(table) {
            let record = match table {
                Table::Offers => server.offer(row),
                Table::Jobseekers => server.jobseeker(row),
            };
            let harmonised =
                stream.mapping.map(&record).map_err(|f| ReconcileFault::Record(f.to_string()))?;
            for output in &harmonised {
                let seen = view.of_record(schema, output)?;
                expected.entry(digest(&seen)).or_default().push_back(row as u32);
            }
        }
        let mut last = None;
        each_line(received, event_type, |data| {
            tally.received += 1;
            let row = expected.get_mut(&digest(data)).and_then(VecDeque::pop_front);
            match row {
                Some(row) if last.is_none_or(|last| last < row) => last = Some(row),
                // One that was served later came before, or it came twice.
                _ => tally.out_of_order += 1,
            }
        })?;
        tally.lost += expected.values().map(|left| left.len() as u64).sum::<u64>();
    }
    Ok(tally)
}

/// What the recipient is to see of a record.
struct View {
    projection: std::sync::Arc<Projection>,
    reader: ReaderSchema,
}

impl View {
    fn of(table: Table, schema: &EventSchema) -> Result<View, ReconcileFault> {
        let fields: Vec<String> = match table {
            Table::Offers => vec!["*".to_owned()],
            Table::Jobseekers => GRANTED.map(str::to_owned).to_vec(),
        };
        let projection = schema.project(&fields)?;
        let reader = ReaderSchema::parse(projection.json(), projection.reference())?;
        Ok(View { projection, reader })
    }

    fn of_record(&self, schema: &EventSchema, output: &Value) -> Result<Value, ReconcileFault> {
        let record = |fault: &dyn std::fmt::Display| ReconcileFault::Record(fault.to_string());
        let body = schema.encode_json(output).map_err(|faults| match faults.first() {
            Some(first) => record(first),
            None => record(&"it doesn't fit the schema"),
        })?;
        let cut = self.projection.apply(&body).map_err(|f| record(&f))?;
        Ok(self.reader.decode(&cut).map_err(|f| record(&f))?.to_json())
    }
}

fn digest(value: &Value) -> [u8; 16] {
    let full = Sha256::digest(value.to_string());
    let mut half = [0; 16];
    half.copy_from_slice(&full[..16]);
    half
}

/// Gives the data of each event of a type that was received, in the order of
/// the files: those put aside first, by their number, then the one being
/// written.
fn each_line(received: &Path, event_type: &str, mut visit: impl FnMut(&Value)) -> Result<(), ReconcileFault> {
    for path in files(received, event_type) {
        let fault = |why: String| ReconcileFault::File { path: path.clone(), why };
        let file = std::fs::File::open(&path).map_err(|e| fault(e.to_string()))?;
        for line in std::io::BufReader::new(file).lines() {
            let line = line.map_err(|e| fault(e.to_string()))?;
            let event: Value = serde_json::from_str(&line).map_err(|e| fault(e.to_string()))?;
            visit(event.get("data").unwrap_or(&Value::Null));
        }
    }
    Ok(())
}

/// The files of a type, oldest first.
pub(super) fn files(received: &Path, event_type: &str) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(received) else { return Vec::new() };
    let mut files: Vec<(u32, PathBuf)> = entries
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let name = path.file_name()?.to_str()?;
            let middle = name.strip_prefix(event_type)?.strip_suffix(".jsonl")?;
            // TYPE.jsonl is being written; TYPE.N.jsonl was put aside.
            match middle.strip_prefix('.') {
                None if middle.is_empty() => Some((u32::MAX, path)),
                None => None,
                Some(number) => Some((number.parse().ok()?, path)),
            }
        })
        .collect();
    files.sort();
    files.into_iter().map(|(_, path)| path).collect()
}

/// The first event of a type that was received and for which `wanted` holds.
pub(super) fn find(received: &Path, event_type: &str, wanted: impl Fn(&Value) -> bool) -> Option<Value> {
    for path in files(received, event_type) {
        let file = std::fs::File::open(&path).ok()?;
        for line in std::io::BufReader::new(file).lines() {
            let event: Value = serde_json::from_str(&line.ok()?).ok()?;
            if wanted(&event) {
                return Some(event);
            }
        }
    }
    None
}
