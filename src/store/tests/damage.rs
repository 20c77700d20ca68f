//! What is refused, and what is mended.

use super::*;
use std::os::unix::fs::FileExt;

#[test]
fn a_store_without_its_state_is_refused() {
    let folder = filled(3);
    fs::remove_file(folder.path().join("state/db")).unwrap();
    let text = refusal(&folder);
    assert!(text.contains("HEAD tells of 3 commits, and state/db is missing; restore"), "{text}");
    let folder = filled(3);
    fs::remove_dir_all(folder.path().join("state")).unwrap();
    assert!(refusal(&folder).contains("state/db is missing"));
}

#[test]
fn a_state_that_was_emptied_is_refused() {
    let folder = filled(3);
    fs::write(folder.path().join("state/db"), b"").unwrap();
    for entry in fs::read_dir(folder.path().join("state")).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap().to_string_lossy().starts_with("snap") {
            fs::remove_file(path).unwrap();
        }
    }
    let text = refusal(&folder);
    assert!(text.contains("behind its HEAD: the state tells of 0 commits and HEAD of 3"), "{text}");
}

#[test]
fn a_state_that_was_cut_anywhere_is_refused_or_whole() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder).unwrap();
    for n in 0..60u64 {
        store
            .commit_blocking(move |tx| {
                for i in 0..40u64 {
                    tx.put(format!("row/{:06}", (n * 7919 + i * 31) % 5000).as_bytes(), &[n as u8; 600]);
                }
                Ok(())
            })
            .unwrap();
    }
    let rows: Vec<_> = store.scan(b"").map(Result::unwrap).collect();
    drop(store);
    let db = folder.path().join("state/db");
    let whole = fs::read(&db).unwrap();
    let saved = tempfile::tempdir().unwrap();
    copy(folder.path(), saved.path());
    let mut refused = 0;
    for tenth in 0..10 {
        let cut = whole.len() * tenth / 10 + 17 * tenth;
        let damaged = tempfile::tempdir().unwrap();
        copy(saved.path(), damaged.path());
        fs::OpenOptions::new()
            .write(true)
            .open(damaged.path().join("state/db"))
            .unwrap()
            .set_len(cut as u64)
            .unwrap();
        match open(&damaged) {
            Err(fault) => {
                assert!(fault.to_string().contains("restore the whole data folder"), "{fault}");
                refused += 1;
            }
            Ok(store) => {
                assert!(tenth > 5, "cut to {tenth} tenths and opened");
                let kept: Vec<_> = store.scan(b"").map(Result::unwrap).collect();
                assert!(kept == rows, "cut to {tenth} tenths: opened and not whole");
            }
        }
    }
    assert!(refused >= 6);
}

#[test]
fn a_log_cut_inside_what_was_committed_is_refused() {
    let folder = filled(2);
    let path = folder.path().join("segments/00000001.seg");
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(150).unwrap();
    let text = refusal(&folder);
    assert!(text.contains("segments/00000001.seg has 150 bytes and 200 were committed; restore"), "{text}");
    fs::remove_file(&path).unwrap();
    let text = refusal(&folder);
    assert!(text.contains("segments/00000001.seg is missing and 200 bytes of it were committed"), "{text}");
}

#[test]
fn what_follows_the_last_commit_in_a_log_is_cut_off() {
    let folder = filled(2);
    let path = folder.path().join("segments/00000001.seg");
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(b"half of a batch", 200).unwrap();
    let store = open(&folder).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().len(), 200);
    assert_commits(&store, 2);
    commit(&store, 3).unwrap();
    assert_commits(&store, 3);
}

#[test]
fn a_store_without_its_head_is_refused() {
    let folder = filled(2);
    fs::remove_file(folder.path().join("HEAD")).unwrap();
    let text = refusal(&folder);
    assert!(text.contains("there is state/ and no HEAD; restore"), "{text}");
    fs::remove_dir_all(folder.path().join("state")).unwrap();
    assert!(refusal(&folder).contains("there is segments/ and no HEAD"));
}

#[test]
fn a_head_one_commit_old_is_a_crash_and_an_older_one_is_refused() {
    let folder = filled(2);
    let head = folder.path().join("HEAD");
    let at_2 = fs::read(&head).unwrap();
    commit(&open(&folder).unwrap(), 3).unwrap();
    let at_3 = fs::read(&head).unwrap();
    fs::write(&head, &at_2).unwrap();
    assert_commits(&open(&folder).unwrap(), 3);
    assert_eq!(fs::read(&head).unwrap(), at_3, "HEAD is brought up to date");
    commit(&open(&folder).unwrap(), 4).unwrap();
    fs::write(&head, &at_2).unwrap();
    let text = refusal(&folder);
    assert!(text.contains("redo/ holds commit 4 and not commit 3"), "{text}");
}

#[test]
fn a_state_older_than_head_is_refused() {
    let folder = filled(2);
    let older = tempfile::tempdir().unwrap();
    copy(&folder.path().join("state"), older.path());
    commit(&open(&folder).unwrap(), 3).unwrap();
    fs::remove_dir_all(folder.path().join("state")).unwrap();
    fs::create_dir(folder.path().join("state")).unwrap();
    copy(older.path(), &folder.path().join("state"));
    let text = refusal(&folder);
    assert!(text.contains("behind its HEAD: the state tells of 2 commits and HEAD of 3"), "{text}");
}

#[test]
fn a_damaged_head_is_refused() {
    let folder = filled(1);
    let head = folder.path().join("HEAD");
    let text = fs::read_to_string(&head).unwrap();
    for bad in ["", "{", &text.replace("\"bytes\": 100", "\"bytes\": 99")] {
        fs::write(&head, bad).unwrap();
        assert!(refusal(&folder).contains("restore the whole data folder"), "{bad}");
    }
}

#[test]
fn a_state_that_lacks_a_row_is_refused() {
    let folder = filled(3);
    {
        let db = sled::open(folder.path().join("state")).unwrap();
        db.remove(b"row/0002").unwrap().unwrap();
        db.flush().unwrap();
    }
    let text = refusal(&folder);
    assert!(text.contains("the state has 6 rows and 7 were committed; restore"), "{text}");
}

#[test]
fn a_snapshot_that_a_start_did_not_finish_is_no_damage() {
    for content in [&b""[..], b"cut off somewhere"] {
        let folder = filled(3);
        let unfinished = folder.path().join("state/snap.FFFFFFFFFFFFFFFF.generating");
        fs::write(&unfinished, content).unwrap();
        assert_commits(&open(&folder).unwrap(), 3);
        assert!(!unfinished.exists());
    }
}
