//! The files of agreements: texts and notes that people write, sign and hand on.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use crate::agreements::LoadFault;
use crate::keys::note::MAX_NOTE_BYTES;

/// Why a file of an agreement can't be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FileFault {
    /// It can't be read.
    #[error("{} can't be read: {source}", .path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It isn't a text.
    #[error("{} isn't a text in UTF-8: save it as one", .0.display())]
    NotText(PathBuf),
    /// It is too long to be an agreement.
    #[error("{} is over 1 MiB, which no agreement is", .0.display())]
    TooLarge(PathBuf),
    /// It can't be written.
    #[error("{} can't be written: {source}; check the path, the rights and the space", .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is there already, with another content.
    #[error("{} exists already, with another content: move it away, or give another --out", .0.display())]
    Exists(PathBuf),
}

impl From<LoadFault> for FileFault {
    fn from(LoadFault { path, source }: LoadFault) -> FileFault {
        FileFault::Read { path, source }
    }
}

/// The text in `path`, of at most 1 MiB.
pub fn read(path: &Path) -> Result<String, FileFault> {
    let failed = |source| FileFault::Read { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(MAX_NOTE_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() > MAX_NOTE_BYTES {
        return Err(FileFault::TooLarge(path.to_owned()));
    }
    String::from_utf8(bytes).map_err(|_| FileFault::NotText(path.to_owned()))
}

/// The notes of a folder, as pairs of a file's name and its text, by name.
/// What isn't a text, hidden files and other endings are left alone.
pub fn notes(folder: &Path) -> Result<Vec<(String, String)>, FileFault> {
    let failed = |source| FileFault::Read { path: folder.to_owned(), source };
    let mut notes = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with('.') || !name.ends_with(".note") || path.is_dir() {
            continue;
        }
        match read(&path) {
            Ok(text) => notes.push((name, text)),
            Err(FileFault::NotText(_) | FileFault::TooLarge(_)) => {}
            Err(fault) => return Err(fault),
        }
    }
    notes.sort();
    Ok(notes)
}

/// Writes `text` to `path`, which mustn't be there with another content. It is
/// there whole or not at all.
pub fn write_new(path: &Path, text: &str) -> Result<(), FileFault> {
    if path.exists() {
        return match read(path)? == text {
            true => Ok(()),
            false => Err(FileFault::Exists(path.to_owned())),
        };
    }
    let failed = |source| FileFault::Write { path: path.to_owned(), source };
    let mut file = temporary_beside(path).map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.as_file().sync_all()).map_err(failed)?;
    match file.persist_noclobber(path) {
        Ok(_) => Ok(()),
        Err(fault) if fault.error.kind() == std::io::ErrorKind::AlreadyExists => {
            Err(FileFault::Exists(path.to_owned()))
        }
        Err(fault) => Err(failed(fault.error)),
    }
}

/// Writes `text` to `path` in place of what is there. Where that fails, the
/// file stays as it was.
pub fn replace(path: &Path, text: &str) -> Result<(), FileFault> {
    let failed = |source| FileFault::Write { path: path.to_owned(), source };
    let mut file = temporary_beside(path).map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.as_file().sync_all()).map_err(failed)?;
    file.persist(path).map(drop).map_err(|fault| failed(fault.error))
}

/// A file in the same folder, which is gone unless it gets its name. Agreements
/// are no secrets: who may read the folder may read it.
fn temporary_beside(path: &Path) -> std::io::Result<tempfile::NamedTempFile> {
    use std::os::unix::fs::PermissionsExt;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    tempfile::Builder::new()
        .prefix(".agreement-")
        .permissions(std::fs::Permissions::from_mode(0o644))
        .tempfile_in(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_another_content_is_never_overwritten_unless_it_is_meant() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.note");
        write_new(&path, "one\n").unwrap();
        write_new(&path, "one\n").unwrap();
        let fault = write_new(&path, "two\n").unwrap_err().to_string();
        assert!(fault.contains("exists already"), "{fault}");
        assert_eq!(read(&path).unwrap(), "one\n");
        replace(&path, "two\n").unwrap();
        assert_eq!(read(&path).unwrap(), "two\n");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        let fault = write_new(&folder.path().join("none/a.note"), "x").unwrap_err().to_string();
        assert!(fault.contains("can't be written"), "{fault}");
    }

    #[test]
    fn the_notes_of_a_folder_are_its_texts() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("b.note"), "b").unwrap();
        std::fs::write(at("a.note"), "a").unwrap();
        std::fs::write(at("c.toml"), "c").unwrap();
        std::fs::write(at(".d.note"), "d").unwrap();
        std::fs::write(at("e.note"), [0xFF]).unwrap();
        std::fs::write(at("f.note"), vec![b'x'; MAX_NOTE_BYTES + 1]).unwrap();
        std::fs::create_dir(at("g.note")).unwrap();
        let names: Vec<String> = notes(folder.path()).unwrap().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["a.note", "b.note"]);
        assert!(matches!(read(&at("e.note")), Err(FileFault::NotText(_))));
        assert!(matches!(read(&at("f.note")), Err(FileFault::TooLarge(_))));
    }
}
