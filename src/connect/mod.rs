//! The member's side: connectors, mapping, checkpoints, inbox.

pub mod drivers;
pub mod helpers;
pub mod identity;
pub mod manifest;
pub mod mapping;
pub mod testing;
