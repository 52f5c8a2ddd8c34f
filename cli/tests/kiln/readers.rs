//! The real programs that read images: docker, containerd and podman take what Kiln exports, and find every file as it was made.

use std::process::Command;

use crate::world::{World, root_tar};

/// Starts docker's daemon, with the containerd that it brings, in a root and namespaces of its own, and prints what each program has at `/data` of an image.
/// `$ROOT` is the root file system, `$EXCHANGE` the directory with `oci-*.tar` and `docker-*.tar`, `$WORK` an empty one.
const READ: &str = r#"
    set -e
    mount -t tmpfs tmpfs "$WORK"
    mkdir "$WORK/upper" "$WORK/work" "$WORK/root"
    mount -t overlay -o "lowerdir=$ROOT,upperdir=$WORK/upper,workdir=$WORK/work" overlay "$WORK/root"
    cd "$WORK/root"
    mount -t proc proc proc
    mount --rbind /sys sys
    mount --rbind /dev dev
    mount -t tmpfs tmpfs run
    mount -t tmpfs tmpfs var/lib
    mount --bind "$EXCHANGE" exchange
    exec chroot . sh -ec '
        dockerd --bridge=none --iptables=false >/exchange/log 2>&1 &
        for try in $(seq 300); do docker version >/dev/null 2>&1 && break; sleep 0.1; done
        show() {
            echo "$1:"
            (cd "$2/data" && stat -c "%n %F %a %u:%g %h %s" * && md5sum large && readlink soft && ls "$2/gone" 2>/dev/null || true)
        }
        ctr="ctr -a /run/docker/containerd/containerd.sock -n test images"
        podman="podman --storage-driver vfs"
        for form in docker-gzip docker-zstd docker-uncompressed; do
            docker load -q -i /exchange/$form.tar >&2
            mkdir /run/$form
            docker export "$(docker create localhost/app:$form true)" | tar -x -C /run/$form
            show "docker $form" /run/$form
        done
        for form in docker-gzip docker-zstd docker-uncompressed oci-gzip oci-zstd oci-uncompressed; do
            $ctr import /exchange/$form.tar >&2
            $ctr mount --snapshotter native localhost/app:$form /mnt >&2
            show "containerd $form" /mnt
            $ctr unmount --snapshotter native --rm /mnt >&2
            $podman load -q -i /exchange/$form.tar >&2
            show "podman $form" "$($podman image mount localhost/app:$form)"
        done
    '
"#;

#[test]
fn docker_containerd_and_podman_read_what_is_exported() {
    let world = World::new();
    let large: Vec<u8> =
        (0..1_500_000u32).flat_map(|number| (number.wrapping_mul(2_654_435_761) >> 7).to_le_bytes()).collect();
    world.write("ctx/large", &large);
    world.write(
        "ctx/Dockerfile",
        "FROM busybox\n\
         RUN mkdir /data && echo old > /gone && echo old > /data/over\n\
         COPY --chown=7:8 --chmod=640 large /data/large\n\
         RUN cd /data && rm /gone && echo newer > over && ln large hard && ln -s ../nowhere soft && mkfifo -m 600 pipe && mkdir -m 1777 dir && chmod 4755 over\n",
    );
    for kind in ["docker", "oci"] {
        for compression in ["gzip", "zstd", "uncompressed"] {
            let name = format!("{kind}-{compression}");
            let output = format!("type={kind},dest=out/{name}.tar,compression={compression},force-compression=true");
            world.write("out/about", "");
            world.ok(&["build", "-q", "-t", &format!("localhost/app:{name}"), "-o", &output, "ctx"]);
        }
    }
    std::fs::create_dir(world.path("work")).unwrap();
    let unshared =
        ["--mount", "--net", "--pid", "--fork", "--kill-child", "--propagation", "private", "sh", "-c", READ];
    let read = Command::new("unshare")
        .args(unshared)
        .env("ROOT", root_tar("readers"))
        .env("EXCHANGE", world.path("out"))
        .env("WORK", world.path("work"))
        .output()
        .unwrap();
    let log = String::from_utf8_lossy(&read.stderr);
    assert!(read.status.success(), "{log}\n{}", std::fs::read_to_string(world.path("out/log")).unwrap_or_default());
    let md5 = Command::new("md5sum").arg(world.path("ctx/large")).output().unwrap();
    let md5 = String::from_utf8_lossy(&md5.stdout).split(' ').next().unwrap().to_owned();
    let data = format!(
        "dir directory 1777 0:0\n\
         hard regular file 640 7:8 2 6000000\n\
         large regular file 640 7:8 2 6000000\n\
         over regular file 4755 0:0 1 6\n\
         pipe fifo 600 0:0 1 0\n\
         soft symbolic link 777 0:0 1 10\n\
         {md5}  large\n\
         ../nowhere\n"
    );
    let forms = ["docker-gzip", "docker-zstd", "docker-uncompressed", "oci-gzip", "oci-zstd", "oci-uncompressed"];
    let mut expected: Vec<String> = forms[..3].iter().map(|form| format!("docker {form}:\n{data}")).collect();
    for form in forms {
        expected.extend(["containerd", "podman"].map(|program| format!("{program} {form}:\n{data}")));
    }
    // How many links a directory has and how long it is, is up to the file system.
    let directory = |line: &str| match line.strip_prefix("dir directory 1777 0:0 ") {
        Some(_) => "dir directory 1777 0:0\n".to_owned(),
        None => format!("{line}\n"),
    };
    let found: String = String::from_utf8_lossy(&read.stdout).lines().map(directory).collect();
    assert_eq!(found, expected.concat());
}
