//! `RUN`, line by line of the specification (section 1.9): scripts, environment, mounts, secrets.

use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};
use std::thread;

use crate::world::World;

/// Builds a Dockerfile on busybox and returns what a command then prints in the image.
#[track_caller]
fn check(lines: &str, command: &str, expected: &str) {
    check_with(&World::new(), &[], lines, command, expected);
}

#[track_caller]
fn check_with(world: &World, flags: &[&str], lines: &str, command: &str, expected: &str) {
    world.write("ctx/Dockerfile", format!("FROM busybox\n{lines}\n"));
    world.build(&[flags, &["-t", "app", "ctx"]].concat());
    assert_eq!(world.in_image("app", command), expected);
}

/// Builds what must fail, and returns the last line of why.
#[track_caller]
fn failure(world: &World, flags: &[&str], lines: &str) -> String {
    world.write("ctx/Dockerfile", format!("FROM busybox\n{lines}\n"));
    let ended = world.kiln(&[&["build", "--progress", "quiet"], flags, &["ctx"]].concat());
    assert_eq!(ended.code, 1, "{}", ended.stderr);
    let error = ended.stderr.lines().find(|line| line.starts_with("ERROR: ")).unwrap_or_default();
    error.rsplit("failed to solve: ").next().unwrap_or_default().to_owned()
}

// spec 81, 82, 114
#[test]
fn scripts_of_heredocs_run_as_they_stand() {
    check("RUN <<E\nfalse\necho on > /out\nE", "cat /out", "on\n");
    check("RUN <<'E'\nx=1\necho \"$x\" > /out\nE", "cat /out", "1\n");
    check(
        "RUN <<E\n#!/bin/sh\necho $0 > /out\nls /dev/pipes >> /out\nE\nRUN ls /dev >> /out",
        "head -n2 /out",
        "/dev/pipes/E\nE\n",
    );
    let world = World::new();
    world.write("ctx/Dockerfile", "FROM busybox\nRUN <<E\ntrue\nexit 4\nE\n");
    let said = world.kiln(&["build", "ctx"]).stderr;
    assert!(said.contains("did not complete successfully: exit code: 4\n"), "{said}");
}

// spec 83, 84
#[test]
fn a_step_that_changes_nothing_makes_a_layer_with_nothing_in_it() {
    let world = World::new();
    world.write(
        "ctx/Dockerfile",
        "FROM scratch\nCOPY busybox /bin/\nRUN --mount=type=tmpfs,target=/a/b [\"/bin/busybox\", \"true\"]\n",
    );
    world.write("copy/Dockerfile", "FROM busybox AS b\nFROM scratch\nCOPY --from=b /bin/busybox /\n");
    world.build(&["-o", "ctx", "copy"]);
    world.build(&["-t", "app", "-o", "type=tar,dest=files.tar", "ctx"]);
    let listed = Command::new("tar").args(["-tf", world.path("files.tar").to_str().unwrap()]).output();
    assert_eq!(String::from_utf8(listed.unwrap().stdout).unwrap(), "bin/\nbin/busybox\n");
    world.build(&["-t", "app", "ctx"]);
    assert_eq!(world.ok(&["inspect", "-f", "{{len .RootFS.Layers}}", "app"]), "2\n");
}

// section 1.6
#[test]
fn the_environment_of_a_step_is_buildkits() {
    check(
        "RUN { hostname; umask; pwd; id -u; echo \"${TERM-unset}\"; readlink /proc/self/fd/0; env | cut -d= -f1 | sort | tr '\\n' ' '; } > /out",
        "cat /out",
        "buildkitsandbox\n0022\n/\n0\nunset\n/dev/null\nHOME PATH PWD SHLVL ",
    );
    check(
        "RUN grep -E '^(Cap(Inh|Prm|Eff|Bnd|Amb)|Seccomp|NoNewPrivs):' /proc/self/status > /out",
        "cat /out",
        "CapInh:\t0000000000000000\nCapPrm:\t00000000a80425fb\nCapEff:\t00000000a80425fb\nCapBnd:\t00000000a80425fb\nCapAmb:\t0000000000000000\n\
         NoNewPrivs:\t0\nSeccomp:\t2\n",
    );
}

// spec 86
#[test]
fn a_bind_mount_is_read_only_and_what_is_written_to_it_vanishes() {
    let world = World::new();
    world.write("ctx/a", "a");
    let lines = "RUN --mount=target=/m ! touch /m/b 2> /err\nRUN --mount=target=/m,rw echo b > /m/b && cat /m/b >> /out\n\
                 RUN --mount=target=/m ls /m >> /out";
    check_with(&world, &[], lines, "cat /err /out", "touch: /m/b: Read-only file system\nb\nDockerfile\na\n");
    assert!(!world.path("ctx/b").exists());
}

// spec 87, 88
#[test]
fn mounts_go_where_they_are_told_to_and_not_to_the_root() {
    let world = World::new();
    world.write("ctx/a", "a");
    check_with(&world, &[], "WORKDIR /w\nRUN --mount=target=m cat /w/m/a > /out", "cat /out", "a");
    for mount in ["target=/", "type=tmpfs", "type=cache,target=/"] {
        assert_eq!(failure(&world, &[], &format!("RUN --mount={mount} true")), "invalid mount target \"/\"", "{mount}");
    }
    for (mount, error) in [
        ("typ=tmpfs", "unexpected key 'typ' in 'typ=tmpfs' (did you mean type?)"),
        ("type=tmp", "unsupported mount type \"tmp\" (did you mean tmpfs?)"),
        ("type=bind,target=/a,sharing=shared", "invalid cache sharing set for bind mount"),
    ] {
        assert_eq!(failure(&world, &[], &format!("RUN --mount={mount} true")), error);
    }
}

// spec 89
#[test]
fn a_cache_mount_outlives_builds_and_is_in_no_image() {
    let world = World::new();
    let lines = "RUN --mount=type=cache,target=/c stat -c '%a %u %g' /c > /out && echo kept > /c/f\n\
                 RUN --mount=type=cache,target=/d,uid=5,gid=6,mode=0700 stat -c '%a %u %g' /d >> /out\n\
                 RUN --mount=type=cache,target=/e,id=/c,uid=9 cat /e/f >> /out && stat -c %u /e >> /out\n\
                 RUN --mount=type=cache,target=/c,ro ! touch /c/g 2>> /out\nRUN ls -d /c /d /e >> /out 2>&1 || true";
    let expected = "755 0 0\n700 5 6\nkept\n0\ntouch: /c/g: Read-only file system\n\
                    ls: /c: No such file or directory\nls: /d: No such file or directory\nls: /e: No such file or directory\n";
    check_with(&world, &[], lines, "cat /out", expected);
    check_with(&world, &[], "RUN --mount=type=cache,target=/c cat /c/f > /out", "cat /out", "kept\n");
}

// spec 89
#[test]
fn a_new_cache_mount_is_filled_from_a_stage() {
    let world = World::new();
    let stage = |text: &str| {
        format!(
            "RUN true\nFROM busybox AS seed\nRUN mkdir -p /s/d && echo {text} > /s/d/f && chown 7:8 /s/d/f && chmod 640 /s/d/f\nFROM busybox\n\
         RUN --mount=type=cache,target=/c,from=seed,source=/s,mode=0711 cat /c/d/f > /out && stat -c '%a %u %g' /c /c/d/f >> /out && echo more > /c/d/f\n\
         RUN --mount=type=cache,target=/c,from=seed,source=/s cat /c/d/f >> /out\nRUN --mount=type=cache,target=/c ls /c >> /out"
        )
    };
    check_with(&world, &[], &stage("one"), "cat /out", "one\n711 0 0\n640 7 8\nmore\n");
    // Another seed is another mount; the same one is the same.
    check_with(&world, &[], &stage("two"), "cat /out", "two\n711 0 0\n640 7 8\nmore\n");
}

/// Two builds at once whose steps mount `sharing`: each says when it begins and ends.
fn two_builds(sharing: &str, script: &str) -> [String; 2] {
    let world = World::new();
    // A cache mount that both share is where they meet.
    let dockerfile = format!(
        "FROM busybox\nARG N\nRUN --mount=type=cache,target=/meet --mount=type=cache,target=/c,sharing={sharing} {script}\n"
    );
    world.write("ctx/Dockerfile", dockerfile);
    thread::scope(|scope| {
        ["a", "b"]
            .map(|name| {
                let world = &world;
                let build = move || {
                    world.ok(&["build", "-q", "--build-arg", &format!("N={name}"), "-t", name, "ctx"]);
                    world.in_image(name, "cat /out")
                };
                scope.spawn(build)
            })
            .map(|thread| thread.join().unwrap())
    })
}

const MEET: &str = "touch /meet/$N; until [ -e /meet/a -a -e /meet/b ]; do sleep 0.01; done";

// spec 89
#[test]
fn processes_share_a_cache_mount_have_one_each_or_wait() {
    assert_eq!(two_builds("shared", &format!("touch /c/$N; {MEET}; ls /c > /out")), ["a\nb\n", "a\nb\n"]);
    assert_eq!(two_builds("private", &format!("touch /c/$N; {MEET}; ls /c > /out")), ["a\n", "b\n"]);
    // Whoever comes second finds what the first has left, and never meets it.
    let script = "[ ! -e /c/busy ] && touch /c/busy && sleep 0.2 && ls /c > /out && touch /c/$N && rm /c/busy";
    let mut seen = two_builds("locked", script);
    seen.sort_unstable_by_key(String::len);
    assert_eq!(seen[0], "busy\n");
    assert!(["a\nbusy\n", "b\nbusy\n"].contains(&seen[1].as_str()), "{seen:?}");
}

#[test]
fn a_locked_cache_mount_is_waited_for_by_no_one_who_has_it() {
    let mounts = "--mount=type=cache,id=x,target=/c,sharing=locked --mount=type=cache,id=x,target=/d,sharing=locked";
    check(&format!("RUN {mounts} touch /c/f && ls /d > /out"), "cat /out", "f\n");
}

// spec 90
#[test]
fn a_tmpfs_mount_has_the_size_that_it_is_given() {
    check(
        "RUN --mount=type=tmpfs,target=/t,size=1m dd if=/dev/zero of=/t/f bs=1k count=2000 2>&1 | grep -o 'No space.*' > /out; \
         stat -c %s /t/f >> /out\nRUN --mount=type=tmpfs,target=/dev/shm,size=128m mount | grep -o 'size=131072k' >> /out",
        "cat /out",
        "No space left on device\n1048576\nsize=131072k\n",
    );
}

// spec 91
#[test]
fn a_secret_is_a_file_or_a_variable_and_missing_only_where_it_is_needed() {
    let world = World::new();
    world.write("s", "pw");
    let flags = ["--secret", "id=mysecret,src=s"];
    let lines = "RUN --mount=type=secret,id=mysecret cat /run/secrets/mysecret > /out && stat -c ' %a %u %g' /run/secrets/mysecret >> /out\n\
         RUN --mount=type=secret,required=false,mode=741,uid=100,gid=102,target=/mysecret stat -c '%u %g %f' /mysecret >> /out\n\
         RUN --mount=type=secret,id=mysecret,env=PW echo \"$PW\" >> /out && ls /run/secrets >> /out 2>&1; true\n\
         RUN --mount=type=secret,id=mysecret,env=PW,target=/f cat /f >> /out && echo \" $PW\" >> /out\n\
         RUN --mount=type=secret,id=other ls /run/secrets/other /mysecret >> /out 2>&1; true";
    let expected = "pw 400 0 0\n100 102 81e1\npw\nls: /run/secrets: No such file or directory\npw pw\n\
                    ls: /run/secrets/other: No such file or directory\nls: /mysecret: No such file or directory\n";
    check_with(&world, &flags, lines, "cat /out", expected);
    assert_eq!(failure(&world, &[], "RUN --mount=type=secret,id=s1,required true"), "secret s1: not found");
    assert_eq!(
        failure(&world, &[], "RUN --mount=type=ssh,required true"),
        "no SSH key \"default\" forwarded from the client"
    );
}

#[test]
fn a_secret_is_written_nowhere() {
    const SECRET: &str = "Xq7-never-to-be-seen-Zw9";
    let world = World::new();
    world.write("s", SECRET);
    world.write(
        "ctx/Dockerfile",
        "FROM busybox\nRUN --mount=type=secret,id=s,env=S --mount=type=secret,id=s,target=/f test -n \"$S\" -a -s /f\n\
         RUN --mount=type=secret,id=s --mount=type=cache,target=/c md5sum /run/secrets/s\n",
    );
    let output = world.build(&["--secret", "id=s,src=s", "-t", "app", "ctx"]);
    assert!(!output.contains(SECRET));
    std::fs::remove_file(world.path("s")).unwrap();
    let found = Command::new("grep").args(["-ral", SECRET, "."]).current_dir(world.path("")).output();
    assert_eq!(String::from_utf8(found.unwrap().stdout).unwrap(), "", "in the store");
    for args in [&["history", "--no-trunc", "app"][..], &["inspect", "app"], &["builds", "ls"], &["builds", "logs"]] {
        assert!(!world.ok(args).contains(SECRET), "{args:?}");
    }
    // Its value is in no key.
    world.write("s", "another");
    assert!(world.build_summary(&["--secret", "id=s,src=s", "-t", "app", "ctx"]).starts_with("ran: \n"));
}

#[test]
fn a_secret_is_in_no_command_line_and_no_environment_but_the_steps() {
    const SECRET: &str = "Vb3-seen-by-nobody-else-Kp1";
    let world = World::new();
    world.write("s", SECRET);
    let mount = "--mount=type=secret,id=s,env=S --mount=type=secret,id=s,target=/f";
    world.write("ctx/Dockerfile", format!("FROM busybox\nRUN {mount} unset S; echo now; exec sleep 86396\n"));
    let mut child = world.spawn(&["build", "--progress", "plain", "--secret", "id=s,src=s", "ctx"]);
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains(" now")));
    // The step's program replaces its shell, whose environment has the secret as it was asked to, after it has said so.
    let is_asleep = |line: &[u8]| line.starts_with(b"sleep\086396");
    let read = |file: &str| {
        let processes = std::fs::read_dir("/proc").unwrap().flatten().map(|process| process.path());
        processes.filter_map(|process| std::fs::read(process.join(file)).ok()).collect::<Vec<_>>()
    };
    while !read("cmdline").iter().any(|line| is_asleep(line)) {
        thread::yield_now();
    }
    for file in ["cmdline", "environ"] {
        let found = read(file).iter().filter(|text| String::from_utf8_lossy(text).contains(SECRET)).count();
        assert_eq!(found, 0, "{file}");
    }
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::INT).unwrap();
    lines.for_each(drop);
    child.wait().unwrap();
}

#[test]
fn keys_in_files_are_an_agents_and_never_the_steps() {
    let world = World::new();
    std::fs::create_dir_all(world.path("")).unwrap();
    for name in ["one", "two"] {
        let mut command = Command::new("ssh-keygen");
        command.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(world.path(name));
        assert!(command.status().unwrap().success());
    }
    let lines = "RUN --mount=type=ssh stat -c '%F %a' $SSH_AUTH_SOCK > /out && ! grep -rl OPENSSH /run /tmp >> /out\n\
                 RUN --mount=type=ssh,id=b,required stat -c '%F %a' $SSH_AUTH_SOCK >> /out";
    let flags = ["--ssh", "default=one,two", "--ssh", "b=two"];
    check_with(&world, &flags, lines, "cat /out", "socket 600\nsocket 600\n");
    let refused = world.kiln(&["build", "--ssh", "default=one.pub", "ctx"]);
    assert!(refused.stderr.contains("failed to parse one.pub: no private key found"), "{}", refused.stderr);
    let refused = world.kiln(&["build", "--ssh", "a=one", "--ssh", "a=two", "ctx"]);
    assert!(refused.stderr.contains("invalid duplicate ID a"), "{}", refused.stderr);
}

#[test]
fn an_agent_is_reached_by_a_socket_with_the_owner_that_the_step_asks_for() {
    let world = World::new();
    std::fs::create_dir_all(world.path("")).unwrap();
    let _agent = UnixListener::bind(world.path("agent")).unwrap();
    let lines = "RUN --mount=type=ssh,mode=741,uid=100,gid=102 stat -c '%u %g %f' $SSH_AUTH_SOCK > /out && echo $SSH_AUTH_SOCK >> /out\n\
                 RUN --mount=type=ssh,target=/a --mount=type=ssh,id=default stat -c '%a %n' $SSH_AUTH_SOCK /run/buildkit/ssh_agent.1 >> /out\n\
                 RUN --mount=type=ssh,id=other,target=/b ls /b >> /out 2>&1; true\nRUN ls /run >> /out 2>&1; true";
    let expected = "100 102 c1e1\n/run/buildkit/ssh_agent.0\n600 /a\n600 /run/buildkit/ssh_agent.1\n\
                    ls: /b: No such file or directory\n";
    check_with(&world, &["--ssh", "default=agent"], lines, "cat /out", expected);
    let refused = world.kiln(&["build", "--ssh", "default", "ctx"]);
    assert!(
        refused.stderr.contains("invalid empty ssh agent socket: make sure SSH_AUTH_SOCK is set"),
        "{}",
        refused.stderr
    );
}

// spec 93
#[test]
fn a_command_that_fails_is_told_with_its_code() {
    let world = World::new();
    let error = failure(&world, &[], "RUN exit 3");
    assert_eq!(error, "process \"/bin/sh -c exit 3\" did not complete successfully: exit code: 3");
    let error = failure(&world, &[], "RUN [\"/nope\"]");
    assert!(error.starts_with("process \"/nope\" did not complete successfully: exit code: 127"), "{error}");
    let error = failure(&world, &[], "RUN sh -c 'kill -9 $$'; exit $?");
    assert!(error.ends_with("did not complete successfully: exit code: 137"), "{error}");
}

#[test]
fn security_has_to_be_allowed_to_be_given_up() {
    let world = World::new();
    let lines = "RUN [ ! -e /dev/fuse ] && [ ! -e /dev/loop-control ]\n\
                 RUN --security=insecure [ -c /dev/fuse ] && [ -c /dev/loop-control ] && [ -b /dev/loop0 ] && [ -c /dev/net/tun ] && dmesg > /dev/null\n\
                 RUN --security=insecure grep CapBnd /proc/self/status > /out && grep Seccomp: /proc/self/status >> /out && mount -t tmpfs none /mnt\n\
                 RUN --security=sandbox grep CapBnd /proc/self/status >> /out";
    assert_eq!(failure(&world, &[], lines), "entitlement security.insecure is not allowed");
    let own = std::fs::read_to_string("/proc/self/status").unwrap();
    let own = own.lines().find(|line| line.starts_with("CapBnd")).unwrap().to_owned();
    let expected = format!("{own}\nSeccomp:\t0\nCapBnd:\t00000000a80425fb\n");
    check_with(
        &world,
        &["--allow", "security.insecure"],
        &format!("RUN mkdir -p /mnt\n{lines}"),
        "cat /out",
        &expected,
    );
}

#[test]
fn limits_reach_the_step() {
    let world = World::new();
    let flags = ["--shm-size", "10m", "--ulimit", "nofile=100:200", "--ulimit", "core=0"];
    check_with(
        &world,
        &flags,
        "RUN { ulimit -Sn; ulimit -Hn; ulimit -c; df -k /dev/shm | awk 'END { print $2 }'; } > /out",
        "cat /out",
        "100\n200\n0\n10240\n",
    );
}

// spec 113
#[test]
fn a_linked_copy_resets_the_mode_of_its_directories() {
    let world = World::new();
    world.write("ctx/a", "a");
    let lines = "RUN mkdir /t && chmod 1777 /t\nCOPY a /t/x/\nRUN stat -c %a /t > /out\nCOPY --link a /t/y/\nRUN stat -c %a /t >> /out";
    check_with(&world, &[], lines, "cat /out", "1777\n755\n");
}

#[test]
fn what_is_written_arrives_whole_whatever_it_is() {
    let world = World::new();
    let script = "printf 'bin\\000\\377ary\\n'; head -c 3000000 /dev/zero | tr '\\0' x; echo; printf 'no end'; echo last >&2; sh -c 'echo dying; kill -9 $$'; exit 5";
    world.write("ctx/Dockerfile", format!("FROM busybox\nRUN {script}\n"));
    let ended = world.kiln(&["build", "--progress", "plain", "ctx"]);
    assert_eq!(ended.code, 1);
    for text in ["bin", "ary", "no end", "last", "dying"] {
        assert!(ended.stderr.contains(text), "{text}");
    }
    let logs = world.ok(&["builds", "logs"]);
    assert_eq!(logs.matches('x').count().max(3_000_000), logs.matches('x').count(), "all of a long line is kept");
}

#[test]
fn a_gibibyte_of_output_neither_blocks_nor_fills_memory() {
    let world = World::new();
    world.write("ctx/Dockerfile", "FROM busybox\nRUN head -c 1073741824 /dev/zero; echo done > /out\n");
    let kiln = world.command(&[]);
    let mut limited = Command::new("sh");
    // With more than 400 MB of its own, it would fail.
    limited
        .args(["-c", "ulimit -d 400000; exec $KILN build --progress quiet -t app ctx"])
        .env("KILN", kiln.get_program());
    limited.env("KILN_ROOT", world.store()).current_dir(world.path(""));
    assert!(limited.stdin(Stdio::null()).stdout(Stdio::null()).status().unwrap().success());
    assert_eq!(world.in_image("app", "cat /out"), "done\n");
}

#[test]
fn a_program_for_another_machine_says_what_it_needs() {
    let world = World::new();
    let (machine, name) = if cfg!(target_arch = "x86_64") { (183u16, "arm64") } else { (62, "amd64") };
    // The header of a program, 64 bits and little-endian, of the other machine.
    let mut program = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0".to_vec();
    program.extend(machine.to_le_bytes());
    program.resize(64, 0);
    world.write("ctx/foreign", program);
    world.write("ctx/Dockerfile", "FROM busybox\nCOPY --chmod=755 foreign /\nRUN [\"/foreign\"]\n");
    let ended = world.kiln(&["build", "--progress", "plain", "ctx"]);
    assert_eq!(ended.code, 1);
    for text in ["exec format error", &format!("hint: programs for {name} need an emulator")] {
        assert!(ended.stderr.contains(text), "{}", ended.stderr);
    }
}

#[test]
fn a_device_that_is_needed_is_missed() {
    let world = World::new();
    let lines = "RUN --device=vendor.com/class=one,required true";
    assert_eq!(failure(&world, &[], lines), "entitlement device=vendor.com/class=one is not allowed");
    let error = failure(&world, &["--allow", "device"], lines);
    assert!(error.starts_with("required device \"vendor.com/class=one\" is not available"), "{error}");
    check_with(&world, &["--allow", "device"], "RUN --device=vendor.com/class=one echo on > /out", "cat /out", "on\n");
}

// spec 50
#[test]
fn a_user_has_the_groups_that_the_files_of_the_image_say_unless_one_is_named() {
    let users = "RUN mkdir -p /etc && echo root:x:0:0::/root:/bin/sh > /etc/passwd && echo u:x:1000:1000::/home/u:/bin/sh >> /etc/passwd";
    let groups =
        "RUN printf 'wheel:x:10:root\\na:x:2001:u\\nb:x:2002:u\\nc:x:2003:\\n' > /etc/group && mkdir -m 777 /out";
    let show = |user: &str| format!("USER {user}\nRUN echo $(id -u) $(id -g) $(id -G) $HOME > /out/{user}\n");
    let shown: String = ["4242", "u", "u:a", "1000:2003", "root"].map(show).concat();
    check(
        &format!("{users}\n{groups}\n{shown}"),
        "cd /out; for user in 4242 u u:a 1000:2003 root; do cat $user; done",
        "4242 0 0 /\n1000 1000 1000 2001 2002 /home/u\n1000 2001 2001 /home/u\n1000 2003 2003 /home/u\n0 0 0 10 /root\n",
    );
}
