//! How layers are mounted on this machine, and so in which form new ones are written.
//!
//! ```text
//! rung       layers are                              it needs
//! detached   packs, mounted nowhere                  Linux 6.15, a store on ext4, XFS, Btrfs …
//! attached   packs, in a namespace for a moment      Linux 6.12, the same
//! loop       packs, behind loop devices              Linux 6.1, /dev/loop-control
//! trees      directory trees                         nothing
//! ```
//! What commands write goes into the store and is a tree. Where the store's file system cannot be written to by an overlay (it is one itself, as in a container without a volume), it
//! goes into memory or beneath the work root, and from there into a pack.
//!
//! All rungs show the same files. Layers of the other form are usable on every rung: where packs cannot be mounted, a tree is made of them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use layer::pack::write_tree;
use layer::{EntryPath, FileSource, Lender, Metadata, Stack};
use oci::Digest;
use runtime::kernel::MountSupport;
use runtime::overlay::{Durability, Image, ImageAccess, Layer, Overlay, SharedImage, Upper};
use runtime::{Kernel, Launcher};
use rustix::fs::{CWD, Mode, OFlags, RenameFlags, fstatfs, openat, renameat_with};
use rustix::io::Errno;
use rustix::system::uname;
use store::{Form, LayerId, RungRecord, Snapshot, Store};

use crate::ExecError;
use crate::layers::NewLayer;
use crate::outside::{Outside, WorkRoot};

/// A way to mount layers; the first that works is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rung {
    /// Packs, whose mounts are attached nowhere.
    Detached,
    /// Packs, whose mounts are attached in a mount namespace for a moment.
    Attached,
    /// Packs behind loop devices.
    LoopDevices,
    /// Directory trees.
    Trees,
}

/// How many layers in packs stay mounted for the stacks to come, a descriptor each; further ones are mounted for each stack anew.
const SHARED_IMAGES_MAX: usize = 128;
/// The name of the file that is looked for when a rung is tried.
const PROBE_NAME: &[u8] = b"probe";
const PROBE_BYTES: &[u8] = b"found";

impl Rung {
    const ALL: [(Self, &str); 4] = [
        (Self::Detached, "detached"),
        (Self::Attached, "attached"),
        (Self::LoopDevices, "loop"),
        (Self::Trees, "trees"),
    ];

    /// Returns what users call it.
    pub fn name(self) -> &'static str {
        let found = Self::ALL.iter().find(|(rung, _)| *rung == self);
        found.map_or("trees", |(_, name)| name)
    }

    fn access(self) -> Option<ImageAccess> {
        match self {
            Self::Detached | Self::Attached => Some(ImageAccess::Files),
            Self::LoopDevices => Some(ImageAccess::LoopDevices),
            Self::Trees => None,
        }
    }

    /// Returns the kernel as this rung uses it.
    fn kernel(self, kernel: Kernel) -> Kernel {
        let mounts = if self == Self::Attached { MountSupport::Attached } else { kernel.mounts };
        Kernel { mounts, ..kernel }
    }
}

/// A text is not the name of a rung.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown way to mount layers `{text}`: expected detached, attached, loop or trees")]
pub struct RungParseError {
    text: String,
}

impl FromStr for Rung {
    type Err = RungParseError;

    fn from_str(text: &str) -> Result<Self, RungParseError> {
        let found = Self::ALL.iter().find(|(_, name)| *name == text);
        found.map(|(rung, _)| *rung).ok_or_else(|| RungParseError { text: text.to_owned() })
    }
}

/// What was found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The rung that is used.
    pub rung: Rung,
    /// Why it is none of those above, one reason each.
    pub reasons: Vec<String>,
    /// Why what commands write goes into memory first, or beneath the work root, if it does.
    pub outside: Option<String>,
}

/// The ladder of one store.
pub struct Ladder {
    store: Store,
    forced: Option<Rung>,
    work_root: Option<WorkRoot>,
    /// Set once an overlay could write beneath the work root.
    is_tried: OnceLock<()>,
    standing: OnceLock<Standing>,
    /// Layers in packs that are mounted for all stacks that they are in.
    images: Mutex<BTreeMap<LayerId, SharedImage>>,
}

impl Ladder {
    /// Prepares; nothing is tried before it is needed. `forced` takes one rung without a try; commands write beneath `work_root` if they cannot write into the store.
    pub fn new(store: Store, forced: Option<Rung>, work_root: Option<PathBuf>) -> Self {
        let work_root = work_root.map(WorkRoot::new);
        Self {
            store,
            forced,
            work_root,
            is_tried: OnceLock::new(),
            standing: OnceLock::new(),
            images: Mutex::default(),
        }
    }

    /// Returns the rung that is used, after trying them if nobody has before on this kernel and with these rights.
    pub fn standing(&self) -> Result<&Standing, ExecError> {
        if let Some(standing) = self.standing.get() {
            return Ok(standing);
        }
        let standing = match self.forced {
            Some(rung) => Standing { rung, reasons: vec!["it was asked for".to_owned()], outside: None },
            None => self.find()?,
        };
        if let (Rung::Trees, Some(reason)) = (standing.rung, &standing.outside) {
            return Err(ExecError::StoreFileSystem { root: self.store.root().to_owned(), reason: reason.clone() });
        }
        Ok(self.standing.get_or_init(|| standing))
    }

    /// Starts a layer in the form that is mounted best here.
    pub(crate) fn new_layer(&self) -> Result<NewLayer, ExecError> {
        if self.is_packed()? { NewLayer::packed(&self.store) } else { NewLayer::tree(&self.store) }
    }

    /// Returns the layer in packs that was made last under `key`.
    pub(crate) fn last_layer(&self, key: &Digest) -> Result<Option<store::Layer>, ExecError> {
        if self.is_packed()? { Ok(self.store.last_layer(key)?) } else { Ok(None) }
    }

    /// Keeps in mind that a layer was made under `key`, after `last`.
    pub(crate) fn remember(
        &self,
        key: &Digest,
        layer: &store::Layer,
        last: Option<&store::Layer>,
    ) -> Result<(), ExecError> {
        // Of two layers with one content, only the first is kept by those who look for results.
        let is_same = last.is_some_and(|last| last.known_content() == layer.known_content());
        if is_same || layer.packed_bytes() < Lender::LENT_BYTES_MIN {
            return Ok(());
        }
        Ok(self.store.put_last_layer(key, &layer.id())?)
    }

    /// Returns whether new layers are packs.
    pub(crate) fn is_packed(&self) -> Result<bool, ExecError> {
        Ok(self.standing()?.rung.access().is_some())
    }

    /// Returns where a command writes if not into the store.
    pub fn outside(&self) -> Result<Option<Outside>, ExecError> {
        if self.standing()?.outside.is_none() {
            return Ok(None);
        }
        let Some(work_root) = &self.work_root else {
            return Outside::in_memory().map(Some).map_err(|source| ExecError::Scratch { source });
        };
        let root = work_root.path();
        let dir = || work_root.dir().map_err(ExecError::file("create a directory in", root));
        if self.is_tried.get().is_none() {
            let kernel = Kernel::probe()
                .map_err(|error| ExecError::WorkRoot { root: root.to_owned(), reason: error.to_string() })?;
            let tried = try_upper(Outside::WorkRoot(Arc::new(dir()?)).upper(), &kernel);
            tried.map_err(|reason| ExecError::WorkRoot { root: root.to_owned(), reason })?;
            self.is_tried.get_or_init(|| ());
        }
        Ok(Some(Outside::WorkRoot(Arc::new(dir()?))))
    }

    /// Returns what starts sandboxes.
    pub fn launcher(&self) -> Result<Launcher, ExecError> {
        let kernel = Kernel::probe()?;
        Ok(Launcher::with_kernel(self.forced.map_or(kernel.clone(), |rung| rung.kernel(kernel))))
    }

    /// Returns a mount of a snapshot, with what is written going into `upper`.
    pub fn overlay(&self, snapshot: &Snapshot, upper: Option<Upper>) -> Result<Overlay, ExecError> {
        let lowers = snapshot.layers.iter().map(|layer| self.lower(layer));
        Ok(Overlay { lowers: lowers.collect::<Result<_, _>>()?, upper })
    }

    fn lower(&self, layer: &store::Layer) -> Result<Layer, ExecError> {
        layer.verify()?;
        match layer.form() {
            Form::Tree(tree) => Ok(Layer::Path(tree)),
            Form::Packed { index, packs } => match self.standing()?.rung.access() {
                Some(access) => Ok(self.shared(layer.id(), Image { index, packs, access }).into()),
                None => self.tree_of(layer),
            },
        }
    }

    /// Returns the image of a layer as all stacks of this process have it.
    fn shared(&self, id: LayerId, image: Image) -> SharedImage {
        let mut images = self.images.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shared) = images.get(&id) {
            return shared.clone();
        }
        let shared = SharedImage::new(image);
        if images.len() < SHARED_IMAGES_MAX {
            images.insert(id, shared.clone());
        }
        shared
    }

    /// Returns the tree of a layer in packs; it is made once.
    fn tree_of(&self, layer: &store::Layer) -> Result<Layer, ExecError> {
        let tree = layer.tree();
        if !tree.is_dir() {
            let draft = self.store.temporary_dir()?;
            let root: OwnedFd = File::open(&draft).map_err(ExecError::file("open", &draft))?.into();
            write_tree(&layer.open()?, root)?;
            match renameat_with(CWD, &draft, CWD, &tree, RenameFlags::NOREPLACE) {
                // Somebody else was faster.
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(ExecError::file::<Errno>("create", &tree)(errno)),
            }
        }
        Ok(Layer::Path(tree))
    }

    // Finding out.

    fn find(&self) -> Result<Standing, ExecError> {
        let key = self.key()?;
        if let Some(RungRecord { rung, reasons, read_only }) = self.store.rung(&key)?
            && let Ok(rung) = rung.parse()
        {
            return Ok(Standing { rung, reasons, outside: read_only });
        }
        let standing = self.probe()?;
        let Standing { rung, reasons, outside } = standing.clone();
        self.store.put_rung(&key, &RungRecord { rung: rung.name().to_owned(), reasons, read_only: outside })?;
        Ok(standing)
    }

    /// Returns what stands for all that the rung depends on: the kernel, the file system of the store, and what this process may do.
    fn key(&self) -> Result<Digest, ExecError> {
        let (root, uname) = (self.store.root(), uname());
        let opened = File::open(root).map_err(ExecError::file("open", root))?;
        let file_system = fstatfs(&opened).map_err(ExecError::file::<Errno>("look at", root))?.f_type;
        let rights = rustix::thread::capabilities(None).map_or(0, |sets| sets.effective.bits());
        let namespace = fs::read_link("/proc/self/ns/user").unwrap_or_default();
        let has_loops = fs::exists("/dev/loop-control").unwrap_or_default();
        let facts = format!("{file_system} {rights} {} {has_loops}", namespace.display());
        let mut hasher = oci::Hasher::new();
        for field in [b"kiln rung 2", uname.release().to_bytes(), uname.version().to_bytes(), facts.as_bytes()] {
            hasher.field(field);
        }
        Ok(hasher.finish())
    }

    fn probe(&self) -> Result<Standing, ExecError> {
        let mut reasons = Vec::new();
        let kernel = match Kernel::probe() {
            Ok(kernel) => kernel,
            Err(error) => {
                return Ok(Standing { rung: Rung::Trees, reasons: vec![error.to_string()], outside: None });
            }
        };
        let outside = self.try_upper(&kernel)?.err();
        let layer = self.probe_layer()?;
        let files = match kernel.mounts {
            MountSupport::Detached => Rung::Detached,
            MountSupport::Attached => {
                reasons.push(
                    "the kernel takes no mounts that are attached nowhere as layers (Linux 6.15 does)".to_owned(),
                );
                Rung::Attached
            }
        };
        for (rung, name) in
            [(files, "mounts no EROFS image from a file"), (Rung::LoopDevices, "no loop device mounts one")]
        {
            match show(&layer, rung, &kernel) {
                Ok(()) => return Ok(Standing { rung, reasons, outside }),
                Err(error) => reasons.push(format!("{name}: {error}")),
            }
        }
        Ok(Standing { rung: Rung::Trees, reasons, outside })
    }

    /// Tries whether an overlay can write into the store; if not, returns why.
    fn try_upper(&self, kernel: &Kernel) -> Result<Result<(), String>, ExecError> {
        let dir = self.store.temporary_dir()?;
        let (upper, work) = (dir.join("upper"), dir.join("work"));
        for path in [&upper, &work] {
            fs::create_dir(path).map_err(ExecError::file("create", path))?;
        }
        let tried = try_upper(Upper::Dirs { upper, work, durability: Durability::Volatile }, kernel);
        // What cannot be removed goes with this process.
        let _ = fs::remove_dir_all(dir);
        Ok(tried)
    }

    /// Makes a layer with one file.
    fn probe_layer(&self) -> Result<store::Layer, ExecError> {
        let new = NewLayer::packed(&self.store)?;
        let writer = new.writer(Lender::default(), Stack::default())?;
        let path = EntryPath::ROOT.child(PROBE_NAME);
        let path = path.map_err(|source| ExecError::Path { path: "probe".to_owned(), source })?;
        writer.make_file(path.as_path(), &Metadata::default(), FileSource::Bytes(PROBE_BYTES))?;
        Ok(new.complete(&writer.finish()?)?.0)
    }
}

/// Tries whether an overlay can write to a place; if not, returns why.
fn try_upper(upper: Upper, kernel: &Kernel) -> Result<(), String> {
    let tried = Overlay { lowers: Vec::new(), upper: Some(upper) }.mount(kernel);
    tried.map(drop).map_err(|error| format!("an overlay cannot write to its file system: {}", root_cause(&error)))
}

/// Mounts a layer as a rung does, and reads the file that is in it.
fn show(layer: &store::Layer, rung: Rung, kernel: &Kernel) -> Result<(), String> {
    let (Form::Packed { index, packs }, Some(access)) = (layer.form(), rung.access()) else {
        return Err("there is nothing to mount".to_owned());
    };
    let mut overlay = Overlay { lowers: vec![Layer::Image(Image { index, packs, access })], upper: None };
    let mounted = overlay.mount(kernel).map_err(|error| error_chain(&error))?;
    let opened = openat(&mounted, PROBE_NAME, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    let mut found = Vec::new();
    let read = opened.map_err(std::io::Error::from).and_then(|file| File::from(file).read_to_end(&mut found));
    read.map_err(|error| error.to_string())?;
    if found == PROBE_BYTES { Ok(()) } else { Err("it shows something else".to_owned()) }
}

fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let last = std::iter::successors(Some(error), |error| error.source()).last();
    last.map(ToString::to_string).unwrap_or_default()
}

fn error_chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
