use super::*;
use crate::journal::tile::{CHECKPOINT, TileSource, Tree, right_edge};
use crate::journal::{Check, Entry, Leaf, append, read_all, verify_consistency};
use crate::store::{Faults, Outcome, Step, StoreOptions, copy};
use std::path::Path;
use std::sync::{Arc, Mutex};
use tempfile::TempDir;

const NAME: &str = "nc";

fn key() -> PrivateKey {
    PrivateKey::from_seed(&[7; 32])
}

fn log() -> LogKey {
    LogKey { name: NAME.into(), key: key().public().clone() }
}

fn entry(number: u64) -> Entry {
    Entry::Agreement {
        at: number as i64,
        reference: format!("agreement{}:1", ".".repeat((number % 5) as usize)),
        provider: "province-sud".into(),
        recipient: "cafat".into(),
        digest: [number as u8; 32],
        in_force: true,
    }
}

/// Commits entries up to `size`, at most `batch` a commit.
fn grow(store: &Store, size: u64, batch: u64) -> Result<(), StoreFault> {
    let mut next = head(store)?.size;
    while next < size {
        let end = (next + batch).min(size);
        let leaves: Vec<Leaf> = (next..end).map(|number| Leaf::new(&entry(number))).collect();
        store.commit_blocking(move |tx| append(tx, &leaves))?;
        next = end;
    }
    Ok(())
}

fn open(folder: &Path) -> Store {
    Store::open(folder, StoreOptions::default()).unwrap()
}

fn tiles(folder: &Path) -> Folder {
    Folder(folder.join(FOLDER))
}

/// The checkpoint in its place, verified.
fn published(folder: &Path) -> SignedCheckpoint {
    let note = tiles(folder).get(CHECKPOINT).unwrap().unwrap();
    SignedCheckpoint::open(&String::from_utf8(note).unwrap(), &log()).unwrap()
}

/// Checks the whole log from outside. Returns its size.
fn verify(folder: &Path) -> u64 {
    let head = published(folder).head();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let mut check = Check::begin(Arc::new(tiles(folder)), head, None).unwrap();
        while check.step(|_, _| None::<()>).await.unwrap().is_some() {}
    });
    head.size
}

fn refusal(folder: &Path) -> String {
    let store = open(folder);
    let opened = Writer::open(&store, NAME, key()).and_then(|mut writer| writer.pass());
    opened.expect_err("the journal must be refused").to_string()
}

#[test]
fn what_is_committed_is_published_and_each_checkpoint_continues_the_last() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let mut writer = Writer::open(&store, NAME, key()).unwrap();
    assert!(!writer.pass().unwrap(), "nothing is there to sign");
    let mut last: Option<SignedCheckpoint> = None;
    for size in [1, 2, 255, 256, 257, 300, 511, 512, 1000, 5000] {
        grow(&store, size, 100).unwrap();
        assert!(writer.pass().unwrap());
        assert!(!writer.pass().unwrap(), "nothing is new");
        assert_eq!(verify(folder.path()), size);
        let now = published(folder.path());
        if let Some(last) = last.replace(now.clone()) {
            let log = tiles(folder.path());
            let proof = Tree::new(&log, size).consistency(last.head().size, size).unwrap();
            verify_consistency(&last.head(), &now.head(), &proof).unwrap();
        }
    }
    let names = walk(&folder.path().join(FOLDER).join("tile"));
    assert!(
        !names.iter().any(|name| name.contains("/0/000.p") || name.contains("/entries/000.p")),
        "a full tile's partial ones are gone"
    );
    assert!(names.iter().any(|name| name.contains("entries/019.p/136")), "{names:?}");
    assert_eq!(read_all(&store).unwrap().len(), 5000);
}

fn walk(folder: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => names.extend(walk(&path)),
            false => names.push(path.to_string_lossy().into_owned()),
        }
    }
    names
}

#[test]
fn a_writer_that_opens_again_goes_on_and_makes_what_is_missing_byte_for_byte() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    grow(&store, 700, 50).unwrap();
    let mut writer = Writer::open(&store, NAME, key()).unwrap();
    writer.pass().unwrap();
    let at_700 = std::fs::read(folder.path().join(FOLDER).join(CHECKPOINT)).unwrap();
    grow(&store, 1100, 50).unwrap();
    writer.pass().unwrap();
    let log = tiles(folder.path());
    let edge: Vec<_> = right_edge(1100).into_iter().map(|tile| (tile, log.get(&tile.to_string()))).collect();
    let full = log.get("tile/entries/003").unwrap();
    drop(writer);
    // As if the hub had ended before the second checkpoint, and some of its tiles.
    std::fs::write(folder.path().join(FOLDER).join(CHECKPOINT), &at_700).unwrap();
    std::fs::remove_file(folder.path().join(FOLDER).join("tile/entries/003")).unwrap();
    let mut writer = Writer::open(&store, NAME, key()).unwrap();
    assert_eq!(writer.size(), 700);
    assert!(writer.pass().unwrap());
    assert_eq!(log.get("tile/entries/003").unwrap(), full);
    for (tile, bytes) in edge {
        assert_eq!(log.get(&tile.to_string()).unwrap(), bytes.unwrap(), "{tile}");
    }
    assert_eq!(verify(folder.path()), 1100);
}

#[test]
fn what_is_in_bundles_is_not_kept_in_the_store_and_is_read_from_there() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let mut writer = Writer::open(&store, NAME, key()).unwrap();
    let size = 2 * recent::SEGMENT + 500;
    for size in [1000, recent::SEGMENT, recent::SEGMENT + 1, size] {
        grow(&store, size, 4000).unwrap();
        writer.pass().unwrap();
    }
    assert_eq!(recent::oldest(&store), Some(2));
    let entries = read_all(&store).unwrap();
    assert_eq!(entries.len() as u64, size);
    assert!(entries.iter().zip(0..).all(|(read, number)| *read == entry(number)));
    drop((writer, store));
    let store = open(folder.path());
    let mut writer = Writer::open(&store, NAME, key()).unwrap();
    grow(&store, size + 10, 10).unwrap();
    assert!(writer.pass().unwrap());
    assert_eq!(verify(folder.path()), size + 10);
    // Without its checkpoint, the journal is tiled again from what the store holds.
    drop(writer);
    std::fs::remove_file(folder.path().join(FOLDER).join(CHECKPOINT)).unwrap();
    let mut writer = Writer::open(&store, NAME, key()).unwrap();
    assert_eq!(writer.size(), 2 * recent::SEGMENT);
    assert!(writer.pass().unwrap());
    assert_eq!(verify(folder.path()), size + 10);
}

/// A journal of 600 entries, published; the store's folder alone, copied before
/// the last 100.
fn two_ages() -> (TempDir, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let older = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    grow(&store, 500, 100).unwrap();
    Writer::open(&store, NAME, key()).unwrap().pass().unwrap();
    drop(store);
    copy(folder.path(), older.path());
    let store = open(folder.path());
    grow(&store, 600, 100).unwrap();
    Writer::open(&store, NAME, key()).unwrap().pass().unwrap();
    (folder, older)
}

#[test]
fn a_store_that_is_older_than_the_checkpoint_is_refused_with_what_to_do() {
    let (folder, older) = two_ages();
    let newest = folder.path().join(FOLDER).join(CHECKPOINT);
    std::fs::copy(newest, older.path().join(FOLDER).join(CHECKPOINT)).unwrap();
    let text = refusal(older.path());
    assert!(text.contains("holds 500 entries") && text.contains("a checkpoint over 600"), "{text}");
    assert!(text.contains("Restore the whole data folder"), "{text}");
}

#[test]
fn a_store_that_grew_otherwise_since_the_checkpoint_is_refused() {
    let (folder, older) = two_ages();
    let store = open(older.path());
    let others: Vec<Leaf> = (0..200).map(|number| Leaf::new(&entry(number))).collect();
    store.commit_blocking(move |tx| append(tx, &others)).unwrap();
    drop(store);
    // The newer journal's files beside the older store, which has 700 entries by now.
    std::fs::remove_dir_all(older.path().join(FOLDER).join("tile")).unwrap();
    for name in ["tile", CHECKPOINT] {
        let (from, to) = (folder.path().join(FOLDER).join(name), older.path().join(FOLDER).join(name));
        match from.is_dir() {
            true => {
                std::fs::create_dir_all(&to).unwrap();
                copy(&from, &to);
            }
            false => drop(std::fs::copy(from, to).unwrap()),
        }
    }
    let text = refusal(older.path());
    assert!(text.contains("don't give the root that the store committed"), "{text}");
    assert_eq!(published(older.path()).head().size, 600, "nothing else was signed");
}

#[test]
fn tiles_that_are_not_those_of_the_checkpoint_are_refused() {
    for tile in right_edge(600) {
        let (folder, _) = two_ages();
        let path = folder.path().join(FOLDER).join(tile.to_string());
        let mut bytes = std::fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let text = refusal(folder.path());
        assert!(text.contains("don't give the root of its last checkpoint, over 600"), "{text}");
        std::fs::remove_file(&path).unwrap();
        let text = refusal(folder.path());
        assert!(text.contains(&tile.to_string()) && text.contains("isn't there"), "{text}");
    }
}

#[test]
fn another_name_is_refused_and_another_key_signs_the_same_tree() {
    let (folder, _) = two_ages();
    let store = open(folder.path());
    let fault = Writer::open(&store, "other", key()).map(|_| ()).unwrap_err();
    assert!(
        fault.to_string().contains("is of the hub \"nc\"") && fault.to_string().contains("set `name` back")
    );
    let next = PrivateKey::from_seed(&[8; 32]);
    let log = LogKey { name: NAME.into(), key: next.public().clone() };
    let before = published(folder.path()).head();
    let mut writer = Writer::open(&store, NAME, next).unwrap();
    assert!(writer.pass().unwrap());
    let note = tiles(folder.path()).get(CHECKPOINT).unwrap().unwrap();
    let signed = SignedCheckpoint::open(&String::from_utf8(note).unwrap(), &log).unwrap();
    assert_eq!(signed.head(), before);
}

#[test]
fn a_checkpoint_that_is_none_is_refused() {
    let (folder, _) = two_ages();
    std::fs::write(folder.path().join(FOLDER).join(CHECKPOINT), "nc\n5\n").unwrap();
    assert!(refusal(folder.path()).contains("checkpoint in the folder journal/"));
}

/// Makes the n-th step after it is armed end otherwise.
#[derive(Default)]
struct Script(Mutex<Steps>);

#[derive(Default)]
struct Steps {
    armed: Option<(usize, Outcome)>,
    seen: Vec<Step>,
}

impl Script {
    fn arm(&self, nth: usize, outcome: Outcome) {
        *self.0.lock().unwrap() = Steps { armed: Some((nth, outcome)), seen: Vec::new() };
    }

    fn seen(&self) -> Vec<Step> {
        self.0.lock().unwrap().seen.clone()
    }
}

impl Faults for Script {
    fn next(&self, step: Step) -> Outcome {
        let mut steps = self.0.lock().unwrap();
        steps.seen.push(step);
        match steps.armed {
            Some((nth, outcome)) if steps.seen.len() - 1 == nth => outcome,
            _ => Outcome::Happens,
        }
    }
}

/// Commits and publishes, as a hub does, until something fails. Every checkpoint
/// that anyone can have seen goes to `signed`; returns how many entries were
/// acknowledged.
fn work(folder: &Path, script: &Arc<Script>, signed: &mut Vec<SignedCheckpoint>, sizes: &[u64]) -> u64 {
    let options = StoreOptions { faults: Some(script.clone()), ..StoreOptions::default() };
    let mut acknowledged = 0;
    let all = || {
        let store = Store::open(folder, options).ok()?;
        let mut writer = Writer::open(&store, NAME, key()).ok()?;
        for size in sizes {
            grow(&store, *size, 1000).ok()?;
            acknowledged = *size;
            let done = writer.pass();
            // What stands there was seen, whatever the writer made of it.
            if folder.join(FOLDER).join(CHECKPOINT).exists() {
                signed.push(published(folder));
            }
            done.ok()?;
        }
        Some(())
    };
    all();
    acknowledged
}

/// Each step of committing and publishing fails in each way, at sizes where tiles
/// end and where they don't. Whatever happens, the hub goes on afterwards, and
/// its tree continues every checkpoint that was ever signed.
#[test]
fn no_failure_of_a_write_breaks_the_tree_or_loses_an_entry() {
    let sizes = [200, 256, 530];
    let prepare = || {
        let folder = tempfile::tempdir().unwrap();
        let script = Arc::new(Script::default());
        work(folder.path(), &script, &mut Vec::new(), &[100]);
        (folder, script)
    };
    let (folder, script) = prepare();
    script.arm(usize::MAX, Outcome::Happens);
    work(folder.path(), &script, &mut Vec::new(), &sizes);
    let steps = script.seen();
    for step in [Step::Open, Step::Write, Step::Sync, Step::RenameFile, Step::SyncFolder, Step::Unlink] {
        assert!(steps.contains(&step), "publishing has no step {step:?}");
    }
    for nth in 0..steps.len() {
        for outcome in [Outcome::NotDone, Outcome::Done, Outcome::Torn] {
            let (folder, script) = prepare();
            let mut signed = vec![published(folder.path())];
            script.arm(nth, outcome);
            let acknowledged = work(folder.path(), &script, &mut signed, &sizes);
            let what = format!("step {nth}, {:?}, {outcome:?}", script.seen().get(nth));

            let store = open(folder.path());
            let mut writer =
                Writer::open(&store, NAME, key()).unwrap_or_else(|fault| panic!("{what}: {fault}"));
            let entries = read_all(&store).unwrap();
            assert!(entries.len() as u64 >= acknowledged, "{what}: an acknowledged entry is lost");
            assert!(entries.iter().zip(0..).all(|(read, number)| *read == entry(number)), "{what}");
            grow(&store, 600, 1000).unwrap();
            writer.pass().unwrap_or_else(|fault| panic!("{what}: {fault}"));
            assert_eq!(verify(folder.path()), 600, "{what}");
            let now = published(folder.path()).head();
            let log = tiles(folder.path());
            for before in &signed {
                let proof = Tree::new(&log, 600).consistency(before.head().size, 600).unwrap();
                verify_consistency(&before.head(), &now, &proof)
                    .unwrap_or_else(|fault| panic!("{what}: {fault}"));
            }
        }
    }
}

#[test]
fn a_cosigned_checkpoint_stands_where_it_is_the_newest() {
    use crate::journal::{WitnessKey, cosign};
    let witness = PrivateKey::from_seed(&[9; 32]);
    let known = WitnessKey { name: "w.example".into(), key: witness.public().clone() };
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    grow(&store, 10, 10).unwrap();
    let mut writer = Writer::open(&store, NAME, key()).unwrap();
    writer.pass().unwrap();
    let mut cosigned = writer.signed().unwrap().clone();
    let line = cosign(&cosigned.checkpoint().text(), "w.example", &witness, 5);
    cosigned.add_cosignature(&line, &known).unwrap();
    assert!(writer.publish_cosigned(cosigned.clone()).unwrap());
    let witnesses = std::slice::from_ref(&known);
    assert_eq!(published(folder.path()).cosigned(witnesses).unwrap().len(), 1);
    assert!(!writer.pass().unwrap(), "it stays where nothing is new");
    grow(&store, 11, 10).unwrap();
    assert!(writer.pass().unwrap());
    assert!(!writer.publish_cosigned(cosigned.clone()).unwrap(), "a newer one isn't replaced");
    assert_eq!(published(folder.path()).head().size, 11);
    let kept = tiles(folder.path()).get(COSIGNED).unwrap().unwrap();
    assert_eq!(String::from_utf8(kept).unwrap(), cosigned.render());
}
