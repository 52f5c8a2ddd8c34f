//! What steps and containers may use.

use expect_test::expect;

use crate::world::World;

#[test]
fn a_step_over_its_memory_fails_with_its_name_and_the_limit() {
    let world = World::new();
    world.write("ctx/Dockerfile", "FROM busybox\nRUN dd if=/dev/zero of=/dev/null bs=64M count=1\n");
    let ended = world.kiln(&["build", "--progress", "quiet", "--memory", "16m", "--memory-swap", "16m", "ctx"]);
    expect![[r#"
        ------
         > [2/2] RUN dd if=/dev/zero of=/dev/null bs=64M count=1:
        ------
        Dockerfile:2
        --------------------
           1 |     FROM busybox
           2 | >>> RUN dd if=/dev/zero of=/dev/null bs=64M count=1
           3 |     
        --------------------
        ERROR: failed to build: failed to solve: process "/bin/sh -c dd if=/dev/zero of=/dev/null bs=64M count=1" did not complete successfully: exit code: 137: cannot allocate memory

        hint: the step needs more than its limit of 16777216 bytes; raise it with `--memory`
    "#]]
    .assert_eq(&ended.stderr);
    assert_eq!(ended.code, 1);
    // The limit is in no key, and a failure is no result: with more memory, the same step runs.
    world.ok(&["build", "--memory", "256m", "ctx"]);
}

#[test]
fn a_container_has_limits_too() {
    let world = World::new();
    let run = |args: &[&str]| world.kiln(&[&["run", "--rm"], args].concat());
    let script = "for i in 1 2 3 4 5 6 7 8; do sleep 100 & done; echo not reached";
    let ended = run(&["--pids-limit", "4", "busybox", "sh", "-c", script]);
    assert_eq!((ended.code, ended.stdout.as_str()), (2, ""), "{}", ended.stderr);
    assert!(ended.stderr.contains("can't fork"), "{}", ended.stderr);
    let ended = run(&[
        "-m",
        "16m",
        "--memory-swap",
        "16m",
        "busybox",
        "dd",
        "if=/dev/zero",
        "of=/dev/null",
        "bs=64M",
        "count=1",
    ]);
    assert_eq!(ended.code, 137, "{}", ended.stderr);
    let ended =
        run(&["--cpuset-cpus", "0", "--cpus", "0.5", "busybox", "grep", "Cpus_allowed_list", "/proc/self/status"]);
    assert_eq!(ended.stdout, "Cpus_allowed_list:\t0\n");
    let ended = run(&["-m", "1m", "busybox", "true"]);
    assert_eq!((ended.code, ended.stderr.as_str()), (125, "kiln: Minimum memory limit allowed is 6MB\n"));
}

/// What debootstrap and others do: nodes that a step makes are devices, if they are among those of every container.
#[test]
fn a_step_may_use_the_common_devices_that_it_makes() {
    let world = World::new();
    world.write(
        "ctx/Dockerfile",
        "FROM busybox\nRUN mknod /null c 1 3 && echo gone > /null && mknod /disk b 8 0 && ! cat /disk 2> /dev/null\n",
    );
    world.ok(&["build", "ctx"]);
}
