//! Layers that are images, beside layers that are directories.

use std::fs;
use std::path::Path;
use std::process::Command;

use runtime::kernel::MountSupport;
use runtime::overlay::{Image, ImageAccess, Layer, Overlay, OverlayError, SharedImage};

use crate::world::{World, chain, check_spec, shell};

/// Makes an image of what is in a directory; its bytes are in the image itself.
fn image(world: &World, name: &str, files: &[&str]) -> Image {
    let (tree, index) = (world.layer(name, files), world.path(&format!("{name}.erofs")));
    let made = Command::new("mkfs.erofs").args([&index, &tree]).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    Image { index, packs: Vec::new(), access: ImageAccess::Files }
}

fn loops_of(path: &Path) -> Vec<String> {
    let backing = |entry: fs::DirEntry| fs::read_to_string(entry.path().join("loop/backing_file")).ok();
    let all = fs::read_dir("/sys/block").unwrap().flatten().filter_map(backing);
    all.filter(|file| Path::new(file.trim()).starts_with(path)).collect()
}

#[test]
fn images_are_layers_between_directories_and_nothing_of_them_stays() {
    for world in World::on_every_kernel() {
        for access in [ImageAccess::Files, ImageAccess::LoopDevices] {
            let name = format!("image{access:?}");
            let (lower, upper) =
                (image(&world, &format!("{name}1"), &["a", "b"]), image(&world, &format!("{name}2"), &["c"]));
            let with = |image: Image| Layer::Image(Image { access, ..image });
            let (mut overlay, _) = world.overlay(&[world.base(), world.layer(&format!("{name}3"), &["d"])]);
            overlay.lowers.insert(1, with(lower));
            overlay.lowers.push(with(upper));
            check_spec(
                &world,
                shell(overlay, "ls / | grep '^.$' | tr -d '\\n'; rm /a; echo; [ -e /a ] || echo gone"),
                "abcd\ngone\n",
            );
            assert_eq!(loops_of(&world.path("")), Vec::<String>::new());
        }
    }
}

#[test]
fn an_image_that_is_shared_is_mounted_once_where_the_kernel_allows_it() {
    for world in World::on_every_kernel() {
        let image = image(&world, "shared", &["a"]);
        let shared = SharedImage::new(Image { access: ImageAccess::LoopDevices, ..image });
        for _ in 0..3 {
            let (mut overlay, _) = world.overlay(&[world.base()]);
            overlay.lowers.push(shared.clone().into());
            // What one sandbox does to its files, the next one does not see.
            check_spec(&world, shell(overlay, "ls /a; echo x >> /a && rm /a"), "/a\n");
        }
        let mounted = usize::from(world.launcher.kernel().mounts == MountSupport::Detached);
        assert_eq!(loops_of(&world.path("")).len(), mounted);
        drop(shared);
        assert_eq!(loops_of(&world.path("")), Vec::<String>::new());
    }
}

#[test]
fn what_is_no_image_is_said() {
    let world = World::new();
    let index = world.path("none");
    fs::write(&index, vec![0; 8192]).unwrap();
    for access in [ImageAccess::Files, ImageAccess::LoopDevices] {
        let lower = Layer::Image(Image { index: index.clone(), packs: Vec::new(), access });
        let error = Overlay { lowers: vec![lower], upper: None }.mount(world.launcher.kernel()).unwrap_err();
        assert!(matches!(error, OverlayError::Image { .. }));
        assert_eq!(
            chain(&error),
            format!("cannot mount the layer image `{}`: Invalid argument (os error 22)", index.display())
        );
        assert_eq!(loops_of(&world.path("")), Vec::<String>::new());
    }
}
