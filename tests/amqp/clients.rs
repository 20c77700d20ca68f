//! Programs in other languages, made from WIRE.md alone, publish and receive
//! through a hub on RabbitMQ.

#[path = "clients/exchange.rs"]
mod exchange;
#[path = "clients/programs.rs"]
mod programs;
#[path = "clients/publishing.rs"]
mod publishing;
#[path = "clients/rules.rs"]
mod rules;
