//! Typed settings over an embedded `default.toml`.
