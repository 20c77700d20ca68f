//! Deciding: which of a batch's events a recipient gets, under which agreement,
//! with which fields, and under which numbers.

use crate::agreements::{self, Agreement, Grant, SubjectMode};
use crate::event::{MemberName, SchemaRef};
use crate::hub::recorded::{Class, RecordedBatch};
use crate::hub::world::World;
use crate::hub::{HubFault, Shared};
use crate::journal;
use crate::schema::Projection;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::sync::Arc;

/// A decision on one batch for one recipient, as its row keeps it: enough to
/// make the same messages again, byte for byte.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct DecisionRow {
    /// The batch's first event.
    pub first: u64,
    /// The index after its last event.
    pub end: u64,
    /// When it was decided, in milliseconds since 1970.
    pub at: i64,
    /// The epoch.
    pub epoch: u32,
    /// The number of the first message.
    pub sequence: u64,
    /// How many messages there are.
    pub messages: u64,
    /// The key that signs them.
    pub kid: String,
    /// The projected schemas that are published before the events, by their
    /// `dataschema`, with the class and fields that they are made of.
    pub schemas: Vec<u16>,
    /// For each class of the batch, what holds for it.
    pub rules: Vec<Rule>,
    /// Events that had been erased before the decision, and took no number.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<u32>,
    /// The journal's entry of the first message; the others follow. Set when it is
    /// committed; none in rows that are older than this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub journal: Option<u64>,
}

/// What holds for the events of one class.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Rule {
    /// No agreement grants them.
    Nothing,
    /// They are the hub's own messages for this recipient.
    Own,
    /// An agreement grants them.
    Granted {
        /// `ID:VERSION`.
        agreement: String,
        /// The granted fields, or `["*"]`.
        fields: Vec<String>,
        /// How the subject is translated.
        subject: SubjectMode,
    },
    /// An agreement granted them when they were taken in, and no longer does.
    Withheld {
        /// `ID:VERSION`.
        agreement: String,
    },
}

/// How the events of one class are made into messages.
#[derive(Clone)]
pub(super) enum Plan {
    /// Not at all.
    Skip,
    /// As the hub's own messages.
    Own,
    /// As the publisher sent them.
    Verbatim {
        /// `ID:VERSION`.
        agreement: String,
        /// The schema, whole.
        cut: Arc<Cut>,
    },
    /// With the granted fields only.
    Project {
        /// `ID:VERSION`.
        agreement: String,
        /// The granted fields.
        cut: Arc<Cut>,
        /// How the subject is translated.
        subject: SubjectMode,
    },
}

impl Plan {
    /// The schema that a recipient needs for these events, and its
    /// `dataschema`: the publisher's own where the body is unchanged, the
    /// projected one elsewhere.
    pub(super) fn schema(&self) -> Option<(&str, &Projection)> {
        match self {
            Plan::Verbatim { cut, .. } => Some((&cut.plain, &cut.projection)),
            Plan::Project { cut, .. } => Some((&cut.projected, &cut.projection)),
            Plan::Skip | Plan::Own => None,
        }
    }
}

/// A projection and the two names that it may have on the wire.
pub(crate) struct Cut {
    /// The projection.
    pub projection: Arc<Projection>,
    /// The schema that it is cut from.
    pub plain: String,
    /// The projected schema: with the first 32 hexadecimal digits of the
    /// SHA-256 of its JSON text.
    pub projected: String,
}

impl Cut {
    /// Names `projection`.
    pub(super) fn of(projection: Arc<Projection>) -> Cut {
        let reference = projection.reference();
        let digest = Sha256::digest(projection.json());
        let hex32 = journal::hex(&digest[..16]);
        let plain = SchemaRef { projection: None, ..reference.clone() }.to_string();
        let projected = SchemaRef { projection: Some(hex32), ..reference.clone() }.to_string();
        Cut { projection, plain, projected }
    }
}

/// A decision, ready to be sealed.
pub(super) struct Decided {
    pub(super) row: DecisionRow,
    pub(super) plans: Vec<Plan>,
    pub(super) batch: Arc<RecordedBatch>,
}

/// A decision whose messages are sealed: its batch isn't held any more.
pub(super) struct Settled {
    pub(super) row: DecisionRow,
    pub(super) plans: Vec<Plan>,
}

impl Settled {
    /// What remains of `decided`.
    pub(super) fn of(decided: Arc<Decided>) -> Settled {
        match Arc::try_unwrap(decided) {
            Ok(Decided { row, plans, .. }) => Settled { row, plans },
            Err(shared) => Settled { row: shared.row.clone(), plans: shared.plans.clone() },
        }
    }
}

/// The rule for `class` and `recipient` on the day `today`, given the agreements
/// in force when the batch was recorded (`set`). An agreement must cover the
/// class then and now: what was recorded before it isn't the recipient's.
fn rule(
    shared: &Shared,
    world: &World,
    today: Date,
    set: u32,
    class: &Class,
    recipient: &MemberName,
) -> Result<Rule, HubFault> {
    let Some(publisher) = &class.publisher else {
        return Ok(if class.addressee.as_ref() == Some(recipient) { Rule::Own } else { Rule::Nothing });
    };
    let event_type = class.event_type.as_str();
    let now = world.grant(publisher.as_str(), recipient.as_str(), event_type, class.version, today);
    if set == world.set && today == world.day {
        return Ok(now.map_or(Rule::Nothing, Rule::granted));
    }
    let then = shared.set_in_force(set)?;
    let then = then.iter().find(|a| a.recipient() == recipient && a.grants(class));
    Ok(match (then, now) {
        (None, _) => Rule::Nothing,
        (Some(_), Some(grant)) => Rule::granted(grant),
        (Some(lapsed), None) => Rule::Withheld { agreement: lapsed.reference.clone() },
    })
}

impl Rule {
    fn granted((agreement, grant): (&Arc<Agreement>, &Grant)) -> Rule {
        Rule::Granted {
            agreement: agreement.reference(),
            fields: grant.fields.clone(),
            subject: grant.subject,
        }
    }
}

/// How `rule` makes messages of the events of `class`.
fn plan(world: &World, class: &Class, rule: &Rule) -> Result<Plan, HubFault> {
    match rule {
        Rule::Nothing | Rule::Withheld { .. } => Ok(Plan::Skip),
        Rule::Own => Ok(Plan::Own),
        Rule::Granted { agreement, fields, subject } => {
            let cut = world.cut(class.event_type.as_str(), class.version, fields)?;
            let agreement = agreement.clone();
            let whole = fields.iter().any(|f| f == "*");
            Ok(match (whole, subject) {
                (true, SubjectMode::Publisher) => Plan::Verbatim { agreement, cut },
                (_, subject) => Plan::Project { agreement, cut, subject: *subject },
            })
        }
    }
}

/// Decides on `batch` for `recipient`. `sequence` is the next number, `known`
/// the schemas that the recipient was sent before.
pub(super) fn decide(
    shared: &Shared,
    world: &World,
    recipient: &MemberName,
    batch: &Arc<RecordedBatch>,
    sequence: u64,
    known: &BTreeSet<String>,
) -> Result<Decided, HubFault> {
    let today = agreements::today();
    let rules = batch
        .classes
        .iter()
        .map(|class| rule(shared, world, today, batch.set, class, recipient))
        .collect::<Result<Vec<_>, _>>()?;
    let plans = plans(world, batch, &rules)?;
    let mut schemas = Vec::new();
    let mut added = BTreeSet::new();
    for (number, plan) in plans.iter().enumerate() {
        if let Some((reference, _)) = plan.schema()
            && !known.contains(reference)
            && added.insert(reference)
        {
            schemas.push(number as u16);
        }
    }
    let mut skipped = Vec::new();
    let mut messages = schemas.len() as u64;
    for (place, (class, event)) in (0..).zip(batch.numbers.iter().zip(&batch.events)) {
        match event {
            _ if matches!(plans[usize::from(*class)], Plan::Skip) => {}
            Some(_) => messages += 1,
            None => skipped.push(place),
        }
    }
    // Schemas alone aren't worth a number: nothing of this batch uses them.
    if messages == schemas.len() as u64 {
        messages = 0;
        schemas.clear();
    }
    let row = DecisionRow {
        first: batch.first,
        end: batch.end(),
        at: jiff::Timestamp::now().as_millisecond(),
        epoch: shared.epoch,
        sequence,
        messages,
        kid: shared.delivery.public().thumbprint().as_str().to_owned(),
        schemas,
        rules,
        skipped,
        journal: None,
    };
    Ok(Decided { row, plans, batch: Arc::clone(batch) })
}

/// The plans of `rules`, class by class.
fn plans(world: &World, batch: &RecordedBatch, rules: &[Rule]) -> Result<Vec<Plan>, HubFault> {
    batch.classes.iter().zip(rules).map(|(class, rule)| plan(world, class, rule)).collect()
}

impl Decided {
    /// A decision taken before, read back.
    pub(super) fn again(
        shared: &Shared,
        world: &World,
        row: DecisionRow,
        batch: Arc<RecordedBatch>,
    ) -> Result<Decided, HubFault> {
        if row.kid != shared.delivery.public().thumbprint().as_str() {
            return Err(HubFault::DeliveryKeyChanged);
        }
        let plans = plans(world, &batch, &row.rules)?;
        Ok(Decided { row, plans, batch })
    }
}
