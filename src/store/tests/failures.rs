//! A failure of each step of a commit.

use super::*;
use crate::store::disk::{Faults, Outcome, Step};
use crate::store::redo;

/// Makes the n-th step after it is armed end otherwise, counting all steps or
/// those of one kind: some run at the same time.
#[derive(Default)]
struct Script(Mutex<Steps>);

#[derive(Default)]
struct Steps {
    armed: Option<(Option<Step>, usize, Outcome)>,
    seen: Vec<Step>,
}

impl Script {
    fn arm(&self, kind: Option<Step>, nth: usize, outcome: Outcome) {
        *lock(&self.0) = Steps { armed: Some((kind, nth, outcome)), seen: Vec::new() };
    }

    fn steps(&self) -> Vec<Step> {
        lock(&self.0).seen.clone()
    }
}

impl Faults for Script {
    fn next(&self, step: Step) -> Outcome {
        let steps = &mut *lock(&self.0);
        steps.seen.push(step);
        let Some((kind, nth, outcome)) = steps.armed else { return Outcome::Happens };
        let count = steps.seen.iter().filter(|seen| kind.is_none_or(|kind| kind == **seen)).count();
        let is_it = count == nth + 1 && kind.is_none_or(|kind| kind == step);
        if is_it { outcome } else { Outcome::Happens }
    }
}

fn open_scripted(folder: &TempDir, script: &Arc<Script>) -> Result<Store, StoreFault> {
    Store::open(folder.path(), StoreOptions { faults: Some(script.clone()), ..StoreOptions::default() })
}

/// A commit with every kind of write, after the two of [`filled`]. Its rows are
/// settled in three parts.
fn rich_commit(store: &Store) -> Result<(), StoreFault> {
    store.commit_blocking(|tx| {
        tx.append("segments/00000001.seg", &[3; 100]);
        tx.append("segments/00000002.seg", &[4; 50]);
        tx.overwrite("slots/slots", 0, &[0; 32]);
        tx.delete_log("old/log");
        (0..8).for_each(|n| tx.put(&[b"rich", &[n][..]].concat(), b"yes"));
        tx.remove(b"row/0001");
        tx.mark("last", "rich".to_owned());
        Ok(())
    })
}

/// Asserts that the rich commit is wholly there or wholly absent; returns which.
fn rich_is_there(store: &Store) -> bool {
    let rich = store.scan(b"rich").count();
    let there = rich > 0;
    assert_eq!(rich, if there { 8 } else { 0 });
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
    script.arm(None, 0, Outcome::Happens);
    rich_commit(&store).unwrap();
    assert!(rich_is_there(&store));
    let steps = script.steps();
    for step in [
        Step::Open,
        Step::Write,
        Step::Sync,
        Step::SyncFolder,
        Step::WriteRedo,
        Step::SyncRedo,
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
            let earlier = steps[..nth].iter().filter(|s| *s == step).count();
            script.arm(Some(*step), earlier, outcome);
            let result = rich_commit(&store);
            let fault = result.expect_err(&format!("{step:?} {outcome:?}"));
            let later = commit(&store, 9).unwrap_err();
            assert_eq!(later.to_string(), fault.to_string());
            assert_eq!(store.is_failed().unwrap(), fault.to_string());
            assert!(fault.to_string().contains("what was acknowledged is kept"), "{fault}");
            assert_eq!(store.read("slots/slots", 32, 32).unwrap(), [2; 32], "reads go on");
            drop(store);
            let store = open(&folder).unwrap_or_else(|e| panic!("{step:?} {outcome:?}: {e}"));
            let is_there = rich_is_there(&store);
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
            assert_eq!(store.scan(b"rich").count() > 0, is_there);
        }
    }
    assert!(there > 10 && absent > 10, "{there} there, {absent} absent");
}

#[test]
fn a_failure_while_a_store_is_created_leaves_one_that_can_be_created() {
    for nth in 0.. {
        let folder = tempfile::tempdir().unwrap();
        let script = Arc::new(Script::default());
        script.arm(None, nth, Outcome::Torn);
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
    // The state's flush is the last thing that happens.
    script.arm(Some(Step::Flush), 0, Outcome::Done);
    rich_commit(&store).unwrap_err();
    drop(store);
    for nth in 0.. {
        let script = Arc::new(Script::default());
        script.arm(None, nth, Outcome::NotDone);
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
fn a_state_with_some_of_the_rows_of_a_commit_that_was_lost_is_refused() {
    let folder = filled(2);
    let script = Arc::new(Script::default());
    let store = open_scripted(&folder, &script).unwrap();
    store.commit_blocking(|tx| Ok(tx.append("old/log", b"old"))).unwrap();
    script.arm(Some(Step::State), 1, Outcome::NotDone);
    rich_commit(&store).unwrap_err();
    drop(store);
    let whole = tempfile::tempdir().unwrap();
    copy(folder.path(), whole.path());
    assert!(rich_is_there(&open(&whole).unwrap()));
    for which in 0..2 {
        fs::write(redo::path(folder.path(), which), b"").unwrap();
    }
    let text = refusal(&folder);
    assert!(text.contains("the state has rows of commit 4, and the folder redo/ no commit after"), "{text}");
}

/// Holds the settler's first fdatasync of a log back, and then has it fail.
#[derive(Default)]
struct Held {
    /// Whether one waits, and whether it may go on.
    state: Mutex<(bool, bool)>,
    changed: std::sync::Condvar,
}

impl Faults for Held {
    fn next(&self, step: Step) -> Outcome {
        if step != Step::Sync {
            return Outcome::Happens;
        }
        let mut state = lock(&self.state);
        if std::mem::replace(&mut state.0, true) {
            return Outcome::Happens;
        }
        let _freed = self.changed.wait_while(state, |state| !state.1).unwrap();
        Outcome::NotDone
    }
}

#[test]
fn after_a_failure_nothing_later_is_settled_which_would_hide_it() {
    const COMMITS: u8 = 40;
    let folder = filled(1);
    let held = Arc::new(Held::default());
    let store = {
        let settle_after = Some(Duration::from_secs(3600));
        let options = StoreOptions { faults: Some(held.clone()), settle_after, ..StoreOptions::default() };
        Store::open(folder.path(), options).unwrap()
    };
    // The first eight, of a MiB each, are being settled while the others come; what
    // comes after 32 of these has to wait for that.
    for n in 0..COMMITS {
        let work = move |tx: &mut Tx| {
            tx.append("segments/00000001.seg", &[n; 1 << 20]);
            tx.put(&[b"many", &[n][..]].concat(), &[n]);
            Ok(())
        };
        store.commit_blocking(work).unwrap();
    }
    lock(&held.state).1 = true;
    held.changed.notify_all();
    while commit(&store, 2).is_ok() {}
    drop(store);
    let store = open(&folder).unwrap();
    assert_eq!(store.scan(b"many").count(), usize::from(COMMITS));
}
