//! A member's connectors and its inbox.

use super::{Findings, files, machine};
use crate::config::{ConnectConfig, ConnectorSettings};
use crate::connect::manifest::Connector;
use crate::connect::mapping::Mapping;
use crate::connect::{driver_settings, manifest::ConnectorFault};
use crate::schema::Registry;

/// Loads each connector as `pirogue connect` does, and opens its streams without
/// asking anything of the software.
pub(super) fn look(config: &ConnectConfig, registry: Option<&Registry>, findings: &mut Findings) {
    for settings in &config.connectors {
        let folder = settings.folder.display();
        match Connector::load(&settings.folder) {
            Ok(connector) => {
                let check = format!("connector {}", connector.name);
                if streams(&check, &connector, settings, registry, findings) {
                    findings.ok(
                        &check,
                        format!("loads from {folder}, its mappings compile, its secrets are there"),
                    );
                }
            }
            Err(fault) => {
                let remedy = match &fault {
                    ConnectorFault::Unreadable { .. } => {
                        "set [[connector]] folder to the folder with its connector.toml".to_owned()
                    }
                    _ => format!("correct it there; `pirogue connector test {folder}` tries it"),
                };
                findings.failed("connector", fault.to_string(), remedy);
            }
        }
    }
}

fn streams(
    check: &str,
    connector: &Connector,
    settings: &ConnectorSettings,
    registry: Option<&Registry>,
    findings: &mut Findings,
) -> bool {
    let before = findings.0.len();
    let names: Vec<_> = connector.sources.iter().map(|source| source.name.as_str()).collect();
    for wanted in settings.streams.iter().flatten() {
        if !names.contains(&wanted.as_str()) {
            findings.failed(
                check,
                format!("streams names {wanted}, which the connector hasn't"),
                format!("take it out of streams, or name one that there is: {}", names.join(", ")),
            );
        }
    }
    let secrets = settings.secrets.iter();
    let missing = secrets.filter(|(name, source)| {
        files::secret(&format!("{check}, secret {name}"), source, findings).is_none()
    });
    if missing.count() > 0 {
        return false;
    }
    let values = match driver_settings(settings) {
        Ok(values) => values,
        Err(fault) => {
            findings.failed(check, fault.to_string(), "correct [connector.secrets] in the configuration");
            return false;
        }
    };
    for source in &connector.sources {
        if settings.streams.as_ref().is_some_and(|wanted| !wanted.contains(&source.name)) {
            continue;
        }
        let (event_type, version) = (source.event_type.as_str(), source.schema_version);
        if registry.is_some_and(|registry| registry.get(event_type, version).is_none()) {
            findings.failed(
                check,
                format!("its stream {} makes events of {event_type} version {version}, of which there is no schema", source.name),
                "set schemas to the folder that has it, or correct event and version in connector.toml",
            );
        }
        if let Err(fault) = source.open(&values) {
            findings.failed(
                check,
                format!("its stream {} can't be opened: {fault}", source.name),
                "correct [connector.settings] and [connector.secrets] in the configuration",
            );
        }
    }
    findings.0.len() == before
}

/// The inbox: its mapping and the folder that it writes to.
pub(super) fn inbox(config: &ConnectConfig, findings: &mut Findings) {
    const CHECK: &str = "inbox";
    if !config.inbox.enabled {
        return findings.ok(CHECK, "disabled: nothing is received (inbox.enabled)");
    }
    if let Some(path) = &config.inbox.map {
        let shown = path.display();
        let compiled = match std::fs::read_to_string(path) {
            Ok(source) => {
                Mapping::compile(shown.to_string(), &source).map(drop).map_err(|fault| fault.to_string())
            }
            Err(error) => Err(error.to_string()),
        };
        if let Err(why) = compiled {
            return findings.failed(
                CHECK,
                format!("the mapping {shown} can't be used: {why}"),
                "correct it, or take inbox.map out of the configuration",
            );
        }
    }
    machine::writable(CHECK, "what is received goes to", &config.inbox.files.folder, findings);
}
