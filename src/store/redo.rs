//! The redo files: where a commit becomes durable.
//!
//! A commit is one record: what it appends, overwrites and removes. It is
//! written at the end of one of two files and fdatasynced, which is all that a
//! commit waits for. The logs and the state follow at the pace of the disk
//! (`settle`), after which the record isn't needed and its file is used again
//! from its beginning: while one settles, the other takes the records.
//!
//! Records begin at multiples of [`PAGE`], so that writing one never touches
//! another. They are numbered as the commits are, without a gap; what a file
//! holds from an earlier use has a lower number. So a record that was torn is
//! known as the last one, and one that is damaged by a later one behind it.

use super::changes::{Append, Changes};
use super::disk::{Disk, Step};
use super::{StoreFault, disk};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The folder of the two files.
pub(super) const FOLDER: &str = "redo";

/// Where records begin: the size of what a disk and a page cache write at once.
const PAGE: usize = 4096;

const MAGIC: &[u8; 4] = b"PRD1";

/// Magic, CRC-32 of all that follows it, length of the content, number.
const HEAD_BYTES: usize = 4 + 4 + 8 + 8;

/// How many zeros are written at once.
const WIPE_BYTES: usize = 1 << 20;

const APPEND: u8 = 1;
const PUT: u8 = 2;
const REMOVE: u8 = 3;
const DELETE: u8 = 4;
const OVERWRITE: u8 = 5;
const MARK: u8 = 6;

/// A commit as it was read.
pub(super) struct Record {
    pub(super) commit: u64,
    pub(super) changes: Changes,
}

/// What the files hold.
pub(super) struct Found {
    /// The commits that aren't settled, in order.
    pub(super) records: Vec<Record>,
    /// Where the last record is that overwrites or removes, settled or not: what
    /// it forgot may still stand in others.
    forgets: Option<Place>,
}

/// A record's file, and its bytes there.
type Place = (usize, Range<u64>);

/// The two files. One is written; the other is settled, or is free.
pub(super) struct Redo {
    disk: Arc<Disk>,
    files: [File; 2],
    active: usize,
    /// How many bytes of the active file are records that aren't settled.
    used: u64,
    /// How many bytes of each may hold records.
    dirty: [u64; 2],
    /// The record that is wiped after all others.
    last: Place,
    /// What a record that overwrites or removes asks for, and wasn't done.
    to_wipe: bool,
    buffer: Vec<u8>,
}

/// The path of a file.
pub(super) fn path(folder: &Path, which: usize) -> PathBuf {
    folder.join(FOLDER).join(which.to_string())
}

impl Redo {
    /// Opens both files, which hold what was found, and creates them where there
    /// is no store yet.
    pub(super) fn open(disk: &Arc<Disk>, found: &Found) -> Result<Redo, (PathBuf, io::Error)> {
        let open = |which| {
            let path = path(&disk.folder, which);
            let file = disk.open_redo(&path).map_err(|e| (path.clone(), e))?;
            let length = file.metadata().map_err(|e| (path, e))?.len();
            Ok((file, length))
        };
        let (first, second) = (open(0)?, open(1)?);
        Ok(Redo {
            disk: Arc::clone(disk),
            files: [first.0, second.0],
            active: 0,
            used: 0,
            dirty: [first.1, second.1],
            last: found.forgets.clone().unwrap_or_default(),
            to_wipe: found.forgets.is_some(),
            buffer: Vec::new(),
        })
    }

    /// Whether something that was overwritten or removed elsewhere may still be
    /// in these files.
    pub(super) fn is_to_wipe(&self) -> bool {
        self.to_wipe
    }

    /// How many bytes of records aren't settled in the active file.
    pub(super) fn used(&self) -> u64 {
        self.used
    }

    /// The path of the active file.
    pub(super) fn active(&self) -> PathBuf {
        path(&self.disk.folder, self.active)
    }

    /// Makes a commit durable.
    pub(super) fn write(&mut self, commit: u64, changes: &Changes) -> io::Result<()> {
        self.buffer.clear();
        encode(commit, changes, &mut self.buffer);
        let file = &self.files[self.active];
        self.disk.write_as(Step::WriteRedo, file, self.used, &self.buffer)?;
        let start = self.used;
        self.used += self.buffer.len() as u64;
        self.last = (self.active, start..self.used);
        self.to_wipe |= !changes.overwrites.is_empty() || !changes.deleted.is_empty();
        self.dirty[self.active] = self.dirty[self.active].max(self.used);
        self.sync(self.active)
    }

    /// Goes on in the other file, whose records are settled. Those of this one
    /// are to be settled now.
    pub(super) fn turn(&mut self) {
        self.active = 1 - self.active;
        self.used = 0;
    }

    /// Overwrites all records, which are settled, durably: what a commit forgot
    /// elsewhere isn't left here. That commit's own record goes last, since by it
    /// a start sees that this isn't done.
    pub(super) fn wipe(&mut self) -> io::Result<()> {
        let (which, last) = self.last.clone();
        for (number, dirty) in self.dirty.into_iter().enumerate() {
            if number == which {
                self.zero(number, 0..last.start.min(dirty))?;
                self.zero(number, last.end..dirty)?;
            } else {
                self.zero(number, 0..dirty)?;
            }
            self.sync(number)?;
        }
        self.zero(which, last)?;
        self.sync(which)?;
        self.used = 0;
        self.dirty = [0; 2];
        self.last = Place::default();
        self.to_wipe = false;
        Ok(())
    }

    fn zero(&self, which: usize, part: Range<u64>) -> io::Result<()> {
        let zeros = vec![0; WIPE_BYTES.min(part.end.saturating_sub(part.start) as usize)];
        let mut at = part.start;
        while at < part.end {
            let share = zeros.len().min((part.end - at) as usize);
            self.disk.write_as(Step::WriteRedo, &self.files[which], at, &zeros[..share])?;
            at += share as u64;
        }
        Ok(())
    }

    fn sync(&self, which: usize) -> io::Result<()> {
        self.disk.step(Step::SyncRedo, || self.files[which].sync_data())
    }
}

/// What the files of a store hold whose last settled commit is `settled`.
/// Refuses files between whose records one is missing or damaged.
pub(super) fn read(folder: &Path, settled: u64) -> Result<Found, String> {
    let (mut runs, mut all) = (Vec::new(), Vec::new());
    for which in 0..2 {
        let path = path(folder, which);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(format!("{FOLDER}/{which} can't be read ({error})")),
        };
        let mut run: Vec<Record> = Vec::new();
        // Where the records of this use of the file end; what follows is of earlier ones.
        let (mut at, mut end) = (0, Some(0));
        while at < bytes.len() {
            let Some((commit, content, size)) = frame(&bytes[at..]) else {
                at += PAGE;
                continue;
            };
            if end == Some(at) && run.last().is_none_or(|last| last.commit + 1 == commit) {
                let changes = decode(content).ok_or_else(|| {
                    format!("the folder {FOLDER}/ holds a record of commit {commit} that isn't one")
                })?;
                run.push(Record { commit, changes });
                end = Some(at + size);
            } else {
                end = None;
            }
            all.push((commit, forgets(content).then_some((which, at as u64..(at + size) as u64))));
            at += size;
        }
        runs.push(run);
    }
    // Those of a file that was settled have the lower numbers.
    runs.sort_by_key(|run| run.first().map(|record| record.commit));
    let mut last = settled;
    let mut records = Vec::new();
    for record in runs.into_iter().flatten().filter(|record| record.commit > settled) {
        if record.commit != last + 1 {
            return Err(missing(last + 1, record.commit));
        }
        last = record.commit;
        records.push(record);
    }
    // Only the last one of all can be torn: nothing was written behind it.
    if let Some((beyond, _)) = all.iter().find(|(commit, _)| *commit > last) {
        return Err(missing(last + 1, *beyond));
    }
    all.sort_by_key(|(commit, _)| *commit);
    let forgets = all.into_iter().rev().find_map(|(_, place)| place);
    Ok(Found { records, forgets })
}

/// Whether the record of this content overwrites or removes: that comes first.
fn forgets(content: &[u8]) -> bool {
    matches!(content.first(), Some(&(DELETE | OVERWRITE)))
}

fn missing(lost: u64, found: u64) -> String {
    format!("the folder {FOLDER}/ holds commit {found} and not commit {lost}, which is missing or damaged")
}

/// The record at the beginning of `bytes`: its number, its content, and its size
/// with what fills it up. None where there is none that is whole.
fn frame(bytes: &[u8]) -> Option<(u64, &[u8], usize)> {
    let rest = bytes.strip_prefix(MAGIC)?;
    let (sum, rest) = rest.split_first_chunk::<4>()?;
    let (length, _) = rest.split_first_chunk::<8>()?;
    let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
    let summed = rest.get(..16usize.checked_add(length)?)?;
    if crc32fast::hash(summed) != u32::from_le_bytes(*sum) {
        return None;
    }
    let (commit, content) = summed[8..].split_first_chunk::<8>()?;
    Some((u64::from_le_bytes(*commit), content, (HEAD_BYTES + length).next_multiple_of(PAGE)))
}

/// Appends the record of a commit to `out`, which is empty.
pub(super) fn encode(commit: u64, changes: &Changes, out: &mut Vec<u8>) {
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&[0; 12]);
    out.extend_from_slice(&commit.to_le_bytes());
    for log in &changes.deleted {
        piece(out, DELETE, log.as_bytes(), 0, &[]);
    }
    for (log, offset, bytes) in &changes.overwrites {
        piece(out, OVERWRITE, log.as_bytes(), *offset, bytes);
    }
    for (log, append) in &changes.appends {
        piece(out, APPEND, log.as_bytes(), append.start, &append.bytes);
    }
    for (key, value) in &changes.rows {
        match value {
            Some(value) => piece(out, PUT, key, 0, value),
            None => piece(out, REMOVE, key, 0, &[]),
        }
    }
    for (name, value) in &changes.marks {
        piece(out, MARK, name.as_bytes(), 0, value.as_bytes());
    }
    let length = (out.len() - HEAD_BYTES) as u64;
    out[8..16].copy_from_slice(&length.to_le_bytes());
    let sum = crc32fast::hash(&out[8..]);
    out[4..8].copy_from_slice(&sum.to_le_bytes());
    out.resize(out.len().next_multiple_of(PAGE), 0);
}

/// One change: what it is, a number, and two texts with their lengths.
fn piece(out: &mut Vec<u8>, tag: u8, name: &[u8], number: u64, bytes: &[u8]) {
    out.push(tag);
    out.extend_from_slice(&number.to_le_bytes());
    out.extend_from_slice(&(name.len() as u32).to_le_bytes());
    out.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
    out.extend_from_slice(name);
    out.extend_from_slice(bytes);
}

fn decode(mut content: &[u8]) -> Option<Changes> {
    let mut changes = Changes::default();
    while let Some((tag, rest)) = content.split_first() {
        let (number, rest) = rest.split_first_chunk::<8>()?;
        let (name_length, rest) = rest.split_first_chunk::<4>()?;
        let (length, rest) = rest.split_first_chunk::<8>()?;
        let (name, rest) = rest.split_at_checked(u32::from_le_bytes(*name_length) as usize)?;
        let (bytes, rest) = rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
        content = rest;
        let number = u64::from_le_bytes(*number);
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
        match *tag {
            APPEND => {
                changes.appends.insert(text(name)?, Append { start: number, bytes: bytes.to_vec() });
            }
            PUT => drop(changes.rows.insert(name.to_vec(), Some(bytes.to_vec()))),
            REMOVE => drop(changes.rows.insert(name.to_vec(), None)),
            DELETE => drop(changes.deleted.insert(text(name)?)),
            OVERWRITE => changes.overwrites.push((text(name)?, number, bytes.to_vec())),
            MARK => drop(changes.marks.insert(text(name)?, text(bytes)?)),
            _ => return None,
        }
    }
    Some(changes)
}

/// Refuses a store that has lost one of its redo files.
pub(super) fn are_there(folder: &Path) -> Result<(), StoreFault> {
    for which in 0..2 {
        let path = path(folder, which);
        if !path.try_exists().map_err(|e| StoreFault::io(&path, "looked for", &e))? {
            let why = format!("{FOLDER}/{which} is missing; {}", disk::RESTORE);
            return Err(StoreFault::refused(folder, why));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet, HashMap};

    type Parts = (
        BTreeMap<String, (u64, Vec<u8>)>,
        HashMap<Vec<u8>, Option<Vec<u8>>>,
        BTreeSet<String>,
        Vec<(String, u64, Vec<u8>)>,
        BTreeMap<String, String>,
    );

    fn parts() -> impl Strategy<Value = Parts> {
        let bytes = || prop::collection::vec(any::<u8>(), 0..300);
        let name = || "[a-z]{1,6}/[a-z0-9]{1,6}";
        (
            prop::collection::btree_map(name(), (any::<u64>(), bytes()), 0..4),
            prop::collection::hash_map(bytes(), prop::option::of(bytes()), 0..5),
            prop::collection::btree_set(name(), 0..3),
            prop::collection::vec((name(), any::<u64>(), bytes()), 0..3),
            prop::collection::btree_map(any::<String>(), any::<String>(), 0..3),
        )
    }

    fn of(parts: Parts) -> Changes {
        let (appends, rows, deleted, overwrites, marks) = parts;
        let appends = appends.into_iter().map(|(log, (start, bytes))| (log, Append { start, bytes }));
        Changes { appends: appends.collect(), rows, deleted, overwrites, marks, after: Vec::new() }
    }

    fn parts_of(changes: Changes) -> Parts {
        let Changes { appends, rows, deleted, overwrites, marks, .. } = changes;
        let appends = appends.into_iter().map(|(log, append)| (log, (append.start, append.bytes)));
        (appends.collect(), rows, deleted, overwrites, marks)
    }

    /// A folder whose files hold these records, each the commit's number and a
    /// row of as many bytes.
    fn folder(files: [&[(u64, usize)]; 2]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join(FOLDER)).unwrap();
        for (which, records) in files.iter().enumerate() {
            let mut bytes = Vec::new();
            for (commit, size) in *records {
                let mut changes = Changes::default();
                changes.rows.insert(b"row".to_vec(), Some(vec![7; *size]));
                let mut record = Vec::new();
                encode(*commit, &changes, &mut record);
                bytes.extend(record);
            }
            std::fs::write(path(folder.path(), which), bytes).unwrap();
        }
        folder
    }

    fn numbers(folder: &tempfile::TempDir, settled: u64) -> Result<Vec<u64>, String> {
        Ok(read(folder.path(), settled)?.records.iter().map(|record| record.commit).collect())
    }

    #[test]
    fn records_are_read_in_order_whichever_file_they_are_in() {
        assert_eq!(numbers(&folder([&[], &[]]), 0), Ok(vec![]));
        assert_eq!(numbers(&folder([&[(1, 10), (2, 9000)], &[]]), 0), Ok(vec![1, 2]));
        let both = folder([&[(6, 1), (7, 5000)], &[(3, 1), (4, 4096), (5, 1)]]);
        assert_eq!(numbers(&both, 2), Ok(vec![3, 4, 5, 6, 7]));
        assert_eq!(numbers(&both, 5), Ok(vec![6, 7]));
        assert_eq!(numbers(&both, 9), Ok(vec![]), "all are settled");
        // What a file holds from an earlier use ends its records.
        assert_eq!(numbers(&folder([&[(8, 1), (4, 1), (5, 1)], &[(6, 1), (7, 1)]]), 5), Ok(vec![6, 7, 8]));
    }

    #[test]
    fn a_record_that_is_missing_between_others_is_told() {
        let gap = "holds commit 5 and not commit 4";
        assert!(numbers(&folder([&[(5, 1)], &[(3, 1)]]), 2).unwrap_err().contains(gap));
        let ahead = numbers(&folder([&[(9, 1)], &[]]), 2).unwrap_err();
        assert!(ahead.contains("holds commit 9 and not commit 3"), "{ahead}");
    }

    #[test]
    fn a_torn_record_is_the_last_one_and_a_damaged_one_isnt() {
        for position in [0, 5, 20, 30, 4000] {
            let torn = folder([&[(1, 10), (2, 5000)], &[]]);
            let file = path(torn.path(), 0);
            let mut bytes = std::fs::read(&file).unwrap();
            bytes[PAGE + position] ^= 1;
            std::fs::write(&file, &bytes).unwrap();
            assert_eq!(numbers(&torn, 0), Ok(vec![1]), "byte {position}");
            bytes.truncate(PAGE + position);
            std::fs::write(&file, &bytes).unwrap();
            assert_eq!(numbers(&torn, 0), Ok(vec![1]), "cut at {position}");

            let damaged = folder([&[(1, 10), (2, 5000), (3, 1)], &[(4, 1)]]);
            let file = path(damaged.path(), 0);
            let mut bytes = std::fs::read(&file).unwrap();
            bytes[PAGE + position] ^= 1;
            std::fs::write(&file, &bytes).unwrap();
            let why = numbers(&damaged, 0).unwrap_err();
            assert!(why.contains("not commit 2, which is missing or damaged"), "{why}");
        }
    }

    #[test]
    fn what_was_forgotten_is_wiped_even_where_that_broke_off() {
        let folder = folder([&[(1, 10), (2, 9000)], &[(3, 100)]]);
        let disk = Arc::new(Disk { folder: folder.path().to_owned(), faults: None });
        let mut redo = Redo::open(&disk, &read(folder.path(), 3).unwrap()).unwrap();
        assert!(!redo.is_to_wipe());
        redo.turn();
        let forgetting =
            Changes { overwrites: vec![("slots/a".to_owned(), 0, vec![0; 8])], ..Changes::default() };
        redo.write(4, &forgetting).unwrap();
        assert!(redo.is_to_wipe());
        let found = read(folder.path(), 4).unwrap();
        assert!(Redo::open(&disk, &found).unwrap().is_to_wipe(), "it is settled, and not wiped");
        redo.wipe().unwrap();
        for which in 0..2 {
            let bytes = std::fs::read(path(folder.path(), which)).unwrap();
            assert!(!bytes.is_empty() && bytes.iter().all(|byte| *byte == 0), "{which}");
        }
        assert!(!Redo::open(&disk, &read(folder.path(), 4).unwrap()).unwrap().is_to_wipe());
    }

    proptest! {
        #[test]
        fn a_record_reads_back(commit in any::<u64>(), parts in parts()) {
            let mut bytes = Vec::new();
            encode(commit, &of(parts.clone()), &mut bytes);
            prop_assert_eq!(bytes.len() % PAGE, 0);
            let (number, content, size) = frame(&bytes).unwrap();
            prop_assert_eq!((number, size), (commit, bytes.len()));
            prop_assert_eq!(parts_of(decode(content).unwrap()), parts);
        }

        #[test]
        fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = frame(&bytes);
            let _ = decode(&bytes);
            let _ = frame(&[MAGIC.as_slice(), &bytes].concat());
        }
    }
}
