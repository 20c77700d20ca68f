//! The Boost-like server and the demo.

pub mod boost;
pub mod options;
