//! What the output goes to: whether it is a terminal, and how large it is.

use std::io::{self, IsTerminal, Stderr};

use rustix::termios::tcgetwinsize;

/// How large a terminal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) columns: usize,
    pub(crate) rows: usize,
}

/// The size of a terminal that does not tell its own.
pub(super) const UNKNOWN_SIZE: Size = Size { columns: 80, rows: 10 };

/// What the output goes to.
pub(crate) enum Screen {
    /// A terminal, and how to ask for its size, which can change at any time; `None` when it does not tell.
    Terminal(Box<dyn Fn() -> Option<Size> + Send>),
    /// Anything else.
    None,
}

impl Screen {
    /// Looks at standard error.
    pub(super) fn of_stderr(stderr: &Stderr) -> Self {
        if stderr.is_terminal() { Self::Terminal(Box::new(stderr_size)) } else { Self::None }
    }
}

fn stderr_size() -> Option<Size> {
    let size = tcgetwinsize(io::stderr()).ok()?;
    let known = size.ws_col > 0 && size.ws_row > 0;
    known.then(|| Size { columns: usize::from(size.ws_col), rows: usize::from(size.ws_row) })
}
