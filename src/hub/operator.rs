//! What an operator asks a running hub, and what the hub answers.
//!
//! These types are the protocol of the operator's socket, as JSON. No answer
//! holds a citizen's data: a message is named by its source, its id, its sizes
//! and its fields' paths. The one exception is what a proof is made of, which
//! holds a message's signature, and so its subject. Times are Unix milliseconds.

mod persons;

pub use persons::{AccessDelivery, AccessReport, ErasureReport, Told};

use serde::{Deserialize, Serialize};
use std::pin::Pin;

/// What a running hub does for its operator.
pub trait Handler: Send + Sync {
    /// Answers `request`. What goes wrong is an answer too: [`Answer::Failed`].
    fn handle(&self, request: Request) -> Pin<Box<dyn Future<Output = Answer> + Send + '_>>;
}

/// What an operator asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// How the hub is. Answered by [`Answer::Status`].
    Status,
    /// What happened to one event. Answered by [`Answer::Trace`].
    Trace {
        /// The event's source, `/MEMBER/SYSTEM`.
        source: String,
        /// The event's id, as its publisher gave it.
        id: String,
    },
    /// What a proof that an event was taken in is made of. Answered by
    /// [`Answer::Proof`].
    ProveEvent {
        /// The event's source, `/MEMBER/SYSTEM`.
        source: String,
        /// The event's id, as its publisher gave it.
        id: String,
    },
    /// What a proof of a delivery is made of. Answered by [`Answer::Proof`].
    ProveDelivery {
        /// The recipient.
        recipient: String,
        /// The message's sequence number.
        sequence: u64,
        /// The epoch; none is the present one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        epoch: Option<u32>,
    },
    /// Erases a person. Answered by [`Answer::Erased`].
    Erase {
        /// The member whose identifier it is.
        member: String,
        /// The identifier, `KIND/LOCAL-ID`, or the local id of a `person`.
        subject: String,
        /// Only says what there is.
        #[serde(default)]
        dry_run: bool,
    },
    /// Who got what of a person. Answered by [`Answer::Access`].
    Access {
        /// The member whose identifier it is.
        member: String,
        /// The identifier, `KIND/LOCAL-ID`, or the local id of a `person`.
        subject: String,
        /// The language of what the fields are called, `fr` or `en`.
        lang: String,
    },
    /// Sends messages to a recipient again. Answered by [`Answer::Replayed`].
    Replay {
        /// The recipient.
        to: String,
        /// The first number.
        from: u64,
        /// The last number; none is the last that was sent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<u64>,
    },
    /// Reads members, agreements and schemas again. Answered by
    /// [`Answer::Reloaded`].
    Reload,
    /// The messages in quarantine, the newest first. Answered by
    /// [`Answer::Quarantine`].
    QuarantineList {
        /// At most so many.
        limit: usize,
        /// Only those refused for this reason.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// One message in quarantine. Answered by [`Answer::QuarantineEntry`].
    QuarantineShow {
        /// The entry's id, from the list.
        id: String,
    },
    /// What was counted. Answered by [`Answer::Metrics`].
    Metrics,
    /// One registered schema. Answered by [`Answer::Schema`].
    Schema {
        /// The event type.
        event_type: String,
        /// The version, from 1.
        version: u32,
    },
    /// Stops the hub in good order. Answered by [`Answer::ShuttingDown`] before
    /// it stops.
    Shutdown,
}

/// What the hub answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
pub enum Answer {
    /// How the hub is.
    Status(StatusReport),
    /// What happened to one event.
    Trace(TraceReport),
    /// What a proof is made of.
    Proof(ProofParts),
    /// What was erased of a person, or would be.
    Erased(ErasureReport),
    /// Who got what of a person.
    Access(AccessReport),
    /// What was sent again.
    Replayed(ReplayReport),
    /// What is in force now.
    Reloaded(ReloadReport),
    /// The messages in quarantine.
    Quarantine(QuarantineReport),
    /// One message in quarantine.
    QuarantineEntry(QuarantineDetail),
    /// What was counted.
    Metrics {
        /// In the Prometheus text format.
        text: String,
    },
    /// One registered schema.
    Schema {
        /// The JSON text that the hub serves.
        json: String,
    },
    /// The hub stops now.
    ShuttingDown,
    /// What was asked for isn't there: an entry, a schema.
    NotFound {
        /// A sentence that says what isn't there, and what to do.
        detail: String,
    },
    /// It couldn't be done.
    Failed {
        /// A sentence that says why, and what to do.
        detail: String,
    },
}

/// How the hub is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusReport {
    /// The hub's name.
    pub name: String,
    /// The program's version.
    pub version: String,
    /// When the process started.
    pub started_at: i64,
    /// Why the hub doesn't work as it should, a sentence each. Empty is healthy.
    pub problems: Vec<String>,
    /// The epoch of the sequences.
    pub epoch: u32,
    /// Events taken in so far.
    pub events: u64,
    /// Entries in the journal.
    pub journal_entries: u64,
    /// The journal's Merkle root over them, base64.
    pub journal_root: String,
    /// How many of them are under the last signed checkpoint.
    #[serde(default)]
    pub checkpoint_entries: u64,
    /// When that was signed; none before the first.
    #[serde(default)]
    pub checkpoint_at: Option<i64>,
    /// The witnesses that are asked to cosign checkpoints.
    #[serde(default)]
    pub witnesses: Vec<WitnessStatus>,
    /// Free disk space under the data folder, in bytes.
    pub disk_free_bytes: u64,
    /// How many members there are.
    pub members: usize,
    /// The agreements, in force or not.
    pub agreements: Vec<AgreementStatus>,
    /// What each recipient got and waits for.
    pub recipients: Vec<RecipientStatus>,
    /// Messages in the inbox that weren't taken yet.
    pub inbox_waiting: u64,
    /// Messages in quarantine, by reason.
    pub quarantined: Vec<(String, u64)>,
    /// Whose refused messages were more than the quarantine keeps of one member.
    #[serde(default)]
    pub dropped: Vec<DroppedStatus>,
}

/// What went of one member's refused messages before their days were over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DroppedStatus {
    /// The member that the broker authenticated; empty where it said none.
    pub member: String,
    /// So many messages, the oldest.
    pub messages: u64,
    /// When the last went.
    pub at: i64,
}

/// One witness of the journal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WitnessStatus {
    /// Its name.
    pub name: String,
    /// How many entries the checkpoint is over that it cosigned last.
    pub entries: u64,
    /// When it did; none where it hasn't since the hub started.
    pub at: Option<i64>,
    /// Why the last request had no cosignature; none where it had.
    pub problem: Option<String>,
}

/// One agreement, in force or not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgreementStatus {
    /// `ID:VERSION`.
    pub agreement: String,
    /// The member whose events it is about.
    pub provider: String,
    /// The member that gets them.
    pub recipient: String,
    /// Why it isn't in force, or isn't for all that it grants; none where it is.
    pub not_in_force: Option<String>,
}

/// What one recipient got and waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecipientStatus {
    /// The recipient.
    pub recipient: String,
    /// The last sequence number decided.
    pub sequence: u64,
    /// The last sequence number that the bus confirmed.
    pub confirmed: u64,
    /// Events taken in that weren't decided for it yet.
    pub undecided: u64,
    /// Messages in its queue.
    pub queue_messages: u64,
    /// Bytes in its queue.
    pub queue_bytes: u64,
}

/// What happened to one event.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceReport {
    /// The event's source.
    pub source: String,
    /// The event's id.
    pub id: String,
    /// How it was taken in; none where it wasn't.
    pub taken_in: Option<TraceIntake>,
    /// Each time that a message with this source and id was refused, the oldest
    /// first. Those that the quarantine dropped since aren't among them.
    pub refused: Vec<TraceRefusal>,
    /// What was decided for each recipient.
    pub decisions: Vec<TraceDecision>,
    /// Members for which it wasn't decided yet.
    pub undecided: Vec<String>,
}

/// How an event was taken in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceIntake {
    /// When.
    pub at: i64,
    /// Its number at this hub, from 0.
    pub index: u64,
    /// Its entry in the journal.
    pub journal_entry: Option<u64>,
    /// Its type.
    pub event_type: String,
    /// Its schema, `urn:pirogue:schema:TYPE:VERSION`.
    pub schema: String,
    /// The thumbprint of the key that signed it.
    pub signed_by: String,
    /// Why the payload is gone, `erased` or `expired`; none where it is still there.
    pub gone: Option<String>,
}

/// One refusal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceRefusal {
    /// When.
    pub at: i64,
    /// The reason, as on the wire.
    pub reason: String,
    /// The sentence for the publisher.
    pub detail: String,
    /// The entry in quarantine.
    pub quarantine: String,
}

/// What was decided for one recipient.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceDecision {
    /// The recipient.
    pub recipient: String,
    /// The agreement, `ID:VERSION`; none where there was none in force.
    pub agreement: Option<String>,
    /// The paths of the fields that it got; `*` alone is everything.
    pub granted: Vec<String>,
    /// The paths of the fields that were withheld.
    pub withheld: Vec<String>,
    /// Its sequence number; none where nothing was to be sent.
    pub sequence: Option<u64>,
    /// Why nothing was sent, or why what was decided could no longer be: a
    /// sentence.
    pub not_sent: Option<String>,
    /// When it was decided.
    pub decided_at: i64,
    /// When the bus confirmed the delivery; none where it hasn't yet.
    pub delivered_at: Option<i64>,
}

/// What a proof is made of beside the journal's tiles.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProofParts {
    /// The entry in the journal, from 0.
    pub index: u64,
    /// The salt of the message's name there, base64.
    pub salt: String,
    /// `SHA-256(signature || 0x00 || body)` of the message, base64.
    pub fingerprint: String,
    /// For a delivery, the salt of the name that its entry gives its event,
    /// base64; none for a schema, which carries none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_salt: Option<String>,
    /// `SHA-256(signature || 0x00 || body)` of that event as it was published,
    /// base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_fingerprint: Option<String>,
    /// The message's signature; none on the hub's own events, which are signed
    /// when they are delivered.
    pub signature: Option<String>,
}

/// What was sent again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplayReport {
    /// The recipient.
    pub recipient: String,
    /// The first number.
    pub first: u64,
    /// The last number.
    pub last: u64,
    /// How many messages were sent.
    pub messages: u64,
    /// How many of them say that the payload is gone.
    pub withheld: u64,
}

/// What is in force after a reload.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadReport {
    /// How many members there are.
    pub members: usize,
    /// How many agreements are in force.
    pub agreements_in_force: usize,
    /// How many event types are registered.
    pub event_types: usize,
    /// What isn't in force and why, a sentence each.
    pub notes: Vec<String>,
}

/// The messages in quarantine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuarantineReport {
    /// The entries, the newest first.
    pub entries: Vec<QuarantineEntry>,
    /// How many there are in all, of the reason asked for.
    pub total: u64,
}

/// One message in quarantine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuarantineEntry {
    /// The entry's id.
    pub id: String,
    /// When it was refused.
    pub at: i64,
    /// Who sent it, as the broker authenticated the connection; none where the
    /// broker didn't say.
    pub sender: Option<String>,
    /// The reason, as on the wire.
    pub reason: String,
    /// The sentence for the publisher: it names the field and never the value.
    pub detail: String,
    /// The event's source, where it could be read.
    pub source: Option<String>,
    /// The event's id, where it could be read.
    pub event_id: Option<String>,
    /// The event's type, where it could be read.
    pub event_type: Option<String>,
    /// The size of the message at rest, in bytes.
    pub bytes: u64,
    /// When it will be dropped.
    pub expires_at: i64,
}

/// One message in quarantine, with what it is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuarantineDetail {
    /// What the list says of it.
    pub entry: QuarantineEntry,
    /// The names of its headers, and the size of each in bytes.
    pub headers: Vec<(String, u64)>,
    /// The size of its body, in bytes.
    pub body_bytes: u64,
    /// SHA-256 of its body, hexadecimal, to compare with the publisher's.
    pub body_sha256: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_a_flat_object_named_by_its_word() {
        let cases = [
            (Request::Status, r#"{"request":"status"}"#),
            (
                Request::Trace { source: "/a-b/c".into(), id: "1".into() },
                r#"{"request":"trace","source":"/a-b/c","id":"1"}"#,
            ),
            (
                Request::QuarantineList { limit: 5, reason: None },
                r#"{"request":"quarantine-list","limit":5}"#,
            ),
        ];
        for (request, json) in cases {
            assert_eq!(serde_json::to_string(&request).unwrap(), json);
            assert_eq!(serde_json::from_str::<Request>(json).unwrap(), request);
        }
        assert!(serde_json::from_str::<Request>(r#"{"request":"reboot"}"#).is_err());
        assert!(serde_json::from_str::<Request>(r#"{"request":"quarantine-show","id":"1","x":1}"#).is_err());
    }

    #[test]
    fn an_answer_reads_back_as_it_was_written() {
        let status = StatusReport {
            name: "nc".into(),
            quarantined: vec![("malformed".into(), 2)],
            dropped: vec![],
            ..Default::default()
        };
        for answer in [
            Answer::Status(status),
            Answer::ShuttingDown,
            Answer::Failed { detail: "why".into() },
            Answer::Trace(TraceReport::default()),
        ] {
            let json = serde_json::to_string(&answer).unwrap();
            assert_eq!(serde_json::from_str::<Answer>(&json).unwrap(), answer);
        }
    }
}
