//! The bus on real RabbitMQ nodes, which the tests start for themselves on free
//! ports of the loopback, in temporary folders.

#[path = "amqp/alarm.rs"]
mod alarm;
#[path = "amqp/broker.rs"]
mod broker;
#[path = "amqp/carrying.rs"]
mod carrying;
#[path = "amqp/cluster.rs"]
mod cluster;
#[path = "amqp/lab.rs"]
mod lab;
#[path = "amqp/permissions.rs"]
mod permissions;
#[path = "amqp/poison.rs"]
mod poison;
#[path = "faults/process.rs"]
#[allow(dead_code, reason = "shared with another test program, which uses all of it")]
mod process;
#[path = "amqp/processes.rs"]
mod processes;
#[path = "amqp/provisioning.rs"]
mod provisioning;
#[path = "faults/received.rs"]
mod received;
#[path = "amqp/restart.rs"]
mod restart;
#[path = "amqp/tls.rs"]
mod tls;
