//! What an operator prepares: folders, keys, benches.
