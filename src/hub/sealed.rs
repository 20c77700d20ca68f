//! Sealing: a decided event becomes the message that its recipient gets, signed
//! by the hub (WIRE.md section 3).

use crate::agreements::SubjectMode;
use crate::event::{Attributes, Envelope, MemberName, Message};
use crate::hub::decide::{Decided, Plan};
use crate::hub::recorded::{self, RecordedEvent};
use crate::hub::world::World;
use crate::hub::{HubFault, SCHEMA_PUBLISHED, Shared, WITHHELD};
use crate::journal::{self, Entry, Leaf, Name};
use crate::metrics::Stage;
use crate::tasks::crunch;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// A message signed for its recipient, and the journal's entry for it.
pub(super) struct Sealed {
    pub(super) routing_key: String,
    pub(super) message: Message,
    pub(super) leaf: Leaf,
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
    let sealed = crunch(jobs, move |share: Vec<Job>| {
        let stage = sealer.shared.metrics.stage(Stage::Seal);
        stage.time(share.len() as u64, || share.iter().map(|job| sealer.seal(job)).collect())
    });
    sealed.await.into_iter().collect()
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
                None => self.hub_message(job, WITHHELD, &serde_json::json!({"reason": "erased"})),
            },
        }
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
        self.finish(job, attributes, Bytes::from(body), None, secret, [0; 32], None)
    }

    fn event(&self, job: &Job, class: u16, event: &RecordedEvent) -> Result<Sealed, HubFault> {
        let given = |name| event.attributes.get(name).unwrap_or_default();
        let recipient = self.recipient.as_str();
        let plan = &job.decided.plans[usize::from(class)];
        let (agreement, cut) = match plan {
            Plan::Skip => return Err(HubFault::Damaged("a decision numbers an event that it skips")),
            Plan::Own => {
                let (attributes, body) = (event.attributes.clone(), event.body.clone());
                return self.finish(job, attributes, body, None, event.key.expose(), event.name, None);
            }
            Plan::Verbatim { agreement, cut } | Plan::Project { agreement, cut, .. } => (agreement, cut),
        };
        let mut attributes = Attributes::default();
        for name in ["specversion", "source", "type", "datacontenttype"] {
            attributes.set(name, given(name));
        }
        let Plan::Project { subject, .. } = plan else {
            let signature = event.signature.as_deref().unwrap_or_default();
            for name in ["id", "time", "dataschema", "subject"] {
                attributes.set(name, given(name));
            }
            attributes.set("origin", URL_SAFE_NO_PAD.encode(Sha256::digest(signature)));
            let origin = Some(signature.to_owned());
            return self.finish(
                job,
                attributes,
                event.body.clone(),
                Some(agreement),
                event.key.expose(),
                event.name,
                origin,
            );
        };
        let (source, time) = (given("source"), given("time"));
        attributes.set("id", self.shared.pairwise.event_id(source, recipient, given("id")));
        // Cut to the second: `2026-11-24T01:02:03.4Z` to `2026-11-24T01:02:03Z`.
        attributes.set("time", format!("{}Z", time.get(..19).unwrap_or(time)));
        attributes.set("dataschema", cut.projected.as_str());
        attributes.set("subject", self.subject(job, class, given("subject"), *subject));
        let body = cut.projection.apply(&event.body).map_err(|_| {
            // Intake decoded this very body with this very schema.
            HubFault::Damaged("a recorded event's body can't be projected")
        })?;
        self.finish(job, attributes, Bytes::from(body), Some(agreement), event.key.expose(), event.name, None)
    }

    fn subject(&self, job: &Job, class: u16, subject: &str, mode: SubjectMode) -> String {
        let class = &job.decided.batch.classes[usize::from(class)];
        let kind = subject.split('/').next().unwrap_or_default();
        let schema = self.world.registry.get(class.event_type.as_str(), class.version);
        let personal = schema.is_none_or(|schema| schema.is_personal(kind));
        match (&class.publisher, mode) {
            (Some(publisher), SubjectMode::Pseudonym | SubjectMode::Own) if personal => {
                self.shared.pairwise.subject(publisher.as_str(), self.recipient.as_str(), subject)
            }
            _ => subject.to_owned(),
        }
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
        event: Name,
        origin_signature: Option<String>,
    ) -> Result<Sealed, HubFault> {
        let row = &job.decided.row;
        let recipient = self.recipient.as_str();
        attributes.set("recipient", recipient);
        attributes.set("epoch", row.epoch.to_string());
        attributes.set("sequence", format!("{:020}", job.number));
        if let Some(agreement) = agreement {
            attributes.set("agreement", agreement.as_str());
        }
        let signature = self.shared.delivery.sign_event(recipient, &attributes, &body);
        let fingerprint = journal::fingerprint(&signature, &body);
        let purpose: [&[u8]; 4] =
            [b"delivered", recipient.as_bytes(), &row.epoch.to_be_bytes(), &job.number.to_be_bytes()];
        let leaf = Leaf::new(&Entry::Delivered {
            at: row.at,
            name: recorded::journal_name(secret, &purpose, &fingerprint),
            event,
            recipient: recipient.to_owned(),
            epoch: row.epoch,
            sequence: job.number,
            agreement: agreement.cloned().unwrap_or_default(),
        });
        let routing_key = format!("{recipient}.{}", attributes.get("type").unwrap_or_default());
        let envelope = Envelope { attributes, signature, origin_signature };
        Ok(Sealed { routing_key, message: envelope.message("hub", body), leaf })
    }
}
