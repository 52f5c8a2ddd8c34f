//! What substitution costs, all words of one lowering together: a few lines can double a value again and again.

use std::cell::{Cell, RefCell};

use super::Problem;
use crate::limits::{EXPANSION_BYTES_MAX, PATTERN_STEPS_MAX, PLAN_BYTES_MAX};

/// Counts what substitution and lowering make, up to the limits.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    bytes: Cell<usize>,
    steps: Cell<usize>,
    /// Where `${name:?}` of a variable that is not set is noted instead of being an error; `None` makes it one.
    required: Option<RefCell<Vec<String>>>,
}

/// What happens to `${name:?message}` where the variable is not set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Required {
    /// It is an error.
    Enforced,
    /// The name is noted.
    Noted,
}

impl Meter {
    /// Returns a meter that stands at zero.
    pub(crate) fn new(required: Required) -> Self {
        let required = (required == Required::Noted).then(RefCell::default);
        Self { required, ..Self::default() }
    }

    /// Counts bytes that stay.
    pub(crate) fn keep(&self, bytes: usize) -> Result<(), Problem> {
        self.bytes.set(self.bytes.get().saturating_add(bytes));
        if self.bytes.get() > PLAN_BYTES_MAX { Err(Problem::PlanTooLarge) } else { Ok(()) }
    }

    /// Checks the bytes of a text in the making.
    pub(crate) fn bounded(bytes: usize) -> Result<(), Problem> {
        if bytes > EXPANSION_BYTES_MAX { Err(Problem::TooLarge) } else { Ok(()) }
    }

    /// Counts the bytes of a substituted text.
    pub(crate) fn expanded(&self, bytes: usize) -> Result<(), Problem> {
        Self::bounded(bytes).and_then(|()| self.keep(bytes))
    }

    /// Counts steps of matching.
    pub(crate) fn steps(&self, steps: usize) -> Result<(), Problem> {
        self.steps.set(self.steps.get().saturating_add(steps));
        if self.steps.get() > PATTERN_STEPS_MAX { Err(Problem::TooSlow) } else { Ok(()) }
    }

    /// Notes that a word requires a variable; returns whether it may be missing.
    pub(crate) fn note_required(&self, name: &str) -> bool {
        self.required.as_ref().is_some_and(|noted| {
            noted.borrow_mut().push(name.to_owned());
            true
        })
    }

    /// Returns the variables that words require.
    pub(crate) fn required(&self) -> Vec<String> {
        self.required.as_ref().map(|noted| noted.borrow().clone()).unwrap_or_default()
    }
}
