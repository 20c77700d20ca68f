//! Why the hub can't start or go on.

use crate::bus::BusFault;
use crate::seal::SealFault;
use crate::store::StoreFault;

/// Why the hub can't start or go on. Each ends the process: a supervisor
/// starts it again, and nothing was acknowledged that isn't durable.
#[derive(Debug, thiserror::Error)]
pub enum HubFault {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreFault),
    /// The bus failed, and can't be used any more.
    #[error(transparent)]
    Bus(#[from] BusFault),
    /// A key can't be used.
    #[error(transparent)]
    Key(#[from] crate::keys::KeyFault),
    /// A secret can't be used.
    #[error(transparent)]
    Seal(#[from] SealFault),
    /// A passphrase can't be had.
    #[error(transparent)]
    Secret(#[from] crate::config::SecretFault),
    /// The log of erasures can't be used.
    #[error(transparent)]
    Erasure(#[from] crate::persons::ErasureFault),
    /// The members' keys can't be read.
    #[error(transparent)]
    Directory(#[from] crate::members::DirectoryFault),
    /// The agreements can't be read.
    #[error(transparent)]
    Agreement(#[from] crate::agreements::LoadFault),
    /// The schemas can't be read.
    #[error(transparent)]
    Schema(#[from] crate::schema::SchemaFault),
    /// What the store holds isn't what the hub wrote.
    #[error("the store holds what this hub didn't write: {0}; restore it from a backup")]
    Damaged(&'static str),
    /// The journal's files and the store don't agree.
    #[error(transparent)]
    Journal(#[from] crate::journal::WriterFault),
    /// A witness can't be asked as it is configured.
    #[error("journal.witness: {url:?} with the vkey {vkey:?} can't be asked: {why}")]
    Witness {
        /// Its address.
        url: String,
        /// Its key.
        vkey: String,
        /// Why, and what to do.
        why: String,
    },
    /// Decided messages wait that another key signed.
    #[error(
        "messages wait that were decided under another delivery key than keys.delivery is now; put that key \
         back until they are confirmed, then change it"
    )]
    DeliveryKeyChanged,
    /// A member publishes a key of the hub's as its own.
    #[error(
        "the keys of the member {member} hold a key of this hub; take it out of members/{member}.jwks.json, for \
         recipients refuse what is signed by a key of two"
    )]
    OwnKey {
        /// The member.
        member: String,
    },
    /// The master key isn't the one of the store.
    #[error(
        "the store is sealed under a master key, and the file of keys.master isn't it: {0}; put the right file back, \
         for without it nothing in the store can be read"
    )]
    Master(&'static str),
    /// A task of the hub ended before its time.
    #[error("a part of the hub stopped; the log says why")]
    Stopped,
}
