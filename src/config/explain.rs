//! The settings in force with what each means and who set it: the file of
//! defaults, line by line, with the values that hold.

use super::load::{Origins, uncommented};
use super::show::shown;
use super::{ConnectConfig, HubConfig, Settings};
use serde::Serialize;
use toml::{Table, Value};

impl HubConfig {
    /// As [`HubConfig::to_toml`], each key below its meaning, and behind its value
    /// who set it: `default`, `file`, or an environment variable.
    pub fn explained(&self, origins: &Origins) -> Result<String, toml::ser::Error> {
        explained(self, origins)
    }
}

impl ConnectConfig {
    /// As [`ConnectConfig::to_toml`], each key below its meaning, and behind its
    /// value who set it: `default`, `file`, or an environment variable.
    pub fn explained(&self, origins: &Origins) -> Result<String, toml::ser::Error> {
        explained(self, origins)
    }
}

fn explained<T: Settings + Serialize>(settings: &T, origins: &Origins) -> Result<String, toml::ser::Error> {
    let values = shown(settings)?;
    // What introduces the file is about a file to begin from.
    let (_, lines) = T::DEFAULTS.split_once("\n\n").unwrap_or(("", T::DEFAULTS));
    let mut text = String::new();
    let mut section = String::new();
    let mut in_list = None;
    for line in lines.lines() {
        // An example of a list's item, `#[[connector]]`, up to the next section.
        let plain = uncommented(line);
        let plain = plain.trim_end();
        if let Some(list) = plain.strip_prefix("[[").and_then(|rest| rest.strip_suffix("]]")) {
            text += &items(list, &values, origins)?;
            in_list = Some(list.to_owned());
            continue;
        }
        if let Some(heading) = plain.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            let is_within = in_list.as_ref().is_some_and(|list| heading.starts_with(&format!("{list}.")));
            if is_within {
                continue;
            }
            in_list = None;
            section = heading.to_owned();
            text += &format!("[{heading}]\n");
            continue;
        }
        match plain.split_once(" = ").filter(|(key, _)| !key.starts_with('#')) {
            _ if in_list.is_some() => {}
            None => text += &format!("{line}\n"),
            Some((key, _)) => {
                let path = if section.is_empty() { key.to_owned() } else { format!("{section}.{key}") };
                text += &match at(&values, &path) {
                    Some(value) => format!("{key} = {}  # {}\n", inline(value), origins.of(&path)),
                    None => format!("#{plain}  # not set\n"),
                };
            }
        }
    }
    Ok(text)
}

/// The items of the list `name`, or nothing where there is none.
fn items(name: &str, values: &Value, origins: &Origins) -> Result<String, toml::ser::Error> {
    let Some(items) = values.get(name).and_then(Value::as_array).filter(|items| !items.is_empty()) else {
        return Ok(format!("#[[{name}]]  # not set\n"));
    };
    let list = Table::from_iter([(name.to_owned(), Value::Array(items.clone()))]);
    let heading = format!("[[{name}]]");
    let text = toml::to_string(&list)?;
    Ok(text.replace(&heading, &format!("{heading}  # {}", origins.of(name))) + "\n")
}

fn at<'a>(values: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(values, |value, step| value.get(step))
}

/// A value on one line.
fn inline(value: &Value) -> String {
    match value {
        Value::Table(table) => {
            let pairs: Vec<_> =
                table.iter().map(|(key, value)| format!("{key} = {}", inline(value))).collect();
            format!("{{ {} }}", pairs.join(", "))
        }
        Value::Array(values) => format!("[{}]", values.iter().map(inline).collect::<Vec<_>>().join(", ")),
        value => value.to_string(),
    }
}
