//! Witnesses: those who cosign the hub's checkpoints once they have seen that
//! each continues the one before (C2SP tlog-witness,
//! <https://c2sp.org/tlog-witness>).
//!
//! They are asked beside everything else: one that is away, or refuses, is told
//! in the log and in the status, and holds up nothing.

use crate::config;
use crate::hub::HubFault;
use crate::hub::operator::WitnessStatus;
use crate::journal::tile::{Folder, Tree};
use crate::journal::{Head, SignedCheckpoint, WitnessKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::{StatusCode, Url};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

/// How long a witness may take for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// No answer of a witness is longer, in bytes.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// A witness, and what is known of it.
pub(super) struct Witness {
    key: WitnessKey,
    url: Url,
    http: reqwest::Client,
    /// How many entries the checkpoint is over that it cosigned last.
    size: u64,
    at: Option<i64>,
    problem: Option<String>,
    ahead: Option<String>,
}

/// What asking all witnesses gave.
pub(super) struct Cosigned {
    /// The checkpoint with their lines; none where nobody cosigned.
    pub(super) checkpoint: Option<SignedCheckpoint>,
    pub(super) witnesses: Vec<WitnessStatus>,
    /// A sentence for one that knows more of the journal than there is.
    pub(super) ahead: Option<String>,
}

/// What asking a witness told, without its state being changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probed {
    /// Its name.
    pub name: String,
    /// What it knows of the journal, or why it doesn't cosign, in a sentence.
    pub answer: Result<Knows, String>,
}

/// What a witness knows of a journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Knows {
    /// It answers; there was no checkpoint to ask about.
    Unasked,
    /// So many entries of it.
    Entries(u64),
    /// As many entries, and others.
    Others,
}

/// Asks the witness of `settings` about `checkpoint`, whose tiles are in `folder`,
/// as about one that it knows already: it answers what it knows, and learns
/// nothing. Without a checkpoint, it is only seen whether it answers. Fails where
/// the settings can't be used.
pub async fn probe_witness(
    settings: &config::Witness,
    folder: &Path,
    checkpoint: Option<&SignedCheckpoint>,
) -> Result<Probed, HubFault> {
    let mut witness = Witness::new(settings)?;
    let answer = witness.probe(folder, checkpoint).await;
    Ok(Probed { name: witness.key.name, answer })
}

/// The witnesses of the configuration.
pub(super) fn all(settings: &[config::Witness]) -> Result<Vec<Witness>, HubFault> {
    settings.iter().map(Witness::new).collect()
}

/// Asks the witnesses for each new checkpoint in `newest`, whose tiles are in
/// `folder`, at most as often as `every` says. Ends when nobody signs any more.
pub(super) async fn run(
    mut witnesses: Vec<Witness>,
    folder: PathBuf,
    every: Duration,
    mut newest: watch::Receiver<Option<SignedCheckpoint>>,
    answers: mpsc::Sender<Cosigned>,
) {
    if witnesses.is_empty() {
        return;
    }
    newest.mark_changed();
    while newest.changed().await.is_ok() {
        let Some(checkpoint) = newest.borrow_and_update().clone() else { continue };
        let mut asked = JoinSet::new();
        for (place, mut witness) in witnesses.drain(..).enumerate() {
            let (folder, checkpoint) = (folder.clone(), checkpoint.clone());
            asked.spawn(async move {
                let line = witness.cosign(&folder, &checkpoint).await;
                (place, witness, line)
            });
        }
        let mut back = asked.join_all().await;
        back.sort_by_key(|(place, ..)| *place);
        let mut cosigned = checkpoint;
        let mut is_cosigned = false;
        for (_, witness, line) in &back {
            if let Some(line) = line {
                is_cosigned |= cosigned.add_cosignature(line, &witness.key).is_ok();
            }
        }
        witnesses.extend(back.into_iter().map(|(_, witness, _)| witness));
        let answer = Cosigned {
            checkpoint: is_cosigned.then_some(cosigned),
            witnesses: witnesses.iter().map(Witness::status).collect(),
            ahead: witnesses.iter().find_map(|witness| witness.ahead.clone()),
        };
        if answers.send(answer).await.is_err() {
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(every) => {}
            // The hub ends.
            () = answers.closed() => return,
        }
    }
}

impl Witness {
    fn new(settings: &config::Witness) -> Result<Witness, HubFault> {
        let config::Witness { url, vkey } = settings;
        let fault = |why: String| HubFault::Witness { url: url.clone(), vkey: vkey.clone(), why };
        let key = vkey.parse().map_err(|fault_of_key| {
            fault(format!("{fault_of_key}; a witness's is NAME+ID+BASE64 of the signature type 04"))
        })?;
        let address = Url::parse(&format!("{}/add-checkpoint", url.trim_end_matches('/')));
        let address = address.ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        let address = address.ok_or_else(|| fault("its url isn't one of http:// or https://".to_owned()))?;
        // reqwest takes the process's provider. A second call changes nothing.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().timeout(PATIENCE).build();
        let http = http.map_err(|_| fault("an HTTP client can't be made".to_owned()))?;
        Ok(Witness { key, url: address, http, size: 0, at: None, problem: None, ahead: None })
    }

    /// How it is.
    pub(super) fn status(&self) -> WitnessStatus {
        WitnessStatus {
            name: self.key.name.clone(),
            entries: if self.at.is_some() { self.size } else { 0 },
            at: self.at,
            problem: self.problem.clone(),
        }
    }

    /// Asks for a cosignature of `checkpoint`: its line, or none, and what it
    /// was that went wrong is kept.
    async fn cosign(&mut self, folder: &Path, checkpoint: &SignedCheckpoint) -> Option<String> {
        match self.ask(folder, checkpoint).await {
            Ok((line, at)) => {
                if self.problem.take().is_some() {
                    tracing::info!(witness = self.key.name, "the witness cosigns again");
                }
                self.ahead = None;
                self.size = checkpoint.head().size;
                self.at = Some(at.saturating_mul(1000));
                Some(line)
            }
            Err(why) => {
                if self.problem.as_ref() != Some(&why) {
                    tracing::warn!(
                        witness = self.key.name,
                        why,
                        "a witness didn't cosign the journal's checkpoint"
                    );
                }
                self.problem = Some(why);
                None
            }
        }
    }

    async fn ask(&mut self, folder: &Path, checkpoint: &SignedCheckpoint) -> Result<(String, i64), String> {
        let head = checkpoint.head();
        // Once more, where it knows of another size than the hub thinks: after a
        // restart, for one.
        for _ in 0..2 {
            let body = self.request(folder, checkpoint).await?;
            let (status, text) = self.post(body).await?;
            match status {
                StatusCode::OK => return self.line(checkpoint, &text),
                StatusCode::CONFLICT => {}
                status => return Err(format!("it answers {status}: {}", first_line(&text))),
            }
            let known = known_size(&text)?;
            if known > head.size || (known == self.size && known == head.size) {
                let why = format!(
                    "it knows a journal of this hub with {known} entries, which this one with {} doesn't continue",
                    head.size
                );
                self.ahead = Some(format!(
                    "The witness {} knows a journal of this hub with {known} entries, and this one has {}: the data \
                     folder was restored from an older backup, or another hub signs with the same key. Stop it, and \
                     restore a newer backup.",
                    self.key.name, head.size
                ));
                return Err(why);
            }
            self.size = known;
        }
        Err("it says twice that it knows another size".to_owned())
    }

    async fn probe(&mut self, folder: &Path, checkpoint: Option<&SignedCheckpoint>) -> Result<Knows, String> {
        let Some(checkpoint) = checkpoint else {
            // It isn't a request: a witness refuses it, and so is there.
            return match self.post(String::new()).await? {
                (status, _) if status.is_server_error() || status == StatusCode::NOT_FOUND => {
                    Err(format!("it answers {status}"))
                }
                _ => Ok(Knows::Unasked),
            };
        };
        self.size = checkpoint.head().size;
        match self.post(self.request(folder, checkpoint).await?).await? {
            (StatusCode::OK, text) => self.line(checkpoint, &text).map(|_| Knows::Entries(self.size)),
            (StatusCode::CONFLICT, text) => match known_size(&text)? {
                known if known == self.size => Ok(Knows::Others),
                known => Ok(Knows::Entries(known)),
            },
            (status, text) => Err(format!("it answers {status}: {}", first_line(&text))),
        }
    }

    async fn post(&self, body: String) -> Result<(StatusCode, String), String> {
        let sent = self.http.post(self.url.clone()).body(body).send().await;
        let response = sent.map_err(|error| format!("it can't be reached: {}", innermost(&error)))?;
        Ok((response.status(), text(response).await?))
    }

    /// The body of a request: the old size, the way from it, the checkpoint.
    async fn request(&self, folder: &Path, checkpoint: &SignedCheckpoint) -> Result<String, String> {
        let Head { size, .. } = checkpoint.head();
        let old = self.size.min(size);
        let source = Folder(folder.to_owned());
        let proof = tokio::task::spawn_blocking(move || match old {
            0 => Ok(Vec::new()),
            old => Tree::new(&source, size).consistency(old, size),
        });
        let proof =
            proof.await.map_err(|_| "the hub stops".to_owned())?.map_err(|fault| fault.to_string())?;
        let proof: String = proof.iter().map(|hash| STANDARD.encode(hash) + "\n").collect();
        Ok(format!("old {old}\n{proof}\n{}", checkpoint.render()))
    }

    /// The line of this witness in an answer, and when it signed.
    fn line(&self, checkpoint: &SignedCheckpoint, answer: &str) -> Result<(String, i64), String> {
        let mut checked = checkpoint.clone();
        for line in answer.lines() {
            if let Ok(at) = checked.add_cosignature(line, &self.key) {
                return Ok((line.to_owned(), at));
            }
        }
        Err("its answer isn't its cosignature of the checkpoint: is `vkey` its key?".to_owned())
    }
}

/// The size in an answer 409.
fn known_size(text: &str) -> Result<u64, String> {
    text.trim().parse().map_err(|_| "it answers 409 without the size that it knows".to_owned())
}

async fn text(mut response: reqwest::Response) -> Result<String, String> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| innermost(&error))? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > MAX_ANSWER_BYTES {
            return Err("its answer is longer than any cosignature".to_owned());
        }
    }
    String::from_utf8(bytes).map_err(|_| "its answer isn't text".to_owned())
}

/// The beginning of an answer, for the log.
fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().chars().filter(|c| !c.is_control()).take(200).collect()
}

/// What it comes from. The address isn't said again.
fn innermost(error: &reqwest::Error) -> String {
    let mut why: &dyn std::error::Error = error;
    while let Some(source) = why.source() {
        why = source;
    }
    why.to_string()
}

#[cfg(test)]
mod tests;
