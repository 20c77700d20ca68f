//! A store that was damaged while no hub ran: refused with a sentence that says
//! what to do, and left as it is; what a crash leaves is mended.

use super::process::{Process, copy_of_demo, shut_down, snapshot};
use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

/// The exit status where the store can't be used.
const STORE: i32 = 3;

fn cut(path: &Path, by: impl FnOnce(u64) -> u64) {
    let file = OpenOptions::new().write(true).open(path).unwrap();
    let length = file.metadata().unwrap().len();
    file.set_len(length - by(length)).unwrap();
}

fn remove(path: &Path) {
    std::fs::remove_file(path).unwrap();
}

/// What a damage does to the hub's folder, and what of it the sentence names.
type Damage = (&'static str, fn(&Path), &'static str);

const DAMAGES: [Damage; 16] = [
    ("sled's file is deleted", |hub| remove(&hub.join("state/db")), "state/db is missing"),
    ("sled's file is cut in half", |hub| cut(&hub.join("state/db"), |n| n / 2), "the state"),
    ("sled's file is empty", |hub| cut(&hub.join("state/db"), |n| n), "the state"),
    (
        "the state's folder is gone",
        |hub| std::fs::remove_dir_all(hub.join("state")).unwrap(),
        "state/db is missing",
    ),
    (
        "a segment is cut within a batch",
        |hub| cut(&hub.join("segments/00000001.seg"), |_| 700),
        "segments/00000001.seg has",
    ),
    (
        "a segment is gone",
        |hub| remove(&hub.join("segments/00000001.seg")),
        "segments/00000001.seg is missing",
    ),
    ("HEAD is gone", |hub| remove(&hub.join("HEAD")), "no HEAD"),
    (
        "HEAD isn't one",
        |hub| std::fs::write(hub.join("HEAD"), "{}").unwrap(),
        "HEAD isn't what was written there",
    ),
    ("HEAD is older", older_head, "its HEAD is too old"),
    ("a redo file is gone", |hub| remove(&hub.join("redo/1")), "redo/1 is missing"),
    ("the state is older", |hub| number_of_head(hub, |n| n + 1), "it is behind its HEAD"),
    ("the ids are cut", |hub| cut(&hub.join("ids/ids"), |_| 64), "ids/ids has"),
    ("the slots are cut", |hub| cut(&hub.join("slots/slots"), |_| 1), "slots/slots has"),
    (
        "the journal is cut",
        |hub| cut(&hub.join("journal/recent/000000000000.log"), |n| n / 2),
        "journal/recent/000000000000.log has",
    ),
    (
        "the journal is gone",
        |hub| remove(&hub.join("journal/recent/000000000000.log")),
        "journal/recent/000000000000.log is missing",
    ),
    (
        "only HEAD is left",
        |hub| {
            for part in ["state", "segments", "slots", "ids", "journal", "quarantine", "bus"] {
                let _ = std::fs::remove_dir_all(hub.join(part));
            }
        },
        "state/db is missing",
    ),
];

/// Makes HEAD tell of an earlier commit, after which nothing is there to redo.
fn older_head(hub: &Path) {
    number_of_head(hub, |n| n - 3);
    for which in ["0", "1"] {
        let path = hub.join("redo").join(which);
        std::fs::write(&path, vec![0; std::fs::metadata(&path).unwrap().len() as usize]).unwrap();
    }
}

/// Makes HEAD tell of another commit.
fn number_of_head(hub: &Path, change: impl Fn(u64) -> u64) {
    let head = hub.join("HEAD");
    let mut content: serde_json::Value = serde_json::from_slice(&std::fs::read(&head).unwrap()).unwrap();
    content["commit"] = change(content["commit"].as_u64().unwrap()).into();
    std::fs::write(head, serde_json::to_string_pretty(&content).unwrap()).unwrap();
}

#[test]
fn a_damaged_store_is_refused_in_a_sentence_and_left_as_it_is() {
    for (what, damage, named) in DAMAGES {
        let folder = copy_of_demo();
        let hub = folder.path().join("hub");
        damage(&hub);
        // What a crash would leave too, and a start would cut off.
        let segment = hub.join("segments/00000001.seg");
        if what.starts_with("the") && segment.is_file() {
            OpenOptions::new().append(true).open(&segment).unwrap().write_all(b"torn").unwrap();
        }
        let before = snapshot(folder.path());
        let ended = Process::hub(folder.path()).end();
        let sentence = ended.sentence(STORE);
        println!("{what}: {sentence}");
        assert!(sentence.contains(&format!("the store in {} is refused: ", hub.display())), "{sentence}");
        assert!(sentence.contains(named), "{what}: {sentence}");
        assert!(sentence.contains("restore the whole data folder from one backup"), "{sentence}");
        let after = snapshot(folder.path());
        let differ = |path: &&PathBuf| before.get(*path) != after.get(*path);
        let paths: BTreeSet<_> = before.keys().chain(after.keys()).collect();
        // sled mends its own files as it opens them, before anyone can ask it.
        let is_ours = |path: &&PathBuf| !path.starts_with("hub/state");
        let changed: Vec<_> = paths.into_iter().filter(differ).filter(is_ours).collect();
        assert!(changed.is_empty(), "{what}: the refusal changed {changed:?}");
        let again = Process::hub(folder.path()).end();
        assert!(again.sentence(STORE).contains(named), "{what}, started again: {}", again.stderr);
    }
}

#[test]
fn what_was_never_committed_is_cut_off_and_the_hub_starts() {
    const LOGS: [&str; 5] = [
        "segments/00000001.seg",
        "ids/ids",
        "slots/slots",
        "journal/recent/000000000000.log",
        "slots/quarantine",
    ];
    let folder = copy_of_demo();
    let hub = folder.path().join("hub");
    let committed = LOGS.map(|log| std::fs::read(hub.join(log)).unwrap());
    for log in LOGS {
        let mut file = OpenOptions::new().append(true).open(hub.join(log)).unwrap();
        file.write_all(&[0xA5; 1_000]).unwrap();
    }
    // A log of a commit that didn't end, and the next HEAD half written.
    std::fs::write(hub.join("segments/00000002.seg"), [0xA5; 100]).unwrap();
    std::fs::write(hub.join("HEAD.new"), "{").unwrap();

    let mut process = Process::hub(folder.path());
    let status = process.answers(folder.path());
    assert_eq!((status.events, status.problems.len()), (812, 0), "{:?}", status.problems);
    shut_down(process, folder.path());
    for (log, committed) in LOGS.iter().zip(committed) {
        assert!(std::fs::read(hub.join(log)).unwrap() == committed, "{log} isn't what was committed");
    }
}

#[test]
fn a_second_hub_on_a_store_is_refused_and_the_first_goes_on() {
    let folder = copy_of_demo();
    let mut first = Process::hub(folder.path());
    first.answers(folder.path());
    let ended = Process::hub(folder.path()).end();
    let sentence = ended.sentence(STORE);
    assert!(sentence.contains("in use by another process; stop that one first"), "{sentence}");
    first.answers(folder.path());
    shut_down(first, folder.path());
}
