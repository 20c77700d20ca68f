//! The logs as readers see them: names, committed lengths, open files.

use super::{StoreFault, lock};
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

/// How many files are kept open for reading. Old segments are rarely read.
const OPEN_FILES: usize = 128;

pub(super) struct Logs {
    folder: PathBuf,
    lengths: RwLock<BTreeMap<String, u64>>,
    files: Mutex<HashMap<String, Arc<File>>>,
}

/// Whether `name` can be a log's: at least two segments of `[a-z0-9._-]` with
/// slashes between them, none beginning with a dot, and not in `state`.
pub(super) fn is_log_name(name: &str) -> bool {
    let is_segment = |s: &str| {
        !s.is_empty()
            && !s.starts_with('.')
            && s.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b))
    };
    name.contains('/') && !name.starts_with("state/") && name.split('/').all(is_segment)
}

impl Logs {
    pub(super) fn new(folder: PathBuf, lengths: BTreeMap<String, u64>) -> Logs {
        Logs { folder, lengths: RwLock::new(lengths), files: Mutex::default() }
    }

    pub(super) fn len(&self, log: &str) -> u64 {
        let lengths = self.lengths.read().unwrap_or_else(PoisonError::into_inner);
        lengths.get(log).copied().unwrap_or(0)
    }

    pub(super) fn names(&self, prefix: &str) -> Vec<String> {
        let lengths = self.lengths.read().unwrap_or_else(PoisonError::into_inner);
        lengths
            .range(prefix.to_owned()..)
            .map(|(name, _)| name)
            .take_while(|name| name.starts_with(prefix))
            .cloned()
            .collect()
    }

    pub(super) fn read(&self, log: &str, offset: u64, len: usize) -> Result<Vec<u8>, StoreFault> {
        let committed = self.len(log);
        let end = offset.saturating_add(len as u64);
        if end > committed {
            return Err(StoreFault::NotThere { log: log.to_owned(), committed, end });
        }
        let fault = |error| StoreFault::io(&self.folder.join(log), "read", &error);
        let mut bytes = vec![0; len];
        self.file(log).and_then(|file| file.read_exact_at(&mut bytes, offset)).map_err(fault)?;
        Ok(bytes)
    }

    fn file(&self, log: &str) -> std::io::Result<Arc<File>> {
        let mut files = lock(&self.files);
        if let Some(file) = files.get(log) {
            return Ok(file.clone());
        }
        let file = Arc::new(File::open(self.folder.join(log))?);
        if files.len() >= OPEN_FILES {
            files.clear();
        }
        files.insert(log.to_owned(), file.clone());
        Ok(file)
    }

    /// Publishes new lengths: their bytes are durable.
    pub(super) fn grow<'a>(&self, logs: impl Iterator<Item = (&'a str, u64)>) {
        let mut lengths = self.lengths.write().unwrap_or_else(PoisonError::into_inner);
        for (log, length) in logs {
            match lengths.get_mut(log) {
                Some(known) => *known = length,
                None => {
                    lengths.insert(log.to_owned(), length);
                }
            }
        }
    }

    /// Forgets a log that is deleted.
    pub(super) fn forget(&self, log: &str) {
        self.lengths.write().unwrap_or_else(PoisonError::into_inner).remove(log);
        lock(&self.files).remove(log);
    }
}

#[cfg(test)]
mod tests {
    use super::is_log_name;

    #[test]
    fn a_log_stays_in_its_folder() {
        for good in ["segments/00000001.seg", "bus/pirogue.to.province-sud/00000001.log", "ids/ids"] {
            assert!(is_log_name(good), "{good}");
        }
        for bad in
            ["", "HEAD", "ids", "/etc/passwd", "a/../b", "a//b", "state/db", "a/", "a/.b", "a/B", "é/b"]
        {
            assert!(!is_log_name(bad), "{bad}");
        }
    }
}
