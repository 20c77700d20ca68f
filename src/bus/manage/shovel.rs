//! What a benchmark needs of the management API beside a hub's topology: the
//! broker's own shovel, and queues that are empty.

use super::{ManageFault, Management};
use reqwest::Method;
use serde_json::{Value, json};

/// The plugin that moves messages within the broker.
const PLUGIN: &str = "rabbitmq_shovel";

impl Management {
    /// Fails where a node that runs hasn't the plugin `rabbitmq_shovel`, with
    /// the command that enables it.
    pub async fn check_shovel(&self) -> Result<(), ManageFault> {
        let nodes: Vec<Value> = self.list(&["nodes"], "list its nodes").await?;
        let plugins = |node: &Value| node.get("enabled_plugins").and_then(Value::as_array).cloned();
        // A node that is down says nothing of its plugins.
        let lacking = nodes.iter().find(|node| {
            plugins(node).is_some_and(|enabled| !enabled.iter().any(|plugin| plugin.as_str() == Some(PLUGIN)))
        });
        match lacking.and_then(|node| node.get("name")?.as_str()) {
            None => Ok(()),
            Some(node) => Err(ManageFault::Conflict(format!(
                "the broker's node {node} hasn't the plugin {PLUGIN}, with which the hub is compared: run there \
                 rabbitmq-plugins enable {PLUGIN}"
            ))),
        }
    }

    /// Removes all messages from a queue that nobody has been given.
    pub async fn purge_queue(&self, vhost: &str, queue: &str) -> Result<(), ManageFault> {
        let path = ["queues", vhost, queue, "contents"];
        self.call(Method::DELETE, &path, None, "empty a queue").await.map(drop)
    }

    /// Starts the shovel `name`, which moves what is in the queue `from` to the
    /// queue `to` over the network, as the user of `url` in its virtual host. It
    /// acknowledges what the target has confirmed, with at most `prefetch`
    /// messages on their way.
    pub async fn put_shovel(
        &self,
        vhost: &str,
        name: &str,
        url: &str,
        (from, to): (&str, &str),
        prefetch: u32,
    ) -> Result<(), ManageFault> {
        let value = json!({
            "src-protocol": "amqp091",
            "src-uri": url,
            "src-queue": from,
            "src-prefetch-count": prefetch,
            "src-delete-after": "never",
            "dest-protocol": "amqp091",
            "dest-uri": url,
            "dest-queue": to,
            "ack-mode": "on-confirm",
            "reconnect-delay": 1,
        });
        let path = ["parameters", "shovel", vhost, name];
        self.send(Method::PUT, &path, json!({ "value": value }), "start a shovel").await
    }

    /// Ends a shovel, if it is there.
    pub async fn delete_shovel(&self, vhost: &str, name: &str) -> Result<(), ManageFault> {
        let path = ["parameters", "shovel", vhost, name];
        self.call(Method::DELETE, &path, None, "end a shovel").await.map(drop)
    }
}
