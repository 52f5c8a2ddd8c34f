//! Progress as plain text, line by line, in the shape that BuildKit prints and that scripts parse.
//!
//! ```text
//! #7 [build 2/4] RUN make
//! #7 0.153 cc -o a a.c
//! #7 DONE 0.3s
//! ```
//!
//! Only one step prints at a time. `turns` decides whose turn it is; what a step has to print waits in a `speaker`; the `printer` lets them speak. Output of steps is
//! written as it came, control characters included.

mod printer;
mod speaker;
mod turns;

pub(super) use printer::Plain;
