//! A thread that lets go of what nobody waits for: the kernel takes its time over mounts and directories that go, and a build has better things to do.
//!
//! **Invariant:** all values are dropped before [`Later`] itself is.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

/// How many values wait in a queue at most; whoever brings a further one drops it himself.
const QUEUE_MAX: usize = 64;

/// Drops values on a thread of its own, which there is from the first one on.
pub struct Later {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// What somebody waits for, and so goes first.
    urgent: VecDeque<Box<dyn Send>>,
    rest: VecDeque<Box<dyn Send>>,
    /// How many urgent values have come, and how many of those are dropped.
    urgent_queued: u64,
    urgent_dropped: u64,
    is_over: bool,
}

/// Stands for an urgent value, and all urgent ones that came before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ticket(u64);

impl Later {
    pub(crate) fn new() -> Self {
        Self { shared: Arc::default(), thread: Mutex::default() }
    }

    /// Drops a value when there is time.
    pub fn release(&self, value: impl Send + 'static) {
        if !self.has_thread() {
            return;
        }
        let mut state = self.shared.lock();
        if state.rest.len() < QUEUE_MAX {
            state.rest.push_back(Box::new(value));
            drop(state);
            self.shared.changed.notify_all();
        }
    }

    /// Drops a value at once, and returns what to wait with until that is done.
    pub(crate) fn release_first(&self, value: impl Send + 'static) -> Ticket {
        if !self.has_thread() {
            return Ticket::default();
        }
        let mut state = self.shared.lock();
        if state.urgent.len() >= QUEUE_MAX {
            return Ticket::default();
        }
        state.urgent.push_back(Box::new(value));
        state.urgent_queued += 1;
        let ticket = Ticket(state.urgent_queued);
        drop(state);
        self.shared.changed.notify_all();
        ticket
    }

    /// Waits until an urgent value is dropped.
    pub(crate) fn wait(&self, ticket: Ticket) {
        let state = self.shared.lock();
        let waited = self.shared.changed.wait_while(state, |state| state.urgent_dropped < ticket.0);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    /// Starts the thread if there is none. Without one, values are dropped where they are.
    fn has_thread(&self) -> bool {
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if thread.is_none() {
            let shared = Arc::clone(&self.shared);
            *thread = thread::Builder::new().name("later".to_owned()).spawn(move || shared.work()).ok();
        }
        thread.is_some()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        loop {
            let has_nothing = |state: &mut State| state.urgent.is_empty() && state.rest.is_empty() && !state.is_over;
            let waited = self.changed.wait_while(self.lock(), has_nothing);
            let mut state = waited.unwrap_or_else(PoisonError::into_inner);
            if let Some(value) = state.urgent.pop_front() {
                drop(state);
                drop(value);
                self.lock().urgent_dropped += 1;
                self.changed.notify_all();
            } else if let Some(value) = state.rest.pop_front() {
                drop(state);
                drop(value);
            } else {
                return;
            }
        }
    }
}

impl Drop for Later {
    fn drop(&mut self) {
        self.shared.lock().is_over = true;
        self.shared.changed.notify_all();
        let thread = self.thread.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // It has nothing to say.
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for Later {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Later").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// Says that it is dropped, and then waits at its gate.
    struct Said(Sender<u32>, u32, Option<Receiver<()>>);

    impl Drop for Said {
        fn drop(&mut self) {
            let _ = self.0.send(self.1);
            if let Some(gate) = &self.2 {
                let _ = gate.recv();
            }
        }
    }

    #[test]
    fn what_is_urgent_goes_first_and_all_has_gone_at_the_end() {
        let ((said, heard), (open, gate), later) = (channel(), channel(), Later::new());
        later.release(Said(said.clone(), 1, Some(gate)));
        assert_eq!(heard.recv(), Ok(1));
        for number in 2..=40 {
            later.release(Said(said.clone(), number, None));
        }
        let urgent = later.release_first(Said(said.clone(), 0, None));
        assert!(heard.try_recv().is_err(), "nobody waits for the first");
        open.send(()).unwrap();
        later.wait(urgent);
        assert_eq!(heard.try_recv(), Ok(0));
        drop(later);
        assert_eq!(heard.try_iter().collect::<Vec<_>>(), (2..=40).collect::<Vec<_>>());
    }

    #[test]
    fn who_brings_too_much_drops_it_himself() {
        let ((said, heard), (open, gate), later) = (channel(), channel(), Later::new());
        later.release(Said(said.clone(), 0, Some(gate)));
        assert_eq!(heard.recv(), Ok(0));
        for number in 1..=QUEUE_MAX as u32 + 2 {
            later.release(Said(said.clone(), number, None));
        }
        let last = QUEUE_MAX as u32 + 2;
        assert_eq!(heard.try_iter().collect::<Vec<_>>(), [last - 1, last]);
        open.send(()).unwrap();
    }

    #[test]
    fn what_was_never_there_is_waited_for_by_nobody() {
        Later::new().wait(Ticket::default());
    }
}
