//! What a manifest says of an HTTP source.

use serde::Deserialize;
use std::collections::BTreeMap;

/// How a server is reached; shared by the streams of a connector.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpConnection {
    /// The address that paths are put after; may hold `{setting}`.
    pub base: String,
    /// How the member shows who it is.
    #[serde(default)]
    pub auth: Auth,
    /// Whether plain http is allowed to another machine. On it, secrets and
    /// records can be read by whoever is between.
    #[serde(default)]
    pub plain_http: bool,
    /// The time for one request with its answer, in seconds.
    #[serde(default = "timeout_seconds")]
    pub timeout_seconds: u64,
    /// The largest answer that is read, in MiB.
    #[serde(default = "max_answer_mib")]
    pub max_answer_mib: u64,
    /// How failed requests are repeated.
    #[serde(default)]
    pub retry: Retry,
}

/// How a request that failed is repeated: on a connection error, a timeout, 408,
/// 425, 429 and 5xx. The wait before attempt n+1 is random between 0 and
/// `first_ms` × 2ⁿ⁻¹, at most `ceiling_seconds` ("full jitter"), or what
/// Retry-After asks for.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retry {
    /// How often a request is sent at most.
    pub attempts: u32,
    /// The bound of the first wait, in milliseconds.
    pub first_ms: u64,
    /// The longest wait, in seconds. A longer Retry-After is left to the host.
    pub ceiling_seconds: u64,
}

impl Default for Retry {
    fn default() -> Retry {
        Retry { attempts: 6, first_ms: 500, ceiling_seconds: 30 }
    }
}

/// How a member shows who it is. Secrets are named here, and are kept elsewhere.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Auth {
    /// Not at all.
    #[default]
    None,
    /// A token in the header `Authorization: Bearer` (RFC 6750).
    Bearer {
        /// The token's name among the secrets.
        secret: String,
    },
    /// A user and a password (RFC 7617).
    Basic {
        /// The user; may hold `{setting}`.
        user: String,
        /// The password's name among the secrets.
        secret: String,
    },
    /// A key in the query or a header.
    ApiKey {
        /// Where it goes.
        #[serde(rename = "in")]
        place: ApiKeyPlace,
        /// The parameter's or header's name.
        name: String,
        /// The key's name among the secrets.
        secret: String,
    },
    /// OAuth 2.0 client credentials (RFC 6749 section 4.4), by HTTP Basic.
    Oauth2 {
        /// The address that gives tokens; may hold `{setting}`.
        token_url: String,
        /// The client's id; may hold `{setting}`.
        client_id: String,
        /// The client secret's name among the secrets.
        secret: String,
        /// What is asked for, where the server wants it.
        scope: Option<String>,
    },
}

/// Where an API key goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ApiKeyPlace {
    /// In the query of the address.
    Query,
    /// In a header.
    Header,
}

/// What one stream reads.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpRead {
    /// The path after the connection's base; may hold `{setting}`.
    pub path: String,
    /// The query of every page; values may hold `{setting}` and `{since}`. A
    /// parameter with `{since}` stays away in the first round.
    #[serde(default)]
    pub query: BTreeMap<String, String>,
    /// A JSON pointer (RFC 6901) to the array of records in an answer.
    pub items: String,
    /// A JSON pointer to whether another page follows. Without it, a page
    /// follows while the answer says where.
    pub more: Option<String>,
    /// A JSON pointer to an object that is merged into the query for the next
    /// page.
    pub next_query: Option<String>,
    /// Parameters of the next page's query, each with a JSON pointer to its
    /// value in the answer.
    #[serde(default)]
    pub next: BTreeMap<String, String>,
    /// From where the next round reads. Without it, every round reads
    /// everything.
    pub since: Option<Since>,
}

/// From where the next round reads: `{since}` in the query.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Since {
    /// A JSON pointer to a record's time; the latest of a round counts.
    pub time: String,
    /// How it is written in the query.
    pub form: SinceForm,
    /// How many days before the latest record the next round begins. The
    /// records read again are the same events, which the hub drops.
    #[serde(default)]
    pub overlap_days: u16,
}

/// How `{since}` is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SinceForm {
    /// The day in New Caledonia, `YYYY-MM-DD`.
    Date,
    /// The time in UTC, `YYYY-MM-DDThh:mm:ssZ`.
    Utc,
}

fn timeout_seconds() -> u64 {
    30
}

fn max_answer_mib() -> u64 {
    32
}
