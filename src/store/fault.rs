//! What can go wrong in the store, in sentences for an operator.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Why the store can't be opened, read or written.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreFault {
    /// Another process has it open.
    #[error(
        "the store in {0} is in use by another process; stop that one first, or give the command to the running hub"
    )]
    InUse(PathBuf),
    /// What is on disk can't be trusted.
    #[error("the store in {folder} is refused: {why}")]
    Refused {
        /// The data folder.
        folder: PathBuf,
        /// What is wrong, and what to do.
        why: String,
    },
    /// A commit failed: the store is dead until it is opened again.
    #[error("{0}")]
    Failed(String),
    /// A file can't be read or written.
    #[error("{path} can't be {action}: {error}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was tried, `read` for instance.
        action: &'static str,
        /// What the operating system said.
        error: String,
    },
    /// The state can't be read.
    #[error("the state in {folder} can't be read ({error}); stop, and restore the data folder from a backup")]
    State {
        /// The folder of the state.
        folder: PathBuf,
        /// What sled said.
        error: String,
    },
    /// Bytes were asked for that aren't committed.
    #[error("the log {log} has {committed} committed bytes; {end} were asked for")]
    NotThere {
        /// The log.
        log: String,
        /// How many bytes it has.
        committed: u64,
        /// Where the bytes asked for end.
        end: u64,
    },
    /// A log's content isn't what was written there.
    #[error("the log {log} is damaged at byte {offset}: {why}; restore the data folder from a backup")]
    Damaged {
        /// The log.
        log: String,
        /// Where.
        offset: u64,
        /// What is wrong.
        why: String,
    },
    /// A work asked for what the store doesn't do; nothing of it was kept.
    #[error("the store was used in a wrong way, which is a defect to report: {0}")]
    Misused(String),
    /// A work gave up; nothing of it was kept.
    #[error("nothing was written: {0}")]
    Aborted(String),
}

impl StoreFault {
    pub(super) fn io(path: &Path, action: &'static str, error: &std::io::Error) -> StoreFault {
        StoreFault::Io { path: path.to_owned(), action, error: error.to_string() }
    }

    pub(super) fn refused(folder: &Path, why: impl Into<String>) -> StoreFault {
        StoreFault::Refused { folder: folder.to_owned(), why: why.into() }
    }
}

/// What sled says, as an error of the operating system where it is one.
pub(super) fn of_sled(error: sled::Error) -> std::io::Error {
    match error {
        // A copy that sled makes of an error has the kind, and a text for
        // programmers. One condition has one text, wherever it is met.
        sled::Error::Io(error) if error.kind() == ErrorKind::StorageFull => {
            std::io::Error::new(ErrorKind::StorageFull, "No space left on device")
        }
        sled::Error::Io(error) => error,
        other => std::io::Error::other(other.to_string()),
    }
}
