//! The network of steps and containers, and what is left of it: nothing.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use expect_test::expect;
use rustix::process::{Pid, Signal, kill_process};

use crate::world::World;

/// Runs a script with `$KILN` on a machine of its own that has only a loopback interface, and returns what it printed.
fn on_machine(world: &World, script: &str) -> String {
    let output = machine(world, script).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{script}: {}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

fn machine(world: &World, script: &str) -> Command {
    let kiln = world.command(&[]);
    let mut command = Command::new("unshare");
    command.args(["--net", "sh", "-ec", script]).env("KILN", kiln.get_program()).current_dir(world.path(""));
    command.env("KILN_ROOT", world.store()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A script that lists the links of the machine.
const LINKS: &str = "sed -n 's/ *\\(.*\\):.*/\\1/p' /proc/net/dev | tr '\\n' ' '";

fn build(flags: &str) -> String {
    format!("$KILN build -q -t app {flags} ctx >/dev/null 2>&1")
}

// spec 92
#[test]
fn a_step_has_a_network_of_its_own_or_none_at_all() {
    let world = World::new();
    world.write(
        "ctx/Dockerfile",
        "FROM busybox\n\
         RUN ip -o link | cut -d: -f2 | cut -d@ -f1 > /default && ip route | cut -d' ' -f1-3 >> /default\n\
         RUN --network=none ip -o link | cut -d: -f2 > /none; ip -o link show lo | grep -o '<.*>' >> /none\n\
         RUN --network=none ! ip link show eth0 2> /dev/null\n\
         RUN cut -c 22- /proc/net/if_inet6 > /six && ping -c 1 ::1 > /dev/null && cat /proc/sys/net/ipv6/conf/eth0/disable_ipv6 >> /six\n\
         RUN ip link show eth0\n",
    );
    on_machine(&world, &build(""));
    let expected = " lo\n eth0\ndefault via 10.87.0.1\n10.87.0.0/24 dev eth0\n lo\n<LOOPBACK,UP,LOWER_UP>\n";
    assert_eq!(world.in_image("app", "cat /default /none"), expected);
    assert_eq!(world.in_image("app", "cat /six"), "00000000001 01 80 10 80       lo\n1\n");
}

// spec 92
#[test]
fn the_network_of_the_machine_has_to_be_allowed() {
    let world = World::new();
    world.write("ctx/Dockerfile", "FROM busybox\nRUN --network=host readlink /proc/self/ns/net > /ns\n");
    let refused = world.kiln(&["build", "--progress", "quiet", "-t", "app", "ctx"]);
    expect![[r#"
        Dockerfile:2
        --------------------
           1 |     FROM busybox
           2 | >>> RUN --network=host readlink /proc/self/ns/net > /ns
           3 |     
        --------------------
        ERROR: failed to build: failed to solve: entitlement network.host is not allowed

        hint: if you trust this Dockerfile, allow it with `--allow network.host`
    "#]]
    .assert_eq(&refused.stderr);
    let own = std::fs::read_link("/proc/self/ns/net").unwrap().display().to_string();
    for flags in [["--allow", "network.host"], ["--network", "host"]] {
        world.build(&[&flags[..], &["-t", "app", "ctx"]].concat());
        assert_eq!(world.in_image("app", "cat /ns").trim(), own);
    }
    let refused = world.kiln(&["build", "--allow", "network", "ctx"]);
    assert!(refused.stderr.contains("invalid entitlement: network (expected network.host"), "{}", refused.stderr);
}

#[test]
fn nothing_is_left_after_success_failure_and_interruption() {
    let world = World::new();
    world.write("ctx/Dockerfile", "FROM busybox\nRUN ip link show eth0\n");
    assert_eq!(on_machine(&world, &format!("{}; {LINKS}", build(""))), "lo ");
    world.write("ctx/Dockerfile", "FROM busybox\nRUN ip link show eth0 && exit 3\n");
    assert_eq!(on_machine(&world, &format!("! {}; {LINKS}", build(""))), "lo ");
    assert_eq!(on_machine(&world, &format!("$KILN run --rm busybox ip link show eth0 >/dev/null; {LINKS}")), "lo ");
    world.write("ctx/Dockerfile", "FROM busybox\nRUN ip -o link show eth0 && sleep 86396\n");
    for signal in [Signal::INT, Signal::KILL] {
        let build = "$KILN build --progress plain ctx 2>&1 & echo $!; wait $! || true; while grep -q kiln /proc/net/dev; do :; done";
        let mut child = machine(&world, &format!("{build}; {LINKS}")).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let pid = Pid::from_raw(lines.next().unwrap().parse().unwrap()).unwrap();
        assert!(lines.any(|line| line.contains("LOWER_UP")), "the step never ran");
        kill_process(pid, signal).unwrap();
        assert_eq!(lines.last().as_deref(), Some("lo "));
        child.wait().unwrap();
    }
    // Whoever builds next tidies up what the killed build had begun.
    world.write("ctx/Dockerfile", "FROM busybox\nRUN true\n");
    assert_eq!(on_machine(&world, &format!("{}; {LINKS}", build(""))), "lo ");
}

#[test]
fn a_cached_build_sets_nothing_up() {
    let world = World::new();
    world.write("ctx/Dockerfile", "FROM busybox\nRUN true\n");
    let script = format!("{}; cat /proc/sys/net/ipv4/ip_forward; echo 0 > /proc/sys/net/ipv4/ip_forward", build(""));
    assert_eq!(on_machine(&world, &format!("{script}; {}; cat /proc/sys/net/ipv4/ip_forward", build(""))), "1\n0\n");
}

#[test]
fn several_builds_have_networks_at_the_same_time() {
    let world = World::new();
    world.write(
        "ctx/Dockerfile",
        "FROM busybox\nARG N\nRUN --mount=type=cache,target=/c touch /c/$N; \
         until [ -e /c/a -a -e /c/b ]; do :; done; ip -o -4 addr show eth0 | grep -o '10[^/]*' > /address\n",
    );
    let one = |name: &str| format!("$KILN build -q --build-arg N={name} -t {name} ctx >/dev/null");
    on_machine(&world, &format!("{} & {}; wait $!", one("a"), one("b")));
    let addresses = ["a", "b"].map(|image| world.in_image(image, "cat /address"));
    assert_ne!(addresses[0], addresses[1]);
}

#[test]
fn a_machine_that_allows_no_network_of_its_own_is_told_of_and_gives_its_own() {
    let world = World::new();
    world.write("ctx/Dockerfile", "FROM busybox\nRUN readlink /proc/self/ns/net > /ns\nRUN true\n");
    let script = "readlink /proc/self/ns/net; setpriv --inh-caps=-net_admin --bounding-set=-net_admin \
                  $KILN build --progress plain -t app ctx 2>&1";
    let printed = on_machine(&world, script);
    let (own, printed) = printed.split_once('\n').unwrap();
    assert_eq!(world.in_image("app", "cat /ns").trim(), own);
    let told = printed.lines().filter(|line| line.contains("RUN has the network of this machine")).count();
    assert!(told > 0, "{printed}");
}

// spec 94
#[test]
fn hosts_are_added_for_the_time_of_a_step() {
    let world = World::new();
    world.write("ctx/Dockerfile", "FROM busybox\nRUN cat /etc/hosts > /seen\n");
    on_machine(&world, &build("--add-host db:192.0.2.1 --add-host six=[::1] --add-host up:host-gateway"));
    let expected = "127.0.0.1\tlocalhost buildkitsandbox\n::1\tlocalhost ip6-localhost ip6-loopback\n\
                    192.0.2.1\tdb\n::1\tsix\n10.87.0.1\tup\n";
    assert_eq!(world.in_image("app", "cat /seen"), expected);
    assert!(!world.in_image("app", "cat /etc/hosts").contains("\tdb\n"));
}

#[test]
fn containers_have_the_same_networks() {
    let world = World::new();
    let run = |flags: &str, command: &str| on_machine(&world, &format!("$KILN run --rm {flags} busybox {command}"));
    let route = "default via 10.87.0.1 dev eth0 \n10.87.0.0/24 dev eth0 scope link  src 10.87.0.2 \n";
    assert_eq!(run("", "ip route"), route);
    assert_eq!(run("--network bridge", "ip route"), route);
    assert_eq!(run("--network none", "ls /sys/class/net"), "lo\n");
    let settings = "cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/net/ipv4/ping_group_range";
    for network in ["bridge", "none"] {
        assert_eq!(run(&format!("--network {network}"), settings), "0\n0\t2147483647\n", "{network}");
    }
    assert_eq!(run("--network none", "ip -o link show lo | grep -o '<.*>'"), "<LOOPBACK,UP,LOWER_UP>\n");
    let hosts = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\nff00::\tip6-mcastprefix\n\
                 ff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n";
    assert_eq!(run("--network none", "cat /etc/hosts"), hosts);
    assert_eq!(
        run("-h box --add-host db:192.0.2.1", "cat /etc/hosts"),
        format!("{hosts}10.87.0.2\tbox\n192.0.2.1\tdb\n")
    );
    let own = std::fs::read_to_string("/etc/hosts").unwrap_or_else(|_| hosts.to_owned());
    assert_eq!(run("--network host", "cat /etc/hosts"), own);
    assert_eq!(run("--net host --add-host up:host-gateway", "grep up /etc/hosts"), "127.0.0.1\tup\n");
    let ended = world.kiln(&["run", "--network", "moon", "busybox"]);
    assert_eq!(
        (ended.code, ended.stderr.as_str()),
        (125, "kiln: network moon not found: expected bridge, none or host\n")
    );
}

/// A firewall that drops what it does not know, as Docker's does, and what it says.
const FIREWALL: &str =
    "nft add table ip filter; nft 'add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }'";

#[test]
fn a_build_that_is_killed_anywhere_leaves_nothing_that_the_next_does_not_clear() {
    let world = World::new();
    world.write("ctx/Dockerfile", "FROM busybox\nARG N\nRUN ip link show eth0\n");
    let gone = "while grep -q kiln /proc/net/dev; do :; done";
    let build = |name: &str| build(&format!("--build-arg N={name}"));
    let listed = format!("KILN_FAULT=list:points {}; grep network points | sort | uniq -c", build("list"));
    let points = on_machine(&world, &format!("{FIREWALL}; {listed}"));
    let names: Vec<&str> = points.lines().map(|line| line.split_whitespace().last().unwrap()).collect();
    for expected in
        ["network.uplink", "network.admit", "network.address", "network.undo.translate", "network.undo.uplink"]
    {
        assert!(names.contains(&expected), "{names:?}");
    }
    // After each, the machine is as it was: its links, and all rules of all tables.
    let rounds = names.iter().map(|name| {
        format!(
            "KILN_FAULT=die:{name} {} && echo {name} survived; {gone}; {}; {gone}; \
             nft list ruleset | cmp - before || nft list ruleset; {LINKS} | grep -vx 'lo ' || true; ",
            build(name),
            build(&format!("after-{name}"))
        )
    });
    let script = format!("{FIREWALL}; nft list ruleset > before; {}", rounds.collect::<String>());
    assert_eq!(on_machine(&world, &script), "");
    // What fails there fails the build, or only its tidying up, and leaves as little.
    let rounds = names.iter().map(|name| {
        let build = build(&format!("fail-{name}"));
        let expected = if name.contains("undo") { "" } else { "!" };
        format!("{expected} KILN_FAULT=fail:{name} {build} || echo {name}; {gone}; ")
    });
    let script = format!(
        "{FIREWALL}; nft list ruleset > before; {} {}; {gone}; nft list ruleset | cmp - before",
        rounds.collect::<String>(),
        build("last")
    );
    assert_eq!(on_machine(&world, &script), "");
}
