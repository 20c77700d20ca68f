//! What an operator asks a running hub, and what the hub answers.
//!
//! These types are the protocol of the operator's socket, as JSON. No answer
//! holds a citizen's data: a message is named by its source, its id, its sizes
//! and its fields' paths. Times are Unix milliseconds.

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
    /// When the payload was erased; none where it is still there.
    pub erased_at: Option<i64>,
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
