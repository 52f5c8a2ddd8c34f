//! What is done to files without running a command: copying, unpacking, making directories.

use serde::Serialize;

/// One action on the root, after those before it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FileAction {
    /// Copies what an input's selection names.
    Copy(Copy),
    /// Makes a directory and those above it.
    MakeDir(MakeDir),
}

/// Copies what the selection of an input names. Which files those are is not part of the action, see [`crate::Selection`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Copy {
    /// The vertex's input that is copied from.
    pub input: usize,
    /// Absolute; a `/` at the end means a directory even where none exists yet.
    pub destination: String,
    /// `user[:group]`, by names or numbers; `None` keeps the owners, which are root for files of a build context.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Octal digits or symbolic changes (`u=rwX,go=rX`), checked by the frontend; `None` keeps the modes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// Whether archives are unpacked.
    #[serde(default, skip_serializing_if = "Unpack::is_never")]
    pub unpack: Unpack,
}

/// Whether a copied archive is unpacked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unpack {
    /// It is copied as it is.
    #[default]
    Never,
    /// A file that is an archive by its content is unpacked, any other is copied.
    Archives,
}

impl Unpack {
    fn is_never(&self) -> bool {
        *self == Self::Never
    }
}

/// Makes a directory and those above it; what exists is left as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MakeDir {
    /// Absolute.
    pub path: String,
    /// The permission bits of each new directory.
    pub mode: u32,
    /// `user[:group]` of each new directory; `None` is root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
}
