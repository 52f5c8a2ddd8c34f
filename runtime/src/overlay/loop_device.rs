//! Loop devices: files as block devices, for kernels that mount from nothing else.
//!
//! **Invariant:** a device lets go of its file by itself when nobody has it open or mounted any more, however this process ends.
#![expect(unsafe_code, reason = "the calls that set up a loop device")]

use std::fs::File;
use std::io;
use std::mem::zeroed;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

/// How often another device is asked for because somebody else took the free one.
const ATTEMPTS_MAX: usize = 64;

// Of linux/loop.h.
const LOOP_CTL_GET_FREE: libc::Ioctl = 0x4c82;
const LOOP_CONFIGURE: libc::Ioctl = 0x4c0a;
const LO_FLAGS_READ_ONLY: u32 = 1;
const LO_FLAGS_AUTOCLEAR: u32 = 4;

/// `struct loop_info64`.
#[repr(C)]
struct LoopInfo {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

/// `struct loop_config`.
#[repr(C)]
struct LoopConfig {
    fd: u32,
    block_size: u32,
    info: LoopInfo,
    reserved: [u64; 8],
}

/// A loop device that shows a file, for as long as this or a mount of it is held.
pub(super) struct LoopDevice {
    path: PathBuf,
    _device: File,
}

impl LoopDevice {
    /// Shows a file, only for reading.
    pub(super) fn attach(file: &Path) -> io::Result<Self> {
        let backing = File::open(file)?;
        let control = File::options().read(true).write(true).open("/dev/loop-control")?;
        for _ in 0..ATTEMPTS_MAX {
            // SAFETY: the call takes no pointer.
            let number = unsafe { libc::ioctl(control.as_raw_fd(), LOOP_CTL_GET_FREE) };
            if number < 0 {
                return Err(io::Error::last_os_error());
            }
            let path = PathBuf::from(format!("/dev/loop{number}"));
            let device = File::open(&path)?;
            match configure(&device, &backing) {
                Ok(()) => return Ok(Self { path, _device: device }),
                Err(error) if Errno::from_io_error(&error) == Some(Errno::BUSY) => {}
                Err(error) => return Err(error),
            }
        }
        Err(Errno::BUSY.into())
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

fn configure(device: &File, backing: &File) -> io::Result<()> {
    // SAFETY: the structure is plain numbers, for which zeros are a value.
    let mut config: LoopConfig = unsafe { zeroed() };
    config.fd = backing.as_raw_fd() as u32;
    config.info.flags = LO_FLAGS_READ_ONLY | LO_FLAGS_AUTOCLEAR;
    // SAFETY: the structure is what the call takes, and lives for it.
    match unsafe { libc::ioctl(device.as_raw_fd(), LOOP_CONFIGURE, &raw const config) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
