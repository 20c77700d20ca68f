//! A virtual host of a test's own, with members, and what tests do there.

use super::broker::Node;
use super::process::PATIENCE;
use super::site::Site;
use pirogue::admin::credentials::keep_hash;
use pirogue::bus::amqp::{Connection, Options};
use pirogue::bus::manage::{Access, Layout, ManageFault, password_hash};
use pirogue::bus::{BatchLimits, Bus, BusFault, Confirm, Consumer, Delivery};
use pirogue::event::{HeaderValue, MemberName, Message};
use std::time::{Duration, Instant};

/// The password of every user.
pub const PASSWORD: &str = "kagou";
/// The members. One's name begins with the other's.
pub const MEMBERS: [&str; 2] = ["province", "province-sud"];
pub const SUD: &str = MEMBERS[1];

/// Batches as the hub takes them.
pub const LIMITS: BatchLimits =
    BatchLimits { messages: 256, bytes: 4 << 20, linger: Duration::from_millis(2) };

pub struct Lab {
    pub vhost: String,
}

pub fn member(name: &str) -> MemberName {
    MemberName::parse(name).unwrap()
}

pub fn layout(vhost: &str, queue_bytes: u64) -> Layout {
    let access = || Access::Password(PASSWORD.to_owned().into());
    Layout {
        vhost: vhost.to_owned(),
        queue_bytes,
        hub: access(),
        members: MEMBERS.iter().map(|name| (member(name), access())).collect(),
    }
}

impl Lab {
    /// A virtual host with queues of at most `queue_bytes`.
    pub async fn open(node: &Node, vhost: &str, queue_bytes: u64) -> Lab {
        let (layout, management) = (layout(vhost, queue_bytes), node.management());
        let until = Instant::now() + PATIENCE;
        // The API of a node that others join goes for a moment.
        while let Err(fault) = layout.provision(&management).await {
            let goes_by = matches!(fault, ManageFault::Unreachable { .. } | ManageFault::Failed { .. });
            assert!(goes_by && Instant::now() < until, "{fault}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Lab { vhost: vhost.to_owned() }
    }

    /// A virtual host that `pirogue provision` made.
    pub fn provisioned(node: &Node, vhost: &str) -> Lab {
        let site = Site::on(node, vhost, "");
        for name in MEMBERS {
            site.member(name);
            let hash = password_hash(PASSWORD).unwrap();
            keep_hash(&site.at("broker"), name, &hash).unwrap();
        }
        site.ok("provision --config hub.toml");
        Lab { vhost: vhost.to_owned() }
    }

    pub async fn connect(&self, node: &Node, user: &str) -> Connection {
        let options = Options { name: format!("test {user}"), ..Options::default() };
        let (url, until) = (node.url(user, &self.vhost), Instant::now() + PATIENCE);
        loop {
            match Connection::connect(&url, options.clone()).await {
                Ok(connection) => return connection,
                // A node of a cluster that is slow to start a virtual host gives it up,
                // until it is asked again.
                Err(BusFault::Unreachable(why)) if why.contains(" is down") && Instant::now() < until => {
                    tokio::task::block_in_place(|| node.ctl(&["restart_vhost", "-p", &self.vhost]));
                }
                Err(BusFault::Unreachable(_)) if Instant::now() < until => {}
                Err(fault) => panic!("{fault}"),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// The `n`th message of `member` with its routing key, shaped as WIRE.md says.
pub fn message(member: &str, n: u64) -> (String, Message) {
    sized(member, n, 200)
}

pub fn sized(member: &str, n: u64, size: usize) -> (String, Message) {
    let mut body = n.to_be_bytes().to_vec();
    body.resize(size.max(8), 7);
    let header =
        |name: &str, value: &str| (format!("cloudEvents_{name}").into(), HeaderValue::Text(value.to_owned()));
    let message = Message {
        content_type: Some("application/avro".to_owned()),
        delivery_mode: Some(2),
        message_id: Some(n.to_string()),
        kind: Some("nc.test.thing".to_owned()),
        app_id: Some(member.to_owned()),
        user_id: Some(member.to_owned()),
        headers: vec![header("id", &n.to_string()), header("source", &format!("/{member}/test"))],
        body: body.into(),
    };
    (format!("{member}.nc.test.thing"), message)
}

pub fn number(delivery: &Delivery) -> u64 {
    u64::from_be_bytes(delivery.message.body[..8].try_into().unwrap())
}

pub fn numbers(deliveries: &[Delivery]) -> Vec<u64> {
    deliveries.iter().map(number).collect()
}

/// Publishes messages until all are accepted, as `connect` does: again from the
/// first that isn't. Returns how often it had to.
pub async fn publish_all(bus: &dyn Bus, exchange: &str, messages: &[(String, Message)]) -> usize {
    let (mut done, mut again) = (0, 0);
    while done < messages.len() {
        let confirms = bus.publish(exchange, messages[done..].to_vec()).await.unwrap();
        done += confirms.iter().take_while(|confirm| **confirm == Confirm::Accepted).count();
        if done < messages.len() {
            again += 1;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    again
}

/// Takes and acknowledges until `count` different numbers from 0 on were seen,
/// and checks the rule that order is kept: each is new only after all before it.
/// Returns how many came again.
pub async fn take_in_order(consumer: &mut dyn Consumer, count: u64) -> u64 {
    let (mut next, mut again) = (0, 0);
    while next < count {
        let batch = consumer.next(&LIMITS).await.unwrap();
        for n in numbers(&batch) {
            assert!(n <= next, "{n} came before {next}");
            if n == next {
                next += 1;
            } else {
                again += 1;
            }
        }
        consumer.ack(batch.last().unwrap().tag).await.unwrap();
    }
    again
}

/// Waits until nothing is left in a queue.
pub async fn await_empty(node: &Node, vhost: &str, queue: &str) {
    let management = node.management();
    loop {
        let queues = management.queues(vhost).await.unwrap();
        if queues.iter().any(|found| found.name == queue && found.messages == 0) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
