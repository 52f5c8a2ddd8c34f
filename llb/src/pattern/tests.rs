//! What patterns leave out, what they let in, and where a walker need not go.

use super::*;
use proptest::prelude::*;

fn ignore(patterns: &[&str]) -> Ignore {
    Ignore::new(patterns.iter().copied()).unwrap()
}

#[track_caller]
fn check(patterns: &[&str], ignored: &[&str], kept: &[&str]) {
    let ignore = ignore(patterns);
    ignored.iter().for_each(|path| assert!(ignore.is_ignored(path), "{patterns:?} should leave out {path}"));
    kept.iter().for_each(|path| assert!(!ignore.is_ignored(path), "{patterns:?} should keep {path}"));
}

// spec 79
#[test]
fn a_pattern_matches_what_is_below_it_and_the_last_word_counts() {
    check(&["d"], &["d", "d/a", "d/a/b"], &["da", "a/d"]);
    check(&["d/*", "!d/keep"], &["d/a", "d/a/keep"], &["d", "d/keep", "d/keep/x"]);
    check(&["d/**"], &["d/a", "d/a/b"], &["d"]);
    check(&["*", "!a"], &["b", "b/a"], &["a", "a/b"]);
    check(&["!a", "a"], &["a"], &[]);
    check(&["a", "!a/b", "a/b/c"], &["a/x", "a/b/c", "a/b/c/d"], &["a/b", "a/b/x"]);
    check(&["../a", "\\a", "/"], &[], &["a", "../x"]);
    check(&["*.o", "?.c", "[x-z]*"], &["a.o", "a.c", "xyz", "zz/q"], &["d/a.o", "ab.c", "w"]);
}

#[test]
fn two_stars_are_any_depth() {
    check(
        &["**/node_modules"],
        &["node_modules", "a/node_modules", "a/b/node_modules/c"],
        &["a/node_module", "xnode_modules"],
    );
    check(&["**/*.log"], &["a.log", "x/y/a.log"], &["a.logs"]);
    check(&["a/**/b"], &["a/b", "a/x/b", "a/x/y/b", "a/b/c"], &["b", "ab", "a/xb"]);
    check(&["**"], &["a", "a/b"], &[]);
    check(&["**/**"], &["a", "a/b"], &[]);
    check(&["a**"], &["a", "ab", "ab/c"], &["b"]);
    check(&["**b"], &["b", "ab", "x/ab", "b/c"], &["bc"]);
    check(&["a**b"], &["ab", "a/b", "ax/b"], &["axb"]);
    check(&["**/a/*/c", "!**/x/c"], &["a/b/c", "q/a/b/c"], &["a/x/c", "a/c"]);
    check(&["a\\*"], &["a*"], &["ab"]);
}

#[test]
fn names_are_case_sensitive_and_characters_are_whole() {
    check(&["A", "é?"], &["A", "éü"], &["a", "é"]);
}

#[test]
fn wrong_patterns_are_refused() {
    let refused = |pattern: &str| Ignore::new([pattern]).unwrap_err().to_string();
    assert_eq!(refused("!"), "illegal exclusion pattern: \"!\"");
    assert_eq!(refused("a[b"), "syntax error in pattern: `a[b`");
}

#[test]
fn a_walker_goes_only_where_something_can_be_let_in() {
    let below = |patterns: &[&str], dir: &str| {
        let ignore = ignore(patterns);
        let verdict = ignore.verdict(dir);
        assert!(verdict.is_ignored());
        ignore.can_match_below(verdict, dir)
    };
    assert!(!below(&["node_modules"], "node_modules"));
    assert!(!below(&["!node_modules/keep", "node_modules"], "node_modules"));
    assert!(below(&["node_modules", "!node_modules/keep"], "node_modules"));
    assert!(!below(&["node_modules", "!node_modules/keep"], "node_modules/other"));
    assert!(below(&["node_modules", "!node_modules/*/keep"], "node_modules/other"));
    assert!(!below(&["node_modules", "!node_modules/*/keep"], "node_modules/other/x"));
    assert!(below(&["a", "!**/keep"], "a/b/c"));
    assert!(below(&["a", "!a/**/keep"], "a/b"));
    assert!(!below(&["a", "b", "!b/**/keep"], "a"));
    assert!(below(&["a", "!a/b**"], "a"));
    assert!(!below(&["a", "!a/b**"], "a/c"));
}

fn matches(glob: &Glob, path: &str) -> bool {
    glob.matches(&Subject::new(path))
}

/// Decides as the rules say it, one pattern at a time, with nothing remembered.
fn decide(patterns: &[String], path: &str) -> bool {
    let mut ignored = false;
    for pattern in patterns {
        let (lets_in, bare) = pattern.strip_prefix('!').map_or((false, pattern.as_str()), |rest| (true, rest));
        let glob = Glob::parse(bare).unwrap();
        let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
        if ends.into_iter().any(|end| matches(&glob, &path[..end])) {
            ignored = !lets_in;
        }
    }
    ignored
}

fn patterns() -> impl Strategy<Value = Vec<String>> {
    let part = prop::sample::select(&["a", "b", "ab", "*", "?", "**", "a*", "*b", "[ab]", "**a", "a**"][..]);
    let path = proptest::collection::vec(part, 1..4).prop_map(|parts| parts.join("/"));
    proptest::collection::vec(
        (any::<bool>(), path).prop_map(|(not, path)| format!("{}{path}", if not { "!" } else { "" })),
        0..6,
    )
}

fn path() -> impl Strategy<Value = String> {
    proptest::collection::vec(prop::sample::select(&["a", "b", "ab", "ba", "c"][..]), 1..5)
        .prop_map(|parts| parts.join("/"))
}

proptest! {
    #[test]
    fn the_compiled_patterns_decide_as_the_rules_do(patterns in patterns(), path in path()) {
        let ignore = Ignore::new(patterns.iter().map(String::as_str)).unwrap();
        prop_assert_eq!(ignore.is_ignored(&path), decide(&patterns, &path));
    }

    #[test]
    fn what_a_walker_leaves_out_has_nothing_below_that_is_let_in(patterns in patterns(), dir in path(), rest in path()) {
        let ignore = Ignore::new(patterns.iter().map(String::as_str)).unwrap();
        let verdict = ignore.verdict(&dir);
        if verdict.is_ignored() && !ignore.can_match_below(verdict, &dir) {
            let below = format!("{dir}/{rest}");
            prop_assert!(ignore.is_ignored(&below));
        }
    }

    #[test]
    fn a_glob_without_depth_is_go_s_match(pattern in "[ab*?]{1,6}", path in "[ab/]{0,6}") {
        if !pattern.contains("**") {
            prop_assert_eq!(matches(&Glob::parse(&pattern).unwrap(), &path), go_match(&pattern, &path).unwrap());
        }
    }
}
