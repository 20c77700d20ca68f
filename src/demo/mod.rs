//! The Boost-like server and the demo.

pub mod boost;
mod broker;
mod faults;
pub mod options;
mod reconcile;
mod report;
mod run;
mod setup;

pub use run::{DemoFault, run};
