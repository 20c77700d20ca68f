//! `pirogue journal consistency`.

use super::super::render::{count, print};
use super::place;
use crate::journal::tile::Tree;
use crate::journal::{Hash, Head, LogKey, SignedCheckpoint, verify_consistency};
use anyhow::{Context, anyhow};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::path::{Path, PathBuf};

/// Check that a later checkpoint of a journal only appended to an earlier one.
///
/// Both are files that hold a checkpoint as the hub signed it. The proof between
/// them is made from the journal's tiles, or read from a file: a hash in base64
/// on each line (RFC 9162 section 2.1.4). Either way the hub isn't trusted: the
/// proof has to lead from the one signed root to the other.
///
/// The exit status is 1 where the journal's past was rewritten.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  pirogue journal consistency monday.checkpoint friday.checkpoint \\
      --log https://hub.example/log --hub-key 'nc+1a2b3c4d+AX…'")]
pub struct ConsistencyCommand {
    /// The file of the earlier checkpoint.
    old: PathBuf,
    /// The file of the later checkpoint.
    new: PathBuf,
    /// Where the journal's tiles are: its folder, a hub's data folder, or its URL.
    #[arg(long, value_name = "DIR|URL", required_unless_present = "proof")]
    log: Option<String>,
    /// A proof, instead of the tiles.
    #[arg(long, value_name = "FILE", conflicts_with = "log")]
    proof: Option<PathBuf>,
    /// Write the proof that was made from the tiles to this file.
    #[arg(long, value_name = "FILE", conflicts_with = "proof")]
    out: Option<PathBuf>,
    /// The key of the hub's checkpoints, NAME+ID+BASE64, as it was given by hand.
    #[arg(long, value_name = "VKEY", value_parser = place::hub_key)]
    hub_key: LogKey,
}

impl ConsistencyCommand {
    /// Checks the proof and says what holds.
    pub(super) fn run(self) -> anyhow::Result<()> {
        let (old, new) = (self.head(&self.old)?, self.head(&self.new)?);
        let proof = match (&self.proof, &self.log) {
            (Some(file), _) => parse(&place::read(file)?).ok_or_else(|| {
                anyhow!("{} isn't a proof: it holds a hash in base64 on each line", file.display())
            })?,
            // Without tiles that could say so: a log never shrinks.
            (None, Some(log)) if old.size <= new.size => {
                let runtime = place::runtime()?;
                let source = place::log(log, None, &runtime)?;
                Tree::new(&*source, new.size).consistency(old.size, new.size)?
            }
            _ => Vec::new(),
        };
        verify_consistency(&old, &new, &proof)?;
        if let Some(out) = &self.out {
            let lines: String = proof.iter().map(|hash| STANDARD.encode(hash) + "\n").collect();
            std::fs::write(out, lines).with_context(|| format!("{} can't be written", out.display()))?;
        }
        print(&format!(
            "The journal of {} had {} and has {}: the first ones are unchanged.\n",
            self.hub_key.name,
            count(old.size, "entry"),
            count(new.size, "entry")
        ))
    }

    fn head(&self, file: &Path) -> anyhow::Result<Head> {
        let signed = SignedCheckpoint::open(&place::read(file)?, &self.hub_key)
            .with_context(|| format!("{} is no good", file.display()))?;
        Ok(signed.head())
    }
}

fn parse(text: &str) -> Option<Vec<Hash>> {
    text.lines().map(|line| STANDARD.decode(line).ok()?.try_into().ok()).collect()
}
