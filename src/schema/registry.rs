//! The registry: every schema, shared type and code list, checked together.

use super::codelists::CodeList;
use super::compatibility;
use super::embedded::FILES;
use super::event_schema::EventSchema;
use super::fault::SchemaFault;
use super::parse::{Sources, parse_common, parse_schema};
use crate::event::{EventType, SchemaRef};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// Every schema, by event type and version. Immutable.
#[derive(Debug)]
pub struct Registry {
    types: BTreeMap<EventType, Vec<Arc<EventSchema>>>,
    lists: BTreeMap<String, Arc<CodeList>>,
}

impl Registry {
    /// The schemas that are compiled in: those of the folder `schemas/`.
    pub fn embedded() -> Result<Registry, SchemaFault> {
        Files::embedded()?.build()
    }

    /// The schemas that are compiled in, and those of `folder`: in
    /// `TYPE/VERSION.avsc`, with shared types in `common/NAME.avsc` and code
    /// lists in `codelists/NAME.csv`. A code list there takes the place of the
    /// one of the same name; a schema or a shared type never does.
    ///
    /// Fails with a sentence that names the file and the field.
    pub fn load(folder: &Path) -> Result<Registry, SchemaFault> {
        let mut files = Files::embedded()?;
        files.read(folder)?;
        files.build()
    }

    /// The schema of `event_type` in `version`.
    pub fn get(&self, event_type: &str, version: u32) -> Option<&Arc<EventSchema>> {
        let at = usize::try_from(version).ok()?.checked_sub(1)?;
        self.types.get(event_type)?.get(at)
    }

    /// The schema that `reference` names; of a projection, the one that it is
    /// cut from.
    pub fn resolve(&self, reference: &SchemaRef) -> Option<&Arc<EventSchema>> {
        self.get(reference.event_type.as_str(), reference.version)
    }

    /// Every event type.
    pub fn types(&self) -> impl Iterator<Item = &EventType> {
        self.types.keys()
    }

    /// Every schema, by type and version.
    pub fn schemas(&self) -> impl Iterator<Item = &Arc<EventSchema>> {
        self.types.values().flatten()
    }

    /// The code list `name`, `communes` for instance.
    pub fn codelist(&self, name: &str) -> Option<&Arc<CodeList>> {
        self.lists.get(name)
    }
}

/// The texts of a registry's files, each with the file's name for the fault.
#[derive(Default)]
struct Files {
    schemas: BTreeMap<EventType, BTreeMap<u32, (String, String)>>,
    common: BTreeMap<String, (String, String)>,
    lists: BTreeMap<String, (String, String)>,
}

impl Files {
    fn embedded() -> Result<Files, SchemaFault> {
        let mut files = Files::default();
        for (path, text) in FILES {
            files.add(path, (*text).to_owned())?;
        }
        Ok(files)
    }

    /// Takes in the file `path`, seen from the schemas' folder.
    fn add(&mut self, path: &str, text: String) -> Result<(), SchemaFault> {
        const FORM: &str = "expected TYPE/VERSION.avsc, common/NAME.avsc or codelists/NAME.csv";
        let fault = |detail: &str| SchemaFault::new(path, detail);
        let (folder, file) = path.split_once('/').ok_or_else(|| fault(FORM))?;
        let file_and_text = (path.to_owned(), text);
        match (folder, file.rsplit_once('.')) {
            ("codelists", Some((name, "csv"))) => {
                self.lists.insert(name.to_owned(), file_and_text);
                Ok(())
            }
            ("common", Some((name, "avsc"))) => match self.common.get(name) {
                Some((_, known)) if *known != file_and_text.1 => {
                    Err(fault("the shared type is known with another content; give it another name"))
                }
                _ => {
                    self.common.insert(name.to_owned(), file_and_text);
                    Ok(())
                }
            },
            (folder, Some((version, "avsc"))) => {
                let event_type = EventType::parse(folder).map_err(|e| fault(&e.to_string()))?;
                let number = version.parse().ok().filter(|n: &u32| *n > 0 && n.to_string() == version);
                let number = number.ok_or_else(|| fault("a version is a whole number from 1"))?;
                let versions = self.schemas.entry(event_type).or_default();
                match versions.get(&number) {
                    Some((_, known)) if *known != file_and_text.1 => Err(fault(
                        "this version is known with another content; a version never changes: add one",
                    )),
                    _ => {
                        versions.insert(number, file_and_text);
                        Ok(())
                    }
                }
            }
            _ => Err(fault(FORM)),
        }
    }

    /// Takes in every file of the folders in `folder`; files beside them, such
    /// as README.md, are left alone.
    fn read(&mut self, folder: &Path) -> Result<(), SchemaFault> {
        for (name, path) in list(folder)? {
            if !path.is_dir() {
                continue;
            }
            for (file, path) in list(&path)? {
                let text = std::fs::read_to_string(&path)
                    .map_err(|e| SchemaFault::new(path.display().to_string(), e.to_string()))?;
                self.add(&format!("{name}/{file}"), text)?;
            }
        }
        Ok(())
    }

    fn build(self) -> Result<Registry, SchemaFault> {
        let mut lists = BTreeMap::new();
        for (name, (file, text)) in &self.lists {
            lists.insert(name.clone(), Arc::new(CodeList::parse(name, file, text)?));
        }
        let mut common = BTreeMap::new();
        for (name, (file, text)) in &self.common {
            common.insert(name.clone(), (file.clone(), json(file, text)?));
        }
        let sources = || Sources { common: &common, lists: &lists };
        for (name, (file, json)) in &common {
            parse_common(file, name, json, sources())?;
        }
        let mut types = BTreeMap::new();
        for (event_type, versions) in &self.schemas {
            let mut built: Vec<Arc<EventSchema>> = Vec::with_capacity(versions.len());
            for (version, (file, text)) in versions {
                if *version as usize != built.len() + 1 {
                    return Err(SchemaFault::new(file, format!("version {} is missing", built.len() + 1)));
                }
                let root = parse_schema(file, event_type.as_str(), &json(file, text)?, sources())?;
                let schema = EventSchema::new(file, event_type.clone(), *version, root)?;
                if let Some(before) = built.last() {
                    compatibility::check(file, before, &schema)?;
                }
                built.push(Arc::new(schema));
            }
            types.insert(event_type.clone(), built);
        }
        Ok(Registry { types, lists })
    }
}

fn json(file: &str, text: &str) -> Result<Value, SchemaFault> {
    serde_json::from_str(text).map_err(|e| SchemaFault::new(file, format!("it isn't JSON: {e}")))
}

/// What is in `folder`, by name, hidden files left out.
fn list(folder: &Path) -> Result<Vec<(String, std::path::PathBuf)>, SchemaFault> {
    let fault = |e: std::io::Error| SchemaFault::new(folder.display().to_string(), e.to_string());
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(fault)? {
        let entry = entry.map_err(fault)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') {
            found.push((name, entry.path()));
        }
    }
    found.sort();
    Ok(found)
}

/// What the tests of this room share.
#[cfg(test)]
pub(super) mod testing {
    /// A folder with these files.
    pub(in crate::schema) fn folder_with(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        folder
    }
}
