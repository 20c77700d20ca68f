//! Work for all cores in the order of a batch, and being told to stop.

use std::sync::OnceLock;
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinError;

/// Below this, splitting costs more than it gains.
const WORTH_SPLITTING: usize = 16;

/// So few short items are done where they are: handing them to another thread
/// and waiting for it takes as long.
pub const FEW: usize = 16;

fn cores() -> usize {
    static CORES: OnceLock<usize> = OnceLock::new();
    *CORES.get_or_init(|| std::thread::available_parallelism().map_or(2, usize::from))
}

/// At most as many stages compute at once as there are cores: with sixty
/// recipients, the others wait rather than share.
fn permits() -> &'static Semaphore {
    static PERMITS: OnceLock<Semaphore> = OnceLock::new();
    PERMITS.get_or_init(|| Semaphore::new(cores()))
}

/// Waits until `stop` says so; also where nobody is left to say it.
pub async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Waits until `stop` has said so for as long as `grace`.
pub async fn stopped_for(mut stop: watch::Receiver<bool>, grace: Duration) {
    stopped(&mut stop).await;
    tokio::time::sleep(grace).await;
}

/// Applies `work` to `items` on all cores, a share of them at a time; the
/// results are in the order of the items. `work` is cloned once a share.
pub async fn crunch<T, U, F>(items: Vec<T>, work: F) -> Vec<U>
where
    T: Send + 'static,
    U: Send + 'static,
    F: FnOnce(Vec<T>) -> Vec<U> + Clone + Send + 'static,
{
    let parts = if items.len() < WORTH_SPLITTING { 1 } else { cores() };
    let share = items.len().div_ceil(parts).max(1);
    let mut items = items;
    let mut running = Vec::with_capacity(parts);
    while !items.is_empty() {
        let rest = items.split_off(share.min(items.len()));
        let chunk = std::mem::replace(&mut items, rest);
        let work = work.clone();
        running.push(async move {
            // The semaphore is never closed, so a refusal can't happen.
            let permit = permits().acquire().await.ok();
            let done = tokio::task::spawn_blocking(move || work(chunk)).await;
            drop(permit);
            match done {
                Ok(results) => results,
                Err(fault) => unfinished(fault).await,
            }
        });
    }
    let mut results = Vec::new();
    for part in join_all(running).await {
        results.extend(part);
    }
    results
}

/// As [`crunch`], for `work` that takes some ten microseconds an item: a few
/// items are done at once, on the thread that asks.
pub async fn crunch_short<T, U, F>(items: Vec<T>, work: F) -> Vec<U>
where
    T: Send + 'static,
    U: Send + 'static,
    F: FnOnce(Vec<T>) -> Vec<U> + Clone + Send + 'static,
{
    match items.len() {
        0..=FEW => work(items),
        _ => crunch(items, work).await,
    }
}

/// What becomes of whoever awaits a part that gave no result.
async fn unfinished<T>(fault: JoinError) -> T {
    match fault.try_into_panic() {
        // A panic in the work is ours: it goes on where it would have.
        Ok(panic) => std::panic::resume_unwind(panic),
        // The runtime ends, and whoever awaits this ends with it.
        Err(_) => std::future::pending().await,
    }
}

/// Runs the parts at the same time; the results are in their order.
async fn join_all<O, F>(parts: Vec<F>) -> Vec<O>
where
    O: Send + 'static,
    F: Future<Output = O> + Send + 'static,
{
    let mut parts = parts.into_iter();
    let first = parts.next();
    let others: Vec<_> = parts.map(tokio::spawn).collect();
    let mut results = Vec::with_capacity(others.len() + 1);
    if let Some(first) = first {
        results.push(first.await);
    }
    for other in others {
        match other.await {
            Ok(result) => results.push(result),
            Err(fault) => unfinished(fault).await,
        }
    }
    results
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_results_are_in_the_order_of_the_items() {
        for count in [0usize, 1, 15, 16, 17, 256, 1001] {
            let squares =
                crunch((0..count).collect(), |share: Vec<usize>| share.iter().map(|n| n * n).collect()).await;
            assert_eq!(squares, (0..count).map(|n| n * n).collect::<Vec<_>>());
            let here = std::thread::current().id();
            let threads = crunch_short((0..count).collect(), move |share: Vec<usize>| {
                share.iter().map(|n| (*n, std::thread::current().id() == here)).collect()
            });
            let expected: Vec<_> = (0..count).map(|n| (n, count <= FEW)).collect();
            assert_eq!(threads.await, expected);
        }
    }
}
