//! The hub as its members and its operator meet it: on the embedded bus, through
//! the library's public interface, held to WIRE.md.

#[path = "exchange/harness.rs"]
mod harness;
#[path = "exchange/messages.rs"]
mod messages;

#[path = "exchange/agreements.rs"]
mod agreements;
#[path = "exchange/cases.rs"]
mod cases;
#[path = "exchange/deliveries.rs"]
mod deliveries;
#[path = "exchange/disk.rs"]
mod disk;
#[path = "exchange/door.rs"]
mod door;
#[path = "exchange/duplicates.rs"]
mod duplicates;
#[path = "exchange/erasure.rs"]
mod erasure;
#[path = "exchange/expiry.rs"]
mod expiry;
#[path = "exchange/inbox.rs"]
mod inbox;
#[path = "exchange/journal.rs"]
mod journal;
#[path = "exchange/left.rs"]
mod left;
#[path = "exchange/people.rs"]
mod people;
#[path = "exchange/pressure.rs"]
mod pressure;
#[path = "exchange/proofs.rs"]
mod proofs;
#[path = "exchange/reasons.rs"]
mod reasons;
#[path = "exchange/restart.rs"]
mod restart;
#[path = "exchange/segments.rs"]
mod segments;
