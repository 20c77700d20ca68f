//! Layers to settings, or to one sentence that says what is wrong and where.

use super::{ConnectConfig, HubConfig, Settings};
use config::{Config, ConfigError, Environment, File, FileFormat, Value, ValueKind};
use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

/// The prefix of the environment variables that set a key.
const PREFIX: &str = "PIROGUE";
/// What stands between the words of such a variable.
const SEPARATOR: &str = "__";

/// Why a configuration can't be used: one sentence that names the key and who
/// set it.
#[derive(Debug, thiserror::Error)]
pub enum ConfigFault {
    /// The file can't be read.
    #[error("the configuration file {file} can't be read: {source}", file = .file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file isn't TOML.
    #[error("the configuration file {file} isn't TOML at line {line}: {detail}", file = .file.display())]
    NotToml {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What the parser said.
        detail: String,
    },
    /// Keys that don't exist.
    #[error("{}", unknown_sentence(.0))]
    UnknownKeys(Vec<UnknownKey>),
    /// A key without which nothing works isn't set.
    #[error("{file} doesn't set {key}, which has no default: add a line such as {example}", file = .file.display())]
    Missing {
        /// The file.
        file: PathBuf,
        /// The key, `limits.body_bytes` for instance.
        key: String,
        /// A line that sets it.
        example: String,
    },
    /// A value that can't be used.
    #[error("{place} sets {key} to what can't be used: {detail}")]
    BadValue {
        /// The file or the environment variable.
        place: String,
        /// The key, `limits.body_bytes` for instance.
        key: String,
        /// What was expected.
        detail: String,
    },
}

/// A key that doesn't exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownKey {
    /// The key, `limits.body_byte` for instance.
    pub key: String,
    /// The file or the environment variable that sets it.
    pub place: String,
    /// Keys that exist and look like it, the nearest first.
    pub near: Vec<String>,
    /// The keys of the section in which it stands.
    pub section: Vec<String>,
}

fn unknown_sentence(keys: &[UnknownKey]) -> String {
    let one = |unknown: &UnknownKey| {
        let UnknownKey { key, place, near, section } = unknown;
        let what = format!("{place} sets {key}, which isn't a key");
        match (near.as_slice(), section.as_slice()) {
            ([], []) => what,
            ([], section) => format!("{what}: those that there are beside it are {}", section.join(", ")),
            (near, _) => format!("{what}: did you mean {}?", near.join(" or ")),
        }
    };
    keys.iter().map(one).collect::<Vec<_>>().join("; ")
}

impl HubConfig {
    /// The file of defaults of a hub: every key with its meaning.
    pub fn defaults() -> &'static str {
        <HubConfig as Settings>::DEFAULTS
    }

    /// Loads the settings of a hub: the defaults, the file at `path`, the
    /// environment.
    pub fn load(path: &Path) -> Result<HubConfig, ConfigFault> {
        load(path, Variables::OfProcess)
    }

    /// As [`HubConfig::load`], with who set each key.
    pub fn load_known(path: &Path) -> Result<(HubConfig, Origins), ConfigFault> {
        load_known(path, Variables::OfProcess)
    }
}

impl ConnectConfig {
    /// The file of defaults of a member's side: every key with its meaning.
    pub fn defaults() -> &'static str {
        <ConnectConfig as Settings>::DEFAULTS
    }

    /// Loads the settings of a member's side: the defaults, the file at `path`,
    /// the environment.
    pub fn load(path: &Path) -> Result<ConnectConfig, ConfigFault> {
        load(path, Variables::OfProcess)
    }

    /// As [`ConnectConfig::load`], with who set each key.
    pub fn load_known(path: &Path) -> Result<(ConnectConfig, Origins), ConfigFault> {
        load_known(path, Variables::OfProcess)
    }

    /// Loads the settings of a member that runs in the hub's process. The
    /// environment is the hub's: it changes nothing here.
    pub fn load_beside_hub(path: &Path) -> Result<ConnectConfig, ConfigFault> {
        load(path, Variables::Given(HashMap::new()))
    }
}

/// Which environment variables count.
pub(super) enum Variables {
    /// Those of this process.
    OfProcess,
    /// These.
    Given(HashMap<String, String>),
}

/// Loads settings of one kind.
pub(super) fn load<T: Settings>(path: &Path, variables: Variables) -> Result<T, ConfigFault> {
    load_known(path, variables).map(|(settings, _)| settings)
}

/// Loads settings of one kind, with who set each.
pub(super) fn load_known<T: Settings>(
    path: &Path,
    variables: Variables,
) -> Result<(T, Origins), ConfigFault> {
    let unreadable = |source| ConfigFault::Unreadable { file: path.to_owned(), source };
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    let folder = std::path::absolute(path).map_err(unreadable)?;
    let folder = folder.parent().unwrap_or(Path::new("/"));

    // Parsed once more below: here for the line, which the layers don't keep.
    let written = text.parse::<toml::Table>().map_err(|fault| {
        let at = fault.span().map_or(0, |span| span.start.min(text.len()));
        ConfigFault::NotToml {
            file: path.to_owned(),
            line: 1 + text.as_bytes()[..at].iter().filter(|b| **b == b'\n').count(),
            detail: fault.message().to_owned(),
        }
    })?;
    let environment = Environment::with_prefix(PREFIX).separator(SEPARATOR).source(match variables {
        Variables::OfProcess => None,
        Variables::Given(variables) => Some(variables),
    });
    let layers = Config::builder()
        .add_source(File::from_str(T::DEFAULTS, FileFormat::Toml))
        .add_source(File::from_str(&text, FileFormat::Toml))
        .add_source(environment)
        .build()
        .map_err(|fault| {
            bad_value(&Place { file: path, root: &Value::new(None, ValueKind::Nil) }, "a key", fault)
        })?;

    let place = Place { file: path, root: &layers.cache };
    let example = uncommented(T::DEFAULTS).parse().map(toml::Value::Table);
    if let Ok(example) = &example {
        check_kind::<T>(&layers.cache, example, "", &place)?;
    }
    let mut ignored = BTreeSet::new();
    let mut on_ignored = |path: serde_ignored::Path<'_>| {
        ignored.insert(dotted(&path));
    };
    let deserializer = serde_ignored::Deserializer::new(layers.clone(), &mut on_ignored);
    let settings: Result<T, _> = serde_path_to_error::deserialize(deserializer);
    let settings = match settings {
        Err(fault) => {
            let key = fault.path().to_string();
            match innermost(fault.into_inner()) {
                // An unknown key goes before a missing one: often the one is
                // the other, misspelt.
                ConfigError::NotFound(_) if !ignored.is_empty() => None,
                ConfigError::NotFound(field) => {
                    // It comes with its path, but without the point after an index.
                    let field = field.rsplit(['.', ']']).next().unwrap_or(&field);
                    return Err(missing::<T>(path, below(if key == "." { "" } else { &key }, field)));
                }
                fault => return Err(bad_value(&place, &key, fault)),
            }
        }
        Ok(settings) => Some(settings),
    };
    let Some(mut settings) = settings.filter(|_| ignored.is_empty()) else {
        let known: Vec<String> = known_lines(T::DEFAULTS).into_iter().map(|(key, _)| key).collect();
        let unknown = |key: String| unknown_key(key, &place, &known);
        return Err(ConfigFault::UnknownKeys(ignored.into_iter().map(unknown).collect()));
    };
    settings.check().map_err(|(key, detail)| {
        let place = place.of(key);
        ConfigFault::BadValue { place, key: key.to_owned(), detail }
    })?;
    settings.resolve(folder);
    Ok((settings, Origins { written, layers: layers.cache }))
}

/// Who set each key of a configuration.
#[derive(Clone, Debug)]
pub struct Origins {
    written: toml::Table,
    layers: Value,
}

impl Origins {
    /// Who set `key`, in a word or two: `default`, `file`, or the name of the
    /// environment variable.
    pub(super) fn of(&self, key: &str) -> String {
        let place = Place { file: Path::new(""), root: &self.layers };
        if let Some(variable) = place.variable(key) {
            return variable;
        }
        let mut steps = key.split('.');
        let first = steps.next().and_then(|step| self.written.get(step));
        match steps.try_fold(first, |at, step| at.map(|value| value.get(step))).flatten() {
            Some(_) => "file".to_owned(),
            None => "default".to_owned(),
        }
    }
}

fn missing<T: Settings>(file: &Path, key: String) -> ConfigFault {
    let plain = without_indices(&key);
    let example = known_lines(T::DEFAULTS).into_iter().find(|(known, _)| *known == plain);
    let last = plain.rsplit('.').next().unwrap_or(&plain);
    let example = example.map_or_else(|| format!("{last} = …"), |(_, line)| line);
    ConfigFault::Missing { file: file.to_owned(), key, example }
}

fn bad_value(place: &Place<'_>, key: &str, fault: ConfigError) -> ConfigFault {
    let detail = match fault {
        ConfigError::Type { unexpected, expected, .. } => format!("expected {expected}, found {unexpected}"),
        other => other.to_string(),
    };
    ConfigFault::BadValue { place: place.of(key), key: key.to_owned(), detail }
}

/// Checks that each value of the file is of the kind of its example. The layers
/// alone would make 1 of 1.5 and of true; a variable is a text and has to be
/// converted.
fn check_kind<T: Settings>(
    value: &Value,
    example: &toml::Value,
    key: &str,
    place: &Place<'_>,
) -> Result<(), ConfigFault> {
    use toml::Value as V;
    if value.origin().is_some() || T::FREE.contains(&without_indices(key).as_str()) {
        return Ok(());
    }
    let expected = match (example, &value.kind) {
        (V::Table(example), ValueKind::Table(table)) => {
            let known = |name: &String| example.get(name).map(|example| (name.clone(), example));
            for (name, example) in table.keys().filter_map(known) {
                check_kind::<T>(&table[&name], example, &below(key, &name), place)?;
            }
            return Ok(());
        }
        (V::Array(examples), ValueKind::Array(values)) => {
            let Some(example) = examples.first() else { return Ok(()) };
            for (at, value) in values.iter().enumerate() {
                check_kind::<T>(value, example, &format!("{key}[{at}]"), place)?;
            }
            return Ok(());
        }
        (V::String(_), ValueKind::String(_))
        | (V::Integer(_), ValueKind::I64(_))
        | (V::Boolean(_), ValueKind::Boolean(_)) => return Ok(()),
        (V::Table(_), _) => "a table",
        (V::Array(_), _) => "a list",
        (V::Integer(_), _) => "a whole number",
        (V::Boolean(_), _) => "true or false",
        _ => "a text between quotes",
    };
    Err(ConfigFault::BadValue {
        place: place.of(key),
        key: key.to_owned(),
        detail: format!("expected {expected}"),
    })
}

/// The path of `name` in the section at `path`.
fn below(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// The fault itself, without the keys that were put around it.
fn innermost(fault: ConfigError) -> ConfigError {
    match fault {
        ConfigError::At { error, .. } => innermost(*error),
        fault => fault,
    }
}

/// Says who set a key.
struct Place<'a> {
    file: &'a Path,
    root: &'a Value,
}

impl Place<'_> {
    /// The environment variable or the file that set `key`.
    fn of(&self, key: &str) -> String {
        match self.variable(key) {
            Some(variable) => format!("the environment variable {variable}"),
            None => self.file.display().to_string(),
        }
    }

    /// The environment variable that set `key`, if one did.
    fn variable(&self, key: &str) -> Option<String> {
        let mut path: Vec<&str> = key.split(['.', '[']).map(|step| step.trim_end_matches(']')).collect();
        let mut value = self.root;
        for step in &path {
            let next = match &value.kind {
                ValueKind::Table(table) => table.get(*step),
                ValueKind::Array(values) => step.parse().ok().and_then(|at: usize| values.get(at)),
                _ => None,
            };
            value = next?;
        }
        // A table has no origin of its own where a variable made it.
        while let ValueKind::Table(table) = &value.kind {
            let Some((step, next)) = table.iter().next() else { break };
            path.push(step);
            value = next;
        }
        value.origin()?;
        Some(format!("{PREFIX}{SEPARATOR}{}", path.join(SEPARATOR).to_uppercase()))
    }
}

/// The path of an ignored key, written as `serde_path_to_error` writes one.
fn dotted(path: &serde_ignored::Path<'_>) -> String {
    use serde_ignored::Path as P;
    match path {
        P::Root => String::new(),
        P::Seq { parent, index } => format!("{}[{index}]", dotted(parent)),
        P::Map { parent, key } => below(&dotted(parent), key),
        P::Some { parent } | P::NewtypeStruct { parent } | P::NewtypeVariant { parent } => dotted(parent),
    }
}

/// A file of defaults with every example made a setting: a key without a
/// default stands there as `#key = example`.
pub(super) fn uncommented(defaults: &str) -> String {
    let line = |line: &str| match line.strip_prefix('#') {
        Some(rest) if !rest.is_empty() && !rest.starts_with(' ') => format!("{rest}\n"),
        _ => format!("{line}\n"),
    };
    defaults.lines().map(line).collect()
}

/// Every key that a file of defaults documents, with the line that sets it.
fn known_lines(defaults: &str) -> Vec<(String, String)> {
    let mut section = String::new();
    let mut known = Vec::new();
    for line in uncommented(defaults).lines() {
        if let Some(heading) = line.strip_prefix('[') {
            section = heading.trim_matches(['[', ']']).to_owned();
        } else if let Some((key, _)) = line.split_once(" = ").filter(|(key, _)| !key.starts_with('#')) {
            known.push((below(&section, key), line.to_owned()));
        }
    }
    known
}

/// `connector[0].folder` as it is documented: `connector.folder`.
fn without_indices(key: &str) -> String {
    key.split('[').map(|part| part.split_once(']').map_or(part, |(_, rest)| rest)).collect()
}

fn unknown_key(key: String, place: &Place<'_>, known: &[String]) -> UnknownKey {
    fn split(key: &str) -> (&str, &str) {
        key.rsplit_once('.').unwrap_or(("", key))
    }
    let plain = without_indices(&key);
    let (section, name) = split(&plain);
    let mut near: Vec<(f64, &String)> = known
        .iter()
        .filter_map(|candidate| {
            let (other_section, other) = split(candidate);
            let likeness = strsim::jaro_winkler(name, other);
            // In another section, only the same name is near: it was put in the
            // wrong place.
            let least = if section == other_section { 0.8 } else { 1.0 };
            (likeness >= least).then_some((likeness, candidate))
        })
        .collect();
    near.sort_by(|a, b| b.0.total_cmp(&a.0));
    let near = near.into_iter().take(3).map(|(_, key)| key.clone()).collect();
    let section = known.iter().filter(|known| split(known).0 == section).cloned().collect();
    UnknownKey { place: place.of(&key), key, near, section }
}

#[cfg(test)]
mod tests;
