//! Secrets that let builds at files and repositories elsewhere: sent to the host they are for, and nowhere else.

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
    let left =
        std::process::Command::new("grep").args(["-rlF", "eC1hY2Nlc3MtdG9rZW46dG9r"]).arg(world.store()).output();
    assert_eq!(String::from_utf8_lossy(&left.unwrap().stdout), "");
}
