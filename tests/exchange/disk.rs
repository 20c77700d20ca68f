//! A data folder read by its files alone, with the master key: what can be opened
//! in it, and with what.

use crate::harness::{Exchange, contains, files};
use pirogue::seal::{self, EventKey, Kek, MasterKey};
use pirogue::store::{Store, StoreOptions};
use serde_json::Value;
use std::collections::HashSet;
use std::path::Path;
use tempfile::TempDir;

/// The head of a log of the bus: magic bytes, number, wrapped key.
const LOG_HEAD: usize = 48;

/// A copy of a data folder, and the master key that goes with it.
pub struct Copy {
    pub folder: TempDir,
    pub master: MasterKey,
}

/// A sealed frame of a log of the bus.
pub struct Frame {
    pub log: String,
    offset: u64,
    sealed: Vec<u8>,
}

pub fn copy_folder(from: &Path, to: &Path) {
    for (path, bytes) in files(from) {
        let to = to.join(path.strip_prefix(from).unwrap());
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::write(to, bytes).unwrap();
    }
}

fn array(bytes: &[u8]) -> [u8; 32] {
    bytes.try_into().unwrap()
}

impl Copy {
    /// A copy of the folder of a hub that doesn't run.
    pub fn of(exchange: &Exchange) -> Copy {
        Copy::of_folder(exchange.data(), &exchange.config.keys.master)
    }

    pub fn of_folder(data: &Path, master: &Path) -> Copy {
        let folder = tempfile::tempdir().unwrap();
        copy_folder(data, folder.path());
        Copy { folder, master: MasterKey::read_or_create(master).unwrap() }
    }

    fn read(&self, path: &str) -> Vec<u8> {
        std::fs::read(self.folder.path().join(path)).unwrap_or_default()
    }

    /// Which files hold any of these, by their first 16 bytes.
    pub fn found(&self, needles: &[Vec<u8>]) -> Vec<String> {
        // Most places are ruled out by two bytes.
        let mut begins = vec![false; 1 << 16];
        let of = |bytes: &[u8]| usize::from(u16::from_le_bytes([bytes[0], bytes[1]]));
        needles.iter().for_each(|needle| begins[of(needle)] = true);
        let needles: HashSet<&[u8]> = needles.iter().map(|needle| &needle[..16]).collect();
        let holds = |bytes: &[u8]| {
            let end = bytes.len().saturating_sub(15);
            (0..end).any(|at| begins[of(&bytes[at..])] && needles.contains(&bytes[at..at + 16]))
        };
        let all = files(self.folder.path());
        let found = all.iter().filter(|(_, bytes)| holds(bytes));
        found.map(|(path, _)| path.display().to_string()).collect()
    }

    /// The rows whose key begins with `prefix`: what follows it in the key, and the
    /// row.
    fn rows(&self, prefix: &str) -> Vec<(u64, Value)> {
        let store = Store::open(self.folder.path(), StoreOptions::default()).unwrap();
        let rows = store.scan(prefix.as_bytes()).map(|row| {
            let (key, row) = row.unwrap();
            let number = u64::from_be_bytes(*key.last_chunk().unwrap());
            (number, serde_json::from_slice(&row).unwrap())
        });
        rows.collect()
    }

    /// The sealed messages of the events, by their index; none where the segment is
    /// gone.
    fn events(&self) -> Vec<(u64, Vec<u8>)> {
        let mut events = Vec::new();
        for (first, row) in self.rows("batch/") {
            let segment = self.read(row["segment"].as_str().unwrap());
            let mut offset = row["offset"].as_u64().unwrap() as usize;
            // Each is a class and a length, and how many are alike where several are.
            let alike = |event: &Value| event[2].as_u64().unwrap_or(1) as usize;
            let all = row["events"].as_array().unwrap().iter();
            let each = all.flat_map(|event| std::iter::repeat_n(event, alike(event)));
            for (index, event) in (first..).zip(each) {
                let length = event[1].as_u64().unwrap() as usize;
                events.extend(segment.get(offset..offset + length).map(|sealed| (index, sealed.to_vec())));
                offset += length;
            }
        }
        events
    }

    fn slots(&self, log: &str) -> Vec<[u8; 32]> {
        self.read(log).chunks(32).map(array).collect()
    }

    /// The events whose message opens and holds `needle`.
    pub fn events_with(&self, needle: &[u8]) -> Vec<u64> {
        let (slots, kek) = (self.slots("slots/slots"), self.master.kek("slots"));
        let opens = |(index, sealed): &(u64, Vec<u8>)| {
            let key = EventKey::unwrap(&slots[*index as usize], &kek, *index);
            seal::open(&key, *index, sealed).is_ok_and(|plain| contains(&plain, needle))
        };
        self.events().iter().filter(|event| opens(event)).map(|(index, _)| *index).collect()
    }

    /// The sealed messages in quarantine, by their index.
    fn quarantined(&self) -> Vec<(u64, Vec<u8>)> {
        let sealed = |(index, row): (u64, Value)| {
            let number = |name: &str| row[name].as_u64().unwrap() as usize;
            let log = self.read(row["log"].as_str().unwrap());
            (index, log[number("offset")..][..number("length")].to_vec())
        };
        self.rows("quarantine/").into_iter().map(sealed).collect()
    }

    pub fn quarantined_with(&self, needle: &[u8]) -> Vec<u64> {
        let (slots, kek) = (self.slots("slots/quarantine"), self.master.kek("quarantine"));
        let opens = |(index, sealed): &(u64, Vec<u8>)| {
            let key = EventKey::unwrap(&slots[*index as usize], &kek, *index);
            seal::open(&key, *index, sealed).is_ok_and(|plain| contains(&plain, needle))
        };
        self.quarantined().iter().filter(|one| opens(one)).map(|(index, _)| *index).collect()
    }

    /// The logs of the bus: each one's name and bytes.
    fn bus(&self) -> Vec<(String, Vec<u8>)> {
        let of = |(path, bytes): (std::path::PathBuf, Vec<u8>)| {
            let name = path.strip_prefix(self.folder.path()).unwrap().to_str().unwrap().to_owned();
            name.starts_with("bus/").then_some((name, bytes))
        };
        files(self.folder.path()).into_iter().filter_map(of).collect()
    }

    /// The key at the head of a log of the bus.
    fn bus_key(&self, log: &str, bytes: &[u8]) -> EventKey {
        let (queue, name) = log.strip_prefix("bus/").unwrap().split_once('/').unwrap();
        let mut kek: Kek = self.master.kek("bus").derive(queue);
        if let Some((_, times)) = name.strip_suffix(".log").unwrap().rsplit_once(".r") {
            kek = kek.derive(&format!("anew {times}"));
        }
        let number = u64::from_le_bytes(bytes[8..16].try_into().unwrap());
        EventKey::unwrap(&array(&bytes[16..LOG_HEAD]), &kek, number)
    }

    /// The frames of the bus that open and hold `needle`.
    pub fn frames_with(&self, needle: &[u8]) -> Vec<Frame> {
        let mut frames = Vec::new();
        for (log, bytes) in self.bus() {
            let key = self.bus_key(&log, &bytes);
            let mut offset = LOG_HEAD;
            while offset < bytes.len() {
                let length = u32::from_le_bytes(bytes[offset..offset + 4].try_into().unwrap()) as usize;
                let sealed = bytes[offset + 8..offset + 8 + length].to_vec();
                let plain = seal::open(&key, offset as u64, &sealed).unwrap();
                if contains(&plain, needle) {
                    frames.push(Frame { log: log.clone(), offset: offset as u64, sealed });
                }
                offset += 8 + length;
            }
        }
        frames
    }

    /// The keys of the logs that `frames` are in, as they are wrapped and as they
    /// are.
    pub fn keys_of(&self, frames: &[Frame]) -> Vec<Vec<u8>> {
        let logs: HashSet<&str> = frames.iter().map(|frame| frame.log.as_str()).collect();
        let bus = self.bus();
        let of = bus.iter().filter(|(log, _)| logs.contains(log.as_str()));
        of.flat_map(|(log, bytes)| [bytes[16..LOG_HEAD].to_vec(), self.bus_key(log, bytes).expose().to_vec()])
            .collect()
    }

    /// The keys of the events `indexes`, as they are wrapped and as they are, and
    /// the salts that are made of them.
    pub fn secrets_of(&self, indexes: &[u64]) -> Vec<Vec<u8>> {
        let (slots, kek) = (self.slots("slots/slots"), self.master.kek("slots"));
        let of = |index: &u64| {
            let slot = slots[*index as usize];
            let key = EventKey::unwrap(&slot, &kek, *index);
            let salt = seal::hmac(key.expose(), &[b"event"]);
            [slot.to_vec(), key.expose().to_vec(), salt.to_vec()]
        };
        indexes.iter().flat_map(of).collect()
    }

    /// Fails where any key that this folder holds opens, in the copy `before`, one
    /// of the events `indexes`, a message in quarantine that is gone from here, or
    /// one of `frames`.
    pub fn opens_nothing_of(&self, before: &Copy, indexes: &[u64], frames: &[Frame]) {
        let mut keys: Vec<EventKey> = Vec::new();
        for (log, label) in [("slots/slots", "slots"), ("slots/quarantine", "quarantine")] {
            let kek = self.master.kek(label);
            for (at, slot) in (0..).zip(self.slots(log)) {
                keys.push(EventKey::unwrap(&slot, &kek, at));
                // As if it stood at the place of an event that was erased.
                keys.extend(indexes.iter().map(|index| EventKey::unwrap(&slot, &kek, *index)));
            }
        }
        keys.extend(self.bus().iter().map(|(log, bytes)| self.bus_key(log, bytes)));
        let events = before.events();
        let sealed = events.iter().filter(|(index, _)| indexes.contains(index));
        let gone = before
            .quarantined()
            .into_iter()
            .filter(|(index, _)| self.slots("slots/quarantine")[*index as usize] == [0; 32]);
        let gone: Vec<(u64, Vec<u8>)> = gone.collect();
        assert!(!gone.is_empty() && !frames.is_empty() && sealed.clone().count() == indexes.len());
        for (index, sealed) in sealed.chain(&gone) {
            assert!(keys.iter().all(|key| seal::open(key, *index, sealed).is_err()), "{index}");
        }
        for frame in frames {
            let opened = keys.iter().any(|key| seal::open(key, frame.offset, &frame.sealed).is_ok());
            assert!(!opened, "{} at {}", frame.log, frame.offset);
        }
    }
}
