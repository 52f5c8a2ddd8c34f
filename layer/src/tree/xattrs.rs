//! Reading the extended attributes of files in a tree.

use std::io;
use std::os::fd::AsFd;

use rustix::fs::{fgetxattr, flistxattr, lgetxattr, llistxattr};
use rustix::io::Errno;

use super::attributes::proc_path;

/// The largest list of names, and the largest value, that Linux knows.
const XATTR_BYTES_MAX: usize = 64 << 10;

/// Enough for what most files have, which is nothing.
const FIRST_BYTES: usize = 512;

/// Reads all attributes of an open file, those of overlay file systems among them.
pub(crate) fn read(file: impl AsFd) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    read_with(|buffer| flistxattr(&file, buffer), |name, buffer| fgetxattr(&file, name, buffer))
}

/// Reads all attributes of what cannot be opened: of a symbolic link, a device node or a fifo.
pub(crate) fn read_at(directory: impl AsFd, name: &[u8]) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let path = proc_path(directory, name);
    read_with(|buffer| llistxattr(path.as_slice(), buffer), |name, buffer| lgetxattr(path.as_slice(), name, buffer))
}

fn read_with(
    list: impl Fn(&mut [u8]) -> rustix::io::Result<usize>,
    get: impl Fn(&[u8], &mut [u8]) -> rustix::io::Result<usize>,
) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let names = match read_all(&list) {
        // A file system without attributes.
        Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
        names => names?,
    };
    let mut pairs = Vec::new();
    for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        match read_all(|buffer| get(name, buffer)) {
            Ok(value) => pairs.push((name.to_vec(), value)),
            // Listed by a security module, but not readable as such.
            Err(Errno::NODATA | Errno::OPNOTSUPP) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(pairs)
}

fn read_all(read: impl Fn(&mut [u8]) -> rustix::io::Result<usize>) -> rustix::io::Result<Vec<u8>> {
    let mut first = [0; FIRST_BYTES];
    match read(&mut first) {
        Ok(count) => Ok(first[..count].to_vec()),
        Err(Errno::RANGE) => {
            let mut all = vec![0; XATTR_BYTES_MAX];
            let count = read(&mut all)?;
            all.truncate(count);
            Ok(all)
        }
        Err(errno) => Err(errno),
    }
}
