//! The schema registry, the codec, value rules and projection.
