//! What the demo's members received, held against what the Boost-like server
//! serves: from the files alone, without the mapping and without the hub.

use pirogue::demo::boost::{BoostConfig, BoostServer};
use pirogue::journal::{self, Entry};
use pirogue::store::{Store, StoreOptions};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

const JOBSEEKER: &str = "nc.employment.jobseeker.registered";
const OFFER: &str = "nc.employment.offer.published";

/// The lines of each file `TYPE SUFFIX` of a folder, by type.
fn lines(received: &Path, suffix: &str) -> BTreeMap<String, Vec<Value>> {
    let mut types = BTreeMap::new();
    for entry in std::fs::read_dir(received).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        let Some(event_type) = name.strip_suffix(suffix).filter(|rest| !rest.ends_with(".raw")) else {
            continue;
        };
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.ends_with('\n'), "{name} ends within a line");
        let values = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        types.insert(event_type.to_owned(), values);
    }
    types
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// Holds the sequence rule against the files of a member: the numbers go from 1
/// without a gap or a repeat, rising in each file; no event has two numbers;
/// and there is a line for each raw message. Returns how many there are.
fn in_sequence(received: &Path) -> u64 {
    let raw = lines(received, ".raw.jsonl");
    let handled = lines(received, ".jsonl");
    assert_eq!(raw.keys().collect::<Vec<_>>(), handled.keys().collect::<Vec<_>>());
    let mut numbers = BTreeSet::new();
    let mut events = BTreeSet::new();
    for (event_type, messages) in &raw {
        let mut last = 0;
        assert_eq!(messages.len(), handled[event_type].len(), "{event_type}");
        for (message, line) in messages.iter().zip(&handled[event_type]) {
            let header = |name: &str| text(message, &format!("/headers/cloudEvents_{name}"));
            assert_eq!(header("epoch"), "1");
            let number: u64 = header("sequence").parse().unwrap();
            assert!(number > last, "{event_type}: {number} comes after {last}");
            last = number;
            assert_eq!(line["sequence"], number);
            assert_eq!(text(line, "/id"), header("id"));
            assert!(numbers.insert(number), "the number {number} was handled twice");
            let event = (header("source").to_owned(), header("id").to_owned());
            assert!(events.insert(event), "an event was handled under two numbers, {number} the second");
        }
    }
    let count = numbers.len() as u64;
    assert_eq!(numbers.last(), Some(&count), "a number is missing");
    count
}

/// Blanks as one space each, as in what the mapping makes of names.
fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A date, whole or in part, as YYYY-MM-DD: the day may come first in it, and a
/// month or a day that isn't known may be 00.
fn date(text: &str) -> String {
    let mut parts: Vec<_> = text.split(['/', '-']).collect();
    if text.contains('/') {
        parts.reverse();
    }
    parts.retain(|part| *part != "00");
    parts.join("-")
}

fn codes(list: &Value) -> String {
    let codes = list.as_array().map(Vec::as_slice).unwrap_or_default();
    codes.iter().map(|coded| text(coded, "/code")).collect::<Vec<_>>().join(",")
}

/// A jobseeker by what of it is granted, as served.
fn person_served(row: &Value) -> [String; 5] {
    let status = match text(row, "/statut") {
        "INSCRIT" => "active",
        "EN_FORMATION" => "in_training",
        "SUSPENDU" => "suspended",
        "RADIE" => "closed",
        _ => "other",
    };
    [
        words(text(row, "/nom")),
        words(text(row, "/prenoms")),
        date(text(row, "/dateNaissance")),
        status.to_owned(),
        codes(&row["rome"]),
    ]
}

/// A jobseeker by what of it is granted, as received.
fn person_received(data: &Value) -> [String; 5] {
    let names = data.pointer("/person/given_names").and_then(Value::as_array).unwrap();
    let names: Vec<_> = names.iter().filter_map(Value::as_str).collect();
    [
        words(text(data, "/person/family_name")),
        words(&names.join(" ")),
        text(data, "/person/birthdate").to_owned(),
        text(data, "/status").to_owned(),
        codes(&data["sought_occupations"]),
    ]
}

fn counted<T: Ord>(items: impl Iterator<Item = T>) -> BTreeMap<T, u64> {
    let mut counts = BTreeMap::new();
    items.for_each(|item| *counts.entry(item).or_default() += 1);
    counts
}

/// Panics with the first that was received more often than it was served: nobody
/// in the demo exists.
fn among<T: Ord + std::fmt::Debug>(what: &str, served: &BTreeMap<T, u64>, got: &BTreeMap<T, u64>) {
    let surplus = got.iter().find(|(item, count)| served.get(*item).copied().unwrap_or_default() < **count);
    assert!(surplus.is_none(), "{what}: received {surplus:?}");
}

/// What the recipient of a load got, and what it didn't and why.
pub struct Account {
    /// The messages that it handled, with the hub's own.
    pub messages: u64,
    /// The events that were taken in under an agreement, and withheld since it
    /// had ended when their turn came.
    #[allow(dead_code, reason = "not in every test program does an agreement end")]
    pub withheld: u64,
    /// The events that were taken in once the agreement had ended.
    #[allow(dead_code, reason = "not in every test program does an agreement end")]
    pub later: u64,
}

/// Panics unless the demo's folder holds each of `events` records that a server
/// of `seed` serves exactly once, handled by the sequence rule, and the journal
/// tells of just that. Returns how many messages the recipient handled.
pub fn reconcile(folder: &Path, events: usize, seed: u64) -> u64 {
    let types = lines(&folder.join("gouvernement/received"), ".jsonl");
    let (jobseekers, offers) = (events - events / 2, events / 2);
    assert_eq!(types[OFFER].len(), offers);
    assert_eq!(types[JOBSEEKER].len(), jobseekers);
    let account = reconcile_part(folder, events, seed);
    assert_eq!((account.withheld, account.later), (0, 0));
    account.messages
}

/// As [`reconcile`], where the agreement may have ended in the middle: what was
/// handled is each of the records at most once, and the journal has a delivery
/// or a withholding for each event that was taken in before the end.
pub fn reconcile_part(folder: &Path, events: usize, seed: u64) -> Account {
    let received = folder.join("gouvernement/received");
    let messages = in_sequence(&received);
    let types = lines(&received, ".jsonl");
    let (jobseekers, offers) = (events - events / 2, events / 2);
    let config =
        BoostConfig { seed, jobseekers, offers, api_key: "key".to_owned(), ..BoostConfig::default() };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let server = runtime.block_on(BoostServer::start(([127, 0, 0, 1], 0).into(), config)).unwrap();

    let served = counted((0..offers).map(|row| {
        let row = server.offer(row);
        (format!("offer/{}", text(&row, "/id")), text(&row, "/numero").to_owned())
    }));
    let got = counted(
        types[OFFER]
            .iter()
            .map(|event| (text(event, "/subject").to_owned(), text(event, "/data/number").to_owned())),
    );
    among("offers", &served, &got);

    let served = counted((0..jobseekers).map(|row| person_served(&server.jobseeker(row))));
    let got = counted(types[JOBSEEKER].iter().map(|event| person_received(&event["data"])));
    among("jobseekers", &served, &got);
    let subjects: BTreeSet<_> = types[JOBSEEKER].iter().map(|event| text(event, "/subject")).collect();
    assert_eq!(subjects.len(), types[JOBSEEKER].len(), "two jobseekers have one pseudonym");

    // One notice for each reason, and no other.
    let publisher = folder.join("province-sud/received");
    let notices = in_sequence(&publisher);
    let rejected = &lines(&publisher, ".jsonl")["nc.hub.event.rejected"];
    let reasons: BTreeSet<_> = rejected.iter().map(|notice| text(notice, "/data/reason")).collect();
    assert_eq!((notices, reasons.len()), (12, 12), "{reasons:?}");

    let (withheld, later) = journal_agrees(&folder.join("hub"), events as u64, messages, notices);
    // Two schemas go before the events, and nothing else but events does.
    assert_eq!(messages + withheld + later, events as u64 + 2);
    Account { messages, withheld, later }
}

/// The journal hashes to its root, and has one entry for each event taken in
/// and each message delivered; each event that was taken in while its agreement
/// was in force was delivered once or withheld once. Returns how many were
/// withheld, and how many were taken in later.
fn journal_agrees(hub: &Path, events: u64, messages: u64, notices: u64) -> (u64, u64) {
    let store = Store::open(hub, StoreOptions::default()).unwrap();
    let mut taken_in: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    let mut delivered: BTreeMap<_, Vec<_>> = BTreeMap::new();
    let mut settled = BTreeSet::new();
    let mut later = BTreeSet::new();
    let mut withheld = BTreeSet::new();
    let mut has_ended = false;
    for entry in journal::read_all(&store).unwrap() {
        match entry {
            Entry::Event { publisher, name, .. } => {
                if has_ended && publisher != "hub" {
                    later.insert(name);
                }
                assert!(taken_in.entry(publisher).or_default().insert(name), "an event was taken in twice");
            }
            Entry::Delivered { recipient, sequence, event, agreement, .. } => {
                let numbers = delivered.entry(recipient).or_default();
                numbers.push(sequence);
                assert_eq!(numbers.len() as u64, sequence, "a number was decided twice, or left out");
                if !agreement.is_empty() {
                    assert!(settled.insert(event), "an event was decided twice, {sequence} the second time");
                }
            }
            Entry::Withheld { event, .. } => {
                withheld.insert(event);
                assert!(settled.insert(event), "an event was withheld that had been decided");
            }
            Entry::Agreement { in_force: false, .. } => has_ended = true,
            _ => {}
        }
    }
    let counts = taken_in.iter().map(|(publisher, names)| (publisher.as_str(), names.len() as u64));
    assert_eq!(counts.collect::<Vec<_>>(), [("hub", notices), ("province-sud", events)]);
    // A delivery's entry names its event otherwise than the event's own does, so
    // that they are counted.
    let due = taken_in["province-sud"].len() - later.len();
    assert!(settled.len() >= due, "an event that was due is neither delivered nor withheld");
    // A batch that was being checked when the agreement ended comes after the
    // entry that says so, and is withheld.
    assert!(settled.len() - withheld.len() <= due, "delivered without an agreement");
    let later = events - settled.len() as u64;
    assert_eq!(delivered["gouvernement"].len() as u64, messages);
    assert_eq!(delivered["province-sud"].len() as u64, notices);
    (withheld.len() as u64, later)
}
