//! Drivers: generic ways to read from a software or to write to one.
//!
//! The host owns every loop. A source is asked for the next batch after a
//! checkpoint, and backpressure is not asking; a sink is given a batch, and
//! answers once it is safe.

mod files;
mod http;
mod secrets;

pub use files::{FilesSettings, FilesSink};
pub use http::{ApiKeyPlace, Auth, HttpConnection, HttpRead, HttpSource, Retry, Since, SinceForm};
pub use secrets::{SecretText, Secrets};

use crate::event::Message;
use serde_json::Value;
use std::collections::BTreeMap;
use std::future::Future;
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::time::Duration;

/// A boxed future, so that the traits below can be used as objects.
pub type Fut<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// One record of a member's software, or one event for it.
#[derive(Clone, PartialEq)]
pub struct Record {
    /// What names the record in its software; of an event, its id.
    pub key: String,
    /// What changes whenever the record changes, where the software says it.
    pub version: Option<String>,
    /// The event's type; empty for what a source reads, where the stream says it.
    pub kind: String,
    /// The record itself.
    pub value: Value,
    /// The message as it came, for a sink that keeps it.
    pub raw: Option<Message>,
}

/// Prints the key and no content.
impl std::fmt::Debug for Record {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Record").field("key", &self.key).field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// Where a source goes on, or up to where a sink has written: the driver's own
/// JSON, which the host keeps and gives back unread.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Checkpoint(pub Value);

/// A record that can't be used, and why; the others go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// The record's key, or its position where it has none.
    pub key: String,
    /// A sentence that names the field, never the value.
    pub reason: String,
}

/// What one `pull` gives.
#[derive(Debug, Default)]
pub struct Batch {
    /// The records, in the order of the source.
    pub records: Vec<Record>,
    /// Records that have no key, for instance: to be set aside.
    pub rejected: Vec<Rejected>,
    /// Where to go on once these are safe; none if that is where it was.
    pub next: Option<Checkpoint>,
    /// Whether there is more at once, or the source is to be asked again later.
    pub more: bool,
}

/// What one `push` gives, once it is durable.
#[derive(Debug)]
pub struct Pushed {
    /// The records that the software refused for good.
    pub rejected: Vec<Rejected>,
    /// Up to where the sink has written. Kept in the same transaction as the
    /// sequence number of the last record, it makes `resume` repeat nothing.
    pub mark: Checkpoint,
}

/// Why a driver can't go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DriverFault {
    /// It may pass: ask again, not before `after` where that is given.
    #[error("{detail}")]
    Retry {
        /// How long to wait at least, where the other side said so.
        after: Option<Duration>,
        /// A sentence without secrets and without personal data.
        detail: String,
    },
    /// It won't pass by itself: the sentence says what someone has to do.
    #[error("{detail}")]
    Halt {
        /// A sentence without secrets and without personal data.
        detail: String,
    },
}

impl DriverFault {
    pub(crate) fn retry(detail: impl Into<String>) -> DriverFault {
        DriverFault::Retry { after: None, detail: detail.into() }
    }

    pub(crate) fn halt(detail: impl Into<String>) -> DriverFault {
        DriverFault::Halt { detail: detail.into() }
    }
}

/// What records are read from.
pub trait Source: Send {
    /// The records that follow `after` (none: from the beginning), at most
    /// `max`.
    ///
    /// `after` must be a checkpoint that this source gave, and is the latest of
    /// which all records are safe. Giving an older one again, after a failure,
    /// gives its records again. A checkpoint that can't be read is
    /// [`DriverFault::Halt`]: a source never starts afresh by itself.
    fn pull<'a>(
        &'a mut self,
        after: Option<&'a Checkpoint>,
        max: NonZeroUsize,
    ) -> Fut<'a, Result<Batch, DriverFault>>;
}

/// What events are written to.
pub trait Sink: Send {
    /// Takes back what was written after `mark`, and gives the mark to keep
    /// before the first `push`. To be called once before pushing, and again
    /// after a fault. Without a mark, the sink must be empty, or it is
    /// [`DriverFault::Halt`].
    fn resume<'a>(&'a mut self, mark: Option<&'a Checkpoint>) -> Fut<'a, Result<Checkpoint, DriverFault>>;

    /// Writes the records, durably when it returns.
    fn push<'a>(&'a mut self, records: &'a [Record]) -> Fut<'a, Result<Pushed, DriverFault>>;
}

/// What a member sets for a connector: the values of the manifest's settings,
/// and where its secrets are.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The value of each setting that the manifest names.
    pub values: BTreeMap<String, String>,
    /// Where secrets are found by their names.
    pub secrets: Secrets,
}

impl Settings {
    /// Replaces each `{name}` in `template` by the value of that setting.
    /// `where_` names the template in the fault.
    pub(crate) fn fill(&self, template: &str, where_: &str) -> Result<String, DriverFault> {
        fill(template, |name| self.values.get(name).cloned()).map_err(|name| {
            DriverFault::halt(format!(
                "{where_} needs the setting {name}, which isn't set; set it in the configuration of this connector"
            ))
        })
    }
}

/// Replaces each `{name}` of `template`; the error is the first name without a
/// value. A brace without its partner stands for itself.
pub(crate) fn fill(template: &str, value: impl Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut filled = String::with_capacity(template.len());
    let mut rest = template;
    while let Some(open) = rest.find('{') {
        let Some(length) = rest[open..].find('}') else { break };
        let name = &rest[open + 1..open + length];
        filled.push_str(&rest[..open]);
        filled.push_str(&value(name).ok_or_else(|| name.to_owned())?);
        rest = &rest[open + length + 1..];
    }
    filled.push_str(rest);
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_takes_settings_and_names_the_one_that_is_missing() {
        let settings = Settings {
            values: BTreeMap::from([("base".to_owned(), "http://b".to_owned())]),
            secrets: Secrets::default(),
        };
        assert_eq!(settings.fill("{base}/x{base}", "http.base").unwrap(), "http://b/xhttp://b");
        assert_eq!(settings.fill("a{b", "http.base").unwrap(), "a{b");
        let fault = settings.fill("{base}{folder}", "sink.files.folder").unwrap_err();
        assert!(fault.to_string().starts_with("sink.files.folder needs the setting folder"));
    }
}
