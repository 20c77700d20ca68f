//! The events of a benchmark, signed beforehand.

use super::BenchFault;
use super::setup::{Class, HUB, SOURCES, Site};
use crate::event::{Attributes, Envelope, Message, SchemaRef};
use crate::schema::Registry;
use bytes::Bytes;
use serde_json::json;
use std::sync::Arc;

/// What a reference begins with; its number follows, in [`DIGITS`] digits.
const REFERENCE: &str = "bench-event-";
const DIGITS: usize = 9;

/// Events, each with its routing key, in the order in which they are published.
pub(super) struct Events {
    all: Vec<(String, Message)>,
}

impl Events {
    /// Signs `count` events that members of `site` publish at `now`. They take
    /// turns by class. `name` tells them from those of another call.
    pub(super) async fn sign(
        site: &Arc<Site>,
        name: &'static str,
        count: usize,
        now: jiff::Timestamp,
    ) -> Result<Events, BenchFault> {
        let registry = Arc::new(Registry::load(&site.schemas())?);
        let time = now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let site = Arc::clone(site);
        let work = move |numbers: Vec<usize>| -> Vec<Option<(String, Message)>> {
            numbers.into_iter().map(|nth| event(&site, &registry, name, nth, &time)).collect()
        };
        let signed = crate::tasks::crunch((0..count).collect(), work).await;
        let all = signed.into_iter().collect::<Option<Vec<_>>>().ok_or(BenchFault::Own)?;
        Ok(Events { all })
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// The `nth` event, with its routing key.
    pub(super) fn get(&self, nth: usize) -> (String, Message) {
        self.all[nth].clone()
    }

    /// The events of the `source`th source, in order.
    pub(super) fn of_source(&self, source: usize) -> Vec<(String, Message)> {
        debug_assert!(source < SOURCES);
        let numbered = self.all.iter().enumerate();
        numbered
            .filter(|(nth, _)| Class::of(*nth).source() == source)
            .map(|(_, event)| event.clone())
            .collect()
    }

    /// The mean size of a body and of the headers about it, in bytes.
    pub(super) fn sizes(&self) -> (usize, usize) {
        let count = self.all.len().max(1);
        let of = |size: fn(&Message) -> usize| {
            self.all.iter().map(|(_, event)| size(event)).sum::<usize>() / count
        };
        (of(|event| event.body.len()), of(Message::headers_size))
    }
}

fn event(site: &Site, registry: &Registry, name: &str, nth: usize, time: &str) -> Option<(String, Message)> {
    const FAMILY_NAMES: [&str; 5] = ["Bwanou", "Poithily", "Kaïlou", "Tereva", "Delmas"];
    const GIVEN_NAMES: [&str; 4] = ["Wanapa", "Drehu", "Marie", "Jean-Yves"];
    let class = Class::of(nth);
    let schema = registry.get(class.event_type(), 1)?;
    // A number for each, so that no two bodies are the same.
    let status = ["active", "suspended", "closed"][nth % 3];
    let record = json!({
        "reference": format!("{REFERENCE}{nth:0DIGITS$}"),
        "person": {
            "family_name": FAMILY_NAMES[nth % FAMILY_NAMES.len()],
            "given_names": [GIVEN_NAMES[nth % GIVEN_NAMES.len()], GIVEN_NAMES[nth / 7 % GIVEN_NAMES.len()]],
            "birthdate": format!("{}-{:02}-{:02}", 1950 + nth % 50, 1 + nth % 12, 1 + nth % 28),
        },
        "status": status,
        "registered_on": "2026-01-02",
        "commune": "98818",
        "remark": "Rappeler la semaine prochaine.",
        "updated_at": time,
    });
    let body = Bytes::from(schema.encode_json(&record).ok()?);
    let (publisher, key) = site.publisher(class);
    let mut attributes = Attributes::default();
    attributes.set("specversion", "1.0");
    attributes.set("id", format!("{name}-{nth}"));
    attributes.set("source", format!("/{publisher}/bench"));
    attributes.set("type", class.event_type());
    attributes.set("subject", format!("person/{nth}"));
    attributes.set("time", time);
    attributes.set("datacontenttype", "application/avro");
    let reference = SchemaRef { projection: None, ..schema.reference().clone() };
    attributes.set("dataschema", reference.to_string());
    let signature = key.sign_event(HUB, &attributes, &body);
    let envelope = Envelope { attributes, signature, origin_signature: None };
    Some((format!("{publisher}.{}", class.event_type()), envelope.message(publisher.as_str(), body)))
}

/// The number of the event of which `body` is the body, or was cut from it: the
/// reference stands in it as it is. None for a message of the hub's own.
pub(super) fn number(body: &[u8]) -> Option<usize> {
    let at = body.windows(REFERENCE.len()).position(|part| part == REFERENCE.as_bytes())?;
    let digits = body.get(at + REFERENCE.len()..)?.get(..DIGITS)?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn events_are_valid_and_are_known_by_their_bodies() {
        let folder = tempfile::tempdir().unwrap();
        let site = Arc::new(Site::prepare(folder.path()).unwrap());
        let registry = Registry::load(&site.schemas()).unwrap();
        let now = jiff::Timestamp::UNIX_EPOCH;
        let events = Events::sign(&site, "a", 40, now).await.unwrap();
        let granted = ["reference", "person.family_name"].map(str::to_owned);
        for nth in 0..40 {
            let (routing_key, message) = events.get(nth);
            let schema = registry.get(message.kind.as_deref().unwrap(), 1).unwrap();
            schema.check(&schema.decode(&message.body).unwrap()).unwrap();
            let projected = schema.project(&granted).unwrap().apply(&message.body).unwrap();
            assert!(projected.len() < message.body.len());
            assert_eq!((number(&message.body), number(&projected)), (Some(nth), Some(nth)));
            assert!(routing_key.starts_with(message.user_id.as_deref().unwrap()));
        }
        let by_source: usize = (0..SOURCES).map(|source| events.of_source(source).len()).sum();
        assert_eq!(by_source, events.len());
        assert_eq!(number(b"bench-event-12"), None);
    }
}
