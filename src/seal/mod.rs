//! Sealing at rest, HMACs, secrets.
