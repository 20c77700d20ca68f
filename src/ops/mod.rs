//! What an operator talks to: the socket of a running hub, and over HTTP its
//! health, its metrics and its schemas.
//!
//! Both ask a [`Handler`](crate::hub::operator::Handler), which the hub is; the
//! requests and answers are in [`crate::hub::operator`].

pub mod broker;
pub mod client;
pub mod http;
pub mod journal;
pub mod log;
pub mod node;
pub mod socket;
