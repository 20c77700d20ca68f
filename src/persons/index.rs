//! Which events are about whom: a tag for each event, at the event's index.
//!
//! The tags are a log of fixed width, so that they are read in one go and
//! overwritten in place: a row of the state would stay readable in its file.

use crate::seal::{self, Secret32};
use crate::store::{Store, StoreFault};

/// The log of the events' tags.
pub const TAGS_LOG: &str = "persons/tags";

/// The log of the tags of messages in quarantine, at their index there.
pub const QUARANTINE_TAGS_LOG: &str = "persons/quarantine";

/// The bytes of a tag.
pub const TAG: usize = 16;

/// What a person is known by in the store: 128 bits of an HMAC.
pub type PersonTag = [u8; TAG];

/// The tag of what is about nobody, or about someone who was erased.
pub const NO_PERSON: PersonTag = [0; TAG];

/// How many bytes of tags are read at once.
const CHUNK: u64 = 1 << 20;

/// Makes tags under a secret of the hub's.
pub struct Tagger(Secret32);

impl Tagger {
    /// Tags under `secret`. Another secret makes others: it is kept as long as
    /// the hub's data.
    pub fn new(secret: Secret32) -> Tagger {
        Tagger(secret)
    }

    /// The tag of whom `member` calls `subject` (`KIND/LOCAL-ID`).
    pub fn tag(&self, member: &str, subject: &str) -> PersonTag {
        let mac = seal::hmac(self.0.expose(), &[member.as_bytes(), subject.as_bytes()]);
        let mut tag = NO_PERSON;
        tag.copy_from_slice(&mac[..TAG]);
        tag
    }
}

/// Where in the log `log` a tag stands that `wanted` says yes to, in order: found
/// by one sequential reading, 16 bytes an event.
pub fn positions(
    store: &Store,
    log: &str,
    wanted: impl Fn(&PersonTag) -> bool,
) -> Result<Vec<u64>, StoreFault> {
    let length = store.log_len(log);
    let mut found = Vec::new();
    let mut offset = 0;
    while offset < length {
        let chunk = store.read(log, offset, CHUNK.min(length - offset) as usize)?;
        let first = offset / TAG as u64;
        let tags = (first..).zip(chunk.as_chunks::<TAG>().0);
        found.extend(tags.filter(|(_, tag)| wanted(tag)).map(|(position, _)| position));
        offset += chunk.len() as u64;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StoreOptions;

    #[test]
    fn a_tag_is_of_one_member_and_one_identifier() {
        let tagger = Tagger::new(Secret32::new([7; 32]));
        let tag = tagger.tag("province-sud", "person/4711");
        assert_eq!(tag, tagger.tag("province-sud", "person/4711"));
        for (member, subject) in
            [("province-nord", "person/4711"), ("province-sud", "person/471"), ("province-sud", "offer/4711")]
        {
            assert_ne!(tag, tagger.tag(member, subject));
        }
        assert_ne!(tag, Tagger::new(Secret32::new([8; 32])).tag("province-sud", "person/4711"));
    }

    #[test]
    fn tags_are_found_at_each_of_their_places_also_beyond_a_chunk() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), StoreOptions::default()).unwrap();
        let count = CHUNK / TAG as u64 * 2 + 3;
        let ours = [0, 5, CHUNK / TAG as u64 - 1, CHUNK / TAG as u64, count - 1];
        let mut tags = vec![1; count as usize * TAG];
        for at in ours {
            tags[at as usize * TAG..][..TAG].copy_from_slice(&[9; TAG]);
        }
        store
            .commit_blocking(move |tx| {
                tx.append(TAGS_LOG, &tags);
                Ok(())
            })
            .unwrap();
        assert_eq!(positions(&store, TAGS_LOG, |tag| *tag == [9; TAG]).unwrap(), ours);
        assert!(positions(&store, TAGS_LOG, |tag| *tag == [8; TAG]).unwrap().is_empty());
        assert!(positions(&store, QUARANTINE_TAGS_LOG, |_| true).unwrap().is_empty());
    }
}
