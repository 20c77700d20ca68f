//! A verifier in another language, written from the specifications alone
//! (`tests/verify_journal.py`), says of a journal what ours says.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pirogue::journal::tile::{CHECKPOINT, TileBuilder, TileFault, TileSource, Tree};
use pirogue::journal::{
    Check, Checkpoint, Entry, Extra, Head, LogKey, Proof, SignedCheckpoint, fingerprint, message_name,
    verify_consistency,
};
use pirogue::keys::{PrivateKey, note};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

const BORDERS: [u64; 8] = [1, 2, 255, 256, 257, 65_535, 65_536, 65_537];
const SALT: [u8; 32] = [3; 32];
const EVENT_SALT: [u8; 32] = [4; 32];

fn key() -> PrivateKey {
    PrivateKey::from_seed(&[7; 32])
}

fn log_key() -> LogKey {
    LogKey { name: "nc".into(), key: key().public().clone() }
}

fn vkey() -> String {
    note::verifier_key("nc", key().public())
}

/// The message of entry `n`, as signature and body.
fn message(n: u64) -> (String, Vec<u8>) {
    (format!("e30..{n}"), n.to_be_bytes().to_vec())
}

fn message_fingerprint(n: u64) -> [u8; 32] {
    let (signature, body) = message(n);
    fingerprint(&signature, &body)
}

fn entry(n: u64) -> Vec<u8> {
    let entry = Entry::Delivered {
        at: 1_793_675_112_000 + n as i64,
        name: message_name(&SALT, &message_fingerprint(n)),
        event: message_name(&EVENT_SALT, &message_fingerprint(n)),
        recipient: "gouvernement".into(),
        epoch: 1,
        sequence: n + 1,
        agreement: "emploi-gouvernement:1".into(),
    };
    entry.encode()
}

/// A log's files, of which some are replaced.
#[derive(Clone)]
struct Files {
    all: Arc<BTreeMap<String, Vec<u8>>>,
    changed: BTreeMap<String, Vec<u8>>,
}

impl TileSource for Files {
    fn get(&self, path: &str) -> Result<Option<Vec<u8>>, TileFault> {
        Ok(self.changed.get(path).or_else(|| self.all.get(path)).cloned())
    }
}

impl Files {
    fn grown(size: u64) -> Files {
        let mut builder = TileBuilder::new();
        (0..size).for_each(|n| builder.push(&entry(n)).unwrap());
        let files = [builder.full(), builder.partial()].concat();
        let mut all: BTreeMap<_, _> = files.into_iter().map(|f| (f.tile.to_string(), f.bytes)).collect();
        all.insert(CHECKPOINT.to_owned(), signed(builder.head()).into_bytes());
        Files { all: Arc::new(all), changed: BTreeMap::new() }
    }

    fn write(&self, folder: &Path) {
        for (name, bytes) in self.all.iter() {
            let path = folder.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
    }

    /// Whether ours takes the whole log for good.
    fn is_good(&self) -> bool {
        let text = String::from_utf8(self.get(CHECKPOINT).unwrap().unwrap_or_default());
        let Ok(opened) = SignedCheckpoint::open(&text.unwrap_or_default(), &log_key()) else { return false };
        let Ok(mut check) = Check::begin(Arc::new(self.clone()), opened.head(), None) else { return false };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            loop {
                match check.step(|_, _| None::<()>).await {
                    Ok(Some(_)) => {}
                    Ok(None) => return true,
                    Err(_) => return false,
                }
            }
        })
    }

    fn proof(&self, index: u64, size: u64) -> Proof {
        let mut tree = Tree::new(self, size);
        let extra = Extra {
            entry: tree.entry(index).unwrap(),
            salt: Some(SALT),
            fingerprint: Some(message_fingerprint(index)),
            event_salt: Some(EVENT_SALT),
            event_fingerprint: Some(message_fingerprint(index)),
            signature: None,
        };
        let checkpoint = signed(tree.head(size).unwrap());
        Proof { extra, index, hashes: tree.inclusion(index, size).unwrap(), checkpoint }
    }
}

fn signed(head: Head) -> String {
    Checkpoint::new("nc", head).sign(&key()).unwrap().render()
}

fn python() -> &'static str {
    // The distribution's comes first: its package cryptography is only there.
    let has = |python: &&&str| {
        let tried = Command::new(python).args(["-c", "import cryptography"]).stderr(Stdio::null()).status();
        tried.is_ok_and(|status| status.success())
    };
    ["/usr/bin/python3", "python3"]
        .iter()
        .find(has)
        .expect("python3 with its package cryptography: see tests/run")
}

fn verifier() -> Command {
    let mut command = Command::new(python());
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/verify_journal.py"));
    command
}

/// What the other verifier answers to each case.
fn answers(folder: &Path, cases: &[BTreeMap<String, Vec<u8>>]) -> Vec<bool> {
    let mut child = verifier()
        .args(["cases", folder.to_str().unwrap(), &vkey()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let lines: String = cases
        .iter()
        .map(|case| {
            let case: BTreeMap<_, _> =
                case.iter().map(|(name, bytes)| (name, STANDARD.encode(bytes))).collect();
            serde_json::to_string(&case).unwrap() + "\n"
        })
        .collect();
    let writing = std::thread::spawn(move || input.write_all(lines.as_bytes()).unwrap());
    let output = child.wait_with_output().unwrap();
    writing.join().unwrap();
    assert!(output.status.success());
    let answers: Vec<bool> =
        String::from_utf8(output.stdout).unwrap().lines().map(|answer| answer == "yes").collect();
    assert_eq!(answers.len(), cases.len());
    answers
}

fn case<const N: usize>(files: [(&str, Vec<u8>); N]) -> BTreeMap<String, Vec<u8>> {
    files.into_iter().map(|(name, bytes)| (name.to_owned(), bytes)).collect()
}

/// Numbers that are the same in each run (xorshift64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end as u64) as usize
    }

    /// One change: a bit, a byte left out, one more, or one twice.
    fn change(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut changed = bytes.to_vec();
        let at = self.below(bytes.len());
        match self.below(8) {
            0 => drop(changed.remove(at)),
            1 => changed.insert(at, self.below(256) as u8),
            2 => changed.truncate(at),
            3 => changed.swap(at, bytes.len() - 1 - at),
            _ => changed[at] ^= 1 << self.below(8),
        }
        if changed == bytes { self.change(bytes) } else { changed }
    }
}

fn log_in(folder: &tempfile::TempDir, size: u64) -> (Files, PathBuf) {
    let files = Files::grown(size);
    files.write(folder.path());
    (files, folder.path().to_owned())
}

#[test]
fn both_verifiers_agree_on_100_000_entries_and_on_proofs_at_every_border() {
    let folder = tempfile::tempdir().unwrap();
    let (files, path) = log_in(&folder, 100_000);
    let output = verifier().args(["log", path.to_str().unwrap(), &vkey()]).output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "100000 entries\n");
    assert!(output.status.success() && files.is_good());

    let mut cases = Vec::new();
    for size in BORDERS.into_iter().chain([100_000]) {
        for index in [0, 1, 254, 255, 256, 257, 65_534, 65_535, 65_536, size / 2, size - 1] {
            if index < size {
                let proof = files.proof(index, size);
                let proven = Proof::parse(&proof.render()).unwrap().verify(&log_key()).unwrap();
                let (signature, body) = message(index);
                assert_eq!(proven.check_message(Some(&signature), &body), Ok(()), "{index} of {size}");
                cases.push(case([("proof", proof.render().into_bytes())]));
            }
        }
        let mut tree = Tree::new(&files, 100_000);
        for old in BORDERS.into_iter().chain([0, 100_000]).filter(|old| *old <= size) {
            let (before, after) = (tree.head(old).unwrap(), tree.head(size).unwrap());
            let proof = tree.consistency(old, size).unwrap();
            assert_eq!(verify_consistency(&before, &after, &proof), Ok(()), "{old} of {size}");
            let lines: String = proof.iter().map(|hash| STANDARD.encode(hash) + "\n").collect();
            cases.push(case([
                ("old", signed(before).into_bytes()),
                ("new", signed(after).into_bytes()),
                ("between", lines.into_bytes()),
            ]));
        }
    }
    assert!(cases.len() > 100, "{}", cases.len());
    let said = answers(&path, &cases);
    assert!(said.iter().all(|yes| *yes), "{:?}", said.iter().position(|yes| !yes));
}

#[test]
fn logs_that_end_at_the_borders_of_tiles_are_good_for_both() {
    for size in BORDERS.into_iter().chain([0]) {
        let folder = tempfile::tempdir().unwrap();
        let (files, path) = log_in(&folder, size);
        assert!(files.is_good(), "{size}");
        assert_eq!(answers(&path, &[BTreeMap::new()]), [true], "{size}");
    }
}

#[test]
fn both_verifiers_reject_each_of_1_000_mutations() {
    let (small, large) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut dice = Dice(0x5eed_0fda_7a5e_edd1);
    let mut done = 0;
    // Most of them on a small log with tiles of two levels, whole and partial; some
    // on one that has a third.
    for (folder, size, count) in [(&small, 1_500, 230), (&large, 66_000, 20)] {
        let (files, path) = log_in(folder, size);
        let names: Vec<&String> = files.all.keys().collect();
        let pick = |dice: &mut Dice, prefix: &str| {
            let of: Vec<_> = names.iter().filter(|name| name.starts_with(prefix)).collect();
            (*of[dice.below(of.len())]).clone()
        };
        let mut cases = vec![BTreeMap::new()];
        for _ in 0..count {
            let level = ["tile/0", "tile/1"][dice.below(2)];
            let tile = pick(&mut dice, level);
            for name in [tile, pick(&mut dice, "tile/entries"), CHECKPOINT.to_owned()] {
                cases.push(BTreeMap::from([(name.clone(), dice.change(&files.all[&name]))]));
            }
            let proof = files.proof(dice.below(size as usize) as u64, size);
            cases.push(case([("proof", dice.change(proof.render().as_bytes()))]));
        }
        let theirs = answers(&path, &cases);
        for (number, (case, theirs)) in cases.into_iter().zip(theirs).enumerate() {
            let ours = match case.get("proof") {
                Some(proof) => std::str::from_utf8(proof)
                    .is_ok_and(|text| Proof::parse(text).is_ok_and(|proof| proof.verify(&log_key()).is_ok())),
                None => Files { changed: case.clone(), ..files.clone() }.is_good(),
            };
            // The first is the log as it is.
            let changed = case.keys().next().cloned().unwrap_or_default();
            assert_eq!((ours, theirs), (number == 0, number == 0), "change {number} of {size}: {changed}");
            done += usize::from(number > 0);
        }
    }
    assert_eq!(done, 1_000);
}
