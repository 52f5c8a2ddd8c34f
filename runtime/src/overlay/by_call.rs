//! An overlay by mount(2), for kernels before 6.15: on a thread of its own in a mount namespace of its own, in which layers can be attached.
//!
//! mount(2) takes all options in one page and cuts silently what is longer, so every layer gets a short name relative to the current directory.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, absolute};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{AtFlags, Mode, mkdirat, symlinkat, unlinkat};
use rustix::io::Errno;
use rustix::mount::{MountFlags, mount as mount_call};

use super::by_descriptor::name_of;
use super::stack::{Durability, Layer, OPTION_UUID, OPTIONS, Overlay, OverlayError, Upper};
use crate::memory;
use crate::workshop::Workshop;

/// Set when a mount failed with the option and did not without it: then no further one is tried with it.
static HAS_NO_UUID: AtomicBool = AtomicBool::new(false);

/// Mounts layers on top of empty ones.
pub(super) fn mount(overlay: &mut Overlay, padding: Vec<OwnedFd>) -> Result<OwnedFd, OverlayError> {
    // The workshop has another current directory.
    for layer in &mut overlay.lowers {
        if let Layer::Path(path) = layer {
            *path = absolute(&*path).map_err(|source| OverlayError::Layer { path: path.clone(), source })?;
        }
    }
    if let Some(Upper::Dirs { upper, work, .. }) = &mut overlay.upper {
        *upper = absolute(&*upper).map_err(|source| OverlayError::Upper { path: upper.clone(), source })?;
        *work = absolute(&*work).map_err(|source| OverlayError::Work { path: work.clone(), source })?;
    }
    let mounted = Workshop::run(|workshop| Names { workshop }.mount(overlay, padding));
    mounted.map_err(|source| OverlayError::Namespace { source })?
}

/// The short names that layers have in a workshop.
struct Names<'a> {
    workshop: &'a Workshop,
}

impl Names<'_> {
    fn mount(&self, overlay: &mut Overlay, padding: Vec<OwnedFd>) -> Result<OwnedFd, OverlayError> {
        let mut names = Vec::new();
        for layer in overlay.lowers.iter_mut().rev() {
            let name = names.len().to_string();
            self.place_layer(&name, layer)?;
            names.push(name);
        }
        for mut empty in padding {
            let name = names.len().to_string();
            self.attach(&name, &mut empty).map_err(|source| OverlayError::Memory { source })?;
            names.push(name);
        }
        let mut options = vec![format!("lowerdir={}", names.join(":"))];
        if let Some(upper) = &overlay.upper {
            options.extend(self.place_upper(upper)?);
        }
        options.extend(OPTIONS.iter().map(|(key, value)| format!("{key}={value}")));
        self.mount_options(&options, names.len())
    }

    fn mount_options(&self, options: &[String], layers: usize) -> Result<OwnedFd, OverlayError> {
        let known_everywhere = options.join(",");
        let with_uuid = format!("{known_everywhere},{}={}", OPTION_UUID.0, OPTION_UUID.1);
        // Kernels before 6.6 do not know the option, and do not say which one it is that they do not know.
        let mounted = mkdirat(self.workshop.dir(), "overlay", Mode::RWXU).and_then(|()| {
            if HAS_NO_UUID.load(Ordering::Relaxed) {
                return self.mount_data(&known_everywhere);
            }
            match self.mount_data(&with_uuid) {
                Err(Errno::INVAL) => {
                    let mounted = self.mount_data(&known_everywhere)?;
                    HAS_NO_UUID.store(true, Ordering::Relaxed);
                    Ok(mounted)
                }
                mounted => mounted,
            }
        });
        mounted.map_err(|err| OverlayError::Mount { layers, source: err.into() })
    }

    fn mount_data(&self, data: &str) -> rustix::io::Result<OwnedFd> {
        let data = CString::new(data).map_err(|_| Errno::INVAL)?;
        mount_call(c"overlay", c"overlay", c"overlay", MountFlags::empty(), Some(data.as_c_str()))?;
        self.workshop.copy("overlay")
    }

    fn place_layer(&self, name: &str, layer: &mut Layer) -> Result<(), OverlayError> {
        let (placed, path) = match layer {
            Layer::Path(path) => (self.link(name, path), path.clone()),
            Layer::Fd(fd) => (self.attach(name, fd), name_of(fd)),
            Layer::Image(_) | Layer::Shared(_) => unreachable!("state: {layer:?} is a descriptor by now"),
        };
        placed.map_err(|source| OverlayError::Layer { path, source })
    }

    fn place_upper(&self, upper: &Upper) -> Result<Vec<String>, OverlayError> {
        let (dirs, durability) = match upper {
            Upper::Memory => {
                let place = || self.attach("memory", &mut memory::upper()?);
                place().map_err(|source| OverlayError::Memory { source })?;
                (("memory/upper", "memory/work"), Durability::Volatile)
            }
            Upper::Scratch(scratch) => {
                let place = || self.workshop.attach("memory", scratch.memory().as_fd());
                place().map_err(|err| OverlayError::Memory { source: err.into() })?;
                (("memory/upper", "memory/work"), Durability::Volatile)
            }
            Upper::Dirs { upper, work, durability } => {
                let place = |name, path: &Path| self.link(name, path);
                place("upper", upper).map_err(|source| OverlayError::Upper { path: upper.clone(), source })?;
                place("work", work).map_err(|source| OverlayError::Work { path: work.clone(), source })?;
                (("upper", "work"), *durability)
            }
        };
        let mut options = vec![format!("upperdir={}", dirs.0), format!("workdir={}", dirs.1)];
        if durability == Durability::Volatile {
            options.push("volatile".to_owned());
        }
        Ok(options)
    }

    /// Gives a directory a short name. It is looked at here, since mount(2) would not say which one is wrong.
    fn link(&self, name: &str, path: &Path) -> io::Result<()> {
        if !std::fs::metadata(path)?.is_dir() {
            return Err(Errno::NOTDIR.into());
        }
        Ok(symlinkat(path, self.workshop.dir(), name)?)
    }

    /// Attaches a mount that is attached nowhere, and puts a copy of it into its place; or gives a directory of some other mount a short name.
    fn attach(&self, name: &str, fd: &mut OwnedFd) -> io::Result<()> {
        match self.workshop.attach(name, fd.as_fd()) {
            Ok(()) => {
                *fd = self.workshop.copy(name)?;
                Ok(())
            }
            Err(Errno::INVAL) => {
                unlinkat(self.workshop.dir(), name, AtFlags::REMOVEDIR)?;
                self.link(name, &memory::path_of(fd.as_fd())?)
            }
            Err(err) => Err(err.into()),
        }
    }
}
