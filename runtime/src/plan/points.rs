//! Where things are mounted.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use crate::error::CreateError;
use crate::lookup::Links;

/// Where something is mounted, in the forms that each who handles it needs.
#[derive(Debug)]
pub(crate) struct MountPoint {
    /// The absolute path, without `.` and `..`.
    pub(crate) path: CString,
    /// The directories on the way, the outermost first, without the root.
    pub(crate) parents: Vec<CString>,
    pub(crate) kind: PointKind,
    /// Links to kernel file systems are refused: an image could place them where masks do not reach.
    pub(crate) links: Links,
}

/// What a mount point has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PointKind {
    Directory,
    File,
}

impl MountPoint {
    /// Understands what a caller asks for.
    pub(crate) fn parse(target: &Path, kind: PointKind) -> Result<Self, CreateError> {
        let invalid = || CreateError::Target { target: target.to_owned() };
        let mut clean = PathBuf::new();
        for component in target.components() {
            match component {
                Component::RootDir => clean.push("/"),
                Component::Normal(name) => clean.push(name),
                Component::ParentDir => {
                    clean.pop();
                }
                Component::CurDir | Component::Prefix(_) => {}
            }
        }
        if !target.is_absolute() || clean == Path::new("/") {
            return Err(invalid());
        }
        let text = |path: &Path| CString::new(path.as_os_str().as_bytes()).map_err(|_| invalid());
        let mut parents =
            clean.ancestors().skip(1).filter(|dir| *dir != Path::new("/")).map(text).collect::<Result<Vec<_>, _>>()?;
        parents.reverse();
        Ok(Self { path: text(&clean)?, parents, kind, links: Links::Follow })
    }

    /// Returns a directory that is the same in every sandbox.
    pub(crate) fn standard(path: &str) -> Result<Self, CreateError> {
        Ok(Self { links: Links::Refuse, ..Self::parse(Path::new(path), PointKind::Directory)? })
    }

    /// Returns the path.
    pub(crate) fn as_path(&self) -> &Path {
        Path::new(std::ffi::OsStr::from_bytes(self.path.as_bytes()))
    }

    /// Returns how many names the path has.
    pub(crate) fn depth(&self) -> usize {
        self.parents.len() + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(target: &str, expected: &str) {
        let found = MountPoint::parse(Path::new(target), PointKind::File).map(|point| {
            let parents = point.parents.iter().map(|it| it.to_string_lossy()).collect::<Vec<_>>();
            format!("{} in {parents:?}", point.as_path().display())
        });
        assert_eq!(found.unwrap_or_else(|err| err.to_string()), expected);
    }

    #[test]
    fn targets_are_absolute_and_never_the_root() {
        check("/a/b/c", r#"/a/b/c in ["/a", "/a/b"]"#);
        check("/a//./b/../c/", r#"/a/c in ["/a"]"#);
        check("/../a", "/a in []");
        check("/", "invalid mount target \"/\"");
        check("/a/..", "invalid mount target \"/a/..\"");
        check("", "invalid mount target \"\"");
        check("a", "invalid mount target \"a\"");
        check("/a\0b", "invalid mount target \"/a\\0b\"");
    }
}
