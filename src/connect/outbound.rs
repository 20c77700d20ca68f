//! A member's outbox: pulls records from a source, maps, encodes and signs
//! them, publishes them, and saves the checkpoint once all are confirmed.
//!
//! Two tasks a stream: while one batch is being published, the next is pulled.
//! A crash before the checkpoint is saved pulls the batch again; its events have
//! the same ids, and the hub drops the repeats.

use crate::bus::{Bus, Confirm, EVENTS};
use crate::connect::aside::{self, Aside};
use crate::connect::drivers::{Batch, Checkpoint, DriverFault, Record, Settings, Source};
use crate::connect::identity::Identity;
use crate::connect::manifest::{Connector, SourceStream};
use crate::connect::{ConnectFault, Counts};
use crate::event::{Attributes, Envelope, MemberName, Message};
use crate::keys::PrivateKey;
use crate::schema::EventSchema;
use crate::seal::Secret32;
use crate::store::Store;
use crate::tasks::{crunch, stopped, stopped_for};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// The most records that are pulled at once.
const MOST: NonZeroUsize = NonZeroUsize::new(512).unwrap();
/// How long to wait before another try: doubled each time.
const PAUSE: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(30)];
/// How long a publishing may still take once the program is told to stop.
const GRACE: Duration = Duration::from_secs(5);
/// The row of how many events were published and confirmed.
pub(super) const PUBLISHED_ROW: &[u8] = b"count/published";

/// What signs a member's events.
pub struct Signer {
    /// The member.
    pub member: MemberName,
    /// The hub's name: the audience.
    pub hub: String,
    /// The member's `event` key.
    pub key: PrivateKey,
    /// Of which events' ids are made.
    pub id_secret: Secret32,
}

/// One stream of a connector.
pub(super) struct Outbox {
    pub(super) signer: Arc<Signer>,
    pub(super) store: Store,
    pub(super) bus: Arc<dyn Bus>,
    pub(super) connector: Arc<Connector>,
    /// The stream's place among the connector's sources.
    pub(super) stream: usize,
    pub(super) schema: Arc<EventSchema>,
    pub(super) generation: u32,
    pub(super) counts: Arc<Counts>,
    pub(super) aside: Aside,
}

/// What became of a pulled batch.
struct Draft {
    messages: Vec<(String, Message)>,
    aside: Vec<aside::Item>,
}

impl Outbox {
    fn stream(&self) -> &SourceStream {
        &self.connector.sources[self.stream]
    }

    fn checkpoint_row(&self) -> Vec<u8> {
        format!("checkpoint/{}/{}/{}", self.connector.name, self.stream().name, self.generation).into_bytes()
    }

    /// Runs until `stop` says so. Fails where the store does, the bus refuses,
    /// or the source says that someone has to do something.
    pub(super) async fn run(
        self,
        settings: Settings,
        stop: watch::Receiver<bool>,
    ) -> Result<(), ConnectFault> {
        let source = self.stream().open(&settings)?;
        let after = match self.store.get(&self.checkpoint_row())? {
            None => None,
            Some(row) => {
                Some(serde_json::from_slice(&row).map_err(|_| ConnectFault::Unreadable("a checkpoint"))?)
            }
        };
        let (send, receive) = mpsc::channel(1);
        let every = self.stream().every;
        let counts = Arc::clone(&self.counts);
        let name = format!("{}/{}", self.connector.name, self.stream().name);
        let pulling = tokio::spawn(pull_all(source, after, every, send, stop.clone(), counts, name));
        let publishing = self.publish_all(receive, stop).await;
        pulling.abort();
        match pulling.await {
            Ok(pulled) => publishing.and(pulled),
            Err(_) => publishing,
        }
    }

    async fn publish_all(
        &self,
        mut batches: mpsc::Receiver<Batch>,
        mut stop: watch::Receiver<bool>,
    ) -> Result<(), ConnectFault> {
        loop {
            let batch = tokio::select! {
                biased;
                () = stopped(&mut stop) => return Ok(()),
                batch = batches.recv() => batch,
            };
            let Some(Batch { records, rejected, next, .. }) = batch else { return Ok(()) };
            let mut draft = self.draft(records).await;
            for rejected in rejected {
                let why = format!("{}: {}", rejected.key, rejected.reason);
                draft.aside.push(aside::Item::record("not read", &why, &serde_json::Value::Null));
            }
            let published = draft.messages.len() as u64;
            self.counts.set_aside.add(draft.aside.len() as u64);
            if !self.publish(draft.messages, &mut stop).await? {
                return Ok(());
            }
            self.counts.published.add(published);
            self.save(next, published, draft.aside).await?;
        }
    }

    /// Maps, encodes and signs a batch on all cores, in its order.
    async fn draft(&self, records: Vec<Record>) -> Draft {
        let work = Arc::new((
            Arc::clone(&self.signer),
            Arc::clone(&self.connector),
            self.stream,
            Arc::clone(&self.schema),
            self.generation,
        ));
        let made = crunch(records, move |share: Vec<Record>| {
            let (signer, connector, stream, schema, generation) = &*work;
            let stream = &connector.sources[*stream];
            share
                .into_iter()
                .map(|record| {
                    let made = signer.events(&record, stream, schema, *generation);
                    made.map_err(|why| aside::Item::record("not mapped", &why, &record.value))
                })
                .collect()
        });
        let mut draft = Draft { messages: Vec::new(), aside: Vec::new() };
        for made in made.await {
            match made {
                Ok(messages) => draft.messages.extend(messages),
                Err(item) => draft.aside.push(item),
            }
        }
        draft
    }

    /// Publishes in order until all is confirmed. Returns false where the
    /// program stops first: the batch is pulled again when it starts.
    async fn publish(
        &self,
        mut messages: Vec<(String, Message)>,
        stop: &mut watch::Receiver<bool>,
    ) -> Result<bool, ConnectFault> {
        let mut pause = PAUSE[0];
        while !messages.is_empty() {
            // Bodies are shared; what is copied are the headers, and only so
            // that what a full queue refuses can be sent again.
            let confirms = tokio::select! {
                confirms = self.bus.publish(EVENTS, messages.clone()) => confirms?,
                // A broker that is away must not keep the program from stopping.
                () = stopped_for(stop.clone(), GRACE) => return Ok(false),
            };
            let done = confirms.iter().take_while(|confirm| matches!(confirm, Confirm::Accepted)).count();
            messages.drain(..done);
            if messages.is_empty() {
                break;
            }
            if done > 0 {
                pause = PAUSE[0];
            }
            tracing::warn!(
                waiting = messages.len(),
                "the hub's inbox takes no more now; the events are sent again"
            );
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stopped(stop) => return Ok(false),
            }
            pause = (pause * 2).min(PAUSE[1]);
        }
        Ok(true)
    }

    /// Saves the checkpoint and what was set aside, in one commit.
    async fn save(
        &self,
        next: Option<Checkpoint>,
        published: u64,
        items: Vec<aside::Item>,
    ) -> Result<(), ConnectFault> {
        let (key, aside) = (self.checkpoint_row(), self.aside.clone());
        let row = next.map(|checkpoint| serde_json::to_vec(&checkpoint).unwrap_or_default());
        self.store
            .commit(move |tx| {
                if let Some(row) = &row {
                    tx.put(&key, row);
                }
                let before =
                    tx.get(PUBLISHED_ROW).and_then(|row| row.try_into().ok()).map_or(0, u64::from_be_bytes);
                tx.put(PUBLISHED_ROW, &(before + published).to_be_bytes());
                aside.write(tx, &items)
            })
            .await?;
        Ok(())
    }
}

impl Signer {
    /// The signed events of a record, or a sentence that names its key, the
    /// place in the mapping and the field.
    pub fn events(
        &self,
        record: &Record,
        stream: &SourceStream,
        schema: &EventSchema,
        generation: u32,
    ) -> Result<Vec<(String, Message)>, String> {
        let outputs =
            stream.mapping.map(&record.value).map_err(|fault| fault.with_key(&record.key).to_string())?;
        let mut messages = Vec::with_capacity(outputs.len());
        for (nth, output) in outputs.iter().enumerate() {
            let of_record = |why: String| format!("the record {}: {why}", record.key);
            let body = schema.encode_json(output).map_err(|faults| {
                let all: Vec<String> = faults.iter().map(ToString::to_string).collect();
                of_record(format!(
                    "the mapping {} gives what the schema refuses: {}",
                    stream.mapping.name(),
                    all.join("; ")
                ))
            })?;
            let event_type = stream.event_type.as_str();
            let identity = stream
                .identity
                .identify(record, nth, self.id_secret.expose(), &stream.system, event_type, generation)
                .map_err(of_record)?;
            messages.push(self.sign(identity, &stream.system, schema, body.into()));
        }
        Ok(messages)
    }

    /// The message of one event, signed, and its routing key (WIRE.md section
    /// 1). `body` is in single-object encoding with `schema`.
    pub fn sign(
        &self,
        identity: Identity,
        system: &str,
        schema: &EventSchema,
        body: bytes::Bytes,
    ) -> (String, Message) {
        let event_type = schema.event_type().as_str();
        let mut attributes = Attributes::default();
        attributes.set("specversion", "1.0");
        attributes.set("id", identity.id);
        attributes.set("source", format!("/{}/{system}", self.member));
        attributes.set("type", event_type);
        attributes.set("subject", identity.subject);
        attributes.set("time", identity.time);
        attributes.set("datacontenttype", "application/avro");
        attributes.set("dataschema", schema.reference().to_string());
        let signature = self.key.sign_event(&self.hub, &attributes, &body);
        let envelope = Envelope { attributes, signature, origin_signature: None };
        (format!("{}.{event_type}", self.member), envelope.message(self.member.as_str(), body))
    }
}

/// Pulls batch after batch; waits `every` once everything was read. Not pulling
/// is the backpressure: the channel holds one batch.
async fn pull_all(
    mut source: Box<dyn Source>,
    mut after: Option<Checkpoint>,
    every: Duration,
    send: mpsc::Sender<Batch>,
    mut stop: watch::Receiver<bool>,
    counts: Arc<Counts>,
    name: String,
) -> Result<(), ConnectFault> {
    let mut pause = PAUSE[0];
    loop {
        let wait = match source.pull(after.as_ref(), MOST).await {
            Ok(batch) => {
                pause = PAUSE[0];
                counts.pulled(batch.records.len() as u64);
                let more = batch.more;
                after = batch.next.clone().or(after);
                if send.send(batch).await.is_err() {
                    return Ok(());
                }
                if more {
                    continue;
                }
                every
            }
            Err(DriverFault::Retry { after: at_least, detail }) => {
                tracing::warn!(stream = name, %detail, "the source doesn't answer; it is asked again");
                let wait = at_least.unwrap_or(pause).max(pause);
                pause = (pause * 2).min(PAUSE[1]);
                wait
            }
            Err(halt) => return Err(halt.into()),
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = stopped(&mut stop) => return Ok(()),
        }
    }
}
