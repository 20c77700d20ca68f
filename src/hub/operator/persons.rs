//! Answers about a person: what was erased, and who got what.

use serde::{Deserialize, Serialize};

/// What was erased of a person, or would be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErasureReport {
    /// Whether nothing was erased, and this only says what there is.
    pub dry_run: bool,
    /// When: what comes later isn't erased.
    pub at: i64,
    /// Events about the person.
    pub events: u64,
    /// How many of them had their payload still.
    pub payloads: u64,
    /// Messages about the person that were decided and not confirmed: the
    /// recipient gets `nc.hub.delivery.withheld` in their place.
    pub pending: u64,
    /// Messages about the person that waited in queues of the embedded bus, and
    /// were replaced; none where the queues are RabbitMQ's, out of the hub's
    /// reach, or nothing was erased.
    pub queued: Option<u64>,
    /// Messages about the person in quarantine.
    pub quarantined: u64,
    /// The members that got something, who are told of the erasure.
    pub told: Vec<Told>,
    /// Those that got something and take part no longer: the hub can't tell them.
    #[serde(default)]
    pub left: Vec<Told>,
}

/// A recipient that got something of a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// The recipient.
    pub recipient: String,
    /// How many messages about the person were decided for it.
    pub messages: u64,
}

/// Who got what of a person.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessReport {
    /// The hub.
    pub hub: String,
    /// When this was asked.
    pub at: i64,
    /// The member whose identifier it is.
    pub member: String,
    /// When events about the person were erased, if they were.
    pub erased_at: Option<i64>,
    /// How many events about the person the member sent.
    pub events: u64,
    /// What was delivered, oldest first.
    pub deliveries: Vec<AccessDelivery>,
}

/// One delivery of what is about a person.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessDelivery {
    /// The recipient.
    pub recipient: String,
    /// When it was decided.
    pub decided_at: i64,
    /// When the bus confirmed it; none where it hasn't yet.
    pub delivered_at: Option<i64>,
    /// The event's type.
    pub event_type: String,
    /// What the event says, in words.
    pub event: String,
    /// What was given: each field's path, and what it is in words.
    pub fields: Vec<(String, String)>,
    /// The agreement, `ID:VERSION`.
    pub agreement: String,
    /// The agreement's title.
    pub title: String,
    /// What for.
    pub purpose: String,
    /// On what legal basis, in words.
    pub legal_basis: String,
    /// The text of law or decision.
    pub legal_reference: Option<String>,
    /// For how many months the recipient keeps it.
    pub retention_months: Option<u32>,
    /// The epoch of the sequence number.
    pub epoch: u32,
    /// The recipient's sequence number.
    pub sequence: u64,
    /// The entry in the journal, from 0.
    pub journal_entry: Option<u64>,
    /// Whether the hub still has the payload, and so the salt that a proof needs.
    pub provable: bool,
}
