//! The embedded bus against what the pipeline relies on.

mod killed;
mod model;

use super::*;
use crate::bus::{BatchLimits, Confirm, Consumer, DELIVERIES, Delivery, EVENTS, HUB};
use crate::event::Message;
use crate::store::{StoreOptions, copy};
use std::collections::VecDeque;
use std::path::Path;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use tempfile::TempDir;
use tokio::runtime::Runtime;

const SUD: &str = "province-sud";

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
}

fn open_with(folder: &Path, options: BrokerOptions) -> Broker {
    let store = Store::open(folder, StoreOptions::default()).unwrap();
    let broker = Broker::open(store, Sealing::for_tests(), options).unwrap();
    broker.declare_member(&MemberName::parse(SUD).unwrap()).unwrap();
    broker.declare_member(&MemberName::parse("gouvernement").unwrap()).unwrap();
    broker
}

fn open(folder: &TempDir) -> Broker {
    open_with(folder.path(), BrokerOptions::default())
}

fn message(n: u64, size: usize) -> Message {
    let mut body = n.to_le_bytes().to_vec();
    body.resize(size.max(8), 7);
    Message {
        message_id: Some(n.to_string()),
        headers: vec![("cloudEvents_id".into(), crate::event::HeaderValue::Text(n.to_string()))],
        body: body.into(),
        ..Message::default()
    }
}

fn batch(numbers: std::ops::Range<u64>, size: usize) -> Vec<(String, Message)> {
    numbers.map(|n| (format!("{SUD}.nc.test.thing"), message(n, size))).collect()
}

async fn publish(broker: &Broker, numbers: std::ops::Range<u64>) {
    let count = (numbers.end - numbers.start) as usize;
    let confirms = broker.connect(HUB).publish(EVENTS, batch(numbers, 100)).await.unwrap();
    assert_eq!(confirms, vec![Confirm::Accepted; count]);
}

async fn inbox(broker: &Broker, prefetch: usize) -> Box<dyn Consumer> {
    broker.connect(HUB).consume(INBOX, prefetch).await.unwrap()
}

fn limits(messages: usize) -> BatchLimits {
    BatchLimits { messages, bytes: usize::MAX, linger: Duration::ZERO }
}

fn numbers(batch: &[Delivery]) -> Vec<u64> {
    batch.iter().map(|d| u64::from_le_bytes(*d.message.body.first_chunk().unwrap())).collect()
}

/// The next messages, of which there must be some already.
async fn next(consumer: &mut dyn Consumer, messages: usize) -> Vec<Delivery> {
    tokio::time::timeout(Duration::from_secs(5), consumer.next(&limits(messages)))
        .await
        .expect("messages are ready")
        .unwrap()
}

/// Whether the consumer has to wait.
async fn waits(consumer: &mut dyn Consumer) -> bool {
    let limits = limits(1);
    let mut next = pin!(consumer.next(&limits));
    matches!(next.as_mut().poll(&mut Context::from_waker(Waker::noop())), Poll::Pending)
}

#[test]
fn messages_come_whole_and_in_order_in_batches_within_the_limits() {
    let folder = tempfile::tempdir().unwrap();
    let broker = open(&folder);
    runtime().block_on(async {
        publish(&broker, 0..10).await;
        let mut consumer = inbox(&broker, 0).await;
        let first = next(&mut *consumer, 4).await;
        assert_eq!(numbers(&first), [0, 1, 2, 3]);
        assert_eq!(first[2].message, message(2, 100));
        assert_eq!(first[2].routing_key, "province-sud.nc.test.thing");
        assert!(first.iter().all(|d| !d.redelivered));
        assert_eq!(first.iter().map(|d| d.tag).collect::<Vec<_>>(), [1, 2, 3, 4]);
        // A batch ends before the message that would go over the bytes, and has one at least.
        let size = broker.queue_depth(INBOX).unwrap().1 as usize / 10;
        for (bytes, expected) in [(2 * size + size / 2, vec![4, 5]), (1, vec![6]), (2 * size, vec![7, 8])] {
            let limits = BatchLimits { messages: 100, bytes, linger: Duration::ZERO };
            assert_eq!(numbers(&consumer.next(&limits).await.unwrap()), expected);
        }
        assert_eq!(numbers(&next(&mut *consumer, 100).await), [9]);
        assert!(waits(&mut *consumer).await);
    });
}

#[test]
fn a_consumer_waits_for_the_first_message_and_lingers_for_more() {
    let folder = tempfile::tempdir().unwrap();
    let broker = open(&folder);
    runtime().block_on(async {
        let mut consumer = inbox(&broker, 0).await;
        let limits = BatchLimits { messages: 3, bytes: usize::MAX, linger: Duration::from_secs(60) };
        let (got, ()) = tokio::join!(consumer.next(&limits), async {
            publish(&broker, 0..1).await;
            publish(&broker, 1..2).await;
            publish(&broker, 2..4).await;
        });
        assert_eq!(numbers(&got.unwrap()), [0, 1, 2], "a full batch doesn't wait for the end of the time");
        let limits = BatchLimits { linger: Duration::from_millis(20), ..limits };
        let start = tokio::time::Instant::now();
        assert_eq!(numbers(&consumer.next(&limits).await.unwrap()), [3]);
        assert!(start.elapsed() >= limits.linger, "one that isn't does");
    });
}

#[test]
fn dropping_the_waiting_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let broker = open(&folder);
    runtime().block_on(async {
        let mut consumer = inbox(&broker, 0).await;
        publish(&broker, 0..2).await;
        let limits = BatchLimits { messages: 5, bytes: usize::MAX, linger: Duration::from_secs(60) };
        for _ in 0..3 {
            let waited = tokio::time::timeout(Duration::from_millis(2), consumer.next(&limits)).await;
            assert!(waited.is_err());
        }
        publish(&broker, 2..3).await;
        let got = next(&mut *consumer, 5).await;
        assert_eq!(numbers(&got), [0, 1, 2]);
        assert!(got.iter().all(|d| !d.redelivered), "they were never given out");
    });
}

#[test]
fn no_more_than_the_prefetch_are_unacknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let broker = open(&folder);
    runtime().block_on(async {
        publish(&broker, 0..10).await;
        let mut consumer = inbox(&broker, 4).await;
        assert_eq!(next(&mut *consumer, 3).await.len(), 3);
        let last = next(&mut *consumer, 3).await;
        assert_eq!(numbers(&last), [3]);
        assert!(waits(&mut *consumer).await);
        consumer.ack(2).await.unwrap();
        assert_eq!(numbers(&next(&mut *consumer, 9).await), [4, 5]);
    });
}

#[test]
fn what_a_consumer_gives_back_comes_again_in_order_with_new_tags() {
    let folder = tempfile::tempdir().unwrap();
    let broker = open(&folder);
    runtime().block_on(async {
        publish(&broker, 0..6).await;
        let mut consumer = inbox(&broker, 0).await;
        next(&mut *consumer, 4).await;
        consumer.requeue(3).await.unwrap();
        consumer.ack(1).await.unwrap();
        let again = next(&mut *consumer, 9).await;
        assert_eq!(numbers(&again), [2, 3, 4, 5]);
        assert_eq!(again.iter().map(|d| d.tag).collect::<Vec<_>>(), [5, 6, 7, 8]);
        assert_eq!(again.iter().map(|d| d.redelivered).collect::<Vec<_>>(), [true, true, false, false]);
        assert!(matches!(consumer.ack(9).await, Err(BusFault::UnknownTag(9))));
        assert!(matches!(consumer.requeue(0).await, Err(BusFault::UnknownTag(0))));
        drop(consumer);
        let mut consumer = inbox(&broker, 0).await;
        let again = next(&mut *consumer, 9).await;
        assert_eq!(numbers(&again), [1, 2, 3, 4, 5]);
        assert!(again.iter().all(|d| d.redelivered));
    });
}

#[test]
fn the_second_consumer_waits_until_the_first_is_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let broker = open(&folder);
    runtime().block_on(async {
        let mut first = inbox(&broker, 0).await;
        let mut second = inbox(&broker, 0).await;
        publish(&broker, 0..3).await;
        assert!(waits(&mut *second).await);
        assert_eq!(numbers(&next(&mut *first, 2).await), [0, 1]);
        first.ack(1).await.unwrap();
        assert!(waits(&mut *second).await);
        let one = limits(9);
        let (got, ()) = tokio::join!(second.next(&one), async move { drop(first) });
        assert_eq!(numbers(&got.unwrap()), [1, 2]);
    });
}

#[test]
fn messages_survive_a_restart_and_are_marked_as_redelivered() {
    let folder = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let broker = open(&folder);
        publish(&broker, 0..5).await;
        publish(&broker, 5..10).await;
        let mut consumer = inbox(&broker, 0).await;
        next(&mut *consumer, 10).await;
        consumer.ack(3).await.unwrap();
        let depth = broker.queue_depth(INBOX).unwrap();
        drop((consumer, broker));

        let broker = open(&folder);
        assert_eq!(broker.queue_depth(INBOX).unwrap(), depth, "messages and bytes");
        publish(&broker, 10..12).await;
        let mut consumer = inbox(&broker, 0).await;
        let got = next(&mut *consumer, 100).await;
        assert_eq!(numbers(&got), (3..12).collect::<Vec<_>>());
        assert_eq!(got.iter().filter(|d| d.redelivered).count(), 7, "those from before");
        consumer.ack(9).await.unwrap();
        assert_eq!(broker.queue_depth(INBOX).unwrap(), (0, 0));
        drop((consumer, broker));
        assert_eq!(open(&folder).queue_depth(INBOX).unwrap(), (0, 0));
    });
}

#[test]
fn a_crash_loses_acknowledgements_at_most() {
    let folder = tempfile::tempdir().unwrap();
    let copied = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let broker = open(&folder);
        publish(&broker, 0..4).await;
        let mut consumer = inbox(&broker, 0).await;
        next(&mut *consumer, 4).await;
        consumer.ack(2).await.unwrap();
        // The next publishing writes it down.
        publish(&broker, 4..5).await;
        consumer.ack(3).await.unwrap();
        // What is on disk now is what a crash would leave, with or without the last.
        copy(folder.path(), copied.path());
        let broker = open_with(copied.path(), BrokerOptions::default());
        let mut consumer = inbox(&broker, 0).await;
        let got = next(&mut *consumer, 9).await;
        assert!([vec![2, 3, 4], vec![3, 4]].contains(&numbers(&got)), "{:?}", numbers(&got));
        assert!(got.iter().all(|d| d.redelivered));
    });
}

#[test]
fn a_full_queue_refuses_and_nothing_later_of_the_batch_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let broker = open_with(folder.path(), BrokerOptions { queue_bytes: 1300, ..BrokerOptions::default() });
    runtime().block_on(async {
        let hub = broker.connect(HUB);
        // Large ones fill it; a small one after the first refused would fit.
        let mut large = batch(0..5, 250);
        large.push((format!("{SUD}.x"), message(5, 8)));
        let confirms = hub.publish(EVENTS, large).await.unwrap();
        use Confirm::{Accepted, Nack};
        assert_eq!(confirms, [Accepted, Accepted, Accepted, Nack, Nack, Nack]);
        assert_eq!(hub.publish(EVENTS, batch(6..7, 250)).await.unwrap(), [Nack]);
        let mut consumer = inbox(&broker, 0).await;
        assert_eq!(numbers(&next(&mut *consumer, 9).await), [0, 1, 2]);
        consumer.ack(1).await.unwrap();
        assert_eq!(hub.publish(EVENTS, batch(7..8, 250)).await.unwrap(), [Accepted]);
        assert_eq!(numbers(&next(&mut *consumer, 9).await), [7]);
        // The other queues aren't full.
        assert_eq!(hub.publish(DELIVERIES, batch(8..9, 250)).await.unwrap(), [Accepted]);
    });
}

#[test]
fn deliveries_go_to_their_members_and_unroutable_ones_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let broker = open(&folder);
    runtime().block_on(async {
        let hub = broker.connect(HUB);
        let keys = ["gouvernement.nc.a.b", "nobody.nc.a.b", SUD, "gouvernement.nc.c.d", "province-sudx.a"];
        let messages = (0..).zip(keys).map(|(n, key)| (key.to_owned(), message(n, 8))).collect();
        let before = broker.0.store.commits();
        let confirms = hub.publish(DELIVERIES, messages).await.unwrap();
        use Confirm::{Accepted, Returned};
        assert_eq!(confirms, [Accepted, Returned, Accepted, Accepted, Returned]);
        assert_eq!(broker.0.store.commits(), before + 1, "one commit for a batch, whatever its queues");
        for (member, expected) in [("gouvernement", vec![0, 3]), (SUD, vec![2])] {
            let user = broker.connect(member);
            let mut consumer = user.consume(&format!("pirogue.to.{member}"), 0).await.unwrap();
            assert_eq!(numbers(&next(&mut *consumer, 9).await), expected);
        }
        assert_eq!(hub.publish(EVENTS, Vec::new()).await.unwrap(), []);
    });
}

#[test]
fn a_user_does_only_what_its_permissions_say() {
    let folder = tempfile::tempdir().unwrap();
    let broker = open(&folder);
    let refusal = |result: Result<Vec<Confirm>, BusFault>| match result {
        Err(BusFault::Refused(text)) => text,
        other => panic!("{other:?}"),
    };
    runtime().block_on(async {
        let sud = broker.connect(SUD);
        let named = |user: &str| Message { user_id: Some(user.to_owned()), ..message(0, 8) };
        let own = "province-sud.nc.test.thing".to_owned();
        assert_eq!(sud.publish(EVENTS, vec![(own.clone(), named(SUD))]).await.unwrap(), [Confirm::Accepted]);
        let text = refusal(sud.publish(EVENTS, vec![(own.clone(), named("gouvernement"))]).await);
        assert_eq!(text, "the user province-sud may not publish with another one's user_id");
        for key in ["province-nord.x", "province-sud", "province-sudx.x", ""] {
            let batch = vec![(own.clone(), named(SUD)), (key.to_owned(), named(SUD))];
            assert!(refusal(sud.publish(EVENTS, batch).await).contains("routing key"), "{key}");
        }
        refusal(sud.publish(DELIVERIES, vec![(own.clone(), named(SUD))]).await);
        refusal(
            broker.connect("nobody").publish(EVENTS, vec![("nobody.x".to_owned(), named("nobody"))]).await,
        );
        refusal(broker.connect(HUB).publish(EVENTS, vec![(own, named(SUD))]).await);
        for queue in [INBOX, "pirogue.to.gouvernement", "pirogue.to.province"] {
            assert!(matches!(sud.consume(queue, 0).await, Err(BusFault::Refused(_))), "{queue}");
        }
        assert!(matches!(broker.connect(HUB).consume("none", 0).await, Err(BusFault::NoQueue(_))));
        assert!(matches!(broker.connect(HUB).publish("none", vec![]).await, Err(BusFault::NoExchange(_))));
        assert_eq!(broker.queue_depth(INBOX).unwrap().0, 1, "nothing refused was taken");
    });
}

#[test]
fn a_consumer_far_behind_reads_from_the_logs_and_these_go_when_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let options = BrokerOptions { log_bytes: 100_000, cache_bytes: 40_000, ..BrokerOptions::default() };
    let broker = open_with(folder.path(), options.clone());
    runtime().block_on(async {
        let hub = broker.connect(HUB);
        let mut consumer = inbox(&broker, 0).await;
        // Frames of one message and of 40, more than the cache and than one log.
        let mut n = 0;
        for count in [1, 40, 1, 1, 7].into_iter().cycle().take(60) {
            hub.publish(EVENTS, batch(n..n + count, 500)).await.unwrap();
            n += count;
        }
        assert!(broker.0.cached.load(std::sync::atomic::Ordering::Relaxed) <= 10_000);
        assert!(broker.0.store.logs("bus/pirogue.inbox/").len() > 3);
        let mut expected = 0;
        while expected < n {
            let got = next(&mut *consumer, 33).await;
            assert!(got.iter().all(|d| !d.redelivered));
            for number in numbers(&got) {
                assert_eq!(number, expected);
                expected += 1;
            }
            consumer.ack(got.last().unwrap().tag).await.unwrap();
        }
        assert_eq!(broker.queue_depth(INBOX).unwrap(), (0, 0));
        assert_eq!(broker.0.cached.load(std::sync::atomic::Ordering::Relaxed), 0);
        drop(consumer);
        drop((hub, broker));
        // The last log goes when nothing was published for a while, here at once.
        let broker = open_with(folder.path(), BrokerOptions { idle: Duration::ZERO, ..options });
        broker.connect(HUB).publish(EVENTS, batch(n..n + 1, 8)).await.unwrap();
        let mut consumer = inbox(&broker, 0).await;
        let got = next(&mut *consumer, 9).await;
        assert_eq!(numbers(&got), [n]);
        consumer.ack(1).await.unwrap();
        let inner = broker.0.clone();
        tokio::task::spawn_blocking(move || {
            while !inner.store.logs("bus/").is_empty() {
                std::thread::yield_now();
            }
        })
        .await
        .unwrap();
        // And the queue goes on where it was.
        publish(&broker, n + 1..n + 2).await;
        assert_eq!(numbers(&next(&mut *consumer, 9).await), [n + 1]);
        drop((consumer, broker));
        let broker = open(&folder);
        assert_eq!(broker.queue_depth(INBOX).unwrap().0, 1);
    });
}

#[test]
fn each_publisher_keeps_its_order_among_many() {
    let folder = tempfile::tempdir().unwrap();
    let broker = open(&folder);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_time().build().unwrap();
    runtime.block_on(async {
        let publishers: Vec<_> = (0..8u64)
            .map(|publisher| {
                let broker = broker.clone();
                tokio::spawn(async move {
                    for n in 0..20 {
                        let start = publisher * 1000 + n * 5;
                        publish(&broker, start..start + 5).await;
                    }
                })
            })
            .collect();
        let mut consumer = inbox(&broker, 0).await;
        let mut last = [None; 8];
        let mut count = 0;
        while count < 800 {
            let got = next(&mut *consumer, 64).await;
            for number in numbers(&got) {
                let (publisher, n) = ((number / 1000) as usize, number % 1000);
                assert_eq!(n, last[publisher].map_or(0, |last: u64| last + 1));
                last[publisher] = Some(n);
            }
            count += got.len();
            consumer.ack(got.last().unwrap().tag).await.unwrap();
        }
        for publisher in publishers {
            publisher.await.unwrap();
        }
    });
}

#[test]
fn a_publishing_that_nobody_waits_for_leaves_no_hole() {
    let folder = tempfile::tempdir().unwrap();
    let broker = open(&folder);
    runtime().block_on(async {
        let hub = broker.connect(HUB);
        {
            let mut dropped = pin!(hub.publish(EVENTS, batch(0..2, 8)));
            let _ = dropped.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        }
        publish(&broker, 2..3).await;
        let mut consumer = inbox(&broker, 0).await;
        assert_eq!(numbers(&next(&mut *consumer, 9).await), [0, 1, 2]);
    });
}

#[test]
#[ignore = "a measure: messages a second through one queue"]
fn measure_throughput() {
    let folder = tempfile::tempdir().unwrap();
    let broker = open(&folder);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
    let total = 300_000;
    let start = std::time::Instant::now();
    runtime.block_on(async {
        let publishing = broker.clone();
        let publisher = tokio::spawn(async move {
            let hub = publishing.connect(HUB);
            let mut waiting = VecDeque::new();
            for n in (0..total).step_by(256) {
                let hub = hub.clone();
                waiting.push_back(tokio::spawn(
                    async move { hub.publish(EVENTS, batch(n..n + 256, 400)).await },
                ));
                if waiting.len() > 4 {
                    waiting.pop_front().unwrap().await.unwrap().unwrap();
                }
            }
            for rest in waiting {
                rest.await.unwrap().unwrap();
            }
        });
        let mut consumer = inbox(&broker, 0).await;
        let mut count = 0;
        while count < total {
            let got = consumer.next(&limits(256)).await.unwrap();
            count += got.len() as u64;
            consumer.ack(got.last().unwrap().tag).await.unwrap();
        }
        publisher.await.unwrap();
    });
    println!("{:.0} messages/s", total as f64 / start.elapsed().as_secs_f64());
}
