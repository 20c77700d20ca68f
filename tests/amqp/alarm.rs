//! A broker that runs out of memory.

use super::broker::disturbed;
use super::lab::{LIMITS, Lab, SUD, message, numbers, publish_all};
use pirogue::bus::{BatchLimits, Bus, Confirm, EVENTS, HUB, INBOX};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn a_publishing_waits_while_the_broker_has_no_memory_and_consuming_goes_on() {
    let rabbit = disturbed().await;
    let node = rabbit.node();
    let lab = Lab::open(node, "alarm", 1 << 30).await;
    // Both on one bus: what blocks its publishing doesn't block its acknowledging.
    let sud = std::sync::Arc::new(lab.connect(node, SUD).await);
    let hub = lab.connect(node, HUB).await;
    publish_all(&*sud, EVENTS, &(0..200).map(|n| message(SUD, n)).collect::<Vec<_>>()).await;

    tokio::task::block_in_place(|| node.ctl(&["set_vm_memory_high_watermark", "absolute", "1MB"]));
    let bus = std::sync::Arc::clone(&sud);
    let mut publishing = tokio::spawn(async move {
        let batch = (200..400).map(|n| message(SUD, n)).collect();
        bus.publish(EVENTS, batch).await.unwrap()
    });
    let waited = tokio::time::timeout(Duration::from_secs(3), &mut publishing).await;
    assert!(waited.is_err(), "it is published in spite of the alarm");
    let mut consumer = hub.consume(INBOX, 500).await.unwrap();
    let some = BatchLimits { messages: 100, linger: Duration::from_secs(60), ..LIMITS };
    let got = consumer.next(&some).await.unwrap();
    assert_eq!(numbers(&got), (0..100).collect::<Vec<_>>());
    consumer.ack(got[99].tag).await.unwrap();

    tokio::task::block_in_place(|| node.ctl(&["set_vm_memory_high_watermark", "absolute", "2GB"]));
    assert_eq!(publishing.await.unwrap(), vec![Confirm::Accepted; 200]);
    let rest = BatchLimits { messages: 300, ..some };
    assert_eq!(numbers(&consumer.next(&rest).await.unwrap()), (100..400).collect::<Vec<_>>());
}
