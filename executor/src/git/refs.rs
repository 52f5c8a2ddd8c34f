//! Which commit a name means, by the list that a repository gives of its refs.

/// Returns whether a text is the full hash of a commit.
pub(super) fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit() && !byte.is_ascii_uppercase())
}

/// Returns the name of what makes such hashes of objects: a repository takes objects of its own format only.
pub(super) fn object_format(hash: &str) -> &'static str {
    if hash.len() == 64 { "sha256" } else { "sha1" }
}

/// Returns the patterns to ask a repository for: what `reference` may stand for. An empty one is the default branch.
pub(super) fn patterns(reference: &str) -> Vec<String> {
    if reference.is_empty() {
        return vec!["HEAD".to_owned()];
    }
    let mut patterns: Vec<String> = candidates(reference).into();
    patterns.extend(candidates(reference).map(|name| format!("{name}^{{}}")));
    patterns
}

/// What a name may stand for, the first one wins: a branch before a tag, as `git checkout` has it.
fn candidates(reference: &str) -> [String; 3] {
    let behind = |prefix: &str| reference.strip_prefix(prefix).unwrap_or(reference).to_owned();
    [
        format!("refs/heads/{}", behind("refs/heads/")),
        format!("refs/tags/{}", behind("refs/tags/")),
        format!("refs/{}", behind("refs/")),
    ]
}

/// Finds the commit in what `git ls-remote` printed, and the full name of the ref. A tag that is an object of its own stands for the commit that it names.
pub(super) fn find(printed: &str, reference: &str) -> Option<(String, String)> {
    let lines = || printed.lines().filter_map(|line| line.split_once('\t'));
    let named = |wanted: &str| lines().find(|(hash, name)| *name == wanted && is_commit(hash)).map(|(hash, _)| hash);
    let names = if reference.is_empty() { vec!["HEAD".to_owned()] } else { candidates(reference).into() };
    names.into_iter().find_map(|name| {
        let hash = named(&format!("{name}^{{}}")).or_else(|| named(&name))?;
        Some((hash.to_owned(), name))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_branch_wins_over_a_tag_and_a_tag_stands_for_its_commit() {
        let hash = |c: char| c.to_string().repeat(40);
        let line = |c: char, name: &str| format!("{}\t{name}\n", hash(c));
        let printed = [
            line('0', "HEAD"),
            line('1', "refs/heads/main"),
            line('2', "refs/tags/main"),
            line('3', "refs/tags/v1"),
            line('4', "refs/tags/v1^{}"),
            line('5', "refs/pull/7/head"),
        ]
        .concat();
        let found = |reference: &str| find(&printed, reference).map(|(hash, name)| (hash[..1].to_owned(), name));
        let expected = |c: &str, name: &str| Some((c.to_owned(), name.to_owned()));
        assert_eq!(found(""), expected("0", "HEAD"));
        assert_eq!(found("main"), expected("1", "refs/heads/main"));
        assert_eq!(found("refs/tags/main"), expected("2", "refs/tags/main"));
        assert_eq!(found("v1"), expected("4", "refs/tags/v1"));
        assert_eq!(found("pull/7/head"), expected("5", "refs/pull/7/head"));
        assert_eq!(found("nope"), None);
    }

    #[test]
    fn only_full_hashes_are_commits() {
        assert!(is_commit(&"a1".repeat(20)) && is_commit(&"0f".repeat(32)));
        assert!(!is_commit("a1b2c3") && !is_commit(&"g".repeat(40)) && !is_commit(&"A".repeat(40)));
    }
}
