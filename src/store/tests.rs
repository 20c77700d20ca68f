//! The store under crashes, failures and damage.

use super::disk::{Faults, Outcome, Step};
use super::*;
use std::fs;
use std::os::unix::fs::FileExt;
use tempfile::TempDir;

fn open(folder: &TempDir) -> Result<Store, StoreFault> {
    Store::open(folder.path(), StoreOptions::default())
}

fn refusal(folder: &TempDir) -> String {
    open(folder).expect_err("the store must be refused").to_string()
}

/// Commits the row and some bytes numbered `n`.
fn commit(store: &Store, n: u64) -> Result<(), StoreFault> {
    store.commit_blocking(move |tx| {
        tx.append("segments/00000001.seg", &[n as u8; 100]);
        tx.append("slots/slots", &[n as u8; 32]);
        tx.put(format!("row/{n:04}").as_bytes(), &n.to_le_bytes());
        tx.mark("last", n.to_string());
        Ok(())
    })
}

/// Asserts that exactly the commits 1 to `n` are there.
fn assert_commits(store: &Store, n: u64) {
    assert_eq!(store.log_len("segments/00000001.seg"), n * 100);
    assert_eq!(store.log_len("slots/slots"), n * 32);
    assert_eq!(store.scan(b"row/").map(Result::unwrap).count() as u64, n);
    for i in 1..=n {
        assert_eq!(store.read("segments/00000001.seg", (i - 1) * 100, 100).unwrap(), vec![i as u8; 100]);
        assert_eq!(store.get(format!("row/{i:04}").as_bytes()).unwrap().unwrap(), i.to_le_bytes());
    }
    assert_eq!(store.mark("last").unwrap(), (n > 0).then(|| n.to_string()));
}

fn filled(commits: u64) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder).unwrap();
    for n in 1..=commits {
        commit(&store, n).unwrap();
    }
    folder
}

#[test]
fn what_was_committed_is_there_after_a_restart_in_the_same_process() {
    let folder = filled(3);
    for n in 3..8 {
        let store = open(&folder).unwrap();
        assert_commits(&store, n);
        assert_eq!(store.commits(), n);
        commit(&store, n + 1).unwrap();
    }
}

#[test]
fn a_store_in_use_is_refused_and_free_when_dropped() {
    let folder = filled(1);
    let store = open(&folder).unwrap();
    let clone = store.clone();
    drop(store);
    assert!(matches!(open(&folder), Err(StoreFault::InUse(_))));
    drop(clone);
    open(&folder).unwrap();
}

#[test]
fn a_work_that_fails_or_panics_changes_nothing_and_the_others_go_on() {
    let folder = filled(1);
    let store = open(&folder).unwrap();
    let spoil = |tx: &mut Tx| {
        tx.append("segments/00000001.seg", b"spoiled");
        tx.put(b"row/9999", b"spoiled");
        tx.delete_log("slots/slots");
        tx.mark("last", "spoiled".to_owned());
        tx.after(|| panic!("it isn't durable"));
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let failing = store.commit(move |tx| {
            spoil(tx);
            Err::<(), _>(StoreFault::Aborted("no".to_owned()))
        });
        let panicking = store.commit(move |tx| -> Result<(), StoreFault> {
            spoil(tx);
            panic!("a defect, made by the test")
        });
        let misusing = store.commit(move |tx| {
            spoil(tx);
            tx.append("../outside", b"x");
            Ok(())
        });
        let good = store.commit(|tx| Ok(tx.log_len("segments/00000001.seg")));
        assert_eq!(failing.await.unwrap_err().to_string(), "nothing was written: no");
        assert!(matches!(panicking.await, Err(StoreFault::Aborted(_))));
        assert!(matches!(misusing.await, Err(StoreFault::Misused(_))));
        assert_eq!(good.await.unwrap(), 100);
    });
    commit(&store, 2).unwrap();
    drop(store);
    assert_commits(&open(&folder).unwrap(), 2);
}

#[test]
fn works_that_wait_together_run_in_order_and_share_commits() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder).unwrap();
    let done = Arc::new(Mutex::new(Vec::new()));
    // While the first work holds the committer, the others wait together.
    let (go, wait) = mpsc::channel::<()>();
    let first = store.commit(move |_| wait.recv().map_err(|e| StoreFault::Aborted(e.to_string())));
    let waiting: Vec<_> = (0..100u64)
        .map(|n| {
            let done = done.clone();
            store.commit(move |tx| {
                let count = tx.get(b"count").map_or(0, |v| u64::from_le_bytes(v.try_into().unwrap()));
                assert_eq!(count, n);
                tx.put(b"count", &(count + 1).to_le_bytes());
                tx.after(move || lock(&done).push(n));
                Ok(tx.append("segments/00000001.seg", &[n as u8]))
            })
        })
        .collect();
    go.send(()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        first.await.unwrap();
        for (n, answer) in waiting.into_iter().enumerate() {
            assert_eq!(answer.await.unwrap(), n as u64);
        }
    });
    assert_eq!(*lock(&done), (0..100).collect::<Vec<_>>());
    assert!(store.commits() <= 2, "{} commits", store.commits());
}

#[test]
fn rows_come_in_order_from_both_ends_without_the_stores_own() {
    let folder = filled(5);
    let store = open(&folder).unwrap();
    let keys: Vec<Vec<u8>> = store.scan(b"").map(|r| r.unwrap().0).collect();
    assert_eq!(keys, (1..=5).map(|n| format!("row/{n:04}").into_bytes()).collect::<Vec<_>>());
    assert_eq!(store.last(b"row/").unwrap().unwrap().0, b"row/0005");
    assert_eq!(store.last(b"").unwrap().unwrap().0, b"row/0005");
    assert_eq!(store.last(b"none/").unwrap(), None);
    let some = store.range(b"row/0002".as_slice()..b"row/0004".as_slice());
    assert_eq!(some.map(|r| r.unwrap().0).collect::<Vec<_>>(), [b"row/0002", b"row/0003"]);
}

#[test]
fn only_committed_bytes_are_read() {
    let folder = filled(1);
    let store = open(&folder).unwrap();
    assert!(store.read("segments/00000001.seg", 0, 100).is_ok());
    let fault = store.read("segments/00000001.seg", 1, 100).unwrap_err();
    assert_eq!(
        fault.to_string(),
        "the log segments/00000001.seg has 100 committed bytes; 101 were asked for"
    );
    assert!(store.read("segments/none", 0, 1).is_err());
    assert!(store.read("slots/slots", u64::MAX, 2).is_err());
}

#[test]
fn a_log_is_overwritten_in_place_deleted_and_named_again() {
    let folder = filled(2);
    let store = open(&folder).unwrap();
    store
        .commit_blocking(|tx| {
            tx.overwrite("slots/slots", 32, &[0; 32]);
            tx.delete_log("segments/00000001.seg");
            Ok(())
        })
        .unwrap();
    assert_eq!(store.read("slots/slots", 0, 64).unwrap(), [[1; 32], [0; 32]].concat());
    assert_eq!(store.logs(""), ["slots/slots"]);
    assert!(!folder.path().join("segments/00000001.seg").exists());
    store.commit_blocking(|tx| Ok(tx.append("segments/00000001.seg", b"new"))).unwrap();
    drop(store);
    let store = open(&folder).unwrap();
    assert_eq!(store.read("segments/00000001.seg", 0, 3).unwrap(), b"new");
    assert_eq!(store.read("slots/slots", 32, 32).unwrap(), [0; 32]);
}

#[test]
fn head_stays_small_with_many_logs() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder).unwrap();
    for start in [0, 100] {
        store
            .commit_blocking(move |tx| {
                for n in start..start + 100 {
                    tx.append(&format!("segments/{n:08}.seg"), b"x");
                }
                Ok(())
            })
            .unwrap();
    }
    assert!(fs::metadata(folder.path().join("HEAD")).unwrap().len() < 300);
    drop(store);
    assert_eq!(open(&folder).unwrap().logs("segments/").len(), 200);
}

// ---- damage ---------------------------------------------------------------------

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

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir_all(&target).unwrap();
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
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
    assert!(text.contains("HEAD is too old: the state tells of 4 commits and HEAD of 2"), "{text}");
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

// ---- failures -------------------------------------------------------------------

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
        *lock(&self.0) = Steps { armed: Some((nth, outcome)), seen: Vec::new() };
    }

    fn steps(&self) -> Vec<Step> {
        lock(&self.0).seen.clone()
    }
}

impl Faults for Script {
    fn next(&self, step: Step) -> Outcome {
        let steps = &mut *lock(&self.0);
        steps.seen.push(step);
        match steps.armed {
            Some((nth, outcome)) if nth + 1 == steps.seen.len() => outcome,
            _ => Outcome::Happens,
        }
    }
}

fn open_scripted(folder: &TempDir, script: &Arc<Script>) -> Result<Store, StoreFault> {
    Store::open(folder.path(), StoreOptions { faults: Some(script.clone()), ..StoreOptions::default() })
}

/// A commit with every kind of write, after the two of [`filled`].
fn rich_commit(store: &Store) -> Result<(), StoreFault> {
    store.commit_blocking(|tx| {
        tx.append("segments/00000001.seg", &[3; 100]);
        tx.append("segments/00000002.seg", &[4; 50]);
        tx.overwrite("slots/slots", 0, &[0; 32]);
        tx.delete_log("old/log");
        tx.put(b"rich", b"yes");
        tx.remove(b"row/0001");
        tx.mark("last", "rich".to_owned());
        Ok(())
    })
}

/// Asserts that the rich commit is wholly there or wholly absent; returns which.
fn rich_is_there(store: &Store) -> bool {
    let there = store.get(b"rich").unwrap().is_some();
    assert_eq!(store.get(b"row/0001").unwrap().is_none(), there);
    assert_eq!(store.log_len("segments/00000001.seg"), if there { 300 } else { 200 });
    assert_eq!(store.log_len("segments/00000002.seg"), if there { 50 } else { 0 });
    assert_eq!(store.logs("old/").is_empty(), there);
    assert_eq!(store.mark("last").unwrap().unwrap(), if there { "rich" } else { "2" });
    let slot = store.read("slots/slots", 0, 32).unwrap();
    assert_eq!(slot, if there { [0; 32] } else { [1; 32] });
    let segment = store.read("segments/00000001.seg", 0, 200).unwrap();
    assert_eq!(segment, [[1; 100], [2; 100]].concat());
    assert_eq!(store.get(b"row/0002").unwrap().unwrap(), 2u64.to_le_bytes());
    there
}

#[test]
fn a_failure_of_any_step_loses_nothing_that_was_acknowledged() {
    let prepare = || {
        let folder = filled(1);
        let store = open(&folder).unwrap();
        store.commit_blocking(|tx| Ok(tx.append("old/log", b"old"))).unwrap();
        commit(&store, 2).unwrap();
        folder
    };
    let folder = prepare();
    let script = Arc::new(Script::default());
    let store = open_scripted(&folder, &script).unwrap();
    script.arm(usize::MAX - 1, Outcome::Happens);
    rich_commit(&store).unwrap();
    assert!(rich_is_there(&store));
    let steps = script.steps();
    for step in [
        Step::Open,
        Step::Write,
        Step::Sync,
        Step::SyncFolder,
        Step::State,
        Step::Flush,
        Step::WriteHead,
        Step::SyncHead,
        Step::RenameHead,
        Step::Unlink,
    ] {
        assert!(steps.contains(&step), "the commit has no step {step:?}");
    }
    drop(store);

    let (mut there, mut absent) = (0, 0);
    for (nth, step) in steps.iter().enumerate() {
        for outcome in [Outcome::NotDone, Outcome::Done, Outcome::Torn] {
            let folder = prepare();
            let script = Arc::new(Script::default());
            let store = open_scripted(&folder, &script).unwrap();
            script.arm(nth, outcome);
            let result = rich_commit(&store);
            assert_eq!(result.is_ok(), *step == Step::Unlink, "{step:?} {outcome:?}");
            if let Err(fault) = &result {
                let later = commit(&store, 9).unwrap_err();
                assert_eq!(later.to_string(), fault.to_string());
                assert_eq!(store.is_failed().unwrap(), fault.to_string());
                assert!(fault.to_string().contains("what was acknowledged is kept"), "{fault}");
                assert_eq!(store.read("slots/slots", 32, 32).unwrap(), [2; 32], "reads go on");
            }
            drop(store);
            let store = open(&folder).unwrap_or_else(|e| panic!("{step:?} {outcome:?}: {e}"));
            let is_there = rich_is_there(&store);
            assert!(is_there || result.is_err());
            assert_eq!(folder.path().join("old/log").exists(), !is_there, "{step:?} {outcome:?}");
            if is_there {
                there += 1
            } else {
                absent += 1
            }
            // And it goes on from there, and again after another restart.
            store.commit_blocking(|tx| Ok(tx.append("segments/00000002.seg", b"next"))).unwrap();
            drop(store);
            let store = open(&folder).unwrap();
            let end = store.log_len("segments/00000002.seg");
            assert_eq!(store.read("segments/00000002.seg", end - 4, 4).unwrap(), b"next");
            assert_eq!(store.get(b"rich").unwrap().is_some(), is_there);
        }
    }
    assert!(there > 10 && absent > 10, "{there} there, {absent} absent");
}

#[test]
fn a_failure_while_a_store_is_created_leaves_one_that_can_be_created() {
    for nth in 0.. {
        let folder = tempfile::tempdir().unwrap();
        let script = Arc::new(Script::default());
        script.arm(nth, Outcome::Torn);
        let opened = open_scripted(&folder, &script);
        if opened.is_ok() {
            assert!(nth >= 4, "{:?}", script.steps());
            break;
        }
        commit(&open(&folder).unwrap(), 1).unwrap();
    }
}

#[test]
fn a_failure_while_a_crash_is_mended_leaves_one_that_can_be_mended() {
    let folder = filled(2);
    let store = open(&folder).unwrap();
    store.commit_blocking(|tx| Ok(tx.append("old/log", b"old"))).unwrap();
    drop(store);
    let script = Arc::new(Script::default());
    let store = open_scripted(&folder, &script).unwrap();
    script.arm(usize::MAX - 1, Outcome::Happens);
    // The state's flush is the last thing that happens.
    let steps = {
        let trial = filled(2);
        let store = open(&trial).unwrap();
        store.commit_blocking(|tx| Ok(tx.append("old/log", b"old"))).unwrap();
        drop(store);
        let script = Arc::new(Script::default());
        let store = open_scripted(&trial, &script).unwrap();
        script.arm(usize::MAX - 1, Outcome::Happens);
        rich_commit(&store).unwrap();
        script.steps()
    };
    script.arm(steps.iter().position(|s| *s == Step::Flush).unwrap(), Outcome::Done);
    rich_commit(&store).unwrap_err();
    drop(store);
    for nth in 0.. {
        let script = Arc::new(Script::default());
        script.arm(nth, Outcome::NotDone);
        if open_scripted(&folder, &script).is_ok() {
            assert!(nth >= 3, "{:?}", script.steps());
            break;
        }
    }
    let store = open(&folder).unwrap();
    assert!(rich_is_there(&store));
    assert!(!folder.path().join("old/log").exists());
}

#[test]
#[ignore = "a measure: commits a second of one and of several waiting callers"]
fn measure_commits() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder).unwrap();
    for callers in [1usize, 4, 16] {
        let start = std::time::Instant::now();
        std::thread::scope(|scope| {
            for caller in 0..callers {
                let store = &store;
                scope.spawn(move || {
                    for n in 0..400u64 {
                        store
                            .commit_blocking(move |tx| {
                                tx.append("segments/00000001.seg", &[0; 128 << 10]);
                                tx.append("slots/slots", &[0; 8192]);
                                tx.append("ids/ids", &[0; 16384]);
                                tx.put(format!("row/{caller}/{n:08}").as_bytes(), &[0; 200]);
                                Ok(())
                            })
                            .unwrap();
                    }
                });
            }
        });
        let rate = 400.0 * callers as f64 / start.elapsed().as_secs_f64();
        println!("{callers} callers: {rate:.0} commits/s, {} groups so far", store.commits());
    }
}
