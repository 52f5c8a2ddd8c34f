//! The text of an ignore file as patterns.

use crate::pattern::clean_path;

/// Returns the patterns of an ignore file, in order: without comments, blanks around them and slashes in front, in their shortest form.
///
/// Only a `#` in the first column begins a comment.
pub fn read_patterns(text: &str) -> Vec<String> {
    numbered_patterns(text).map(|(_, pattern)| pattern).collect()
}

/// Returns the same patterns, each with the number of its line, counted from 1.
pub fn numbered_patterns(text: &str) -> impl Iterator<Item = (usize, String)> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.starts_with('#'));
    lines.filter_map(|(number, line)| Some((number, read_pattern(line)?)))
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
        let numbers: Vec<usize> = numbered_patterns(text).map(|(number, _)| number).collect();
        assert_eq!(numbers, [2, 4, 5, 6, 7, 8, 9]);
    }
}
