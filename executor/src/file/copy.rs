//! `COPY` and `ADD`: what a selection names goes where the destination says.
//!
//! The rules are those of BuildKit (specification, section 1.5 and lines 55 to 80): a destination is followed through links of the image; what exists and is a directory
//! is copied into; the content of a directory goes beneath, and directories in it that exist get the attributes of those copied.

use std::collections::BTreeSet;

use layer::tar::is_archive;
use layer::tree::TreeError;
use layer::unpack::{ArchiveOptions, unpack_archive};
use layer::{
    ContentError, Entries, EntryPath, EntryPathBuf, FileRange, FileSource, Follow, Found, Kind, LentFile, Links,
    Metadata, MetadataBuf, Mtime, Placed, Special, Stack, TreeWriter, WrittenFile,
};
use llb::{Copy, Unpack};
use rayon::iter::{IntoParallelIterator, ParallelIterator};

use super::mode::ModeChange;
use super::{Changes, CopySource, FileError, Implied, make_directories, make_directories_at, make_parents, owner};
use crate::ExecError;
use crate::select::{Match, SelectError, Selected, select};

/// How many files are written at a time.
const BATCH_FILES_MAX: usize = 1024;

pub(super) fn copy(
    writer: &TreeWriter,
    copy: &Copy,
    source: &CopySource<'_>,
    (now, before): (Mtime, Option<&Entries>),
) -> Result<(), FileError> {
    let owner = copy.owner.as_deref().map(|owner| owner::resolve(writer.below(), owner)).transpose()?;
    let mode = copy.mode.as_deref().and_then(ModeChange::parse);
    let (uid, gid) = owner.unwrap_or((0, 0));
    let metadata = Metadata { mode: 0o755, uid, gid, mtime: now, ..Metadata::default() };
    let implied = Implied { metadata, before };
    let selected = select(source.stack, source.selection).map_err(|error| select_error(error, source))?;
    let copier = Copier { writer, source, selected: &selected, owner, mode, implied };
    if selected.matches.is_empty() {
        return Ok(());
    }
    for named in &selected.matches {
        if copy.unpack == Unpack::Archives && copier.unpack(named, &copy.destination)? {
            continue;
        }
        copier.copy_match(named, &copy.destination)?;
    }
    Ok(())
}

fn select_error(error: SelectError, source: &CopySource<'_>) -> ExecError {
    match error {
        SelectError::NotFound(path) => {
            ExecError::NotFound { source_name: source.name.to_owned(), path, is_ignored: false }
        }
        SelectError::Resolve(source) => ExecError::Resolve { path: source.to_string(), source },
    }
}

struct Copier<'a> {
    writer: &'a TreeWriter,
    source: &'a CopySource<'a>,
    selected: &'a Selected<'a>,
    owner: Option<(u32, u32)>,
    mode: Option<ModeChange>,
    /// What directories get that are made for the destination.
    implied: Implied<'a>,
}

/// A file whose place is taken and whose bytes are still to be written.
struct Waiting<'a, 'w> {
    slot: layer::FileSlot<'w>,
    found: Found<'a>,
}

impl<'a> Copier<'a> {
    fn stack(&self) -> &'a Stack {
        self.source.stack
    }

    /// Unpacks an archive into the destination, which is a directory then; tells whether it was one.
    fn unpack(&self, named: &Match, destination: &str) -> Result<bool, FileError> {
        if named.is_directory || self.selected.is_excluded(named) {
            return Ok(false);
        }
        let Some(found) = self.stack().lookup(named.path.as_path()) else { return Ok(false) };
        let found = self.stack().target(&found);
        if !matches!(found.entry.kind, Kind::File { .. }) || !is_archive(self.open(&found)?) {
            return Ok(false);
        }
        make_directories(self.writer, destination, &self.implied)?;
        let target = self.resolve(destination)?;
        let options = ArchiveOptions { owner: self.owner, ..ArchiveOptions::default() };
        let name = String::from_utf8_lossy(&named.name).into_owned();
        let unpacked = unpack_archive(self.open(&found)?, self.writer, target.as_path(), options);
        unpacked.map_err(|source| ExecError::Unpack { name, source })?;
        Ok(true)
    }

    fn copy_match(&self, named: &Match, destination: &str) -> Result<(), FileError> {
        if !named.is_directory && self.selected.is_excluded(named) {
            return Ok(());
        }
        if destination.ends_with('/') {
            make_directories(self.writer, destination, &self.implied)?;
        }
        let target = self.resolve(destination)?;
        let existing = self.writer.lookup(target.as_path()).map(|entry| entry.as_entry().kind.is_directory());
        if named.is_directory {
            make_directories_at(self.writer, target.as_path(), &self.implied)?;
            return self.copy_directory(named, target.as_path());
        }
        let target = match existing {
            Some(true) => self.child(target.as_path(), &named.name)?,
            Some(false) | None => {
                make_parents(self.writer, target.as_path(), &self.implied)?;
                target
            }
        };
        let Some(found) = self.stack().lookup(named.path.as_path()) else { return Ok(()) };
        let mut batch = Batch::new(self);
        batch.add(self.stack().target(&found), target)?;
        batch.write()
    }

    fn copy_directory(&self, named: &Match, target: EntryPath<'_>) -> Result<(), FileError> {
        let mut links = Links::new(self.stack());
        let mut batch = Batch::new(self);
        for item in self.selected.items(named) {
            let path = target.join(item.path);
            match links.place(&item.found, path.as_path()) {
                Placed::LinkTo(first) => {
                    let first = first.to_owned();
                    batch.write()?;
                    self.refuse_directory(path.as_path())?;
                    self.writer.make_hard_link(path.as_path(), first.as_path())?;
                }
                Placed::File(found) if found.entry.kind.is_directory() => {
                    batch.write_at(path.as_path())?;
                    self.make_directory(path.as_path(), &found)?;
                }
                Placed::File(found) => batch.add(found, path)?,
            }
        }
        batch.write()
    }

    fn make_directory(&self, path: EntryPath<'_>, found: &Found<'_>) -> Result<(), FileError> {
        match self.writer.lookup(path) {
            Some(there) if !there.as_entry().kind.is_directory() => {
                return Err(ExecError::NotADirectory { path: path.to_text() }.into());
            }
            _ => {}
        }
        self.writer.make_directory(path, &self.metadata(found).as_metadata())?;
        Ok(())
    }

    fn refuse_directory(&self, path: EntryPath<'_>) -> Result<(), ExecError> {
        match self.writer.lookup(path) {
            Some(there) if there.as_entry().kind.is_directory() => {
                Err(ExecError::IsADirectory { path: path.to_text() })
            }
            _ => Ok(()),
        }
    }

    fn make_lent_file(&self, path: EntryPathBuf, metadata: MetadataBuf, file: LentFile) -> Result<(), ExecError> {
        self.writer.make_lent_file(path, metadata, file).map_err(|error| match error {
            TreeError::Occupied { path, existing: "directory", .. } => ExecError::IsADirectory { path },
            error => error.into(),
        })
    }

    /// Returns what a copied file gets.
    fn metadata(&self, found: &Found<'_>) -> MetadataBuf {
        let mut metadata = MetadataBuf::from(&found.entry.metadata);
        if let Some((uid, gid)) = self.owner {
            (metadata.uid, metadata.gid) = (uid, gid);
        }
        if let Some(mode) = &self.mode
            && !matches!(found.entry.kind, Kind::Symlink { .. })
        {
            metadata.mode = mode.apply(metadata.mode, found.entry.kind.is_directory());
        }
        metadata
    }

    fn open(&self, found: &Found<'_>) -> Result<FileRange, FileError> {
        self.stack().open(found).map_err(|error| match error {
            ContentError::Open { path, .. } | ContentError::Size { path, .. }
                if self.source.changes != Changes::Impossible =>
            {
                FileError::Changed { path }
            }
            error => FileError::Failed(error.into()),
        })
    }

    fn resolve(&self, destination: &str) -> Result<EntryPathBuf, ExecError> {
        let resolved = self.writer.resolve(destination.as_bytes(), Follow::All);
        resolved.map_err(|source| ExecError::Resolve { path: destination.to_owned(), source })
    }

    fn child(&self, directory: EntryPath<'_>, name: &[u8]) -> Result<EntryPathBuf, ExecError> {
        let path = || format!("{}/{}", directory.to_text(), String::from_utf8_lossy(name));
        directory.child(name).map_err(|source| ExecError::Path { path: path(), source })
    }
}

/// Files whose places are taken one after the other, and whose bytes are then written on all cores.
struct Batch<'a, 'c> {
    copier: &'c Copier<'a>,
    waiting: Vec<Waiting<'a, 'c>>,
    paths: BTreeSet<EntryPathBuf>,
}

impl<'a, 'c> Batch<'a, 'c> {
    fn new(copier: &'c Copier<'a>) -> Self {
        Self { copier, waiting: Vec::new(), paths: BTreeSet::new() }
    }

    /// Copies something that is not a directory, sooner or later.
    fn add(&mut self, found: Found<'a>, path: EntryPathBuf) -> Result<(), FileError> {
        let copier = self.copier;
        self.write_at(path.as_path())?;
        let metadata = copier.metadata(&found);
        // What is in a pack already is what was seen of the file, whatever is in it by now.
        if let Kind::File { size_bytes: size_bytes @ 1.., content } = found.entry.kind
            && let Some(lent) = copier.writer.find_lent(WrittenFile { size_bytes, content })
        {
            return Ok(copier.make_lent_file(path, metadata, lent)?);
        }
        let metadata = metadata.as_metadata();
        copier.refuse_directory(path.as_path())?;
        let special = match found.entry.kind {
            Kind::File { .. } => {
                let slot = copier.writer.file_slot(path.as_path(), &metadata)?;
                self.waiting.push(Waiting { slot, found });
                self.paths.insert(path);
                return if self.waiting.len() == BATCH_FILES_MAX { self.write() } else { Ok(()) };
            }
            Kind::Symlink { target } => {
                copier.writer.make_symlink(path.as_path(), target, &metadata)?;
                return Ok(());
            }
            Kind::CharDevice(device) => Special::CharDevice(device),
            Kind::BlockDevice(device) => Special::BlockDevice(device),
            Kind::Fifo => Special::Fifo,
            Kind::Directory { .. } | Kind::HardLink { .. } | Kind::Whiteout => return Ok(()),
        };
        copier.writer.make_special(path.as_path(), special, &metadata)?;
        Ok(())
    }

    /// Writes what waits if the file at `path` is among it: asking about that would wait for ourselves.
    fn write_at(&mut self, path: EntryPath<'_>) -> Result<(), FileError> {
        // Mostly what comes next is behind all that waits; else what is nearest before it is above it, if anything is.
        let nearest = match self.paths.last() {
            Some(last) if last.as_path() <= path => Some(last),
            Some(_) => self.paths.range(..=path.to_owned()).next_back(),
            None => None,
        };
        if nearest.is_some_and(|nearest| path.is_within(nearest.as_path())) { self.write() } else { Ok(()) }
    }

    fn write(&mut self) -> Result<(), FileError> {
        self.paths.clear();
        let copier = self.copier;
        let waiting = std::mem::take(&mut self.waiting);
        if let [_] = waiting.as_slice() {
            return waiting.into_iter().try_for_each(|file| file.write(copier));
        }
        waiting.into_par_iter().try_for_each(|file| file.write(copier))
    }
}

impl Waiting<'_, '_> {
    fn write(self, copier: &Copier<'_>) -> Result<(), FileError> {
        let Kind::File { size_bytes, content } = self.found.entry.kind else { return Ok(()) };
        if size_bytes == 0 {
            // There is nothing to be read, and of a socket of a build context nothing could be.
            self.slot.write(FileSource::Bytes(&[]))?;
            return Ok(());
        }
        let slot = self.slot;
        match copier.source.changes {
            Changes::Impossible => {
                let range = copier.open(&self.found)?;
                slot.write(FileSource::Range { range: &range, content: Some(content) })?;
            }
            Changes::Refused => {
                let range = copier.open(&self.found)?;
                // Its bytes are hashed again on the way, whatever its length.
                let written = slot.write(FileSource::Range { range: &range, content: None });
                match written {
                    Ok(written) if written.content == content => {}
                    Ok(_) | Err(TreeError::SourceChanged { .. }) => {
                        return Err(FileError::Changed { path: self.found.entry.path.to_text() });
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            Changes::Taken => {
                // A slot that nothing is written to is given up: the file is gone.
                if let Ok(mut range) = copier.stack().open_as_it_is(&self.found) {
                    slot.write(FileSource::Reader(&mut range))?;
                }
            }
        }
        Ok(())
    }
}
