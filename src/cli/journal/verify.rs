//! `pirogue journal verify`.

use super::super::render::{count, plain, print, span, time};
use super::place;
use crate::journal::{Check, Head, LogKey, WitnessKey};
use anyhow::{Context, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How often a long check notes how far it is.
const NOTED: Duration = Duration::from_secs(5);

/// Check a whole journal from outside, tile by tile, against its checkpoint.
///
/// Reads every bundle of entries and every tile of hashes of the journal in a
/// folder or below a URL: each entry has to hash to its leaf, each tile to its
/// place in the tile above, and all of it to the root in the checkpoint that the
/// hub signed. The tile that is wrong is named.
///
/// With --since, the size and the root that were checked are kept in a file: the
/// next check goes on from there, once the journal is consistent with them. A
/// check that is stopped goes on, too. Keep that file: it is what shows that a
/// journal was rewritten.
///
/// The exit status is 1 where the journal isn't what its checkpoint says.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  pirogue journal verify https://hub.example/journal --hub-key 'nc+1a2b3c4d+AX…' \\
      --token-file hub.token --since hub.checked")]
pub struct VerifyCommand {
    /// Where the journal is: its folder, a hub's data folder, or its URL.
    #[arg(value_name = "DIR|URL")]
    place: String,
    /// The key of the hub's checkpoints, NAME+ID+BASE64, as it was given by hand.
    #[arg(long, value_name = "VKEY", value_parser = place::hub_key)]
    hub_key: LogKey,
    /// Go on from what this file remembers, and note there what was checked.
    #[arg(long, value_name = "FILE")]
    since: Option<PathBuf>,
    /// A witness that has to have cosigned the checkpoint, by its key (type 04).
    #[arg(long, value_name = "VKEY", value_parser = witness_key)]
    witness: Vec<WitnessKey>,
    #[command(flatten)]
    token: place::Token,
}

fn witness_key(text: &str) -> Result<WitnessKey, String> {
    text.parse().map_err(|fault| format!("{fault}; a witness's is of the signature type 04"))
}

impl VerifyCommand {
    /// Checks the journal and says what it is.
    pub(super) fn run(self) -> anyhow::Result<()> {
        let runtime = place::runtime()?;
        let source = place::log(&self.place, Some(&self.token), &runtime)?;
        let checkpoint = place::checkpoint(&*source, &self.place, &self.hub_key)?;
        let head = checkpoint.head();
        let cosigned = checkpoint.cosigned(&self.witness)?;
        if let Some(missing) = self.witness.iter().find(|w| !cosigned.iter().any(|(by, _)| by == w)) {
            bail!("the checkpoint isn't cosigned by {}", missing.name);
        }
        let known = match &self.since {
            Some(file) => Remembered::read(file, &self.hub_key.name)?,
            None => None,
        };
        let started = Instant::now();
        let mut check = Check::begin(source, head, known)?;
        let from = check.done();
        let bar = place::bar(head.size);
        bar.set_position(from);
        let mut noted = Instant::now();
        let checked = runtime.block_on(async {
            while check.step(|_, _| None::<()>).await?.is_some() {
                bar.set_position(check.done());
                if let Some(file) = &self.since
                    && noted.elapsed() > NOTED
                {
                    Remembered::write(file, &self.hub_key.name, check.known()?)?;
                    noted = Instant::now();
                }
            }
            anyhow::Ok(())
        });
        bar.finish_and_clear();
        checked?;
        if let Some(file) = &self.since {
            Remembered::write(file, &self.hub_key.name, head)?;
        }
        print(&tell(&self.hub_key.name, head, known, &cosigned, from, started.elapsed()))
    }
}

fn tell(
    name: &str,
    head: Head,
    known: Option<Head>,
    cosigned: &[(&WitnessKey, i64)],
    from: u64,
    took: Duration,
) -> String {
    let mut said = format!(
        "The journal of {name} is whole: {}, and each is under the checkpoint that the hub signed.\nIts root is {}.\n",
        count(head.size, "entry"),
        STANDARD.encode(head.root)
    );
    if let Some(known) = known {
        said += &format!(
            "It begins with the {} that were checked before, unchanged.\n",
            count(known.size, "entry")
        );
    }
    for (witness, at) in cosigned {
        said += &format!("{} cosigned it on {}.\n", plain(&witness.name), time(at.saturating_mul(1000)));
    }
    said + &format!("Checked {} in {}.\n", count(head.size - from, "entry"), span(took.as_millis() as i64))
}

/// What a state file remembers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Remembered {
    log: String,
    size: u64,
    root: String,
}

impl Remembered {
    fn read(file: &Path, log: &str) -> anyhow::Result<Option<Head>> {
        let text = match std::fs::read_to_string(file) {
            Ok(text) => text,
            Err(fault) if fault.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(fault) => return Err(fault).with_context(|| format!("{} can't be read", file.display())),
        };
        let wrong = || {
            format!("{} isn't what a check remembers: give another file, or a backup of it", file.display())
        };
        let remembered: Remembered = serde_json::from_str(&text).with_context(wrong)?;
        if remembered.log != log {
            bail!(
                "{} remembers the journal of {:?}, and the key is of {log:?}",
                file.display(),
                remembered.log
            );
        }
        let root = STANDARD.decode(&remembered.root).with_context(wrong)?;
        let root = root.try_into().map_err(|_| anyhow::anyhow!(wrong()))?;
        Ok(Some(Head { size: remembered.size, root }))
    }

    /// By rename: a crash leaves the old file or the new one.
    fn write(file: &Path, log: &str, head: Head) -> anyhow::Result<()> {
        let unwritable = || format!("{} can't be written", file.display());
        let remembered =
            Remembered { log: log.to_owned(), size: head.size, root: STANDARD.encode(head.root) };
        let mut beside = file.as_os_str().to_owned();
        beside.push(".new");
        std::fs::write(&beside, serde_json::to_string(&remembered)? + "\n").with_context(unwritable)?;
        std::fs::rename(&beside, file).with_context(unwritable)
    }
}
