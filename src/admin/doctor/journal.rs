//! The journal: whether its tiles, its last checkpoint and the store agree, who
//! signed that checkpoint and when, and whether the witnesses answer.

use super::files::AS_THE_SERVICE;
use super::{Findings, Running};
use crate::config::HubConfig;
use crate::hub::{HubFault, Knows, Probed, probe_witness};
use crate::journal::tile::CHECKPOINT;
use crate::journal::{FOLDER, LastCheckpoint, SignedCheckpoint, WriterFault, standing};
use crate::keys::{PublicKey, note};
use jiff::Timestamp;
use std::io::ErrorKind;
use std::path::Path;

const JOURNAL: &str = "journal";
const SIGNED: &str = "last checkpoint";

/// While a hub runs, entries that are under no checkpoint for longer are a
/// failure, in seconds.
const LATE: i64 = 30;

/// Looks at the journal in the data folder of `config` and at its witnesses.
/// `key` is the one that signs its checkpoints, where it can be used.
pub(super) async fn look(
    config: &HubConfig,
    key: Option<&PublicKey>,
    running: &Running,
    now: Timestamp,
    findings: &mut Findings,
) {
    let last = agrees(config, running, now, findings);
    let signed = last.as_ref().zip(key).and_then(|(last, key)| signer(config, last, key, findings));
    let folder = config.data.join(FOLDER);
    for settings in &config.journal.witness {
        match probe_witness(settings, &folder, signed.as_ref()).await {
            Ok(probed) => witness(config, &probed, signed.as_ref(), key, running, findings),
            Err(HubFault::Witness { url, vkey: _, why }) => findings.failed(
                &format!("witness {url}"),
                format!("it can't be asked: {why}"),
                "correct url and vkey of that [[journal.witness]]: the hub doesn't start with it",
            ),
            Err(fault) => {
                findings.failed(
                    &format!("witness {}", settings.url),
                    fault.to_string(),
                    "look at its settings",
                );
            }
        }
    }
}

/// Whether tiles, checkpoint and store are of one journal, and how old the
/// checkpoint is. Returns the checkpoint.
fn agrees(
    config: &HubConfig,
    running: &Running,
    now: Timestamp,
    findings: &mut Findings,
) -> Option<LastCheckpoint> {
    let folder = config.data.join(FOLDER);
    if let Err(error) = std::fs::metadata(folder.join(CHECKPOINT))
        && error.kind() == ErrorKind::PermissionDenied
    {
        findings.failed(JOURNAL, format!("{} can't be read ({error})", folder.display()), AS_THE_SERVICE);
        return None;
    }
    let standing = match standing(&config.data, &config.name) {
        Ok(standing) => standing,
        Err(fault) => {
            let (found, remedy) = disagreement(&fault, &folder);
            findings.failed(JOURNAL, found, remedy);
            return None;
        }
    };
    let runs = matches!(running, Running::Yes(_));
    let Some(last) = standing.last else {
        match (standing.committed, running) {
            (0, _) => findings.ok(JOURNAL, "it has no entry yet: the first start makes it"),
            // In its first moments, a hub has signed none.
            (_, Running::Yes(status)) if now.as_millisecond() - status.started_at < LATE * 1000 => {
                findings.ok(JOURNAL, "its first checkpoint is about to be signed");
            }
            (entries, _) => findings.warning(
                JOURNAL,
                format!("{entries} entries are in the store, and there is no {CHECKPOINT} in {}", folder.display()),
                format!(
                    "if one was signed before, restore {} from a backup; otherwise the next start signs the first",
                    folder.display()
                ),
            ),
        }
        return None;
    };
    findings.ok(
        JOURNAL,
        format!(
            "tiles, checkpoint and store agree on {} entries, as far as the last ones tell",
            last.head.size
        ),
    );
    let after = standing.committed - last.head.size;
    let seconds =
        last.at.and_then(|at| Timestamp::try_from(at).ok()).map(|at| now.as_second() - at.as_second());
    let signed =
        seconds.map_or_else(|| "signed at an unknown time".to_owned(), |s| format!("signed {} ago", age(s)));
    match after {
        0 => findings.ok(SIGNED, format!("{signed}, over all entries of the journal")),
        after if runs && seconds.is_none_or(|seconds| seconds > LATE) => findings.failed(
            SIGNED,
            format!("{signed}, and {after} entries are under none, though a hub runs"),
            "look into the hub's log for why, and at the disk: it may be slow or full",
        ),
        after if runs => findings.ok(SIGNED, format!("{signed}; the next one is due for {after} entries")),
        after => findings.ok(SIGNED, format!("{signed}; the next start signs one for {after} entries more")),
    }
    Some(last)
}

/// What is wrong, and what to do.
fn disagreement(fault: &WriterFault, folder: &Path) -> (String, String) {
    let whole = "restore the whole data folder from one backup";
    match fault {
        WriterFault::Older { committed, signed } => (
            format!(
                "the store has {committed} entries, and a checkpoint over {signed} was signed: the store is older"
            ),
            format!("{whole}, taken after that checkpoint"),
        ),
        WriterFault::Tiles { size, why } => (
            format!(
                "the tiles don't give the root of the last checkpoint, over {size} entries{}",
                why.as_ref().map(|why| format!(": {why}")).unwrap_or_default()
            ),
            whole.to_owned(),
        ),
        WriterFault::Root { size } => (
            format!("the last checkpoint, over {size} entries, and the store aren't of one journal"),
            whole.to_owned(),
        ),
        WriterFault::Checkpoint(fault) => (
            format!("{} can't be used: {fault}", folder.join(CHECKPOINT).display()),
            format!("restore {} from a backup", folder.display()),
        ),
        WriterFault::Origin { found, name } => (
            format!("it is of the hub {found:?}, and this one's name is {name:?}"),
            format!("set name to {found:?}: who checks a journal knows it by that name"),
        ),
        _ => (fault.to_string(), format!("make {} readable for this user; else {whole}", folder.display())),
    }
}

/// Whether `key` signed the last checkpoint; it, verified, where it did.
fn signer(
    config: &HubConfig,
    last: &LastCheckpoint,
    key: &PublicKey,
    findings: &mut Findings,
) -> Option<SignedCheckpoint> {
    let signed = last.signed_by(key);
    match signed {
        Some(_) => findings.ok("checkpoint signature", "it is of the checkpoint key"),
        None => findings.failed(
            "checkpoint signature",
            format!(
                "{} didn't sign the last checkpoint: whoever has the journal's key from before would refuse all that \
                 follows",
                config.keys.checkpoint.display()
            ),
            format!(
                "put back the key that did; or, if the change is meant, start the hub and give everyone the new key, \
                 {}",
                note::verifier_key(&config.name, key)
            ),
        ),
    }
    signed
}

fn witness(
    config: &HubConfig,
    probed: &Probed,
    signed: Option<&SignedCheckpoint>,
    key: Option<&PublicKey>,
    running: &Running,
    findings: &mut Findings,
) {
    let check = format!("witness {}", probed.name);
    let entries = signed.map_or(0, |signed| signed.head().size);
    let told = || key.map(|key| note::verifier_key(&config.name, key)).unwrap_or_default();
    let runs = matches!(running, Running::Yes(_));
    match &probed.answer {
        Ok(Knows::Unasked) => findings.ok(&check, "it answers; there is no checkpoint to cosign yet"),
        // While a hub runs, it may have cosigned the next one since.
        Ok(Knows::Entries(known)) if *known > entries && !runs => findings.failed(
            &check,
            format!("it knows {known} entries of this journal, and here are {entries}: this data folder is older"),
            "don't start the hub: restore the data folder from a newer backup",
        ),
        Ok(Knows::Entries(known)) if *known == entries => {
            findings.ok(&check, format!("it cosigns the last checkpoint, and knows all {known} entries"));
        }
        Ok(Knows::Entries(known)) => findings.ok(&check, format!("it answers, and knows {known} entries")),
        Ok(Knows::Others) => findings.failed(
            &check,
            format!("it knows a journal of this hub with {entries} entries that aren't these"),
            "stop every hub that signs with this key, and restore the data folder from a newer backup",
        ),
        // The hub goes on without it.
        Err(why) => findings.warning(
            &check,
            why.clone(),
            format!(
                "correct url and vkey of that [[journal.witness]], or ask its operator to answer and to know the log {}",
                told()
            ),
        ),
    }
}

/// `3 minutes`, of seconds.
fn age(seconds: i64) -> String {
    let (number, unit) = match seconds.max(0) {
        s @ ..120 => (s, "second"),
        s @ 120..7200 => (s / 60, "minute"),
        s @ 7200..172_800 => (s / 3600, "hour"),
        s => (s / super::DAY, "day"),
    };
    if number == 1 { format!("1 {unit}") } else { format!("{number} {unit}s") }
}
