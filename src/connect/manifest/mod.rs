//! A connector: a folder of data, read strictly.
//!
//! ```text
//! connectors/boost/
//!   connector.toml     what is read or written, with which driver, how often, which event it becomes
//!   offers.jq          one mapping for each stream
//!   tests/*.json       cases, run by `pirogue connector test`
//!   README.md
//! ```

mod written;

use super::drivers::{
    DriverFault, FilesSettings, FilesSink, HttpConnection, HttpRead, HttpSource, Record, Settings, Sink,
    Source,
};
use super::identity::Identity;
use super::mapping::{Mapping, MappingFault};
use crate::event::{EventType, MemberName, is_local_id};
use serde_json::Value;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;
use written::{Manifest, SinkKind, SourceKind};

/// The connectors that are compiled in, for the demo: name, and each file with
/// its content.
const EMBEDDED: [(&str, &[(&str, &str)]); 2] = [
    (
        "boost",
        &[
            ("connector.toml", include_str!("../../../connectors/boost/connector.toml")),
            ("offers.jq", include_str!("../../../connectors/boost/offers.jq")),
            ("jobseekers.jq", include_str!("../../../connectors/boost/jobseekers.jq")),
        ],
    ),
    ("files", &[("connector.toml", include_str!("../../../connectors/files/connector.toml"))]),
];

/// Why a connector can't be used: a sentence that names the file and the place
/// in it, and says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectorFault {
    /// A file can't be read.
    #[error("{path} can't be read ({problem}); a connector is a folder with connector.toml and its mappings")]
    Unreadable {
        /// The file.
        path: String,
        /// What the system says.
        problem: String,
    },
    /// connector.toml isn't of its form.
    #[error("{path}: {problem}")]
    Manifest {
        /// The file, and where in it.
        path: String,
        /// What is wrong.
        problem: String,
    },
    /// A mapping doesn't compile.
    #[error(transparent)]
    Mapping(#[from] MappingFault),
    /// No connector of this name is compiled in.
    #[error("there is no connector {0} in this program; give the path of its folder")]
    Unknown(String),
}

/// A connector, its mappings compiled.
#[derive(Debug)]
pub struct Connector {
    /// The connector's name.
    pub name: String,
    /// What it is for, in one sentence.
    pub description: String,
    /// The settings that a member gives, each with what it is.
    pub settings: BTreeMap<String, String>,
    /// What it reads.
    pub sources: Vec<SourceStream>,
    /// What it writes.
    pub sinks: Vec<SinkStream>,
    /// Its folder, unless it is compiled in.
    pub folder: Option<PathBuf>,
}

/// One stream of records that become events.
#[derive(Debug)]
pub struct SourceStream {
    /// The stream's name within its connector.
    pub name: String,
    /// The system that the records are from: the second segment of an event's
    /// `source` (WIRE.md section 1).
    pub system: String,
    /// The type of the events.
    pub event_type: EventType,
    /// The version of the type's schema.
    pub schema_version: u32,
    /// How long to wait once everything was read; nothing at the door.
    pub every: Duration,
    /// What a record's identity is made of.
    pub identity: IdentityRules,
    /// From a record to harmonised records.
    pub mapping: Mapping,
    driver: SourceDriver,
}

/// JSON pointers (RFC 6901) into a record as the software gives it.
#[derive(Clone, Debug)]
pub struct IdentityRules {
    /// To what names the record in its software.
    pub key: String,
    /// To what changes whenever the record changes.
    pub record_version: Option<String>,
    /// To when what the event says happened.
    pub time: String,
    /// The subject's kind: `person`, `offer`.
    pub subject_kind: String,
    /// To the subject's identifier in the software.
    pub subject_id: String,
}

/// One stream of events that are written.
#[derive(Debug)]
pub struct SinkStream {
    /// The stream's name within its connector.
    pub name: String,
    /// The types that are written; empty for all.
    pub types: BTreeSet<EventType>,
    /// From an event to what is written; none to write it as it is.
    pub mapping: Option<Mapping>,
    driver: SinkDriver,
}

#[derive(Debug)]
enum SourceDriver {
    Http(Box<(HttpConnection, HttpRead)>),
    Door,
}

#[derive(Debug)]
enum SinkDriver {
    Files(FilesSettings),
}

impl SourceStream {
    /// The driver, ready to be asked.
    pub fn open(&self, settings: &Settings) -> Result<Box<dyn Source>, DriverFault> {
        match &self.driver {
            SourceDriver::Http(http) => Ok(Box::new(HttpSource::new(
                &http.0,
                &http.1,
                &self.identity.key,
                self.identity.record_version.as_deref(),
                settings,
            )?)),
            SourceDriver::Door => Err(DriverFault::halt(
                "what is posted to the door isn't read from anywhere; this is a defect",
            )),
        }
    }

    /// Whether its records are posted to the door, and not read.
    pub fn is_door(&self) -> bool {
        matches!(self.driver, SourceDriver::Door)
    }

    /// `value` as a record of this stream.
    ///
    /// Fails with a sentence that names the pointer: every record has a text or
    /// a number as its key.
    pub fn record(&self, value: Value) -> Result<Record, String> {
        let rules = &self.identity;
        let text = |pointer: &str| match value.pointer(pointer) {
            Some(Value::String(text)) if !text.is_empty() => Some(text.clone()),
            Some(Value::Number(number)) => Some(number.to_string()),
            _ => None,
        };
        let key = text(&rules.key)
            .ok_or_else(|| format!("the record has no text or number at {}, which is its key", rules.key))?;
        let version = rules.record_version.as_deref().and_then(text);
        Ok(Record { key, version, kind: String::new(), value, raw: None })
    }

    /// The identity of the event that the `nth` output (from 0) of a record
    /// becomes, under the member's secret and in this generation; see
    /// [`IdentityRules::identify`].
    pub fn identify(
        &self,
        record: &Record,
        nth: usize,
        secret: &[u8],
        generation: u32,
    ) -> Result<Identity, String> {
        self.identity.identify(record, nth, secret, &self.system, self.event_type.as_str(), generation)
    }
}

impl SinkStream {
    /// The driver, to be resumed from its mark first.
    pub fn open(&self, settings: &Settings) -> Result<Box<dyn Sink>, DriverFault> {
        match &self.driver {
            SinkDriver::Files(files) => Ok(Box::new(FilesSink::new(files, settings)?)),
        }
    }

    /// Whether events of this type are written here.
    pub fn takes(&self, event_type: &EventType) -> bool {
        self.types.is_empty() || self.types.contains(event_type)
    }
}

impl Connector {
    /// Reads a connector from its folder, and compiles its mappings.
    pub fn load(folder: &Path) -> Result<Connector, ConnectorFault> {
        let read = |name: &str| {
            let path = folder.join(name);
            std::fs::read_to_string(&path).map(Cow::Owned).map_err(|error| ConnectorFault::Unreadable {
                path: path.display().to_string(),
                problem: error.kind().to_string(),
            })
        };
        let mut connector = Connector::build(&folder.display().to_string(), read)?;
        connector.folder = Some(folder.to_owned());
        Ok(connector)
    }

    /// A connector that is compiled in: `boost`, `files`.
    pub fn embedded(name: &str) -> Result<Connector, ConnectorFault> {
        let (_, files) = EMBEDDED
            .iter()
            .find(|(known, _)| *known == name)
            .ok_or_else(|| ConnectorFault::Unknown(name.to_owned()))?;
        let folder = format!("connectors/{name}");
        Connector::build(&folder, |wanted| {
            files.iter().find(|(file, _)| *file == wanted).map(|(_, text)| Cow::Borrowed(*text)).ok_or_else(
                || ConnectorFault::Unreadable {
                    path: format!("{folder}/{wanted}"),
                    problem: "it isn't compiled in".to_owned(),
                },
            )
        })
    }

    /// The stream called `name`.
    pub fn source(&self, name: &str) -> Option<&SourceStream> {
        self.sources.iter().find(|source| source.name == name)
    }

    /// The sink called `name`.
    pub fn sink(&self, name: &str) -> Option<&SinkStream> {
        self.sinks.iter().find(|sink| sink.name == name)
    }

    fn build<'t>(
        folder: &str,
        read: impl Fn(&str) -> Result<Cow<'t, str>, ConnectorFault>,
    ) -> Result<Connector, ConnectorFault> {
        let path = format!("{folder}/connector.toml");
        let manifest = Manifest::parse(&path, &read("connector.toml")?)?;
        let fault =
            |at: String, problem: String| ConnectorFault::Manifest { path: format!("{path}: {at}"), problem };
        let mapping = |at: &str, file: &str| {
            if !is_file_name(file) {
                return Err(fault(
                    at.to_owned(),
                    "the mapping isn't a file of this folder, map.jq for instance".into(),
                ));
            }
            Ok(Mapping::compile(format!("{folder}/{file}"), &read(file)?)?)
        };
        let mut names = BTreeSet::new();
        let mut unique = |at: &str, name: &str| {
            if MemberName::is_system(name) && names.insert(name.to_owned()) {
                return Ok(());
            }
            Err(fault(
                format!("{at}.name"),
                "a stream's name is its own, of a-z, 0-9 and -, 2 to 32 long".into(),
            ))
        };
        let mut sources = Vec::new();
        for (position, source) in manifest.source.into_iter().enumerate() {
            let at = format!("source[{position}]");
            unique(&at, &source.name)?;
            let system = manifest.system.clone().filter(|system| MemberName::is_system(system)).ok_or_else(|| {
                fault(
                    "system".into(),
                    "a connector with a source names the system that it reads: a-z, 0-9 and -, 2 to 32 long".into(),
                )
            })?;
            source.check().map_err(|(field, problem)| fault(format!("{at}.{field}"), problem.into()))?;
            let driver = match (source.driver, source.read, &manifest.http) {
                (SourceKind::Door, ..) => SourceDriver::Door,
                (SourceKind::Http, Some(read), Some(http)) => {
                    SourceDriver::Http(Box::new((http.clone(), read)))
                }
                (SourceKind::Http, ..) => {
                    let needs = "the driver http needs the table [http] with its base address";
                    return Err(fault(at, needs.into()));
                }
            };
            sources.push(SourceStream {
                mapping: mapping(&format!("{at}.map"), &source.map)?,
                name: source.name,
                system,
                event_type: source.event,
                schema_version: source.version,
                every: Duration::from_secs(source.every_seconds.unwrap_or_default()),
                identity: IdentityRules {
                    key: source.key,
                    record_version: source.record_version,
                    time: source.time,
                    subject_kind: source.subject.kind,
                    subject_id: source.subject.id,
                },
                driver,
            });
        }
        let mut sinks = Vec::new();
        for (position, sink) in manifest.sink.into_iter().enumerate() {
            let at = format!("sink[{position}]");
            unique(&at, &sink.name)?;
            sinks.push(SinkStream {
                mapping: sink.map.as_deref().map(|file| mapping(&format!("{at}.map"), file)).transpose()?,
                name: sink.name,
                types: sink.types,
                driver: match sink.driver {
                    SinkKind::Files => SinkDriver::Files(sink.files),
                },
            });
        }
        if sources.is_empty() && sinks.is_empty() {
            return Err(fault("source".into(), "a connector has at least one [[source]] or [[sink]]".into()));
        }
        Ok(Connector {
            name: manifest.name,
            description: manifest.description,
            settings: manifest.settings,
            sources,
            sinks,
            folder: None,
        })
    }
}

/// Whether `name` is a plain name: a mapping lies in the connector's folder.
fn is_file_name(name: &str) -> bool {
    is_local_id(name) && !name.starts_with('.')
}

#[cfg(test)]
mod tests {
    use super::*;

    const SINK: &str = "name = \"f\"\ndescription = \"d\"\n[[sink]]\nname = \"out\"\ndriver = \"files\"\nfiles = { folder = \"x\" }\n";

    fn source(change: impl Fn(String) -> String) -> Result<Connector, ConnectorFault> {
        let manifest = change(include_str!("../../../connectors/boost/connector.toml").to_owned());
        Connector::build("c", |name| {
            Ok(Cow::Owned(if name == "connector.toml" { manifest.clone() } else { ".".to_owned() }))
        })
    }

    fn fault(change: impl Fn(String) -> String) -> String {
        source(change).expect_err("the manifest is refused").to_string()
    }

    #[test]
    fn the_connectors_that_are_compiled_in_are_whole() {
        let boost = Connector::embedded("boost").unwrap();
        let names: Vec<&str> = boost.sources.iter().map(|source| source.name.as_str()).collect();
        assert_eq!(names, ["offers", "jobseekers"]);
        assert_eq!(
            boost.source("jobseekers").unwrap().event_type.as_str(),
            "nc.employment.jobseeker.registered"
        );
        assert!(boost.settings.contains_key("base_url"));
        let files = Connector::embedded("files").unwrap();
        assert!(files.sink("files").unwrap().takes(&EventType::parse("nc.hub.event.rejected").unwrap()));
        assert!(matches!(Connector::embedded("absent"), Err(ConnectorFault::Unknown(_))));
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_path_and_line() {
        let text = fault(|m| m.replacen("items =", "itens =", 1));
        assert!(
            text.starts_with("c/connector.toml:")
                && text.contains("source[0].read")
                && text.contains("itens"),
            "{text}"
        );
        let text = fault(|m| m.replacen("kind = \"api-key\"", "kind = \"api-key\", key = \"s3cret\"", 1));
        assert!(text.contains("http.auth"), "{text}");
        assert!(fault(|m| format!("nmae = 1\n{m}")).contains("nmae"));
        assert!(fault(|m| m.replacen("description = ", "description = = ", 1)).contains("connector.toml:"));
    }

    #[test]
    fn what_isnt_of_its_form_is_refused_with_its_path() {
        for (from, to, path) in [
            ("key = \"/id\"", "key = \"id\"", "source[0].key"),
            ("version = 1", "version = 0", "source[0].version"),
            ("kind = \"offer\"", "kind = \"Offer\"", "source[0].subject.kind"),
            ("name = \"jobseekers\"", "name = \"offers\"", "source[1].name"),
            ("map = \"offers.jq\"", "map = \"../offers.jq\"", "source[0].map"),
            ("map = \"offers.jq\"", "map = \"/etc/passwd\"", "source[0].map"),
            ("system = \"boost\"", "system = \"hub\"", "system"),
            ("event = \"nc.employment.offer.published\"", "event = \"Offer\"", "source[0].event"),
            ("driver = \"http\"", "driver = \"ftp\"", "source[0].driver"),
            ("driver = \"http\"", "driver = \"door\"", "source[0].every_seconds"),
            ("every_seconds = 300\n", "", "source[0].every_seconds"),
        ] {
            let text = fault(|m| m.replacen(from, to, 1));
            assert!(text.contains(path), "{path}: {text}");
        }
    }

    #[test]
    fn a_stream_of_the_door_is_asked_for_nothing_and_gives_its_records_a_key() {
        let text = "name = \"t\"\nsystem = \"toy\"\ndescription = \"d\"\n[[source]]\nname = \"things\"\ndriver = \"door\"\n\
                    map = \"m.jq\"\nevent = \"nc.toy.thing\"\nversion = 1\nkey = \"/id\"\nrecord_version = \"/rev\"\n\
                    time = \"/at\"\nsubject = { kind = \"thing\", id = \"/id\" }\n";
        let build = |text: String| {
            Connector::build("c", |name| {
                Ok(Cow::Owned(if name == "connector.toml" { text.clone() } else { ".".to_owned() }))
            })
        };
        let connector = build(text.to_owned()).unwrap();
        let stream = connector.source("things").unwrap();
        assert!(stream.is_door() && stream.open(&Settings::default()).is_err());
        let record = stream.record(serde_json::json!({"id": 7, "rev": "b"})).unwrap();
        assert_eq!((record.key.as_str(), record.version.as_deref()), ("7", Some("b")));
        assert!(stream.record(serde_json::json!({"id": null})).unwrap_err().contains("/id"));
        let fault =
            build(text.replace("version = 1", "version = 1\nread = { path = \"x\", items = \"/d\" }"));
        assert!(fault.unwrap_err().to_string().contains("source[0].read"));
    }

    #[test]
    fn a_sink_needs_no_mapping_and_a_connector_needs_a_stream() {
        let build = |text: &str| Connector::build("c", |_| Ok(Cow::Owned(text.to_owned())));
        assert!(build(SINK).unwrap().sinks[0].mapping.is_none());
        let text = build("name = \"f\"\ndescription = \"d\"\n").unwrap_err().to_string();
        assert!(text.contains("at least one"), "{text}");
    }

    #[test]
    fn a_folder_without_a_manifest_says_what_a_connector_is() {
        let folder = tempfile::tempdir().unwrap();
        let text = Connector::load(folder.path()).unwrap_err().to_string();
        assert!(text.contains("connector.toml") && text.contains("a connector is a folder"), "{text}");
    }
}
