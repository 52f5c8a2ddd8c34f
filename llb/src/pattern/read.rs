//! The text of an ignore file as patterns.

use crate::pattern::clean_path;

/// Returns the patterns of an ignore file, in order: without comments, blanks around them and slashes in front, in their shortest form.
///
/// Only a `#` in the first column begins a comment.
pub fn read_patterns(text: &str) -> Vec<String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    text.lines().filter(|line| !line.starts_with('#')).filter_map(read_pattern).collect()
}

fn read_pattern(line: &str) -> Option<String> {
    let line = line.trim();
    if line.is_empty() {
        return None;
    }
    let (sign, pattern) = match line.strip_prefix('!') {
        Some(rest) => ("!", rest.trim()),
        None => ("", line),
    };
    if pattern.is_empty() {
        return Some(sign.to_owned());
    }
    let cleaned = clean_path(pattern);
    let relative = cleaned.strip_prefix('/').filter(|rest| !rest.is_empty()).unwrap_or(&cleaned);
    Some(format!("{sign}{relative}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_clean_patterns() {
        let text = "\u{feff}# comment\n  # no comment\r\n\n/d/\n a/../b \n! /x/\n!\n/\n./y\n";
        assert_eq!(read_patterns(text), ["# no comment", "d", "b", "!x", "!", "/", "y"]);
    }
}
