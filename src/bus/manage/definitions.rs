//! A layout as a definitions file, which RabbitMQ imports
//! (`rabbitmqctl import_definitions`, or `/api/definitions`).

use super::layout::{Access, Change, Layout, queue_arguments};
use super::password::{ALGORITHM, password_hash};
use serde_json::{Map, Value, json};

impl Layout {
    /// The definitions of all that a hub needs on a broker. A password stands
    /// there as its hash. Fails where the system gives no random bytes for one.
    ///
    /// Importing it changes nothing else that is on a broker, but it gives the
    /// users the passwords that it holds.
    pub fn definitions(&self) -> Result<Value, getrandom::Error> {
        let vhost = self.vhost.as_str();
        let mut lists: Map<String, Value> = Map::new();
        for change in self.changes() {
            let (list, mut entry) = match &change {
                Change::Vhost => ("vhosts", json!({ "name": vhost })),
                Change::User(name, access) => ("users", user(name, access)?),
                Change::Exchange(name) => (
                    "exchanges",
                    json!({ "name": name, "type": "topic", "durable": true, "auto_delete": false,
                            "internal": false, "arguments": {} }),
                ),
                Change::Queue(name) => (
                    "queues",
                    json!({ "name": name, "durable": true, "auto_delete": false,
                            "arguments": queue_arguments(self.queue_bytes) }),
                ),
                Change::Binding(exchange, queue, pattern) => (
                    "bindings",
                    json!({ "source": exchange, "destination": queue, "destination_type": "queue",
                            "routing_key": pattern, "arguments": {} }),
                ),
                Change::Permissions(permissions) => {
                    let mut entry = json!(permissions);
                    entry["user"] = permissions.user.as_str().into();
                    ("permissions", entry)
                }
                Change::TopicPermissions(permissions) => {
                    let mut entry = json!(permissions);
                    entry["user"] = permissions.user.as_str().into();
                    ("topic_permissions", entry)
                }
            };
            if !matches!(change, Change::Vhost | Change::User(..)) {
                entry["vhost"] = vhost.into();
            }
            let list = lists.entry(list).or_insert_with(|| Value::Array(Vec::new()));
            if let Value::Array(entries) = list {
                entries.push(entry);
            }
        }
        Ok(Value::Object(lists))
    }
}

fn user(name: &str, access: &Access) -> Result<Value, getrandom::Error> {
    let hash = match access {
        Access::PasswordHash(hash) => hash.clone(),
        Access::Password(password) => password_hash(password)?,
        // No password has the empty hash: such a user logs in by certificate.
        Access::Certificate | Access::Elsewhere => String::new(),
    };
    Ok(json!({ "name": name, "password_hash": hash, "hashing_algorithm": ALGORITHM, "tags": "" }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::MemberName;

    #[test]
    fn definitions_hold_everything_and_no_password() {
        let member = MemberName::parse("province-sud").unwrap();
        let hash = password_hash("of the member").unwrap();
        let layout = Layout {
            vhost: "pirogue".to_owned(),
            queue_bytes: 1 << 20,
            hub: Access::Password("secret".to_owned().into()),
            members: [(member, Access::PasswordHash(hash.clone()))].into(),
        };
        let definitions = layout.definitions().unwrap();
        let entries: usize =
            definitions.as_object().unwrap().values().map(|v| v.as_array().unwrap().len()).sum();
        assert_eq!(entries, layout.changes().len());
        assert_eq!(definitions["users"][1]["password_hash"], hash.as_str());
        assert_eq!(definitions["topic_permissions"][0]["write"], "^province-sud\\.");
        assert_eq!(definitions["queues"][0]["vhost"], "pirogue");
        assert!(!definitions.to_string().contains("secret"));
    }
}
