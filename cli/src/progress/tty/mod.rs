//! Progress as a tree of the steps that is drawn again and again in the same place of a terminal.
//!
//! ```text
//! [+] Building 1.2s (5/9)
//!  => CACHED [build 1/4] FROM alpine                        0.0s
//!  => [build 2/4] RUN make                                  0.3s
//!  => => # cc -o a a.c
//! ```
//!
//! **Invariant:** a line is never wider than the terminal, and until the last frame all lines together are never higher: drawing moves nothing else on the
//! screen. `frame` decides what the lines are, `tail` knows the output of a step as a terminal would show it, `tree` puts them on the screen.

mod frame;
mod tail;
mod tree;

pub(super) use tree::Tty;
