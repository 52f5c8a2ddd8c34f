//! Which host to ask next, and when: the decisions behind every operation, without the operation.
//!
//! States: trying a host (with the number of the attempt) → the same host again after a wait, or the next host → given up.

use std::time::Duration;

use crate::cause::Cause;
use crate::config::Retry;
use crate::error::{Failure, Failures};

/// The attempts of one operation at several hosts.
#[derive(Debug)]
pub(crate) struct Attempts {
    hosts: Vec<String>,
    position: usize,
    attempt: u32,
    failures: Vec<Failure>,
    retry: Retry,
}

/// What to do after an attempt failed.
#[derive(Debug)]
pub(crate) enum Next {
    /// Wait, then ask the same host again; the cause is for the user meanwhile.
    Again { delay: Duration, host: String, attempt: u32, cause: Cause },
    /// Ask the next host; the cause is for the user meanwhile.
    Elsewhere { host: String, cause: Cause },
    /// There is nothing left to try.
    GiveUp(Failures),
}

impl Attempts {
    /// Begins with the first of `hosts`, which are not empty.
    pub(crate) fn new(hosts: Vec<String>, retry: Retry) -> Self {
        Self { hosts, position: 0, attempt: 1, failures: Vec::new(), retry }
    }

    /// Returns the position of the host to ask.
    pub(crate) fn position(&self) -> usize {
        self.position
    }

    /// Starts counting again, because the host gave a good part of what was asked for.
    pub(crate) fn progressed(&mut self) {
        self.attempt = 1;
    }

    /// Ends all attempts, because nothing that is left to try can help.
    pub(crate) fn give_up(&mut self, cause: Cause) -> Failures {
        let host = self.host();
        self.failures.push(Failure { host, attempt: self.attempt, cause });
        Failures(std::mem::take(&mut self.failures))
    }

    fn host(&self) -> String {
        self.hosts.get(self.position).cloned().unwrap_or_default()
    }

    /// Decides what comes after the host failed by `cause`. Only the last host is waited for: while others are left, they are faster.
    pub(crate) fn failed(&mut self, cause: Cause) -> Next {
        let is_last = self.position + 1 >= self.hosts.len();
        let attempt = self.attempt;
        let delay = self.retry.delay_after(attempt, cause.retry_after()).filter(|_| is_last && cause.is_transient());
        if let Some(delay) = delay {
            self.attempt += 1;
            return Next::Again { delay, host: self.host(), attempt, cause };
        }
        if is_last {
            return Next::GiveUp(self.give_up(cause));
        }
        let host = self.host();
        self.failures.push(Failure { host: host.clone(), attempt, cause: cause.clone() });
        self.position += 1;
        self.attempt = 1;
        Next::Elsewhere { host, cause }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::Status;

    fn status(status: u16) -> Cause {
        let (method, url) = ("GET".to_owned(), "http://h/".to_owned());
        Cause::Status { method, url, status: Status(status), message: String::new(), retry_after: None }
    }

    #[track_caller]
    fn check(hosts: &[&str], causes: Vec<Cause>, expected: &str) {
        let mut attempts = Attempts::new(hosts.iter().map(|host| (*host).to_owned()).collect(), Retry::default());
        let mut text = Vec::new();
        for cause in causes {
            text.push(match attempts.failed(cause) {
                Next::Again { delay, host, attempt, .. } => format!("{host}#{attempt} wait {}", delay.as_millis()),
                Next::Elsewhere { .. } => "next".to_owned(),
                Next::GiveUp(failures) => format!("give up: {failures}"),
            });
        }
        assert_eq!(text.join(", "), expected);
    }

    #[test]
    fn what_may_pass_is_tried_again_with_growing_waits() {
        let refused = "h (attempt 3): unexpected status from GET request to http://h/: 404 Not Found";
        check(
            &["h"],
            vec![status(503), status(500), status(404)],
            &format!("h#1 wait 500, h#2 wait 1000, give up: {refused}"),
        );
    }

    #[test]
    fn while_hosts_are_left_nothing_is_waited_for() {
        let not_found = || Cause::NotFound { message: String::new() };
        let expected = "next, next, give up: a: unexpected status from GET request to http://h/: 503 Service Unavailable; b: not found; c: not found";
        check(&["a", "b", "c"], vec![status(503), not_found(), not_found()], expected);
    }

    #[test]
    fn a_host_that_asks_for_too_much_patience_is_given_up() {
        let limited = |seconds| {
            let (message, retry_after) = ("slow down".to_owned(), Some(Duration::from_secs(seconds)));
            Cause::RateLimited { message, retry_after }
        };
        check(
            &["h"],
            vec![limited(3), limited(3600)],
            "h#1 wait 3000, give up: h (attempt 2): toomanyrequests: slow down",
        );
    }
}
