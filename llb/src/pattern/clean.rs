//! The shortest form of a path.

/// Returns the shortest path that names the same place, as `path.Clean`: `a//b/../c/` is `a/c`, nothing is `.`.
pub fn clean_path(path: &str) -> String {
    // Most paths are clean but for a slash at their end, and need not be taken apart.
    let trimmed = path.trim_end_matches('/');
    if is_clean(trimmed) { trimmed.to_owned() } else { joined_anew(path) }
}

/// Tells whether a path has nothing that could be left out.
fn is_clean(path: &str) -> bool {
    let mut parts = path.strip_prefix('/').unwrap_or(path).split('/');
    parts.all(|part| !matches!(part, "" | "." | ".."))
}

fn joined_anew(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if rooted => {}
            part => parts.push(part),
        }
    }
    match (rooted, parts.is_empty()) {
        (true, _) => format!("/{}", parts.join("/")),
        (false, true) => ".".to_owned(),
        (false, false) => parts.join("/"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn paths_are_cleaned_without_leaving_the_root() {
        let cleaned = ["", "/", "a//b/../c/", "/../a", "../a", "a/..", "./."].map(clean_path);
        assert_eq!(cleaned, [".", "/", "a/c", "/a", "../a", ".", "."]);
    }

    proptest! {
        #[test]
        fn a_path_that_is_clean_already_is_not_changed_by_taking_it_apart(path in "[/.a]{0,12}") {
            prop_assert_eq!(clean_path(&path), joined_anew(&path));
        }
    }
}
