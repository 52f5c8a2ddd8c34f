//! Text on a terminal: how many columns it takes, where to cut it, and what must not reach the screen.

use std::borrow::Cow;

use unicode_width::UnicodeWidthChar;

/// Stands for a control character that was taken out.
const REPLACEMENT: char = '\u{fffd}';

/// Returns how many columns `text` takes on a terminal. Control characters take none.
///
/// Characters are counted one by one, so that a sequence which some terminals draw as one emoji counts at least what any of them takes.
pub(crate) fn columns(text: &str) -> usize {
    text.chars().map(char_columns).sum()
}

/// Returns how many columns one character takes: 0 to 2.
pub(crate) fn char_columns(character: char) -> usize {
    character.width().unwrap_or(0)
}

/// Returns the longest beginning of `text` that takes at most `columns_max` columns.
pub(crate) fn cut(text: &str, columns_max: usize) -> &str {
    let mut taken = 0;
    for (at, character) in text.char_indices() {
        taken += char_columns(character);
        if taken > columns_max {
            return &text[..at];
        }
    }
    text
}

/// Returns `text`, or its beginning and `…` when it takes more than `columns_max` columns.
pub(crate) fn ellipsis(text: &str, columns_max: usize) -> Cow<'_, str> {
    if columns(text) <= columns_max {
        return Cow::Borrowed(text);
    }
    match columns_max {
        0 | 1 => Cow::Borrowed(cut(text, columns_max)),
        _ => Cow::Owned(format!("{}…", cut(text, columns_max - 1))),
    }
}

/// Returns `text` with every character that could move the cursor, change colours or turn the reading direction replaced; tabs become one space.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let replaced = text.chars().map(|character| match character {
        '\t' => ' ',
        other if is_unsafe(other) => REPLACEMENT,
        other => other,
    });
    Cow::Owned(replaced.collect())
}

/// Whether a character commands a terminal instead of showing something: control characters, and the marks that override the reading direction,
/// with which a text can be made to look like another.
pub(crate) fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_and_combining_characters_take_their_columns() {
        assert_eq!(columns("abc"), 3);
        assert_eq!(columns("日本"), 4);
        assert_eq!(columns("e\u{301}"), 1);
        assert_eq!(columns("\u{1b}[31m"), 4);
    }

    #[test]
    fn a_cut_never_splits_a_character() {
        assert_eq!(cut("日本", 3), "日");
        assert_eq!(cut("日本", 4), "日本");
        assert_eq!(cut("é", 0), "");
    }

    #[test]
    fn an_ellipsis_is_part_of_the_columns() {
        assert_eq!(ellipsis("hello", 5), "hello");
        assert_eq!(ellipsis("hello", 4), "hel…");
        assert_eq!(ellipsis("日本語", 4), "日…");
        assert_eq!(ellipsis("hello", 1), "h");
        assert_eq!(ellipsis("hello", 0), "");
    }

    #[test]
    fn what_commands_a_terminal_is_replaced() {
        assert_eq!(printable("a\tb"), "a b");
        assert_eq!(printable("\u{1b}[31mred\u{9b}2J\u{202e}"), "\u{fffd}[31mred\u{fffd}2J\u{fffd}");
        assert!(matches!(printable("plain – text"), Cow::Borrowed(_)));
    }
}
