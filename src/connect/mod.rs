//! The member's side: connectors, mapping, checkpoints, inbox.
