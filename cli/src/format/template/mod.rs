//! Templates for `--format` and `inspect -f`: Go's text/template as Docker's users know it, over JSON.
//!
//! Field paths, variables, pipelines, `if`, `range`, `with`, comparison, `index`, `slice`, `len`, `print` and `printf`, and Docker's own functions
//! (`json`, `join`, `split`, `lower`, `upper`, `title`, `truncate`, `pad`). Not there: `define`, `template` and `block` (there is only one template), `call`,
//! `html`, `js` and `urlquery`, complex numbers.
//!
//! The stages, in order: `lex` cuts the text into tokens, `parse` makes a tree, `eval` walks it with the data in hand.

mod error;
mod eval;
mod functions;
mod lex;
mod number;
mod parse;
mod printf;
#[cfg(test)]
mod tests;
mod tree;
mod value;

pub(crate) use error::TemplateError;
pub(crate) use eval::{Missing, Rules};
pub(crate) use tree::Template;
