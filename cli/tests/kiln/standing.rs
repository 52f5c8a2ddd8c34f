//! The binary itself.

use std::process::Command;

use crate::world::World;

#[test]
fn the_binary_is_one_static_file() {
    let output = Command::new("ldd").arg(env!("CARGO_BIN_EXE_kiln")).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(said.contains("statically linked") || said.contains("not a dynamic executable"), "{said}");
}

#[test]
fn help_and_version_go_to_standard_output() {
    let world = World::empty();
    assert!(world.ok(&["--version"]).starts_with("kiln "));
    assert!(world.ok(&[]).contains("\nCommands:\n"));
    assert!(world.ok(&["build", "--help"]).contains("--build-arg"));
    assert!(world.ok(&["run", "--help"]).contains("--entrypoint"));
    assert_eq!(world.kiln(&["nope"]).code, 125);
}
