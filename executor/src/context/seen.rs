//! What a look at a directory tree found, and by what a file is recognised as unchanged.

use layer::{ContentHash, Device, EntryPathBuf, KindBuf, Mtime, XattrsBuf};
use rustix::fs::{FileType, Statx, StatxTimestamp};

/// File systems that keep fractions of seconds stamp with the kernel's tick, which is 10 ms at most.
const TICK_NANOSECONDS: i128 = 20_000_000;
/// Others keep whole seconds, or every second one.
const COARSE_NANOSECONDS: i128 = 2_000_000_000;

/// A file as it was seen; the hash of its content is found out after the look.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) path: EntryPathBuf,
    pub(super) kind: KindBuf,
    pub(super) mode: u16,
    pub(super) xattrs: Option<XattrsBuf>,
    pub(super) stamp: Stamp,
    /// Whether the file has other names too.
    pub(super) is_linked: bool,
    /// The place in the index of the builds before at which the hash of its content stands.
    pub(super) place: Option<u32>,
    /// Whether it is a socket, which nobody can read.
    pub(super) is_socket: bool,
    /// Whether it went away before it could be read.
    pub(super) is_gone: bool,
    /// Whether this look read it, so that what is known of it is from then.
    pub(super) is_read: bool,
    /// Whether it counts for itself; a directory may count only if something in it does.
    pub(super) counts: bool,
}

/// By what a file is recognised as unchanged. The time of its last change is among it, which no program can set: a file that was written and whose modification time
/// was put back is seen to have changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) device: (u32, u32),
    pub(super) inode: u64,
    pub(super) size_bytes: u64,
    pub(super) mtime: Mtime,
    pub(super) ctime: Mtime,
}

/// Which file it is: device and inode.
pub(super) type FileId = ((u32, u32), u64);

impl Stamp {
    pub(super) fn id(&self) -> FileId {
        (self.device, self.inode)
    }

    pub(super) fn of(stat: &Statx) -> Self {
        let time = |time: &StatxTimestamp| Mtime { seconds: time.tv_sec, nanoseconds: time.tv_nsec };
        Self {
            device: (stat.stx_dev_major, stat.stx_dev_minor),
            inode: stat.stx_ino,
            size_bytes: stat.stx_size,
            mtime: time(&stat.stx_mtime),
            ctime: time(&stat.stx_ctime),
        }
    }

    /// Tells whether a file that has this stamp after `began` was not written after `began`.
    ///
    /// The same holds for a directory and the names in it.
    ///
    /// One that changed so short before that another change could have left the same stamp is racy, as git calls it: its content is read again the next time.
    pub(super) fn is_settled(&self, began: Mtime) -> bool {
        let is_coarse = self.mtime.nanoseconds == 0 && self.ctime.nanoseconds == 0;
        let margin = if is_coarse { COARSE_NANOSECONDS } else { TICK_NANOSECONDS };
        nanoseconds(self.ctime) + margin < nanoseconds(began)
    }
}

fn nanoseconds(time: Mtime) -> i128 {
    i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanoseconds)
}

/// Returns what is at a path, unless layers have no such thing. A socket counts as an empty file, as with BuildKit.
pub(super) fn kind_of(stat: &Statx) -> Option<KindBuf> {
    let device = Device { major: stat.stx_rdev_major, minor: stat.stx_rdev_minor };
    match FileType::from_raw_mode(stat.stx_mode.into()) {
        FileType::RegularFile => Some(KindBuf::File { size_bytes: stat.stx_size, content: ContentHash([0; 32]) }),
        FileType::Directory => Some(KindBuf::Directory { opaque: false }),
        FileType::Fifo => Some(KindBuf::Fifo),
        FileType::CharacterDevice => Some(KindBuf::CharDevice(device)),
        FileType::BlockDevice => Some(KindBuf::BlockDevice(device)),
        FileType::Socket => Some(KindBuf::File { size_bytes: 0, content: ContentHash::of(b"") }),
        _ => None,
    }
}

impl Seen {
    pub(super) fn new(path: EntryPathBuf, kind: KindBuf, stat: &Statx, counts: bool) -> Self {
        let is_linked = stat.stx_nlink > 1 && matches!(kind, KindBuf::File { .. });
        let mode = stat.stx_mode & layer::entry::MODE_BITS;
        let is_socket = FileType::from_raw_mode(stat.stx_mode.into()) == FileType::Socket;
        let stamp = Stamp::of(stat);
        Self {
            path,
            kind,
            mode,
            xattrs: None,
            stamp,
            is_linked,
            place: None,
            is_socket,
            is_gone: false,
            is_read: false,
            counts,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_settled_once_no_later_change_could_have_its_stamp() {
        let at = |seconds, nanoseconds| Mtime { seconds, nanoseconds };
        let stamp = |ctime| Stamp { mtime: at(5, 0), ctime, ..Stamp::default() };
        assert!(stamp(at(9, 900_000_000)).is_settled(at(10, 0)));
        assert!(!stamp(at(9, 990_000_000)).is_settled(at(10, 0)));
        assert!(!stamp(at(10, 1)).is_settled(at(10, 0)));
        // Nothing but whole seconds: the file system knows no more.
        assert!(!stamp(at(9, 0)).is_settled(at(10, 0)));
        assert!(stamp(at(7, 0)).is_settled(at(10, 0)));
    }
}
