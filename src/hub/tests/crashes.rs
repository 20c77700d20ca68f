//! Each kind of write of a hub fails and didn't happen, fails but did happen, or is
//! torn; the hub is started again on what is left.
//!
//! After each: the tree continues every checkpoint that was ever signed, each
//! event that was acknowledged has its entry, and each message that reached the
//! wire has its `delivered` entry, by the very name that its proof leads to.

use super::post::Post;
use super::*;
use crate::hub::operator::{Answer, Handler, ProofParts, Request};
use crate::hub::{Provisioned, REJECTED};
use crate::journal::{Entry, Frontier, fingerprint, leaf_hash, message_name};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::collections::{BTreeMap, HashSet};

/// How many events are published in a round, and in how many lots.
const EVENTS: usize = 12;
const LOTS: usize = 3;
/// The steps of settling what is committed.
const SETTLING: [Step; 7] = [
    Step::Sync,
    Step::SyncFolder,
    Step::State,
    Step::Flush,
    Step::WriteHead,
    Step::SyncHead,
    Step::RenameHead,
];
/// The steps of writing a file.
const FILES: [Step; 5] = [Step::Open, Step::Write, Step::Sync, Step::RenameFile, Step::SyncFolder];
const OUTCOMES: [Outcome; 3] = [Outcome::NotDone, Outcome::Done, Outcome::Torn];

/// A hub that is crashed, the broker that it is on, and all that it ever said.
struct Crashing {
    place: Place,
    post: Post,
    published: usize,
    checkpoints: Vec<Head>,
}

/// How a round went.
struct Round {
    /// The step that was made to fail.
    hit: Option<Step>,
    /// Why the hub ended, where it did.
    ended: Option<String>,
}

fn text<'a>(message: &'a Message, attribute: &str) -> &'a str {
    message.text(&format!("cloudEvents_{attribute}")).unwrap_or_default()
}

/// The recipient of a message on the wire, its epoch and its number.
fn number(message: &Message) -> (String, u32, u64) {
    let parse = |name| text(message, name).parse::<u64>().unwrap();
    (text(message, "recipient").to_owned(), parse("epoch") as u32, parse("sequence"))
}

fn printed(message: &Message) -> [u8; 32] {
    fingerprint(text(message, "signature"), &message.body)
}

fn bytes(text: &str) -> [u8; 32] {
    STANDARD.decode(text).unwrap().try_into().unwrap()
}

impl Crashing {
    fn new() -> Crashing {
        Crashing { place: Place::new(), post: Post::default(), published: 0, checkpoints: Vec::new() }
    }

    /// Runs the hub until it has done all that there is to do, or ends.
    fn round(&mut self, script: &Arc<Script>) -> Round {
        let runtime = runtime();
        let (mut hub, mut ended) = (None, None);
        match self.place.open(Some(script)) {
            Err(fault) => ended = Some(fault.to_string()),
            Ok(store) => runtime.block_on(async {
                let bus = Arc::new(self.post.clone());
                match self.place.start(store, bus, Arc::new(Provisioned)).await {
                    Err(fault) => ended = Some(fault.to_string()),
                    Ok(started) => {
                        ended = self.load(&started).await;
                        hub = Some(started);
                    }
                }
            }),
        }
        // Its tasks end where they are.
        drop(runtime);
        drop(hub);
        self.checkpoints.extend(script.checkpoints());
        Round { hit: script.hit(), ended }
    }

    /// Publishes a round's events, and waits until all is done and under a
    /// checkpoint. Returns why the hub ended, where it did.
    async fn load(&mut self, hub: &Hub) -> Option<String> {
        let working = async {
            for _ in 0..LOTS {
                let numbers = self.published..self.published + EVENTS / LOTS;
                let event =
                    |n: usize| self.place.event(&format!("e-{n}"), &format!("person/{}", n % 5), "Kaemo");
                self.post.send(numbers.map(event).collect());
                self.published += EVENTS / LOTS;
                while !self.is_done(hub) {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            }
        };
        tokio::select! {
            ended = hub.wait() => Some(ended.expect_err("nobody asked it to stop").to_string()),
            done = tokio::time::timeout(PATIENCE, working) => {
                done.expect("all is done in time");
                None
            }
        }
    }

    fn is_done(&self, hub: &Hub) -> bool {
        let status = hub.status().unwrap();
        let settled = status.recipients.iter().all(|r| r.undecided == 0 && r.confirmed == r.sequence);
        // Two recipients' entries, or the events' alone.
        let entries = journal::head(&hub.shared.store).unwrap().size;
        settled
            && self.post.acknowledged().len() >= self.published
            && hub.shared.published().entries == entries
    }

    /// Holds what is on disk against all that was said. `when` is what happened
    /// before.
    fn verify(&self, when: &str) {
        let store = self.place.open(None).unwrap_or_else(|fault| panic!("{when}: {fault}"));
        let entries = journal::read_all(&store).unwrap_or_else(|fault| panic!("{when}: {fault}"));
        let mut frontier = Frontier::default();
        let mut roots = vec![frontier.root()];
        for entry in &entries {
            frontier.push(leaf_hash(&entry.encode()));
            roots.push(frontier.root());
        }
        for Head { size, root } in &self.checkpoints {
            let now = roots.get(*size as usize);
            assert_eq!(now, Some(root), "{when}: the tree isn't that of a checkpoint over {size}");
        }
        let mut delivered = BTreeMap::new();
        for (index, entry) in entries.iter().enumerate() {
            if let Entry::Delivered { recipient, epoch, sequence, .. } = entry {
                let before = delivered.insert((recipient.clone(), *epoch, *sequence), index);
                assert_eq!(before, None, "{when}: {sequence} for {recipient} was decided twice");
            }
        }
        let runtime = runtime();
        let hub = runtime.block_on(async {
            let master = self.place.master(&store).await.unwrap();
            let bus = Arc::new(self.post.clone());
            Hub::at_rest(&self.place.config, store, &master, bus, Arc::new(Provisioned)).await.unwrap()
        });
        let prove = |request: Request| -> ProofParts {
            match runtime.block_on(hub.handle(request)) {
                Answer::Proof(parts) => parts,
                other => panic!("{when}: {other:?}"),
            }
        };
        let is_named = |parts: &ProofParts, print: [u8; 32], name: &[u8; 32]| {
            bytes(&parts.fingerprint) == print && message_name(&bytes(&parts.salt), &print) == *name
        };
        let mut own = HashSet::new();
        for event in self.post.acknowledged() {
            let id = text(&event, "id").to_owned();
            own.insert(id.clone());
            let parts = prove(Request::ProveEvent { source: source(), id: id.clone() });
            let Entry::Event { name, publisher, .. } = &entries[parts.index as usize] else {
                panic!("{when}: the entry of {id} is another's")
            };
            assert_eq!(publisher, PROVIDER);
            assert!(is_named(&parts, printed(&event), name), "{when}: {id}");
        }
        let mut sent: BTreeMap<(String, u32, u64), Message> = BTreeMap::new();
        for message in self.post.wire() {
            let (recipient, epoch, sequence) = number(&message);
            let key = (recipient.clone(), epoch, sequence);
            if let Some(before) = sent.get(&key) {
                assert_eq!(*before, message, "{when}: {sequence} for {recipient} was sent again otherwise");
                continue;
            }
            let Some(index) = delivered.get(&key) else {
                panic!("{when}: {sequence} for {recipient} is on the wire and has no entry")
            };
            let request =
                Request::ProveDelivery { recipient: recipient.clone(), sequence, epoch: Some(epoch) };
            let parts = prove(request);
            let Entry::Delivered { name, .. } = &entries[*index] else { unreachable!() };
            assert_eq!(parts.index as usize, *index, "{when}: {sequence} for {recipient}");
            assert!(is_named(&parts, printed(&message), name), "{when}: {sequence} for {recipient}");
            sent.insert(key, message);
        }
        drop(runtime);
    }

    /// At the end, nothing is missing and nothing came twice under two numbers.
    fn nothing_is_lost(&self) {
        let ids: HashSet<String> =
            self.post.acknowledged().iter().map(|event| text(event, "id").to_owned()).collect();
        assert_eq!(ids.len(), self.published);
        for recipient in RECIPIENTS {
            let wire = self.post.wire();
            let its = wire.iter().filter(|message| number(message).0 == recipient);
            let mut numbers: BTreeMap<u64, &Message> = BTreeMap::new();
            numbers.extend(its.map(|message| (number(message).2, message)));
            assert!(
                numbers.keys().copied().eq(1..=self.published as u64 + 1),
                "{recipient}: {:?}",
                numbers.keys()
            );
            let ids: HashSet<&str> = numbers.values().map(|message| text(message, "id")).collect();
            assert_eq!(ids.len(), numbers.len(), "{recipient}: an event has two numbers");
            assert!(numbers.values().all(|message| message.kind.as_deref() != Some(REJECTED)));
        }
    }
}

/// Crashes hubs at each of `steps` of what `writes`, each in three ways. Of most,
/// there are twice `many` in a round at least.
fn crash(writes: Writes, steps: &[Step], many: usize) {
    let (mut hits, mut ends, mut signed) = (0, 0, 0);
    for (at, step) in steps.iter().enumerate() {
        // The store goes on from crash to crash.
        let mut crashing = Crashing::new();
        for (way, outcome) in OUTCOMES.into_iter().enumerate() {
            // One while the hub starts, or soon after; one later.
            for nth in [at % many, many + (at + way) % many] {
                let script = Script::new(&crashing.place, writes, Some(*step), nth, outcome);
                let Round { hit, ended } = crashing.round(&script);
                let when = format!("{writes:?}: {step:?} number {nth}, {outcome:?}, hit {hit:?}, {ended:?}");
                // What isn't settled at the end is at the next start.
                let may_wait = writes == Writes::Store && SETTLING.contains(step);
                assert!(hit.is_none() || ended.is_some() || may_wait, "{when}");
                assert!(ended.is_none() || hit.is_some(), "{when}");
                crashing.verify(&when);
                hits += usize::from(hit.is_some());
                ends += usize::from(ended.is_some());
            }
        }
        let script = Script::new(&crashing.place, writes, Some(*step), usize::MAX - 1, Outcome::Happens);
        let Round { ended, .. } = crashing.round(&script);
        assert_eq!(ended, None, "{step:?}");
        crashing.verify(&format!("{step:?}, in the end"));
        crashing.nothing_is_lost();
        signed += crashing.checkpoints.len();
    }
    println!("{writes:?}: {hits} failures, {ends} hubs ended by them, {signed} checkpoints");
    let all = steps.len() * OUTCOMES.len() * 2;
    assert!(hits * 4 >= all * 3, "only {hits} of {all} failures came");
    assert!(signed > all);
}

#[test]
fn a_commit_that_fails_at_any_step_leaves_a_journal_that_tells_of_all_that_was_said() {
    let steps = [&[Step::Open, Step::Write, Step::WriteRedo, Step::SyncRedo], &SETTLING[..]].concat();
    crash(Writes::Store, &steps, 4);
}

#[test]
fn a_tile_that_fails_at_any_step_leaves_a_journal_that_tells_of_all_that_was_said() {
    crash(Writes::Tiles, &FILES, 4);
}

#[test]
fn a_checkpoint_that_fails_at_any_step_leaves_a_tree_that_continues_all_that_were_signed() {
    crash(Writes::Checkpoint, &FILES, 1);
}
