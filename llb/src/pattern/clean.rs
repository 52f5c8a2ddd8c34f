//! The shortest form of a path.

/// Returns the shortest path that names the same place, as `path.Clean`: `a//b/../c/` is `a/c`, nothing is `.`.
pub fn clean_path(path: &str) -> String {
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

    #[test]
    fn paths_are_cleaned_without_leaving_the_root() {
        let cleaned = ["", "/", "a//b/../c/", "/../a", "../a", "a/..", "./."].map(clean_path);
        assert_eq!(cleaned, [".", "/", "a/c", "/a", "../a", ".", "."]);
    }
}
