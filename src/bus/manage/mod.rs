//! RabbitMQ's management API: what there is on a broker, and what there should
//! be.
//!
//! [`Management`] is the client: one method for each thing that WIRE.md section
//! 7 names. [`Layout`] is what a hub needs on a broker; compared with what is
//! there it gives the [`Change`]s that are missing, each of which says what it
//! does and does it. Nothing is ever taken away.

mod client;
mod definitions;
mod health;
mod layout;
mod login;
mod password;
mod queues;
mod shovel;

pub use client::{Binding, Exchange, Management, Permissions, Queue, Tags, TopicPermissions, User};
pub use health::Node;
pub use layout::{Access, Change, Layout};
pub use login::{Account, account_of};
pub use password::{is_hash_of, is_password_hash, password_hash};
pub use queues::Queues;

/// Why the management API didn't do what it was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ManageFault {
    /// The URL or the TLS files can't be used.
    #[error("the address of the management API can't be used: {0}")]
    Address(String),
    /// It doesn't answer.
    #[error(
        "the management API doesn't answer at {address} ({why}): check that the broker runs with the plugin \
         rabbitmq_management, and the address"
    )]
    Unreachable {
        /// Host and port.
        address: String,
        /// What went wrong.
        why: String,
    },
    /// It refuses the user.
    #[error(
        "the management API refuses to {what}: check the user's name and password, and that it has the tag \
         administrator"
    )]
    Refused {
        /// What was asked for.
        what: String,
    },
    /// It answered with an error.
    #[error("the management API can't {what} (status {status}: {reason})")]
    Failed {
        /// What was asked for.
        what: String,
        /// The HTTP status.
        status: u16,
        /// What the broker said.
        reason: String,
    },
    /// It answered with what isn't an answer to that.
    #[error(
        "the management API answered something else when asked to {what}: is there RabbitMQ at this address?"
    )]
    Unexpected {
        /// What was asked for.
        what: String,
    },
    /// Something is there that is otherwise than it has to be, and can't be
    /// changed in place.
    #[error("{0}")]
    Conflict(String),
}
