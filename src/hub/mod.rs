//! The hub: intake, release and quarantine.
