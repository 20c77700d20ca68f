//! HEAD: what the last settled commit left, as a text that an operator can read.

use super::{StoreFault, redo};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;

/// The version of the form on disk.
pub(super) const FORMAT: u32 = 2;

/// The content of HEAD: the lower bound of what the store must hold. Logs are
/// summed up by folder, so that HEAD stays small with any number of them; the
/// length of each is in the state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Head {
    pub format: u32,
    /// The number of the last commit that is wholly in logs and state.
    pub commit: u64,
    /// How many rows the state holds, the store's own among them.
    pub rows: u64,
    /// The logs of each folder.
    pub folders: BTreeMap<String, Folder>,
    /// What the rooms wrote down with [`super::Tx::mark`].
    pub marks: BTreeMap<String, String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Folder {
    /// How many logs it has.
    pub logs: u64,
    /// How many bytes they have together.
    pub bytes: u64,
}

impl Head {
    /// The HEAD of a store without a commit.
    pub(super) fn empty() -> Head {
        Head { format: FORMAT, commit: 0, rows: 0, folders: BTreeMap::new(), marks: BTreeMap::new() }
    }

    pub(super) fn parse(text: &str) -> Result<Head, String> {
        let head: Head = serde_json::from_str(text).map_err(|e| e.to_string())?;
        if head.format != FORMAT {
            return Err(format!("its format is {}, and this program knows {FORMAT}", head.format));
        }
        Ok(head)
    }

    pub(super) fn render(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string_pretty(self).map(|text| text + "\n")
    }

    /// Takes note that a log has grown from `before` (none: it is new) to
    /// `after`.
    pub(super) fn grow(&mut self, log: &str, before: Option<u64>, after: u64) {
        let folder = self.folder(log);
        folder.logs += u64::from(before.is_none());
        folder.bytes += after - before.unwrap_or(0);
    }

    /// Takes note that a log of `length` bytes is gone.
    pub(super) fn shrink(&mut self, log: &str, length: u64) {
        let folder = self.folder(log);
        folder.logs = folder.logs.saturating_sub(1);
        folder.bytes = folder.bytes.saturating_sub(length);
        if folder.logs == 0 {
            let name = folder_of(log).to_owned();
            self.folders.remove(&name);
        }
    }

    fn folder(&mut self, log: &str) -> &mut Folder {
        let name = folder_of(log);
        if !self.folders.contains_key(name) {
            self.folders.insert(name.to_owned(), Folder::default());
        }
        // It was inserted just above.
        self.folders.get_mut(name).expect("a folder that was just inserted")
    }
}

/// How often [`last_mark`] looks again where a store in use went on meanwhile.
const LOOKS: usize = 20;

/// The mark `name` in the data folder `dir`, as the last durable commit left it
/// with [`super::Tx::mark`]; none where there is no store or no such mark. The
/// store isn't opened, and may be in use.
pub fn last_mark(dir: &Path, name: &str) -> Result<Option<String>, StoreFault> {
    let path = dir.join("HEAD");
    let mut looks = 0;
    loop {
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StoreFault::io(&path, "read", &error)),
        };
        let damaged = |why| StoreFault::refused(dir, format!("HEAD can't be used: {why}"));
        let mut head = Head::parse(&text).map_err(damaged)?;
        // What is committed and isn't settled is newer.
        match redo::read(dir, head.commit) {
            Ok(redone) => {
                let newer =
                    redone.records.into_iter().rev().find_map(|mut record| record.changes.marks.remove(name));
                return Ok(newer.or_else(|| head.marks.remove(name)));
            }
            // The files may have been used again since HEAD was read.
            Err(_) if looks < LOOKS => looks += 1,
            Err(why) => return Err(StoreFault::refused(dir, why)),
        }
    }
}

fn folder_of(log: &str) -> &str {
    log.rsplit_once('/').map_or("", |(folder, _)| folder)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_head_reads_back_and_sums_up_its_logs() {
        let mut head = Head::empty();
        head.grow("segments/1.seg", None, 10);
        head.grow("segments/1.seg", Some(10), 12);
        head.grow("segments/2.seg", None, 5);
        head.grow("ids/ids", None, 64);
        assert_eq!(head.folders["segments"], Folder { logs: 2, bytes: 17 });
        head.shrink("ids/ids", 64);
        head.marks.insert("journal".to_owned(), "root".to_owned());
        assert!(!head.folders.contains_key("ids"));
        assert_eq!(Head::parse(&head.render().unwrap()).unwrap(), head);
    }

    #[test]
    fn a_head_of_another_format_is_refused() {
        let text = Head::empty().render().unwrap().replace("\"format\": 2", "\"format\": 1");
        assert!(Head::parse(&text).unwrap_err().contains("format is 1"));
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in any::<String>()) {
            let _ = Head::parse(&text);
        }
    }
}
