//! The broker itself fails, or refuses for a while.

use super::broker::{Node, Rabbit, disturbed};
use super::load::{Load, Network, Part, rounds};
use super::proxy::Proxy;
use tokio::runtime::Runtime;

/// Ends the node twice under load, and starts it again.
fn restart(name: &'static str, end: fn(&mut Node)) {
    rounds(|| {
        let mut rabbit = Runtime::new().unwrap().block_on(disturbed());
        let node = &mut rabbit.nodes[0];
        let mut load = Load::start(name, node);
        for nth in 1..=2 {
            load.until_fault(nth, 2, 0);
            end(node);
            node.start();
            load.is_over(Part::Recipient);
            load.recover();
        }
        load.finish();
    });
}

#[test]
fn nothing_is_lost_when_the_broker_is_killed_and_started_again() {
    restart("broker killed", Node::kill);
}

#[test]
fn nothing_is_lost_when_the_broker_is_stopped_and_started_again() {
    restart("broker stopped and started", Node::stop);
}

#[test]
fn nothing_is_lost_while_the_broker_has_no_memory() {
    const BLOCKED: &str = "the broker takes no messages now";
    rounds(|| {
        let rabbit = Runtime::new().unwrap().block_on(disturbed());
        let node = rabbit.node();
        let mut load = Load::start("broker's memory alarm", node);
        load.until_fault(1, 1, 0);
        node.ctl(&["set_vm_memory_high_watermark", "absolute", "1MB"]);
        // Whoever publishes is told.
        load.open_source();
        // The broker tells whoever publishes: a hub that has sent on all it took in
        // before the alarm publishes nothing more, since nothing more comes.
        load.wait("one that publishes is told", |load| {
            [Part::Publisher, Part::Hub].iter().any(|part| load.count(*part, BLOCKED) > 0)
        });
        assert!(load.handled() < load.events, "all was handled in spite of the alarm");
        node.ctl(&["set_vm_memory_high_watermark", "absolute", "2GB"]);
        load.is_over(Part::Recipient);
        load.recover();
        load.finish();
    });
}

/// The place of the node that leads the inbox.
fn leader(rabbit: &Rabbit, vhost: &str) -> usize {
    let listed = rabbit.node().ctl(&["-q", "list_queues", "-p", vhost, "name", "leader"]);
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    let leads = |node: &Node| listed.lines().any(|line| line == format!("pirogue.inbox\t{}", node.name()));
    rabbit.nodes.iter().position(leads).unwrap_or_else(|| panic!("nobody leads the inbox: {listed}"))
}

#[test]
fn nothing_is_lost_when_the_node_that_leads_the_inbox_is_lost() {
    rounds(|| {
        let mut rabbit = Rabbit::start(3);
        let mut leads = 0;
        let mut balancers = Vec::new();
        let mut load = Load::prepare("leader of the inbox lost", rabbit.node(), |runtime, vhost| {
            leads = leader(&rabbit, vhost);
            // The hub is connected to the node that is lost, members to another.
            let mut nodes: Vec<&Node> = rabbit.nodes.iter().collect();
            nodes.rotate_left(leads);
            let amqp = |nodes: &[&Node]| nodes.iter().map(|node| node.port).collect::<Vec<_>>();
            let hub = amqp(&nodes);
            nodes.rotate_left(1);
            let members = amqp(&nodes);
            let port = |node: &&Node| node.management().address().rsplit(':').next()?.parse().ok();
            let management: Vec<u16> = nodes.iter().filter_map(port).collect();
            for targets in [hub, members, management] {
                balancers.push(Proxy::start(runtime.handle(), &targets));
            }
            let [hub, members, management] = [0, 1, 2].map(|nth| balancers[nth].port);
            Network { hub, members, management: format!("http://127.0.0.1:{management}") }
        });
        load.run_all();
        load.until_fault(1, 1, 0);
        rabbit.nodes[leads].kill();
        load.is_over(Part::Hub);
        load.recover();
        load.finish();
    });
}
