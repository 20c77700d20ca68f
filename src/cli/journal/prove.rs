//! `pirogue journal prove`.

use super::super::ask::{WhichHub, unexpected};
use super::super::render::{print, write_private};
use super::place;
use crate::hub::operator::{Answer, ProofParts, Request};
use crate::journal::tile::{CHECKPOINT, TileSource, Tree};
use crate::journal::{Checkpoint, Extra, LogKey, Proof};
use anyhow::{anyhow, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// A hub signs a checkpoint each second while entries arrive.
const PATIENCE: Duration = Duration::from_secs(5);

/// Write a proof that an event was taken in, or that a message was delivered.
///
/// The proof is a file of its own, a C2SP tlog-proof: the entry, its way to the
/// root, and the checkpoint that the hub signed; in its line `extra`, what leads
/// from the message to the entry. `pirogue journal verify-proof` checks it
/// anywhere, without this hub. It holds the message's signature, which names the
/// event's subject: keep it as you keep the message. That of a delivery holds the
/// fingerprint of the event that was published, too: two recipients who compare
/// such proofs see that they got the same event, which the journal doesn't tell.
///
/// An event that was erased has lost the salt that led to its entry: nothing can
/// be proven of it any more, and the command says so with exit status 1.
#[derive(Debug, clap::Args)]
#[command(
    group = clap::ArgGroup::new("what").required(true).args(["event", "delivery"]),
    override_usage = "pirogue journal prove [OPTIONS] (--event SOURCE ID | --delivery RECIPIENT SEQUENCE)",
    after_help = "\
Example:
  pirogue journal prove --delivery gouvernement 7 --config /etc/pirogue/hub.toml --out delivery-7.tlog-proof"
)]
pub struct ProveCommand {
    /// The event's source, /MEMBER/SYSTEM, and its id, as its publisher gave them.
    // An id that the hub made can begin with a hyphen.
    #[arg(long, num_args = 2, value_names = ["SOURCE", "ID"], allow_hyphen_values = true)]
    event: Vec<String>,
    /// A recipient, and the sequence number of a message to it.
    #[arg(long, num_args = 2, value_names = ["RECIPIENT", "SEQUENCE"])]
    delivery: Vec<String>,
    /// The epoch of the sequence number, where the hub was restored since.
    #[arg(long, requires = "delivery")]
    epoch: Option<u32>,
    /// Where to write the proof; otherwise it is printed.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Check the proof with this key before it is written, NAME+ID+BASE64.
    #[arg(long, value_name = "VKEY", value_parser = place::hub_key)]
    hub_key: Option<LogKey>,
    #[command(flatten)]
    hub: WhichHub,
}

impl ProveCommand {
    /// Asks the hub for what only it knows, and makes the proof from its tiles.
    pub(super) fn run(self) -> anyhow::Result<()> {
        let request = match (self.event.as_slice(), self.delivery.as_slice()) {
            ([source, id], _) => Request::ProveEvent { source: source.clone(), id: id.clone() },
            (_, [recipient, sequence]) => Request::ProveDelivery {
                recipient: recipient.clone(),
                sequence: sequence
                    .parse()
                    .map_err(|_| anyhow!("{sequence:?} isn't a sequence number, such as 7"))?,
                epoch: self.epoch,
            },
            _ => bail!("say what to prove: --event SOURCE ID or --delivery RECIPIENT SEQUENCE"),
        };
        let Answer::Proof(parts) = self.hub.ask(&request)? else { return Err(unexpected()) };
        let proof = of_parts(&self.hub, &parts)?;
        if let Some(key) = &self.hub_key {
            proof.verify(key)?;
        }
        match &self.out {
            None => print(&proof.render()),
            Some(out) => {
                write_private(out, &proof.render())?;
                print(&format!(
                    "The proof of entry {} of the journal is in {}.\n",
                    parts.index,
                    out.display()
                ))
            }
        }
    }
}

/// The text of the proof of the message `sequence` to `recipient`.
pub(super) fn of_delivery(
    hub: &WhichHub,
    recipient: &str,
    sequence: u64,
    epoch: Option<u32>,
) -> anyhow::Result<String> {
    let request = Request::ProveDelivery { recipient: recipient.to_owned(), sequence, epoch };
    let Answer::Proof(parts) = hub.ask(&request)? else { return Err(unexpected()) };
    Ok(of_parts(hub, &parts)?.render())
}

/// The proof of the entry of `parts`, from the tiles in the hub's data folder.
fn of_parts(hub: &WhichHub, parts: &ProofParts) -> anyhow::Result<Proof> {
    let data = hub.data()?;
    let runtime = place::runtime()?;
    let source = place::log(&data.join("journal").to_string_lossy(), None, &runtime)?;
    proof(&*source, parts)
}

/// The proof of the entry of `parts` from a log's own tiles, under its newest
/// checkpoint. One that isn't over the entry yet is awaited.
fn proof(source: &dyn TileSource, parts: &ProofParts) -> anyhow::Result<Proof> {
    let deadline = Instant::now() + PATIENCE;
    let (checkpoint, size) = loop {
        if let Some(bytes) = source.get(CHECKPOINT)? {
            let text = String::from_utf8(bytes).map_err(|_| anyhow!("the hub's checkpoint isn't text"))?;
            let size = Checkpoint::read_unverified(&text)?.head.size;
            if size > parts.index {
                break (text, size);
            }
        }
        if Instant::now() > deadline {
            bail!(
                "entry {} isn't under a checkpoint of the hub yet: it signs one each second while it runs; start it, then \
                 try again",
                parts.index
            );
        }
        std::thread::sleep(Duration::from_millis(100));
    };
    let mut tree = Tree::new(source, size);
    let hash = |text: &str| -> anyhow::Result<[u8; 32]> {
        STANDARD.decode(text).ok().and_then(|bytes| bytes.try_into().ok()).ok_or_else(unexpected)
    };
    let extra = Extra {
        entry: tree.entry(parts.index)?,
        salt: Some(hash(&parts.salt)?),
        fingerprint: Some(hash(&parts.fingerprint)?),
        event_salt: parts.event_salt.as_deref().map(hash).transpose()?,
        event_fingerprint: parts.event_fingerprint.as_deref().map(hash).transpose()?,
        signature: parts.signature.clone(),
    };
    Ok(Proof { extra, index: parts.index, hashes: tree.inclusion(parts.index, size)?, checkpoint })
}
