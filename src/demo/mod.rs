//! The Boost-like server and the demo.
