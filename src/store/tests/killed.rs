//! SIGKILL in the middle of commits.

use super::*;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

/// The folder of the store on which the child works.
const FOLDER: &str = "PIROGUE_TEST_KILLED";

/// Run as a child of the next test: commits, and says so, until it is killed.
#[test]
#[ignore = "the child of another test"]
fn child_that_commits() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let store = Store::open(Path::new(&folder), StoreOptions::default()).unwrap();
    for n in store.commits() + 1.. {
        commit(&store, n).unwrap();
        println!("committed {n}");
        std::io::stdout().flush().unwrap();
    }
}

#[test]
fn nothing_acknowledged_is_lost_when_the_process_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(&folder).unwrap());
    let mut at_least = 0;
    for round in 1..=8u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["store::tests::killed::child_that_commits", "--exact", "--ignored", "--nocapture"])
            .env(FOLDER, folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        for _ in 0..round * 7 {
            let line = said.find(|line| line.starts_with("committed")).unwrap();
            at_least = line["committed ".len()..].parse().unwrap();
        }
        child.kill().unwrap();
        at_least =
            said.filter_map(|line| line.strip_prefix("committed ")?.parse().ok()).last().unwrap_or(at_least);
        child.wait().unwrap();
        let store = open(&folder).unwrap();
        let kept = store.commits();
        assert!(kept == at_least || kept == at_least + 1, "{kept} kept, {at_least} acknowledged");
        assert_commits(&store, kept);
    }
}
