//! The sandbox: a recipient that answers each test event with what is wrong with
//! it, by the very checks of intake (WIRE.md section 2).
//!
//! A refused event is answered with the notice that the hub would send, a good
//! one with the event itself as a recipient would get it (WIRE.md section 3): so
//! a newcomer tests its publishing and its receiving at once. Who publishes is
//! who receives; nobody else gets anything, and nothing is recorded.
//!
//! **The audience stays the hub's name**, so that a client is tested as it will
//! run. What is signed for the sandbox could then be taken in by the hub, but only
//! from the member itself: the broker checks `user_id`, and the hub that it is the
//! signer. **The epoch is the second at which the sandbox started**, since its
//! numbers begin at 1 each time: a recipient that goes on with that state would
//! ignore the hub's epoch 1, so a test has state of its own.

use crate::agreements::{SubjectMode, today};
use crate::bus::{BatchLimits, Bus, Confirm, DELIVERIES, Delivery, INBOX};
use crate::config::HubConfig;
use crate::event::{Attributes, EventType, MemberName, Message};
use crate::fault::Refusal;
use crate::hub::check::{Decoded, Received, Refused, Rules};
use crate::hub::decide::Cut;
use crate::hub::record::notice_of;
use crate::hub::running::delivery_key;
use crate::hub::sealed::{Numbered, projected, verbatim};
use crate::hub::shared::own_attributes;
use crate::hub::world::World;
use crate::hub::{HubFault, HubOptions, REJECTED, SCHEMA_PUBLISHED};
use crate::keys::PrivateKey;
use crate::persons::Pairwise;
use crate::seal::SealFault;
use crate::tasks::stopped;
use bytes::Bytes;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use tokio::sync::watch;
use zeroize::Zeroizing;

/// The agreement under which a member gets its own events back.
pub const AGREEMENT: &str = "sandbox:1";

/// So many events are known again, to be found as repeats; then all are
/// forgotten.
const KNOWN: usize = 100_000;

/// What became of a test event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is good, and went back.
    Delivered,
    /// The same came before: the hub would acknowledge it, and nothing more.
    Duplicate,
    /// The hub would refuse it.
    Refused(Refusal),
}

/// One test event, for whoever runs the sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Who sent it, as the broker says; none where that isn't a member.
    pub member: Option<MemberName>,
    /// The type that it gives, where that has the form of one.
    pub event_type: Option<String>,
    /// The id that it gives, where that has the form of one.
    pub id: Option<String>,
    /// What became of it.
    pub outcome: Outcome,
    /// Whether the answer is in the member's queue: it isn't where that is full,
    /// isn't there, or nobody is to be answered.
    pub answered: bool,
}

/// What a message of the sandbox is made of, but for its number.
enum Answer {
    /// One of the hub's own.
    Own {
        event_type: EventType,
        body: Vec<u8>,
        /// The schema that it brings.
        schema: Option<String>,
    },
    /// The member's event.
    Event { attributes: Attributes, body: Bytes, origin: Option<String> },
}

/// The sandbox.
pub struct Sandbox {
    name: String,
    rules: Rules,
    limits: BatchLimits,
    world: World,
    key: PrivateKey,
    /// Of this run alone: a pseudonym of the sandbox is none of the hub's.
    pairwise: Pairwise,
    own_ids: Zeroizing<[u8; 32]>,
    epoch: u32,
    subject: SubjectMode,
    /// The last number of each member.
    sequences: HashMap<MemberName, u64>,
    /// The schemas that a member was sent.
    published: HashSet<(MemberName, String)>,
    seen: HashMap<[u8; 32], [u8; 32]>,
    cuts: BTreeMap<(EventType, u32), Arc<Cut>>,
}

impl Sandbox {
    /// A sandbox with the delivery key, the members and the schemas of `config`.
    /// Good events go back whole, with their subject as `subject` says; a subject
    /// unchanged goes with the publisher's signature.
    pub fn open(config: &HubConfig, subject: SubjectMode) -> Result<Sandbox, HubFault> {
        let options = HubOptions::of(config);
        let mut secrets = [Zeroizing::new([0; 32]), Zeroizing::new([0; 32])];
        for secret in &mut secrets {
            getrandom::fill(secret.as_mut_slice()).map_err(SealFault::Random)?;
        }
        let [pairwise, own_ids] = secrets;
        Ok(Sandbox {
            name: config.name.clone(),
            rules: options.rules,
            limits: options.limits,
            world: World::load(&options.sources, today())?,
            key: delivery_key(config)?,
            pairwise: Pairwise::new(*pairwise),
            own_ids,
            epoch: u32::try_from(jiff::Timestamp::now().as_second()).unwrap_or(u32::MAX),
            subject,
            sequences: HashMap::new(),
            published: HashSet::new(),
            seen: HashMap::new(),
            cuts: BTreeMap::new(),
        })
    }

    /// The members whose events it knows.
    pub fn members(&self) -> impl Iterator<Item = &MemberName> {
        self.world.directory.members()
    }

    /// Answers what comes to the inbox of `bus` until `stop` says so, and tells
    /// each verdict. A message is acknowledged once it is answered.
    pub async fn serve(
        &mut self,
        bus: &dyn Bus,
        told: &mut (dyn FnMut(Verdict) + Send),
        mut stop: watch::Receiver<bool>,
    ) -> Result<(), HubFault> {
        let mut consumer = bus.consume(INBOX, self.limits.messages).await?;
        loop {
            let deliveries = tokio::select! {
                biased;
                () = stopped(&mut stop) => return Ok(()),
                deliveries = consumer.next(&self.limits) => deliveries?,
            };
            for delivery in deliveries {
                let tag = delivery.tag;
                tokio::select! {
                    biased;
                    () = stopped(&mut stop) => return Ok(()),
                    verdict = self.answer(bus, delivery) => told(verdict?),
                }
                consumer.ack(tag).await?;
            }
        }
    }

    /// Checks one message as the hub would, and publishes the answer.
    async fn answer(&mut self, bus: &dyn Bus, delivery: Delivery) -> Result<Verdict, HubFault> {
        let now = jiff::Timestamp::now();
        let received = Received::new(delivery);
        let claims = received.claims();
        let sender = received.message().user_id.as_deref().and_then(|user| MemberName::parse(user).ok());
        let member = sender.filter(|member| self.world.directory.contains(member.as_str()));
        let (outcome, answers) = match received
            .verify(&self.world, &self.rules, now)
            .and_then(|verified| verified.decode(&self.world))
            .and_then(|decoded| self.known(decoded))
        {
            Ok(None) => (Outcome::Duplicate, Vec::new()),
            Ok(Some(decoded)) => (Outcome::Delivered, self.back(&decoded)?),
            Err(refused) => {
                let answers = match member {
                    Some(_) => vec![self.own(REJECTED, &notice_of(&refused, now))?],
                    None => Vec::new(),
                };
                (Outcome::Refused(refused.refusal), answers)
            }
        };
        let mut answered = member.is_some();
        if let Some(member) = &member {
            for answer in answers {
                answered = answered && self.publish(bus, member, answer, now).await?;
            }
        }
        Ok(Verdict { member, event_type: claims.event_type, id: claims.id, outcome, answered })
    }

    /// None where the same was good before; refused where another was, with its
    /// source and id.
    fn known(&mut self, decoded: Decoded) -> Result<Option<Decoded>, Refused> {
        let mut named = Attributes::default();
        for name in ["source", "id"] {
            named.set(name, decoded.envelope.attributes.get(name).unwrap_or_default());
        }
        if self.seen.len() >= KNOWN {
            self.seen.clear();
        }
        match self.seen.insert(named.digest(b""), decoded.digest) {
            None => Ok(Some(decoded)),
            Some(before) if before == decoded.digest => Ok(None),
            Some(before) => {
                self.seen.insert(named.digest(b""), before);
                Err(Refused::id_reused(decoded))
            }
        }
    }

    /// The event as its recipient gets it, behind its schema where that wasn't
    /// sent yet.
    fn back(&mut self, decoded: &Decoded) -> Result<Vec<Answer>, HubFault> {
        let (given, member) = (&decoded.envelope.attributes, &decoded.member);
        let class = (decoded.context.event_type.clone(), decoded.context.schema.version);
        let schema = self.world.registry.get(class.0.as_str(), class.1);
        let schema = schema.ok_or(HubFault::Damaged("an event was checked whose schema isn't registered"))?;
        let cut = match self.cuts.get(&class) {
            Some(cut) => Arc::clone(cut),
            None => {
                let cut = Arc::new(Cut::of(schema.project(&["*".to_owned()])?));
                self.cuts.insert(class, Arc::clone(&cut));
                cut
            }
        };
        let body = &decoded.received.message().body;
        let is_whole = self.subject == SubjectMode::Publisher;
        let (attributes, body, origin) = if is_whole {
            let (attributes, origin) = verbatim(given, &decoded.envelope.signature);
            (attributes, body.clone(), Some(origin))
        } else {
            let subject = given.get("subject").unwrap_or_default();
            let kind = subject.split('/').next().unwrap_or_default();
            let subject = match schema.is_personal(kind) {
                true => self.pairwise.subject(member.as_str(), member.as_str(), subject),
                false => subject.to_owned(),
            };
            let (attributes, body) = projected(given, body, &cut, subject, &self.pairwise, member.as_str())?;
            (attributes, body, None)
        };
        let reference = if is_whole { &cut.plain } else { &cut.projected };
        let mut answers = Vec::with_capacity(2);
        if !self.published.contains(&(member.clone(), reference.clone())) {
            let record = serde_json::json!({"reference": reference, "schema": cut.projection.json()});
            let (event_type, body) = self.world.hub_types.encode(SCHEMA_PUBLISHED, &record)?;
            answers.push(Answer::Own { event_type, body, schema: Some(reference.clone()) });
        }
        answers.push(Answer::Event { attributes, body, origin });
        Ok(answers)
    }

    /// A message of the hub's own.
    fn own(&self, name: &str, record: &serde_json::Value) -> Result<Answer, HubFault> {
        let (event_type, body) = self.world.hub_types.encode(name, record)?;
        Ok(Answer::Own { event_type, body, schema: None })
    }

    /// Publishes an answer under the member's next number, which is used only
    /// where the queue took it. Returns whether it did.
    async fn publish(
        &mut self,
        bus: &dyn Bus,
        member: &MemberName,
        answer: Answer,
        now: jiff::Timestamp,
    ) -> Result<bool, HubFault> {
        let sequence = self.sequences.get(member).map_or(1, |last| last + 1);
        let numbered = Numbered { recipient: member.as_str(), epoch: self.epoch, sequence };
        let (mut attributes, body, origin, agreement, schema) = match answer {
            Answer::Event { attributes, body, origin } => (attributes, body, origin, Some(AGREEMENT), None),
            Answer::Own { event_type, body, schema } => {
                let what = format!("sandbox/{member}/{}/{sequence}", self.epoch);
                let attributes = own_attributes(&self.name, &self.own_ids, &event_type, &what, now);
                (attributes, Bytes::from(body), None, None, schema)
            }
        };
        let signature = numbered.sign(&self.key, &mut attributes, &body, agreement);
        let message: (String, Message) = numbered.message(attributes, signature, origin, body);
        // One at a time: what comes after a full queue's refusal may have arrived
        // all the same, and would have its number twice.
        let confirms = bus.publish(DELIVERIES, vec![message]).await?;
        if confirms != [Confirm::Accepted] {
            return Ok(false);
        }
        self.sequences.insert(member.clone(), sequence);
        self.published.extend(schema.map(|reference| (member.clone(), reference)));
        Ok(true)
    }
}
