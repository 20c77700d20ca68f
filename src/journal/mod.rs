//! The journal: entries in order, and the Merkle root over them.
