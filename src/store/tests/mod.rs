//! The store as the rooms use it, and under damage, failures and SIGKILL.

mod damage;
mod failures;
mod killed;
mod redone;

use super::*;
use std::fs;
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

/// Copies what is in a folder into another one.
pub(crate) fn copy(from: &Path, to: &Path) {
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
