//! A connector's cases: `tests/*.json` beside its manifest.
//!
//! ```json
//! {"stream": "jobseekers", "about": "a birth date of which only the year is known",
//!  "input": {"id": "…"}, "output": {"person": {"birthdate": "1950"}}}
//! ```
//!
//! `output` is the one record that is expected; `outputs` a list of them, empty
//! where the record is to be skipped; `error` a part of the sentence that is
//! expected. A case for a source may also hold `identity`, the `subject` and
//! `time` that are expected.

use super::manifest::{Connector, ConnectorFault, SourceStream};
use super::mapping::Mapping;
use serde::Deserialize;
use serde_json::Value;
use similar::TextDiff;
use std::path::{Path, PathBuf};

/// What is asked of a harmonised record beside what the case expects: the
/// sentences of what is wrong with it, if anything. Called with the event type
/// and version of the stream.
pub type Check<'a> = &'a dyn Fn(&str, u32, &Value) -> Vec<String>;

/// One case as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    stream: String,
    /// What the case shows, for those who read it.
    #[serde(rename = "about")]
    _about: String,
    input: Value,
    output: Option<Value>,
    outputs: Option<Vec<Value>>,
    error: Option<String>,
    identity: Option<Expected>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    subject: String,
    time: String,
}

/// How one case went.
#[derive(Debug)]
pub struct Outcome {
    /// The case's file.
    pub file: PathBuf,
    /// None if it holds; otherwise what differs, to be shown. A case's data is
    /// synthetic, so that it may be shown whole.
    pub failure: Option<String>,
}

/// Runs every case of a connector that was loaded from a folder, in the order of
/// their names.
///
/// Fails if the cases can't be listed, or if there is none: a connector without
/// cases is not tested.
pub fn run(connector: &Connector, check: Check<'_>) -> Result<Vec<Outcome>, ConnectorFault> {
    let folder = connector.folder.as_deref().unwrap_or(Path::new("."));
    let tests = folder.join("tests");
    let unreadable = |path: &Path, problem: String| ConnectorFault::Unreadable {
        path: path.display().to_string(),
        problem,
    };
    let entries = std::fs::read_dir(&tests).map_err(|error| unreadable(&tests, error.kind().to_string()))?;
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| unreadable(&tests, error.kind().to_string()))?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            files.push(path);
        }
    }
    if files.is_empty() {
        return Err(unreadable(&tests, "there is no case in it: write at least one NAME.json".to_owned()));
    }
    files.sort();
    Ok(files
        .into_iter()
        .map(|file| {
            let failure = case(connector, &file, check).err();
            Outcome { file, failure }
        })
        .collect())
}

fn case(connector: &Connector, file: &Path, check: Check<'_>) -> Result<(), String> {
    let text =
        std::fs::read_to_string(file).map_err(|error| format!("it can't be read: {}", error.kind()))?;
    let case: Case = serde_json::from_str(&text).map_err(|error| format!("it isn't a case: {error}"))?;
    if [case.output.is_some(), case.outputs.is_some(), case.error.is_some()].iter().filter(|is| **is).count()
        != 1
    {
        return Err("a case has exactly one of output, outputs and error".to_owned());
    }
    let source = connector.source(&case.stream);
    let sink = connector.sink(&case.stream).and_then(|sink| sink.mapping.as_ref());
    let Some(mapping) = source.map(|source| &source.mapping).or(sink) else {
        return Err(format!("the connector has no stream {} with a mapping", case.stream));
    };
    let identity = source.map(|source| identity(source, &case.input));
    let outputs = match (mapped(mapping, source, &case.input, check), &case.error) {
        (Err(fault), Some(expected)) if fault.contains(expected) => return Ok(()),
        (Err(fault), Some(expected)) => return Err(diff(expected, &fault)),
        (Err(fault), None) => return Err(format!("it fails: {fault}")),
        // The identity is made after the mapping, and can be what is wrong.
        (Ok(outputs), Some(expected)) => {
            return match identity {
                Some(Err(fault)) if fault.contains(expected) => Ok(()),
                Some(Err(fault)) => Err(diff(expected, &fault)),
                _ => Err(format!(
                    "it was expected to fail with \"{expected}\", and gives\n{}",
                    pretty(&outputs)
                )),
            };
        }
        (Ok(outputs), None) => outputs,
    };
    let expected = case.outputs.unwrap_or_else(|| case.output.into_iter().collect());
    if outputs != expected {
        return Err(diff(&pretty(&expected), &pretty(&outputs)));
    }
    match (case.identity, identity) {
        (Some(expected), Some(Ok((subject, time))))
            if (&expected.subject, &expected.time) != (&subject, &time) =>
        {
            Err(diff(&format!("{} {}", expected.subject, expected.time), &format!("{subject} {time}")))
        }
        (Some(_), None) => Err("only a source's record has an identity".to_owned()),
        // A record that is skipped needs none.
        (None, Some(Err(_))) if outputs.is_empty() => Ok(()),
        (_, Some(Err(fault))) => Err(fault),
        _ => Ok(()),
    }
}

/// The outputs, or the sentence of the first thing that is wrong with them.
fn mapped(
    mapping: &Mapping,
    source: Option<&SourceStream>,
    input: &Value,
    check: Check<'_>,
) -> Result<Vec<Value>, String> {
    let outputs = mapping.map(input).map_err(|fault| fault.to_string())?;
    if let Some(source) = source {
        let wrong: Vec<String> = outputs
            .iter()
            .flat_map(|output| check(source.event_type.as_str(), source.schema_version, output))
            .collect();
        if !wrong.is_empty() {
            return Err(format!("the output isn't a {}: {}", source.event_type, wrong.join("; ")));
        }
    }
    Ok(outputs)
}

fn identity(source: &SourceStream, input: &Value) -> Result<(String, String), String> {
    let record = source.record(input.clone())?;
    let identity = source.identify(&record, 0, b"case", 1)?;
    Ok((identity.subject, identity.time))
}

fn pretty(outputs: &[Value]) -> String {
    outputs.iter().map(|output| format!("{output:#}")).collect::<Vec<_>>().join("\n")
}

/// What is expected against what there is, as a unified diff.
fn diff(expected: &str, got: &str) -> String {
    TextDiff::from_lines(&format!("{expected}\n"), &format!("{got}\n"))
        .unified_diff()
        .context_radius(2)
        .header("expected", "mapped")
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = r#"
name = "toy"
system = "toy"
description = "d"
[http]
base = "http://localhost"
[[source]]
name = "things"
driver = "http"
every_seconds = 1
map = "map.jq"
event = "nc.toy.thing"
version = 1
key = "/id"
time = "/at"
subject = { kind = "thing", id = "/id" }
read = { path = "x", items = "/data" }
"#;

    fn failure(map: &str, case: &str) -> Option<String> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("connector.toml"), MANIFEST).unwrap();
        std::fs::write(folder.path().join("map.jq"), map).unwrap();
        std::fs::create_dir(folder.path().join("tests")).unwrap();
        std::fs::write(folder.path().join("tests/one.json"), case).unwrap();
        let connector = Connector::load(folder.path()).unwrap();
        let check: Check<'_> = &|event_type, version, output| {
            assert_eq!((event_type, version), ("nc.toy.thing", 1));
            if output.get("bad").is_some() { vec!["bad: isn't in the schema".to_owned()] } else { Vec::new() }
        };
        run(&connector, check).unwrap().remove(0).failure
    }

    const INPUT: &str =
        r#""stream": "things", "about": "a", "input": {"id": 1, "at": "2026-01-01", "a": "x"}"#;

    fn case(expected: &str) -> String {
        format!("{{{INPUT}, {expected}}}")
    }

    #[test]
    fn a_case_holds_or_shows_what_differs() {
        assert_eq!(failure("{a}", &case(r#""output": {"a": "x"}"#)), None);
        let shown = failure("{a}", &case(r#""output": {"a": "y"}"#)).unwrap();
        assert!(shown.contains("-  \"a\": \"y\"") && shown.contains("+  \"a\": \"x\""), "{shown}");
        assert!(failure("{a}, {a}", &case(r#""output": {"a": "x"}"#)).is_some());
    }

    #[test]
    fn a_record_can_be_meant_to_be_skipped_or_to_fail() {
        assert_eq!(failure("empty", &case(r#""outputs": []"#)), None);
        assert!(failure("{a}", &case(r#""outputs": []"#)).is_some());
        assert_eq!(
            failure("{b: (.a | ridet)}", &case(r#""error": "field b: ridet"#).replace("ridet", "ridet\"")),
            None
        );
        assert!(failure("{b: (.a | ridet)}", &case(r#""error": "other""#)).is_some());
        assert!(failure("{a}", &case(r#""error": "other""#)).is_some());
    }

    #[test]
    fn the_schema_and_the_identity_are_checked_too() {
        assert!(
            failure("{bad: 1}", &case(r#""output": {"bad": 1}"#))
                .unwrap()
                .contains("isn't a nc.toy.thing: bad")
        );
        assert_eq!(failure("{bad: 1}", &case(r#""error": "bad: isn't in the schema""#)), None);
        let identity = |time: &str| {
            case(&format!(r#""output": {{}}, "identity": {{"subject": "thing/1", "time": "{time}"}}"#))
        };
        assert_eq!(failure("{}", &identity("2025-12-31T13:00:00Z")), None);
        assert!(failure("{}", &identity("2026-01-01T00:00:00Z")).is_some());
        let timeless = r#"{"stream": "things", "about": "a", "input": {"id": 1}, "output": {}}"#;
        assert!(failure("{}", timeless).unwrap().contains("no time at /at"));
    }

    #[test]
    fn what_is_no_case_says_why() {
        assert!(failure(".", "{}").unwrap().contains("it isn't a case"));
        assert!(failure(".", &case(r#""output": {}, "error": "x""#)).unwrap().contains("exactly one"));
        assert!(failure(".", &case(r#""output": {}, "typo": 1"#)).unwrap().contains("typo"));
        assert!(
            failure(".", &case(r#""output": {}"#).replace("things", "absent")).unwrap().contains("absent")
        );
    }

    /// The first block of `language` in connectors/README.md.
    fn block(language: &str) -> &'static str {
        block_after("# Connectors", language)
    }

    /// The first block of `language` after `heading` in connectors/README.md.
    fn block_after(heading: &str, language: &str) -> &'static str {
        let readme = include_str!("../../connectors/README.md");
        let readme = &readme[readme.find(heading).unwrap()..];
        let begin = readme.find(&format!("```{language}\n")).unwrap() + language.len() + 4;
        let length = readme[begin..].find("```").unwrap();
        &readme[begin..begin + length]
    }

    #[test]
    fn what_the_page_on_connectors_shows_runs() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("connector.toml"), block("toml")).unwrap();
        std::fs::write(folder.path().join("things.jq"), block("jq")).unwrap();
        std::fs::create_dir(folder.path().join("tests")).unwrap();
        std::fs::write(folder.path().join("tests/one.json"), block("json")).unwrap();
        let connector = Connector::load(folder.path()).unwrap();
        assert_eq!(run(&connector, &|_, _, _| Vec::new()).unwrap()[0].failure, None);
    }

    #[test]
    fn what_the_page_shows_of_the_door_is_tested_as_any_connector() {
        let folder = tempfile::tempdir().unwrap();
        let manifest = block_after("## Take what is posted", "toml");
        std::fs::write(folder.path().join("connector.toml"), manifest).unwrap();
        std::fs::write(folder.path().join("forms.jq"), "{status: .state}").unwrap();
        std::fs::create_dir(folder.path().join("tests")).unwrap();
        let case = r#"{"stream": "forms", "about": "a", "input": {"id": 1, "state": "active", "changed_at": "2026-01-01"},
                       "output": {"status": "active"}, "identity": {"subject": "person/1", "time": "2025-12-31T13:00:00Z"}}"#;
        std::fs::write(folder.path().join("tests/one.json"), case).unwrap();
        let connector = Connector::load(folder.path()).unwrap();
        assert!(connector.source("forms").unwrap().is_door());
        assert_eq!(run(&connector, &|_, _, _| Vec::new()).unwrap()[0].failure, None);
    }

    #[test]
    fn the_page_on_connectors_lists_every_helper() {
        let readme = include_str!("../../connectors/README.md");
        for (name, takes_numbers, _) in crate::connect::helpers::HELPERS {
            let row = format!("| `{name}` {}", if takes_numbers { "\\*" } else { "|" });
            assert!(readme.contains(&row), "{row}");
        }
    }

    #[test]
    fn a_connector_without_cases_is_not_tested() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("connector.toml"), MANIFEST).unwrap();
        std::fs::write(folder.path().join("map.jq"), ".").unwrap();
        let connector = Connector::load(folder.path()).unwrap();
        assert!(run(&connector, &|_, _, _| Vec::new()).is_err());
    }
}
