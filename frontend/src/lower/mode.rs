//! Modes of `--chmod`: octal numbers, or symbolic changes as chmod(1) has them.

use super::error::LowerProblem;

const MODE_MAX: u32 = 0o7777;

/// Accepts `644`, `4755`, `u=rwX,go=rX`, `a+x`, `g=u`.
pub(super) fn check_mode(text: &str) -> Result<(), LowerProblem> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= MODE_MAX);
        return mode.map(drop).ok_or_else(|| LowerProblem::Mode { mode: text.to_owned() });
    }
    // What begins like a number was meant as one.
    if text.starts_with(|first: char| first.is_ascii_digit()) {
        return Err(LowerProblem::Mode { mode: text.to_owned() });
    }
    match text.split(',').all(is_change) {
        true => Ok(()),
        false => Err(LowerProblem::ModeSyntax { mode: text.to_owned() }),
    }
}

/// Accepts whose permissions are changed, and one or more ways of changing them: `ug+rw-x`.
fn is_change(clause: &str) -> bool {
    let mut rest = clause.trim_start_matches(['u', 'g', 'o', 'a']);
    let mut changes = 0;
    while let Some(permissions) = rest.strip_prefix(['+', '-', '=']) {
        changes += 1;
        rest = match permissions.strip_prefix(['u', 'g', 'o']) {
            Some(behind) => behind,
            None => permissions.trim_start_matches(['r', 'w', 'x', 'X', 's', 't']),
        };
    }
    changes > 0 && rest.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(check_mode(text).map(|()| String::new()).unwrap_or_else(|problem| problem.to_string()), expected);
    }

    // spec 63, 64, 65
    #[test]
    fn a_mode_is_octal_or_symbolic() {
        ["0", "644", "4755", "07777", "+x", "u=rwX,go=rX", "a+s", "g=u", "u+rw-x", "o="]
            .iter()
            .for_each(|text| check(text, ""));
        let octal = |text: &str| {
            format!("invalid chmod parameter: '{text}'. it should be octal string and between 0 and 07777")
        };
        ["888", "10000", "99999999999", "64a"].iter().for_each(|text| check(text, &octal(text)));
        ["foo", "u", "u=rwz", "x+r", "+x,"]
            .iter()
            .for_each(|text| check(text, &format!("invalid syntax in chmod parameter: '{text}'")));
    }
}
