//! Logs of sealed frames: what the embedded bus keeps its messages in.
//!
//! A log has a key of its own, which stands wrapped at its head and nowhere
//! else. Deleting the log overwrites it there first.

use super::{Store, StoreFault, Tx};
use crate::seal::{self, EventKey, Kek, MasterKey, WRAPPED};

/// The first bytes of a log of frames, with the version of its form.
const MAGIC: &[u8; 8] = b"PIRFRM1\n";

/// The head of a log: the magic bytes, the number of the log, the wrapped key.
const HEAD: usize = 16 + WRAPPED;

/// What stands before each frame, both 32-bit little-endian: how many bytes the
/// sealed content takes, how many items it has.
const FRAME_HEAD: usize = 8;

/// How many bytes are read at once when the heads of the frames are listed.
const CHUNK: u64 = 64 << 10;

/// Under what the keys of logs are wrapped.
#[derive(Clone, Debug)]
pub struct Sealing(Kek);

impl Sealing {
    /// The sealing for `label` under the hub's master key.
    pub fn new(master: &MasterKey, label: &str) -> Sealing {
        Sealing(master.kek(label))
    }

    /// A sealing for the tests of rooms that don't know of master keys.
    #[cfg(test)]
    pub(crate) fn for_tests() -> Sealing {
        Sealing::new(&MasterKey::from_bytes([9; 32]), "bus")
    }

    /// The sealing for `label` below this one.
    pub fn derive(&self, label: &str) -> Sealing {
        Sealing(self.0.derive(label))
    }
}

/// Where a frame is in its log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Where it begins.
    pub offset: u64,
    /// Where it ends: the offset of the next.
    pub end: u64,
    /// How many items its content has, as its writer said.
    pub count: u32,
}

impl Frame {
    /// How many bytes its content has.
    pub fn content_len(&self) -> u64 {
        self.end - self.offset - (FRAME_HEAD + seal::OVERHEAD) as u64
    }
}

/// A log of sealed frames.
#[derive(Debug)]
pub struct FrameLog {
    name: String,
    key: EventKey,
}

impl FrameLog {
    /// Where the first frame of a log begins.
    pub const START: u64 = HEAD as u64;

    /// Creates the log `name` with a new key. `number` is never used for another
    /// log of the same sealing.
    pub fn create(tx: &mut Tx, sealing: &Sealing, name: String, number: u64) -> Result<FrameLog, StoreFault> {
        if tx.log_len(&name) > 0 {
            return Err(StoreFault::Misused(format!("the log {name} is there already")));
        }
        let key = EventKey::generate().map_err(|e| StoreFault::Aborted(e.to_string()))?;
        tx.append_with(&name, HEAD, |out| {
            out.extend_from_slice(MAGIC);
            out.extend_from_slice(&number.to_le_bytes());
            out.extend_from_slice(&key.wrap(&sealing.0, number));
        });
        Ok(FrameLog { name, key })
    }

    /// Opens the log `name`. Returns it with its number.
    pub fn open(store: &Store, sealing: &Sealing, name: String) -> Result<(FrameLog, u64), StoreFault> {
        let head = store.read(&name, 0, HEAD)?;
        let (magic, rest) = head.split_at(8);
        let parts = rest.split_first_chunk::<8>().and_then(|(n, k)| Some((n, k.first_chunk::<WRAPPED>()?)));
        let Some((number, wrapped)) = parts.filter(|_| magic == MAGIC) else {
            return Err(damaged(&name, 0, "it isn't a log of frames of a known version"));
        };
        let number = u64::from_le_bytes(*number);
        let key = EventKey::unwrap(wrapped, &sealing.0, number);
        Ok((FrameLog { name, key }, number))
    }

    /// The name of the log.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Appends a frame with `content`, which has `count` items.
    pub fn append(&self, tx: &mut Tx, count: u32, content: &[u8]) -> Result<Frame, StoreFault> {
        let sealed = content.len() + seal::OVERHEAD;
        let length =
            u32::try_from(sealed).map_err(|_| StoreFault::Misused("a frame of 4 GiB or more".to_owned()))?;
        let offset = tx.log_len(&self.name);
        tx.append_with(&self.name, FRAME_HEAD + sealed, |out| {
            out.extend_from_slice(&length.to_le_bytes());
            out.extend_from_slice(&count.to_le_bytes());
            // An offset is used once in the life of a log, hence of its key.
            seal::seal(&self.key, offset, content, out);
        });
        Ok(Frame { offset, end: offset + (FRAME_HEAD + sealed) as u64, count })
    }

    /// The frames that are committed, in order, by their heads alone.
    pub fn frames(&self, store: &Store) -> Result<Vec<Frame>, StoreFault> {
        let length = store.log_len(&self.name);
        let mut frames = Vec::new();
        let (mut chunk, mut chunk_start) = (Vec::new(), 0);
        let mut offset = HEAD as u64;
        while offset < length {
            let chunk_end = chunk_start + chunk.len() as u64;
            if offset + FRAME_HEAD as u64 > chunk_end {
                chunk_start = offset;
                chunk = store.read(&self.name, offset, CHUNK.min(length - offset) as usize)?;
            }
            let (sealed, count) = frame_head(&chunk[(offset - chunk_start) as usize..])
                .filter(|(sealed, _)| offset + (FRAME_HEAD + sealed) as u64 <= length)
                .ok_or_else(|| damaged(&self.name, offset, "a frame goes beyond its end"))?;
            let end = offset + (FRAME_HEAD + sealed) as u64;
            frames.push(Frame { offset, end, count });
            offset = end;
        }
        Ok(frames)
    }

    /// Reads the frames from `offset` to `end`, both where a frame begins or the
    /// last one ends. Returns the count and the content of each.
    pub fn read(&self, store: &Store, offset: u64, end: u64) -> Result<Vec<(u32, Vec<u8>)>, StoreFault> {
        let length = usize::try_from(end.saturating_sub(offset)).unwrap_or(usize::MAX);
        let bytes = store.read(&self.name, offset, length)?;
        let mut contents = Vec::new();
        let mut at = 0;
        while at < bytes.len() {
            let here = offset + at as u64;
            let (sealed, count) = frame_head(&bytes[at..])
                .ok_or_else(|| damaged(&self.name, here, "there isn't a whole frame"))?;
            let sealed = bytes
                .get(at + FRAME_HEAD..at + FRAME_HEAD + sealed)
                .ok_or_else(|| damaged(&self.name, here, "there isn't a whole frame"))?;
            let content =
                seal::open(&self.key, here, sealed).map_err(|e| damaged(&self.name, here, &e.to_string()))?;
            contents.push((count, content));
            at += FRAME_HEAD + sealed.len();
        }
        Ok(contents)
    }

    /// Deletes the log: its key is overwritten, then the file goes.
    pub fn delete(&self, tx: &mut Tx) {
        tx.overwrite(&self.name, (HEAD - WRAPPED) as u64, &[0; WRAPPED]);
        tx.delete_log(&self.name);
    }
}

/// The length of the sealed content and the count of a frame that begins here.
fn frame_head(bytes: &[u8]) -> Option<(usize, u32)> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (count, _) = rest.split_first_chunk::<4>()?;
    let length = u32::from_le_bytes(*length) as usize;
    (length >= seal::OVERHEAD).then_some((length, u32::from_le_bytes(*count)))
}

fn damaged(log: &str, offset: u64, why: &str) -> StoreFault {
    StoreFault::Damaged { log: log.to_owned(), offset, why: why.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StoreOptions;
    use std::os::unix::fs::FileExt;

    const NAME: &str = "bus/test/1.log";

    fn sealing() -> Sealing {
        Sealing::new(&MasterKey::from_bytes([5; 32]), "bus")
    }

    fn filled(folder: &tempfile::TempDir) -> (Store, Vec<Frame>) {
        let store = Store::open(folder.path(), StoreOptions::default()).unwrap();
        let frames = store
            .commit_blocking(|tx| {
                let log = FrameLog::create(tx, &sealing(), NAME.to_owned(), 7)?;
                (0..40u32).map(|n| log.append(tx, n, &vec![n as u8; n as usize * 500])).collect()
            })
            .unwrap();
        (store, frames)
    }

    #[test]
    fn frames_are_listed_and_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let (store, frames) = filled(&folder);
        let (log, number) = FrameLog::open(&store, &sealing(), NAME.to_owned()).unwrap();
        assert_eq!(number, 7);
        assert_eq!(log.frames(&store).unwrap(), frames);
        let contents = log.read(&store, frames[3].offset, frames[20].end).unwrap();
        let expected: Vec<_> = (3..21u32).map(|n| (n, vec![n as u8; n as usize * 500])).collect();
        assert_eq!(contents, expected);
        assert_eq!(frames[20].content_len(), 10_000);
    }

    #[test]
    fn frames_open_under_their_own_sealing_and_unchanged_only() {
        let folder = tempfile::tempdir().unwrap();
        let (store, frames) = filled(&folder);
        let other = Sealing::new(&MasterKey::from_bytes([6; 32]), "bus");
        let (log, _) = FrameLog::open(&store, &other, NAME.to_owned()).unwrap();
        assert!(matches!(log.read(&store, frames[1].offset, frames[1].end), Err(StoreFault::Damaged { .. })));
        let (log, _) = FrameLog::open(&store, &sealing(), NAME.to_owned()).unwrap();
        let file = std::fs::OpenOptions::new().write(true).open(folder.path().join(NAME)).unwrap();
        file.write_all_at(b"X", frames[1].offset + 100).unwrap();
        let fault = log.read(&store, frames[1].offset, frames[1].end).unwrap_err();
        assert!(fault.to_string().contains("the log bus/test/1.log is damaged at byte"), "{fault}");
        file.write_all_at(&[0xFF; 4], frames[2].offset).unwrap();
        assert!(matches!(log.frames(&store), Err(StoreFault::Damaged { .. })));
        assert!(log.read(&store, frames[2].offset, frames[2].end).is_err());
    }

    #[test]
    fn a_deleted_log_is_gone_with_its_key() {
        let folder = tempfile::tempdir().unwrap();
        let (store, _) = filled(&folder);
        // Another name for the file, to look into it after it is deleted.
        std::fs::hard_link(folder.path().join(NAME), folder.path().join("kept")).unwrap();
        let (log, _) = FrameLog::open(&store, &sealing(), NAME.to_owned()).unwrap();
        store
            .commit_blocking(move |tx| {
                log.delete(tx);
                Ok(())
            })
            .unwrap();
        assert!(!folder.path().join(NAME).exists());
        let kept = std::fs::read(folder.path().join("kept")).unwrap();
        assert_eq!(kept[HEAD - WRAPPED..HEAD], [0; WRAPPED]);
    }
}
