//! Why a joining doesn't go on: a sentence each, for whoever runs the command.

use crate::admin::credentials::CredentialFault;
use crate::admin::prepare::PrepareFault;
use crate::config::{ConfigFault, SecretFault};
use crate::event::MemberName;
use crate::hub::HubFault;
use crate::keys::{JwkFault, KeyFault, KeyUse, NoteFault, Thumbprint};
use crate::members::DirectoryFault;
use crate::seal::SealFault;
use std::path::PathBuf;

/// Why a member isn't invited, doesn't join, isn't admitted, or keeps its keys.
/// No sentence holds a token, a password or a private key.
#[derive(Debug, thiserror::Error)]
pub enum JoinFault {
    /// A file can't be read.
    #[error("{path} can't be read: {source}", path = .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file can't be written.
    #[error("{path} can't be written: {source}; check the path, the rights and the space", path = .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file is too long for what it should be.
    #[error("{path} is over 256 KiB: it is neither an invitation nor a request", path = .0.display())]
    TooLong(PathBuf),
    /// The file isn't an invitation.
    #[error("the invitation can't be used: {0}; ask the hub's operator to send it again, as a file")]
    NotAnInvitation(String),
    /// The file isn't a request.
    #[error("the request can't be used: {0}; ask the member to send it again, as a file")]
    NotARequest(String),
    /// The request isn't a signed note.
    #[error("the request can't be used: {0}; ask the member to send it again, as a file")]
    Note(#[from] NoteFault),
    /// The member is one already.
    #[error(
        "{0} is a member already: its keys change by pirogue member rotate-key on its side, and end by pirogue \
         member revoke-key"
    )]
    MemberAlready(MemberName),
    /// The member isn't one.
    #[error("{0} isn't a member of this hub: pirogue member list shows those who are")]
    NoMember(MemberName),
    /// No such key.
    #[error("no member has a key {0}: pirogue member list shows those that there are")]
    NoKey(String),
    /// The broker's authority isn't known to members.
    #[error(
        "members can't trust a broker at amqps:// without its authority: set broker.ca to the authority's \
         certificate, PEM"
    )]
    NoAuthority,
    /// The file of the broker's authority holds no certificate.
    #[error("{path} holds no certificate in PEM: set broker.ca to the authority's", path = .0.display())]
    NotACertificate(PathBuf),
    /// The invitation ended.
    #[error(
        "the invitation of {member} ended at {ended}: ask the hub's operator for another (pirogue member invite)"
    )]
    Expired {
        /// Who was invited.
        member: MemberName,
        /// When it ended.
        ended: String,
    },
    /// The request is for another hub.
    #[error("the request is for the hub {found}, and this is {hub}: send it to that one's operator")]
    OtherHub {
        /// The hub that it names.
        found: String,
        /// This hub.
        hub: String,
    },
    /// There is no invitation of that member.
    #[error(
        "there is no invitation of {0} that is open: make one with pirogue member invite, then let it join again"
    )]
    NotInvited(MemberName),
    /// The token isn't that of the invitation.
    #[error(
        "the request doesn't answer the last invitation of {0}: let it join with that one, or make another with \
         pirogue member invite"
    )]
    WrongToken(MemberName),
    /// The request has no password's hash, which the broker needs.
    #[error(
        "the request of {0} has no password_hash, and members log in at the broker by password: let it join again \
         by an invitation of this hub"
    )]
    NoPasswordHash(MemberName),
    /// A key of the request didn't sign it.
    #[error(
        "the request isn't signed by its {key_use} key {kid}: it was changed, or isn't from who holds that key; \
         nothing is admitted"
    )]
    NotSigned {
        /// The key's use.
        key_use: KeyUse,
        /// The key.
        kid: Thumbprint,
    },
    /// The old key didn't sign the rotation.
    #[error(
        "the request isn't signed by the old key {0}: only who holds that one can replace it; nothing changes"
    )]
    NotSignedByOld(Thumbprint),
    /// The old key is none that can be replaced.
    #[error(
        "the key {kid} of {member} can't be replaced by itself: {why}; invite the member anew under another name, \
             or add its key by hand after a visit"
    )]
    OldKey {
        /// Whose key.
        member: MemberName,
        /// Which key.
        kid: String,
        /// Why.
        why: &'static str,
    },
    /// A key is someone's already.
    #[error("the key {kid} is {owner}'s already: the member has to make a new one")]
    KeyTaken {
        /// The key.
        kid: Thumbprint,
        /// Whose it is.
        owner: String,
    },
    /// A key that was revoked is offered again.
    #[error("the key {0} is revoked, for good: the member has to make a new one")]
    Revoked(Thumbprint),
    /// The request is too old, or of the future.
    #[error(
        "the request was made at {made}, which is {how}: let the member make it again, with the same key"
    )]
    Stale {
        /// When it was made.
        made: String,
        /// What is wrong with that.
        how: &'static str,
    },
    /// The member's folder is another's.
    #[error("{path} is of the member {member} at the hub {hub}: choose another folder for this one", path = .path.display())]
    OtherFolder {
        /// The configuration that lies there.
        path: PathBuf,
        /// Its member.
        member: String,
        /// Its hub.
        hub: String,
    },
    /// There is no new key to put in place.
    #[error("no new key waits at {path}: pirogue member rotate-key --out FILE makes one", path = .0.display())]
    NoNextKey(PathBuf),
    /// A member's file can't be read.
    #[error("{path}: {fault}", path = .path.display())]
    Keys {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        fault: JwkFault,
    },
    /// The system gives no random bytes.
    #[error("the system gives no random bytes ({0}): no token can be made; look at /dev/urandom")]
    Random(getrandom::Error),
    /// A folder or file can't be prepared.
    #[error(transparent)]
    Prepare(#[from] PrepareFault),
    /// A credential can't be had.
    #[error(transparent)]
    Credential(#[from] CredentialFault),
    /// A key can't be read or made.
    #[error(transparent)]
    Key(#[from] KeyFault),
    /// The members can't be read.
    #[error(transparent)]
    Directory(#[from] DirectoryFault),
    /// The hub's own keys can't be read.
    #[error(transparent)]
    Hub(#[from] HubFault),
    /// The secret of the events' ids can't be had.
    #[error(transparent)]
    Seal(#[from] SealFault),
    /// A passphrase can't be had.
    #[error(transparent)]
    Secret(#[from] SecretFault),
    /// A configuration can't be used.
    #[error(transparent)]
    Config(#[from] ConfigFault),
}
