//! The member's inbox: takes what the hub delivers, checks all that WIRE.md
//! section 3 tells a recipient to check, and hands each event to the sink once.
//!
//! The last number handled and the sink's mark are saved in one transaction,
//! after the sink's write is durable and before the acknowledgement. After a
//! crash the sink takes back what was written and not saved, so that each event
//! is handled exactly once.

use crate::bus::{BatchLimits, Bus, Consumer, Delivery, queue_of};
use crate::connect::aside::{self, Aside};
use crate::connect::drivers::{Checkpoint, DriverFault, Record, Sink};
use crate::connect::mapping::Mapping;
use crate::connect::recipient::{Accepted, Doubt, Recipient, Trust, Unverified};
use crate::connect::{ConnectFault, Counts};
use crate::event::{MemberName, Message, SchemaRef};
use crate::schema::{ReaderSchema, Registry};
use crate::store::Store;
use crate::tasks::{crunch, stopped};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

const STATE_ROW: &[u8] = b"inbox";
const SCHEMAS: &[u8] = b"schema/";
const SCHEMA_PUBLISHED: &str = "nc.hub.schema.published";
/// How long to wait before taking again what came too early, or what the sink
/// couldn't take: doubled each time.
const PAUSE: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(10)];

/// Up to where the inbox has handled what came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    epoch: u32,
    sequence: u64,
    mark: serde_json::Value,
}

/// The epoch and the sequence of the last message that was handled.
pub(super) fn last_handled(store: &Store) -> Result<Option<(u32, u64)>, ConnectFault> {
    Ok(saved(store)?.map(|state| (state.epoch, state.sequence)))
}

fn saved(store: &Store) -> Result<Option<State>, ConnectFault> {
    let unreadable = |_| ConnectFault::Unreadable("the inbox's state");
    store.get(STATE_ROW)?.map(|row| serde_json::from_slice(&row).map_err(unreadable)).transpose()
}

/// A member's inbox.
pub(super) struct Inbox {
    pub(super) member: MemberName,
    pub(super) store: Store,
    pub(super) bus: Arc<dyn Bus>,
    pub(super) recipient: Arc<Recipient>,
    pub(super) trust: Trust,
    pub(super) registry: Arc<Registry>,
    pub(super) mapping: Option<Arc<Mapping>>,
    pub(super) sink: Box<dyn Sink>,
    pub(super) keep_raw: bool,
    pub(super) limits: BatchLimits,
    pub(super) counts: Arc<Counts>,
    pub(super) aside: Aside,
}

/// What the sequence rule says of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// It was handled before.
    Before,
    /// It is the next.
    Now,
    /// Something is missing before it.
    Early,
}

impl State {
    /// The sequence rule of WIRE.md section 3.
    fn turn(&self, epoch: u32, sequence: u64) -> Turn {
        let expected = if epoch == self.epoch { self.sequence + 1 } else { 1 };
        match (epoch < self.epoch, sequence.cmp(&expected)) {
            (true, _) => Turn::Before,
            (false, std::cmp::Ordering::Less) => Turn::Before,
            (false, std::cmp::Ordering::Equal) => Turn::Now,
            (false, std::cmp::Ordering::Greater) => Turn::Early,
        }
    }
}

impl Inbox {
    /// Runs until `stop` says so. Fails where the store does, where the bus
    /// refuses, or where the sink says that someone has to do something.
    pub(super) async fn run(mut self, mut stop: watch::Receiver<bool>) -> Result<(), ConnectFault> {
        let mut state = self.resume().await?;
        let mut readers = self.readers()?;
        let queue = queue_of(&self.member);
        let mut consumer = tokio::select! {
            consumer = self.bus.consume(&queue, self.limits.messages * 4) => consumer?,
            () = stopped(&mut stop) => return Ok(()),
        };
        let mut pause = PAUSE[0];
        loop {
            let deliveries = tokio::select! {
                biased;
                () = stopped(&mut stop) => return Ok(()),
                deliveries = consumer.next(&self.limits) => deliveries?,
            };
            let handled =
                self.handle(deliveries, &mut state, &mut readers, consumer.as_mut(), &mut stop).await?;
            if handled {
                pause = PAUSE[0];
                continue;
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stopped(&mut stop) => return Ok(()),
            }
            pause = (pause * 2).min(PAUSE[1]);
        }
    }

    /// Takes up where the last run was saved; the sink takes back the rest.
    async fn resume(&mut self) -> Result<State, ConnectFault> {
        let saved = saved(&self.store)?;
        let mark = saved.as_ref().map(|state| Checkpoint(state.mark.clone()));
        let mark = self.sink.resume(mark.as_ref()).await?;
        let (epoch, sequence) = saved.map_or((1, 0), |state| (state.epoch, state.sequence));
        let state = State { epoch, sequence, mark: mark.0 };
        // The first mark is saved before the first write, so that a crash in
        // between takes that write back too.
        let row = serde_json::to_vec(&state).unwrap_or_default();
        self.store
            .commit(move |tx| {
                tx.put(STATE_ROW, &row);
                Ok(())
            })
            .await?;
        Ok(state)
    }

    /// The schemas that the hub published to this member.
    fn readers(&self) -> Result<Readers, ConnectFault> {
        let mut readers = Readers { registry: Arc::clone(&self.registry), published: HashMap::new() };
        for entry in self.store.scan(SCHEMAS) {
            let (key, json) = entry?;
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            readers
                .add(&text(&key[SCHEMAS.len()..]), &text(&json))
                .map_err(|_| ConnectFault::Unreadable("a schema that the hub published"))?;
        }
        Ok(readers)
    }

    /// Handles a batch. Returns false where something has to be waited for.
    async fn handle(
        &mut self,
        deliveries: Vec<Delivery>,
        state: &mut State,
        readers: &mut Readers,
        consumer: &mut dyn Consumer,
        stop: &mut watch::Receiver<bool>,
    ) -> Result<bool, ConnectFault> {
        self.counts.received.add(deliveries.len() as u64);
        let redelivered = deliveries.iter().filter(|d| d.redelivered).count();
        self.counts.redelivered.add(redelivered as u64);
        if redelivered > 0 {
            tracing::debug!(
                member = %self.member,
                redelivered,
                "messages came again whose acknowledgement wasn't written down"
            );
        }
        let mut draft = Draft { state: state.clone(), ..Draft::default() };
        let mut early = None;
        let checked = in_turn(self.check(deliveries).await);
        let tags: Vec<u64> = checked.iter().map(|(tag, _)| *tag).collect();
        let mut rest = checked.into_iter();
        while let Some((tag, checked)) = rest.next() {
            let first_left = |rest: std::vec::IntoIter<Checked>| rest.map(|(tag, _)| tag).fold(tag, u64::min);
            let turn = match &checked {
                Ok(accepted) => draft.state.turn(accepted.delivery.epoch, accepted.delivery.sequence),
                Err(Unverified { doubt: Doubt::Origin { epoch, sequence }, .. }) => {
                    draft.state.turn(*epoch, *sequence)
                }
                Err(Unverified { doubt: Doubt::Forged, .. }) => Turn::Now,
                Err(Unverified { doubt: Doubt::UnknownKey, .. }) => {
                    tracing::error!(
                        "the hub signs with a key that this member doesn't know; the messages wait. Ask the hub's \
                         operator for its hub.jwks.json, and put it in the place of the old one"
                    );
                    early = Some(first_left(rest));
                    break;
                }
            };
            match (turn, checked) {
                (Turn::Before, _) => self.counts.repeated.add(1),
                (Turn::Early, _) => {
                    tracing::warn!(
                        after = draft.state.sequence,
                        "a message came before the one that follows the last; it is given back and awaited. If this \
                         goes on, ask the hub's operator to replay from the next number"
                    );
                    self.counts.early.add(1);
                    early = Some(first_left(rest));
                    break;
                }
                (Turn::Now, Err(unverified)) => {
                    self.counts.unverified.add(1);
                    if let Doubt::Origin { epoch, sequence } = unverified.doubt {
                        (draft.state.epoch, draft.state.sequence) = (epoch, sequence);
                    }
                    let (why, message) = (&unverified.why, &unverified.message);
                    draft.aside.push(aside::Item::message("unverified", why, message));
                }
                (Turn::Now, Ok(accepted)) => {
                    draft.state.epoch = accepted.delivery.epoch;
                    draft.state.sequence = accepted.delivery.sequence;
                    if accepted.context.event_type.as_str() == SCHEMA_PUBLISHED {
                        readers.learn(&accepted, &mut draft);
                    }
                    draft.accepted.push(accepted);
                }
            }
        }
        if let Some(first_early) = early {
            consumer.requeue(first_early).await?;
        }
        let handled = draft.accepted.len() as u64;
        if !self.write(&mut draft, readers, stop).await? {
            // Nothing is saved nor acknowledged: all comes again.
            return Ok(false);
        }
        *state = draft.state.clone();
        save(&self.store, &self.aside, draft).await?;
        self.counts.handled.add(handled);
        let done = tags.into_iter().filter(|tag| early.is_none_or(|early| *tag < early)).max();
        if let Some(done) = done {
            consumer.ack(done).await?;
        }
        Ok(early.is_none())
    }

    /// Checks a batch on all cores. What a key of the hub or of a member may
    /// explain is checked once more with the keys as the files have them now: a
    /// key was added since.
    async fn check(&mut self, deliveries: Vec<Delivery>) -> Vec<Checked> {
        let messages = deliveries.into_iter().map(|d| (d.tag, d.message)).collect();
        let mut checked = check_all(&self.recipient, messages).await;
        let explained = |result: &Result<Accepted, Unverified>| {
            result.as_ref().is_err_and(|unverified| unverified.doubt != Doubt::Forged)
        };
        if !checked.iter().any(|(_, result)| explained(result)) {
            return checked;
        }
        match self.trust.read() {
            Ok(recipient) => self.recipient = Arc::new(recipient),
            Err(fault) => {
                tracing::error!(%fault, "the keys can't be read again; those that were read before count")
            }
        }
        for (_, result) in checked.iter_mut().filter(|(_, result)| explained(result)) {
            if let Err(unverified) = result {
                *result = self.recipient.check(std::mem::take(&mut unverified.message));
            }
        }
        checked
    }

    /// Decodes, maps and pushes what a batch holds; waits while the sink can't
    /// take it. Returns false where the program stops first.
    async fn write(
        &mut self,
        draft: &mut Draft,
        readers: &Readers,
        stop: &mut watch::Receiver<bool>,
    ) -> Result<bool, ConnectFault> {
        let accepted = std::mem::take(&mut draft.accepted);
        let work = (readers.clone(), self.mapping.clone(), self.keep_raw);
        let mapped = crunch(accepted, move |share: Vec<Accepted>| {
            let (readers, mapping, keep_raw) = &work;
            share.into_iter().map(|a| record(a, readers, mapping.as_deref(), *keep_raw)).collect::<Vec<_>>()
        })
        .await;
        let mut records = Vec::with_capacity(mapped.len());
        for mapped in mapped {
            match mapped {
                Ok(several) => records.extend(several),
                Err((why, message)) => {
                    self.counts.set_aside.add(1);
                    draft.aside.push(aside::Item::message("not handled", &why, &message));
                }
            }
        }
        if records.is_empty() {
            return Ok(true);
        }
        let mut pause = PAUSE[0];
        loop {
            match self.sink.push(&records).await {
                Ok(pushed) => {
                    for rejected in pushed.rejected {
                        self.counts.set_aside.add(1);
                        let message =
                            records.iter().find(|r| r.key == rejected.key).and_then(|r| r.raw.clone());
                        draft.aside.push(aside::Item::message(
                            "refused by the sink",
                            &rejected.reason,
                            &message.unwrap_or_default(),
                        ));
                    }
                    draft.state.mark = pushed.mark.0;
                    return Ok(true);
                }
                Err(DriverFault::Retry { after, detail }) => {
                    tracing::warn!(%detail, "the sink can't take events now; it is tried again");
                    tokio::select! {
                        () = tokio::time::sleep(after.unwrap_or(pause)) => {}
                        () = stopped(stop) => return Ok(false),
                    }
                    pause = (pause * 2).min(PAUSE[1]);
                    let mark = Checkpoint(draft.state.mark.clone());
                    self.sink.resume(Some(&mark)).await?;
                }
                Err(halt) => return Err(halt.into()),
            }
        }
    }
}

/// A message's tag, and what became of it.
type Checked = (u64, Result<Accepted, Unverified>);

/// Puts a batch in the order of the numbers: brokers can let a message overtake
/// another, where it was refused at first or is delivered again. Where a number
/// isn't known all stays as it came.
fn in_turn(mut batch: Vec<Checked>) -> Vec<Checked> {
    let number = |(_, checked): &Checked| match checked {
        Ok(accepted) => Some((accepted.delivery.epoch, accepted.delivery.sequence)),
        Err(Unverified { doubt: Doubt::Origin { epoch, sequence }, .. }) => Some((*epoch, *sequence)),
        Err(Unverified { doubt: Doubt::Forged, .. }) => Some((0, 0)),
        Err(Unverified { doubt: Doubt::UnknownKey, .. }) => None,
    };
    if !batch.is_sorted_by_key(number) && batch.iter().all(|checked| number(checked).is_some()) {
        batch.sort_by_key(number);
    }
    batch
}

/// Checks messages on all cores, in their order.
async fn check_all(recipient: &Arc<Recipient>, messages: Vec<(u64, Message)>) -> Vec<Checked> {
    let recipient = Arc::clone(recipient);
    let check = move |share: Vec<(u64, Message)>| {
        share.into_iter().map(|(tag, message)| (tag, recipient.check(message))).collect()
    };
    crunch(messages, check).await
}

/// Saves numbers, mark, schemas and what was set aside, in one commit.
async fn save(store: &Store, aside: &Aside, draft: Draft) -> Result<(), ConnectFault> {
    let row = serde_json::to_vec(&draft.state).unwrap_or_default();
    let aside = aside.clone();
    store
        .commit(move |tx| {
            tx.put(STATE_ROW, &row);
            for (reference, json) in &draft.schemas {
                tx.put(&[SCHEMAS, reference.as_bytes()].concat(), json.as_bytes());
            }
            aside.write(tx, &draft.aside)
        })
        .await?;
    Ok(())
}

/// What a batch changes.
struct Draft {
    state: State,
    accepted: Vec<Accepted>,
    schemas: Vec<(String, String)>,
    aside: Vec<aside::Item>,
}

impl Default for Draft {
    fn default() -> Draft {
        let state = State { epoch: 1, sequence: 0, mark: serde_json::Value::Null };
        Draft { state, accepted: Vec::new(), schemas: Vec::new(), aside: Vec::new() }
    }
}

/// The schemas that bodies are read with: those that the hub published, and
/// those that are built in.
#[derive(Clone)]
struct Readers {
    registry: Arc<Registry>,
    published: HashMap<String, Arc<ReaderSchema>>,
}

impl Readers {
    fn add(&mut self, reference: &str, json: &str) -> Result<(), String> {
        let parsed = SchemaRef::parse(reference).map_err(|fault| fault.to_string())?;
        let reader = ReaderSchema::parse(json, &parsed).map_err(|fault| fault.to_string())?;
        self.published.insert(reference.to_owned(), Arc::new(reader));
        Ok(())
    }

    /// Learns a schema that the hub publishes. One that can't be used is set
    /// aside with the events that need it.
    fn learn(&mut self, accepted: &Accepted, draft: &mut Draft) {
        let record = self.read(accepted);
        let text = |name: &str| record.as_ref().ok().and_then(|r| r.get(name)?.as_str().map(str::to_owned));
        let (Some(reference), Some(json)) = (text("reference"), text("schema")) else { return };
        match self.add(&reference, &json) {
            Ok(()) => draft.schemas.push((reference, json)),
            Err(fault) => {
                tracing::error!(%reference, %fault, "the hub published a schema that can't be used")
            }
        }
    }

    /// The event's data as JSON.
    fn read(&self, accepted: &Accepted) -> Result<serde_json::Value, String> {
        let reference = accepted.context.schema.to_string();
        let body = &accepted.message.body;
        let datum = match (self.published.get(&reference), self.registry.resolve(&accepted.context.schema)) {
            (Some(reader), _) => reader.decode(body),
            (None, Some(schema)) if accepted.context.schema.projection.is_none() => schema.decode(body),
            _ => return Err("the hub hasn't published the schema that dataschema names".to_owned()),
        };
        datum.map(|datum| datum.to_json()).map_err(|fault| fault.to_string())
    }
}

/// What the sink gets of one event; where it can't be had, why and the message.
fn record(
    accepted: Accepted,
    readers: &Readers,
    mapping: Option<&Mapping>,
    keep_raw: bool,
) -> Result<Vec<Record>, (String, Message)> {
    let data = match readers.read(&accepted) {
        Ok(data) => data,
        Err(why) => return Err((why, accepted.message)),
    };
    let attributes = &accepted.attributes;
    let value = serde_json::json!({
        "id": attributes.get("id"),
        "source": attributes.get("source"),
        "type": attributes.get("type"),
        "subject": attributes.get("subject"),
        "time": attributes.get("time"),
        "agreement": attributes.get("agreement"),
        "sequence": accepted.delivery.sequence,
        "data": data,
    });
    let values = match mapping.map(|mapping| mapping.map(&value)) {
        None => vec![value],
        Some(Ok(values)) => values,
        Some(Err(fault)) => return Err((fault.with_key(&accepted.context.id).to_string(), accepted.message)),
    };
    let kind = accepted.context.event_type.to_string();
    let mut raw = keep_raw.then_some(accepted.message);
    Ok(values
        .into_iter()
        .map(|value| Record {
            key: accepted.context.id.clone(),
            version: None,
            kind: kind.clone(),
            value,
            raw: raw.take(),
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_rule_is_that_of_the_wire_format() {
        let state = State { epoch: 2, sequence: 7, mark: serde_json::Value::Null };
        for ((epoch, sequence), turn) in [
            ((2, 7), Turn::Before),
            ((2, 1), Turn::Before),
            ((2, 8), Turn::Now),
            ((2, 9), Turn::Early),
            ((1, 8), Turn::Before),
            ((3, 1), Turn::Now),
            ((3, 2), Turn::Early),
        ] {
            assert_eq!(state.turn(epoch, sequence), turn, "{epoch}/{sequence}");
        }
    }
}
