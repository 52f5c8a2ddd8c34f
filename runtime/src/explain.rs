//! From the step that failed in the new process to an error that names what it was about.

use std::ffi::{CStr, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::child::{Failure, Step};
use crate::elf::{self, Program, host_architecture};
use crate::error::StartError;
use crate::lookup::{self, Links};
use crate::plan::Plan;
use crate::spec::Resource;

/// Returns the error for a failure.
pub(crate) fn explain(plan: &Plan, failure: Failure) -> StartError {
    let Failure { step, index, errno } = failure;
    let source = errno.into();
    let target = || plan.mounts.get(index).map(|mount| mount.point.as_path().to_owned()).unwrap_or_default();
    let sealed = plan.sealed.as_ref();
    match step {
        Step::JoinGroup => StartError::JoinGroup { source },
        Step::GroupNamespace => StartError::GroupNamespace { source },
        Step::Keyring => StartError::Keyring { source },
        Step::JoinNetwork => StartError::JoinNetwork { source },
        Step::Loopback => StartError::Loopback { source },
        Step::PrivateMounts => StartError::PrivateMounts { source },
        Step::AttachRoot => StartError::AttachRoot { source },
        Step::EnterRoot => StartError::EnterRoot { source },
        Step::PivotRoot => StartError::PivotRoot { source },
        Step::DetachHost => StartError::DetachHost { source },
        Step::CreatePoint => StartError::CreateMountPoint { target: target(), source },
        Step::OpenPoint => StartError::OpenMountPoint { target: target(), source },
        Step::MountFileSystem => StartError::FileSystem { target: target(), source },
        Step::ClonePart => StartError::ClonePart { target: target(), source },
        Step::Attach => StartError::Mount { target: target(), source },
        Step::Device => StartError::Device { source },
        Step::Mask => {
            let path = sealed.and_then(|sealed| sealed.masked.get(index)).map(|path| to_path(path)).unwrap_or_default();
            StartError::Mask { path, source }
        }
        Step::ReadOnlyPath => {
            let path =
                sealed.and_then(|sealed| sealed.read_only.get(index)).map(|path| to_path(path)).unwrap_or_default();
            StartError::ReadOnlyPath { path, source }
        }
        Step::SealDevices => StartError::SealDevices { source },
        Step::SealRoot => StartError::SealRoot { source },
        Step::HostName => StartError::Hostname { name: plan.hostname.clone().unwrap_or_default(), source },
        Step::Session => StartError::Session { source },
        Step::Streams => StartError::Streams { source },
        Step::Terminal => StartError::Terminal { source },
        Step::Descriptors => StartError::Descriptors { source },
        Step::WorkingDirectory => StartError::WorkingDirectory { path: to_path(&plan.cwd), source },
        Step::Rlimit => {
            let resource = plan.rlimits.get(index).map_or(rustix::process::Resource::Nofile, |(resource, _)| *resource);
            StartError::Rlimit { resource: Resource(resource), source }
        }
        Step::NoNewPrivileges => StartError::NoNewPrivileges { source },
        Step::BoundingSet => StartError::BoundingSet { source },
        Step::Filter => StartError::Filter { source },
        Step::Groups => StartError::Groups { source },
        Step::Group => StartError::Group { gid: plan.identity.gid.as_raw(), source },
        Step::User => StartError::User { uid: plan.identity.uid.as_raw(), source },
        Step::Capabilities => StartError::Capabilities { source },
        Step::FindProgram => not_found(plan, errno),
        Step::Execute => not_executed(plan, index, errno),
    }
}

fn not_found(plan: &Plan, errno: Errno) -> StartError {
    let name = plan.command.name.clone();
    match errno {
        Errno::NOENT if plan.command.searched => StartError::NotInPath { name },
        Errno::NOENT => StartError::NotFound { name },
        Errno::ACCESS => StartError::PermissionDenied { name },
        Errno::ISDIR => StartError::IsDirectory { name },
        errno => StartError::Execute { path: name.into(), source: errno.into() },
    }
}

fn not_executed(plan: &Plan, index: usize, errno: Errno) -> StartError {
    let path = plan.command.candidates.get(index).map(|path| to_path(path)).unwrap_or_default();
    let path = to_path(&plan.cwd).join(path);
    match errno {
        Errno::NOEXEC => match look_inside(plan, &path) {
            Some(Program::Elf { architecture, .. }) => StartError::ExecFormat { path, architecture },
            Some(Program::Script { interpreter }) => {
                let architecture = look_inside(plan, Path::new(&interpreter)).and_then(Program::architecture);
                StartError::ExecFormat { path: interpreter.into(), architecture }
            }
            _ => StartError::ExecFormat { path, architecture: None },
        },
        // What an emulator runs finds its loader itself; the emulator is what the kernel looked for.
        Errno::NOENT => match look_inside(plan, &path) {
            Some(Program::Elf { architecture: Some(architecture), .. }) if architecture != host_architecture() => {
                StartError::NoEmulator { path, architecture }
            }
            Some(Program::Elf { interpreter: Some(interpreter), .. } | Program::Script { interpreter }) => {
                StartError::NoInterpreter { path, interpreter: Some(interpreter.into()) }
            }
            _ => StartError::NoInterpreter { path, interpreter: None },
        },
        Errno::ACCESS => StartError::PermissionDenied { name: plan.command.name.clone() },
        errno => StartError::Execute { path, source: errno.into() },
    }
}

/// Looks at a file of the root; what was mounted over it is gone.
fn look_inside(plan: &Plan, path: &Path) -> Option<Program> {
    let file = lookup::open_with(&plan.root, path, OFlags::RDONLY | OFlags::NONBLOCK, Links::Follow).ok()?;
    let mut bytes = vec![0; elf::HEADER_BYTES];
    let length = rustix::io::pread(&file, &mut bytes, 0).ok()?;
    Some(elf::inspect(bytes.get(..length)?))
}

fn to_path(path: &CStr) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(path.to_bytes()))
}
