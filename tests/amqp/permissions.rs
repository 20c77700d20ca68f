//! What a member can't do.

use super::broker::{Node, shared};
use super::lab::{Lab, MEMBERS, PASSWORD, SUD, message};
use lapin::options::{
    BasicConsumeOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::FieldTable;
use lapin::{Channel, ConnectionProperties, ExchangeKind};
use pirogue::bus::amqp::{Connection, Options};
use pirogue::bus::manage::{ManageFault, Management};
use pirogue::bus::{Bus, BusFault, Confirm, DELIVERIES, EVENTS, HUB, INBOX, Tls};

fn refused<T>(result: Result<T, BusFault>, words: &[&str]) {
    let Err(fault @ BusFault::Refused(_)) = result else { panic!("it isn't refused") };
    let sentence = fault.to_string();
    assert!(words.iter().all(|word| sentence.contains(word)), "{sentence}");
    assert!(!sentence.contains(PASSWORD), "{sentence}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_publishes_as_itself_and_reads_its_own_queue_only() {
    let node = shared().node();
    let lab = Lab::provisioned(node, "permissions");
    let [province, sud] = MEMBERS;
    let bus = lab.connect(node, province).await;

    refused(bus.publish(EVENTS, vec![message(sud, 1)]).await, &["routing key"]);
    let (_, own) = message(province, 1);
    refused(bus.publish(EVENTS, vec![(format!("{sud}.nc.test.thing"), own.clone())]).await, &["routing key"]);
    let (routing_key, mut posing) = message(province, 1);
    posing.user_id = Some(sud.to_owned());
    refused(bus.publish(EVENTS, vec![(routing_key, posing)]).await, &["user_id"]);
    refused(bus.publish(DELIVERIES, vec![(format!("{sud}.x"), own)]).await, &[DELIVERIES]);

    // `province` is how `province-sud` begins.
    refused(bus.consume("pirogue.to.province-sud", 10).await, &["may not read pirogue.to.province-sud"]);
    refused(bus.consume(INBOX, 10).await, &["may not read"]);
    refused(bus.consume("pirogue.to.nobody", 10).await, &["may not read"]);

    // After all that, what it may do works on the same connection.
    assert_eq!(bus.publish(EVENTS, vec![message(province, 1)]).await.unwrap(), [Confirm::Accepted]);
    bus.consume("pirogue.to.province", 10).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hub_delivers_and_reads_the_inbox_only() {
    let node = shared().node();
    let lab = Lab::provisioned(node, "hubs");
    let hub = lab.connect(node, HUB).await;
    refused(hub.consume("pirogue.to.province", 10).await, &["may not read"]);
    let (routing_key, mut event) = message(SUD, 1);
    event.user_id = None;
    refused(hub.publish(EVENTS, vec![(routing_key, event)]).await, &[EVENTS]);
    hub.consume(INBOX, 10).await.unwrap();
}

/// A channel of the client library itself.
async fn channel(node: &Node, vhost: &str, user: &str) -> Channel {
    let url = node.url(user, vhost);
    let connection = lapin::Connection::connect(&url, ConnectionProperties::default()).await.unwrap();
    connection.create_channel().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_declares_binds_or_deletes_anything() {
    let node = shared().node();
    Lab::provisioned(node, "declaring");
    let is_refused = |error: lapin::Error| {
        assert!(error.to_string().contains("ACCESS_REFUSED"), "{error}");
    };
    for user in [SUD, HUB] {
        let table = FieldTable::default;
        for name in ["mine", INBOX, "pirogue.to.province-sud"] {
            let channel = channel(node, "declaring", user).await;
            let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
            is_refused(channel.queue_declare(name.into(), options, table()).await.unwrap_err());
            let channel = self::channel(node, "declaring", user).await;
            is_refused(channel.queue_delete(name.into(), QueueDeleteOptions::default()).await.unwrap_err());
        }
        let channel = channel(node, "declaring", user).await;
        let options = ExchangeDeclareOptions::default();
        let declared = channel.exchange_declare("mine".into(), ExchangeKind::Topic, options, table());
        is_refused(declared.await.unwrap_err());
        let channel = self::channel(node, "declaring", user).await;
        let options = QueueBindOptions::default();
        let queue = "pirogue.to.province-sud".into();
        let bound = channel.queue_bind(queue, EVENTS.into(), "#".into(), options, table());
        is_refused(bound.await.unwrap_err());
        let channel = self::channel(node, "declaring", user).await;
        let options = BasicConsumeOptions::default();
        let consumed = channel.basic_consume("pirogue.to.province".into(), "".into(), options, table());
        is_refused(consumed.await.unwrap_err());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_gets_and_purges_nothing_and_is_a_stranger_to_other_virtual_hosts() {
    let node = shared().node();
    Lab::provisioned(node, "getting");
    // The users are the broker's: a virtual host of somebody else's knows them not.
    node.management().put_vhost("of-somebody-else").await.unwrap();
    for queue in [INBOX, "pirogue.to.province"] {
        let fault = channel(node, "getting", SUD).await.basic_get(queue.into(), Default::default()).await;
        assert!(fault.unwrap_err().to_string().contains("ACCESS_REFUSED"), "{queue}");
        let fault = channel(node, "getting", SUD).await.queue_purge(queue.into(), Default::default()).await;
        assert!(fault.unwrap_err().to_string().contains("ACCESS_REFUSED"), "{queue}");
    }
    for vhost in ["/", "of-somebody-else"] {
        let url = node.url(SUD, &vhost.replace('/', "%2f"));
        let connected = Connection::connect(&url, Options::default()).await;
        refused(connected, &["virtual host"]);
    }
    // Nor is it one of the operators: the management API isn't for it.
    let address = format!("http://{}", node.management().address());
    let password = PASSWORD.to_owned().into();
    let api = Management::new(&address, SUD, password, &Tls::default()).unwrap();
    assert!(matches!(api.users().await, Err(ManageFault::Refused { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_or_virtual_host_is_refused_and_a_wrong_port_is_unreachable() {
    let node = shared().node();
    Lab::open(node, "logins", 1 << 30).await;
    let address = format!("127.0.0.1:{}", node.port);
    let connect = async |url: String| Connection::connect(&url, Options::default()).await;
    refused(connect(format!("amqp://{SUD}:wrong@{address}/logins")).await, &["password"]);
    refused(connect(format!("amqp://nobody:{PASSWORD}@{address}/logins")).await, &["password"]);
    refused(connect(format!("amqp://{SUD}:{PASSWORD}@{address}/nowhere")).await, &["virtual host nowhere"]);
    let unreachable = connect("amqp://hub:x@127.0.0.1:9/logins".to_owned()).await.unwrap_err();
    assert!(matches!(unreachable, BusFault::Unreachable(_)), "{unreachable}");
    let hub = Connection::connect(&node.url(HUB, "logins"), Options::default()).await.unwrap();
    let missing = hub.publish("no.such.exchange", vec![message(HUB, 1)]).await.unwrap_err();
    assert!(matches!(missing, BusFault::NoExchange(_) | BusFault::Refused(_)), "{missing}");
}
