//! A directory of this machine as a source: scanned in place, as far as a step can see it, and read as if it were a layer.
//!
//! What was read is remembered in the store, so that the next build reads only what changed; the names in a directory too. A file or directory counts as unchanged if device, inode, size, time of modification
//! and time of change are what they were, and if they were so long enough before it was read that another write would have left another time (as git does; a program
//! that writes through a memory map can hide from this until the kernel writes the page back, and hides from git too).
//!
//! Of a directory in which every file is what it was, nothing but that is found out: what its files are stands in the index, and so does a hash of them (`fingerprint`), from which follows
//! what a step selects if it was selected before.
//!
//! **Invariant:** nothing is copied and nothing is read that no step selects; what an ignore file leaves out is not there. A hash is remembered only if the file was
//! the same before and after it was read.
//!
//! Memory: about 400 bytes and its path twice for each file in the scope of a step; files are read in pieces of at most 4 MiB for each thread.
//! While they are kept for a layer, 100 bytes more for each, and 1 MiB for each thread.

mod fingerprint;
mod index;
mod list;
mod look;
mod memory;
mod scan;
mod scope;
mod seen;
mod survey;
mod walk;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use layer::hash::hash_range;
use layer::{ContentHash, FileKeeper, FileRange, KeepingReader, KindBuf, Lender, Mtime, Tree};
use llb::Selection;
use llb::pattern::Ignore;
use oci::{Digest, Hasher, Timestamp};
use rayon::iter::{IntoParallelRefMutIterator, ParallelIterator};
use rustix::fs::{AtFlags, FileType, StatxFlags, statx};
use store::{DraftPack, Store, StoreError};

use crate::ExecError;
use crate::lenders::AHEAD_FILES_MIN;
use index::Index;
use look::{Directory, Files};
use memory::{Memory, known_of};
pub(crate) use scan::{Kept, Scan};
use scope::Scope;
use seen::{Seen, Stamp};
pub use survey::{HiddenFile, TakenFile};
use walk::{Walker, is_gone, xattrs};

/// How often a file is read again that changes while it is read, and a tree looked at again whose files go away.
const ATTEMPTS_MAX: usize = 3;

/// A directory of this machine that steps read files from.
pub struct Context {
    root: PathBuf,
    tree: Tree,
    ignore: Ignore,
    /// What the ignore file says, as selections are remembered under it.
    ignore_digest: Digest,
    store: Store,
    memory: Mutex<Memory>,
    /// Writes down what was read, while something else is done.
    saving: Mutex<Option<JoinHandle<Result<(), StoreError>>>>,
}

/// Why a look is not what the directory is like.
#[derive(Debug)]
enum LookError {
    /// A file went away, or became something else.
    Gone(String),
    Failed(ExecError),
}

impl Context {
    /// Opens a directory; `ignore` says which of its files do not exist for the build. What is remembered of it is in `store`.
    pub fn open(root: &Path, ignore: &[String], store: Store) -> Result<Self, ExecError> {
        let directory = File::open(root).map_err(ExecError::file("open", root))?;
        let absolute = root.canonicalize().map_err(ExecError::file("resolve", root))?;
        let mut hasher = Hasher::new();
        ignore.iter().for_each(|pattern| hasher.field(pattern.as_bytes()));
        // The frontend has checked the patterns; those of a graph that somebody else made may be wrong.
        let patterns = Ignore::new(ignore.iter().map(String::as_str));
        let ignore = patterns.map_err(|error| ExecError::Ignore { reason: error.to_string() })?;
        let memory = Mutex::new(Memory::new(absolute));
        let (ignore_digest, saving) = (hasher.finish(), Mutex::default());
        Ok(Self {
            root: root.to_owned(),
            tree: Tree::new(directory.into()),
            ignore,
            ignore_digest,
            store,
            memory,
            saving,
        })
    }

    /// Looks at the files that `selection` can name, with the directories above them. It reads every file that was not read before.
    pub(crate) fn scan(&self, selection: Option<&Selection>) -> Result<Scan, ExecError> {
        self.scan_at(selection, now, &|| None)
    }

    /// The same for a step that may make a layer of the files: of a directory of which nothing is known, they are kept in `pack` while they are read.
    ///
    /// Where something is known, most files are in the layer that was made last, or the step has a result: keeping them would be writing for nothing.
    pub(crate) fn scan_and_keep(
        &self,
        selection: Option<&Selection>,
        pack: &dyn Fn() -> Option<DraftPack>,
    ) -> Result<Scan, ExecError> {
        self.scan_at(selection, now, pack)
    }

    fn scan_at(
        &self,
        selection: Option<&Selection>,
        clock: impl Fn() -> Mtime,
        pack: &dyn Fn() -> Option<DraftPack>,
    ) -> Result<Scan, ExecError> {
        let mut gone = String::new();
        for attempt in 1..=ATTEMPTS_MAX {
            let mut scope = Scope::of(selection);
            let began = clock();
            let (mut found, index) = self.look(&mut scope, began)?;
            let hashed = match self.hash(&mut found, pack) {
                // Files come and go all the time: those that are gone are left out.
                Err(LookError::Gone(_)) if attempt == ATTEMPTS_MAX => self.hash_what_stays(&mut found).map(|()| None),
                hashed => hashed,
            };
            match hashed {
                Ok(kept) => {
                    if scope.root().whole {
                        self.memory().saw_all();
                    }
                    let scan = Scan::new(self.tree.clone(), found, index, kept);
                    self.keep(&scan, began);
                    return Ok(scan);
                }
                Err(LookError::Gone(path)) => gone = path,
                Err(LookError::Failed(error)) => return Err(error),
            }
        }
        Err(ExecError::ContextChanges { path: gone })
    }

    /// Goes through the directory, with what builds before remembered.
    fn look(&self, scope: &mut Scope, began: Mtime) -> Result<(Vec<Directory>, Arc<Index>), ExecError> {
        let index = self.memory().index(&self.store);
        let walker = Walker { root: &self.root, tree: &self.tree, ignore: &self.ignore, index: &index, began };
        let mut look = walker.walk(scope)?;
        self.memory().saw(&mut look, began);
        Ok((look.directories, index))
    }

    /// Returns the digest of what `selection` names in a scan: as it was computed before for the same files, else by `compute`.
    pub(crate) fn digest(
        &self,
        scan: &Scan,
        selection: &Selection,
        compute: impl FnOnce() -> Result<Digest, ExecError>,
    ) -> Result<Digest, ExecError> {
        let mut hasher = Hasher::new();
        hasher.field(crate::select::VERSION);
        hasher.field(layer::digest::VERSION);
        hasher.field(self.ignore_digest.as_bytes());
        hasher.field(selection.digest().as_bytes());
        let (key, scope) = (hasher.finish(), scan.fingerprint());
        if let Some(digest) = self.memory().selected(key, scope) {
            return Ok(digest);
        }
        let digest = compute()?;
        self.memory().remember_selected(key, scope, digest);
        Ok(digest)
    }

    /// Returns the directory, absolute.
    pub(crate) fn root(&self) -> Result<PathBuf, ExecError> {
        std::path::absolute(&self.root).map_err(ExecError::file("resolve", &self.root))
    }

    /// Forgets what was read, since it turned out to have changed.
    pub(crate) fn forget(&self) {
        self.memory().forget();
    }

    /// Begins to keep what was read for the next build, beside what comes next; [`Context::remember`] waits for it.
    pub(crate) fn remember_beside(self: &Arc<Self>) {
        let mut saving = self.saving.lock().unwrap_or_else(PoisonError::into_inner);
        if saving.is_some() || !self.memory().has_new_selections() {
            return;
        }
        let context = self.clone();
        let save = move || context.memory().save(&context.store);
        // What no thread does is done in the end.
        *saving = std::thread::Builder::new().name("context index".to_owned()).spawn(save).ok();
    }

    /// Returns something that, once it is dropped, lets go of all that is known: of many files that takes milliseconds, and nothing on the disk goes with it.
    pub(crate) fn take_memory(&self) -> impl Send + use<> {
        self.memory().take()
    }

    /// Keeps what was read for the next build.
    pub fn remember(&self) -> Result<(), StoreError> {
        let saving = self.saving.lock().unwrap_or_else(PoisonError::into_inner).take();
        let saved = saving.map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        saved.unwrap_or(Ok(())).and(self.memory().save(&self.store))
    }

    /// Tells whether an ignore file hides what would be at a path.
    pub(crate) fn hides(&self, path: &str) -> bool {
        let path = path.trim_start_matches('/');
        self.ignore.is_ignored(path) && self.root.join(path).symlink_metadata().is_ok()
    }

    fn memory(&self) -> std::sync::MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what was read. Where that was much, the list of it is made beside: its digest is none that is known.
    fn keep(&self, scan: &Scan, began: Mtime) {
        let read_of = |directory: &Directory| directory.seen().iter().filter(|file| file.is_read).count();
        let read: usize = scan.directories.iter().map(read_of).sum();
        let keep = || {
            let known = known_of(&scan.directories);
            self.memory().keep_all(known, began);
        };
        if read >= AHEAD_FILES_MIN {
            // What goes wrong with the list is said to whoever asks for it.
            rayon::join(keep, || drop(scan.stack()));
        } else if read > 0 {
            keep();
        }
    }

    /// Finds out the hashes of files: from memory, else by reading them on all cores.
    fn hash(&self, found: &mut [Directory], pack: &dyn Fn() -> Option<DraftPack>) -> Result<Option<Kept>, LookError> {
        let (unknown, is_first) = {
            let mut memory = self.memory();
            (memory.recall(found), memory.knows_nothing())
        };
        let unknown_bytes: u64 = unknown.iter().map(|file| file.stamp.size_bytes).sum();
        let draft = if is_first && unknown_bytes >= Lender::LENT_BYTES_MIN { pack() } else { None };
        let keeper = draft.as_ref().map(|draft| FileKeeper::new(draft.pack.clone()));
        let reader = || keeper.as_ref().map(FileKeeper::reader);
        // Of several names of a file, one is kept.
        let mut linked = BTreeSet::new();
        let is_first_name = |file: &&mut Seen| !file.is_linked || linked.insert((file.stamp.device, file.stamp.inode));
        let (mut unknown, mut further): (Vec<_>, Vec<_>) = unknown.into_iter().partition(is_first_name);
        unknown.par_iter_mut().try_for_each_init(reader, |reader, file| self.read(file, reader.as_mut()))?;
        further.par_iter_mut().try_for_each(|file| self.read(file, None))?;
        let kept = draft.zip(keeper.and_then(FileKeeper::finish));
        Ok(kept.map(|(draft, files)| Kept::new(files, draft)))
    }

    /// The same for a directory whose files come and go faster than they can be read: those that are gone are taken out.
    fn hash_what_stays(&self, found: &mut [Directory]) -> Result<(), LookError> {
        for file in self.memory().recall(found) {
            match self.read(file, None) {
                Err(LookError::Gone(_)) => file.is_gone = true,
                read => read?,
            }
        }
        for directory in found {
            let Files::Seen(files) = &mut directory.files else { continue };
            files.retain(|file| !file.is_gone);
        }
        Ok(())
    }

    /// Reads a file, again if it changes meanwhile.
    fn read(&self, file: &mut Seen, mut keeping: Option<&mut KeepingReader<'_>>) -> Result<(), LookError> {
        let mut read = |range: &FileRange| match &mut keeping {
            Some(reader) => reader.read(range),
            None => hash_range(range),
        };
        file.is_read = true;
        for _ in 0..ATTEMPTS_MAX {
            let before = file.stamp;
            self.read_once(file, &mut read).map_err(|error| self.read_error(file, error))?;
            if file.stamp == before {
                return Ok(());
            }
        }
        // It never stands still. What was read last counts here, and whoever copies it looks whether it is still that.
        file.stamp = Stamp { inode: 0, ..file.stamp };
        Ok(())
    }

    fn read_once(
        &self,
        file: &mut Seen,
        read: &mut dyn FnMut(&FileRange) -> io::Result<(u64, ContentHash)>,
    ) -> io::Result<()> {
        let range = self.tree.open_seen(file.path.as_path(), file.stamp.size_bytes)?;
        file.xattrs = xattrs(&range);
        let read = read(&range);
        let stat = statx(&range, c"", AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC, StatxFlags::BASIC_STATS)?;
        if FileType::from_raw_mode(stat.stx_mode.into()) != FileType::RegularFile {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "not a regular file"));
        }
        let (size_bytes, content) = read?;
        file.stamp = Stamp::of(&stat);
        file.mode = stat.stx_mode & layer::entry::MODE_BITS;
        file.is_linked = stat.stx_nlink > 1;
        file.kind = KindBuf::File { size_bytes, content };
        Ok(())
    }

    fn read_error(&self, file: &Seen, error: io::Error) -> LookError {
        let path = file.path.to_string();
        if is_gone(&error) || error.kind() == io::ErrorKind::InvalidData {
            return LookError::Gone(path);
        }
        LookError::Failed(ExecError::file::<io::Error>("read", &self.root.join(path.trim_start_matches('/')))(error))
    }
}

fn now() -> Mtime {
    let now = Timestamp::now();
    Mtime { seconds: now.unix_seconds(), nanoseconds: now.subsec_nanoseconds() }
}
