//! "Did you mean": the known word that is nearest to a misspelt one.

/// The distance from which on a word is no longer near.
const DISTANCE_LIMIT: usize = 3;

/// Returns the option that is nearest to `word`, or `None` where none is near or one is equal; of two that are equally near, the one that begins with the
/// same letter, else the first.
pub(crate) fn nearest<'a>(word: &str, options: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let mut best: Option<((usize, bool), &str)> = None;
    for option in options {
        if option == word {
            return None;
        }
        let Some(distance) = distance_below(word, option, DISTANCE_LIMIT) else { continue };
        let rank = (distance, option.chars().next() != word.chars().next());
        if best.is_none_or(|(other, _)| rank < other) {
            best = Some((rank, option));
        }
    }
    best.map(|(_, option)| option)
}

/// Returns the text that follows a message: ` (did you mean build?)`, or nothing.
pub(crate) fn did_you_mean<'a>(word: &str, options: impl IntoIterator<Item = &'a str>) -> String {
    nearest(word, options).map(|option| format!(" (did you mean {option}?)")).unwrap_or_default()
}

/// Returns the Levenshtein distance where it is below `limit`.
fn distance_below(a: &str, b: &str, limit: usize) -> Option<usize> {
    // Most names differ in length by more than that: a file is asked about each variable that is not set.
    if a.chars().count().abs_diff(b.chars().count()) >= limit {
        return None;
    }
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
        if row.iter().all(|distance| *distance >= limit) {
            return None;
        }
    }
    row.last().copied().filter(|distance| *distance < limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_within_two_changes_is_meant() {
        assert_eq!(nearest("FORM", ["FROM", "RUN"]), Some("FROM"));
        assert_eq!(nearest("RNU", ["ENV", "RUN"]), Some("RUN"));
        assert_eq!(nearest("bulid", ["test", "build"]), Some("build"));
        assert_eq!(nearest("x", ["builder"]), None);
        assert_eq!(nearest("aaaa", ["aabb", "aaab", "aaac"]), Some("aaab"));
        assert_eq!(nearest("same", ["sane", "same"]), None);
        assert_eq!(did_you_mean("chwon", ["chown", "chmod"]), " (did you mean chown?)");
    }
}
