//! Schemas, and the agreements that grant fields of them.

use super::{Findings, Left, SOON, left};
use crate::agreements::{Agreement, Agreements, NotInForce, Status, day_of};
use crate::members::Directory;
use crate::schema::Registry;
use jiff::Timestamp;
use std::path::Path;

const SCHEMAS: &str = "schemas";
const AGREEMENTS: &str = "agreements";

/// The schemas of `folder`, or those that are built in. None where they can't be
/// used.
pub(super) fn schemas(folder: Option<&Path>, findings: &mut Findings) -> Option<Registry> {
    let (loaded, place) = match folder {
        Some(folder) => (Registry::load(folder), format!("in {} and built in", folder.display())),
        None => (Registry::embedded(), "built in".to_owned()),
    };
    match loaded {
        Ok(registry) => {
            let count = registry.schemas().count();
            findings.ok(SCHEMAS, format!("{count} {place}"));
            Some(registry)
        }
        Err(fault) => {
            let remedy = match folder {
                Some(folder) => format!("correct it, or take it out of {}", folder.display()),
                None => "install this program again: its own schemas are damaged".to_owned(),
            };
            findings.failed(SCHEMAS, fault.to_string(), remedy);
            None
        }
    }
}

/// The agreements in `folder`.
pub(super) fn look(
    folder: &Path,
    directory: &Directory,
    registry: &Registry,
    now: Timestamp,
    findings: &mut Findings,
) {
    let agreements = match Agreements::load(folder, directory) {
        Ok(agreements) => agreements.fit_to(registry),
        Err(fault) => {
            return findings.failed(
                AGREEMENTS,
                fault.to_string(),
                format!("make {} readable by the user who runs the hub", folder.display()),
            );
        }
    };
    for file in agreements.unusable() {
        findings.warning(
            AGREEMENTS,
            format!("{} counts for nothing: {}", file.file, file.reason),
            format!("take it out of {}, or let its parties sign it as it has to be", folder.display()),
        );
    }
    let (mut fine, mut seen) = (0, 0);
    for (file, agreement, status) in agreements.files(day_of(now)) {
        seen += 1;
        match &status {
            // What is over needs nothing.
            Status::NotInForce(NotInForce::Superseded { .. } | NotInForce::Revoked { .. }) => seen -= 1,
            Status::NotInForce(reason) => not_in_force(agreement, file, reason, findings),
            Status::InForceExcept(conflicts) => {
                for conflict in conflicts {
                    findings.warning(
                        AGREEMENTS,
                        conflict.to_string(),
                        "let the parties sign a higher version of one of the two without that type",
                    );
                }
            }
            Status::InForce => fine += usize::from(lasts(agreement, now, findings)),
        }
    }
    match (seen, fine) {
        (0, _) => findings.warning(
            AGREEMENTS,
            format!("there is none in force in {}: nothing is delivered to anyone", folder.display()),
            "put the notes there that both parties signed, then `pirogue reload`",
        ),
        (seen, fine) if seen == fine => findings
            .ok(AGREEMENTS, format!("{fine} in force, signed by both parties, for more than {SOON} days")),
        _ => {}
    }
}

/// Whether an agreement in force lasts for longer; a warning where it doesn't.
fn lasts(agreement: &Agreement, now: Timestamp, findings: &mut Findings) -> bool {
    // In Pacific/Noumea, where its last day ends; a day more or less is no matter.
    let last = agreement.valid_until.to_zoned(jiff::tz::TimeZone::UTC).map(|end| end.timestamp().as_second());
    match left(last.unwrap_or(i64::MAX), now.as_second()) {
        Left::Long => true,
        Left::Over | Left::Soon => {
            findings.warning(
                AGREEMENTS,
                format!("{} is in force until {} only", agreement.reference(), agreement.valid_until),
                format!(
                    "let {} and {} sign version {} with a later valid_until",
                    agreement.provider,
                    agreement.recipient,
                    agreement.version + 1
                ),
            );
            false
        }
    }
}

fn not_in_force(agreement: &Agreement, file: &str, reason: &NotInForce, findings: &mut Findings) {
    let again = |what: &str| format!("let the parties sign version {} {what}", agreement.version + 1);
    let remedy = match reason {
        NotInForce::NotAMember(member) => {
            format!("put {member}.jwks.json into the members' folder, then `pirogue reload`")
        }
        NotInForce::Unsigned(member) => format!(
            "let {member} sign it with its agreement key, put the note with both signatures in place of {file}, then \
             `pirogue reload`"
        ),
        NotInForce::BadSignature(_) => {
            format!("put back {file} as it was signed, or let both parties sign the text as it is now")
        }
        NotInForce::RevokedKey(member) => format!("let {member} sign it again with its new agreement key"),
        NotInForce::Copy(other) => format!("take one of {file} and {other} out of the folder"),
        NotInForce::OtherText(_) => again("of the text that counts"),
        NotInForce::Unfit(_) => {
            "add the schema to the hub's folder of schemas, or let the parties sign a higher \
                                 version that grants what there is"
                .to_owned()
        }
        NotInForce::NotYet(_) | NotInForce::KeyNotYet(_) => {
            "nothing, if that is meant; it comes into force by itself that day".to_owned()
        }
        NotInForce::Ended(_) => again("with a later valid_until, or take the note out of the folder"),
        NotInForce::Superseded { .. } | NotInForce::Revoked { .. } => "nothing".to_owned(),
    };
    let found = format!("{} isn't in force: {reason}", agreement.reference());
    match reason {
        // What the parties can't have meant.
        NotInForce::BadSignature(_)
        | NotInForce::OtherText(_)
        | NotInForce::RevokedKey(_)
        | NotInForce::Unfit(_) => {
            findings.failed(AGREEMENTS, found, remedy);
        }
        _ => findings.warning(AGREEMENTS, found, remedy),
    }
}
