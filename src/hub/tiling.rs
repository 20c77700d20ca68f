//! Publishing the journal: the task that follows what is committed, has it
//! written as tiles, and signs checkpoints.

use crate::config;
use crate::hub::operator::WitnessStatus;
use crate::hub::witness::{self, Cosigned, Witness};
use crate::hub::{HubFault, Shared};
use crate::journal::{self, SignedCheckpoint, Writer};
use crate::keys::PrivateKey;
use crate::store::Store;
use crate::tasks::stopped;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};
use tokio::sync::{mpsc, watch};
use tokio::task::spawn_blocking;
use tokio::time::MissedTickBehavior;

/// So many entries without a tile are made up for before the hub starts: what a
/// crash leaves. More are made up for while it runs.
const AT_START: u64 = 65_536;

/// Entries that are under no checkpoint for so long are a problem, in
/// milliseconds.
const LATE: i64 = 30_000;

/// How far the journal is published.
#[derive(Clone, Debug, Default)]
pub(crate) struct Published {
    /// How many entries the last checkpoint is over.
    pub(super) entries: u64,
    /// When it was signed, in milliseconds since 1970.
    pub(super) at: Option<i64>,
    pub(super) witnesses: Vec<WitnessStatus>,
    /// A sentence for a witness that knows more of the journal than the hub.
    pub(super) ahead: Option<String>,
}

impl Published {
    /// What an operator has to hear of, for a journal of `entries` at `now`.
    pub(super) fn problems(&self, entries: u64, now: i64) -> Vec<String> {
        let mut problems: Vec<String> = self.ahead.clone().into_iter().collect();
        if let Some(at) = self.at.filter(|at| entries > self.entries && now - at > LATE) {
            problems.push(format!(
                "The journal's last checkpoint is {} seconds old, and {} entries are under none. The disk may be slow; \
                 the log may say why.",
                (now - at) / 1000,
                entries - self.entries
            ));
        }
        problems
    }
}

/// Opens the journal of `store` and, where a crash left little, publishes all of
/// it. A journal that can't go on is refused here.
pub(super) async fn open(store: &Store, name: &str, key: PrivateKey) -> Result<Writer, HubFault> {
    let (store, name) = (store.clone(), name.to_owned());
    let opening = spawn_blocking(move || {
        let mut writer = Writer::open(&store, &name, key)?;
        if journal::head(&store)?.size - writer.size() <= AT_START {
            writer.pass()?;
        }
        Ok::<_, HubFault>(writer)
    });
    opening.await.map_err(|_| HubFault::Stopped)?
}

/// The task.
pub(super) struct Tiling {
    shared: Arc<Shared>,
    /// Lent out while it works; gone for good where that panicked.
    writer: Option<Writer>,
    every: Duration,
    witness_every: Duration,
    witnesses: Vec<Witness>,
}

impl Tiling {
    /// The task that publishes the journal of `writer`.
    pub(super) fn new(
        shared: Arc<Shared>,
        writer: Writer,
        settings: &config::Journal,
        witnesses: Vec<Witness>,
    ) -> Tiling {
        let mut published = shared.published();
        published.witnesses = witnesses.iter().map(Witness::status).collect();
        drop(published);
        let (every, witness_every) = (settings.checkpoint_every(), settings.witness_every());
        Tiling { shared, writer: Some(writer), every, witness_every, witnesses }
    }

    /// Runs until `stop` says so, then publishes what there is once more.
    pub(super) async fn run(mut self, mut stop: watch::Receiver<bool>) -> Result<(), HubFault> {
        let folder = self.shared.store.files(journal::FOLDER).folder().to_owned();
        self.note(signed_at(folder.join(journal::tile::CHECKPOINT)));
        let newest = watch::Sender::new(self.signed().cloned());
        let (send, mut cosigned) = mpsc::channel(1);
        let witnesses = std::mem::take(&mut self.witnesses);
        // Ends with the sender of the newest checkpoint.
        tokio::spawn(witness::run(witnesses, folder, self.witness_every, newest.subscribe(), send));
        let mut asking = true;
        let mut due = tokio::time::interval(self.every);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = due.tick() => self.pass(&newest).await?,
                () = stopped(&mut stop) => {
                    self.pass(&newest).await?;
                    return Ok(());
                }
                answers = cosigned.recv(), if asking => match answers {
                    Some(answers) => self.cosigned(answers).await?,
                    None => asking = false,
                },
            }
        }
    }

    fn signed(&self) -> Option<&SignedCheckpoint> {
        self.writer.as_ref().and_then(Writer::signed)
    }

    async fn pass(&mut self, newest: &watch::Sender<Option<SignedCheckpoint>>) -> Result<(), HubFault> {
        let is_new = self.blocking(Writer::pass).await?;
        if is_new {
            self.note(Some(jiff::Timestamp::now().as_millisecond()));
            newest.send_replace(self.signed().cloned());
        }
        Ok(())
    }

    async fn cosigned(&mut self, answers: Cosigned) -> Result<(), HubFault> {
        {
            let mut published = self.shared.published();
            published.witnesses = answers.witnesses;
            published.ahead = answers.ahead;
        }
        if let Some(checkpoint) = answers.checkpoint {
            self.blocking(move |writer| writer.publish_cosigned(checkpoint)).await?;
        }
        Ok(())
    }

    /// Has the writer work where it may block.
    async fn blocking<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Writer) -> Result<T, journal::WriterFault> + Send + 'static,
    ) -> Result<T, HubFault> {
        let Some(mut writer) = self.writer.take() else { return Err(HubFault::Stopped) };
        let working = spawn_blocking(move || (work(&mut writer), writer));
        let (done, writer) = working.await.map_err(|_| HubFault::Stopped)?;
        self.writer = Some(writer);
        Ok(done?)
    }

    fn note(&self, at: Option<i64>) {
        let entries = self.signed().map_or(0, |signed| signed.head().size);
        let metrics = &self.shared.metrics;
        metrics.checkpoint_entries.set(entries);
        metrics.checkpoint_at.set(at.map_or(0, |at| (at / 1000).unsigned_abs()));
        let mut published = self.shared.published();
        published.entries = entries;
        published.at = at;
    }
}

/// When the checkpoint was written, in milliseconds since 1970.
fn signed_at(file: PathBuf) -> Option<i64> {
    let modified = std::fs::metadata(file).and_then(|metadata| metadata.modified()).ok()?;
    i64::try_from(modified.duration_since(UNIX_EPOCH).ok()?.as_millis()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_without_a_checkpoint_are_a_problem_after_a_while() {
        let published = Published { entries: 5, at: Some(0), ..Published::default() };
        assert!(published.problems(5, LATE * 10).is_empty());
        assert!(published.problems(6, LATE).is_empty());
        assert!(published.problems(6, LATE + 1)[0].contains("30 seconds old, and 1 entries"));
    }
}
