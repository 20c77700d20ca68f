//! The matrix of faults: a load goes through the hub and two members, which are
//! processes of their own on private RabbitMQ nodes, while something fails. Then
//! every event is accounted for, by id and by number, on the receiving side and
//! in the journal. Each fault prints a line.
//!
//! `PIROGUE_MATRIX_EVENTS` sets the events of each load, `PIROGUE_MATRIX_ROUNDS`
//! how often each fault is had, `PIROGUE_MATRIX_SEED` the points of the kills;
//! the lines are also added to the file `PIROGUE_MATRIX_LINES`.

#[path = "matrix/agreement.rs"]
mod agreement;
#[path = "amqp/broker.rs"]
#[allow(dead_code, reason = "shared with another test program, which uses all of it")]
mod broker;
#[path = "amqp/certificates.rs"]
mod certificates;
#[path = "faults/disk.rs"]
mod disk;
#[path = "amqp/installation.rs"]
mod installation;
#[path = "matrix/killed.rs"]
mod killed;
#[path = "amqp/lab.rs"]
#[allow(dead_code, reason = "shared with another test program, which uses all of it")]
mod lab;
#[path = "matrix/load.rs"]
mod load;
#[path = "matrix/network.rs"]
mod network;
#[path = "matrix/node.rs"]
mod node;
#[path = "faults/process.rs"]
#[allow(dead_code, reason = "shared with another test program, which uses all of it")]
mod process;
#[path = "matrix/proxy.rs"]
mod proxy;
#[path = "faults/received.rs"]
mod received;
#[path = "matrix/recipient.rs"]
mod recipient;
#[path = "amqp/site.rs"]
#[allow(dead_code, reason = "shared with another test program, which uses all of it")]
mod site;
#[path = "matrix/space.rs"]
mod space;
