//! Secrets that let builds at files and repositories elsewhere: sent to the host they are for, and nowhere else.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use testkit::registry::{File, Registry};

use crate::remote::{repository, serve_as};
use crate::world::World;

fn secret(world: &World, name: &str, value: &str) -> String {
    let file = format!("secret-{}", name.replace([':', '.'], "-"));
    world.write(&file, value);
    format!("--secret=id={name},src={}", world.path(&file).display())
}

fn guarded(content: &str, authorization: &str) -> File {
    File { authorization: Some(authorization.to_owned()), ..File::new(content) }
}

// Spec, section 1.5: `HTTP_AUTH_TOKEN_<host>`, `HTTP_AUTH_HEADER_<host>`.
#[test]
fn files_are_downloaded_with_the_secret_of_their_host() {
    let (world, server) = (World::new(), Registry::start());
    let bearer = server.put_file("/files/a", guarded("with a token\n", "Bearer tok"));
    let basic = server.put_file("/files/b", guarded("with a header\n", "Basic eDp5"));
    let host = server.host();
    let name = host.split(':').next().unwrap();
    world.write("ctx/Dockerfile", format!("FROM busybox\nADD {bearer} /a\n"));
    let token = secret(&world, &format!("HTTP_AUTH_TOKEN_{host}"), "tok\n");
    world.build(&[&token, "-t", "one", "ctx"]);
    assert_eq!(world.in_image("one", "cat /a"), "with a token\n");
    world.write("ctx/Dockerfile", format!("FROM busybox\nADD {basic} /b\n"));
    let header = secret(&world, &format!("HTTP_AUTH_HEADER_{name}"), "Basic eDp5");
    world.build(&[&token, &header, "-t", "two", "ctx"]);
    assert_eq!(world.in_image("two", "cat /b"), "with a header\n");
    for wrong in [vec![], vec![secret(&world, "HTTP_AUTH_TOKEN_elsewhere.example", "tok")]] {
        world.write("ctx/Dockerfile", format!("FROM busybox\nADD {bearer} /c\n"));
        let args: Vec<&str> =
            ["build", "--no-cache", "ctx"].into_iter().chain(wrong.iter().map(String::as_str)).collect();
        let ended = world.kiln(&args);
        assert!(ended.code == 1 && ended.stderr.contains("401"), "{}", ended.stderr);
    }
}

// Spec, section 1.5: `GIT_AUTH_TOKEN[.<host>]`, `GIT_AUTH_HEADER[.<host>]`.
#[test]
fn repositories_are_fetched_with_the_secret_of_their_host() {
    let (world, server) = (World::new(), Registry::start());
    world.write("repo/file", "of the repository\n");
    world.write("repo/Dockerfile", "FROM busybox\nCOPY file /f\n");
    repository(&world, "repo");
    // `x-access-token:tok`
    let url = serve_as(&world, &server, "repo", Some("basic eC1hY2Nlc3MtdG9rZW46dG9r"));
    let host = server.host().split(':').next().unwrap().to_owned();
    world.write("ctx/Dockerfile", format!("FROM busybox\nADD {url} /a/\n"));
    let ended = world.kiln(&["build", "ctx"]);
    assert!(ended.code == 1 && ended.stderr.contains("cannot look up `HEAD` in"), "{}", ended.stderr);
    let token = secret(&world, &format!("GIT_AUTH_TOKEN.{host}"), "tok");
    world.build(&[&token, "-t", "added", "ctx"]);
    assert_eq!(world.in_image("added", "cat /a/file"), "of the repository\n");
    let header = secret(&world, "GIT_AUTH_HEADER", "basic eC1hY2Nlc3MtdG9rZW46dG9r");
    world.build(&[&header, "-t", "context", &url]);
    assert_eq!(world.in_image("context", "cat /f"), "of the repository\n");
    // A secret of a build is nowhere in what it leaves.
    let left = Command::new("grep").args(["-rlF", "eC1hY2Nlc3MtdG9rZW46dG9r"]).arg(world.store()).output();
    assert_eq!(String::from_utf8_lossy(&left.unwrap().stdout), "");
}

#[test]
fn a_secret_stays_with_its_host_when_that_sends_the_download_elsewhere() {
    let (world, server, elsewhere) = (World::new(), Registry::start(), Registry::start());
    let sent_to = |url: String| File { redirect: Some(url), ..File::default() };
    let here =
        server.put_file("/files/here", sent_to(server.put_file("/files/a", guarded("same host\n", "Bearer tok"))));
    let there = elsewhere.put_file("/files/a", guarded("other host\n", "Bearer tok"));
    let there = server.put_file("/files/there", sent_to(there));
    let token = secret(&world, &format!("HTTP_AUTH_TOKEN_{}", server.host()), "tok");
    world.write("ctx/Dockerfile", format!("FROM busybox\nADD {here} /a\n"));
    world.build(&[&token, "-t", "app", "ctx"]);
    assert_eq!(world.in_image("app", "cat /a"), "same host\n");
    world.write("ctx/Dockerfile", format!("FROM busybox\nADD {there} /a\n"));
    let ended = world.kiln(&["build", &token, "ctx"]);
    assert!(ended.code == 1 && ended.stderr.contains("401"), "{}", ended.stderr);
}

fn make_key(world: &World, name: &str) {
    let mut command = Command::new("ssh-keygen");
    command.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(world.path(name));
    assert!(command.status().unwrap().success());
}

/// Lets those who have the key `user` in over SSH, until the test ends, and returns the port.
fn serve_ssh(world: &World) -> u16 {
    make_key(world, "host");
    make_key(world, "user");
    let settings = ["HostKey", "AuthorizedKeysFile"].into_iter().zip(["host", "user.pub"]);
    let settings: String = settings.map(|(name, file)| format!("{name} {}\n", world.path(file).display())).collect();
    world.write("sshd_config", format!("{settings}StrictModes no\nUsePAM no\nPermitRootLogin prohibit-password\n"));
    // It wants a directory in /run.
    let script = "mount -t tmpfs none /run && mkdir /run/sshd && exec /usr/sbin/sshd -i -f \"$0\"";
    let settings = world.path("sshd_config");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            let connection = OwnedFd::from(connection);
            let output = Stdio::from(connection.try_clone().unwrap());
            let mut command = Command::new("unshare");
            command.args(["--mount", "sh", "-c", script]).arg(&settings).stdin(connection).stdout(output);
            command.stderr(Stdio::null()).status().unwrap();
        }
    });
    port
}

// Spec, section 1.5: the agent of the client for repositories behind SSH.
#[test]
fn repositories_are_fetched_over_ssh_with_the_keys_of_the_build() {
    let world = World::new();
    world.write("repo/file", "over ssh\n");
    world.write("repo/Dockerfile", "FROM busybox\nCOPY file /f\n");
    let commit = repository(&world, "repo");
    let url = format!("ssh://root@127.0.0.1:{}{}", serve_ssh(&world), world.path("repo").display());
    world.write("ctx/Dockerfile", format!("FROM busybox\nADD --checksum={commit} {url}#main /a/\n"));
    let refused = world.kiln(&["build", "ctx"]);
    assert!(refused.code == 1 && refused.stderr.contains("Permission denied"), "{}", refused.stderr);
    world.build(&["--ssh", "default=user", "-t", "added", "ctx"]);
    assert_eq!(world.in_image("added", "cat /a/file"), "over ssh\n");
    world.build(&["--ssh", "default=user", "-t", "context", &url]);
    assert_eq!(world.in_image("context", "cat /f"), "over ssh\n");
}
