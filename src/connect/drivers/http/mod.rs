//! The HTTP source: pages of JSON, read in rounds.
//!
//! A round reads every page from the first to the last one. `since`, where the
//! manifest has it, makes a round read only what changed after the last record
//! of the round before, with an overlap; without it each round reads everything,
//! conditionally page by page where the server gives validators. Repeats are
//! harmless: the same record in the same version is the same event.

mod auth;
mod client;
mod page;
mod settings;

pub use settings::{ApiKeyPlace, Auth, HttpConnection, HttpRead, Retry, Since, SinceForm};

use super::{Batch, Checkpoint, DriverFault, Fut, Record, Rejected, Settings, Source, fill};
use client::{Answer, Client};
use page::{Keys, Position};
use serde_json::Value;
use std::collections::{HashMap, VecDeque};
use std::num::NonZeroUsize;

/// How many pages are remembered for conditional requests.
const MAX_KNOWN: usize = 10_000;

/// A source that reads pages of JSON over HTTP.
pub struct HttpSource {
    client: Client,
    path: String,
    read: HttpRead,
    keys: Keys,
    settings: Settings,
    /// What is left of the page that was read last.
    rest: Option<Rest>,
    /// Pages whose records are all safe, by their query.
    known: HashMap<String, Known>,
    /// The page that is known once its checkpoint comes back.
    pending: Option<(Checkpoint, String, Known)>,
}

/// The part of a page that wasn't asked for yet.
struct Rest {
    /// The checkpoint that asks for it.
    at: Checkpoint,
    records: VecDeque<Record>,
    /// What follows the last of them.
    next: Checkpoint,
    more: bool,
    query: String,
    known: Option<Known>,
}

/// What is remembered of a page, so that it can be asked for conditionally: its
/// validators, what follows it, and its latest record's time.
#[derive(Clone)]
struct Known {
    etag: Option<String>,
    last_modified: Option<String>,
    next: Option<serde_json::Map<String, Value>>,
    high: Option<String>,
}

impl HttpSource {
    /// A source over `connection` that reads as `read` says. `key` and `version`
    /// are JSON pointers (RFC 6901) into a record.
    ///
    /// Fails when a setting or a secret is missing, or the address isn't one.
    pub fn new(
        connection: &HttpConnection,
        read: &HttpRead,
        key: &str,
        version: Option<&str>,
        settings: &Settings,
    ) -> Result<HttpSource, DriverFault> {
        Ok(HttpSource {
            client: Client::new(connection, settings)?,
            path: settings.fill(&read.path, "path")?,
            read: read.clone(),
            keys: Keys { key: key.to_owned(), version: version.map(str::to_owned) },
            settings: settings.clone(),
            rest: None,
            known: HashMap::new(),
            pending: None,
        })
    }

    async fn batch(&mut self, after: Option<&Checkpoint>, max: usize) -> Result<Batch, DriverFault> {
        if let Some((next, query, known)) = self.pending.take()
            && after == Some(&next)
        {
            // Queries of pages that no longer come up stay: forget all, and read once more.
            if self.known.len() >= MAX_KNOWN {
                self.known.clear();
            }
            self.known.insert(query, known);
        }
        // What is left of a page is only good for the checkpoint that asks for it.
        if let Some(rest) = self.rest.take_if(|rest| after == Some(&rest.at)) {
            return Ok(self.part(rest, max));
        }
        self.rest = None;
        let mut position = Position::read(after)?;
        position.part = 0;
        let query = self.query(&position)?;
        let cache_key = serde_json::to_string(&query).unwrap_or_default();
        let known = self.known.get(&cache_key).cloned();
        let validators = known.as_ref().map(|k| (k.etag.as_deref(), k.last_modified.as_deref()));
        match self.client.get(&self.path, &query, validators).await? {
            Answer::NotModified => {
                // The server can only say so of a page that we named a validator of.
                let known = known.ok_or_else(|| {
                    DriverFault::retry("the server says that a page didn't change which we never had")
                })?;
                self.raise(&mut position, known.high.as_deref());
                let (next, more) = position.after(known.next, &self.read, self.known_since())?;
                Ok(Batch { next: Some(next), more, ..Batch::default() })
            }
            Answer::Page { body, etag, last_modified } => {
                let page = page::read(body, &self.read, &self.keys)?;
                self.raise(&mut position, page.high.as_deref());
                let at = position.clone();
                let (next, more) = position.after(page.next.clone(), &self.read, self.known_since())?;
                let known = (etag.is_some() || last_modified.is_some()).then_some(Known {
                    etag,
                    last_modified,
                    next: page.next,
                    high: page.high,
                });
                let rest = Rest {
                    at: at.checkpoint(),
                    records: page.records.into(),
                    next,
                    more,
                    query: cache_key,
                    known,
                };
                let mut batch = self.part(rest, max);
                batch.rejected = page.rejected;
                Ok(batch)
            }
        }
    }

    /// The next `max` records of a page, and the checkpoint for what follows.
    fn part(&mut self, mut rest: Rest, max: usize) -> Batch {
        let take = max.min(rest.records.len());
        let records: Vec<Record> = rest.records.drain(..take).collect();
        if rest.records.is_empty() {
            if let Some(known) = rest.known {
                self.pending = Some((rest.next.clone(), rest.query, known));
            }
            return Batch { records, rejected: Vec::new(), next: Some(rest.next), more: rest.more };
        }
        // Another number each time: an older checkpoint of this page reads it anew.
        let next = Position::next_part(&rest.at);
        rest.at = next.clone();
        self.rest = Some(rest);
        Batch { records, rejected: Vec::new(), next: Some(next), more: true }
    }

    /// The query of the page at `position`.
    fn query(&self, position: &Position) -> Result<Vec<(String, String)>, DriverFault> {
        let mut query: Vec<(String, String)> = Vec::with_capacity(self.read.query.len() + 2);
        for (name, template) in &self.read.query {
            let value = |wanted: &str| match wanted {
                "since" => position.since.clone(),
                name => self.settings.values.get(name).cloned(),
            };
            match fill(template, value) {
                Ok(value) => query.push((name.clone(), value)),
                // The first round has no `since`: the parameter stays away.
                Err(missing) if missing == "since" => {}
                Err(missing) => {
                    return Err(DriverFault::halt(format!(
                        "the query's {name} needs the setting {missing}, which isn't set; set it in the configuration \
                         of this connector"
                    )));
                }
            }
        }
        for (name, value) in position.page.iter().flatten() {
            let value = match value {
                Value::String(text) => text.clone(),
                value => value.to_string(),
            };
            match query.iter_mut().find(|(known, _)| known == name) {
                Some(known) => known.1 = value,
                None => query.push((name.clone(), value)),
            }
        }
        Ok(query)
    }

    fn raise(&self, position: &mut Position, high: Option<&str>) {
        if let Some(high) = high
            && position.high.as_deref().is_none_or(|old| page::later(high, old))
        {
            position.high = Some(high.to_owned());
        }
    }

    fn known_since(&self) -> Option<&Since> {
        self.read.since.as_ref()
    }
}

impl Source for HttpSource {
    fn pull<'a>(
        &'a mut self,
        after: Option<&'a Checkpoint>,
        max: NonZeroUsize,
    ) -> Fut<'a, Result<Batch, DriverFault>> {
        Box::pin(self.batch(after, max.get()))
    }
}

#[cfg(test)]
mod tests;
