//! The hub: intake, release and quarantine.
//!
//! An event goes through stages that are types with private constructors:
//! [`check::Received`], [`check::Verified`], [`check::Decoded`],
//! [`recorded::RecordedEvent`], `Decided`, `Sealed`. What a stage hasn't
//! produced can't be had, so that none can be skipped.
//!
//! Intake (`intake`) ends with one durable commit for a batch, and only then
//! acknowledges. Release (`release`), one for each recipient, commits its
//! decision before it publishes, and moves the recipient's cursor after the
//! confirms.

mod access;
pub mod check;
mod decide;
mod erase;
mod erasing;
mod fault;
mod intake;
pub mod operator;
mod prove;
pub mod quarantine;
mod record;
pub mod recorded;
mod release;
mod replay;
mod report;
mod retention;
mod running;
mod runs;
pub mod sandbox;
mod sealed;
mod segments;
mod shared;
#[cfg(test)]
mod tests;
mod tiling;
mod topology;
mod trace;
mod witness;
pub mod world;

pub use erase::InQueues;
pub use fault::HubFault;
pub use record::Tally;
pub use retention::Expired;
pub use running::{Hub, HubOptions, master_key, own_keys, published_keys};
pub(crate) use shared::Shared;
pub use topology::{Provisioned, Topology};
pub use witness::{Knows, Probed, probe_witness};

/// What the hub's own types begin with.
pub const HUB_TYPES: &str = "nc.hub.";
/// A schema, before its first use.
pub const SCHEMA_PUBLISHED: &str = "nc.hub.schema.published";
/// The notice of a refusal.
pub const REJECTED: &str = "nc.hub.event.rejected";
/// In place of a number that can no longer be delivered.
pub const WITHHELD: &str = "nc.hub.delivery.withheld";
/// A person was erased.
pub const ERASED: &str = "nc.hub.person.erased";
