//! The bus: what carries messages between members and the hub.
use crate::event::{MemberName, Message};
use std::pin::Pin;
use std::time::Duration;
/// x
pub type Fut<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
/// x
#[derive(Debug, thiserror::Error)]
pub enum BusFault {
    /// x
    #[error("refused: {0}")]
    Refused(String),
}
/// x
#[derive(Debug, Clone, Copy)]
pub enum Confirm {
    /// x
    Accepted,
    /// x
    Nack,
    /// x
    Returned,
}
/// x
#[derive(Debug, Clone)]
pub struct BatchLimits {
    /// x
    pub messages: usize,
    /// x
    pub bytes: usize,
    /// x
    pub linger: Duration,
}
/// x
#[derive(Debug)]
pub struct Delivery {
    /// x
    pub tag: u64,
    /// x
    pub redelivered: bool,
    /// x
    pub routing_key: String,
    /// x
    pub message: Message,
}
/// x
pub trait Bus: Send + Sync {
    /// x
    fn publish<'a>(
        &'a self,
        exchange: &'a str,
        batch: Vec<(String, Message)>,
    ) -> Fut<'a, Result<Vec<Confirm>, BusFault>>;
    /// x
    fn consume<'a>(&'a self, queue: &'a str, prefetch: usize)
    -> Fut<'a, Result<Box<dyn Consumer>, BusFault>>;
}
/// x
pub trait Consumer: Send {
    /// x
    fn next<'a>(&'a mut self, limits: &'a BatchLimits) -> Fut<'a, Result<Vec<Delivery>, BusFault>>;
    /// x
    fn ack<'a>(&'a mut self, up_to: u64) -> Fut<'a, Result<(), BusFault>>;
    /// x
    fn requeue<'a>(&'a mut self, from: u64) -> Fut<'a, Result<(), BusFault>>;
}
/// What the hub needs of the bus beside carrying: its queues.
pub trait Topology: Send + Sync {
    /// Declares the queue of a member.
    fn declare_member<'a>(&'a self, member: &'a MemberName) -> Fut<'a, Result<(), BusFault>>;
    /// The messages and bytes in a queue, where that is known.
    fn depth(&self, queue: &str) -> Option<(u64, u64)>;
}
