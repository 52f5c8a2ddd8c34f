//! Columns that fit what is in them, by the rules of Go's tabwriter as `docker images` uses it.

use crate::format::text::{columns, printable};

/// The least width of a column, its distance to the next included.
const COLUMN_MIN: usize = 10;

/// The spaces between the widest cell of a column and the next column.
const PADDING: usize = 3;

/// Returns `text` with its tabs replaced by as many spaces as make columns.
///
/// A cell ends at a tab; what follows the last tab of a line is no cell of a column, and gets no spaces after it. A column reaches over neighbouring lines
/// that have it: a line without tabs ends all columns. Characters that command a terminal are replaced.
pub(crate) fn align(text: &str) -> String {
    let lines: Vec<Vec<String>> = text.split('\n').map(cells).collect();
    let widths = widths(&lines);
    let mut aligned = String::with_capacity(text.len() * 2);
    for (at, (line, widths)) in lines.iter().zip(&widths).enumerate() {
        if at > 0 {
            aligned.push('\n');
        }
        for (column, cell) in line.iter().enumerate() {
            aligned.push_str(cell);
            let spaces = widths.get(column).map_or(0, |width| width.saturating_sub(columns(cell)));
            aligned.extend(std::iter::repeat_n(' ', spaces));
        }
    }
    aligned
}

fn cells(line: &str) -> Vec<String> {
    line.split('\t').map(|cell| printable(cell).into_owned()).collect()
}

/// The width of each cell of each line that is followed by another.
fn widths(lines: &[Vec<String>]) -> Vec<Vec<usize>> {
    let mut widths: Vec<Vec<usize>> = lines.iter().map(|line| vec![0; line.len() - 1]).collect();
    let columns_max = widths.iter().map(Vec::len).max().unwrap_or(0);
    for column in 0..columns_max {
        let mut first = 0;
        while first < lines.len() {
            let block = widths[first..].iter().take_while(|line| line.len() > column).count();
            let cells = lines[first..first + block].iter().map(|line| columns(&line[column]) + PADDING);
            let width = cells.max().unwrap_or(0).max(COLUMN_MIN);
            widths[first..first + block].iter_mut().for_each(|line| line[column] = width);
            first += block.max(1);
        }
    }
    widths
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    #[track_caller]
    fn check(text: &str, expected: Expect) {
        // A mark at the end of each line shows the spaces there.
        expected.assert_eq(&align(text).replace('\n', "$\n"));
    }

    #[test]
    fn a_column_is_three_wider_than_its_widest_cell_and_ten_at_least() {
        check(
            "REPOSITORY\tTAG\tIMAGE ID\nalpine\tlatest\t000000000000\nlocalhost:5000/a/very/long/name\tv\t1\n",
            expect![[r#"
                REPOSITORY                        TAG       IMAGE ID$
                alpine                            latest    000000000000$
                localhost:5000/a/very/long/name   v         1$
            "#]],
        );
    }

    #[test]
    fn a_cell_before_an_empty_last_one_is_padded_all_the_same() {
        check("SIZE\tCOMMENT\n0B\t\n", expect![["SIZE      COMMENT$\n0B        $\n"]]);
    }

    #[test]
    fn wide_characters_count_two_columns() {
        check("日本語日本語\tx\nab\ty\n", expect![["日本語日本語   x$\nab             y$\n"]]);
    }

    #[test]
    fn a_line_without_the_column_ends_it() {
        check(
            "a-long-first-cell\tx\nno cells\nb\ty\n",
            expect![[r#"
                a-long-first-cell   x$
                no cells$
                b         y$
            "#]],
        );
    }

    #[test]
    fn nothing_in_a_cell_reaches_the_terminal() {
        check(
            "\u{1b}[2Ja\tb\r\n",
            expect![[r#"
                �[2Ja     b�$
            "#]],
        );
    }

    #[test]
    fn no_text_is_no_table() {
        check("", expect![[""]]);
    }
}
