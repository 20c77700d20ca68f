//! The files sink: JSON Lines, one file per event type.
//!
//! `TYPE.jsonl` is being written; when it is larger than the limit it becomes
//! `TYPE.000001.jsonl`, then `TYPE.000002.jsonl`, and so on. With `raw`, each
//! message as it came is a line of `TYPE.raw.jsonl` beside it: properties,
//! headers, and the body in base64 (RFC 4648 section 4).
//!
//! A push is durable when it returns. What it wrote counts once the host has
//! kept its mark: `resume` takes back what was written after the mark, so that
//! after a crash nothing is there twice.

use super::{Checkpoint, DriverFault, Fut, Pushed, Record, Settings, Sink};
use crate::event::{EventType, HeaderValue, Message};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// What a manifest says of a files sink.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FilesSettings {
    /// The folder; may hold `{setting}`. It is created if it isn't there.
    pub folder: String,
    /// The size in MiB from which a file is put aside and a new one begun.
    #[serde(default = "rotate_mib")]
    pub rotate_mib: u64,
    /// Whether the message as it came is kept beside the record.
    #[serde(default)]
    pub raw: bool,
}

fn rotate_mib() -> u64 {
    64
}

/// A sink that writes JSON Lines.
pub struct FilesSink {
    inner: Arc<Mutex<Inner>>,
    raw: bool,
}

/// Up to where each type's files are written: the content of the mark.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Mark {
    #[serde(default)]
    files: BTreeMap<String, Length>,
}

/// Of one type: how many files were put aside, and the lengths in bytes of the
/// two being written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Length {
    #[serde(default)]
    aside: u32,
    #[serde(default)]
    length: u64,
    #[serde(default)]
    raw: u64,
}

struct Inner {
    folder: PathBuf,
    rotate: u64,
    /// None before `resume`, and after a failure.
    mark: Option<Mark>,
    open: BTreeMap<String, File>,
}

impl FilesSink {
    /// A sink over a folder, which is created if it isn't there.
    pub fn new(settings: &FilesSettings, values: &Settings) -> Result<FilesSink, DriverFault> {
        let folder = PathBuf::from(values.fill(&settings.folder, "sink.files.folder")?);
        FilesSink::open(folder, settings.rotate_mib.max(1).saturating_mul(1024 * 1024), settings.raw)
    }

    fn open(folder: PathBuf, rotate: u64, raw: bool) -> Result<FilesSink, DriverFault> {
        // What it holds is about people: others than its owner and group get none of it.
        let made = DirBuilder::new().recursive(true).mode(0o750).create(&folder);
        made.map_err(|error| {
            DriverFault::halt(format!(
                "the folder {} can't be created ({}); check the path and the rights",
                folder.display(),
                error.kind()
            ))
        })?;
        let inner = Inner { folder, rotate, mark: None, open: BTreeMap::new() };
        Ok(FilesSink { inner: Arc::new(Mutex::new(inner)), raw })
    }

    /// Runs `work` where it may block.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Inner) -> Result<T, DriverFault> + Send + 'static,
    ) -> Result<T, DriverFault> {
        let inner = Arc::clone(&self.inner);
        let done = tokio::task::spawn_blocking(move || {
            let mut inner = inner.lock().map_err(|_| broken())?;
            work(&mut inner)
        });
        done.await.unwrap_or_else(|_| Err(broken()))
    }
}

fn broken() -> DriverFault {
    DriverFault::halt("the files sink stopped within a write; start again, so that it resumes from its mark")
}

impl Sink for FilesSink {
    fn resume<'a>(&'a mut self, mark: Option<&'a Checkpoint>) -> Fut<'a, Result<Checkpoint, DriverFault>> {
        Box::pin(async move {
            let mark = mark.map(|mark| Mark::deserialize(&mark.0)).transpose().map_err(|_| {
                DriverFault::halt(
                    "the mark of the files sink can't be read: it is damaged, or of another version; restore it, or move \
                     the files away and delete it on purpose",
                )
            })?;
            self.blocking(move |inner| inner.resume(mark)).await
        })
    }

    fn push<'a>(&'a mut self, records: &'a [Record]) -> Fut<'a, Result<Pushed, DriverFault>> {
        Box::pin(async move {
            let mut lines: BTreeMap<String, [Vec<u8>; 2]> = BTreeMap::new();
            for record in records {
                if EventType::parse(&record.kind).is_err() {
                    return Err(DriverFault::halt(
                        "a record without an event type can't be written to a file",
                    ));
                }
                if !lines.contains_key(&record.kind) {
                    lines.insert(record.kind.clone(), Default::default());
                }
                let Some([values, raws]) = lines.get_mut(&record.kind) else { continue };
                line(values, &record.value);
                if self.raw
                    && let Some(message) = &record.raw
                {
                    line(raws, &raw_line(message));
                }
            }
            self.blocking(move |inner| inner.push(lines)).await
        })
    }
}

fn line(out: &mut Vec<u8>, value: &Value) {
    // A JSON value written to memory can't fail: its keys are texts.
    let _ = serde_json::to_writer(&mut *out, value);
    out.push(b'\n');
}

/// The message as it came. A header that isn't a text, a number or a boolean is
/// none of WIRE.md's, and is left out.
fn raw_line(message: &Message) -> Value {
    let mut headers = Map::new();
    for (name, value) in &message.headers {
        let text = match value {
            HeaderValue::Text(text) => text.clone(),
            HeaderValue::Integer(number) => number.to_string(),
            HeaderValue::Boolean(boolean) => boolean.to_string(),
            HeaderValue::Float(number) => number.to_string(),
            HeaderValue::Bytes(_) | HeaderValue::Other(_) => continue,
        };
        headers.insert(name.to_string(), Value::String(text));
    }
    json!({
        "properties": {
            "content_type": message.content_type,
            "delivery_mode": message.delivery_mode,
            "message_id": message.message_id,
            "type": message.kind,
            "app_id": message.app_id,
            "user_id": message.user_id,
        },
        "headers": headers,
        "body": STANDARD.encode(&message.body),
    })
}

impl Inner {
    fn path(&self, stem: &str) -> PathBuf {
        self.folder.join(format!("{stem}.jsonl"))
    }

    fn resume(&mut self, mark: Option<Mark>) -> Result<Checkpoint, DriverFault> {
        self.mark = None;
        self.open.clear();
        let there = self.ours().map_err(|error| self.failed("listed", &self.folder, &error))?;
        let mark = match mark {
            Some(mark) => mark,
            None if there.is_empty() => Mark::default(),
            None => {
                return Err(DriverFault::halt(format!(
                    "{} holds files of an earlier run whose mark is lost, and going on would repeat events in them; \
                     restore the mark, or move the files away",
                    self.folder.display()
                )));
            }
        };
        for kind in there.iter().chain(mark.files.keys()).collect::<BTreeSet<_>>() {
            let length = mark.files.get(kind).copied().unwrap_or_default();
            self.cut_back(kind, length.aside, length.length)?;
            self.cut_back(&format!("{kind}.raw"), length.aside, length.raw)?;
        }
        self.sync_folder()?;
        let checkpoint = checkpoint(&mark);
        self.mark = Some(mark);
        Ok(checkpoint)
    }

    /// The types of which there are files here. Other files aren't ours.
    fn ours(&self) -> io::Result<BTreeSet<String>> {
        let mut types = BTreeSet::new();
        for entry in std::fs::read_dir(&self.folder)? {
            let name = entry?.file_name();
            let Some(stem) = name.to_str().and_then(|name| name.strip_suffix(".jsonl")) else { continue };
            let stem = match stem.rsplit_once('.') {
                Some((stem, number)) if number.len() == 6 && number.bytes().all(|b| b.is_ascii_digit()) => {
                    stem
                }
                _ => stem,
            };
            let kind = stem.strip_suffix(".raw").unwrap_or(stem);
            if EventType::parse(kind).is_ok() {
                types.insert(kind.to_owned());
            }
        }
        Ok(types)
    }

    /// Brings the files of `stem` to where they were: `aside` put aside, and
    /// `length` bytes in the one being written.
    fn cut_back(&self, stem: &str, aside: u32, length: u64) -> Result<(), DriverFault> {
        let active = self.path(stem);
        // A file put aside after the mark is the one that was being written then.
        let mut later = aside + 1;
        let first = self.path(&numbered(stem, later));
        if first.exists() {
            std::fs::rename(&first, &active).map_err(|error| self.failed("renamed", &first, &error))?;
            later += 1;
            while self.path(&numbered(stem, later)).exists() {
                let path = self.path(&numbered(stem, later));
                std::fs::remove_file(&path).map_err(|error| self.failed("removed", &path, &error))?;
                later += 1;
            }
        }
        let there = match std::fs::metadata(&active) {
            Ok(metadata) => metadata.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(self.failed("read", &active, &error)),
        };
        if there < length {
            return Err(DriverFault::halt(format!(
                "{} has {there} bytes and had {length} when they were acknowledged; restore it, since what is missing \
                 won't be sent again",
                active.display()
            )));
        }
        if there > length {
            let cut = || {
                let file = OpenOptions::new().write(true).open(&active)?;
                file.set_len(length)?;
                file.sync_all()
            };
            cut().map_err(|error| self.failed("cut back", &active, &error))?;
        }
        Ok(())
    }

    fn push(&mut self, lines: BTreeMap<String, [Vec<u8>; 2]>) -> Result<Pushed, DriverFault> {
        // Gone while writing: a failure leaves the sink to be resumed.
        let mut mark = self.mark.take().ok_or_else(|| {
            DriverFault::halt("the files sink has to resume from its mark before it can write")
        })?;
        let mut folder_changed = false;
        for (kind, [values, raws]) in &lines {
            let mut length = mark.files.get(kind).copied().unwrap_or_default();
            if length.length >= self.rotate {
                self.put_aside(kind, length.aside + 1)?;
                self.put_aside(&format!("{kind}.raw"), length.aside + 1)?;
                length = Length { aside: length.aside + 1, length: 0, raw: 0 };
                folder_changed = true;
            }
            folder_changed |= self.append(kind, values)?;
            folder_changed |= self.append(&format!("{kind}.raw"), raws)?;
            length.length += values.len() as u64;
            length.raw += raws.len() as u64;
            mark.files.insert(kind.clone(), length);
        }
        if folder_changed {
            self.sync_folder()?;
        }
        let pushed = Pushed { rejected: Vec::new(), mark: checkpoint(&mark) };
        self.mark = Some(mark);
        Ok(pushed)
    }

    fn put_aside(&mut self, stem: &str, number: u32) -> Result<(), DriverFault> {
        self.open.remove(stem);
        let (from, to) = (self.path(stem), self.path(&numbered(stem, number)));
        match std::fs::rename(&from, &to) {
            Ok(()) => Ok(()),
            // No raw message was kept.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(self.failed("renamed", &from, &error)),
        }
    }

    /// Appends and syncs. Whether the file was created.
    fn append(&mut self, stem: &str, bytes: &[u8]) -> Result<bool, DriverFault> {
        if bytes.is_empty() {
            return Ok(false);
        }
        let path = self.path(stem);
        let created = !self.open.contains_key(stem);
        if created {
            let file = OpenOptions::new()
                .append(true)
                .create(true)
                .mode(0o640)
                .open(&path)
                .map_err(|error| self.failed("opened", &path, &error))?;
            self.open.insert(stem.to_owned(), file);
        }
        if let Some(file) = self.open.get_mut(stem) {
            file.write_all(bytes)
                .and_then(|()| file.sync_data())
                .map_err(|error| self.failed("written", &path, &error))?;
        }
        Ok(created)
    }

    fn sync_folder(&self) -> Result<(), DriverFault> {
        File::open(&self.folder)
            .and_then(|folder| folder.sync_all())
            .map_err(|error| self.failed("synced", &self.folder, &error))
    }

    fn failed(&self, what: &str, path: &Path, error: &io::Error) -> DriverFault {
        DriverFault::halt(format!(
            "{} can't be {what} ({error}); check the disk and the rights, and start again",
            path.display()
        ))
    }
}

fn numbered(stem: &str, number: u32) -> String {
    format!("{stem}.{number:06}")
}

fn checkpoint(mark: &Mark) -> Checkpoint {
    // A map of texts and numbers is always JSON.
    Checkpoint(serde_json::to_value(mark).unwrap_or_default())
}

#[cfg(test)]
mod tests;
