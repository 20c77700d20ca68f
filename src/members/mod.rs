//! Who takes part, and their keys over time.
//!
//! A [`Directory`] is a snapshot of a folder with a file `MEMBER.jwks.json` for
//! each member, its public keys (WIRE.md section 4). It never changes: a reload
//! makes another one.

use crate::event::MemberName;
use crate::keys::{JwkFault, Jwks, KeyUse, PublicKey, Thumbprint};
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// How long after its end a key's events are still taken in, in seconds: 7 days
/// (WIRE.md section 2), for what a member signed in time and sent late.
pub const GRACE_SECONDS: i64 = 7 * 24 * 60 * 60;

/// How a member's file ends.
pub const FILE_ENDING: &str = ".jwks.json";

/// No key file is longer, in bytes: what is, isn't read.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// Why a folder isn't a directory of members.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryFault {
    /// The folder or a file can't be read.
    #[error("{path} can't be read: {source}")]
    Read {
        /// The folder or file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file isn't named after a member.
    #[error(
        "{path}: the file has to be named MEMBER.jwks.json, where MEMBER is 2 to 32 of a-z, 0-9 and -, \
         starts with a letter, and isn't hub"
    )]
    FileName {
        /// The file.
        path: PathBuf,
    },
    /// The file isn't a key set.
    #[error("{path}: {fault}")]
    Keys {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        fault: JwkFault,
    },
    /// The file holds a key that isn't said to be the member's.
    #[error("{path}: key {position} isn't marked as this member's: `pirogue_member` has to be {member}")]
    OtherMember {
        /// The file.
        path: PathBuf,
        /// Which key of the file, from 1.
        position: usize,
        /// Whose file it is.
        member: MemberName,
    },
    /// The file holds a key for what only the hub does.
    #[error(
        "{path}: key {position} is for {key_use}, which only the hub's keys are; a member's keys are for event or agreement"
    )]
    HubUse {
        /// The file.
        path: PathBuf,
        /// Which key of the file, from 1.
        position: usize,
        /// What it is said to be for.
        key_use: KeyUse,
    },
    /// One key stands twice. It would have two owners or two uses.
    #[error("{path}: key {position} ({kid}) is already in {other}: take one of the two out")]
    Twice {
        /// The file.
        path: PathBuf,
        /// Which key of the file, from 1.
        position: usize,
        /// The key's identifier.
        kid: Thumbprint,
        /// The file that has it already.
        other: PathBuf,
    },
}

/// Whether a key's events are taken in now (WIRE.md section 2, `key-not-valid`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// They are.
    Valid,
    /// The key isn't valid yet (`nbf`).
    NotYet,
    /// The key ended more than 7 days ago (`exp`).
    Ended,
    /// The key was revoked. There is no grace.
    Revoked,
    /// The key isn't for events.
    OtherUse,
}

/// What a publisher is told of a key that isn't valid.
impl std::fmt::Display for Standing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Standing::Valid => "the key is valid",
            Standing::NotYet => "the key that signed isn't valid yet; sign with the one that is",
            Standing::Ended => {
                "the key that signed ended more than 7 days ago; sign with the one that follows it"
            }
            Standing::Revoked => "the key that signed is revoked; sign with another that is registered",
            Standing::OtherUse => "the key that signed isn't for events; sign with the member's event key",
        })
    }
}

/// A member's public key. Times are in seconds since 1970 (UTC).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberKey {
    /// Whose it is.
    pub member: MemberName,
    /// What it is for.
    pub key_use: KeyUse,
    /// The key.
    pub public: PublicKey,
    /// From when it is valid.
    pub not_before: Option<i64>,
    /// From when it isn't any more.
    pub expires: Option<i64>,
    /// When it was revoked. Whatever the time: a revoked key is never valid.
    pub revoked: Option<i64>,
}

impl MemberKey {
    /// Whether the hub takes in events signed by this key when its clock shows
    /// `now`, in **seconds** since 1970 (WIRE.md section 2): from `nbf` to 7
    /// days after `exp`, never once it is revoked.
    pub fn event_standing(&self, now: i64) -> Standing {
        if self.key_use != KeyUse::Event {
            Standing::OtherUse
        } else if self.revoked.is_some() {
            Standing::Revoked
        } else if self.not_before.is_some_and(|from| now < from) {
            Standing::NotYet
        } else if self.expires.is_some_and(|end| now > end.saturating_add(GRACE_SECONDS)) {
            Standing::Ended
        } else {
            Standing::Valid
        }
    }

    /// For a recipient: whether an event that the hub took in at `time`, in
    /// **seconds** since 1970, could be signed by this key (WIRE.md section 4).
    ///
    /// It is the hub's rule at that time, so an ended key still proves its old
    /// events; a revoked one proves none. The time is that in the journal, or,
    /// without the journal, when the message came.
    pub fn was_valid_at(&self, time: i64) -> bool {
        self.event_standing(time) == Standing::Valid
    }
}

/// Every member and every key, at one moment. Immutable.
#[derive(Clone, Debug, Default)]
pub struct Directory {
    /// Sorted by member, a member's keys in the order of its file.
    keys: Vec<MemberKey>,
    by_kid: HashMap<Thumbprint, usize>,
    members: BTreeMap<MemberName, Range<usize>>,
}

impl Directory {
    /// Reads `folder`: each file `MEMBER.jwks.json` in it is a member. Hidden
    /// files, and files that don't end in `.json`, are left alone.
    ///
    /// Fails with a sentence that names the file: its name isn't a member's, it
    /// isn't a key set, it holds another's key or a key of the hub's, or one
    /// key stands twice in the folder.
    pub fn load(folder: &Path) -> Result<Directory, DirectoryFault> {
        let failed = |source| DirectoryFault::Read { path: folder.to_owned(), source };
        let mut sets = Vec::new();
        for entry in std::fs::read_dir(folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.starts_with('.') || !name.ends_with(".json") {
                continue;
            }
            let member = name.strip_suffix(FILE_ENDING).and_then(|m| MemberName::parse(m).ok());
            let member = member.ok_or_else(|| DirectoryFault::FileName { path: path.clone() })?;
            let text = read(&path).map_err(|source| DirectoryFault::Read { path: path.clone(), source })?;
            let set = Jwks::parse(&text);
            let set = set.map_err(|fault| DirectoryFault::Keys { path: path.clone(), fault })?;
            sets.push((path, member, set));
        }
        Directory::assemble(sets)
    }

    /// The directory of these members. Fails as [`Directory::load`] does, with
    /// the name that the member's file would have.
    pub fn of(members: impl IntoIterator<Item = (MemberName, Jwks)>) -> Result<Directory, DirectoryFault> {
        let file = |member: &MemberName| PathBuf::from(format!("{member}{FILE_ENDING}"));
        Directory::assemble(members.into_iter().map(|(member, set)| (file(&member), member, set)).collect())
    }

    /// A directory without members.
    pub fn empty() -> Directory {
        Directory::default()
    }

    fn assemble(mut sets: Vec<(PathBuf, MemberName, Jwks)>) -> Result<Directory, DirectoryFault> {
        sets.sort_by(|a, b| a.1.cmp(&b.1));
        let mut directory = Directory::empty();
        // The file and the position in it of each key so far.
        let mut files: Vec<usize> = Vec::new();
        for (at, (path, member, set)) in sets.iter().enumerate() {
            let start = directory.keys.len();
            for (key, position) in set.keys.iter().zip(1..) {
                let path = || path.clone();
                if key.member.as_deref() != Some(member.as_str()) {
                    return Err(DirectoryFault::OtherMember {
                        path: path(),
                        position,
                        member: member.clone(),
                    });
                }
                if key.key_use.is_hub() {
                    return Err(DirectoryFault::HubUse { path: path(), position, key_use: key.key_use });
                }
                let kid = key.public.thumbprint().clone();
                match directory.by_kid.entry(kid.clone()) {
                    Entry::Vacant(entry) => entry.insert(directory.keys.len()),
                    Entry::Occupied(entry) => {
                        let other = sets[files[*entry.get()]].0.clone();
                        return Err(DirectoryFault::Twice { path: path(), position, kid, other });
                    }
                };
                files.push(at);
                directory.keys.push(MemberKey {
                    member: member.clone(),
                    key_use: key.key_use,
                    public: key.public.clone(),
                    not_before: key.not_before,
                    expires: key.expires,
                    revoked: key.revoked,
                });
            }
            let range = start..directory.keys.len();
            // One name for two files can only come from `of`: one set after the other.
            directory.members.entry(member.clone()).and_modify(|r| r.end = range.end).or_insert(range);
        }
        Ok(directory)
    }

    /// The members, sorted by name.
    pub fn members(&self) -> impl Iterator<Item = &MemberName> {
        self.members.keys()
    }

    /// Whether `member` takes part.
    pub fn contains(&self, member: &str) -> bool {
        self.members.contains_key(member)
    }

    /// The key whose identifier is `kid`.
    pub fn find(&self, kid: &str) -> Option<&MemberKey> {
        self.by_kid.get(kid).map(|at| &self.keys[*at])
    }

    /// Every key, by member.
    pub fn keys(&self) -> impl Iterator<Item = &MemberKey> {
        self.keys.iter()
    }

    /// The keys of `member` for this use, whatever their standing, in the order
    /// of its file.
    pub fn keys_of(&self, member: &str, key_use: KeyUse) -> impl Iterator<Item = &MemberKey> {
        let range = self.members.get(member).cloned().unwrap_or(0..0);
        self.keys[range].iter().filter(move |key| key.key_use == key_use)
    }
}

fn read(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    // One byte over the limit is enough for the parser to refuse it.
    std::fs::File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests;
