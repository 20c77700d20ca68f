//! What a hub goes through and must come out of: the program is killed, its
//! store damaged, its disk filled, its configuration spoiled; and sixty
//! recipients at once.
//!
//! The program itself runs, as a process, on folders of its demo.

#[path = "faults/damaged.rs"]
mod damaged;
#[path = "faults/full.rs"]
mod full;
#[path = "faults/killed.rs"]
mod killed;
#[path = "faults/many.rs"]
mod many;
#[path = "faults/process.rs"]
mod process;
#[path = "faults/received.rs"]
mod received;
#[path = "faults/refused.rs"]
mod refused;
#[path = "faults/sixty.rs"]
mod sixty;
#[path = "faults/slow.rs"]
mod slow;
