//! The files of an image, as a tar or in a directory.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use layer::tar::{TarOptions, export_stacks};
use layer::{EntryPath, EntryPathBuf, Kind, Links, Metadata, Placed, Stack};
use oci::Platform;
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_OMIT, XattrFlags, lsetxattr, utimensat};
use rustix::io::Errno;
use store::Snapshot;
use tokio_util::sync::CancellationToken;

use super::ExportRequest;
use super::archive::{Destination, open_file};
use super::draft::FileDraft;
use super::output::FilesOutput;
use crate::pieces::Until;
use crate::{Engine, Error};

impl Engine {
    pub(crate) async fn export_files(
        &self,
        export: &ExportRequest<'_>,
        output: &FilesOutput,
        cancel: &CancellationToken,
    ) -> Result<(), Error> {
        let split = output.platform_split.unwrap_or(export.images.len() > 1);
        let mut trees = Vec::with_capacity(export.snapshots.len());
        for (image, snapshot) in export.images.iter().zip(&export.snapshots) {
            trees.push((image.platform.clone(), open(snapshot).await?));
        }
        let (destination, cancel) = (output.destination.clone(), cancel.clone());
        let written = tokio::task::spawn_blocking(move || match &destination {
            Destination::Directory(root) => trees.iter().try_for_each(|(platform, stack)| {
                let target = if split { root.join(directory_name(platform)) } else { root.clone() };
                write_directory(stack, &target, &cancel)
            }),
            Destination::File(_) | Destination::Stdout => write_tar(&trees, split, &destination, &cancel),
        });
        written.await.map_err(|error| Error::Bug(error.to_string()))?
    }
}

async fn open(snapshot: &Snapshot) -> Result<Stack, Error> {
    for layer in snapshot.layers.iter() {
        layer.record().await.map_err(executor::ExecError::from)?;
    }
    let layers: Result<Vec<_>, _> = snapshot.layers.iter().map(store::Layer::open).collect();
    Ok(Stack::new(layers?))
}

/// `linux_amd64`, as buildx names the directories of platforms.
fn directory_name(platform: &Platform) -> String {
    platform.to_string().replace('/', "_")
}

fn write_tar(
    trees: &[(Platform, Stack)],
    split: bool,
    destination: &Destination,
    cancel: &CancellationToken,
) -> Result<(), Error> {
    if !split && trees.len() > 1 {
        let reason = "type=tar with platform-split=false takes one platform; use type=local".to_owned();
        return Err(Error::Output { reason });
    }
    let mut stacks = Vec::with_capacity(trees.len());
    for (platform, stack) in trees {
        let directory = if split { directory_name(platform) } else { String::new() };
        let directory = EntryPathBuf::clean(directory.as_bytes()).map_err(|error| Error::Bug(error.to_string()))?;
        stacks.push((directory, stack));
    }
    let failed = |path: &Path, error: layer::tar::ExportError| match cancel.is_cancelled() {
        true => Error::Cancelled,
        false => Error::file::<io::Error>("write", path)(io::Error::other(error)),
    };
    match destination {
        Destination::File(path) => {
            let (file, draft) = open_file(path)?;
            let written =
                export_stacks(&stacks, TarOptions::FILE_SYSTEM, Until { stream: file, cancel: cancel.clone() });
            written.map_err(|error| failed(path, error))?;
            draft.map_or(Ok(()), FileDraft::commit)
        }
        _ => {
            let out = Until { stream: io::stdout().lock(), cancel: cancel.clone() };
            let written = export_stacks(&stacks, TarOptions::FILE_SYSTEM, out);
            written.map(|_| ()).map_err(|error| failed(Path::new("-"), error))
        }
    }
}

/// Copies the files into a directory, over what is there. They belong to who runs Kiln; devices need root and are made as they are. Extended attributes that the
/// directory's file system, or the rights of who runs Kiln, do not allow are left out.
fn write_directory(stack: &Stack, root: &Path, cancel: &CancellationToken) -> Result<(), Error> {
    fs::create_dir_all(root).map_err(Error::file("create", root))?;
    let mut links = Links::new(stack);
    let mut directories = Vec::new();
    for found in stack.walk(EntryPath::ROOT).skip(1) {
        if cancel.is_cancelled() {
            return Err(Error::Cancelled);
        }
        let path = root.join(relative(found.entry.path));
        match links.place(&found, found.entry.path) {
            Placed::LinkTo(first) => {
                make_room(&path)?;
                let first = root.join(relative(first));
                fs::hard_link(&first, &path).map_err(Error::file("create", &path))?;
            }
            Placed::File(file) => {
                write_file(stack, &file, &path)?;
                if file.entry.kind.is_directory() {
                    directories.push((path, file.entry.metadata));
                }
            }
        }
    }
    // Last, since writing into a directory changes its time, and a read-only one could not be written into.
    directories.iter().rev().try_for_each(|(path, metadata)| set_attributes(path, metadata, true))
}

fn write_file(stack: &Stack, found: &layer::Found<'_>, path: &Path) -> Result<(), Error> {
    let metadata = &found.entry.metadata;
    match found.entry.kind {
        Kind::Directory { .. } => match fs::create_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
            made => made.map_err(Error::file("create", path)),
        },
        Kind::File { .. } => {
            make_room(path)?;
            let mut content = stack.open(found).map_err(executor::ExecError::from)?;
            let written = fs::File::create_new(path).and_then(|mut file| io::copy(&mut content, &mut file));
            written.map_err(Error::file("write", path))?;
            set_attributes(path, metadata, true)
        }
        Kind::Symlink { target } => {
            make_room(path)?;
            let target: &std::ffi::OsStr = std::os::unix::ffi::OsStrExt::from_bytes(target);
            symlink(target, path).map_err(Error::file("create", path))?;
            set_attributes(path, metadata, false)
        }
        Kind::CharDevice(device) => make_node(path, rustix::fs::FileType::CharacterDevice, device, metadata),
        Kind::BlockDevice(device) => make_node(path, rustix::fs::FileType::BlockDevice, device, metadata),
        Kind::Fifo => {
            let none = layer::Device { major: 0, minor: 0 };
            make_node(path, rustix::fs::FileType::Fifo, none, metadata)
        }
        Kind::HardLink { .. } | Kind::Whiteout => Ok(()),
    }
}

fn make_node(
    path: &Path,
    kind: rustix::fs::FileType,
    device: layer::Device,
    metadata: &Metadata<'_>,
) -> Result<(), Error> {
    make_room(path)?;
    let number = rustix::fs::makedev(device.major, device.minor);
    let mode = rustix::fs::Mode::from_raw_mode(metadata.mode.into());
    rustix::fs::mknodat(CWD, path, kind, mode, number).map_err(Error::file("create", path))?;
    set_attributes(path, metadata, true)
}

/// Removes what stands where a file is to go; a directory stays, and is an error.
fn make_room(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::file("replace", path)(error)),
        _ => Ok(()),
    }
}

fn set_attributes(path: &Path, metadata: &Metadata<'_>, has_mode: bool) -> Result<(), Error> {
    // Before the mode: an access control list sets the bits of the group.
    for (name, value) in metadata.xattrs.exported() {
        match lsetxattr(path, name, value, XattrFlags::empty()) {
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::PERM | Errno::ACCESS) => {}
            Err(errno) => return Err(Error::file::<Errno>("set an extended attribute of", path)(errno)),
        }
    }
    if has_mode {
        let mode = fs::Permissions::from_mode(metadata.mode.into());
        let is_set = fs::metadata(path).is_ok_and(|there| there.mode() & 0o7777 == u32::from(metadata.mode));
        if !is_set {
            fs::set_permissions(path, mode).map_err(Error::file("change the mode of", path))?;
        }
    }
    let times = Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: metadata.mtime.seconds, tv_nsec: i64::from(metadata.mtime.nanoseconds) },
    };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).map_err(Error::file("change the time of", path))
}

fn relative(path: EntryPath<'_>) -> &Path {
    Path::new(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(path.as_bytes()))
}
