//! SIGKILL in the middle of erasing: at each of its steps, and again while the
//! next start completes it.

use super::copies::Copy;
use super::harness::*;
use super::people::*;
use super::process::{Draw, Process, wait_until};
use pirogue::hub::ERASED;
use pirogue::hub::operator::{AccessReport, Answer, Request};
use pirogue::ops::client;
use pirogue::persons::Tagger;
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// How many events of each person there are: they take several commits.
const EACH: usize = 300;
/// In the name of each person who is erased, and in no other.
const NAMES: &str = "Wamytan-Effacé";
/// How many messages one recipient has taken before.
const TAKEN: usize = 200;
/// What an erased record has in each of these logs.
const SLOTS: (&str, usize) = ("slots/slots", 32);
const QUARANTINE: (&str, usize) = ("slots/quarantine", 32);
const TAGS: (&str, usize) = ("persons/tags", 16);

/// How many recipients are told: these notices are about nobody, and have an empty
/// tag from the first.
const NOTICES: usize = 2;

/// When the hub is killed.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// The log of erasures has the line.
    Line,
    /// So many records more of a log are overwritten.
    Overwritten((&'static str, usize), usize),
    /// A log of a queue was written anew.
    Queues,
    /// So many commits were made.
    Commits(u64),
}

/// Whom is erased, in this order: the moment of the kill, and how many commits
/// the next start makes before it is killed as well.
const PERSONS: [(Moment, Option<u64>); 9] = [
    // Of these two the payloads are over their days.
    (Moment::Line, None),
    (Moment::Overwritten(TAGS, NOTICES + 1), Some(1)),
    (Moment::Line, Some(2)),
    (Moment::Overwritten(SLOTS, 1), None),
    (Moment::Overwritten(SLOTS, EACH), Some(4)),
    (Moment::Overwritten(QUARANTINE, 1), None),
    (Moment::Queues, Some(1)),
    (Moment::Overwritten(TAGS, NOTICES + 1), None),
    (Moment::Commits(2), Some(6)),
];
/// How many persons' payloads are over their days.
const EXPIRED: usize = 2;

fn subject(person: usize) -> String {
    format!("person/effacee-{person}")
}

fn events(exchange: &Exchange, persons: std::ops::Range<usize>) -> Vec<Sent> {
    let mut all = Vec::new();
    for n in 0..EACH {
        for person in persons.clone() {
            let (id, name) = (format!("p{person}-{n}"), format!("{NAMES}-{person}"));
            all.push(called(exchange, &id, &subject(person), &name));
        }
        all.push(about(exchange, &format!("other-{}-{n}", persons.start), OTHER));
    }
    let bad = |person| refused(called(exchange, &format!("bad-{person}"), &subject(person), NAMES));
    all.extend(persons.map(bad));
    all
}

/// How many records of a log are overwritten.
fn overwritten(data: &Path, (log, width): (&str, usize)) -> usize {
    let log = std::fs::read(data.join(log)).unwrap();
    log.chunks(width).filter(|record| record.iter().all(|byte| *byte == 0)).count()
}

/// The logs of queues that were written anew.
fn anew(data: &Path) -> Vec<PathBuf> {
    let queues = std::fs::read_dir(data.join("bus")).unwrap();
    let logs = queues.flat_map(|queue| std::fs::read_dir(queue.unwrap().path()).unwrap());
    let mut logs: Vec<PathBuf> = logs.map(|log| log.unwrap().path()).collect();
    logs.retain(|log| log.to_str().unwrap().contains(".log") && log.to_str().unwrap().contains(".r"));
    logs.sort();
    logs
}

/// Counts the commits of a hub while it is looked at: each replaces HEAD.
struct Commits {
    head: PathBuf,
    last: Option<(u64, i64, i64)>,
    count: u64,
}

impl Commits {
    fn of(data: &Path) -> Commits {
        let mut commits = Commits { head: data.join("HEAD"), last: None, count: 0 };
        commits.count();
        commits.count = 0;
        commits
    }

    fn count(&mut self) -> u64 {
        let now = std::fs::metadata(&self.head).ok().map(|m| (m.ino(), m.mtime(), m.mtime_nsec()));
        self.count += u64::from(now != self.last);
        self.last = now;
        self.count
    }
}

/// A hub that runs as a process of its own.
struct Running<'a> {
    exchange: &'a Exchange,
    process: Process,
}

impl<'a> Running<'a> {
    fn start(exchange: &'a Exchange) -> Running<'a> {
        let file = exchange.config_file();
        let process = Process::start(&["hub", "--config", file.to_str().unwrap()]);
        Running { exchange, process }
    }

    fn answering(exchange: &'a Exchange) -> Running<'a> {
        let mut hub = Running::start(exchange);
        wait_until("the hub answers", || {
            assert!(!hub.process.has_ended(), "{}", hub.process.stderr());
            client::call(exchange.data(), &Request::Status).is_ok()
        });
        hub
    }

    fn access(&self, subject: &str) -> AccessReport {
        let (member, subject, lang) = (SUD.to_owned(), subject.to_owned(), "fr".to_owned());
        match client::call(self.exchange.data(), &Request::Access { member, subject, lang }) {
            Ok(Answer::Access(report)) => report,
            other => panic!("{other:?}"),
        }
    }

    /// Waits for `done`, without a pause: what comes next may be short.
    fn until(&mut self, what: &str, mut done: impl FnMut() -> bool) {
        let deadline = std::time::Instant::now() + super::process::PATIENCE;
        while !done() {
            assert!(!self.process.has_ended(), "{}", self.process.stderr());
            assert!(std::time::Instant::now() < deadline, "not in time: {what}");
        }
    }

    fn stop(self) {
        client::call(self.exchange.data(), &Request::Shutdown).unwrap();
        let ended = self.process.end();
        assert!(ended.status.success(), "{}", ended.stderr);
    }
}

fn erase_command(exchange: &Exchange, subject: &str) -> Process {
    let file = exchange.config_file();
    let arguments =
        ["erase", "--person", SUD, subject, "--yes", "--json", "--config", file.to_str().unwrap()];
    Process::start(&arguments)
}

fn lines(exchange: &Exchange) -> usize {
    std::fs::read_to_string(&exchange.config.erasure.log).map_or(0, |log| log.lines().count())
}

/// The folder: two persons whose payloads are over their days, the others', and
/// one recipient that has taken some of it.
fn filled() -> (Exchange, Vec<Got>) {
    let mut exchange = prepared();
    exchange.config.retention.replay_days = 0;
    exchange.start();
    exchange.publish(events(&exchange, 0..EXPIRED));
    exchange.settled();
    assert_eq!(expire(&exchange).events, exchange.status().events);
    exchange.publish(events(&exchange, EXPIRED..PERSONS.len()));
    exchange.settled();
    let taken = exchange.take(GOUV, TAKEN);
    exchange.hang_up(GOUV);
    exchange.stop();
    (exchange, taken)
}

/// Erases `person`, and kills the hub at the moment that is said. Returns
/// whether it was in the middle: the line was written, and not all of it done.
fn killed_while_erasing(exchange: &Exchange, person: usize, draw: &mut Draw) -> bool {
    let (moment, then) = PERSONS[person];
    let data = exchange.data();
    let mut hub = Running::answering(exchange);
    let before = lines(exchange);
    let counted = [SLOTS, QUARANTINE, TAGS].map(|log| overwritten(data, log));
    let (anew_before, mut commits) = (anew(data), Commits::of(data));
    let command = erase_command(exchange, &subject(person));
    match moment {
        Moment::Line => hub.until("the line is written", || lines(exchange) > before),
        Moment::Overwritten(log, count) => {
            let from = overwritten(data, log);
            hub.until("records are overwritten", || overwritten(data, log) >= from + count);
        }
        Moment::Queues => hub.until("queues are written anew", || anew(data) != anew_before),
        Moment::Commits(count) => hub.until("commits are made", || commits.count() >= count),
    }
    // At once, or a little later.
    for _ in 0..draw.below(30) {
        std::hint::black_box(lines(exchange));
    }
    hub.process.kill();
    let ended = command.end();
    match ended.status.code() {
        Some(0) => {}
        _ => assert!(ended.sentence(4).contains("ended before it answered"), "{}", ended.stderr),
    }
    let now = [SLOTS, QUARANTINE, TAGS].map(|log| overwritten(data, log));
    let [slots, quarantine, tags] = [0, 1, 2].map(|at| now[at] - counted[at]);
    let has_line = lines(exchange) > before;
    println!(
        "person {person}, at {moment:?}: the line {}, {slots} slots, {quarantine} of the quarantine, {tags} tags are \
         overwritten; the command ended with {:?}",
        if has_line { "is written" } else { "isn't written" },
        ended.status.code()
    );
    if let Some(count) = then {
        // While the start completes it, or a little after.
        let (mut hub, mut commits) = (Running::start(exchange), Commits::of(data));
        hub.until("the start makes commits", || {
            commits.count() >= count || client::call(data, &Request::Status).is_ok()
        });
        hub.process.kill();
    }
    has_line && tags < NOTICES + EACH
}

#[test]
fn killed_in_the_middle_of_erasing_the_next_start_completes_it_and_nothing_is_told_twice() {
    let mut draw = Draw::announced("PIROGUE_ERASE_SEED");
    let (mut exchange, taken) = filled();
    let before = Copy::of(&exchange);
    let ours = before.events_with(NAMES.as_bytes());
    assert_eq!(ours.len(), (PERSONS.len() - EXPIRED) * EACH, "a search finds what is there");
    let others = before.events_with(b"Kaemo").len();
    let frames = before.frames_with(NAMES.as_bytes());
    assert!(!frames.is_empty() && before.quarantined_with(NAMES.as_bytes()).len() == PERSONS.len());
    let tagger = Tagger::new(before.master.derive("persons"));
    let tags: Vec<Vec<u8>> = (0..PERSONS.len()).map(|n| tagger.tag(SUD, &subject(n)).to_vec()).collect();
    assert!(!before.found(&tags).is_empty());

    let mut in_the_middle = 0;
    for person in 0..PERSONS.len() {
        let lines_before = lines(&exchange);
        in_the_middle += usize::from(killed_while_erasing(&exchange, person, &mut draw));
        let hub = Running::answering(&exchange);
        let left = hub.access(&subject(person));
        if lines(&exchange) > lines_before {
            assert_eq!(
                (left.events, left.deliveries.len(), left.erased_at.is_some()),
                (0, 0, true),
                "{person}"
            );
        } else {
            // It hadn't begun: all of it is there, and the command is given again.
            assert_eq!((left.events, left.erased_at), (EACH as u64, None), "{person}");
            let ended = erase_command(&exchange, &subject(person)).end();
            assert!(ended.status.success(), "{}", ended.stderr);
        }
        assert_eq!(lines(&exchange), lines_before + 1);
        // The next one lost nothing.
        if person + 1 < PERSONS.len() {
            assert_eq!(hub.access(&subject(person + 1)).events, EACH as u64, "{person}");
        }
        hub.stop();
    }
    assert!(in_the_middle >= 4, "only {in_the_middle} kills were in the middle of erasing");

    let after = Copy::of(&exchange);
    // Every key of it is gone; and of a few, that no other opens them either.
    after.opens_nothing_of(&before, &ours[..2], &frames[..1]);
    let mut secrets = before.secrets_of(&ours);
    secrets.extend(tags);
    secrets.extend(before.keys_of(&frames));
    assert_eq!(after.found(&secrets), Vec::<String>::new());
    assert!(after.events_with(NAMES.as_bytes()).is_empty());
    assert!(after.quarantined_with(NAMES.as_bytes()).is_empty());
    assert!(after.frames_with(NAMES.as_bytes()).is_empty());
    assert_eq!(after.events_with(b"Kaemo").len(), others, "the others' are all there");

    let file = exchange.config_file();
    let config = ["--config", file.to_str().unwrap()];
    let key = Process::start(&[&["journal", "key"], &config[..]].concat()).end().stdout;
    let data = exchange.data().to_str().unwrap().to_owned();
    let verified = Process::start(&["journal", "verify", &data, "--hub-key", key.trim()]).end();
    assert!(verified.stdout.contains("is whole"), "{verified:?}");

    // Each recipient is told of each person once, in its sequence, and gets no
    // word of any.
    exchange.start();
    let rest = exchange.take_all(GOUV, TAKEN as u64);
    let nord = exchange.take_all(NORD, 0);
    for (recipient, got) in [(GOUV, &rest), (NORD, &nord)] {
        let mut told: BTreeMap<String, usize> = BTreeMap::new();
        for one in got.iter().filter(|one| one.event_type() == ERASED) {
            let subject = read(ERASED, one.body())["subject"].as_str().unwrap().to_owned();
            *told.entry(subject).or_default() += 1;
        }
        assert_eq!(told.len(), PERSONS.len(), "{recipient}: {told:?}");
        assert!(told.values().all(|times| *times == 1), "{recipient}: {told:?}");
        assert!(got.iter().all(|one| !contains(one.body(), NAMES.as_bytes())), "{recipient}");
        let erased = got.iter().filter_map(withheld).filter(|why| why == "erased").count();
        let had = taken.iter().filter(|one| contains(one.body(), NAMES.as_bytes())).count();
        let had = if recipient == GOUV { had } else { 0 };
        assert_eq!(erased, PERSONS.len() * EACH - had, "{recipient}");
    }
    let told = rest.iter().filter(|one| one.event_type() == ERASED);
    let told: Vec<_> =
        told.map(|one| read(ERASED, one.body())["subject"].as_str().unwrap().to_owned()).collect();
    assert_eq!(told, (0..PERSONS.len()).map(subject).collect::<Vec<_>>());
    exchange.stop();
    exchange.entries();
}
