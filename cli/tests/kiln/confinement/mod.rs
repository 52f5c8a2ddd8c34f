//! What somebody in a step may try to get at the machine or at others, and what comes of it: refused, or contained.

use std::process::Command;

use crate::world::{World, root_tar};

/// Builds a Dockerfile and returns what stands in `/out` of the image.
#[track_caller]
fn outcome(world: &World, flags: &[&str], dockerfile: &str) -> String {
    world.write("ctx/Dockerfile", dockerfile);
    world.build(&[flags, &["-t", "app", "ctx"]].concat());
    world.in_image("app", "cat /out")
}

#[test]
fn what_would_lead_out_is_refused() {
    let world = World::new();
    world.ok(&["import", root_tar("debian-gcc.tar").to_str().unwrap(), "debian-gcc"]);
    world.write("ctx/attempts.c", include_str!("attempts.c"));
    let dockerfile = "FROM debian-gcc AS build\nCOPY attempts.c /\nRUN gcc -static -o /attempts /attempts.c\n\
                      FROM busybox\nCOPY --from=build /attempts /\nRUN mkdir -p /mnt && /attempts > /out\n";
    let expected = "could: raw packets of links\nrefused: 44\n";
    assert_eq!(outcome(&world, &[], dockerfile), expected);
}

#[test]
fn a_link_does_not_lead_a_mount_or_a_copy_out_of_the_root() {
    let world = World::new();
    let victim = world.path("victim");
    std::fs::create_dir(&victim).unwrap();
    world.write("ctx/file", "written");
    let dockerfile = format!(
        "FROM busybox\nRUN ln -s {0} /out-abs && ln -s ../../../../../../../..{0} /out-rel && mkdir -p {0}\n\
         COPY file /out-abs/copied\nADD file /out-rel/added\n\
         RUN --mount=type=cache,target=/out-abs/c touch /out-abs/c/f\n\
         RUN --mount=type=bind,target=/out-rel/b,rw touch /out-rel/b/f\n\
         RUN echo inside > /out-abs/run && ls {0} > /out\n",
        victim.display()
    );
    assert_eq!(outcome(&world, &[], &dockerfile), "added\ncopied\nrun\n");
    assert_eq!(std::fs::read_dir(&victim).unwrap().count(), 0);
}

#[test]
fn nothing_of_the_machine_is_seen() {
    let world = World::new();
    let dockerfile = "FROM busybox\nRUN cat /proc/[0-9]*/environ | grep -c MACHINE > /out; ls -l /proc/1/fd | grep -o '> .*' | grep -v -c -E 'pipe:|/dev/null|/proc|/out' >> /out; \
                      grep PPid /proc/1/status >> /out; set -- /proc/[0-9]*; echo $* >> /out\n";
    world.write("ctx/Dockerfile", dockerfile);
    let built = world.command(&["build", "-q", "-t", "app", "ctx"]).env("MACHINE_SECRET", "x").output().unwrap();
    assert!(built.status.success());
    assert_eq!(world.in_image("app", "cat /out"), "0\n0\nPPid:\t0\n/proc/1\n");
}

#[test]
fn set_user_id_programs_and_devices_of_mounts_have_no_effect() {
    let world = World::new();
    let mounts = "--mount=type=tmpfs,target=/a --mount=type=cache,target=/b --mount=target=/c --mount=type=secret,id=s,target=/d";
    let dockerfile = format!(
        "FROM busybox\nRUN {mounts} awk '$5 ~ \"^/[a-d]$\" || $5 == \"/dev/shm\" {{ print $5, $6 }}' /proc/self/mountinfo | sort > /out; \
         for dir in / /a /b /dev /dev/shm /tmp; do mknod $dir/disk b 8 0 && cat $dir/disk && echo opened $dir >> /out; done; true\n"
    );
    world.write("s", "x");
    let seen = outcome(&world, &["--secret", "id=s,src=s"], &dockerfile);
    for mount in ["/a", "/d", "/dev/shm"] {
        let line = seen.lines().find(|line| line.starts_with(&format!("{mount} "))).unwrap();
        assert!(line.contains("nosuid"), "{line}");
    }
    // What was copied or kept may be set-user-ID, as under Docker, but no device that is not among the common ones.
    assert_eq!(seen.lines().filter(|line| line.starts_with('/')).count(), 5, "{seen}");
    assert!(!seen.contains("opened"), "{seen}");
}

#[test]
fn a_step_cannot_have_more_processes_than_it_is_allowed() {
    let world = World::new();
    world.write(
        "ctx/Dockerfile",
        "FROM busybox\nUSER 54321\nRUN i=0; while [ $i -lt 40 ]; do sleep 100 & i=$((i+1)); done; wait\n",
    );
    let ended = world.kiln(&["build", "--ulimit", "nproc=20", "--progress", "plain", "-t", "app", "ctx"]);
    assert_eq!(ended.code, 1);
    assert!(ended.stderr.contains("can't fork: Resource temporarily unavailable"), "{}", ended.stderr);
}

#[test]
fn what_runs_in_the_background_ends_with_its_step() {
    let world = World::new();
    let marker = "sleep 86395";
    let dockerfile = format!(
        "FROM busybox\nRUN {marker} & setsid {marker} & (trap '' TERM HUP; {marker}) & echo on > /out\nRUN ps | grep -c 'sleep 8639[5]' >> /out; true\n"
    );
    assert_eq!(outcome(&world, &[], &dockerfile), "on\n0\n");
    let running = Command::new("pgrep").args(["-f", "sleep 8639[5]"]).output().unwrap();
    assert_eq!(String::from_utf8(running.stdout).unwrap(), "");
}
