//! Which devices the processes of a sandbox may open: those that every Docker container may, whoever made the node.
//!
//! Nodes of other devices can be made, but not opened: so it is with Docker, whose images may hold any nodes.

/// A character device, by its numbers; without a minor number, all that have this major one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) major: u32,
    pub(super) minor: Option<u32>,
}

const fn device(major: u32, minor: u32) -> Rule {
    Rule { major, minor: Some(minor) }
}

/// What may be opened, for reading and writing.
pub(super) const ALLOWED: [Rule; 9] = [
    device(1, 3),                     // null
    device(1, 5),                     // zero
    device(1, 7),                     // full
    device(1, 8),                     // random
    device(1, 9),                     // urandom
    device(5, 0),                     // tty
    device(5, 1),                     // console
    device(5, 2),                     // ptmx
    Rule { major: 136, minor: None }, // pts/*
];

/// Returns what is written to `devices.deny` and `devices.allow` of version 1: the file's name and a line.
///
/// Making nodes (`m`) stays allowed for all.
pub(super) fn v1() -> Vec<(&'static str, String)> {
    let mut lines = vec![("devices.deny", "a".to_owned())];
    lines.extend(["c *:* m", "b *:* m"].map(|line| ("devices.allow", line.to_owned())));
    lines.extend(ALLOWED.iter().map(|rule| {
        let minor = rule.minor.map_or("*".to_owned(), |minor| minor.to_string());
        ("devices.allow", format!("c {}:{minor} rwm", rule.major))
    }));
    lines
}
