//! Typed settings: an embedded file of defaults, a file, the environment.
//!
//! `hub.toml` and `connect.toml` beside this module are the reference: every
//! key with its meaning and its default. A later layer replaces what an earlier
//! one set: the defaults, the file, the variables `PIROGUE__SECTION__KEY`. Each
//! key says its unit in its name (`_bytes`, `_mib`, `_seconds`, `_ms`, `days`),
//! so that every value is a plain number.
//!
//! Loading is strict. A key that isn't known, a value of the wrong kind, a value
//! out of range: each is one sentence that names the key, and the file or the
//! variable that set it. A secret has no place in a configuration: it is named
//! by a [`SecretSource`], read when it is needed, and never printed.

mod broker;
mod connect;
mod explain;
mod hub;
mod load;
mod secret;
mod show;

pub use broker::{Broker, BrokerLogin, Management};
pub use connect::{Aside, ConnectConfig, ConnectKeys, ConnectorSettings, Door, FilesSink, Inbox, SinkDriver};
pub use hub::{
    Erasure, Http, HubConfig, HubKeys, Journal, Limits, Quarantine, Queue, Retention, StoreSettings, Witness,
};
pub use load::{ConfigFault, Origins};
pub use secret::{SecretFault, SecretSource};

use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// An enum that is written as one of a few words.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$word_doc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        #[serde(try_from = "String", into = "&'static str")]
        pub enum $name { $($(#[$word_doc])* $variant),+ }

        impl $name {
            /// The word for it in a configuration file.
            pub fn as_str(self) -> &'static str {
                match self { $($name::$variant => $word),+ }
            }
        }

        impl From<$name> for &'static str {
            fn from(word: $name) -> &'static str {
                word.as_str()
            }
        }

        impl TryFrom<String> for $name {
            type Error = String;

            fn try_from(text: String) -> Result<$name, String> {
                match text.as_str() {
                    $($word => Ok($name::$variant),)+
                    _ => Err(format!("expected {}", [$(concat!('"', $word, '"')),+].join(" or "))),
                }
            }
        }
    };
}
pub(crate) use words;

/// What carries the messages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum BusSetting {
    /// A durable bus in the hub's own process.
    Embedded,
    /// RabbitMQ at this URL, `amqp[s]://[USER@]HOST[:PORT][/VHOST]`, without a
    /// password.
    Amqp(String),
}

impl From<BusSetting> for String {
    fn from(bus: BusSetting) -> String {
        match bus {
            BusSetting::Embedded => "embedded".to_owned(),
            BusSetting::Amqp(url) => url,
        }
    }
}

impl TryFrom<String> for BusSetting {
    type Error = &'static str;

    fn try_from(text: String) -> Result<BusSetting, &'static str> {
        match text.as_str() {
            "embedded" => Ok(BusSetting::Embedded),
            // The URL may hold a password: it isn't repeated.
            url if url.starts_with("amqp://") || url.starts_with("amqps://") => {
                if broker::has_password(url) {
                    return Err(
                        "a password isn't written in a configuration: name its place in broker.password",
                    );
                }
                Ok(BusSetting::Amqp(text))
            }
            _ => Err("expected \"embedded\", or the URL of RabbitMQ, amqp://HOST or amqps://HOST"),
        }
    }
}

words! {
    /// How log lines look.
    LogFormat {
        /// Lines for people.
        Text = "text",
        /// A JSON object for each line.
        Json = "json",
    }
}

words! {
    /// What is logged: this level and all that are graver.
    LogLevel {
        /// What failed.
        Error = "error",
        /// What needs attention.
        Warn = "warn",
        /// What an operator wants to know.
        Info = "info",
        /// What helps to find a fault.
        Debug = "debug",
        /// Everything.
        Trace = "trace",
    }
}

/// `[log]`: what the program says while it runs, on standard error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(expecting = "a table")]
pub struct Log {
    /// How log lines look.
    pub format: LogFormat,
    /// What is logged.
    pub level: LogLevel,
}

/// A value out of its range: the key, and a sentence that says what is expected.
pub(crate) type OutOfRange = (&'static str, String);

/// What the two kinds of configuration have in common.
pub(crate) trait Settings: serde::de::DeserializeOwned {
    /// The file of defaults, which documents every key.
    const DEFAULTS: &'static str;

    /// The keys below which the file of defaults doesn't say what there is: free
    /// tables, and places of secrets.
    const FREE: &'static [&'static str];

    /// Makes every relative path begin at `folder`.
    fn resolve(&mut self, folder: &Path);

    /// Checks what the types don't.
    fn check(&self) -> Result<(), OutOfRange>;
}

/// Makes `path` begin at `folder`, unless it is absolute.
pub(crate) fn resolve(folder: &Path, path: &mut PathBuf) {
    // Without the dots between, which no sentence needs; `..` stays, since what
    // is above a link isn't known.
    *path = folder.join(&*path).components().collect();
}

/// Checks the form of a name (WIRE.md section 0: MEMBER).
pub(crate) fn check_name(key: &'static str, name: &str) -> Result<(), OutOfRange> {
    let fits = (2..=32).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if !fits {
        return Err((key, "expected 2 to 32 of a-z, 0-9 and -, a letter first".to_owned()));
    }
    Ok(())
}

/// Checks that `value` lies between `least` and `most`, both included.
pub(crate) fn check_range(key: &'static str, value: u64, least: u64, most: u64) -> Result<(), OutOfRange> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err((key, format!("expected a number from {least} to {most}, found {value}")))
}
