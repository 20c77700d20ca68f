//! The log of erasures: a file beside the store, which a backup of the store
//! doesn't take back.
//!
//! A line says when whom was to be erased, by the person's tag; it is on disk
//! before anything is overwritten. Each line's MAC is made of the line before it
//! too, so that a line that is changed, left out or put elsewhere is seen.

use super::index::PersonTag;
use crate::journal::{hex, unhex};
use crate::seal::{self, Secret32};
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// What each line begins with: the version of its form.
const VERSION: &str = "erased-1";

/// One erasure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Erasure {
    /// When, in milliseconds since 1970: what was taken in after that stays.
    pub at: i64,
    /// Whom.
    pub tag: PersonTag,
    /// What this line and all before it are known by.
    pub mac: [u8; 32],
}

/// Why the log of erasures can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ErasureFault {
    /// The file can't be read or written.
    #[error("the log of erasures {path} can't be {action}: {source}", path = .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// `read` or `written`.
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// A line isn't what a hub wrote.
    #[error(
        "line {line} of the log of erasures {path} isn't what this hub wrote there: put the file back as it was, from a \
         copy if need be; without it, a backup would bring back who was erased",
        path = .path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
}

/// The log of erasures.
pub struct Erasures {
    path: PathBuf,
    secret: Secret32,
    all: Vec<Erasure>,
    /// Where the last whole line ends.
    end: u64,
}

impl Erasures {
    /// Reads the log at `path`, whose lines are authentic under `secret`. There
    /// is none before the first erasure.
    ///
    /// A last line without its end is one that a crash cut: nothing had been
    /// overwritten yet, and it doesn't count.
    pub fn read(path: &Path, secret: Secret32) -> Result<Erasures, ErasureFault> {
        let text = match std::fs::read(path) {
            Ok(text) => text,
            Err(fault) if fault.kind() == ErrorKind::NotFound => Vec::new(),
            Err(source) => return Err(ErasureFault::Io { path: path.to_owned(), action: "read", source }),
        };
        let end = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let mut log = Erasures { path: path.to_owned(), secret, all: Vec::new(), end: end as u64 };
        let whole = text[..end].strip_suffix(b"\n");
        for (at, line) in whole.iter().flat_map(|whole| whole.split(|byte| *byte == b'\n')).enumerate() {
            let damaged = || ErasureFault::Damaged { path: path.to_owned(), line: at + 1 };
            let line = std::str::from_utf8(line).map_err(|_| damaged())?;
            let erasure = parse(line).ok_or_else(damaged)?;
            if log.mac(erasure.at, &erasure.tag) != erasure.mac {
                return Err(damaged());
            }
            log.all.push(erasure);
        }
        Ok(log)
    }

    /// Every erasure, oldest first.
    pub fn all(&self) -> &[Erasure] {
        &self.all
    }

    /// Where the log is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Adds an erasure of `tag` at `at`; when this returns it is on disk.
    pub fn append(&mut self, at: i64, tag: PersonTag) -> Result<Erasure, ErasureFault> {
        let erasure = Erasure { at, tag, mac: self.mac(at, &tag) };
        let line = format!("{VERSION} {at} {} {}\n", hex(&tag), hex(&erasure.mac));
        self.write(line.as_bytes()).map_err(|source| ErasureFault::Io {
            path: self.path.clone(),
            action: "written",
            source,
        })?;
        self.end += line.len() as u64;
        self.all.push(erasure);
        Ok(erasure)
    }

    fn write(&self, line: &[u8]) -> io::Result<()> {
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&self.path)?;
        // What a crash cut goes.
        file.set_len(self.end)?;
        file.seek(SeekFrom::Start(self.end))?;
        file.write_all(line)?;
        file.sync_all()?;
        let folder = self.path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder)?.sync_all()
    }

    /// The MAC of the next line.
    fn mac(&self, at: i64, tag: &PersonTag) -> [u8; 32] {
        let before = self.all.last().map_or([0; 32], |last| last.mac);
        seal::hmac(self.secret.expose(), &[&before, &at.to_le_bytes(), tag])
    }
}

fn parse(line: &str) -> Option<Erasure> {
    let mut words = line.split(' ');
    if words.next()? != VERSION {
        return None;
    }
    let erasure =
        Erasure { at: words.next()?.parse().ok()?, tag: unhex(words.next()?)?, mac: unhex(words.next()?)? };
    words.next().is_none().then_some(erasure)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    fn secret() -> Secret32 {
        Secret32::new([3; 32])
    }

    fn filled(path: &Path) -> Erasures {
        let mut log = Erasures::read(path, secret()).unwrap();
        for n in 1..=3 {
            log.append(i64::from(n) * 1000, [n; 16]).unwrap();
        }
        log
    }

    #[test]
    fn erasures_read_back_and_others_follow_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("erasures");
        let log = filled(&path);
        let mut again = Erasures::read(&path, secret()).unwrap();
        assert_eq!(again.all(), log.all());
        again.append(4000, [4; 16]).unwrap();
        assert_eq!(Erasures::read(&path, secret()).unwrap().all(), again.all());
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_line_that_a_crash_cut_does_not_count_and_is_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("erasures");
        filled(&path);
        let whole = std::fs::read(&path).unwrap();
        let second = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        for cut in second..second * 2 {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let mut log = Erasures::read(&path, secret()).unwrap();
            assert_eq!(log.all().len(), 1, "{cut}");
            log.append(2000, [2; 16]).unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), &whole[..log.end as usize]);
        }
    }

    #[test]
    fn a_line_that_was_changed_left_out_or_moved_is_refused_by_its_number() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("erasures");
        filled(&path);
        let whole = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = whole.lines().collect();
        let cases = [
            (whole.replacen("2000", "2001", 1), 2),
            (format!("{}\n{}\n", lines[0], lines[2]), 2),
            (format!("{}\n{}\n{}\n", lines[1], lines[0], lines[2]), 1),
            (format!("{whole}\n"), 4),
            (format!("{whole}é\n"), 4),
        ];
        for (text, at) in cases {
            std::fs::write(&path, text).unwrap();
            match Erasures::read(&path, secret()) {
                Err(ErasureFault::Damaged { line, .. }) => assert_eq!(line, at),
                other => panic!("{:?}", other.map(|log| log.all().len())),
            }
        }
        std::fs::write(&path, &whole).unwrap();
        assert!(Erasures::read(&path, Secret32::new([4; 32])).is_err());
    }
}
