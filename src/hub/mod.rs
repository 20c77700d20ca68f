//! The hub: intake, release and quarantine.

pub mod operator;
