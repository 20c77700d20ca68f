//! What an operator prepares: folders, keys, agreements.

pub mod prepare;
