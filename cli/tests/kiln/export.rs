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

// spec 109: where nothing asks for attestations.
#[test]
fn a_layout_of_one_platform_names_a_manifest_and_no_index() {
    let world = World::empty();
    world.write("ctx/Dockerfile", "FROM scratch\nLABEL a=b\n");
    world.build(&["-o", "type=oci,tar=false,dest=out", "ctx"]);
    let index: serde_json::Value = serde_json::from_str(&world.read("out/index.json")).unwrap();
    let manifests = index["manifests"].as_array().unwrap();
    let types: Vec<&str> = manifests.iter().map(|it| it["mediaType"].as_str().unwrap()).collect();
    assert_eq!(types, ["application/vnd.oci.image.manifest.v1+json"]);
}

#[test]
fn files_and_directories_keep_their_extended_attributes() {
    let world = World::empty();
    world.write("ctx/Dockerfile", "FROM scratch\nCOPY d /d\n");
    world.write("ctx/d/f", "text\n");
    world.write("ctx/d/e/g", "");
    let set = |name: &str, value: &[u8]| {
        rustix::fs::setxattr(world.path(name), "user.note", value, rustix::fs::XattrFlags::empty()).unwrap();
    };
    set("ctx/d/f", b"of the file");
    set("ctx/d/e", b"of the directory");
    world.build(&["-o", "out", "ctx"]);
    let get = |name: &str| {
        let mut value = [0; 64];
        let length = rustix::fs::getxattr(world.path(name), "user.note", &mut value[..]).unwrap();
        String::from_utf8_lossy(&value[..length]).into_owned()
    };
    assert_eq!((get("out/d/f").as_str(), get("out/d/e").as_str()), ("of the file", "of the directory"));
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

/// In a file, a layer is written before its header; on standard output it cannot be. A layer that is there twice is written once.
#[test]
fn a_bundle_has_the_same_bytes_in_a_file_and_on_standard_output() {
    let world = World::new();
    world.write("ctx/twice", "text\n".repeat(100_000));
    world.write("ctx/once", "once");
    world.write("ctx/Dockerfile", "FROM scratch\nCOPY twice /\nCOPY once /\nCOPY twice /\n");
    for how in ["gzip", "zstd", "uncompressed", "gzip,rewrite-timestamp=true"] {
        let build = |destination: &str| {
            let output = format!("type=oci,dest={destination},compression={how}");
            world
                .command(&["build", "-q", "--build-arg", "SOURCE_DATE_EPOCH=1", "-o", &output, "ctx"])
                .output()
                .unwrap()
        };
        let (filed, streamed) = (build("file.tar"), build("-"));
        assert!(filed.status.success(), "{how}: {}", String::from_utf8_lossy(&filed.stderr));
        assert!(fs::read(world.path("file.tar")).unwrap() == streamed.stdout, "{how}");
        let names = tar_names(&world, "file.tar");
        assert_eq!(names.iter().filter(|name| name.starts_with("blobs/sha256/")).count(), 5, "{how}: {names:?}");
    }
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

#[test]
fn a_full_disk_is_said_of_the_file_that_did_not_fit() {
    let world = world();
    for how in ["gzip", "uncompressed"] {
        let output = format!("type=oci,dest=/dev/full,compression={how}");
        let ended = world.kiln(&["build", "-q", "-o", &output, "ctx"]);
        let said = "cannot write `/dev/full`: No space left on device (os error 28)\n";
        assert!(ended.code == 1 && ended.stderr.contains(said), "{how}: {}", ended.stderr);
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

fn json(world: &World, path: &str) -> serde_json::Value {
    serde_json::from_str(&world.read(path)).unwrap()
}

/// Reads the blob of a layout that a descriptor leads to.
fn blob(world: &World, layout: &str, descriptor: &serde_json::Value) -> serde_json::Value {
    let digest = descriptor["digest"].as_str().unwrap().trim_start_matches("sha256:");
    json(world, &format!("{layout}/blobs/sha256/{digest}"))
}

#[test]
fn an_output_has_names_of_its_own_unless_the_build_has_some() {
    let world = World::empty();
    world.write("ctx/Dockerfile", "FROM scratch\nCOPY Dockerfile /\n");
    let layout = "type=oci,tar=false,dest=layout,\"name=org/repo:tag1,org/repo:tag2\"";
    world.build(&["-o", layout, "-o", "type=image,name=stored", "--metadata-file", "meta", "ctx"]);
    let names = |value: &serde_json::Value| {
        let annotation = |it: &serde_json::Value, key| it["annotations"][key].as_str().unwrap_or_default().to_owned();
        let name = |it| {
            let whole = annotation(it, "io.containerd.image.name");
            format!("{whole} {}", annotation(it, "org.opencontainers.image.ref.name"))
        };
        value["manifests"].as_array().unwrap().iter().map(name).collect::<Vec<_>>()
    };
    let expected = ["docker.io/org/repo:tag1 tag1", "docker.io/org/repo:tag2 tag2"];
    assert_eq!(names(&json(&world, "layout/index.json")), expected);
    assert_eq!(world.ok(&["images", "--format", "{{.Repository}}"]), "stored\n");
    let all = "docker.io/org/repo:tag1,docker.io/org/repo:tag2,docker.io/library/stored:latest";
    assert_eq!(json(&world, "meta")["image.name"], all);
    world.build(&["-t", "app:1", "-o", "type=oci,tar=false,dest=other,name=unheard", "ctx"]);
    assert_eq!(names(&json(&world, "other/index.json")), ["docker.io/library/app:1 1"]);
}

#[test]
fn annotations_stand_on_what_they_are_meant_for() {
    let world = World::empty();
    world.write("ctx/Dockerfile", "FROM scratch\nCOPY Dockerfile /\n");
    let several = ["--platform", "linux/amd64,linux/arm64", "-o", "type=oci,tar=false,dest=out,annotation.b=2"];
    let flags = ["--annotation", "index:i=x", "--annotation", "index-descriptor,manifest-descriptor[linux/arm64]:d=y"];
    world.build(&[several.as_slice(), &flags, &["--annotation", "manifest[linux/amd64]:a=1", "ctx"]].concat());
    let top = &json(&world, "out/index.json")["manifests"][0];
    let index = blob(&world, "out", top);
    let manifest = |place: usize| blob(&world, "out", &index["manifests"][place])["annotations"].to_string();
    assert_eq!(top["annotations"].to_string(), r#"{"d":"y"}"#);
    assert_eq!(index["annotations"].to_string(), r#"{"i":"x"}"#);
    assert_eq!(index["manifests"][0]["annotations"], serde_json::Value::Null);
    assert_eq!(index["manifests"][1]["annotations"].to_string(), r#"{"d":"y"}"#);
    assert_eq!((manifest(0).as_str(), manifest(1).as_str()), (r#"{"a":"1","b":"2"}"#, r#"{"b":"2"}"#));
}

#[test]
fn an_annotation_that_has_no_place_is_refused() {
    let world = World::empty();
    world.write("ctx/Dockerfile", "FROM scratch\nCOPY Dockerfile /\n");
    let refused = |args: &[&str], reason: &str| {
        let ended = world.kiln(&[&["build"], args, &["ctx"]].concat());
        assert_eq!(ended.code, 1, "{}", ended.stderr);
        assert!(ended.stderr.contains(reason), "{}", ended.stderr);
    };
    let single = ["-o", "type=oci,dest=out.tar", "--annotation", "index:a=1"];
    refused(&single, "index annotations not supported for single platform export: `a`");
    refused(&["--annotation", "a=1"], "cannot keep the annotation \"a=1\"");
    refused(&["--annotation", "a"], "invalid annotation \"a\", expected key=value");
}

// spec 107
#[test]
fn an_output_may_have_another_time_than_the_build() {
    let world = World::empty();
    world.write("ctx/Dockerfile", "ARG SOURCE_DATE_EPOCH=1445412480\nFROM scratch\nCOPY Dockerfile /\n");
    let rewritten = |epoch: &str| {
        let layout = format!("out{}", epoch.len());
        let output = format!("type=oci,tar=false,dest={layout},rewrite-timestamp=true{epoch}");
        world.build(&["-o", &output, "ctx"]);
        let manifest = blob(&world, &layout, &json(&world, &format!("{layout}/index.json"))["manifests"][0]);
        let annotation = manifest["layers"][0]["annotations"]["buildkit/rewritten-timestamp"].as_str();
        annotation.unwrap_or("none").to_owned()
    };
    assert_eq!(rewritten(""), "1445412480");
    assert_eq!(rewritten(",source-date-epoch=1700000002"), "1700000002");
    assert_eq!(rewritten(",source-date-epoch="), "none");
}
