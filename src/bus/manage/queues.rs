//! The queues of a running hub's broker.

use super::layout::queue_arguments;
use super::{ManageFault, Management};
use crate::bus::{DELIVERIES, queue_of};
use crate::event::MemberName;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How old a count of messages may be. The broker itself counts every 5 seconds.
const FRESH: Duration = Duration::from_secs(5);

/// The queues of a virtual host: makes those of new members, and knows about how
/// much is in them.
pub struct Queues {
    management: Arc<Management>,
    vhost: String,
    queue_bytes: u64,
    depths: Arc<Mutex<Depths>>,
}

#[derive(Default)]
struct Depths {
    of: HashMap<String, (u64, u64)>,
    asked: Option<Instant>,
}

impl Queues {
    /// The queues of `vhost`, of at most `queue_bytes` each.
    pub fn new(management: Arc<Management>, vhost: &str, queue_bytes: u64) -> Queues {
        Queues { management, vhost: vhost.to_owned(), queue_bytes, depths: Arc::default() }
    }

    /// Makes the queue of `member` and binds it, unless it is there.
    pub async fn declare_member(&self, member: &MemberName) -> Result<(), ManageFault> {
        let queue = queue_of(member);
        self.management.put_queue(&self.vhost, &queue, &queue_arguments(self.queue_bytes)).await?;
        self.management.bind(&self.vhost, DELIVERIES, &queue, &format!("{member}.#")).await
    }

    /// How many messages and bytes of `queue` weren't acknowledged some seconds
    /// ago; none where that isn't known yet. Runs on tokio.
    pub fn depth(&self, queue: &str) -> Option<(u64, u64)> {
        let mut depths = self.depths.lock().unwrap_or_else(PoisonError::into_inner);
        if depths.asked.is_none_or(|asked| asked.elapsed() > FRESH) {
            depths.asked = Some(Instant::now());
            tokio::spawn(refresh(Arc::clone(&self.management), self.vhost.clone(), Arc::clone(&self.depths)));
        }
        depths.of.get(queue).copied()
    }
}

async fn refresh(management: Arc<Management>, vhost: String, depths: Arc<Mutex<Depths>>) {
    match management.queues(&vhost).await {
        Ok(queues) => {
            let of = queues.into_iter().map(|queue| (queue.name, (queue.messages, queue.message_bytes)));
            depths.lock().unwrap_or_else(PoisonError::into_inner).of = of.collect();
        }
        Err(fault) => tracing::debug!(%fault, "the queues' lengths can't be asked for"),
    }
}
