//! A hub with many recipients, in this process: what it is made of, what it is
//! sent, and who takes what it delivers.

use pirogue::admin::prepare;
use pirogue::bus::{BatchLimits, Bus, Confirm, EVENTS};
use pirogue::connect::Signer;
use pirogue::connect::drivers::Record;
use pirogue::connect::manifest::{Connector, SourceStream};
use pirogue::demo::boost::{BoostConfig, BoostServer};
use pirogue::event::{MemberName, Message};
use pirogue::schema::{EventSchema, Registry};
use pirogue::seal::Secret32;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Who publishes.
pub const PROVIDER: &str = "province-sud";
/// The events of a batch.
pub const BATCH: usize = 256;
const JOBSEEKER: &str = "nc.employment.jobseeker.registered";
const OFFER: &str = "nc.employment.offer.published";

/// The recipients: the first `count` of them.
pub fn recipients(count: usize) -> impl Iterator<Item = MemberName> {
    (0..count).map(|n| MemberName::parse(&format!("commune-{n:02}")).unwrap())
}

/// Prepares a hub, a publisher, `count` recipients and an agreement for each, and
/// adds `more` to the hub's configuration. Every other recipient gets some
/// fields under pseudonyms, the rest the events whole.
pub fn make(folder: &Path, count: usize, more: &str) {
    let hub = folder.join("hub");
    prepare::hub(&hub).unwrap();
    let provider = MemberName::parse(PROVIDER).unwrap();
    let keys = prepare::member(&folder.join(PROVIDER)).unwrap();
    let publish = |member: &MemberName, text: String| {
        prepare::write(&hub.join(format!("members/{member}.jwks.json")), &text).unwrap();
    };
    publish(&provider, keys.public(&provider).to_json());
    for (n, recipient) in recipients(count).enumerate() {
        let its = prepare::member(&folder.join(recipient.as_str())).unwrap();
        publish(&recipient, its.public(&recipient).to_json());
        let (fields, subject) = match n % 2 {
            0 => (["\"person\", \"status\"", "\"number\", \"title\", \"employers\""], "pseudonym"),
            _ => (["\"*\""; 2], "publisher"),
        };
        let mut text = format!(
            "id = \"{recipient}\"\nversion = 1\ntitle = \"Tout\"\nprovider = \"{PROVIDER}\"\n\
             recipient = \"{recipient}\"\npurpose = \"Essai\"\nlegal_basis = \"public-interest\"\n\
             retention_months = 1\nvalid_from = 2026-01-01\nvalid_until = 2099-12-31\n"
        );
        for (event_type, fields) in [JOBSEEKER, OFFER].iter().zip(fields) {
            text += &format!(
                "\n[[grant]]\ntype = \"{event_type}\"\nversions = [1]\nfields = [{fields}]\nsubject = \"{subject}\"\n"
            );
        }
        let note = hub.join(format!("agreements/{recipient}.note"));
        prepare::agreement(&note, &text, (&provider, &keys.agreement), (&recipient, &its.agreement)).unwrap();
    }
    let config = format!("name = \"nouvelle-caledonie\"\ndata = \"data\"\n[http]\nenabled = false\n{more}");
    prepare::write(&hub.join("hub.toml"), &config).unwrap();
}

/// The events, made as a connector makes them.
pub struct Publisher {
    signer: Signer,
    connector: Connector,
    schemas: [Arc<EventSchema>; 2],
    server: BoostServer,
}

impl Publisher {
    pub async fn new(folder: &Path, count: usize) -> Publisher {
        let registry = Registry::embedded().unwrap();
        let schema = |event_type| Arc::clone(registry.get(event_type, 1).unwrap());
        let config = BoostConfig {
            jobseekers: count.div_ceil(2),
            offers: count / 2,
            api_key: "key".to_owned(),
            ..BoostConfig::default()
        };
        Publisher {
            signer: Signer {
                member: MemberName::parse(PROVIDER).unwrap(),
                hub: "nouvelle-caledonie".to_owned(),
                key: prepare::key(&folder.join(PROVIDER).join("keys/event.pem")).unwrap(),
                id_secret: Secret32::new([7; 32]),
            },
            connector: Connector::embedded("boost").unwrap(),
            schemas: [schema(JOBSEEKER), schema(OFFER)],
            server: BoostServer::start(([127, 0, 0, 1], 0).into(), config).await.unwrap(),
        }
    }

    fn event(&self, n: usize) -> (String, Message) {
        let value = if n.is_multiple_of(2) { self.server.jobseeker(n / 2) } else { self.server.offer(n / 2) };
        let event_type = [JOBSEEKER, OFFER][n % 2];
        let is_of = |source: &&SourceStream| source.event_type.as_str() == event_type;
        let source = self.connector.sources.iter().find(is_of).unwrap();
        let text = |name: &str| value[name].as_str().unwrap().to_owned();
        let record = Record {
            key: text("id"),
            version: Some(text("row_hash")),
            kind: String::new(),
            raw: None,
            value,
        };
        let mut events = self.signer.events(&record, source, &self.schemas[n % 2], 1).unwrap();
        assert_eq!(events.len(), 1);
        events.remove(0)
    }

    pub async fn publish(&self, bus: &dyn Bus, count: usize) {
        let mut next = 0;
        while next < count {
            let end = (next + BATCH).min(count);
            let batch = (next..end).map(|n| self.event(n)).collect();
            let confirms = bus.publish(EVENTS, batch).await.unwrap();
            let accepted = confirms.iter().take_while(|confirm| **confirm == Confirm::Accepted).count();
            if accepted == 0 {
                // The inbox is full: the hub is busy with what is in it.
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            next += accepted;
        }
    }
}

/// Takes `count` messages in the order of their numbers, and acknowledges them.
pub async fn consume(bus: Arc<dyn Bus>, recipient: MemberName, count: u64) {
    let limits = BatchLimits { messages: 512, bytes: 1 << 20, linger: Duration::ZERO };
    let mut consumer = bus.consume(&format!("pirogue.to.{recipient}"), 1_024).await.unwrap();
    let mut last = 0;
    while last < count {
        let deliveries = consumer.next(&limits).await.unwrap();
        for delivery in &deliveries {
            let sequence: u64 = delivery.message.text("cloudEvents_sequence").unwrap().parse().unwrap();
            assert_eq!(sequence, last + 1, "{recipient}");
            last = sequence;
        }
        consumer.ack(deliveries.last().unwrap().tag).await.unwrap();
    }
    assert_eq!(last, count);
}

/// The messages that a recipient gets: the two schemas and the events.
pub fn messages_of(count: usize) -> u64 {
    count as u64 + 2
}
