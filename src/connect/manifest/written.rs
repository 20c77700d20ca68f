//! connector.toml as it is written.

use super::ConnectorFault;
use crate::connect::drivers::{FilesSettings, HttpConnection, HttpRead};
use crate::event::EventType;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

/// connector.toml as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    pub(super) name: String,
    pub(super) system: Option<String>,
    pub(super) description: String,
    #[serde(default)]
    pub(super) settings: BTreeMap<String, String>,
    pub(super) http: Option<HttpConnection>,
    #[serde(default)]
    pub(super) source: Vec<SourceTable>,
    #[serde(default)]
    pub(super) sink: Vec<SinkTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SourceTable {
    pub(super) name: String,
    pub(super) driver: SourceKind,
    pub(super) read: Option<HttpRead>,
    pub(super) every_seconds: Option<u64>,
    pub(super) map: String,
    pub(super) event: EventType,
    pub(super) version: u32,
    pub(super) key: String,
    pub(super) record_version: Option<String>,
    pub(super) time: String,
    pub(super) subject: SubjectTable,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum SourceKind {
    Http,
    Door,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SubjectTable {
    pub(super) kind: String,
    pub(super) id: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SinkTable {
    pub(super) name: String,
    pub(super) driver: SinkKind,
    pub(super) files: FilesSettings,
    #[serde(default)]
    pub(super) types: BTreeSet<EventType>,
    pub(super) map: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum SinkKind {
    Files,
}

impl Manifest {
    pub(super) fn parse(path: &str, text: &str) -> Result<Manifest, ConnectorFault> {
        let fault = |at: String, problem: String| ConnectorFault::Manifest { path: at, problem };
        let syntax = |error: toml::de::Error| {
            let line =
                error.span().map_or(1, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
            fault(format!("{path}:{line}"), error.message().to_owned())
        };
        let deserializer = toml::Deserializer::parse(text).map_err(syntax)?;
        serde_path_to_error::deserialize(deserializer).map_err(|error| {
            let at = error.path().to_string();
            let inner = error.into_inner();
            let line =
                inner.span().map_or(1, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
            fault(format!("{path}:{line}: {at}"), inner.message().to_owned())
        })
    }
}

impl SourceTable {
    /// Names the first field that isn't of its form.
    pub(super) fn check(&self) -> Result<(), (&'static str, &'static str)> {
        const POINTER: &str = "a JSON pointer such as /id or /_operation_date is expected";
        let is_pointer = |text: &str| text.starts_with('/');
        let optional = |pointer: &Option<String>| pointer.as_deref().is_none_or(is_pointer);
        match (self.driver, self.every_seconds) {
            (SourceKind::Http, None | Some(0)) => {
                return Err(("every_seconds", "at least one second is expected between two rounds"));
            }
            (SourceKind::Door, Some(_)) => {
                return Err(("every_seconds", "what is posted to the door isn't asked for; leave it out"));
            }
            _ => {}
        }
        match (self.driver, &self.read) {
            (SourceKind::Http, None) => {
                return Err((
                    "read",
                    "the driver http needs to know what to read: [source.read] with path and items",
                ));
            }
            (SourceKind::Door, Some(_)) => {
                return Err(("read", "what is posted to the door isn't read from anywhere; leave it out"));
            }
            _ => {}
        }
        if self.version == 0 {
            return Err(("version", "versions of a schema begin at 1"));
        }
        let reads = |fits: &dyn Fn(&HttpRead) -> bool| self.read.as_ref().is_none_or(fits);
        for (field, fits) in [
            ("key", is_pointer(&self.key)),
            ("record_version", optional(&self.record_version)),
            ("time", is_pointer(&self.time)),
            ("subject.id", is_pointer(&self.subject.id)),
            ("read.items", reads(&|read| is_pointer(&read.items))),
            ("read.more", reads(&|read| optional(&read.more))),
            ("read.next_query", reads(&|read| optional(&read.next_query))),
            ("read.next", reads(&|read| read.next.values().all(|pointer| is_pointer(pointer)))),
            (
                "read.since.time",
                reads(&|read| read.since.as_ref().is_none_or(|since| is_pointer(&since.time))),
            ),
        ] {
            if !fits {
                return Err((field, POINTER));
            }
        }
        let kind = &self.subject.kind;
        if kind.is_empty() || kind.len() > 32 || !kind.bytes().all(|b| b.is_ascii_lowercase()) {
            return Err(("subject.kind", "1 to 32 of a-z are expected, person or offer for instance"));
        }
        Ok(())
    }
}
