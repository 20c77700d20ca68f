//! The Boost-like server and the demo.

pub mod options;
