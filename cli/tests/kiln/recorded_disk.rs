//! A disk that remembers every write and every flush, so that it can be as it might be after the power failed at any moment.
//!
//! The kernel has this as dm-log-writes, which few machines have; FUSE is everywhere. The disk is a regular file that this process serves through `/dev/fuse`, and a loop
//! device on it: what a file system writes to the device arrives as FUSE_WRITE, and its flushes as FUSE_FSYNC (linux/fuse.h, protocol 7.31; a root that is a regular
//! file is allowed).
//!
//! **Invariant:** what was written before a flush is on the disk once that flush was answered; of what was written since, any blocks may be, in any order.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

/// What a disk writes whole or not at all.
const BLOCK_BYTES: usize = 4096;
/// How much the kernel may send at once.
const WRITE_BYTES_MAX: usize = 1 << 20;
const HEADER_BYTES: usize = 40;

/// Something that reached the disk.
enum Event {
    Write { offset: u64, bytes: Vec<u8> },
    Flush,
}

/// A file that remembers; it goes away with this.
pub(crate) struct RecordedDisk {
    path: PathBuf,
    /// What was there before the first event.
    base: PathBuf,
    events: Arc<Mutex<Vec<Event>>>,
    server: Option<JoinHandle<io::Result<()>>>,
}

impl RecordedDisk {
    /// Serves a copy of the file `base` at `path`.
    pub(crate) fn serve(base: &Path, path: PathBuf) -> Self {
        let backing = path.with_extension("backing");
        std::fs::copy(base, &backing).unwrap();
        File::create_new(&path).unwrap();
        let backing = File::options().read(true).write(true).open(backing).unwrap();
        let device = File::options().read(true).write(true).open("/dev/fuse").unwrap();
        let options = format!("fd={},rootmode=100600,user_id=0,group_id=0,allow_other", device.as_raw_fd());
        let options = std::ffi::CString::new(options).unwrap();
        mount("recorded", &path, "fuse", MountFlags::NOSUID | MountFlags::NODEV, options.as_c_str()).unwrap();
        let events = Arc::default();
        let server = Server { device, backing, events: Arc::clone(&events) };
        let server = Some(std::thread::spawn(move || server.run()));
        Self { path, base: base.to_owned(), events, server }
    }

    /// Returns how much has reached the disk so far.
    pub(crate) fn length(&self) -> usize {
        self.events.lock().unwrap().len()
    }

    /// Writes to `path` what the disk may hold when the power fails after the first `length` events: all that was flushed, and of the rest the blocks for which `is_kept`.
    pub(crate) fn cut(&self, length: usize, path: &Path, mut is_kept: impl FnMut() -> bool) {
        std::fs::copy(&self.base, path).unwrap();
        let file = File::options().write(true).open(path).unwrap();
        let events = self.events.lock().unwrap();
        let events = &events[..length];
        let flushed = events.iter().rposition(|event| matches!(event, Event::Flush)).unwrap_or(0);
        for (place, event) in events.iter().enumerate() {
            let Event::Write { offset, bytes } = event else { continue };
            for (block, offset) in bytes.chunks(BLOCK_BYTES).zip((*offset..).step_by(BLOCK_BYTES)) {
                if place < flushed || is_kept() {
                    file.write_all_at(block, offset).unwrap();
                }
            }
        }
    }
}

impl Drop for RecordedDisk {
    fn drop(&mut self) {
        unmount(&self.path, UnmountFlags::DETACH).unwrap();
        let ended = self.server.take().map(JoinHandle::join);
        if !std::thread::panicking() {
            ended.unwrap().unwrap().unwrap();
        }
    }
}

/// Answers the kernel until nobody has the file mounted or open.
struct Server {
    device: File,
    backing: File,
    events: Arc<Mutex<Vec<Event>>>,
}

impl Server {
    fn run(mut self) -> io::Result<()> {
        let mut request = vec![0; HEADER_BYTES + WRITE_BYTES_MAX + BLOCK_BYTES];
        loop {
            let length = match self.device.read(&mut request) {
                Ok(length) => length,
                Err(error) if error.raw_os_error() == Some(rustix::io::Errno::NODEV.raw_os_error()) => return Ok(()),
                // The request was taken back meanwhile.
                Err(error) if error.raw_os_error() == Some(rustix::io::Errno::NOENT.raw_os_error()) => continue,
                Err(error) => return Err(error),
            };
            let (opcode, unique) = (u32_at(&request, 4), &request[8..16]);
            let body = &request[HEADER_BYTES..length];
            let (error, reply) = match opcode {
                // FUSE_FORGET, FUSE_INTERRUPT and FUSE_BATCH_FORGET want no answer.
                2 | 36 | 42 => continue,
                opcode => match self.answer(opcode, body) {
                    Ok(reply) => (0, reply),
                    Err(errno) => (-errno.raw_os_error(), Vec::new()),
                },
            };
            let answer = [&(16 + reply.len() as u32).to_ne_bytes(), &i32::to_ne_bytes(error)[..], unique, &reply];
            match self.device.write(&answer.concat()) {
                Err(error) if error.raw_os_error() != Some(rustix::io::Errno::NOENT.raw_os_error()) => {
                    return Err(error);
                }
                _ => {}
            }
        }
    }

    fn answer(&self, opcode: u32, body: &[u8]) -> rustix::io::Result<Vec<u8>> {
        let failed = |error: io::Error| rustix::io::Errno::from_io_error(&error).unwrap_or(rustix::io::Errno::IO);
        match opcode {
            // FUSE_GETATTR, FUSE_SETATTR.
            3 | 4 => Ok(self.attributes().map_err(failed)?),
            // FUSE_OPEN: a handle, no flags.
            14 => Ok(vec![0; 16]),
            // FUSE_READ.
            15 => {
                let mut bytes = vec![0; u32_at(body, 16) as usize];
                let read = self.backing.read_at(&mut bytes, u64_at(body, 8)).map_err(failed)?;
                bytes.truncate(read);
                Ok(bytes)
            }
            // FUSE_WRITE.
            16 => {
                let (offset, size) = (u64_at(body, 8), u32_at(body, 16));
                let bytes = body[40..40 + size as usize].to_vec();
                self.backing.write_all_at(&bytes, offset).map_err(failed)?;
                self.events.lock().unwrap().push(Event::Write { offset, bytes });
                Ok([size.to_ne_bytes(), [0; 4]].concat())
            }
            // FUSE_FSYNC.
            20 => {
                self.events.lock().unwrap().push(Event::Flush);
                Ok(Vec::new())
            }
            // FUSE_RELEASE, FUSE_FLUSH, FUSE_DESTROY.
            18 | 25 | 38 => Ok(Vec::new()),
            // FUSE_INIT.
            26 => Ok(greeting(u32_at(body, 8))),
            _ => Err(rustix::io::Errno::NOSYS),
        }
    }

    /// `struct fuse_attr_out`: a regular file of root's, as it is from one moment to the next.
    fn attributes(&self) -> io::Result<Vec<u8>> {
        let size = self.backing.metadata()?.len();
        let (valid, inode, no_times) = ([0; 16], 1_u64.to_ne_bytes(), [0; 36]);
        let (blocks, mode) = ((size / 512).to_ne_bytes(), 0o100_600_u32.to_ne_bytes());
        let (links, owners, block) = (1_u32.to_ne_bytes(), [0; 12], (BLOCK_BYTES as u32).to_ne_bytes());
        Ok([&valid[..], &inode, &size.to_ne_bytes(), &blocks, &no_times, &mode, &links, &owners, &block, &[0; 4]]
            .concat())
    }
}

/// `struct fuse_init_out`: writes of more than a page at once, and nothing else that is not told.
fn greeting(readahead_bytes_max: u32) -> Vec<u8> {
    const BIG_WRITES: u32 = 1 << 5;
    const MAX_PAGES: u32 = 1 << 22;
    let numbers = [7, 31, readahead_bytes_max, BIG_WRITES | MAX_PAGES, 0, WRITE_BYTES_MAX as u32, 1];
    let mut bytes: Vec<u8> = numbers.iter().flat_map(|number: &u32| number.to_ne_bytes()).collect();
    bytes.extend_from_slice(&((WRITE_BYTES_MAX / BLOCK_BYTES) as u16).to_ne_bytes());
    bytes.resize(64, 0);
    bytes
}

fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    u32::from_ne_bytes(bytes[offset..offset + 4].try_into().unwrap())
}

fn u64_at(bytes: &[u8], offset: usize) -> u64 {
    u64::from_ne_bytes(bytes[offset..offset + 8].try_into().unwrap())
}
