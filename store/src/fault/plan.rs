//! What a test wants to happen, read once from the environment.

use std::fs::File;
use std::io::{self, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::process::{Signal, getpid, kill_process};

use super::VARIABLE;

/// What is to happen in this process.
pub(super) struct Plan {
    action: Action,
    /// The name of a point, or `*` for any.
    point: String,
    /// At which passing of it.
    count: u64,
    passed: AtomicU64,
}

enum Action {
    Nothing,
    List(File),
    Fail,
    Die,
    Stop,
    Boot,
}

/// Returns the plan of this process; a text that is none is a mistake in a test, and panics.
pub(super) fn current() -> &'static Plan {
    static PLAN: OnceLock<Plan> = OnceLock::new();
    PLAN.get_or_init(|| Plan::parse(&std::env::var(VARIABLE).unwrap_or_default()))
}

impl Plan {
    fn parse(text: &str) -> Self {
        let (action, rest) = text.split_once(':').unwrap_or((text, ""));
        let (point, count) = match rest.rsplit_once(':') {
            Some((point, count)) if action != "list" => (point, count.parse().expect("a number stands behind a point")),
            _ => (rest, 1),
        };
        let action = match action {
            "" => Action::Nothing,
            "list" => {
                Action::List(File::options().create(true).append(true).open(point).expect("a list can be opened"))
            }
            "fail" => Action::Fail,
            "die" => Action::Die,
            "stop" => Action::Stop,
            "boot" => Action::Boot,
            other => panic!("{VARIABLE} asks for `{other}`, which is no fault"),
        };
        Self { action, point: point.to_owned(), count, passed: AtomicU64::new(0) }
    }

    pub(super) fn boot_id(&self) -> Option<String> {
        matches!(self.action, Action::Boot).then(|| self.point.clone())
    }

    pub(super) fn pass(&self, name: &'static str) -> io::Result<()> {
        if let Action::List(list) = &self.action {
            let mut list: &File = list;
            return list.write_all(format!("{name}\n").as_bytes());
        }
        let is_meant = self.point == "*" || self.point == name;
        if !is_meant || self.passed.fetch_add(1, Ordering::SeqCst) + 1 != self.count {
            return Ok(());
        }
        match self.action {
            Action::Fail => return Err(io::Error::other(format!("injected fault at `{name}`"))),
            Action::Die => kill_process(getpid(), Signal::KILL)?,
            Action::Stop => kill_process(getpid(), Signal::STOP)?,
            Action::Nothing | Action::List(_) | Action::Boot => {}
        }
        Ok(())
    }
}
