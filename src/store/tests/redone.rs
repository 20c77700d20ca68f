//! Commits that weren't settled when the process ended.

use super::*;
use crate::store::redo;
use std::os::unix::fs::FileExt;
use std::time::Duration;

/// A copy of what is on disk while the store is open: what a kill leaves.
fn killed(folder: &TempDir) -> TempDir {
    let left = tempfile::tempdir().unwrap();
    copy(folder.path(), left.path());
    left
}

fn head_of(folder: &TempDir) -> u64 {
    let text = fs::read_to_string(folder.path().join("HEAD")).unwrap();
    let head: serde_json::Value = serde_json::from_str(&text).unwrap();
    head["commit"].as_u64().unwrap()
}

#[test]
fn what_a_kill_leaves_unsettled_is_there_at_the_next_start() {
    let folder = filled(3);
    let store = open(&folder).unwrap();
    let mut unsettled = 0;
    for n in 4..20 {
        commit(&store, n).unwrap();
        let left = killed(&folder);
        unsettled += u64::from(head_of(&left) < n);
        let store = open(&left).unwrap();
        assert_commits(&store, n);
        assert_eq!(store.commits(), n);
        assert_eq!(head_of(&left), n, "it is settled by the start");
        commit(&store, n + 1).unwrap();
        // Killed again, on what the first start made of it.
        let left = killed(&left);
        assert_commits(&open(&left).unwrap(), n + 1);
    }
    assert!(unsettled > 0);
}

#[test]
fn a_log_that_a_kill_leaves_half_removed_is_removed_by_the_next_start() {
    let folder = filled(2);
    let store = open(&folder).unwrap();
    commit(&store, 3).unwrap();
    store.commit_blocking(|tx| Ok(tx.append("old/log", b"old"))).unwrap();
    let before = killed(&folder);
    // The record alone, without all that follows it.
    let changes = {
        let mut group = changes::Changes::default();
        let store = open(&before).unwrap();
        let mut tx = Tx::new(&store.0.shared, &mut group);
        tx.overwrite("slots/slots", 0, &[0; 32]);
        tx.overwrite("old/log", 0, b"000");
        tx.delete_log("old/log");
        tx.keep().unwrap();
        group
    };
    let left = killed(&folder);
    let mut record = Vec::new();
    redo::encode(5, &changes, &mut record);
    let file = fs::OpenOptions::new().write(true).open(redo::path(left.path(), 0)).unwrap();
    let end = fs::read(redo::path(left.path(), 0)).unwrap().len() as u64;
    file.write_all_at(&record, end).unwrap();
    for is_unlinked in [false, true] {
        let left = killed(&left);
        if is_unlinked {
            fs::remove_file(left.path().join("old/log")).unwrap();
        }
        let store = open(&left).unwrap();
        assert_eq!(store.commits(), 5);
        assert_eq!(store.read("slots/slots", 0, 64).unwrap(), [[0; 32], [2; 32]].concat());
        assert!(!left.path().join("old/log").exists());
        for which in 0..2 {
            let bytes = fs::read(redo::path(left.path(), which)).unwrap();
            assert!(bytes.iter().all(|byte| *byte == 0), "what was forgotten isn't in redo/{which}");
        }
        commit(&store, 4).unwrap();
    }
}

#[test]
fn a_commit_that_forgets_leaves_nothing_in_the_redo_files() {
    let folder = filled(1);
    let store = open(&folder).unwrap();
    let secret = [0xA7; 64];
    store.commit_blocking(move |tx| Ok(tx.append("slots/slots", &secret))).unwrap();
    let holds = || {
        (0..2).any(|which| {
            let bytes = fs::read(redo::path(folder.path(), which)).unwrap();
            bytes.windows(secret.len()).any(|window| window == secret)
        })
    };
    assert!(holds());
    store
        .commit_blocking(|tx| {
            tx.overwrite("slots/slots", 32, &[0; 64]);
            Ok(())
        })
        .unwrap();
    assert!(!holds());
    assert_eq!(head_of(&folder), store.commits(), "it is settled before it is answered");
}

#[test]
fn commits_settle_behind_while_nothing_else_comes() {
    let folder = filled(1);
    let store = open(&folder).unwrap();
    commit(&store, 2).unwrap();
    let until = std::time::Instant::now() + Duration::from_secs(60);
    while head_of(&folder) < 2 {
        assert!(std::time::Instant::now() < until, "HEAD isn't brought up to date");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn many_bytes_settle_behind_and_the_redo_files_stay_small() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder).unwrap();
    for n in 0..200u8 {
        store.commit_blocking(move |tx| Ok(tx.append("segments/00000001.seg", &[n; 1 << 20]))).unwrap();
    }
    for which in 0..2 {
        let length = fs::metadata(redo::path(folder.path(), which)).unwrap().len();
        assert!(length < 48 << 20, "redo/{which} has {length} bytes");
    }
    let left = killed(&folder);
    let again = open(&left).unwrap();
    for n in 0..200 {
        assert_eq!(again.read("segments/00000001.seg", n << 20, 1 << 20).unwrap(), vec![n as u8; 1 << 20]);
    }
}

#[test]
fn a_store_that_lost_its_redo_files_or_a_record_is_refused() {
    // On a slow machine they can be settled before the copy is made.
    let whole = loop {
        let folder = filled(2);
        let store = open(&folder).unwrap();
        for n in 3..9 {
            commit(&store, n).unwrap();
        }
        let left = killed(&folder);
        if head_of(&left) == 2 {
            break left;
        }
    };
    assert_commits(&open(&killed(&whole)).unwrap(), 8);

    let lost = killed(&whole);
    fs::remove_file(redo::path(lost.path(), 1)).unwrap();
    assert!(refusal(&lost).contains("redo/1 is missing; restore the whole data folder"));

    let damaged = killed(&whole);
    let file = fs::OpenOptions::new().write(true).open(redo::path(damaged.path(), 0)).unwrap();
    file.write_all_at(b"?", 4096 + 30).unwrap();
    let text = refusal(&damaged);
    assert!(text.contains("not commit 4, which is missing or damaged; restore"), "{text}");

    let cut = killed(&whole);
    let log = fs::OpenOptions::new().write(true).open(cut.path().join("segments/00000001.seg")).unwrap();
    log.set_len(150).unwrap();
    let text = refusal(&cut);
    assert!(text.contains("segments/00000001.seg has 150 bytes and 200 were committed"), "{text}");
}
