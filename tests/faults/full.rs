//! A disk that fills up under the hub. It is a small tmpfs, which takes the right
//! to mount: where there is none, the tests say so and do nothing.

use super::process::{Process, hub_status, wait_until};
use super::received::reconcile;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

const EVENTS: usize = 3_000;
const SEED: u64 = 28;

/// A disk of its own. It is unmounted when this is dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts one of `mib` MiB at `at`; none where this process may not.
    fn mount(at: &Path, mib: u32) -> Option<SmallDisk> {
        std::fs::create_dir_all(at).unwrap();
        let size = format!("size={mib}m,mode=700");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(at).output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(SmallDisk(at.to_owned()));
        }
        println!("skipped: mounting a tmpfs isn't allowed here");
        None
    }

    /// Writes until `leave` bytes are free.
    fn fill(&self, leave: u64) {
        let mut file = File::options().create(true).append(true).open(self.0.join("filler")).unwrap();
        let chunk = vec![0xF1; 64 << 10];
        while fs2::available_space(&self.0).unwrap() > leave {
            if let Err(error) = file.write_all(&chunk) {
                assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
                // The last page.
                while file.write_all(&chunk[..512]).is_ok() {}
                return;
            }
        }
    }

    fn empty(&self) {
        std::fs::remove_file(self.0.join("filler")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmount = |flag: &[&str]| {
            Command::new("umount").args(flag).arg(&self.0).status().is_ok_and(|status| status.success())
        };
        if !unmount(&[]) {
            unmount(&["-l"]);
        }
    }
}

fn demo(folder: &Path) -> Process {
    let (data, events, seed) = (folder.to_str().unwrap(), EVENTS.to_string(), SEED.to_string());
    Process::start(&["demo", "--once", "--json", "--events", &events, "--seed", &seed, "--data", data])
}

fn events(folder: &Path) -> u64 {
    hub_status(folder).map_or(0, |status| status.events)
}

#[test]
fn a_full_disk_ends_the_hub_and_nothing_is_lost_once_there_is_space() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let Some(disk) = SmallDisk::mount(&folder.join("hub"), 256) else { return };
    let mut process = demo(folder);
    wait_until("events are taken in", || {
        assert!(!process.has_ended(), "{}", process.stderr());
        events(folder) >= 500
    });
    disk.fill(0);
    let ended = process.end();
    println!("{}", ended.stderr.trim_end());
    let sentence = ended.sentence(3);
    assert!(sentence.contains("what was acknowledged is kept"), "{sentence}");
    assert!(sentence.contains("space"), "{sentence}");

    // As full as it is, it doesn't start, and says so.
    let ended = demo(folder).end();
    println!("{}", ended.stderr.trim_end());
    assert!(ended.status.code().is_some_and(|code| code != 0), "{ended:?}");
    assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);

    disk.empty();
    let ended = demo(folder).end();
    assert!(ended.status.success(), "{ended:?}");
    assert_eq!(reconcile(folder, EVENTS, SEED), EVENTS as u64 + 2);
}

#[test]
fn below_the_low_water_mark_nothing_is_taken_in_until_there_is_space() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let Some(disk) = SmallDisk::mount(&folder.join("hub"), 256) else { return };
    let mut process = demo(folder);
    wait_until("events are taken in", || {
        assert!(!process.has_ended(), "{}", process.stderr());
        events(folder) >= 500
    });
    // The mark is at 64 MiB.
    disk.fill(48 << 20);
    let mut status = None;
    wait_until("the hub says that it waits", || {
        assert!(!process.has_ended(), "{}", process.stderr());
        status = hub_status(folder).filter(|status| !status.problems.is_empty());
        status.is_some()
    });
    let problems = status.unwrap().problems;
    assert!(problems[0].contains("less free disk space than 64 MiB"), "{problems:?}");
    disk.empty();
    let ended = process.end();
    assert!(ended.status.success(), "{ended:?}");
    assert!(ended.stderr.contains("there is less") || ended.stderr.contains("too little disk space"));
    assert_eq!(reconcile(folder, EVENTS, SEED), EVENTS as u64 + 2);
}
