//! Publishing, confirms, consuming and acknowledging.

use super::broker::shared;
use super::lab::{
    LIMITS, Lab, SUD, await_empty, message, number, numbers, publish_all, sized, take_in_order,
};
use pirogue::bus::{BatchLimits, Bus, Confirm, DELIVERIES, EVENTS, HUB, INBOX};
use pirogue::event::{HeaderValue, Message};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn five_thousand_messages_go_through_in_order_and_unchanged() {
    let node = shared().node();
    let lab = Lab::open(node, "carrying", 1 << 30).await;
    let (sud, hub) = (lab.connect(node, SUD).await, lab.connect(node, HUB).await);
    let mut consumer = hub.consume(INBOX, 1024).await.unwrap();
    let publishing = tokio::spawn(async move {
        for first in (0..5000).step_by(250) {
            let batch: Vec<_> = (first..first + 250).map(|n| message(SUD, n)).collect();
            let confirms = sud.publish(EVENTS, batch).await.unwrap();
            assert_eq!(confirms, vec![Confirm::Accepted; 250]);
        }
    });
    let mut expected = 0;
    while expected < 5000 {
        let batch = consumer.next(&LIMITS).await.unwrap();
        assert!((1..=256).contains(&batch.len()));
        for delivery in &batch {
            let (routing_key, sent) = message(SUD, expected);
            assert_eq!((&delivery.routing_key, &delivery.message), (&routing_key, &sent));
            assert_eq!((delivery.tag, delivery.redelivered), (expected + 1, false));
            expected += 1;
        }
        consumer.ack(batch.last().unwrap().tag).await.unwrap();
    }
    publishing.await.unwrap();
    await_empty(node, "carrying", INBOX).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_and_bodies_of_every_form_survive_the_broker() {
    let node = shared().node();
    let lab = Lab::open(node, "forms", 1 << 30).await;
    let hub = lab.connect(node, HUB).await;
    let headers = [
        ("array", HeaderValue::Other(vec![b'A', 0, 0, 0, 2, b't', 1])),
        ("bytes", HeaderValue::Bytes(vec![0xFF, 0])),
        ("empty", HeaderValue::Text(String::new())),
        ("flag", HeaderValue::Boolean(true)),
        ("float", HeaderValue::Float(0.1)),
        ("number", HeaderValue::Integer(i64::MIN)),
        ("text", HeaderValue::Text("Nouméa\0".to_owned())),
    ];
    let headers = headers.map(|(name, value)| (name.into(), value)).to_vec();
    let large = Message { headers, body: vec![9; 1_500_000].into(), ..Message::default() };
    let empty = Message::default();
    let batch = [&large, &empty].map(|message| (format!("{SUD}.x"), message.clone()));
    assert_eq!(hub.publish(DELIVERIES, batch.to_vec()).await.unwrap(), [Confirm::Accepted; 2]);
    let sud = lab.connect(node, SUD).await;
    let mut consumer = sud.consume("pirogue.to.province-sud", 10).await.unwrap();
    let limits = BatchLimits { messages: 2, linger: Duration::from_secs(60), ..LIMITS };
    let got = consumer.next(&limits).await.unwrap();
    assert!(got[0].message == large && got[1].message == empty);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_unroutable_message_is_returned_and_no_other() {
    let node = shared().node();
    let lab = Lab::open(node, "returned", 1 << 30).await;
    let hub = lab.connect(node, HUB).await;
    for round in 0..20 {
        let is_unroutable = |n: u64| (n * 7 + round) % 11 < 3;
        let batch = (0..200).map(|n| {
            let (_, mut message) = message(SUD, n);
            message.user_id = None;
            let member = if is_unroutable(n) { "nobody" } else { SUD };
            (format!("{member}.nc.test.thing"), message)
        });
        let confirms = hub.publish(DELIVERIES, batch.collect()).await.unwrap();
        let expected = (0..200).map(|n| match is_unroutable(n) {
            true => Confirm::Returned,
            false => Confirm::Accepted,
        });
        assert_eq!(confirms, expected.collect::<Vec<_>>(), "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_is_a_nack_and_then_all_comes_in_order() {
    let node = shared().node();
    let lab = Lab::open(node, "full", 100_000).await;
    let (sud, hub) = (lab.connect(node, SUD).await, lab.connect(node, HUB).await);
    let messages: Vec<_> = (0..3000).map(|n| sized(SUD, n, 1000)).collect();
    let confirms = sud.publish(EVENTS, messages.clone()).await.unwrap();
    let accepted = confirms.iter().take_while(|confirm| **confirm == Confirm::Accepted).count();
    assert!((50..1000).contains(&accepted), "{accepted} accepted");
    assert_eq!(confirms[accepted..], vec![Confirm::Nack; 3000 - accepted], "nothing after the first nack");
    // It is still full, and says so at once.
    let confirms = sud.publish(EVENTS, messages[accepted..].to_vec()).await.unwrap();
    assert_eq!(confirms, vec![Confirm::Nack; 3000 - accepted]);

    let publishing = tokio::spawn(async move { publish_all(&sud, EVENTS, &messages[accepted..]).await });
    let mut consumer = hub.consume(INBOX, 64).await.unwrap();
    // What a nack leaves in flight may come early, and comes again in its place:
    // the numbers are complete, and each comes after the one before it.
    let mut last_place = vec![0; 3000];
    let (mut seen, mut place, mut early) = (0, 0, 0);
    while seen < 3000 || last_place.windows(2).any(|pair| pair[0] > pair[1]) {
        let batch = consumer.next(&LIMITS).await.unwrap();
        for n in batch.iter().map(number) {
            place += 1;
            seen += usize::from(last_place[n as usize] == 0);
            early += u64::from(n > 0 && last_place[n as usize - 1] == 0);
            last_place[n as usize] = place;
        }
        consumer.ack(batch.last().unwrap().tag).await.unwrap();
    }
    let nacks = publishing.await.unwrap();
    println!("a full queue: {nacks} nacks, {early} messages early, {} again", place - 3000);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_dropped_consumer_didnt_acknowledge_comes_again_in_order() {
    let node = shared().node();
    let lab = Lab::open(node, "dropped", 1 << 30).await;
    let (sud, hub) = (lab.connect(node, SUD).await, lab.connect(node, HUB).await);
    let messages: Vec<_> = (0..400).map(|n| message(SUD, n)).collect();
    publish_all(&sud, EVENTS, &messages).await;
    let all = BatchLimits { messages: 400, linger: Duration::from_secs(60), ..LIMITS };
    for round in 0..4 {
        let mut consumer = hub.consume(INBOX, 1000).await.unwrap();
        let left = BatchLimits { messages: 400 - round * 30, ..all };
        let got = consumer.next(&left).await.unwrap();
        assert_eq!(numbers(&got), (round as u64 * 30..400).collect::<Vec<_>>(), "round {round}");
        assert!(got.iter().all(|delivery| delivery.redelivered == (round > 0)), "round {round}");
        consumer.ack(got[29].tag).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_given_back_comes_next_in_order_with_new_tags() {
    let node = shared().node();
    let lab = Lab::open(node, "requeued", 1 << 30).await;
    let (sud, hub) = (lab.connect(node, SUD).await, lab.connect(node, HUB).await);
    let messages: Vec<_> = (0..300).map(|n| message(SUD, n)).collect();
    publish_all(&sud, EVENTS, &messages).await;
    let mut consumer = hub.consume(INBOX, 200).await.unwrap();
    let some = BatchLimits { messages: 100, linger: Duration::from_secs(60), ..LIMITS };
    let got = consumer.next(&some).await.unwrap();
    assert_eq!(numbers(&got), (0..100).collect::<Vec<_>>());
    consumer.requeue(got[60].tag).await.unwrap();
    // What comes before can still be acknowledged, and no more than that.
    consumer.ack(got[99].tag).await.unwrap();
    let again = consumer.next(&some).await.unwrap();
    assert_eq!(numbers(&again), (60..160).collect::<Vec<_>>());
    assert!(again[0].tag > got[99].tag && again[0].redelivered);
    // A tag from before does nothing; one that was never given is a defect.
    consumer.ack(got[99].tag).await.unwrap();
    assert!(consumer.ack(again[99].tag + 1).await.is_err());
    consumer.ack(again[99].tag).await.unwrap();
    let rest = BatchLimits { messages: 140, ..some };
    assert_eq!(numbers(&consumer.next(&rest).await.unwrap()), (160..300).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_prefetch_bounds_what_is_unacknowledged_and_a_dropped_wait_loses_nothing() {
    let node = shared().node();
    let lab = Lab::open(node, "prefetch", 1 << 30).await;
    let (sud, hub) = (lab.connect(node, SUD).await, lab.connect(node, HUB).await);
    publish_all(&sud, EVENTS, &(0..30).map(|n| message(SUD, n)).collect::<Vec<_>>()).await;
    let mut consumer = hub.consume(INBOX, 10).await.unwrap();
    // A wait that is given up in the middle of a batch.
    let long = BatchLimits { linger: Duration::from_secs(60), ..LIMITS };
    let given_up = tokio::time::timeout(Duration::from_millis(300), consumer.next(&long)).await;
    assert!(given_up.is_err());
    let got = consumer.next(&BatchLimits { messages: 10, ..long }).await.unwrap();
    assert_eq!(numbers(&got), (0..10).collect::<Vec<_>>());
    assert!(tokio::time::timeout(Duration::from_millis(300), consumer.next(&LIMITS)).await.is_err());
    consumer.ack(got[9].tag).await.unwrap();
    let got = consumer.next(&BatchLimits { messages: 10, ..long }).await.unwrap();
    assert_eq!(numbers(&got), (10..20).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn many_publishings_at_once_each_keep_their_order() {
    let node = shared().node();
    let lab = Lab::open(node, "many", 1 << 30).await;
    let hub = std::sync::Arc::new(lab.connect(node, HUB).await);
    let publishing: Vec<_> = super::lab::MEMBERS
        .iter()
        .map(|member| {
            let hub = std::sync::Arc::clone(&hub);
            tokio::spawn(async move {
                for first in (0..1000).step_by(50) {
                    let batch = (first..first + 50).map(|n| {
                        let (routing_key, mut message) = message(member, n);
                        message.user_id = Some(HUB.to_owned());
                        (routing_key, message)
                    });
                    publish_all(&*hub, DELIVERIES, &batch.collect::<Vec<_>>()).await;
                }
            })
        })
        .collect();
    for member in super::lab::MEMBERS {
        let bus = lab.connect(node, member).await;
        let mut consumer = bus.consume(&format!("pirogue.to.{member}"), 500).await.unwrap();
        assert_eq!(take_in_order(consumer.as_mut(), 1000).await, 0);
    }
    for task in publishing {
        task.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publishing_that_is_dropped_and_made_again_keeps_its_order() {
    let node = shared().node();
    let lab = Lab::open(node, "given-up", 1 << 30).await;
    let (sud, hub) = (lab.connect(node, SUD).await, lab.connect(node, HUB).await);
    for round in 0..40 {
        let batch: Vec<_> = (round * 100..round * 100 + 100).map(|n| message(SUD, n)).collect();
        // Somewhere between nothing sent and all confirmed.
        let patience = Duration::from_micros(round * 150);
        let _ = tokio::time::timeout(patience, sud.publish(EVENTS, batch.clone())).await;
        publish_all(&sud, EVENTS, &batch).await;
    }
    let mut consumer = hub.consume(INBOX, 1000).await.unwrap();
    let again = take_in_order(consumer.as_mut(), 4000).await;
    println!("publishings dropped 40 times: {again} came twice");
    assert!(again > 0, "nothing was under way when it was dropped");
}
