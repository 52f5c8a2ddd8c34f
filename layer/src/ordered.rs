//! Work that threads do side by side, and whose results come in the order in which it was given.
//!
//! **Invariant:** what is given and not yet taken is bounded: two pieces of work or results for each thread, and one more that waits to be given.

use std::num::NonZero;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread::available_parallelism;

/// Returns how many threads there should be, `most` at most: one for each core.
pub(crate) fn threads(most: usize) -> usize {
    available_parallelism().map_or(1, NonZero::get).min(most)
}

/// Nobody takes results any more.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Closed;

/// Where work is given. Dropped, it lets the threads end.
pub(crate) struct Giver<J, R> {
    jobs: SyncSender<(J, SyncSender<R>)>,
    order: SyncSender<Receiver<R>>,
}

/// Where threads take work.
pub(crate) struct Jobs<J, R>(Mutex<Receiver<(J, SyncSender<R>)>>);

/// Where results come.
pub(crate) struct Results<R>(Receiver<Receiver<R>>);

/// Prepares for so many threads.
pub(crate) fn queue<J, R>(threads: usize) -> (Giver<J, R>, Jobs<J, R>, Results<R>) {
    let (jobs, todo) = sync_channel(threads);
    let (order, ordered) = sync_channel(2 * threads);
    (Giver { jobs, order }, Jobs(Mutex::new(todo)), Results(ordered))
}

impl<J, R> Giver<J, R> {
    /// Gives a piece of work; waits while too much is under way.
    pub(crate) fn give(&self, job: J) -> Result<(), Closed> {
        let (done, result) = sync_channel(1);
        self.order.send(result).map_err(|_| Closed)?;
        self.jobs.send((job, done)).map_err(|_| Closed)
    }
}

impl<J, R> Jobs<J, R> {
    /// Works until nothing is given any more.
    pub(crate) fn work(&self, mut make: impl FnMut(J) -> R) {
        loop {
            let job = self.0.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok((job, done)) = job else { return };
            // Nobody waits for it only if whoever took results has failed.
            let _ = done.send(make(job));
        }
    }
}

impl<R> Iterator for Results<R> {
    type Item = R;

    /// Returns the next result; none if all were taken, or a thread that works has panicked.
    fn next(&mut self) -> Option<R> {
        self.0.recv().ok()?.recv().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order_whoever_is_done_first_and_who_takes_them_may_go() {
        for taken in [1000, 3] {
            let (giver, jobs, mut results) = queue(4);
            let slow = |job: u64| (0..job % 7 * 1000).fold(job, |job, _| std::hint::black_box(job));
            let given = std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| jobs.work(slow));
                }
                let giving = scope.spawn(move || (0..1000).take_while(|job| giver.give(*job).is_ok()).count());
                assert!(results.by_ref().take(taken).eq(0..taken as u64));
                drop(results);
                giving.join().unwrap()
            });
            assert_eq!(given == 1000, taken == 1000, "{given}");
        }
    }
}
