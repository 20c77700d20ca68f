//! `pirogue journal verify-proof`.

use super::super::render::{count, print};
use super::place;
use crate::journal::{LogKey, Proof, Proven};
use anyhow::{Context, anyhow};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Check a proof that something is in a hub's journal, without the hub.
///
/// The proof is a C2SP tlog-proof, as `pirogue journal prove` writes it. It is
/// checked offline, from the key of the hub's checkpoints alone: that the hub
/// signed the checkpoint, and that the entry is in its tree. What the entry says
/// is printed in plain words.
///
/// With --message, the message itself is held against the entry, too: a line of
/// JSON with `headers` and `body` as `pirogue connect` writes raw messages, or
/// with `signature` (the header cloudEvents_signature) and `body` in base64.
/// Without a signature in it, the one in the proof is taken.
///
/// The exit status is 1 where the proof doesn't hold, or it names another message.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  pirogue journal verify-proof delivery-7.tlog-proof --hub-key 'nc+1a2b3c4d+AX…' --message message.json")]
pub struct VerifyProofCommand {
    /// The proof.
    file: PathBuf,
    /// The key of the hub's checkpoints, NAME+ID+BASE64, as it was given by hand.
    #[arg(long, value_name = "VKEY", value_parser = place::hub_key)]
    hub_key: LogKey,
    /// The message that the entry should name, as a line of JSON.
    #[arg(long, value_name = "FILE")]
    message: Option<PathBuf>,
}

impl VerifyProofCommand {
    /// Checks the proof and says what it proves.
    pub(super) fn run(self) -> anyhow::Result<()> {
        let proven = Proof::parse(&place::read(&self.file)?)?.verify(&self.hub_key)?;
        let mut said = tell(&proven);
        if let Some(file) = &self.message {
            let (signature, body) = message(file)?;
            proven.check_message(signature.as_deref(), &body)?;
            said += &format!("The message in {} is the one that this entry names.\n", file.display());
        } else if proven.names_a_message() {
            said += "With --message FILE, a message can be held against it.\n";
        }
        print(&said)
    }
}

fn tell(proven: &Proven) -> String {
    let checkpoint = proven.checkpoint.checkpoint();
    format!(
        "Proven, by the signature of {} over its journal of {}:\n{}.\nIt is entry {} of that journal.\n",
        checkpoint.origin,
        count(checkpoint.head.size, "entry"),
        place::says(&proven.entry),
        proven.index
    )
}

/// A message's signature, if it is there, and its body.
fn message(file: &Path) -> anyhow::Result<(Option<String>, Vec<u8>)> {
    #[derive(Deserialize)]
    struct Raw {
        #[serde(default)]
        headers: BTreeMap<String, serde_json::Value>,
        signature: Option<String>,
        body: String,
    }
    let form = || {
        format!(
            "{} isn't a message: it is one JSON object with `headers` and `body`, or `signature` and `body`, the body in \
             base64",
            file.display()
        )
    };
    // The fault of the JSON would show what stands in it.
    let raw: Raw = serde_json::from_str(&place::read(file)?).map_err(|_| anyhow!(form()))?;
    let body = STANDARD.decode(&raw.body).map_err(|_| ()).ok().with_context(form)?;
    let header = raw.headers.get("cloudEvents_signature").and_then(|value| value.as_str()).map(str::to_owned);
    Ok((raw.signature.or(header), body))
}
