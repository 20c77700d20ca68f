//! What the hub asks of a bus beside carrying messages: its queues.

use crate::bus::embedded::Broker;
use crate::bus::{BusFault, Fut};
use crate::event::MemberName;

/// The queues of a bus.
pub trait Topology: Send + Sync {
    /// Sees to it that `member` has its queue.
    fn declare_member<'a>(&'a self, member: &'a MemberName) -> Fut<'a, Result<(), BusFault>>;

    /// How many messages and bytes of `queue` aren't acknowledged; none where
    /// that isn't known.
    fn depth(&self, queue: &str) -> Option<(u64, u64)>;
}

impl Topology for Broker {
    fn declare_member<'a>(&'a self, member: &'a MemberName) -> Fut<'a, Result<(), BusFault>> {
        Box::pin(async move { Broker::declare_member(self, member) })
    }

    fn depth(&self, queue: &str) -> Option<(u64, u64)> {
        self.queue_depth(queue)
    }
}
