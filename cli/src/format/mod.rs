//! How results are written: templates, tables, sizes and times, in the shapes that Docker's users and their scripts know.

pub(crate) mod inspect;
pub(crate) mod list;
pub(crate) mod quantity;
pub(crate) mod table;
pub(crate) mod template;
pub(crate) mod text;
