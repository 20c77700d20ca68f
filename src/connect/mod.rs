//! The member's side: connectors, mapping, checkpoints, inbox.

pub mod helpers;
pub mod mapping;
