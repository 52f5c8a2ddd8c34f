//! Outputs, archives, and what other programs read.

use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::process::Command;

use crate::world::World;

const DOCKERFILE: &str =
    "FROM busybox\nRUN mkdir -p /d && echo text > /d/f && ln -s f /d/link && chmod 750 /d\nCMD [\"cat\", \"/d/f\"]\n";

fn world() -> World {
    let world = World::new();
    world.write("ctx/Dockerfile", DOCKERFILE);
    world
}

fn tar_names(world: &World, name: &str) -> Vec<String> {
    let output = Command::new("tar").args(["-tf", name]).current_dir(world.path("")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn files_go_into_a_directory_or_a_tar() {
    use std::os::unix::fs::PermissionsExt;
    let world = world();
    world.build(&["-o", "out", "-o", "type=tar,dest=files.tar", "ctx"]);
    assert_eq!(world.read("out/d/f"), "text\n");
    assert_eq!(fs::read_link(world.path("out/d/link")).unwrap().to_str(), Some("f"));
    assert_eq!(fs::metadata(world.path("out/d")).unwrap().permissions().mode() & 0o777, 0o750);
    let names = tar_names(&world, "files.tar");
    assert!(names.contains(&"d/f".to_owned()) && names.contains(&"bin/busybox".to_owned()), "{names:?}");
    assert_eq!(world.ok(&["images", "--format", "{{.Repository}}"]), "busybox\n");
}

// spec 110
#[test]
fn several_platforms_have_directories_of_their_own() {
    let world = World::empty();
    world.write("ctx/Dockerfile", "FROM scratch\nARG TARGETARCH\nCOPY <<EOF /arch\n$TARGETARCH\nEOF\n");
    world.build(&[
        "--platform",
        "linux/amd64,linux/arm64",
        "-o",
        "type=local,dest=out",
        "-o",
        "type=oci,dest=both.tar",
        "-o",
        "type=tar,dest=files.tar",
        "ctx",
    ]);
    assert_eq!(
        tar_names(&world, "files.tar"),
        ["linux_amd64/", "linux_amd64/arch", "linux_arm64/", "linux_arm64/arch"]
    );
    assert_eq!(world.read("out/linux_amd64/arch"), "amd64\n");
    assert_eq!(world.read("out/linux_arm64/arch"), "arm64\n");
    let loaded = world.ok(&["load", "-i", "both.tar"]);
    assert_eq!(loaded.lines().count(), 2, "{loaded}");
}

#[test]
fn an_image_is_the_same_after_a_way_through_every_bundle() {
    let world = world();
    let outputs = [
        "type=oci,dest=oci.tar",
        "type=oci,dest=oci,tar=false",
        "type=docker,dest=docker.tar",
        "type=oci,dest=zstd.tar,compression=zstd",
    ];
    let mut args = vec!["-t", "app:1"];
    outputs.iter().for_each(|output| args.extend(["-o", output]));
    args.extend(["-o", "type=docker", "ctx"]);
    world.build(&args);
    let id = world.ok(&["inspect", "-f", "{{.Id}}", "app:1"]);
    world.ok(&["save", "-o", "saved.tar", "app:1"]);
    for bundle in ["oci.tar", "oci", "docker.tar", "zstd.tar", "saved.tar"] {
        let root = world.path(&format!("store-{bundle}"));
        let root = root.to_str().unwrap();
        assert_eq!(world.ok(&["--root", root, "load", "-i", bundle]), "Loaded image: app:1\n", "{bundle}");
        assert_eq!(world.ok(&["--root", root, "inspect", "-f", "{{.Id}}", "app:1"]), id, "{bundle}");
        assert_eq!(world.ok(&["--root", root, "run", "--rm", "app:1"]), "text\n", "{bundle}");
    }
}

#[test]
fn a_bundle_may_go_to_standard_output_and_come_from_standard_input() {
    let world = world();
    world.build(&["-t", "app", "ctx"]);
    let saved = world.command(&["save", "app"]).output().unwrap().stdout;
    let root = world.path("other");
    let ended = world.kiln_reading(&["--root", root.to_str().unwrap(), "load"], &saved);
    assert_eq!((ended.code, ended.stdout.as_str()), (0, "Loaded image: app:latest\n"), "{}", ended.stderr);
    let built = world.command(&["build", "-q", "-o", "-", "ctx"]).output().unwrap();
    fs::write(world.path("files.tar"), built.stdout).unwrap();
    assert!(tar_names(&world, "files.tar").contains(&"d/f".to_owned()));
}

#[test]
fn a_damaged_bundle_is_refused() {
    let world = World::empty();
    world.write("no-image/readme", "x");
    let failed = |args: &[&str]| world.kiln(args).stderr;
    let said = failed(&["load", "-i", "no-image"]);
    assert!(said.contains("cannot load `no-image`: it has neither a `manifest.json` nor an `index.json`"), "{said}");
    world.write("truncated.tar", "not a tar");
    assert!(
        failed(&["load", "-i", "truncated.tar"]).contains("truncated.tar"),
        "{}",
        failed(&["load", "-i", "truncated.tar"])
    );
    assert!(failed(&["load", "-i", "nowhere"]).contains("cannot open `nowhere`"));
}

// The archives that older Dockers wrote: one directory a layer, no OCI layout.
#[test]
fn an_old_docker_archive_is_loaded() {
    let world = world();
    world.build(&["-t", "app", "ctx"]);
    world.ok(&["save", "-o", "new.tar", "app"]);
    let script = r#"
        set -e; mkdir new old; tar -xf new.tar -C new; cd new
        python3 - <<'EOF'
import json, os, shutil
[m] = json.load(open('manifest.json'))
layers = []
for i, path in enumerate(m['Layers']):
    os.makedirs(f'../old/l{i}')
    shutil.copy(path, f'../old/l{i}/layer.tar')
    layers.append(f'l{i}/layer.tar')
shutil.copy(m['Config'], '../old/config.json')
json.dump([{'Config': 'config.json', 'RepoTags': ['old:1'], 'Layers': layers}], open('../old/manifest.json', 'w'))
EOF
        tar -czf ../old.tar.gz -C ../old .
    "#;
    let made = Command::new("sh").args(["-c", script]).current_dir(world.path("")).status().unwrap();
    assert!(made.success());
    assert_eq!(world.ok(&["load", "-i", "old.tar.gz"]), "Loaded image: old:1\n");
    assert_eq!(world.ok(&["run", "--rm", "old:1"]), "text\n");
}

/// `save -o /dev/null` once put a file in the place of the device.
#[test]
fn a_pipe_or_a_device_is_written_to_and_not_replaced() {
    let world = World::new();
    let pipe = world.path("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for args in [["save", "-o", "pipe", "busybox"].as_slice(), &["build", "-q", "-o", "type=tar,dest=pipe", "ctx"]] {
        world.write("ctx/Dockerfile", "FROM busybox");
        let mut writing = world.spawn(args);
        assert!(fs::read(&pipe).unwrap().len() > 500_000);
        assert!(writing.wait().unwrap().success());
        assert!(fs::symlink_metadata(&pipe).unwrap().file_type().is_fifo());
    }
}

/// What is exported in several gzip members or zstd frames is one stream for other programs: skopeo checks every digest, umoci and zstd unpack.
#[test]
fn other_programs_read_compressed_layers() {
    let world = World::new();
    let large: Vec<u8> =
        (0..3_000_000u32).flat_map(|number| (number.wrapping_mul(2_654_435_761) >> 7).to_le_bytes()).collect();
    world.write("ctx/large", &large);
    world.write("ctx/Dockerfile", "FROM busybox\nCOPY large /large");
    let run = |program: &str, args: &[&str]| {
        let output = Command::new(program).args(args).current_dir(world.path("")).output().unwrap();
        assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    for (compression, level) in [("gzip", "1"), ("gzip", "9"), ("zstd", "3"), ("uncompressed", "0")] {
        let (layout, copy) = (format!("{compression}{level}"), format!("dir:copy-{compression}{level}"));
        let output = format!(
            "type=oci,dest={layout},tar=false,compression={compression},compression-level={level},force-compression=true"
        );
        world.ok(&["build", "-q", "-t", "app:1", "-o", &output, "ctx"]);
        run("skopeo", &["copy", "--insecure-policy", "-q", &format!("oci:{layout}:1"), &copy]);
        if compression == "zstd" {
            let largest =
                fs::read_dir(world.path(&format!("{layout}/blobs/sha256"))).unwrap().map(|blob| blob.unwrap());
            let largest = largest.max_by_key(|blob| blob.metadata().unwrap().len()).unwrap().path();
            fs::write(world.path("layer.tar"), run("zstd", &["-dc", largest.to_str().unwrap()])).unwrap();
            assert!(run("tar", &["-xOf", "layer.tar", "large"]) == large);
        } else {
            let bundle = format!("bundle-{layout}");
            run("umoci", &["unpack", "--image", &format!("{layout}:1"), &bundle]);
            assert!(fs::read(world.path(&bundle).join("rootfs/large")).unwrap() == large);
        }
    }
}
