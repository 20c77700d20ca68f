//! What a hub goes through and must come out of: the program is killed, its
//! store damaged, its disk filled, its configuration spoiled; and sixty
//! recipients at once.
//!
//! The program itself runs, as a process, on folders of its demo.

#[path = "exchange/disk.rs"]
#[allow(dead_code, reason = "shared with another test program, which uses all of it")]
mod copies;
#[path = "faults/damaged.rs"]
mod damaged;
#[path = "faults/disk.rs"]
mod disk;
#[path = "faults/erasing.rs"]
mod erasing;
#[path = "faults/full.rs"]
mod full;
#[path = "exchange/harness.rs"]
#[allow(dead_code, reason = "shared with another test program, which uses all of it")]
mod harness;
#[path = "faults/killed.rs"]
mod killed;
#[path = "faults/many.rs"]
mod many;
#[path = "exchange/messages.rs"]
#[allow(dead_code, reason = "shared with another test program, which uses all of it")]
mod messages;
#[path = "exchange/people.rs"]
#[allow(dead_code, reason = "shared with another test program, which uses all of it")]
mod people;
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
