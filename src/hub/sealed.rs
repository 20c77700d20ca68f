//! Sealing: a decided event becomes the message that its recipient gets, signed
//! by the hub (WIRE.md section 3).

use crate::agreements::SubjectMode;
use crate::event::{Attributes, Envelope, MemberName, Message};
use crate::hub::decide::{Cut, Decided, DecisionRow, Plan};
use crate::hub::recorded::{self, Class, RecordedBatch, RecordedEvent};
use crate::hub::world::World;
use crate::hub::{HubFault, SCHEMA_PUBLISHED, Shared, WITHHELD};
use crate::journal::{self, Entry, Leaf};
use crate::keys::PrivateKey;
use crate::metrics::Stage;
use crate::persons::{NO_PERSON, Pairwise, TAG, TAGS_LOG};
use crate::tasks::crunch_short;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use sha2::{Digest, Sha256};
use std::sync::{Arc, OnceLock};

/// A message signed for its recipient, and the journal's entry for it.
pub(super) struct Sealed {
    pub(super) routing_key: String,
    pub(super) message: Message,
    pub(super) leaf: Leaf,
    /// The salt of the message's name in the journal.
    pub(super) salt: [u8; 32],
    /// What the name of its event there is made of.
    pub(super) event: Option<EventName>,
    /// Why the payload of its event is gone, where it stands in place of that
    /// message, which the journal's entry names.
    pub(super) gone: Option<Gone>,
}

/// What the name is made of that a delivery's entry gives its event.
pub(super) struct EventName {
    pub(super) salt: [u8; 32],
    pub(super) fingerprint: [u8; 32],
}

/// One message to make.
struct Job {
    number: u64,
    decided: Arc<Decided>,
    what: What,
}

enum What {
    /// The schema of class N.
    Schema(u16),
    /// The event at this place of the batch.
    Event(u32),
}

/// Seals all the messages of `decided`, in the order of their numbers.
pub(super) async fn seal(
    shared: &Arc<Shared>,
    world: &Arc<World>,
    recipient: &MemberName,
    decided: &[Arc<Decided>],
) -> Result<Vec<Sealed>, HubFault> {
    let mut jobs = Vec::new();
    for decided in decided {
        let row = &decided.row;
        if row.messages == 0 {
            continue;
        }
        let mut number = row.sequence;
        let mut push = |what| {
            jobs.push(Job { number, decided: Arc::clone(decided), what });
            number += 1;
        };
        row.schemas.iter().for_each(|class| push(What::Schema(*class)));
        // What was skipped then took no number; what was erased since did.
        let mut skipped = row.skipped.iter().peekable();
        for (place, class) in (0..).zip(&decided.batch.numbers) {
            if matches!(decided.plans[usize::from(*class)], Plan::Skip)
                || skipped.next_if_eq(&&place).is_some()
            {
                continue;
            }
            push(What::Event(place));
        }
    }
    let sealer =
        Sealer { shared: Arc::clone(shared), world: Arc::clone(world), recipient: recipient.clone() };
    let sealed = crunch_short(jobs, move |share: Vec<Job>| {
        let stage = sealer.shared.metrics.stage(Stage::Seal);
        stage.time(share.len() as u64, || share.iter().map(|job| sealer.seal(job)).collect())
    });
    sealed.await.into_iter().collect()
}

/// What stands in place of message `number` of `row` for `recipient`, whose event
/// was erased: the same as when it is decided or sent again.
pub(super) fn erased(
    shared: &Arc<Shared>,
    world: &Arc<World>,
    recipient: &MemberName,
    row: &DecisionRow,
    number: u64,
) -> Result<Sealed, HubFault> {
    let sealer =
        Sealer { shared: Arc::clone(shared), world: Arc::clone(world), recipient: recipient.clone() };
    let batch = Arc::new(RecordedBatch {
        first: row.first,
        at: 0,
        set: 0,
        classes: Vec::new(),
        numbers: Vec::new(),
        events: Vec::new(),
        bytes: 0,
        concerned: OnceLock::new(),
    });
    let decided = Arc::new(Decided { row: row.clone(), plans: Vec::new(), batch });
    sealer.withheld(&Job { number, decided, what: What::Event(0) }, Gone::Erased)
}

/// Why a payload isn't there any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gone {
    /// The person was erased.
    Erased,
    /// Its days were over.
    Expired,
}

impl Gone {
    /// As `nc.hub.delivery.withheld` says it.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Gone::Erased => "erased",
            Gone::Expired => "expired",
        }
    }
}

impl Shared {
    /// Why the payload of event `index` is gone: who was erased has no tag any
    /// more. The hub's own messages never had one, and only expire.
    pub(super) fn why_gone(&self, index: u64) -> Result<Gone, HubFault> {
        let Some((first, row)) = self.timeline.row_of(index)? else { return Ok(Gone::Expired) };
        let class = row.events.get((index - first) as usize).map(|(class, _)| usize::from(*class));
        let of_member = class.and_then(|class| row.classes.get(class)).is_some_and(|c| c.publisher.is_some());
        let tag = self.store.read(TAGS_LOG, index * TAG as u64, TAG)?;
        Ok(if of_member && tag == NO_PERSON { Gone::Erased } else { Gone::Expired })
    }

    /// How `recipient` knows the `subject` of an event of `class` that is granted
    /// to it under `mode`.
    pub(super) fn subject_for(
        &self,
        world: &World,
        class: &Class,
        recipient: &str,
        subject: &str,
        mode: SubjectMode,
    ) -> String {
        let kind = subject.split('/').next().unwrap_or_default();
        let schema = world.registry.get(class.event_type.as_str(), class.version);
        let personal = schema.is_none_or(|schema| schema.is_personal(kind));
        match &class.publisher {
            Some(publisher) if personal && mode != SubjectMode::Publisher => {
                self.pairwise.subject(publisher.as_str(), recipient, subject)
            }
            _ => subject.to_owned(),
        }
    }
}

#[derive(Clone)]
struct Sealer {
    shared: Arc<Shared>,
    world: Arc<World>,
    recipient: MemberName,
}

impl Sealer {
    fn seal(&self, job: &Job) -> Result<Sealed, HubFault> {
        let decided = &job.decided;
        match job.what {
            What::Schema(class) => self.schema(job, &decided.plans[usize::from(class)]),
            What::Event(place) => match &decided.batch.events[place as usize] {
                Some(event) => self.event(job, decided.batch.numbers[place as usize], event),
                None => self.withheld(job, self.shared.why_gone(decided.batch.first + u64::from(place))?),
            },
        }
    }

    /// What stands in place of a message whose payload is gone.
    fn withheld(&self, job: &Job, why: Gone) -> Result<Sealed, HubFault> {
        let notice = self.hub_message(job, WITHHELD, &serde_json::json!({"reason": why.as_str()}))?;
        Ok(Sealed { gone: Some(why), ..notice })
    }

    /// The JSON text of a schema, before its first use.
    fn schema(&self, job: &Job, plan: &Plan) -> Result<Sealed, HubFault> {
        let (reference, projection) =
            plan.schema().ok_or(HubFault::Damaged("a decision publishes a schema that it doesn't use"))?;
        let record = serde_json::json!({"reference": reference, "schema": projection.json()});
        self.hub_message(job, SCHEMA_PUBLISHED, &record)
    }

    /// A message of the hub's own that isn't in the timeline. The journal's
    /// salt comes of the hub's secret: there is nothing of a person in it.
    fn hub_message(
        &self,
        job: &Job,
        event_type: &str,
        record: &serde_json::Value,
    ) -> Result<Sealed, HubFault> {
        let (event_type, body) = self.world.hub_types.encode(event_type, record)?;
        let row = &job.decided.row;
        let at = jiff::Timestamp::from_millisecond(row.at).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        let name = format!("delivery/{}/{}/{}", self.recipient, row.epoch, job.number);
        let attributes = self.shared.hub_attributes(&event_type, &name, at);
        let secret = self.shared.secrets.journal.expose();
        self.finish(job, attributes, Bytes::from(body), None, secret, None, None)
    }

    fn event(&self, job: &Job, class: u16, event: &RecordedEvent) -> Result<Sealed, HubFault> {
        let given = |name| event.attributes.get(name).unwrap_or_default();
        let recipient = self.recipient.as_str();
        let plan = &job.decided.plans[usize::from(class)];
        let (agreement, attributes, body, origin) = match plan {
            Plan::Skip => return Err(HubFault::Damaged("a decision numbers an event that it skips")),
            Plan::Own => {
                let (attributes, body) = (event.attributes.clone(), event.body.clone());
                return self.finish(job, attributes, body, None, event.key.expose(), Some(event), None);
            }
            Plan::Verbatim { agreement, .. } => {
                let signature = event.signature.as_deref().unwrap_or_default();
                let (attributes, origin) = verbatim(&event.attributes, signature);
                (agreement, attributes, event.body.clone(), Some(origin))
            }
            Plan::Project { agreement, cut, subject } => {
                let subject = self.subject(job, class, given("subject"), *subject);
                let pairwise = &self.shared.pairwise;
                let (attributes, body) =
                    projected(&event.attributes, &event.body, cut, subject, pairwise, recipient)?;
                (agreement, attributes, body, None)
            }
        };
        self.finish(job, attributes, body, Some(agreement), event.key.expose(), Some(event), origin)
    }

    fn subject(&self, job: &Job, class: u16, subject: &str, mode: SubjectMode) -> String {
        let class = &job.decided.batch.classes[usize::from(class)];
        self.shared.subject_for(&self.world, class, self.recipient.as_str(), subject, mode)
    }

    /// Adds what the hub says of the delivery, signs, and names the message for
    /// the journal.
    #[expect(clippy::too_many_arguments, reason = "the parts of one message, each used once")]
    fn finish(
        &self,
        job: &Job,
        mut attributes: Attributes,
        body: Bytes,
        agreement: Option<&String>,
        secret: &[u8; 32],
        event: Option<&RecordedEvent>,
        origin_signature: Option<String>,
    ) -> Result<Sealed, HubFault> {
        let row = &job.decided.row;
        let recipient = self.recipient.as_str();
        let numbered = Numbered { recipient, epoch: row.epoch, sequence: job.number };
        let signature =
            numbered.sign(&self.shared.delivery, &mut attributes, &body, agreement.map(String::as_str));
        let fingerprint = journal::fingerprint(&signature, &body);
        let salt = Sealed::salt_of(secret, recipient, row.epoch, job.number);
        let event = event.map(|event| EventName {
            salt: recorded::delivered_event_salt(&event.key, recipient),
            fingerprint: event.fingerprint,
        });
        let leaf = Leaf::new(&Entry::Delivered {
            at: row.at,
            name: journal::message_name(&salt, &fingerprint),
            event: event.as_ref().map_or([0; 32], |e| journal::message_name(&e.salt, &e.fingerprint)),
            recipient: recipient.to_owned(),
            epoch: row.epoch,
            sequence: job.number,
            agreement: agreement.cloned().unwrap_or_default(),
        });
        let (routing_key, message) = numbered.message(attributes, signature, origin_signature, body);
        Ok(Sealed { routing_key, message, leaf, salt, event, gone: None })
    }
}

/// The place of a message among those of its recipient.
pub(super) struct Numbered<'a> {
    /// Whom it is for.
    pub(super) recipient: &'a str,
    /// The epoch.
    pub(super) epoch: u32,
    /// The number.
    pub(super) sequence: u64,
}

impl Numbered<'_> {
    /// Adds what the hub says of the delivery, and signs.
    pub(super) fn sign(
        &self,
        key: &PrivateKey,
        attributes: &mut Attributes,
        body: &[u8],
        agreement: Option<&str>,
    ) -> String {
        attributes.set("recipient", self.recipient);
        attributes.set("epoch", self.epoch.to_string());
        attributes.set("sequence", format!("{:020}", self.sequence));
        if let Some(agreement) = agreement {
            attributes.set("agreement", agreement);
        }
        key.sign_event(self.recipient, attributes, body)
    }

    /// The message, with its routing key.
    pub(super) fn message(
        &self,
        attributes: Attributes,
        signature: String,
        origin_signature: Option<String>,
        body: Bytes,
    ) -> (String, Message) {
        let routing_key = format!("{}.{}", self.recipient, attributes.get("type").unwrap_or_default());
        let envelope = Envelope { attributes, signature, origin_signature };
        (routing_key, envelope.message("hub", body))
    }
}

/// The attributes that every delivery has of its event.
fn kept(given: &Attributes, names: &[&str]) -> Attributes {
    let mut attributes = Attributes::default();
    for name in ["specversion", "source", "type", "datacontenttype"].iter().chain(names) {
        attributes.set(name, given.get(name).unwrap_or_default());
    }
    attributes
}

/// The attributes of an event that is carried whole, and the publisher's own
/// signature, which goes along.
pub(super) fn verbatim(given: &Attributes, signature: &str) -> (Attributes, String) {
    let mut attributes = kept(given, &["id", "time", "dataschema", "subject"]);
    attributes.set("origin", URL_SAFE_NO_PAD.encode(Sha256::digest(signature)));
    (attributes, signature.to_owned())
}

/// The attributes and the body of an event that is cut to what is granted, with
/// `subject` as the recipient gets it.
pub(super) fn projected(
    given: &Attributes,
    body: &Bytes,
    cut: &Cut,
    subject: String,
    pairwise: &Pairwise,
    recipient: &str,
) -> Result<(Attributes, Bytes), HubFault> {
    let of = |name| given.get(name).unwrap_or_default();
    let mut attributes = kept(given, &[]);
    attributes.set("id", pairwise.event_id(of("source"), recipient, of("id")));
    // Cut to the second: `2026-11-24T01:02:03.4Z` to `2026-11-24T01:02:03Z`.
    attributes.set("time", format!("{}Z", of("time").get(..19).unwrap_or(of("time"))));
    attributes.set("dataschema", cut.projected.as_str());
    attributes.set("subject", subject);
    let body = cut.projection.apply(body).map_err(|_| {
        // Intake decoded this very body with this very schema.
        HubFault::Damaged("a recorded event's body can't be projected")
    })?;
    Ok((attributes, Bytes::from(body)))
}
