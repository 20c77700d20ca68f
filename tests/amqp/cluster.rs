//! Three nodes, and the leader of the inbox is lost.

use super::broker::Rabbit;
use super::lab::{Lab, SUD, message, publish_all, take_in_order};
use pirogue::bus::{Bus, EVENTS, HUB, INBOX};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_when_the_leader_of_the_inbox_is_killed() {
    let mut rabbit = tokio::task::block_in_place(|| Rabbit::start(3));
    // The leader is where the queue was made: on the first node.
    let lab = Lab::open(rabbit.node(), "cluster", 1 << 30).await;
    let sud = lab.connect(&rabbit.nodes[1], SUD).await;
    let hub = lab.connect(&rabbit.nodes[2], HUB).await;
    let published = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&published);
    let publishing = tokio::spawn(async move {
        for first in (0..5000).step_by(100) {
            publish_all(&sud, EVENTS, &(first..first + 100).map(|n| message(SUD, n)).collect::<Vec<_>>())
                .await;
            count.store(first + 100, SeqCst);
        }
    });
    let taking = tokio::spawn(async move {
        let mut consumer = hub.consume(INBOX, 256).await.unwrap();
        take_in_order(consumer.as_mut(), 5000).await
    });
    while published.load(SeqCst) < 1500 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    tokio::task::block_in_place(|| rabbit.nodes[0].kill());
    publishing.await.unwrap();
    println!("the leader lost among 5,000: {} came twice", taking.await.unwrap());
}
