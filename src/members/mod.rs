//! Who takes part, and their keys over time.
