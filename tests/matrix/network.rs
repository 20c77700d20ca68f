//! The network between a part and the broker is cut.

use super::broker::shared;
use super::load::{Load, Network, Part, rounds};
use super::proxy::{Proxy, Way};
use std::time::{Duration, Instant};

/// How soon a part has to notice that nothing comes: two heartbeats of ten
/// seconds, and a try to connect that finds nobody either.
const NOTICED: Duration = Duration::from_secs(45);

/// A load with a proxy before the broker, for the hub or for the members.
fn behind_a_proxy(name: &'static str, part: Part) -> (Load, Proxy) {
    let node = shared().node();
    let mut proxy = None;
    let load = Load::prepare(name, node, |runtime, _| {
        let proxy = proxy.insert(Proxy::start(runtime.handle(), &[node.port]));
        let straight = Network::straight(node);
        match part {
            Part::Hub => Network { hub: proxy.port, ..straight },
            Part::Publisher | Part::Recipient => Network { members: proxy.port, ..straight },
        }
    });
    (load, proxy.unwrap())
}

/// Cuts the network `cuts` times, until whoever is cut off has tried to connect
/// as often as it has connections.
fn cut(name: &'static str, part: Part, way: Way, cuts: u64) {
    rounds(|| {
        let (mut load, proxy) = behind_a_proxy(name, part);
        load.run_all();
        for nth in 1..=cuts {
            load.until_fault(nth, cuts, 0);
            let before = proxy.accepted();
            proxy.turn(way);
            let since = Instant::now();
            let connections = if part == Part::Hub { 2 } else { 3 };
            load.wait("the cut is noticed", |_| proxy.accepted() >= before + connections);
            assert!(since.elapsed() < NOTICED, "the cut was noticed after {:?}", since.elapsed());
            proxy.turn(Way::Open);
            load.is_over(part);
            load.recover();
        }
        assert!(load.redelivered() > 0, "no cut found work in flight");
        load.finish();
    });
}

#[test]
fn nothing_is_lost_when_the_hub_s_connections_are_dropped() {
    cut("hub's connections dropped", Part::Hub, Way::Closed, 3);
}

#[test]
fn nothing_is_lost_when_the_hub_s_connections_stall() {
    cut("hub's connections stalled", Part::Hub, Way::Stalled, 1);
}

#[test]
fn nothing_is_lost_when_the_hub_s_connections_are_reset() {
    cut("hub's connections reset", Part::Hub, Way::Reset, 3);
}

#[test]
fn nothing_is_lost_when_the_members_connections_are_dropped() {
    cut("members' connections dropped", Part::Publisher, Way::Closed, 3);
}

#[test]
fn nothing_is_lost_when_the_members_connections_stall() {
    cut("members' connections stalled", Part::Publisher, Way::Stalled, 1);
}

#[test]
fn nothing_is_lost_when_the_members_connections_are_reset() {
    cut("members' connections reset", Part::Publisher, Way::Reset, 3);
}

#[test]
fn a_new_consumer_takes_over_from_one_that_is_dead_and_still_connected() {
    rounds(|| {
        let (mut load, proxy) = behind_a_proxy("half-open old consumer", Part::Recipient);
        load.run_all();
        load.until_fault(1, 1, 0);
        // The broker doesn't hear of the end of the old one.
        proxy.freeze();
        load.kill(Part::Recipient);
        load.is_over(Part::Recipient);
        load.run(Part::Recipient);
        load.wait("the broker has two consumers", |load| {
            let listed = shared().node().ctl(&["-q", "list_queues", "-p", &load.vhost, "name", "consumers"]);
            String::from_utf8_lossy(&listed.stdout).lines().any(|line| line == "pirogue.to.gouvernement\t2")
        });
        load.recover();
        load.finish();
    });
}
