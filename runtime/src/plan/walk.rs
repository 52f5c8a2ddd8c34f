//! How far a path exists inside a root, with its symbolic links followed.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, FileType, readlinkat, statat};
use rustix::io::Errno;

/// As many as the kernel follows.
const LINKS_MAX: usize = 40;

/// How far a path exists.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Walk {
    /// The part that exists, relative to the root and free of symbolic links; empty is the root itself.
    pub(super) existing: PathBuf,
    /// The names that are missing beneath.
    pub(super) missing: Vec<OsString>,
}

/// Follows a path inside a root that nobody changes meanwhile; `..` does not lead out of it.
pub(super) fn walk(root: BorrowedFd<'_>, path: &Path) -> io::Result<Walk> {
    let mut walk = Walk { existing: PathBuf::new(), missing: Vec::new() };
    let mut ahead = names_of(path);
    let mut links = 0;
    while let Some(name) = ahead.pop_front() {
        if name == ".." {
            if walk.missing.pop().is_none() {
                walk.existing.pop();
            }
            continue;
        }
        if !walk.missing.is_empty() {
            walk.missing.push(name);
            continue;
        }
        let next = walk.existing.join(&name);
        match statat(root, &next, AtFlags::SYMLINK_NOFOLLOW).map(|stat| FileType::from_raw_mode(stat.st_mode)) {
            Err(Errno::NOENT) => walk.missing.push(name),
            Err(err) => return Err(err.into()),
            Ok(FileType::Symlink) => {
                links += 1;
                if links > LINKS_MAX {
                    return Err(Errno::LOOP.into());
                }
                let target = readlinkat(root, &next, Vec::new())?;
                let target = Path::new(OsStr::from_bytes(target.as_bytes()));
                if target.is_absolute() {
                    walk.existing.clear();
                }
                names_of(target).into_iter().rev().for_each(|name| ahead.push_front(name));
            }
            Ok(FileType::Directory) => walk.existing = next,
            Ok(_) if ahead.is_empty() => walk.existing = next,
            Ok(_) => return Err(Errno::NOTDIR.into()),
        }
    }
    Ok(walk)
}

/// Returns the names of a path, `..` among them.
fn names_of(path: &Path) -> VecDeque<OsString> {
    let name = |component: Component<'_>| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsString::from("..")),
        _ => None,
    };
    path.components().filter_map(name).collect()
}

#[cfg(test)]
mod tests {
    use std::fs::{File, create_dir_all, write};
    use std::os::fd::AsFd;
    use std::os::unix::fs::symlink;

    use super::*;

    #[track_caller]
    fn check(path: &str, expected: &str) {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        create_dir_all(at("usr/lib")).unwrap();
        create_dir_all(at("run")).unwrap();
        write(at("file"), "").unwrap();
        symlink("usr/lib", at("lib")).unwrap();
        symlink("/run", at("usr/run")).unwrap();
        symlink("../run/none/resolv.conf", at("usr/dangling")).unwrap();
        symlink("../../../../../usr", at("out")).unwrap();
        symlink("loop", at("loop")).unwrap();
        let root = File::open(dir.path()).unwrap();
        let found = walk(root.as_fd(), Path::new(path)).map(|Walk { existing, missing }| {
            let missing = missing.iter().map(|name| name.to_string_lossy()).collect::<Vec<_>>();
            format!("{} + {}", existing.display(), missing.join("/"))
        });
        assert_eq!(found.unwrap_or_else(|err| format!("{:?}", err.kind())), expected);
    }

    #[test]
    fn links_are_followed_inside_the_root() {
        check("/usr/lib", "usr/lib + ");
        check("/usr/lib/a/b", "usr/lib + a/b");
        check("/lib/a", "usr/lib + a");
        check("/usr/run/lock", "run + lock");
        check("/out/lib", "usr/lib + ");
        check("/usr/dangling", "run + none/resolv.conf");
        check("/a/../usr/b", "usr + b");
        check("/file", "file + ");
        check("/file/a", "NotADirectory");
        check("/loop/a", "FilesystemLoop");
    }
}
