//! What `inspect` prints: everything as JSON, or a template applied to each thing.

use serde::Serialize;
use serde_json::Value;
use serde_json::ser::PrettyFormatter;

use crate::format::template::{Missing, Rules, Template, TemplateError};

/// The maps whose keys are the user's own: there, a missing key is no mistake of the template.
const TEXT_MAPS: [&str; 2] = ["Annotations", "Labels"];

/// Returns `things` as `format` asks: empty: a JSON array, indented; `json`: a JSON array in one line; anything else: a template applied to each thing.
pub(crate) fn inspect(format: &str, things: &[Value]) -> Result<String, TemplateError> {
    match format {
        "" => Ok(indented(things)),
        "json" => Ok(format!("{}\n", Value::from(things))),
        template => {
            let template = Template::parse(template)?;
            let rules = Rules { missing: Missing::Error, text_maps: &TEXT_MAPS };
            things.iter().map(|thing| Ok(template.render(thing, &rules)? + "\n")).collect()
        }
    }
}

fn indented(things: &[Value]) -> String {
    let mut bytes = Vec::new();
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, PrettyFormatter::with_indent(b"    "));
    things.serialize(&mut serializer).expect("a `Value` has only string keys, and a vector takes everything");
    bytes.push(b'\n');
    String::from_utf8(bytes).expect("JSON is UTF-8")
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};
    use serde_json::json;

    #[track_caller]
    fn check(format: &str, expected: Expect) {
        let thing = json!({"Id": "sha256:ab", "Config": {"Cmd": ["sh"], "Env": [], "Labels": {"a": "<b>"}}});
        expected.assert_eq(&inspect(format, &[thing, json!({"Id": "2", "Config": {"Labels": null}})]).unwrap());
    }

    #[test]
    fn everything_is_an_array_indented_by_four() {
        check(
            "",
            expect![[r#"
                [
                    {
                        "Id": "sha256:ab",
                        "Config": {
                            "Cmd": [
                                "sh"
                            ],
                            "Env": [],
                            "Labels": {
                                "a": "<b>"
                            }
                        }
                    },
                    {
                        "Id": "2",
                        "Config": {
                            "Labels": null
                        }
                    }
                ]
            "#]],
        );
        check(
            "json",
            expect![[r#"
                [{"Id":"sha256:ab","Config":{"Cmd":["sh"],"Env":[],"Labels":{"a":"<b>"}}},{"Id":"2","Config":{"Labels":null}}]
            "#]],
        );
        assert_eq!(inspect("", &[]).unwrap(), "[]\n");
    }

    #[test]
    fn a_template_makes_a_line_of_each_thing() {
        check(
            "{{.Id}} {{json .Config.Labels}}",
            expect![[r#"
                sha256:ab {"a":"<b>"}
                2 null
            "#]],
        );
        check(
            "{{index .Config.Labels \"b\"}}.{{.Config.Labels.b}}",
            expect![[r#"
                .<no value>
                .<no value>
            "#]],
        );
    }

    #[test]
    fn a_misspelt_field_is_an_error() {
        let error = inspect("{{.Config.cmd}}", &[json!({"Config": {"Cmd": []}})]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "template parsing error: template: :1:9: executing \"\" at <.Config.cmd>: map has no entry for key \"cmd\""
        );
        assert_eq!(error.hint(), Some("did you mean `.Cmd`?"));
    }
}
