//! The store: segments, slots, ids, state, HEAD and the one committer.
