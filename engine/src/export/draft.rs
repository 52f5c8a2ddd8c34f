//! A file that takes its place once it is whole.
//!
//! **Invariant:** whoever opens the path sees what was there before, or all of the new file. While it is written it has no name, where the file system knows such files
//! (O_TMPFILE): then the kernel removes what a killed process wrote. Elsewhere it has one beside its place, and that is left by a process that is killed.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, linkat, open};
use rustix::io::Errno;

use crate::Error;

/// A file that is being written. Dropped, it is gone.
#[derive(Debug)]
pub(crate) struct FileDraft {
    file: File,
    /// Where it is until it is whole; `None` of a file without a name.
    path: Option<PathBuf>,
    target: PathBuf,
}

impl FileDraft {
    /// Starts a file that is to be at `target`.
    pub(crate) fn create(target: &Path) -> Result<Self, Error> {
        let failed = Error::file("create", target);
        let directory = directory_of(target);
        let mode = Mode::from_raw_mode(0o666);
        if let Ok(file) = open(directory, OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC, mode) {
            return Ok(Self { file: file.into(), path: None, target: target.to_owned() });
        }
        // Also where the directory is none, or may not be written to: what is said of it then is what users know.
        let path = beside(target, &std::process::id().to_string());
        let file = File::create(&path).map_err(failed)?;
        Ok(Self { file, path: Some(path), target: target.to_owned() })
    }

    /// Returns where it is to be.
    pub(crate) fn target(&self) -> &Path {
        &self.target
    }

    /// Returns what writes to it.
    pub(crate) fn writer(&self) -> Result<File, Error> {
        self.file.try_clone().map_err(Error::file("write", &self.target))
    }

    /// Puts it in its place, instead of what is there.
    pub(crate) fn commit(mut self) -> Result<(), Error> {
        let failed = Error::file("create", &self.target);
        store::fault::point("export.rename").map_err(Error::file("create", &self.target))?;
        let moved = match self.path.take() {
            Some(path) => fs::rename(&path, &self.target).inspect_err(|_| self.path = Some(path)),
            None => self.link(),
        };
        moved.map_err(failed)
    }

    /// Gives a file without a name the one that it is to have.
    fn link(&self) -> io::Result<()> {
        match self.link_as(&self.target) {
            Err(Errno::EXIST) => {}
            linked => return Ok(linked?),
        }
        // Only rename(2) replaces. The name for between is always the same, so that the next who writes this file removes what one left that was killed right here.
        let between = beside(&self.target, "kiln");
        while let Err(errno) = self.link_as(&between) {
            if errno != Errno::EXIST {
                return Err(errno.into());
            }
            remove_if_there(&between)?;
        }
        let renamed = store::fault::point("export.linked").and_then(|()| fs::rename(&between, &self.target));
        match renamed {
            // Somebody else wrote the same file, and put this one in its place or replaced it by theirs.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => {
                // What went wrong first is what the user hears of.
                let _ = fs::remove_file(&between);
                Err(error)
            }
            Ok(()) => Ok(()),
        }
    }

    fn link_as(&self, path: &Path) -> rustix::io::Result<()> {
        let opened = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        linkat(CWD, opened.as_str(), CWD, path, AtFlags::SYMLINK_FOLLOW)
    }
}

impl Drop for FileDraft {
    fn drop(&mut self) {
        if let Some(path) = self.path.take() {
            // What went wrong before is what the user hears of.
            let _ = fs::remove_file(path);
        }
    }
}

/// Returns the directory that a file is in.
fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Returns a hidden name beside a file: `.saved.tar.kiln.tmp`.
fn beside(path: &Path, mark: &str) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{mark}.tmp"));
    path.with_file_name(name)
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
