//! `pirogue member sandbox` on a real broker: each test event is answered.

use super::broker::shared;
use super::lab::{LIMITS, Lab, PASSWORD, layout, member};
use super::messages::{Draft, OFFER, offer};
use super::process::{Process, command, wait_until};
use pirogue::admin::prepare::{self, MemberKeys};
use pirogue::bus::manage::Access;
use pirogue::bus::{Bus, Confirm, Consumer, EVENTS};
use pirogue::connect::recipient::{Accepted, Recipient};
use pirogue::keys::{Jwks, PrivateKey};
use pirogue::members::Directory;
use pirogue::schema::Registry;
use serde_json::Value;
use std::path::Path;
use std::process::Command;

const VHOST: &str = "testing";
const SUD: &str = "province-sud";

fn prepare(folder: &Path, port: u16, management: &str) -> MemberKeys {
    prepare::hub(folder).unwrap();
    let keys = prepare::member(&folder.join(SUD)).unwrap();
    for name in [SUD, "ville-nouvelle"] {
        let keys = prepare::member(&folder.join(name)).unwrap().public(&member(name));
        prepare::write(&folder.join(format!("members/{name}.jwks.json")), &keys.to_json()).unwrap();
    }
    prepare::secret(&folder.join("broker"), PASSWORD).unwrap();
    prepare::secret(&folder.join("admin"), "guest").unwrap();
    let text = format!(
        "name = \"{}\"\nbus = \"amqp://127.0.0.1:{port}/{VHOST}\"\n[broker]\npassword = {{ file = \"broker\" \
         }}\n[management]\nurl = \"http://{management}\"\nuser = \"guest\"\npassword = {{ file = \"admin\" }}\n",
        super::messages::NAME
    );
    std::fs::write(folder.join("hub.toml"), text).unwrap();
    keys
}

/// The next message of the member, checked as `pirogue connect` does.
async fn next(consumer: &mut dyn Consumer, recipient: &Recipient) -> Accepted {
    let limits = pirogue::bus::BatchLimits { messages: 1, ..LIMITS };
    let taken = tokio::time::timeout(super::process::PATIENCE, consumer.next(&limits)).await;
    let delivery = taken.expect("an answer comes").unwrap().remove(0);
    consumer.ack(delivery.tag).await.unwrap();
    recipient.check(delivery.message).unwrap_or_else(|unverified| panic!("{}", unverified.why))
}

fn data(registry: &Registry, accepted: &Accepted) -> Value {
    let schema = registry.get(accepted.context.event_type.as_str(), 1).unwrap();
    schema.decode(&accepted.message.body).unwrap().to_json()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_event_comes_back_verified_and_each_bad_one_with_its_reason() {
    let node = shared().node();
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let keys = prepare(folder, node.port, &node.management().address());
    // The exchange itself: the hub's and the member's users are there.
    let mut exchange = layout(VHOST, 1 << 20);
    exchange.members.clear();
    exchange.members.insert(member(SUD), Access::Password(PASSWORD.to_owned().into()));
    exchange.provision(&node.management()).await.unwrap();

    let file = folder.join("hub.toml");
    let start = |subject: &str| {
        let arguments = ["member", "sandbox", "--config", file.to_str().unwrap(), "--subject", subject];
        Process::spawn(command(&arguments))
    };
    let mut sandbox = start("pseudonym");
    wait_until("the sandbox is open", || {
        assert!(!sandbox.has_ended(), "{}", sandbox.stderr());
        sandbox.stdout().contains("Stop it with Ctrl-C")
    });
    assert!(sandbox.stdout().contains("ville-nouvelle has no user at the broker"), "{}", sandbox.stdout());

    let lab = Lab { vhost: format!("{VHOST}-sandbox") };
    let sud = lab.connect(node, SUD).await;
    let jwks = std::fs::read_to_string(folder.join("hub.jwks.json")).unwrap();
    let directory = Directory::load(&folder.join("members")).unwrap();
    let recipient = Recipient::new(member(SUD), Jwks::parse(&jwks).unwrap(), directory);
    let registry = Registry::embedded().unwrap();
    let mut consumer = sud.consume(&format!("pirogue.to.{SUD}"), 0).await.unwrap();
    let key = &keys.event;

    let good = Draft::new(SUD, OFFER, "e-1", "offer/1", &offer("Maçon"));
    let publish = async |sent: super::messages::Sent| {
        let confirms = sud.publish(EVENTS, vec![(sent.routing_key, sent.message)]).await.unwrap();
        assert_eq!(confirms, [Confirm::Accepted]);
    };
    publish(good.signed(key)).await;
    let schema = next(consumer.as_mut(), &recipient).await;
    assert_eq!(schema.context.event_type.as_str(), "nc.hub.schema.published");
    let back = next(consumer.as_mut(), &recipient).await;
    assert_eq!(back.context.event_type.as_str(), OFFER);
    assert_eq!(back.delivery.agreement.as_deref(), Some("sandbox:1"));
    assert_eq!(back.attributes.get("source"), Some("/province-sud/boost"));
    assert_ne!(back.attributes.get("id"), Some("e-1"));
    assert_eq!(back.context.subject.as_deref(), Some("offer/1"), "an offer is nobody's");
    assert_eq!([schema.delivery.sequence, back.delivery.sequence], [1, 2]);
    assert!(back.delivery.epoch > 1_700_000_000);
    // What came before it says how to read it.
    let published = data(&registry, &schema);
    assert_eq!(published["reference"].as_str(), back.attributes.get("dataschema"));
    let reader =
        pirogue::schema::ReaderSchema::parse(published["schema"].as_str().unwrap(), &back.context.schema);
    assert_eq!(
        reader.unwrap().decode(&back.message.body).unwrap().to_json(),
        super::messages::read(OFFER, &good.body)
    );

    // The same again is a repeat, which is told here alone.
    publish(good.signed(key)).await;
    let other = PrivateKey::generate().unwrap();
    let bad = [
        (good.clone().with("id", "e-2").signed(&other), "unknown-key", "kid"),
        (
            good.clone().with("type", "nc.nobody.knows").signed(key),
            "unknown-schema",
            "cloudEvents_dataschema",
        ),
        (
            good.clone().with("time", "2099-01-01T00:00:00Z").signed(key),
            "from-the-future",
            "cloudEvents_time",
        ),
        (good.clone().with("subject", "offer/2").signed(key), "id-reused", "cloudEvents_id"),
        (good.clone().with("source", "/province-nord/boost").signed(key), "not-your-source", "app_id"),
    ];
    for (nth, (mut sent, reason, field)) in bad.into_iter().enumerate() {
        // The broker lets nobody send as another.
        (sent.message.user_id, sent.routing_key) = (Some(SUD.to_owned()), format!("{SUD}.test"));
        publish(sent).await;
        let notice = next(consumer.as_mut(), &recipient).await;
        assert_eq!(notice.context.event_type.as_str(), "nc.hub.event.rejected");
        assert_eq!(notice.delivery.sequence, 3 + nth as u64);
        let notice = data(&registry, &notice);
        assert_eq!(notice["reason"], reason, "{notice}");
        assert!(notice["detail"].as_str().unwrap().contains(field), "{notice}");
    }
    let mut cut = good.clone();
    cut.body = cut.body.slice(..cut.body.len() - 1);
    publish(cut.with("id", "e-3").signed(key)).await;
    assert_eq!(data(&registry, &next(consumer.as_mut(), &recipient).await)["reason"], "invalid-data");

    wait_until("every event has its line", || sandbox.stdout().lines().count() == 3 + 8);
    let said = sandbox.stdout();
    for line in [
        "province-sud  nc.employment.offer.published  e-1  ok\n",
        "e-1  ok, and the same as one before",
        "e-2  unknown-key: ",
        "e-3  invalid-data: ",
    ] {
        assert!(said.contains(line), "{line} isn't in\n{said}");
    }
    assert!(Command::new("kill").args(["-s", "INT", &sandbox.id().to_string()]).status().unwrap().success());
    let ended = sandbox.end();
    assert!(ended.status.success() && !ended.stdout.contains(PASSWORD), "{}", ended.stderr);

    // Whole, with the publisher's own signature, which the recipient checks.
    publish(good.clone().with("id", "e-4").signed(key)).await;
    let sandbox = start("publisher");
    assert_eq!(
        next(consumer.as_mut(), &recipient).await.context.event_type.as_str(),
        "nc.hub.schema.published"
    );
    let back = next(consumer.as_mut(), &recipient).await;
    assert_eq!((back.attributes.get("id"), back.delivery.sequence), (Some("e-4"), 2));
    assert!(back.delivery.origin.is_some());
    assert_eq!(back.message.body, good.body);
    drop(sandbox);

    // The exchange itself saw nothing of it.
    let queues = node.management().queues(VHOST).await.unwrap();
    assert!(queues.iter().all(|queue| queue.messages == 0), "{queues:#?}");
}
