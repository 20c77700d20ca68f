//! People: what a recipient gets in place of the publisher's identifier, which
//! events are about whom, and who was erased.
//!
//! Nothing here says who a person is: an identifier is kept as an HMAC under a
//! secret of the hub's, and who has the secret can only try one that it knows.

mod erasures;
mod index;
mod pairwise;

pub use erasures::{Erasure, ErasureFault, Erasures};
pub use index::{NO_PERSON, PersonTag, QUARANTINE_TAGS_LOG, TAG, TAGS_LOG, Tagger, positions};
pub use pairwise::Pairwise;
