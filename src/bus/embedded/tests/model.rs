//! A queue under random acts, held to a list.

use super::*;
use proptest::prelude::*;

/// What can be done to a queue.
#[derive(Clone, Debug)]
enum Act {
    Publish(u64, usize),
    Next(usize),
    Ack(prop::sample::Index),
    Requeue(prop::sample::Index),
    Drop,
    Reopen,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => (1..120u64, 8..900usize).prop_map(|(n, size)| Act::Publish(n, size)),
        8 => (1..90usize).prop_map(Act::Next),
        5 => any::<prop::sample::Index>().prop_map(Act::Ack),
        2 => any::<prop::sample::Index>().prop_map(Act::Requeue),
        1 => Just(Act::Drop),
        1 => Just(Act::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn a_queue_behaves_as_a_list_would(acts in prop::collection::vec(act(), 1..60)) {
        let folder = tempfile::tempdir().unwrap();
        let options = BrokerOptions { log_bytes: 60_000, cache_bytes: 120_000, ..BrokerOptions::default() };
        runtime().block_on(async {
            let mut broker = open_with(folder.path(), options.clone());
            let mut consumer = inbox(&broker, 0).await;
            // What is in the queue and not acknowledged; of it, those with the consumer.
            let mut waiting: VecDeque<u64> = VecDeque::new();
            let mut tags: VecDeque<u64> = VecDeque::new();
            let (mut published, mut delivered, mut last_tag) = (0, 0, 0);
            for act in acts {
                match act {
                    Act::Publish(count, size) => {
                        let numbers = published..published + count;
                        broker.connect(HUB).publish(EVENTS, batch(numbers.clone(), size)).await.unwrap();
                        waiting.extend(numbers);
                        published += count;
                    }
                    Act::Next(most) if waiting.len() > tags.len() => {
                        let got = next(&mut *consumer, most).await;
                        let expected: Vec<u64> = waiting.iter().skip(tags.len()).take(most).copied().collect();
                        assert_eq!(numbers(&got), expected);
                        for (delivery, number) in got.iter().zip(&expected) {
                            assert_eq!(delivery.redelivered, *number < delivered);
                            last_tag += 1;
                            assert_eq!(delivery.tag, last_tag);
                            tags.push_back(last_tag);
                        }
                        delivered = delivered.max(expected.last().unwrap() + 1);
                    }
                    Act::Next(_) => assert!(waits(&mut *consumer).await),
                    Act::Ack(at) if !tags.is_empty() => {
                        let at = at.index(tags.len());
                        consumer.ack(tags[at]).await.unwrap();
                        tags.drain(..=at);
                        waiting.drain(..=at);
                    }
                    Act::Requeue(at) if !tags.is_empty() => {
                        let at = at.index(tags.len());
                        consumer.requeue(tags[at]).await.unwrap();
                        tags.truncate(at);
                    }
                    Act::Ack(_) | Act::Requeue(_) => {}
                    Act::Drop | Act::Reopen => {
                        drop(consumer);
                        if matches!(act, Act::Reopen) {
                            drop(broker);
                            broker = open_with(folder.path(), options.clone());
                            delivered = published;
                        }
                        consumer = inbox(&broker, 0).await;
                        tags.clear();
                        last_tag = 0;
                    }
                }
                assert_eq!(broker.queue_depth(INBOX).unwrap().0, waiting.len() as u64);
            }
        });
    }
}
