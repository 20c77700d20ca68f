//! Taking messages out of queues for good: their logs are written anew under new
//! keys, and the old ones are deleted with theirs.
//!
//! A queue's positions stay as they are, since a message that waits is replaced
//! by another and never left out. What is acknowledged is left out.

use super::Broker;
use super::queue::{LogIndex, Queue, decode};
use super::record::{self, Entry};
use crate::bus::BusFault;
use crate::event::Message;
use crate::store::{FrameLog, StoreFault, Tx};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What becomes of a message in a queue.
#[derive(Clone, Debug)]
pub enum Fate {
    /// It stays.
    Stays,
    /// Nothing of it is left once it is acknowledged; until then it stays.
    Leaves,
    /// It is replaced: by this message with this routing key.
    Replaced(Box<(String, Message)>),
}

/// A log written anew, on its way into a queue.
struct Anew {
    old: Arc<FrameLog>,
    index: LogIndex,
    /// The new size of each message that was replaced, and how much larger that
    /// is.
    resized: BTreeMap<u64, (u32, i64)>,
}

/// A message of a log that is to be written anew.
struct Kept {
    position: u64,
    bytes: Vec<u8>,
    /// How much larger it is than what it replaces, where it does.
    grown: Option<i64>,
}

impl Broker {
    /// Asks `fate` of every message that the logs of the queues hold, given the
    /// queue's name, the routing key and the message. When this returns, those
    /// that are to leave or to be replaced can't be read from the disk any more,
    /// nor from any copy of it, but for those that are to leave and wait yet.
    /// Consumers go on meanwhile. Returns how many were replaced.
    pub async fn rewrite<E: From<BusFault>>(
        &self,
        fate: &(dyn Fn(&str, &str, &Message) -> Result<Fate, E> + Sync),
    ) -> Result<u64, E> {
        let inner = &self.0;
        let queues: Vec<Arc<Queue>> = {
            let queues = inner.queues.read().unwrap_or_else(std::sync::PoisonError::into_inner);
            queues.values().cloned().collect()
        };
        let mut replaced = 0;
        for queue in queues {
            // What follows goes to another log: these don't grow any more.
            self.commit_for(&queue, |queue, tx| {
                queue.roll(tx);
                Ok(None)
            })
            .await?;
            for (log, first, end) in queue.closed_logs() {
                let name = queue.name.clone();
                let (mut kept, mut hits) = (Vec::new(), 0);
                let mut position = first;
                let contents = match log.read(&inner.store, FrameLog::START, end) {
                    Ok(contents) => contents,
                    // All of it was acknowledged since.
                    Err(StoreFault::NotThere { .. }) => continue,
                    Err(fault) => return Err(BusFault::Store(fault).into()),
                };
                for (count, content) in contents {
                    let mut frame = Vec::new();
                    for entry in decode(&log, 0, count, content).map_err(BusFault::Store)? {
                        let fate = fate(&name, &entry.routing_key, &entry.message)?;
                        hits += u64::from(!matches!(fate, Fate::Stays));
                        frame.push(keep(position, &entry, fate));
                        position += 1;
                    }
                    kept.push(frame);
                }
                if hits == 0 {
                    continue;
                }
                replaced += self.commit_for(&queue, move |queue, tx| anew(queue, tx, &log, &kept)).await?;
            }
        }
        Ok(replaced)
    }

    async fn commit_for(
        &self,
        queue: &Arc<Queue>,
        work: impl FnOnce(&Queue, &mut Tx) -> Result<Option<Anew>, StoreFault> + Send + 'static,
    ) -> Result<u64, BusFault> {
        let queue = Arc::clone(queue);
        let commit = self.0.store.commit(move |tx| {
            let anew = work(&queue, tx)?;
            let Some(Anew { old, index, resized }) = anew else { return Ok(0) };
            let replaced = resized.len() as u64;
            tx.after(move || queue.replace(&old, index, resized));
            Ok(replaced)
        });
        Ok(commit.await?)
    }
}

fn keep(position: u64, entry: &Entry, fate: Fate) -> Kept {
    let mut bytes = Vec::new();
    match fate {
        Fate::Stays | Fate::Leaves => {
            record::encode(&entry.routing_key, &entry.message, &mut bytes);
            Kept { position, bytes, grown: None }
        }
        Fate::Replaced(by) => {
            let size = record::encode(&by.0, &by.1, &mut bytes);
            Kept { position, bytes, grown: Some(i64::from(size) - i64::from(entry.size)) }
        }
    }
}

/// Writes what isn't acknowledged of a log into another, and deletes it.
fn anew(
    queue: &Queue,
    tx: &mut Tx,
    old: &Arc<FrameLog>,
    kept: &[Vec<Kept>],
) -> Result<Option<Anew>, StoreFault> {
    let Some(acked) = queue.begin_anew(tx, old) else { return Ok(None) };
    let mut index: Option<LogIndex> = None;
    let mut resized = BTreeMap::new();
    for frame in kept {
        let frame: Vec<&Kept> = frame.iter().filter(|kept| kept.position >= acked).collect();
        let Some(first) = frame.first() else { continue };
        if index.is_none() {
            index = Some(queue.create_anew(tx, old.name(), first.position)?);
        }
        let Some(index) = &mut index else { continue };
        let content = frame.iter().flat_map(|kept| kept.bytes.iter().copied()).collect::<Vec<u8>>();
        let placed = index.append(tx, frame.len() as u32, &content)?;
        index.push(&placed)?;
        for kept in frame {
            if let Some(grown) = kept.grown {
                resized.insert(kept.position, (kept.bytes.len() as u32, grown));
            }
        }
    }
    old.delete(tx);
    Ok(index.map(|index| Anew { old: Arc::clone(old), index, resized }))
}
