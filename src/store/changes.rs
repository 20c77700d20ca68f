//! What a work changes, kept apart until it has succeeded.

use super::logs::is_log_name;
use super::{Shared, StoreFault, rows};
use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// The changes of a work, or of the works of a group together.
#[derive(Default)]
pub(super) struct Changes {
    pub(super) appends: BTreeMap<String, Append>,
    /// `None` removes the row.
    pub(super) rows: HashMap<Vec<u8>, Option<Vec<u8>>>,
    pub(super) deleted: BTreeSet<String>,
    pub(super) overwrites: Vec<(String, u64, Vec<u8>)>,
    pub(super) marks: BTreeMap<String, String>,
    pub(super) after: Vec<Box<dyn FnOnce() + Send>>,
}

/// Bytes to append to a log, and where they begin.
pub(super) struct Append {
    pub(super) start: u64,
    pub(super) bytes: Vec<u8>,
}

impl Append {
    pub(super) fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }
}

impl Changes {
    /// Whether there is nothing to make durable.
    pub(super) fn is_empty(&self) -> bool {
        self.appends.is_empty()
            && self.rows.is_empty()
            && self.deleted.is_empty()
            && self.overwrites.is_empty()
            && self.marks.is_empty()
    }

    /// How many bytes are to be appended.
    pub(super) fn bytes(&self) -> usize {
        self.appends.values().map(|a| a.bytes.len()).sum()
    }

    /// Adds the changes of the next work.
    fn merge(&mut self, next: Changes) {
        // A log without a byte isn't a log.
        for (log, append) in next.appends.into_iter().filter(|(_, append)| !append.bytes.is_empty()) {
            match self.appends.get_mut(&log) {
                Some(known) => known.bytes.extend_from_slice(&append.bytes),
                None => {
                    self.appends.insert(log, append);
                }
            }
        }
        self.rows.extend(next.rows);
        for log in next.deleted {
            self.appends.remove(&log);
            self.deleted.insert(log);
        }
        self.overwrites.extend(next.overwrites);
        self.marks.extend(next.marks);
        self.after.extend(next.after);
    }
}

/// What a work of [`super::Store::commit`] reads and changes. It sees what it
/// changed itself and what earlier works changed. Nothing is kept when the work
/// returns an error.
pub struct Tx<'a> {
    shared: &'a Shared,
    group: &'a mut Changes,
    own: Changes,
    /// Why the work fails whatever it returns: the first thing that went wrong
    /// in a method that has no result.
    fault: OnceCell<StoreFault>,
}

impl<'a> Tx<'a> {
    pub(super) fn new(shared: &'a Shared, group: &'a mut Changes) -> Tx<'a> {
        Tx { shared, group, own: Changes::default(), fault: OnceCell::new() }
    }

    /// Ends the work: keeps what it changed, unless something went wrong.
    pub(super) fn keep(self) -> Result<(), StoreFault> {
        match self.fault.into_inner() {
            None => {
                self.group.merge(self.own);
                Ok(())
            }
            Some(fault) => Err(fault),
        }
    }

    /// Appends `bytes` to the log `log` and returns the offset at which they
    /// begin. The log is created when there is none of that name.
    ///
    /// A log's name is a relative path of two segments or more of
    /// `[a-z0-9._-]`. Appending to a log that this group deleted is a misuse,
    /// and the commit fails.
    pub fn append(&mut self, log: &str, bytes: &[u8]) -> u64 {
        self.append_with(log, bytes.len(), |out| out.extend_from_slice(bytes))
    }

    /// As [`Tx::append`], with the bytes that `write` appends to the buffer it
    /// is given; `about` is how many these will be, about.
    pub fn append_with(&mut self, log: &str, about: usize, write: impl FnOnce(&mut Vec<u8>)) -> u64 {
        if !self.own.appends.contains_key(log) {
            if !is_log_name(log) {
                self.misuse(|| format!("`{log}` can't be the name of a log"));
            }
            if self.is_deleted(log) {
                self.misuse(|| format!("the log {log} was deleted in this commit: use another name"));
            }
            let append = Append { start: self.log_len(log), bytes: Vec::with_capacity(about) };
            self.own.appends.insert(log.to_owned(), append);
        }
        let Some(append) = self.own.appends.get_mut(log) else { return 0 };
        let offset = append.end();
        write(&mut append.bytes);
        offset
    }

    /// The length of the log `log` in bytes, with what this work and earlier
    /// ones appended; 0 when there is none.
    pub fn log_len(&self, log: &str) -> u64 {
        if self.is_deleted(log) {
            return 0;
        }
        match self.own.appends.get(log).or_else(|| self.group.appends.get(log)) {
            Some(append) => append.end(),
            None => self.shared.logs.len(log),
        }
    }

    fn is_deleted(&self, log: &str) -> bool {
        self.own.deleted.contains(log) || self.group.deleted.contains(log)
    }

    /// Deletes the log `log`, if there is one. Its name can be used again from
    /// the next commit on.
    pub fn delete_log(&mut self, log: &str) {
        self.own.appends.remove(log);
        self.own.deleted.insert(log.to_owned());
    }

    /// Overwrites `bytes` at `offset` in the committed part of the log `log`.
    /// They reach the log after the rest of the commit is durable, and also when
    /// the process ends in between.
    ///
    /// Until the next commit they stand in the state as well, so overwrite only
    /// with what needn't stay secret: zeros over a key.
    pub fn overwrite(&mut self, log: &str, offset: u64, bytes: &[u8]) {
        let committed = self.shared.logs.len(log);
        if offset.saturating_add(bytes.len() as u64) > committed {
            self.misuse(|| format!("overwriting beyond the {committed} committed bytes of the log {log}"));
        }
        self.own.overwrites.push((log.to_owned(), offset, bytes.to_vec()));
    }

    /// The value of the row `key`, with what this work and earlier ones put.
    ///
    /// When the state can't be read this is `None`, and the commit fails.
    pub fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        if let Some(value) = self.own.rows.get(key).or_else(|| self.group.rows.get(key)) {
            return value.clone();
        }
        match self.shared.state.get(key) {
            Ok(value) => value,
            Err(error) => {
                let _ = self.fault.set(self.shared.state_fault(&error));
                None
            }
        }
    }

    /// Puts the row `key`. A key doesn't begin with the byte 0, and a row is
    /// small: it holds no payload and no key.
    pub fn put(&mut self, key: &[u8], value: &[u8]) {
        self.set(key, Some(value.to_vec()));
    }

    /// Removes the row `key`, if there is one.
    pub fn remove(&mut self, key: &[u8]) {
        self.set(key, None);
    }

    fn set(&mut self, key: &[u8], value: Option<Vec<u8>>) {
        if key.first().is_none_or(|first| *first == rows::OWN) {
            self.misuse(|| "a row's key is empty or begins with the byte 0".to_owned());
        }
        self.own.rows.insert(key.to_vec(), value);
    }

    /// Writes down `value` under `name` in HEAD, for an operator to read and
    /// for [`super::Store::mark`]: the journal's root, a sequence.
    pub fn mark(&mut self, name: &str, value: String) {
        self.own.marks.insert(name.to_owned(), value);
    }

    /// Has `done` run once the commit is durable, on the committer, in the
    /// order of the works and before any of them is answered. It must be short.
    /// It doesn't run when the commit fails.
    pub fn after(&mut self, done: impl FnOnce() + Send + 'static) {
        self.own.after.push(Box::new(done));
    }

    fn misuse(&self, why: impl FnOnce() -> String) {
        let _ = self.fault.set(StoreFault::Misused(why()));
    }
}
