//! What is to be built: operations in a content-addressed, acyclic graph, in the spirit of BuildKit's low-level build definition.
//!
//! **Invariant:** a [`Graph`] never holds a cycle (a vertex can only name vertices that exist) and never holds two equal vertices (adding an equal one
//! gives back the one that is there). Nothing in here does I/O or knows how an operation is carried out.

pub mod exec;
pub mod file;
pub mod graph;
pub mod op;
pub mod pattern;
pub mod print;
pub mod selection;
pub mod source;
pub mod variable;

pub use exec::{
    CacheMount, CacheSharing, Exec, ExtraHost, Limits, Mount, MountKind, NetworkMode, SecretMount, SecurityMode,
    SshMount, Ulimit,
};
pub use file::{Copy, FileAction, MakeDir, Unpack};
pub use graph::{Edge, Graph, GraphError, Hints, Input, LineRange, Vertex, VertexId};
pub use op::Op;
pub use selection::{CopySelection, Selection};
pub use source::{
    Checksum, ChecksumParseError, GitSource, HttpSource, ImageOrigin, ImageSource, InlineFile, LocalSource, Source,
};
pub use variable::Variable;
