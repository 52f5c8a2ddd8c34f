//! What templates make of data, and what they say when they cannot. The outputs are those of Docker, but for the few that say so.

use expect_test::{Expect, expect};
use serde_json::{Value, json};

use crate::format::template::{Missing, Rules, Template};

fn data() -> Value {
    json!({
        "s": "hello", "n": 5, "f": 1.5, "z": null, "b": true, "neg": -3,
        "l": ["a", "b", "c"], "e": [], "m": {"k2": "v2", "k1": "v1"},
        "o": {"p": {"q": [1, 2, {"r": null}]}},
        "Labels": {"maintainer": "me"}, "Empty": {"Labels": null},
        "u": "<a&b>\u{2028}",
    })
}

fn render(template: &str, missing: Missing) -> String {
    let rules = Rules { missing, text_maps: &["Labels"] };
    match Template::parse(template).and_then(|parsed| parsed.render(&data(), &rules)) {
        Ok(text) => text,
        Err(error) => error.to_string().replace("template parsing error: template: ", "error "),
    }
}

/// Renders each template and shows it with its result.
#[track_caller]
fn check(templates: &[&str], expected: Expect) {
    let shown = templates.iter().map(|template| format!("{template}  ⇒ {}\n", render(template, Missing::Error)));
    expected.assert_eq(&shown.collect::<String>());
}

#[test]
fn fields_are_followed_and_printed_as_go_prints_them() {
    check(
        &[
            "{{.s}} {{.n}} {{.f}} {{.b}} {{.neg}}",
            "{{.l}} {{.m}} {{.o}} {{.e}}",
            "{{.z}}",
            "{{.m.k1}}{{$.m.k2}}",
            "{{(index .o.p.q 2).r}}",
            "{{json .o}} {{json .s}} {{json .z}} {{.u | json}}",
            "text {{- .s -}}  text {{/* comment */}}.{{- /* comment */ -}}  .",
        ],
        expect![[r#"
            {{.s}} {{.n}} {{.f}} {{.b}} {{.neg}}  ⇒ hello 5 1.5 true -3
            {{.l}} {{.m}} {{.o}} {{.e}}  ⇒ [a b c] map[k1:v1 k2:v2] map[p:map[q:[1 2 map[r:<nil>]]]] []
            {{.z}}  ⇒ <no value>
            {{.m.k1}}{{$.m.k2}}  ⇒ v1v2
            {{(index .o.p.q 2).r}}  ⇒ <no value>
            {{json .o}} {{json .s}} {{json .z}} {{.u | json}}  ⇒ {"p":{"q":[1,2,{"r":null}]}} "hello" null "<a&b>\u2028"
            text {{- .s -}}  text {{/* comment */}}.{{- /* comment */ -}}  .  ⇒ texthellotext ..
        "#]],
    );
}

#[test]
fn blocks_choose_and_repeat() {
    check(
        &[
            "{{range .l}}{{.}},{{end}}",
            "{{range $i, $e := .l}}{{$i}}={{$e}};{{end}}",
            "{{range $k, $v := .m}}{{$k}}={{$v}};{{end}}",
            "{{range 3}}{{.}}{{end}}",
            "{{range .z}}x{{else}}none{{end}} {{range .e}}x{{else}}none{{end}}",
            "{{range .l}}{{if eq . \"b\"}}{{continue}}{{end}}{{.}}{{end}} {{range .l}}{{if eq . \"b\"}}{{break}}{{end}}{{.}}{{end}}",
            "{{if and .b .e}}a{{else if .s}}b{{else}}c{{end}}",
            "{{with .m}}{{.k1}}{{end}} {{with .z}}x{{else with .s}}{{.}}{{else}}y{{end}}",
            "{{$x := .s}}{{$x}} {{$x = \"b\"}}{{$x}} {{range .l}}{{$x = .}}{{end}}{{$x}}",
            "{{if .s}}{{$x := 1}}{{end}}{{with $y := .n}}{{$y}}{{end}}",
        ],
        expect![[r#"
            {{range .l}}{{.}},{{end}}  ⇒ a,b,c,
            {{range $i, $e := .l}}{{$i}}={{$e}};{{end}}  ⇒ 0=a;1=b;2=c;
            {{range $k, $v := .m}}{{$k}}={{$v}};{{end}}  ⇒ k1=v1;k2=v2;
            {{range 3}}{{.}}{{end}}  ⇒ 012
            {{range .z}}x{{else}}none{{end}} {{range .e}}x{{else}}none{{end}}  ⇒ none none
            {{range .l}}{{if eq . "b"}}{{continue}}{{end}}{{.}}{{end}} {{range .l}}{{if eq . "b"}}{{break}}{{end}}{{.}}{{end}}  ⇒ ac a
            {{if and .b .e}}a{{else if .s}}b{{else}}c{{end}}  ⇒ b
            {{with .m}}{{.k1}}{{end}} {{with .z}}x{{else with .s}}{{.}}{{else}}y{{end}}  ⇒ v1 hello
            {{$x := .s}}{{$x}} {{$x = "b"}}{{$x}} {{range .l}}{{$x = .}}{{end}}{{$x}}  ⇒ hello b c
            {{if .s}}{{$x := 1}}{{end}}{{with $y := .n}}{{$y}}{{end}}  ⇒ 5
        "#]],
    );
}

#[test]
fn functions_do_what_docker_s_do() {
    check(
        &[
            "{{index .l 1}} {{index .m \"k1\"}} {{index .m \"zz\"}} {{index .s 0}} {{index .o \"p\" \"q\" 0}}",
            "{{len .l}} {{len .s}} {{len .m}} {{len .z}} {{.l | len | printf \"%03d\"}}",
            "{{slice .s 1 3}} {{slice .l 1}} {{slice .l 0 2}}",
            "{{join .l \",\"}} {{join .z \",\"}}. {{split \"a,b\" \",\"}} {{split \"ab\" \"\"}}",
            "{{.s | upper | lower | title}} {{title \"a-b c_d é\"}} {{truncate .s 3}} {{truncate .s 9}} [{{pad .s 1 2}}] [{{pad \"\" 1 2}}]",
            "{{print .s .s 1 2 .z}} {{print 1 2}} {{print .l 1}}",
            "{{println 1 \"a\" .l}}.",
            "{{not .b}} {{and .s .z}} {{or .e .s}} {{and .b .n}} {{or .z .e}}",
            "{{and .z .z.y}} {{or .s .z.y}}",
            "{{eq .s \"hello\"}} {{eq .n 5}} {{eq .n 4 5}} {{ne .s \"x\"}} {{eq .z nil}} {{eq .b true}} {{ne .s nil}}",
            "{{lt 1 2}} {{le 2 2}} {{gt \"b\" \"a\"}} {{ge 1 2}} {{lt .neg 0}}",
            "{{0x1F}} {{1_000}} {{0.1}} {{1.0}} {{-3}} {{0b11}} {{017}} {{'a'}} {{'\\n'}} {{1e3}}",
            "{{\"\\x41\\u00e9\\\"\\101\"}} {{`raw\\n`}} {{true}}",
        ],
        expect![[r#"
            {{index .l 1}} {{index .m "k1"}} {{index .m "zz"}} {{index .s 0}} {{index .o "p" "q" 0}}  ⇒ b v1 <no value> 104 1
            {{len .l}} {{len .s}} {{len .m}} {{len .z}} {{.l | len | printf "%03d"}}  ⇒ 3 5 2 0 003
            {{slice .s 1 3}} {{slice .l 1}} {{slice .l 0 2}}  ⇒ el [b c] [a b]
            {{join .l ","}} {{join .z ","}}. {{split "a,b" ","}} {{split "ab" ""}}  ⇒ a,b,c . [a b] [a b]
            {{.s | upper | lower | title}} {{title "a-b c_d é"}} {{truncate .s 3}} {{truncate .s 9}} [{{pad .s 1 2}}] [{{pad "" 1 2}}]  ⇒ Hello A-B C_d É hel hello [ hello  ] []
            {{print .s .s 1 2 .z}} {{print 1 2}} {{print .l 1}}  ⇒ hellohello1 2 <nil> 1 2 [a b c] 1
            {{println 1 "a" .l}}.  ⇒ 1 a [a b c]
            .
            {{not .b}} {{and .s .z}} {{or .e .s}} {{and .b .n}} {{or .z .e}}  ⇒ false <no value> hello 5 []
            {{and .z .z.y}} {{or .s .z.y}}  ⇒ <no value> hello
            {{eq .s "hello"}} {{eq .n 5}} {{eq .n 4 5}} {{ne .s "x"}} {{eq .z nil}} {{eq .b true}} {{ne .s nil}}  ⇒ true true true true true true true
            {{lt 1 2}} {{le 2 2}} {{gt "b" "a"}} {{ge 1 2}} {{lt .neg 0}}  ⇒ true true true false true
            {{0x1F}} {{1_000}} {{0.1}} {{1.0}} {{-3}} {{0b11}} {{017}} {{'a'}} {{'\n'}} {{1e3}}  ⇒ 31 1000 0.1 1 -3 3 15 97 10 1000
            {{"\x41\u00e9\"\101"}} {{`raw\n`}} {{true}}  ⇒ Aé"A raw\n true
        "#]],
    );
}

#[test]
fn printf_writes_as_go_does() {
    check(
        &[
            r#"{{printf "%s %d %v %q %5.2f|%-5s|%05d|%t" "a" 3 .l "q" 1.5 "x" 42 true}}"#,
            r#"{{printf "%g %G %e %.3g %.10g %f %.0f %8.3f|%-8.2f|%+d|%x|%X|%o|%b|%c|%U" 1e6 1e6 1.5 1234.5 1.5 1.5 2.5 1.5 1.5 5 255 255 8 5 65 65}}"#,
            r#"{{printf "%T %T %T %T %T %T" true 1 "a" 1.5 .l .m}}"#,
            r#"{{printf "%x %X %q %5q|%-5s|%5s|%05s|%.2s|% x|%#x" "hi" "hi" "h\"i" "h" "a" "b" "c" "abc" "abc" "abc"}}"#,
            r#"{{printf "%v %+v %#v %d %s %q" .l .m .m .l .l .l}}"#,
            r#"{{printf "%s" .m}} {{printf "%q" .m}} {{printf "%x" .l}} {{printf "%d" .o.p.q}}"#,
            r#"{{printf "%d%%|%" 5}} {{printf "%*d|%[2]d %[1]d" 5 42}} {{printf "%-*d|" 4 1}} {{printf "%.*f" 2 1.0}}"#,
            r#"{{printf "%s %d %v %t %q" nil nil nil nil nil}}"#,
            r#"{{printf "%d %s %z" "a" 3 1}} {{printf "%d"}} {{printf "a" 1 "b"}}"#,
            r#"{{printf "%s %d %d %p %t" true true 1.5 1 1}}"#,
            r#"{{printf "%#q %#x %#o %#v %q %#U %c" "a" 255 8 "s" 65 65 128512}}"#,
            r#"{{printf "% d|%+.2f|%3c|%-3c|%03d|%+05d|%x|%5v|%-5v|%05v|%10.3v" 5 1.5 65 65 -5 5 -255 1 2 3 "abcdef"}}"#,
            r#"{{print 1e6}} {{print 123456789.5}} {{print 1e21}} {{print 0.0001}} {{print 0.00001}} {{print 100000.5}} {{print 0.0}}"#,
            r#"{{printf "%q" "日\x00\t\u202e"}} {{printf "%99999999d" 1}}"#,
        ],
        expect![[r#"
            {{printf "%s %d %v %q %5.2f|%-5s|%05d|%t" "a" 3 .l "q" 1.5 "x" 42 true}}  ⇒ a 3 [a b c] "q"  1.50|x    |00042|true
            {{printf "%g %G %e %.3g %.10g %f %.0f %8.3f|%-8.2f|%+d|%x|%X|%o|%b|%c|%U" 1e6 1e6 1.5 1234.5 1.5 1.5 2.5 1.5 1.5 5 255 255 8 5 65 65}}  ⇒ 1e+06 1E+06 1.500000e+00 1.23e+03 1.5 1.500000 2    1.500|1.50    |+5|ff|FF|10|101|A|U+0041
            {{printf "%T %T %T %T %T %T" true 1 "a" 1.5 .l .m}}  ⇒ bool int string float64 []interface {} map[string]interface {}
            {{printf "%x %X %q %5q|%-5s|%5s|%05s|%.2s|% x|%#x" "hi" "hi" "h\"i" "h" "a" "b" "c" "abc" "abc" "abc"}}  ⇒ 6869 6869 "h\"i"   "h"|a    |    b|0000c|ab|61 62 63|0x616263
            {{printf "%v %+v %#v %d %s %q" .l .m .m .l .l .l}}  ⇒ [a b c] map[k1:v1 k2:v2] map[string]interface {}{"k1":"v1", "k2":"v2"} [%!d(string=a) %!d(string=b) %!d(string=c)] [a b c] ["a" "b" "c"]
            {{printf "%s" .m}} {{printf "%q" .m}} {{printf "%x" .l}} {{printf "%d" .o.p.q}}  ⇒ map[k1:v1 k2:v2] map["k1":"v1" "k2":"v2"] [61 62 63] [1 2 map[%!d(string=r):%!d(<nil>)]]
            {{printf "%d%%|%" 5}} {{printf "%*d|%[2]d %[1]d" 5 42}} {{printf "%-*d|" 4 1}} {{printf "%.*f" 2 1.0}}  ⇒ 5%|%!(NOVERB)    42|42 5 1   | 1.00
            {{printf "%s %d %v %t %q" nil nil nil nil nil}}  ⇒ %!s(<nil>) %!d(<nil>) <nil> %!t(<nil>) %!q(<nil>)
            {{printf "%d %s %z" "a" 3 1}} {{printf "%d"}} {{printf "a" 1 "b"}}  ⇒ %!d(string=a) %!s(int=3) %!z(int=1) %!d(MISSING) a%!(EXTRA int=1, string=b)
            {{printf "%s %d %d %p %t" true true 1.5 1 1}}  ⇒ %!s(bool=true) %!d(bool=true) %!d(float64=1.5) %!p(int=1) %!t(int=1)
            {{printf "%#q %#x %#o %#v %q %#U %c" "a" 255 8 "s" 65 65 128512}}  ⇒ `a` 0xff 010 "s" 'A' U+0041 'A' 😀
            {{printf "% d|%+.2f|%3c|%-3c|%03d|%+05d|%x|%5v|%-5v|%05v|%10.3v" 5 1.5 65 65 -5 5 -255 1 2 3 "abcdef"}}  ⇒  5|+1.50|  A|A  |-05|+0005|-ff|    1|2    |00003|       abc
            {{print 1e6}} {{print 123456789.5}} {{print 1e21}} {{print 0.0001}} {{print 0.00001}} {{print 100000.5}} {{print 0.0}}  ⇒ 1e+06 1.234567895e+08 1e+21 0.0001 1e-05 100000.5 0
            {{printf "%q" "日\x00\t\u202e"}} {{printf "%99999999d" 1}}  ⇒ "日\x00\t\u202e" %!(BADWIDTH)
        "#]],
    );
}

#[test]
fn what_is_no_template_is_refused_in_go_s_words() {
    check(
        &[
            "{{.s",
            "{{if .s}}a",
            "{{end}}",
            "{{else}}",
            "{{foo}}",
            "{{}}",
            "{{\"a\" | 3}}",
            "{{$x}}",
            "{{if}}",
            "{{.s}",
            "{{.s s}}",
            "{{@}}",
            "{{\"abc}}",
            "{{`abc}}",
            "{{'abc}}",
            "{{(.s}}",
            "{{.s)}}",
            "{{break}}",
            "{{/* x }}",
            "{{/* x */ }}",
            "{{1x}}",
            "{{range $a,$b,$c := .m}}{{end}}",
            "{{$x, $y := .m}}",
            "{{range $i, .m}}{{end}}",
            "{{true.x}}",
            "{{1.x}}",
            "{{.s.}}",
            "{{\"a\".b}}",
            "{{.}}x{{",
            "{{if .s}}a{{else}}b{{else}}c{{end}}",
            "{{range .l}}{{else range .l}}{{end}}",
            "{{.s .. }}",
            "{{end x}}",
            "{{= 1}}",
            "{{().b}}",
            "{{if else}}{{end}}",
            "{{.s | | .s}}",
            "{{\"\\q\"}}",
            "{{'ab'}}",
            "{{0x}}",
            "{{1e}}",
            "{{99999999999999999999}}",
            "{{,}}",
            "{{\"a\" , \"b\"}}",
            "{{.s := \"b\"}}",
            "{{\"a\"}",
            "{{{.s}}}",
            "{{.s\u{7}}}",
            "{{.s\n}",
            "{{:}}",
            "{{block \"x\" .}}{{end}}",
            "{{if .s}}{{$x := 1}}{{end}}{{$x}}",
            "{{$y = 1}}",
        ],
        expect![[r#"
            {{.s  ⇒ error :1: unclosed action
            {{if .s}}a  ⇒ error :1: unexpected EOF
            {{end}}  ⇒ error :1: unexpected {{end}}
            {{else}}  ⇒ error :1: unexpected {{else}}
            {{foo}}  ⇒ error :1: function "foo" not defined
            {{}}  ⇒ error :1: missing value for command
            {{"a" | 3}}  ⇒ error :1: non executable command in pipeline stage 2
            {{$x}}  ⇒ error :1: undefined variable "$x"
            {{if}}  ⇒ error :1: missing value for if
            {{.s}  ⇒ error :1: bad character U+007D '}'
            {{.s s}}  ⇒ error :1: function "s" not defined
            {{@}}  ⇒ error :1: unexpected "@" in command
            {{"abc}}  ⇒ error :1: unterminated quoted string
            {{`abc}}  ⇒ error :1: unterminated raw quoted string
            {{'abc}}  ⇒ error :1: unterminated character constant
            {{(.s}}  ⇒ error :1: unclosed left paren
            {{.s)}}  ⇒ error :1: unexpected right paren
            {{break}}  ⇒ error :1: {{break}} outside {{range}}
            {{/* x }}  ⇒ error :1: unclosed comment
            {{/* x */ }}  ⇒ error :1: comment ends before closing delimiter
            {{1x}}  ⇒ error :1: bad number syntax: "1x"
            {{range $a,$b,$c := .m}}{{end}}  ⇒ error :1: too many declarations in range
            {{$x, $y := .m}}  ⇒ error :1: too many declarations in command
            {{range $i, .m}}{{end}}  ⇒ error :1: range can only initialize variables
            {{true.x}}  ⇒ error :1: unexpected . after term "true"
            {{1.x}}  ⇒ error :1: bad number syntax: "1.x"
            {{.s.}}  ⇒ error :1: unexpected <.> in operand
            {{"a".b}}  ⇒ error :1: unexpected . after term "\"a\""
            {{.}}x{{  ⇒ error :1: unclosed action
            {{if .s}}a{{else}}b{{else}}c{{end}}  ⇒ error :1: expected end; found {{else}}
            {{range .l}}{{else range .l}}{{end}}  ⇒ error :1: unexpected <range> in else
            {{.s .. }}  ⇒ error :1: unexpected <.> in operand
            {{end x}}  ⇒ error :1: unexpected "x" in end
            {{= 1}}  ⇒ error :1: unexpected "=" in command
            {{().b}}  ⇒ error :1: missing value for parenthesized pipeline
            {{if else}}{{end}}  ⇒ error :1: unexpected <else> in if
            {{.s | | .s}}  ⇒ error :1: unexpected "|" in command
            {{"\q"}}  ⇒ error :1: invalid syntax
            {{'ab'}}  ⇒ error :1: malformed character constant: 'ab'
            {{0x}}  ⇒ error :1: illegal number syntax: "0x"
            {{1e}}  ⇒ error :1: illegal number syntax: "1e"
            {{99999999999999999999}}  ⇒ error :1: integer overflow: "99999999999999999999"
            {{,}}  ⇒ error :1: unexpected "," in command
            {{"a" , "b"}}  ⇒ error :1: unexpected "," in operand
            {{.s := "b"}}  ⇒ error :1: unexpected ":=" in operand
            {{"a"}  ⇒ error :1: unexpected "}" in operand
            {{{.s}}}  ⇒ error :1: unexpected "{" in command
            {{.s}}  ⇒ error :1: bad character U+0007
            {{.s
            }  ⇒ error :2: unexpected "}" in operand
            {{:}}  ⇒ error :1: expected :=
            {{block "x" .}}{{end}}  ⇒ error :1: {{block}} is not supported: there is only one template
            {{if .s}}{{$x := 1}}{{end}}{{$x}}  ⇒ error :1: undefined variable "$x"
            {{$y = 1}}  ⇒ error :1: undefined variable "$y"
        "#]],
    );
}

#[test]
fn what_does_not_fit_the_data_is_refused_at_its_place() {
    check(
        &[
            "{{.zz}}",
            "{{.Foo.Bar}}",
            "{{.m.nope}}",
            "{{.z.y}}",
            "{{.s.y}}",
            "{{.l.y}}",
            "{{.n.y}}",
            "{{range .s}}x{{end}}",
            "{{.s \"x\"}}",
            "{{1 2}}",
            "{{nil}}",
            "{{index .l 7}}",
            "{{index .l \"x\"}}",
            "{{index .z 0}}",
            "{{index .m 1}}",
            "{{index .l -1}}",
            "{{index .n 1}}",
            "{{len .n}}",
            "{{eq .s 5}}",
            "{{eq .s}}",
            "{{eq .l .l}}",
            "{{lt \"a\" 2}}",
            "{{lt .b .b}}",
            "{{slice .l 4}}",
            "{{slice .s 2 1}}",
            "{{slice .z}}",
            "{{slice .s 1 2 3}}",
            "{{lower .b}}",
            "{{lower .z}}",
            "{{join .o.p.q \",\"}}",
            "{{join .s \",\"}}",
            "{{json}}",
            "{{json .s .s}}",
            "{{and}}",
            "{{printf}}",
            "{{pad \"x\" -1 0}}",
            "{{pad \"x\" 99999999999 0}}",
            "{{truncate \"abc\" -1}}",
            "{{(\"a\").b}}",
            "{{printf \"%v\" (printf \"%d\" 1).x}}",
            "line\n  {{.s}} {{.x}}",
            "{{index.l 1}}",
            "{{.b | lower}}",
            "{{$x := .zz}}",
        ],
        expect![[r#"
            {{.zz}}  ⇒ error :1:2: executing "" at <.zz>: map has no entry for key "zz"
            {{.Foo.Bar}}  ⇒ error :1:6: executing "" at <.Foo.Bar>: map has no entry for key "Foo"
            {{.m.nope}}  ⇒ error :1:4: executing "" at <.m.nope>: map has no entry for key "nope"
            {{.z.y}}  ⇒ error :1:4: executing "" at <.z.y>: nil pointer evaluating interface {}.y
            {{.s.y}}  ⇒ error :1:4: executing "" at <.s.y>: can't evaluate field y in type string
            {{.l.y}}  ⇒ error :1:4: executing "" at <.l.y>: can't evaluate field y in type []interface {}
            {{.n.y}}  ⇒ error :1:4: executing "" at <.n.y>: can't evaluate field y in type int
            {{range .s}}x{{end}}  ⇒ error :1:8: executing "" at <.s>: range can't iterate over hello
            {{.s "x"}}  ⇒ error :1:2: executing "" at <.s>: s is not a method but has arguments
            {{1 2}}  ⇒ error :1:2: executing "" at <1>: can't give argument to non-function 1
            {{nil}}  ⇒ error :1:2: executing "" at <nil>: nil is not a command
            {{index .l 7}}  ⇒ error :1:2: executing "" at <index .l 7>: error calling index: index out of range: 7
            {{index .l "x"}}  ⇒ error :1:2: executing "" at <index .l "x">: error calling index: cannot index slice/array with type string
            {{index .z 0}}  ⇒ error :1:2: executing "" at <index .z 0>: error calling index: index of untyped nil
            {{index .m 1}}  ⇒ error :1:2: executing "" at <index .m 1>: error calling index: value has type int; should be string
            {{index .l -1}}  ⇒ error :1:2: executing "" at <index .l -1>: error calling index: index out of range: -1
            {{index .n 1}}  ⇒ error :1:2: executing "" at <index .n 1>: error calling index: can't index item of type int
            {{len .n}}  ⇒ error :1:2: executing "" at <len .n>: error calling len: len of type int
            {{eq .s 5}}  ⇒ error :1:2: executing "" at <eq .s 5>: error calling eq: incompatible types for comparison
            {{eq .s}}  ⇒ error :1:2: executing "" at <eq .s>: error calling eq: missing argument for comparison
            {{eq .l .l}}  ⇒ error :1:2: executing "" at <eq .l .l>: error calling eq: non-comparable type [a b c]: []interface {}
            {{lt "a" 2}}  ⇒ error :1:2: executing "" at <lt "a" 2>: error calling lt: incompatible types for comparison
            {{lt .b .b}}  ⇒ error :1:2: executing "" at <lt .b .b>: error calling lt: invalid type for comparison
            {{slice .l 4}}  ⇒ error :1:2: executing "" at <slice .l 4>: error calling slice: index out of range: 4
            {{slice .s 2 1}}  ⇒ error :1:2: executing "" at <slice .s 2 1>: error calling slice: invalid slice index: 2 > 1
            {{slice .z}}  ⇒ error :1:2: executing "" at <slice .z>: error calling slice: slice of untyped nil
            {{slice .s 1 2 3}}  ⇒ error :1:2: executing "" at <slice .s 1 2 3>: error calling slice: cannot 3-index slice a string
            {{lower .b}}  ⇒ error :1:8: executing "" at <.b>: wrong type for value; expected string; got bool
            {{lower .z}}  ⇒ error :1:8: executing "" at <.z>: invalid value; expected string
            {{join .o.p.q ","}}  ⇒ error :1:9: executing "" at <.o.p.q>: wrong type for value; expected []string; got []interface {}
            {{join .s ","}}  ⇒ error :1:7: executing "" at <.s>: wrong type for value; expected []string; got string
            {{json}}  ⇒ error :1:2: executing "" at <json>: wrong number of args for json: want 1 got 0
            {{json .s .s}}  ⇒ error :1:2: executing "" at <json>: wrong number of args for json: want 1 got 2
            {{and}}  ⇒ error :1:2: executing "" at <and>: wrong number of args for and: want at least 1 got 0
            {{printf}}  ⇒ error :1:2: executing "" at <printf>: wrong number of args for printf: want at least 1 got 0
            {{pad "x" -1 0}}  ⇒ error :1:2: executing "" at <pad "x" -1 0>: error calling pad: strings: negative Repeat count
            {{pad "x" 99999999999 0}}  ⇒ error :1:2: executing "" at <pad "x" 99999999999 0>: error calling pad: more than 65536 spaces: 99999999999
            {{truncate "abc" -1}}  ⇒ error :1:2: executing "" at <truncate "abc" -1>: error calling truncate: negative length: -1
            {{("a").b}}  ⇒ error :1:7: executing "" at <("a").b>: can't evaluate field b in type string
            {{printf "%v" (printf "%d" 1).x}}  ⇒ error :1:29: executing "" at <(printf "%d" 1).x>: can't evaluate field x in type string
            line
              {{.s}} {{.x}}  ⇒ error :2:11: executing "" at <.x>: map has no entry for key "x"
            {{index.l 1}}  ⇒ error :1:2: executing "" at <index>: wrong number of args for index: want at least 1 got 0
            {{.b | lower}}  ⇒ error :1:7: executing "" at <lower>: wrong type for value; expected string; got bool
            {{$x := .zz}}  ⇒ error :1:8: executing "" at <.zz>: map has no entry for key "zz"
        "#]],
    );
}

#[test]
fn a_missing_key_is_no_value_where_that_is_asked_for() {
    let no_value = |template| render(template, Missing::NoValue);
    assert_eq!(
        no_value("{{.zz}} {{.zz.y}} {{if .zz}}a{{else}}b{{end}} {{print .zz}}"),
        "<no value> <no value> b <nil>"
    );
    assert_eq!(no_value("{{.z.y}}"), "error :1:4: executing \"\" at <.z.y>: nil pointer evaluating interface {}.y");
}

#[test]
fn a_missing_label_is_no_mistake() {
    check(
        &[
            "{{.Labels}} {{.Labels.maintainer}} {{.Labels.other}} [{{index .Labels \"other\"}}]",
            "{{.Empty.Labels}} {{.Empty.Labels.other}} [{{index .Empty.Labels \"other\"}}] {{len .Empty.Labels}} {{json .Empty.Labels}}",
            "{{with .Labels}}{{.other}}{{end}}",
        ],
        expect![[r#"
            {{.Labels}} {{.Labels.maintainer}} {{.Labels.other}} [{{index .Labels "other"}}]  ⇒ map[maintainer:me] me <no value> []
            {{.Empty.Labels}} {{.Empty.Labels.other}} [{{index .Empty.Labels "other"}}] {{len .Empty.Labels}} {{json .Empty.Labels}}  ⇒ map[] <no value> [] 0 null
            {{with .Labels}}{{.other}}{{end}}  ⇒ <no value>
        "#]],
    );
}

#[test]
fn a_hint_names_the_field_that_was_meant() {
    let rules = Rules { missing: Missing::Error, text_maps: &[] };
    let hint = |template: &str, data: Value| {
        let error = Template::parse(template).unwrap().render(&data, &rules).unwrap_err();
        error.hint().map(str::to_owned)
    };
    assert_eq!(hint("{{.config}}", json!({"Config": 1})).as_deref(), Some("did you mean `.Config`?"));
    assert_eq!(hint("{{.x}}", json!({"a": 1, "b": 2})).as_deref(), Some("there is: a, b"));
    assert_eq!(hint("{{.x}}", json!({})), None);
    let many: serde_json::Map<_, _> = (10..35).map(|at| (format!("k{at}"), Value::Null)).collect();
    assert!(hint("{{.x}}", Value::Object(many)).unwrap().ends_with("k29 and 5 more"));
}

#[test]
fn no_nesting_exhausts_the_stack() {
    let problem = |template: String| Template::parse(&template).unwrap_err().to_string();
    let expected = "template parsing error: template: :1: nested more than 100 deep";
    assert_eq!(problem("{{".to_owned() + &"(".repeat(100_000)), expected);
    assert_eq!(problem("{{if 1}}".repeat(100_000)), expected);
    assert_eq!(problem("{{if 1}}".to_owned() + &"{{else if 1}}".repeat(100_000)), expected);
}

#[test]
fn no_text_panics() {
    let alphabet = [
        "{{", "}}", ".s", "$x", " ", ":=", "|", "(", ")", "range", "if", "end", "else", "\"", "'", "`", "\\", "0x",
        "1.", "-", "/*", "*/", "é", "\n", ".", ",", "printf", "%*d", "index", "slice", "nil",
    ];
    // A fixed linear congruential sequence: the same texts in every run.
    let mut state: u64 = 7;
    for _ in 0..20_000 {
        let mut text = String::new();
        for _ in 0..12 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            text.push_str(alphabet[(state >> 33) as usize % alphabet.len()]);
        }
        render(&text, Missing::NoValue);
    }
}
