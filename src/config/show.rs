//! Settings as a file again, for people, without what should be hidden.

use super::{ConnectConfig, HubConfig};
use serde::Serialize;
use toml::Value;

/// What stands where a value is hidden.
const HIDDEN: &str = "(hidden)";

/// Words in the name of a setting that make its value a secret.
const SECRET_WORDS: [&str; 8] =
    ["password", "passwd", "passphrase", "secret", "token", "apikey", "api_key", "authorization"];

impl HubConfig {
    /// The settings in force, as TOML: defaults, file and environment, every
    /// path absolute. Loaded again, it gives the same.
    pub fn to_toml(&self) -> Result<String, toml::ser::Error> {
        render(self)
    }
}

impl ConnectConfig {
    /// The settings in force, as TOML: defaults, file and environment, every
    /// path absolute. A connector's setting that looks like a secret, and a
    /// password in a URL, are hidden; else, loaded again, it gives the same.
    pub fn to_toml(&self) -> Result<String, toml::ser::Error> {
        render(self)
    }
}

fn render(settings: &impl Serialize) -> Result<String, toml::ser::Error> {
    toml::to_string_pretty(&shown(settings)?)
}

/// The settings as a value, without what should be hidden.
pub(super) fn shown(settings: &impl Serialize) -> Result<Value, toml::ser::Error> {
    let mut value = Value::try_from(settings)?;
    // The only free texts are the connectors' settings: a secret may stray there.
    if let Some(connectors) = value.get_mut("connector").and_then(Value::as_array_mut) {
        connectors.iter_mut().filter_map(|connector| connector.get_mut("settings")).for_each(hide);
    }
    Ok(value)
}

fn hide(value: &mut Value) {
    match value {
        Value::Table(table) => {
            for (name, value) in table.iter_mut() {
                let name = name.to_lowercase().replace('-', "_");
                if SECRET_WORDS.iter().any(|word| name.contains(word)) {
                    *value = Value::String(HIDDEN.to_owned());
                } else {
                    hide(value);
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(hide),
        Value::String(text) => {
            if let Some(hidden) = without_password(text) {
                *text = hidden;
            }
        }
        _ => {}
    }
}

/// `scheme://user:password@host/…` with the password hidden (RFC 3986 section
/// 3.2.1), or nothing where there is none.
fn without_password(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let (user_info, _) = authority.rsplit_once('@')?;
    let (user, _) = user_info.split_once(':')?;
    Some(format!("{scheme}://{user}:{HIDDEN}{}", &rest[user_info.len()..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_in_a_url_is_hidden_and_the_rest_is_kept() {
        let cases = [
            ("https://u:p@h/x?y=1", Some("https://u:(hidden)@h/x?y=1")),
            ("https://u:p@q@h", Some("https://u:(hidden)@h")),
            ("https://u@h/", None),
            ("https://h/a:b@c", None),
            ("just text: a@b", None),
        ];
        for (url, hidden) in cases {
            assert_eq!(without_password(url).as_deref(), hidden, "{url}");
        }
    }

    #[test]
    fn a_setting_that_looks_like_a_secret_is_hidden_at_any_depth() {
        let mut value: Value = toml::from_str(
            "base_url = 'https://h'\nApi-Key = 'abc'\n[query]\naccess_token = 'abc'\npage = 5\n",
        )
        .unwrap();
        hide(&mut value);
        let text = toml::to_string(&value).unwrap();
        assert!(!text.contains("abc"), "{text}");
        assert!(text.contains("https://h") && text.contains("page = 5"), "{text}");
    }
}
