//! A node that is killed under load.

use super::broker::disturbed;
use super::lab::{LIMITS, Lab, SUD, message, numbers, publish_all, take_in_order};
use pirogue::bus::{Bus, EVENTS, HUB, INBOX};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_when_the_node_is_killed_in_the_middle_of_publishing() {
    let mut rabbit = disturbed().await;
    let node = &mut rabbit.nodes[0];
    let lab = Lab::open(node, "killed-publishing", 1 << 30).await;
    let (sud, hub) = (lab.connect(node, SUD).await, lab.connect(node, HUB).await);
    let published = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&published);
    let publishing = tokio::spawn(async move {
        for first in (0..6000).step_by(100) {
            publish_all(&sud, EVENTS, &(first..first + 100).map(|n| message(SUD, n)).collect::<Vec<_>>())
                .await;
            count.store(first + 100, SeqCst);
        }
    });
    for at in [1000, 3000] {
        while published.load(SeqCst) < at {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        tokio::task::block_in_place(|| {
            node.kill();
            node.start();
        });
    }
    publishing.await.unwrap();
    let mut consumer = hub.consume(INBOX, 1000).await.unwrap();
    let again = take_in_order(consumer.as_mut(), 6000).await;
    println!("killed while publishing 6,000: {again} came twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_when_the_node_is_killed_in_the_middle_of_consuming() {
    let mut rabbit = disturbed().await;
    let node = &mut rabbit.nodes[0];
    let lab = Lab::open(node, "killed-consuming", 1 << 30).await;
    let (sud, hub) = (lab.connect(node, SUD).await, lab.connect(node, HUB).await);
    publish_all(&sud, EVENTS, &(0..4000).map(|n| message(SUD, n)).collect::<Vec<_>>()).await;
    let taken = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&taken);
    let taking = tokio::spawn(async move {
        let mut consumer = hub.consume(INBOX, 256).await.unwrap();
        let (mut next, mut again, mut last_tag) = (0, 0, 0);
        while next < 4000 {
            let batch = consumer.next(&pirogue::bus::BatchLimits { messages: 20, ..LIMITS }).await.unwrap();
            for (n, delivery) in numbers(&batch).into_iter().zip(&batch) {
                assert!(n <= next, "{n} came before {next}");
                assert!(delivery.tag > last_tag, "tags go up over connections");
                assert!(n == next || delivery.redelivered, "what comes again is marked so");
                last_tag = delivery.tag;
                again += u64::from(n < next);
                next = next.max(n + 1);
            }
            // Every third batch is acknowledged late, perhaps on another connection.
            if next % 60 != 0 {
                consumer.ack(batch.last().unwrap().tag).await.unwrap();
            }
            count.store(next, SeqCst);
        }
        again
    });
    for at in [700, 2000] {
        while taken.load(SeqCst) < at {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        tokio::task::block_in_place(|| {
            node.kill();
            node.start();
        });
    }
    println!("killed while consuming 4,000: {} came twice", taking.await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_was_made_before_its_broker_waits_for_it() {
    let mut rabbit = disturbed().await;
    let node = &mut rabbit.nodes[0];
    Lab::open(node, "late", 1 << 30).await;
    let url = node.url(SUD, "late");
    node.kill();
    let sud = pirogue::bus::amqp::Connection::new(&url, Default::default()).unwrap();
    let publishing = tokio::spawn(async move { publish_all(&sud, EVENTS, &[message(SUD, 0)]).await });
    tokio::task::block_in_place(|| node.start());
    assert_eq!(publishing.await.unwrap(), 0);
}
