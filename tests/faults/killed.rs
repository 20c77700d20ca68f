//! SIGKILL at random points of a load, twenty-five times.

use super::process::{Draw, Process, hub_status, wait_until};
use super::received::reconcile;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

const EVENTS: usize = 10_000;
const SEED: u64 = 25;
/// How often it is killed.
const KILLS: usize = 25;
/// The first kills fall while the folder is being made, the last when all is
/// handled: there need be no work in flight then.
const STARTS: usize = 2;
/// How many reasons there are to refuse a message.
const REASONS: u64 = 12;
/// About how many events are recorded beyond the number that is waited for.
const AT_ONCE: u64 = 512;
/// How long the moment of a kill is waited for: some files have no more changes.
const MOMENT: Duration = Duration::from_secs(2);

/// The moments of kills: when one of these changes next. Together they are the
/// steps of a commit, and those of each stage on either side of the bus.
const MOMENTS: [&str; 14] = [
    "hub/redo",
    "hub/HEAD",
    "hub/HEAD.new",
    "hub/ids",
    "hub/journal",
    "hub/segments",
    "hub/slots",
    "hub/state",
    "hub/bus/pirogue.inbox",
    "hub/bus/pirogue.to.gouvernement",
    "gouvernement/received",
    "gouvernement/data/HEAD",
    "gouvernement/data/state",
    "province-sud/data/HEAD",
];

fn demo(folder: &Path) -> Process {
    let (data, events, seed) = (folder.to_str().unwrap(), EVENTS.to_string(), SEED.to_string());
    Process::start(&["-v", "demo", "--once", "--json", "--events", &events, "--seed", &seed, "--data", data])
}

fn length(path: PathBuf) -> u64 {
    std::fs::metadata(path).map_or(0, |metadata| metadata.len())
}

/// How many events the hub has written down, or is about to.
fn recorded(folder: &Path) -> u64 {
    length(folder.join("hub/ids/ids")) / 64
}

/// What changes when anything at `path` does.
fn state_of(path: &Path) -> Vec<(PathBuf, u64, Option<SystemTime>)> {
    let Ok(metadata) = std::fs::metadata(path) else { return Vec::new() };
    if !metadata.is_dir() {
        return vec![(path.to_owned(), metadata.len(), metadata.modified().ok())];
    }
    let Ok(entries) = std::fs::read_dir(path) else { return Vec::new() };
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths.iter().filter(|path| !path.is_dir()).flat_map(|path| state_of(path)).collect()
}

/// Returns a moment after something at `path` has changed.
fn next_change(process: &mut Process, path: &Path, draw: &mut Draw) {
    let before = state_of(path);
    let until = Instant::now() + MOMENT;
    while state_of(path) == before && Instant::now() < until && !process.has_ended() {
        std::hint::spin_loop();
    }
    // A little later, or at once: the next step may have begun.
    for _ in 0..draw.below(200) {
        std::hint::black_box(state_of(path));
    }
}

/// How many messages the bus brought again, by the log of a run.
fn redelivered(log: &str) -> u64 {
    let counts = log.lines().filter_map(|line| line.split("redelivered=").nth(1)?.trim().parse::<u64>().ok());
    counts.sum()
}

/// Runs until the point of kill number `number`. Returns the run and what the
/// point was.
fn run_until(number: usize, folder: &Path, draw: &mut Draw) -> (Process, String) {
    let before = recorded(folder);
    let mut run = demo(folder);
    let mut await_it = |what: &str, condition: &dyn Fn(&Process) -> bool| {
        wait_until(what, || {
            assert!(!run.has_ended(), "it ended before kill {number} ({what}): {}", run.stderr());
            condition(&run)
        });
    };
    let point = match number {
        0 => {
            await_it("a key is made", &|_| folder.join("hub/keys").is_dir());
            next_change(&mut run, &folder.join("hub/keys"), draw);
            "while keys are made".to_owned()
        }
        1 => {
            await_it("the store is made", &|_| folder.join("hub/state").is_dir());
            next_change(&mut run, &folder.join("hub/state"), draw);
            "while the store is made".to_owned()
        }
        // The refusals are committed, and their acknowledgements are not yet.
        2 => {
            let slots = folder.join("hub/slots/quarantine");
            await_it("the bad ones are refused", &|_| length(slots.clone()) == REASONS * 32);
            "once the bad ones are refused".to_owned()
        }
        3 => {
            await_it("something comes again", &|run| redelivered(&run.stderr()) > 0);
            "once something came again".to_owned()
        }
        last if last == KILLS - 1 => {
            await_it("all is handled", &|_| {
                hub_status(folder).is_some_and(|status| {
                    let done = |r: &pirogue::hub::operator::RecipientStatus| {
                        r.undecided == 0 && r.queue_messages == 0 && r.sequence == r.confirmed
                    };
                    let all = EVENTS as u64 + REASONS;
                    status.events == all && status.inbox_waiting == 0 && status.recipients.iter().all(done)
                })
            });
            "when all was handled".to_owned()
        }
        _ => {
            // A share of what is left, so that all kills find work; less what is
            // recorded at once and until the moment comes.
            let left = (EVENTS as u64).saturating_sub(before);
            let share = left / (KILLS - number) as u64;
            let target = before + 1 + draw.below(share * 3 / 2 + 1).saturating_sub(AT_ONCE);
            await_it("some progress", &|run| match left {
                // Everything is recorded, and not all of it handled.
                0 => redelivered(&run.stderr()) > 0,
                _ => recorded(folder) >= target,
            });
            let moment = MOMENTS[draw.below(MOMENTS.len() as u64) as usize];
            next_change(&mut run, &folder.join(moment), draw);
            format!("after {} events, at a change of {moment}", recorded(folder))
        }
    };
    (run, point)
}

#[test]
fn killed_twenty_five_times_each_record_is_handled_exactly_once() {
    let mut draw = Draw::announced("PIROGUE_KILL_SEED");
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let mut in_flight = 0;
    let mut total = 0;
    for number in 0..KILLS {
        let from = Instant::now();
        let (run, point) = run_until(number, folder, &mut draw);
        // What came again in this run was in flight when the last was killed.
        let again = redelivered(&run.kill());
        let seconds = from.elapsed().as_secs_f64();
        println!("kill {:2}: {seconds:.1} s, {again:5} came again; killed {point}", number + 1);
        total += again;
        in_flight += usize::from(again > 0);
    }
    let ended = demo(folder).end();
    let again = redelivered(&ended.stderr);
    total += again;
    in_flight += usize::from(again > 0);
    println!("{KILLS} kills, {in_flight} with work in flight, {total} messages came again");
    println!("{}", ended.stdout.trim_end());
    assert!(ended.status.success(), "{ended:?}");

    let account: Value = serde_json::from_str(&ended.stdout).unwrap();
    for (what, expected) in [
        ("recorded", EVENTS as u64),
        ("lost", 0),
        ("out_of_order", 0),
        ("unverified", 0),
        ("redelivered", again),
    ] {
        assert_eq!(account[what], expected, "{what} in {account}");
    }
    assert_eq!(account["delivered"]["gouvernement"], EVENTS as u64);
    let refused = account["quarantined"].as_object().unwrap();
    assert_eq!(refused.len() as u64, REASONS);
    assert!(refused.values().all(|count| *count == 1), "{refused:?}");

    // The two schemas come first.
    assert_eq!(reconcile(folder, EVENTS, SEED), EVENTS as u64 + 2);
    assert!(in_flight >= KILLS - STARTS - 3, "{in_flight} kills found work in flight");
}
