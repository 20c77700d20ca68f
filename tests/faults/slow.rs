//! A recipient that takes nothing: its queue fills up, nobody else waits for it,
//! and it gets all of it, once and in order, when it comes back.

use super::many::{PROVIDER, Publisher, consume, make, messages_of, recipients};
use pirogue::config::HubConfig;
use pirogue::ops::node::Node;
use std::time::Duration;
use tokio::time::timeout;

const EVENTS: usize = 1_500;
const PATIENCE: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_holds_nobody_else_up_and_nothing_comes_twice() {
    let folder = tempfile::tempdir().unwrap();
    // A queue holds less than half of the events.
    make(folder.path(), 3, "[queue]\nmax_mib = 1\n");
    let config = HubConfig::load(&folder.path().join("hub/hub.toml")).unwrap();
    let node = Node::start(&config, &[]).await.unwrap();
    let publisher = Publisher::new(folder.path(), EVENTS).await;
    let mut names = recipients(3);
    let absent = names.next().unwrap();
    let mut consuming = tokio::task::JoinSet::new();
    for recipient in names {
        let bus = node.bus(recipient.as_str()).unwrap();
        consuming.spawn(consume(bus, recipient, messages_of(EVENTS)));
    }
    let bus = node.bus(PROVIDER).unwrap();
    publisher.publish(&*bus, EVENTS).await;
    let others = async { while consuming.join_next().await.transpose().unwrap().is_some() {} };
    timeout(PATIENCE, others).await.expect("the others get everything meanwhile");

    let status = node.hub().status().unwrap();
    let its = status.recipients.iter().find(|r| r.recipient == absent.as_str()).unwrap();
    assert!(its.queue_bytes > 900_000 && its.queue_messages < messages_of(EVENTS), "{its:?}");
    // That no number comes twice is held by `consume`.
    let bus = node.bus(absent.as_str()).unwrap();
    timeout(PATIENCE, consume(bus, absent, messages_of(EVENTS)))
        .await
        .expect("it gets everything in the end");
    node.stop().await.unwrap();
}
