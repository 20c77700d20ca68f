//! The bus on real RabbitMQ nodes, which the tests start for themselves on free
//! ports of the loopback, in temporary folders.

#[path = "amqp/alarm.rs"]
mod alarm;
#[path = "amqp/bench.rs"]
mod bench;
#[path = "amqp/broker.rs"]
mod broker;
#[path = "amqp/carrying.rs"]
mod carrying;
#[path = "amqp/certificates.rs"]
mod certificates;
#[path = "amqp/clients.rs"]
mod clients;
#[path = "amqp/cluster.rs"]
mod cluster;
#[path = "amqp/demo.rs"]
mod demo;
#[path = "amqp/doctor.rs"]
mod doctor;
#[path = "amqp/door.rs"]
mod door;
#[path = "amqp/erasing.rs"]
mod erasing;
#[path = "amqp/installation.rs"]
#[allow(dead_code, reason = "shared with another test program, which uses all of it")]
mod installation;
#[path = "amqp/joining.rs"]
mod joining;
#[path = "amqp/lab.rs"]
mod lab;
#[path = "exchange/messages.rs"]
#[allow(dead_code, reason = "shared with another test program, which uses all of it")]
mod messages;
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
#[path = "amqp/sandbox.rs"]
mod sandbox;
#[path = "amqp/site.rs"]
mod site;
#[path = "amqp/tls.rs"]
mod tls;
