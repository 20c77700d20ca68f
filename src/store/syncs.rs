//! Threads that wait for the disk beside the committer.
//!
//! A commit makes several logs durable at once. Starting a thread for each took
//! longer than its fdatasync did, so these stay.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, Receiver, Sender};

/// What one thread does of a commit.
pub(super) type Job<E> = Box<dyn FnOnce() -> Result<(), E> + Send>;

/// What became of a job; none where it panicked.
type Outcome<E> = Option<Result<(), E>>;

/// Threads, started when they are first needed. They end when this is dropped.
pub(super) struct Syncs<E> {
    threads: Vec<Sender<Job<E>>>,
    done: (Sender<Outcome<E>>, Receiver<Outcome<E>>),
}

impl<E: Send + 'static> Default for Syncs<E> {
    fn default() -> Syncs<E> {
        Syncs { threads: Vec::new(), done: mpsc::channel() }
    }
}

impl<E: Send + 'static> Syncs<E> {
    /// Does all jobs at the same time, the first on this thread, and waits for
    /// all. Fails as one of them did; with `panicked` where one panicked.
    pub(super) fn run(&mut self, jobs: Vec<Job<E>>, panicked: impl Fn() -> E) -> Result<(), E> {
        let mut jobs = jobs.into_iter();
        let first = jobs.next();
        let mut outcomes = Vec::new();
        let mut waiting = 0;
        for (nth, job) in jobs.enumerate() {
            match self.hand(nth, job) {
                Ok(()) => waiting += 1,
                // No thread is to be had: it is done here.
                Err(job) => outcomes.push(attempt(job)),
            }
        }
        outcomes.extend(first.map(attempt));
        for _ in 0..waiting {
            // `self` holds a sender: this never ends for want of one.
            outcomes.push(self.done.1.recv().ok().flatten());
        }
        outcomes.into_iter().try_for_each(|outcome| outcome.unwrap_or_else(|| Err(panicked())))
    }

    /// Hands a job to the `nth` thread; gives it back where there is none.
    fn hand(&mut self, nth: usize, job: Job<E>) -> Result<(), Job<E>> {
        if nth == self.threads.len() {
            let (jobs, waiting) = mpsc::channel::<Job<E>>();
            let done = self.done.0.clone();
            let work = move || {
                while let Ok(job) = waiting.recv() {
                    if done.send(attempt(job)).is_err() {
                        return;
                    }
                }
            };
            if std::thread::Builder::new().name(format!("sync-{nth}")).spawn(work).is_ok() {
                self.threads.push(jobs);
            }
        }
        match self.threads.get(nth) {
            Some(thread) => thread.send(job).map_err(|refused| refused.0),
            None => Err(job),
        }
    }
}

/// Does a job; none where it panicked.
fn attempt<E>(job: Job<E>) -> Outcome<E> {
    catch_unwind(AssertUnwindSafe(job)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Barrier};

    fn job(work: impl FnOnce() -> Result<(), usize> + Send + 'static) -> Job<usize> {
        Box::new(work)
    }

    #[test]
    fn all_are_done_at_once_and_threads_are_used_again() {
        let mut syncs = Syncs::default();
        for count in [3, 1, 0, 5, 2] {
            // Each waits for all: one after the other would wait for ever.
            let barrier = Arc::new(Barrier::new(count));
            let wait = |_| {
                let barrier = Arc::clone(&barrier);
                job(move || {
                    barrier.wait();
                    Ok(())
                })
            };
            assert_eq!(syncs.run((0..count).map(wait).collect(), || 0), Ok(()));
        }
        assert_eq!(syncs.threads.len(), 4);
    }

    #[test]
    fn a_failure_and_a_panic_are_told_and_the_threads_go_on() {
        let mut syncs = Syncs::default();
        assert_eq!(syncs.run(vec![job(|| Ok(())), job(|| Err(7))], || 0), Err(7));
        assert_eq!(syncs.run(vec![job(|| Err(8)), job(|| Ok(()))], || 0), Err(8));
        assert_eq!(syncs.run(vec![job(|| Ok(())), job(|| panic!("on purpose"))], || 9), Err(9));
        assert_eq!(syncs.run(vec![job(|| Ok(())), job(|| Ok(()))], || 0), Ok(()));
    }
}
