//! A recipient doesn't take what is for it.

use super::broker::shared;
use super::load::{Load, Network, Part, rounds};

#[test]
fn nothing_is_lost_when_a_recipient_is_away_for_the_whole_load() {
    rounds(|| {
        let node = shared().node();
        let mut load =
            Load::prepare("recipient away for the whole load", node, |_, _| Network::straight(node));
        load.run(Part::Hub);
        load.run(Part::Publisher);
        load.open_source();
        load.wait("all waits for the recipient", |load| load.decided() >= load.events);
        load.run(Part::Recipient);
        load.is_over(Part::Recipient);
        load.recover();
        load.finish();
    });
}

#[test]
fn nothing_is_lost_when_a_recipient_s_queue_is_full_and_then_just_large_enough() {
    rounds(|| {
        let node = shared().node();
        let mut load = Load::start("recipient's queue full", node);
        // Some 200 events; it stays so, and so the queue is full again and again
        // while the recipient takes from it.
        let small = r#"{"max-length-bytes":50000}"#;
        let queue = r"^pirogue\.to\.gouvernement$";
        node.ctl(&["set_policy", "-p", &load.vhost, "small", queue, small, "--apply-to", "queues"]);
        load.until_fault(1, 2, 0);
        load.stop(Part::Recipient);
        load.wait("the queue is full", |load| load.count(Part::Hub, "takes no more") > 0);
        // The others aren't kept from publishing.
        load.open_source();
        load.wait("all is taken in", |load| load.recorded() >= load.events);
        assert!(load.decided() < load.events, "the queue took all of it");
        load.run(Part::Recipient);
        load.is_over(Part::Recipient);
        load.recover();
        load.finish();
    });
}
