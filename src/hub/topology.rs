//! What the hub asks of a bus beside carrying messages: its queues.

use crate::bus::embedded::Broker;
use crate::bus::manage::Queues;
use crate::bus::{BusFault, Fut};
use crate::event::{MemberName, Message};
use crate::hub::HubFault;
use crate::hub::erase::InQueues;

/// The queues of a bus.
pub trait Topology: Send + Sync {
    /// Sees to it that `member` has its queue.
    fn declare_member<'a>(&'a self, member: &'a MemberName) -> Fut<'a, Result<(), BusFault>>;

    /// How many messages and bytes of `queue` aren't acknowledged; none where
    /// that isn't known.
    fn depth(&self, queue: &str) -> Option<(u64, u64)>;

    /// Takes the messages about a person out of the queues and off the disk.
    /// Returns how many that waited were replaced; none where the queues are out
    /// of the hub's reach.
    fn erase<'a>(&'a self, _: &'a InQueues<'a>) -> Fut<'a, Result<Option<u64>, HubFault>> {
        Box::pin(std::future::ready(Ok(None)))
    }
}

impl Topology for Broker {
    fn declare_member<'a>(&'a self, member: &'a MemberName) -> Fut<'a, Result<(), BusFault>> {
        Box::pin(async move { Broker::declare_member(self, member) })
    }

    fn depth(&self, queue: &str) -> Option<(u64, u64)> {
        self.queue_depth(queue)
    }

    fn erase<'a>(&'a self, person: &'a InQueues<'a>) -> Fut<'a, Result<Option<u64>, HubFault>> {
        Box::pin(async move {
            let fate = |queue: &str, _: &str, message: &Message| person.fate(queue, message);
            Ok(Some(self.rewrite(&fate).await?))
        })
    }
}

/// The management API of RabbitMQ. A hub goes on where it can't be asked: the
/// queues of those who were members before are there.
impl Topology for Queues {
    fn declare_member<'a>(&'a self, member: &'a MemberName) -> Fut<'a, Result<(), BusFault>> {
        Box::pin(async move {
            if let Err(fault) = Queues::declare_member(self, member).await {
                tracing::warn!(
                    %member,
                    %fault,
                    "that the member's queue is there can't be made sure; if it isn't, its messages wait in the hub"
                );
            }
            Ok(())
        })
    }

    fn depth(&self, queue: &str) -> Option<(u64, u64)> {
        Queues::depth(self, queue)
    }
}

/// Queues that someone else makes: `pirogue provision`, or an operator by hand.
pub struct Provisioned;

impl Topology for Provisioned {
    fn declare_member<'a>(&'a self, _: &'a MemberName) -> Fut<'a, Result<(), BusFault>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn depth(&self, _: &str) -> Option<(u64, u64)> {
        None
    }
}
