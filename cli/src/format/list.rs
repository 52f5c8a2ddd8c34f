//! Rows for `--format`: a table, one JSON object a line, or a template applied to each row.

use std::fmt::Write;

use serde_json::{Map, Value};

use crate::format::table;
use crate::format::template::{Missing, Rules, Template, TemplateError};

/// What a command lists: which fields its rows have, and how it shows them when nothing else is asked for.
pub(crate) struct List<'a> {
    /// The format behind `--format table`, which is also the default: `table {{.ID}}\t{{.Size}}`.
    pub(crate) table: &'a str,
    /// For each field its title in a table: `("ID", "IMAGE ID")`.
    pub(crate) titles: &'a [(&'a str, &'a str)],
}

impl List<'_> {
    /// Returns `rows` as `format` asks: empty or `table`: the command's own table; `table TEMPLATE`: one with these columns; `json`: an object a line;
    /// anything else: a template applied to each row. Rows are objects with the fields that have titles.
    pub(crate) fn render(&self, format: &str, rows: &[Value]) -> Result<String, TemplateError> {
        let format = match format {
            "" | "table" => self.table,
            "json" => "{{json .}}",
            other => other,
        };
        let (columns, is_table) = match format.strip_prefix("table") {
            Some(columns) => (columns, true),
            None => (format, false),
        };
        // Both are typed in a shell, where a real tab or line feed is hard to type.
        let columns = columns.trim_matches(' ').replace("\\t", "\t").replace("\\n", "\n");
        let template = Template::parse(&columns)?;
        let rules = Rules { missing: Missing::Error, text_maps: &[] };
        let mut text = String::new();
        if is_table {
            writeln!(text, "{}", template.render_titles(&self.titles())).expect("a string takes everything");
        }
        for row in rows {
            // `{{json .}}` of a row has sorted keys, as Docker's has.
            let mut row = row.clone();
            row.as_object_mut().into_iter().for_each(Map::sort_keys);
            text.push_str(&template.render(&row, &rules)?);
            text.push('\n');
        }
        Ok(if is_table { table::align(&text) } else { text })
    }

    fn titles(&self) -> Value {
        let titles = self.titles.iter().map(|(field, title)| ((*field).to_owned(), Value::from(*title)));
        Value::Object(titles.collect::<Map<_, _>>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};
    use serde_json::json;

    const IMAGES: List<'_> = List {
        table: "table {{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{if .CreatedSince}}{{.CreatedSince}}{{else}}N/A{{end}}\t{{.Size}}",
        titles: &[
            ("CreatedSince", "CREATED"),
            ("ID", "IMAGE ID"),
            ("Repository", "REPOSITORY"),
            ("Size", "SIZE"),
            ("Tag", "TAG"),
        ],
    };

    #[track_caller]
    fn check(format: &str, expected: Expect) {
        let rows = [
            json!({"Repository": "alpine", "Tag": "latest", "ID": "000000000000", "CreatedSince": "3 days ago", "Size": "7.8MB"}),
            json!({"Repository": "localhost:5000/a/long/name", "Tag": "<none>", "ID": "0101", "CreatedSince": "", "Size": "0B"}),
        ];
        let shown = match IMAGES.render(format, &rows) {
            Ok(text) => text.replace('\n', "$\n"),
            Err(error) => format!("{error}\n{}\n", error.hint().unwrap_or("no hint")),
        };
        expected.assert_eq(&shown);
    }

    #[test]
    fn the_table_is_docker_s() {
        check(
            "",
            expect![[r#"
                REPOSITORY                   TAG       IMAGE ID       CREATED      SIZE$
                alpine                       latest    000000000000   3 days ago   7.8MB$
                localhost:5000/a/long/name   <none>    0101           N/A          0B$
            "#]],
        );
        check(
            "table",
            expect![[r#"
                REPOSITORY                   TAG       IMAGE ID       CREATED      SIZE$
                alpine                       latest    000000000000   3 days ago   7.8MB$
                localhost:5000/a/long/name   <none>    0101           N/A          0B$
            "#]],
        );
    }

    #[test]
    fn a_table_has_the_columns_of_its_template_under_their_titles() {
        check(
            "table {{.ID}}\\t{{lower .Repository}} {{.Tag}}\\t{{json .Size}}",
            expect![[r#"
                IMAGE ID       REPOSITORY TAG                      SIZE$
                000000000000   alpine latest                       "7.8MB"$
                0101           localhost:5000/a/long/name <none>   "0B"$
            "#]],
        );
        check(
            "table {{.ID}}\\n{{.Tag}}\\tx",
            expect![[r#"
                IMAGE ID$
                TAG       x$
                000000000000$
                latest    x$
                0101$
                <none>    x$
            "#]],
        );
        check(
            "table {{join (split .ID \"1\") \",\"}}\\t{{printf \"%.3s\" .Tag}}",
            expect![[r#"
                IMAGE ID       TAG$
                000000000000   lat$
                0,0,           <no$
            "#]],
        );
    }

    #[test]
    fn a_template_makes_a_line_of_each_row() {
        check(
            "{{.Repository}}:{{.Tag}}",
            expect![[r#"
                alpine:latest$
                localhost:5000/a/long/name:<none>$
            "#]],
        );
        check(
            "json",
            expect![[r#"
                {"CreatedSince":"3 days ago","ID":"000000000000","Repository":"alpine","Size":"7.8MB","Tag":"latest"}$
                {"CreatedSince":"","ID":"0101","Repository":"localhost:5000/a/long/name","Size":"0B","Tag":"<none>"}$
            "#]],
        );
    }

    #[test]
    fn a_wrong_template_is_refused_with_a_hint() {
        check(
            "{{.repository}}",
            expect![[r#"
                template parsing error: template: :1:2: executing "" at <.repository>: map has no entry for key "repository"
                did you mean `.Repository`?
            "#]],
        );
        check(
            "{{.Foo}}",
            expect![[r#"
                template parsing error: template: :1:2: executing "" at <.Foo>: map has no entry for key "Foo"
                there is: CreatedSince, ID, Repository, Size, Tag
            "#]],
        );
        check(
            "table {{.ID",
            expect![[r#"
                template parsing error: template: :1: unclosed action
                no hint
            "#]],
        );
        check(
            "table {{foo}}",
            expect![[r#"
                template parsing error: template: :1: function "foo" not defined
                no hint
            "#]],
        );
    }

    #[test]
    fn no_rows_are_a_head_without_rows() {
        assert_eq!(IMAGES.render("", &[]).unwrap(), "REPOSITORY   TAG       IMAGE ID   CREATED   SIZE\n");
        assert_eq!(IMAGES.render("{{.ID}}", &[]).unwrap(), "");
    }
}
