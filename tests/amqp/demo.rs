//! The demo on RabbitMQ.

use super::broker::{Node, Rabbit, shared};
use super::lab::Lab;
use super::process::{Ended, Process};
use serde_json::Value;

fn demo(arguments: &[&str]) -> Ended {
    Process::start(&[&["demo", "--once", "--json", "--events", "300"], arguments].concat()).end()
}

fn on(node: &Node, arguments: &[&str]) -> Ended {
    let broker = format!("amqp://guest:guest@127.0.0.1:{}", node.port);
    demo(&[&["--broker", &broker, "--management", &node.management_url()], arguments].concat())
}

/// The account, without what differs from run to run.
fn account(ended: &Ended) -> Value {
    assert!(ended.status.success(), "{}", ended.stderr);
    assert_eq!(ended.stderr, "");
    let mut account: Value = serde_json::from_str(&ended.stdout).unwrap();
    // Zero where a run before did it all and this one had nothing to pull.
    assert!(account["seconds"].as_f64().unwrap() >= 0.0);
    account["seconds"] = Value::Null;
    account
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_on_rabbitmq_gives_the_same_account_and_leaves_nothing_there() {
    let rabbit = Rabbit::start(1);
    let management = rabbit.node().management();
    let before = management.users().await.unwrap();
    let expected = account(&demo(&[]));
    assert_eq!(account(&on(rabbit.node(), &[])), expected);
    assert_eq!(management.users().await.unwrap(), before);
    let vhosts = rabbit.node().ctl(&["list_vhosts", "--silent"]).stdout;
    assert_eq!(String::from_utf8(vhosts).unwrap().trim(), "/");

    // Kept, and run again: nothing is lost, and no bad message comes twice.
    let folder = tempfile::tempdir().unwrap();
    let data = ["--data", folder.path().to_str().unwrap()];
    assert_eq!(account(&on(rabbit.node(), &data)), expected);
    let again = account(&on(rabbit.node(), &data));
    assert_eq!(again["quarantined"], expected["quarantined"]);
    assert_eq!(management.users().await.unwrap().len(), before.len() + 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_leaves_a_broker_alone_whose_users_it_didnt_make() {
    let node = shared().node();
    let lab = Lab::open(node, "demo-not-alone", 1 << 20).await;
    let ended = on(node, &[]);
    let sentence = ended.sentence(2);
    assert!(sentence.contains("is on this broker already"), "{sentence}");
    // The password is still the one that it was.
    lab.connect(node, "province-sud").await;
}

#[test]
fn a_broker_that_cant_be_used_is_said_in_a_sentence() {
    for (broker, status, part) in [
        ("localhost", 2, "--broker isn't an address"),
        ("amqps://guest:secret@localhost", 2, "it begins with amqp://"),
        ("amqp://guest:secret@127.0.0.1:9", 4, "doesn't answer"),
    ] {
        let ended = demo(&["--broker", broker, "--management", "http://127.0.0.1:9"]);
        let sentence = ended.sentence(status);
        assert!(sentence.contains(part) && !sentence.contains("secret"), "{sentence}");
    }
}
