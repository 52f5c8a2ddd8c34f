//! What each form of substitution gives, and how each wrong one is refused.

use super::*;
use proptest::prelude::*;

fn environment() -> Environment {
    Environment::from_entries(["x=value", "e=", "p=/usr/local/bin", "name=a.b.c", "star=a*b*c", "pat=*.", "slash=/"])
}

#[track_caller]
fn check(word: &str, expected: &str) {
    check_style(word, Style::default(), expected);
}

#[track_caller]
fn check_style(word: &str, style: Style, expected: &str) {
    let expanded = expand(word, style, &environment()).map(|it| it.text);
    assert_eq!(expanded.unwrap_or_else(|error| error.problem.to_string()), expected, "{word}");
}

#[test]
fn a_name_ends_where_no_letter_digit_or_underscore_stands() {
    check("$x", "value");
    check("a$x/b", "avalue/b");
    check("$xy", "");
    check("${x}y", "valuey");
    check("$unset-", "-");
    check("$1x $12 $@ $* $# $? $- $$ $!", "x        ");
    check("$é", "");
}

// spec 19
#[test]
fn quotes_and_escapes_protect_a_dollar() {
    check("'$x'", "$x");
    check("\"$x\"", "value");
    check("\\$x", "$x");
    check("$", "$");
    check("a$ b", "a$ b");
    check("\"a \\\" \\$x \\\\ \\n\"", "a \" $x \\ \\n");
    check("a\\b\\", "ab");
    check("'a\\'b", "a\\b");
    check("a\"\"b''", "ab");
}

// spec 7
#[test]
fn a_backtick_as_escape_character_leaves_backslashes_alone() {
    let style = Style { escape: Escape::Backtick, ..Style::default() };
    check_style(r"c:\x\$x", style, r"c:\x\value");
    check_style(r"`$x `` `a", style, r"$x ` a");
    check_style("\"`$x `a \\\"", style, "$x `a \\");
}

// spec 20
#[test]
fn defaults_and_alternatives_tell_empty_from_unset() {
    check("${x:-d} ${e:-d} ${u:-d}", "value d d");
    check("${x-d} ${e-d} ${u-d}", "value  d");
    check("${x:+d} ${e:+d} ${u:+d}", "d  ");
    check("${x+d} ${e+d} ${u+d}", "d d ");
}

// spec 21
#[test]
fn a_required_variable_that_is_missing_is_an_error_with_its_name() {
    check("${x:?no} ${x?no} ${e?no}", "value value ");
    check("${u:?msg}", "u: msg");
    check("${u?}", "u: is not allowed to be unset");
    check("${e:?}", "e: is not allowed to be empty");
    check("${u:?set $x}", "u: set value");
}

// spec 22
#[test]
fn prefixes_suffixes_and_parts_are_cut_by_patterns() {
    check("${p#/*/} ${p##*/} ${p%/*} ${p%%/*}", "local/bin bin /usr/local ");
    check("${name#*.} ${name##*.} ${name%.*} ${name%%.*}", "b.c c a.b a");
    check("${name/./-} ${name//./-} ${name//?/x}", "a-b.c a-b-c xxxxx");
    check("${name/b*/x} ${name//\\*/x}", "a.x a.b.c");
    check("${star#a\\*} ${star//\\*/-}", "b*c a-b-c");
    check("${p//\\//|} ${p/$slash/-}", "|usr|local|bin -usr/local/bin");
    check("${x#[a-z]} ${x/[v]/x}", "value value");
    check("${x#} ${x%} ${x//q/r} ${x///}", "value value value value");
    check("${e/x/y}${u#a}", "");
    check("${name#$pat}", "b.c");
    check("${x//a}", "syntax error: missing '/' in ${}");
    check("${x#\\v}", "invalid pattern (\\v) in substitution: invalid escape '\\v'");
    check("${x/\"\\n\"/y}", "value");
    check("${s:0:2}", "unsupported modifier (:0) in substitution");
    check("${x:#v}", "unsupported modifier (:#) in substitution");
    check("${x=v}", "unsupported modifier (=) in substitution");
    check("${x.}", "unsupported modifier (.) in substitution");
}

// spec 23
#[test]
fn operands_are_substituted_themselves() {
    check("${u:-${v:-c}}", "c");
    check("${u:-$x}", "value");
    check("${u:-\"${v:-'a b'}\"}", "a b");
    check("${u:-a}b}", "ab}");
    check("${u:-a\\}b}", "a}b");
    check("${u:-'}'}", "}");
}

// spec 116
#[test]
fn what_is_not_closed_is_named() {
    check("'a", "unexpected end of statement while looking for matching single-quote");
    check("\"a", "unexpected end of statement while looking for matching double-quote");
    check("\"a\\", "unexpected end of statement while looking for matching double-quote");
    check("${", "syntax error: missing '}'");
    check("${x", "syntax error: missing '}'");
    check("${x:-a", "syntax error: missing '}'");
    check("${x:", "syntax error: missing '}'");
    check("${x:-'a}", "syntax error: missing '}'");
    check("${x/a/b", "syntax error: missing '}'");
    check("${x/a", "syntax error: missing '/' in ${}");
    check("${}", "syntax error: bad substitution");
    check("${{x}}", "syntax error: bad substitution");
    check("${:x}", "syntax error: bad substitution");
    check("${u:-${v:?m}", "syntax error: missing '}'");
    check("${u:-${v:?m}}", "v: m");
    let error = expand("a${", Style::default(), &environment()).unwrap_err();
    assert_eq!(error.to_string(), "failed to process \"a${\": syntax error: missing '}'");
}

// spec 74, 115
#[test]
fn in_the_body_of_a_heredoc_quotes_are_characters_like_others() {
    let body = Style { quotes: Quotes::Plain, ..Style::default() };
    check_style("'$x' \"$x\" \\$x \\${x} \\\\ it's", body, "'value' \"value\" $x ${x} \\ it's");
    check_style("${u:-'a'} ${u:-\"b\"}", body, "'a' \"b\"");
}

#[test]
fn what_is_kept_stays_as_it_is_written() {
    let kept = Style { quotes: Quotes::Keep, unset: Unset::Keep, ..Style::default() };
    check_style("'$x' \"$x $u\" ${u} ${u:-$x} ${u//a/b} \\n", kept, "'$x' \"value $u\" ${u} ${u:-value} ${u/a/b} n");
}

#[test]
fn blanks_split_words_unless_they_are_protected() {
    let words = |text: &str| split(text, Style::default(), &Environment::from_entries(["a=1 2", "e="])).unwrap();
    assert_eq!(words(" x $a  y "), ["x", "1", "2", "y"]);
    assert_eq!(words("\"$a\" 'b c' d\\ e"), ["1 2", "b c", "d e"]);
    assert_eq!(words("$e \"\" x$a"), ["x1", "2"]);
    assert_eq!(words(""), [""; 0]);
}

#[test]
fn used_and_missing_variables_are_named_once_and_in_order() {
    let expanded = expand("$u ${x:-$v} '$w' $u $e", Style::default(), &environment()).unwrap();
    assert_eq!(
        (expanded.used, expanded.unset),
        (vec!["x".to_owned(), "e".to_owned()], vec!["u".to_owned(), "v".to_owned()])
    );
}

#[test]
fn deep_nesting_ends_in_an_error_and_not_on_the_stack() {
    let nested = |depth: usize| format!("{}x{}", "${u:-".repeat(depth), "}".repeat(depth));
    check(&nested(64), "x");
    check(&nested(65), "substitutions are nested more than 64 deep");
    check(&nested(100_000), "substitutions are nested more than 64 deep");
    check(&"${u:-\"".repeat(100_000), "substitutions are nested more than 64 deep");
    check(&"${u/".repeat(100_000), "substitutions are nested more than 64 deep");
}

#[test]
fn usual_forms_need_no_grammar() {
    let is_direct = |word: &str| direct::evaluate(word, Style::default(), &environment(), None).is_some();
    let usual = ["a", "$x/$y", "\"a ${x}'\"", "'$x'\\n", "${x:-a b}${x+}", "a$ b", "\"\\\"\\n\"", "é`"].map(is_direct);
    let others = ["$1", "$é", "$xé", "${x:?m}", "${x#a}", "${u:-$x}", "${x:-'a'}", "${:é", "${x:é", "\"a", "'a", "${x"];
    assert_eq!((usual, others.map(is_direct)), ([true; 8], [false; 12]));
}

#[test]
fn growth_and_matching_have_limits() {
    let long = Environment::from_entries([format!("a={}", "x".repeat(3 << 20)).as_str()]);
    let problem = |word: &str| expand(word, Style::default(), &long).unwrap_err().problem;
    assert_eq!(problem("$a$a"), Problem::TooLarge);
    assert_eq!(problem("${a//x/yy}"), Problem::TooLarge);
    assert_eq!(problem("${a%%*y*y*y*y*y*y*y*y*y*y*y*y*y*y*y*y*y*}"), Problem::TooSlow);
}

proptest! {
    #[test]
    fn expansion_of_single_quoted_text_is_the_text(text in "[^']*") {
        let quoted = format!("'{text}'");
        prop_assert_eq!(expand(&quoted, Style::default(), &environment()).unwrap().text, text);
    }

    #[test]
    fn expansion_of_escaped_text_is_the_text(text in "\\PC*") {
        let escaped: String = text.chars().flat_map(|c| ['\\', c]).collect();
        prop_assert_eq!(expand(&escaped, Style::default(), &environment()).unwrap().text, text);
    }

    #[test]
    fn what_is_read_directly_is_what_the_grammar_says(
        word in "([$]|[$][{]|:-|[{}'\"\\\\`:+/?#-]|x|e|u|name|1|é| ){0,12}",
        tick: bool,
        escapes_kept: bool,
        is_split: bool,
    ) {
        let escape = if tick { Escape::Backtick } else { Escape::Backslash };
        let escapes = if escapes_kept { Escapes::Keep } else { Escapes::Remove };
        let words = is_split.then(evaluate::Words::default);
        for quotes in [Quotes::Remove, Quotes::Keep, Quotes::Plain] {
            for unset in [Unset::Empty, Unset::Keep] {
                let style = Style { escape, quotes, escapes, unset };
                if let Some(found) = direct::evaluate(&word, style, &environment(), words.clone()) {
                    let meter = Meter::default();
                    let expected = evaluate::by_grammar(&word, style, &environment(), &meter, words.clone());
                    prop_assert_eq!(Ok(found), expected, "{} {:?}", &word, style);
                }
            }
        }
    }

    #[test]
    fn no_word_panics(word in "[$%{}'\"\\\\`/:#?*+a-c \n-]{0,40}", tick: bool) {
        let escape = if tick { Escape::Backtick } else { Escape::Backslash };
        for quotes in [Quotes::Remove, Quotes::Keep, Quotes::Plain] {
            for unset in [Unset::Empty, Unset::Keep] {
                let style = Style { escape, quotes, unset, ..Style::default() };
                // Only that it returns matters here.
                drop(expand(&word, style, &environment()));
            }
        }
    }
}
