//! The client of the management API.

use super::ManageFault;
use super::password::ALGORITHM;
use crate::bus::Tls;
use reqwest::{Method, StatusCode, Url};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::time::Duration;
use zeroize::Zeroizing;

/// A client of RabbitMQ's management API, as one user.
pub struct Management {
    http: reqwest::Client,
    base: Url,
    user: String,
    password: Zeroizing<String>,
}

impl std::fmt::Debug for Management {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Management").field("address", &self.address()).finish_non_exhaustive()
    }
}

/// An exchange.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Exchange {
    /// Its name.
    pub name: String,
    /// Its type, `topic` for instance.
    #[serde(rename = "type")]
    pub kind: String,
    /// Whether it survives a restart.
    pub durable: bool,
}

/// A queue.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Queue {
    /// Its name.
    pub name: String,
    /// Whether it survives a restart.
    pub durable: bool,
    /// The arguments with which it was declared.
    #[serde(default)]
    pub arguments: Map<String, Value>,
    /// How many messages aren't acknowledged. The broker counts every few
    /// seconds, and a new queue has no count yet.
    #[serde(default)]
    pub messages: u64,
    /// How many bytes of bodies these have, counted likewise.
    #[serde(default)]
    pub message_bytes: u64,
}

/// A binding of an exchange to a queue.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Binding {
    /// The exchange.
    pub source: String,
    /// The queue, where `destination_type` is `queue`.
    pub destination: String,
    /// `queue` or `exchange`.
    pub destination_type: String,
    /// The pattern.
    pub routing_key: String,
}

/// A user.
#[derive(Clone, PartialEq, Eq, Deserialize)]
pub struct User {
    /// Its name.
    pub name: String,
    /// The hash of its password; empty where it has none.
    #[serde(default)]
    pub password_hash: String,
    /// Its tags.
    #[serde(default)]
    pub tags: Tags,
}

/// A user's tags. Brokers before 3.9 write them as one text with commas.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "TagsText")]
pub struct Tags(pub Vec<String>);

#[derive(Deserialize)]
#[serde(untagged)]
enum TagsText {
    Many(Vec<String>),
    One(String),
}

impl From<TagsText> for Tags {
    fn from(text: TagsText) -> Tags {
        match text {
            TagsText::Many(tags) => Tags(tags),
            TagsText::One(text) => Tags(text.split(',').map(str::to_owned).collect()),
        }
    }
}

impl User {
    /// Fails where it has tags, as an administrator has: such a user isn't made
    /// one of the exchange.
    pub fn check_plain(&self) -> Result<(), ManageFault> {
        match self.tags.0.iter().all(String::is_empty) {
            true => Ok(()),
            false => Err(ManageFault::Conflict(format!(
                "the broker's user {} is there and has tags, as an administrator has: it isn't made a user of the \
                 exchange; give it, or the member, another name",
                self.name
            ))),
        }
    }
}

impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("User").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What a user may do in a virtual host: regular expressions over the names of
/// exchanges and queues.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Permissions {
    /// Whose they are. Not part of what is written.
    #[serde(default, skip_serializing)]
    pub user: String,
    /// What it may declare and delete.
    pub configure: String,
    /// What it may publish to.
    pub write: String,
    /// What it may consume.
    pub read: String,
}

/// Which routing keys a user may use with an exchange.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicPermissions {
    /// Whose they are. Not part of what is written.
    #[serde(default, skip_serializing)]
    pub user: String,
    /// The exchange.
    pub exchange: String,
    /// The routing keys with which it may publish.
    pub write: String,
    /// The routing keys with which it may bind.
    pub read: String,
}

impl Management {
    /// A client of the API at `url`, `http[s]://HOST:PORT`, as `user`, who needs
    /// the tag `administrator`. With `https://`, `tls.ca` is what is trusted;
    /// without it, what the system trusts. Nothing is asked yet.
    pub fn new(
        url: &str,
        user: &str,
        password: Zeroizing<String>,
        tls: &Tls,
    ) -> Result<Management, ManageFault> {
        let wrong = |why: &str| ManageFault::Address(why.to_owned());
        let base = Url::parse(url).map_err(|_| wrong("it isn't a URL"))?;
        if !matches!(base.scheme(), "http" | "https") || base.cannot_be_a_base() {
            return Err(wrong("it begins neither with http:// nor with https://"));
        }
        if !base.username().is_empty() || base.password().is_some() {
            return Err(wrong("the user and the password are given beside it, not in it"));
        }
        // reqwest takes the process's provider. A second call changes nothing.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = reqwest::Client::builder()
            .no_proxy()
            .connect_timeout(Duration::from_secs(5))
            .timeout(Duration::from_secs(30));
        if tls.ca.is_some() {
            let config = tls.client().map_err(|fault| ManageFault::Address(fault.to_string()))?;
            builder = builder.tls_backend_preconfigured(config);
        }
        let http = builder.build().map_err(|_| wrong("an HTTP client can't be made"))?;
        Ok(Management { http, base, user: user.to_owned(), password })
    }

    /// Host and port, for people.
    pub fn address(&self) -> String {
        let host = self.base.host_str().unwrap_or_default();
        format!("{host}:{}", self.base.port_or_known_default().unwrap_or_default())
    }

    /// Calls the API; `None` where what `path` names isn't there.
    pub(super) async fn call(
        &self,
        method: Method,
        path: &[&str],
        body: Option<&Value>,
        what: &str,
    ) -> Result<Option<reqwest::Response>, ManageFault> {
        let mut url = self.base.clone();
        match url.path_segments_mut() {
            Ok(mut segments) => drop(segments.pop_if_empty().push("api").extend(path)),
            Err(()) => return Err(ManageFault::Address("it has no path".to_owned())),
        }
        let mut request = self.http.request(method, url).basic_auth(&self.user, Some(self.password.as_str()));
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.map_err(|error| {
            let mut why: &dyn std::error::Error = &error;
            while let Some(source) = why.source() {
                why = source;
            }
            ManageFault::Unreachable { address: self.address(), why: why.to_string() }
        })?;
        let what = what.to_owned();
        match response.status() {
            status if status.is_success() => Ok(Some(response)),
            StatusCode::NOT_FOUND => Ok(None),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(ManageFault::Refused { what }),
            status => {
                let reason: Value = response.json().await.unwrap_or_default();
                let reason = reason.get("reason").or(reason.get("error")).and_then(Value::as_str);
                let reason = reason.unwrap_or("no reason given").to_owned();
                Err(ManageFault::Failed { what, status: status.as_u16(), reason })
            }
        }
    }

    async fn get<T: DeserializeOwned>(&self, path: &[&str], what: &str) -> Result<Option<T>, ManageFault> {
        let Some(response) = self.call(Method::GET, path, None, what).await? else { return Ok(None) };
        let unexpected = |_| ManageFault::Unexpected { what: what.to_owned() };
        response.json().await.map(Some).map_err(unexpected)
    }

    pub(super) async fn list<T: DeserializeOwned>(
        &self,
        path: &[&str],
        what: &str,
    ) -> Result<Vec<T>, ManageFault> {
        Ok(self.get(path, what).await?.unwrap_or_default())
    }

    pub(super) async fn send(
        &self,
        method: Method,
        path: &[&str],
        body: Value,
        what: &str,
    ) -> Result<(), ManageFault> {
        match self.call(method, path, Some(&body), what).await? {
            Some(_) => Ok(()),
            None => Err(ManageFault::Failed {
                what: what.to_owned(),
                status: 404,
                reason: "the virtual host, the exchange or the queue isn't there".to_owned(),
            }),
        }
    }

    /// The broker's version, `3.10.8` for instance.
    pub async fn version(&self) -> Result<String, ManageFault> {
        const WHAT: &str = "say its version";
        let overview: Option<Value> = self.get(&["overview"], WHAT).await?;
        let version = overview.as_ref().and_then(|overview| overview.get("rabbitmq_version")?.as_str());
        version.map(str::to_owned).ok_or(ManageFault::Unexpected { what: WHAT.to_owned() })
    }

    /// Whether there is such a virtual host.
    pub async fn has_vhost(&self, vhost: &str) -> Result<bool, ManageFault> {
        Ok(self.get::<Value>(&["vhosts", vhost], "show the virtual host").await?.is_some())
    }

    /// Makes a virtual host, unless it is there, and lets the user of this API use
    /// it.
    pub async fn put_vhost(&self, vhost: &str) -> Result<(), ManageFault> {
        self.send(Method::PUT, &["vhosts", vhost], json!({}), "make the virtual host").await?;
        let all = || ".*".to_owned();
        let own = Permissions { user: self.user.clone(), configure: all(), write: all(), read: all() };
        self.put_permissions(vhost, &own).await
    }

    /// Takes a virtual host away, with all that is in it, unless it is gone.
    pub async fn delete_vhost(&self, vhost: &str) -> Result<(), ManageFault> {
        self.call(Method::DELETE, &["vhosts", vhost], None, "delete the virtual host").await.map(drop)
    }

    /// The exchanges of a virtual host.
    pub async fn exchanges(&self, vhost: &str) -> Result<Vec<Exchange>, ManageFault> {
        self.list(&["exchanges", vhost], "list the exchanges").await
    }

    /// Makes a durable topic exchange, unless it is there.
    pub async fn put_exchange(&self, vhost: &str, name: &str) -> Result<(), ManageFault> {
        let body = json!({ "type": "topic", "durable": true, "auto_delete": false, "arguments": {} });
        self.send(Method::PUT, &["exchanges", vhost, name], body, "make an exchange").await
    }

    /// The queues of a virtual host.
    pub async fn queues(&self, vhost: &str) -> Result<Vec<Queue>, ManageFault> {
        self.list(&["queues", vhost], "list the queues").await
    }

    /// Makes a durable queue, unless it is there.
    pub async fn put_queue(
        &self,
        vhost: &str,
        name: &str,
        arguments: &Map<String, Value>,
    ) -> Result<(), ManageFault> {
        let body = json!({ "durable": true, "auto_delete": false, "arguments": arguments });
        self.send(Method::PUT, &["queues", vhost, name], body, "make a queue").await
    }

    /// The bindings of a virtual host.
    pub async fn bindings(&self, vhost: &str) -> Result<Vec<Binding>, ManageFault> {
        self.list(&["bindings", vhost], "list the bindings").await
    }

    /// Binds a queue to an exchange, unless it is bound.
    pub async fn bind(
        &self,
        vhost: &str,
        exchange: &str,
        queue: &str,
        pattern: &str,
    ) -> Result<(), ManageFault> {
        let body = json!({ "routing_key": pattern, "arguments": {} });
        let path = ["bindings", vhost, "e", exchange, "q", queue];
        self.send(Method::POST, &path, body, "bind a queue").await
    }

    /// The users.
    pub async fn users(&self) -> Result<Vec<User>, ManageFault> {
        self.list(&["users"], "list the users").await
    }

    /// Makes a user, or gives it another password. Without one it can't log in
    /// by password, but by certificate. It has no tags: it may use nothing but
    /// AMQP.
    pub async fn put_user(&self, name: &str, password: Option<&str>) -> Result<(), ManageFault> {
        let body = match password {
            Some(password) => json!({ "password": password, "tags": "" }),
            None => json!({ "password_hash": "", "tags": "" }),
        };
        self.send(Method::PUT, &["users", name], body, "make a user").await
    }

    /// Gives a user tags, and a password. A tag that the broker doesn't know
    /// means nothing to it.
    pub async fn put_tagged_user(&self, name: &str, password: &str, tag: &str) -> Result<(), ManageFault> {
        let body = json!({ "password": password, "tags": tag });
        self.send(Method::PUT, &["users", name], body, "make a user").await
    }

    /// Takes a user away, unless it is gone.
    pub async fn delete_user(&self, name: &str) -> Result<(), ManageFault> {
        self.call(Method::DELETE, &["users", name], None, "delete a user").await.map(drop)
    }

    /// As [`Management::put_user`], with the hash of the password
    /// ([`password_hash`](super::password_hash)).
    pub async fn put_user_with_hash(&self, name: &str, hash: &str) -> Result<(), ManageFault> {
        let body = json!({ "password_hash": hash, "hashing_algorithm": ALGORITHM, "tags": "" });
        self.send(Method::PUT, &["users", name], body, "make a user").await
    }

    /// What the users may do in a virtual host.
    pub async fn permissions(&self, vhost: &str) -> Result<Vec<Permissions>, ManageFault> {
        self.list(&["vhosts", vhost, "permissions"], "list the permissions").await
    }

    /// Says what `permissions.user` may do in a virtual host.
    pub async fn put_permissions(&self, vhost: &str, permissions: &Permissions) -> Result<(), ManageFault> {
        let path = ["permissions", vhost, permissions.user.as_str()];
        self.send(Method::PUT, &path, json!(permissions), "give permissions").await
    }

    /// Which routing keys the users may use in a virtual host.
    pub async fn topic_permissions(&self, vhost: &str) -> Result<Vec<TopicPermissions>, ManageFault> {
        self.list(&["vhosts", vhost, "topic-permissions"], "list the topic permissions").await
    }

    /// Says which routing keys `permissions.user` may use with an exchange.
    pub async fn put_topic_permissions(
        &self,
        vhost: &str,
        permissions: &TopicPermissions,
    ) -> Result<(), ManageFault> {
        let path = ["topic-permissions", vhost, permissions.user.as_str()];
        self.send(Method::PUT, &path, json!(permissions), "give topic permissions").await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_cant_be_used_is_said_without_its_password() {
        for url in ["broker.nc", "amqp://broker.nc", "http://admin:secret@broker.nc:15672"] {
            let made = Management::new(url, "admin", Zeroizing::default(), &Tls::default());
            let sentence = made.unwrap_err().to_string();
            assert!(!sentence.contains("secret"), "{sentence}");
        }
        let made = Management::new("http://[::1]:15672", "a", Zeroizing::default(), &Tls::default());
        assert_eq!(made.unwrap().address(), "[::1]:15672");
    }
}
