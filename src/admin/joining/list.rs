//! Who takes part, with their keys, and who is invited.

use super::invitation::Remembered;
use super::{JoinFault, invitations_folder};
use crate::config::HubConfig;
use crate::event::MemberName;
use crate::members::{Directory, MemberKey};
use serde::Serialize;

/// How a key stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyState {
    /// It signs.
    Valid,
    /// Its time begins later.
    Later,
    /// It ended: it proves what it signed before.
    Ended,
    /// It was revoked: it proves nothing.
    Revoked,
}

impl KeyState {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            KeyState::Valid => "valid",
            KeyState::Later => "later",
            KeyState::Ended => "ended",
            KeyState::Revoked => "revoked",
        }
    }
}

/// A member's key. Times are in seconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ListedKey {
    /// What it is for.
    #[serde(rename = "use")]
    pub key_use: &'static str,
    /// Its identifier.
    pub kid: String,
    /// How it stands now.
    pub state: KeyState,
    /// From when it is valid.
    pub valid_from: Option<i64>,
    /// Until when it is.
    pub valid_until: Option<i64>,
    /// When it was revoked.
    pub revoked: Option<i64>,
}

/// A member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ListedMember {
    /// Its name.
    pub member: String,
    /// Its keys, in the order of its file.
    pub keys: Vec<ListedKey>,
    /// How many messages wait in its queue, where that is known.
    pub queue_messages: Option<u64>,
    /// How many bytes they have.
    pub queue_bytes: Option<u64>,
}

/// An invitation that nobody answered yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ListedInvitation {
    /// Who is invited.
    pub member: String,
    /// When it ends, in seconds since 1970.
    pub expires: i64,
    /// Whether it did.
    pub ended: bool,
}

/// The members of the hub of `config`, by name, as they stand at `now` in
/// seconds since 1970. Their queues aren't known here.
pub fn members(config: &HubConfig, now: i64) -> Result<Vec<ListedMember>, JoinFault> {
    let directory = Directory::load(&config.members)?;
    let keys_of = |member: &MemberName| {
        directory.keys().filter(|key| key.member == *member).map(|key| listed(key, now)).collect()
    };
    let member = |member: &MemberName| ListedMember {
        member: member.to_string(),
        keys: keys_of(member),
        queue_messages: None,
        queue_bytes: None,
    };
    Ok(directory.members().map(member).collect())
}

fn listed(key: &MemberKey, now: i64) -> ListedKey {
    let state = if key.revoked.is_some() {
        KeyState::Revoked
    } else if key.not_before.is_some_and(|from| now < from) {
        KeyState::Later
    } else if key.expires.is_some_and(|end| end <= now) {
        KeyState::Ended
    } else {
        KeyState::Valid
    };
    ListedKey {
        key_use: key.key_use.as_str(),
        kid: key.public.thumbprint().to_string(),
        state,
        valid_from: key.not_before,
        valid_until: key.expires,
        revoked: key.revoked,
    }
}

/// The invitations that weren't answered, by name.
pub fn invitations(config: &HubConfig, now: i64) -> Result<Vec<ListedInvitation>, JoinFault> {
    let folder = invitations_folder(config);
    let fault = |source| JoinFault::Read { path: folder.clone(), source };
    let mut listed = Vec::new();
    let entries = match std::fs::read_dir(&folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(listed),
        entries => entries.map_err(fault)?,
    };
    for entry in entries {
        let name = entry.map_err(fault)?.file_name();
        let member = name.to_str().and_then(|name| name.strip_suffix(".json"));
        let Some(member) = member.and_then(|member| MemberName::parse(member).ok()) else { continue };
        if let Some(Remembered { expires, .. }) = Remembered::of(config, &member)? {
            listed.push(ListedInvitation { member: member.to_string(), expires, ended: expires <= now });
        }
    }
    listed.sort_by(|a, b| a.member.cmp(&b.member));
    Ok(listed)
}
