//! Overlay file systems of the kernel, to compare with: mounted, but nowhere to be seen, and gone when dropped.

use std::fs::{self, File};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;

use layer::upper;
use layer::{Content, Layer, Stack, Tree};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_string, fsmount, fsopen};
use tempfile::TempDir;

use crate::world::{World, stack, temporary};

/// A mounted overlay: a stack of worlds and an upper directory.
pub(crate) struct Overlay {
    mount: OwnedFd,
    directory: TempDir,
    below: Stack,
}

impl Overlay {
    /// Mounts worlds on top of each other, with a new upper directory.
    pub(crate) fn mount(worlds: &[World]) -> Self {
        let directory = temporary();
        let at = |name: &str| directory.path().join(name);
        ["upper", "work", "empty"].iter().for_each(|name| fs::create_dir(at(name)).unwrap());
        let below = stack(worlds);
        upper::prepare(File::open(at("upper")).unwrap().into(), &below).unwrap();
        let lowers = worlds.iter().rev().map(|world| world.directory.path().display().to_string());
        let lowers: Vec<String> = lowers.chain([at("empty").display().to_string()]).collect();
        let mount = (|| {
            let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
            fsconfig_set_string(&context, "lowerdir", lowers.join(":"))?;
            fsconfig_set_string(&context, "upperdir", at("upper"))?;
            fsconfig_set_string(&context, "workdir", at("work"))?;
            for (key, value) in [("index", "off"), ("redirect_dir", "off"), ("metacopy", "off"), ("xino", "on")] {
                fsconfig_set_string(&context, key, value)?;
            }
            fsconfig_create(&context)?;
            fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
        })();
        Self { mount: mount.unwrap(), directory, below }
    }

    /// Returns the path of a file in the mounted file system.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.mount.as_raw_fd())).join(name)
    }

    /// Returns the mounted file system as a tree.
    pub(crate) fn tree(&self) -> Tree {
        Tree::new(File::open(self.path("")).unwrap().into())
    }

    /// Runs a script with the mounted file system as the working directory.
    pub(crate) fn run(&self, script: &str) {
        let mut command = std::process::Command::new("sh");
        let output =
            command.args(["-ec", &format!("umask 022; {script}")]).current_dir(self.path("")).output().unwrap();
        assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Returns what changed, as a layer of its own.
    pub(crate) fn changes(&self) -> Layer {
        let tree = Tree::new(File::open(self.directory.path().join("upper")).unwrap().into());
        let entries = upper::scan(&tree, &self.below).unwrap();
        Layer { entries, content: Content::Tree(tree) }
    }

    pub(crate) fn below(&self) -> &Stack {
        &self.below
    }
}
