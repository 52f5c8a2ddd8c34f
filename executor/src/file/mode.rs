//! `--chmod`: octal digits or symbolic changes, as chmod(1) has them.
//!
//! Symbolic changes ignore the umask, and `X` sets the bit for directories and for what somebody may execute already (specification, lines 63 to 65).

const USER: u16 = 0o700;
const GROUP: u16 = 0o070;
const OTHER: u16 = 0o007;
const SET_USER: u16 = 0o4000;
const SET_GROUP: u16 = 0o2000;
const STICKY: u16 = 0o1000;

/// What becomes of the mode of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ModeChange {
    /// It is replaced.
    To(u16),
    /// It is changed, clause by clause.
    Clauses(Vec<Clause>),
}

/// One clause, such as `go-w`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Clause {
    /// The bits of those whom it is about.
    who: u16,
    actions: Vec<(Action, Permissions)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Add,
    Remove,
    Set,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Permissions {
    /// `r`, `w`, `x` as the last digit of a mode has them.
    bits: u16,
    execute_if_any: bool,
    set_id: bool,
    sticky: bool,
    /// Copied from another class: its mask.
    from: Option<u16>,
}

impl ModeChange {
    /// Parses what the frontend has checked; `None` is not a mode.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            let mode = u16::from_str_radix(text, 8).ok().filter(|mode| *mode <= layer::entry::MODE_BITS)?;
            return Some(Self::To(mode));
        }
        text.split(',').map(parse_clause).collect::<Option<Vec<_>>>().map(Self::Clauses)
    }

    /// Returns the mode that a file of mode `mode` gets.
    pub(crate) fn apply(&self, mode: u16, is_directory: bool) -> u16 {
        match self {
            Self::To(mode) => *mode,
            Self::Clauses(clauses) => clauses.iter().fold(mode, |mode, clause| clause.apply(mode, is_directory)),
        }
    }
}

impl Clause {
    fn apply(&self, mode: u16, is_directory: bool) -> u16 {
        self.actions.iter().fold(mode, |mode, (action, permissions)| {
            let bits = permissions.bits_for(self.who, mode, is_directory);
            match action {
                Action::Add => mode | bits,
                Action::Remove => mode & !bits,
                Action::Set => mode & !(self.who | self.special()) | bits,
            }
        })
    }

    /// Returns the set-id and sticky bits that belong to those whom the clause is about.
    fn special(&self) -> u16 {
        let belongs = |class: u16, bit: u16| if self.who & class == 0 { 0 } else { bit };
        belongs(USER, SET_USER) | belongs(GROUP, SET_GROUP) | belongs(OTHER, STICKY)
    }
}

impl Permissions {
    fn bits_for(&self, who: u16, mode: u16, is_directory: bool) -> u16 {
        let mut digit = self.bits;
        if self.execute_if_any && (is_directory || mode & 0o111 != 0) {
            digit |= 1;
        }
        if let Some(class) = self.from {
            let bits = mode & class;
            digit |= bits >> 6 & 7 | bits >> 3 & 7 | bits & 7;
        }
        let mut bits = (digit << 6 | digit << 3 | digit) & who;
        if self.set_id && who & USER != 0 {
            bits |= SET_USER;
        }
        if self.set_id && who & GROUP != 0 {
            bits |= SET_GROUP;
        }
        if self.sticky {
            bits |= STICKY;
        }
        bits
    }
}

fn parse_clause(text: &str) -> Option<Clause> {
    let actions_at = text.find(['+', '-', '='])?;
    let mut who = 0;
    for class in text[..actions_at].chars() {
        who |= match class {
            'u' => USER,
            'g' => GROUP,
            'o' => OTHER,
            'a' => USER | GROUP | OTHER,
            _ => return None,
        };
    }
    let who = if who == 0 { USER | GROUP | OTHER } else { who };
    let mut actions = Vec::new();
    for c in text[actions_at..].chars() {
        match c {
            '+' => actions.push((Action::Add, Permissions::default())),
            '-' => actions.push((Action::Remove, Permissions::default())),
            '=' => actions.push((Action::Set, Permissions::default())),
            permission => parse_permission(permission, &mut actions.last_mut()?.1)?,
        }
    }
    Some(Clause { who, actions })
}

fn parse_permission(c: char, permissions: &mut Permissions) -> Option<()> {
    match c {
        'r' => permissions.bits |= 4,
        'w' => permissions.bits |= 2,
        'x' => permissions.bits |= 1,
        'X' => permissions.execute_if_any = true,
        's' => permissions.set_id = true,
        't' => permissions.sticky = true,
        'u' => permissions.from = Some(USER),
        'g' => permissions.from = Some(GROUP),
        'o' => permissions.from = Some(OTHER),
        _ => return None,
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(change: &str, file: u16, expected_file: u16, directory: u16, expected_directory: u16) {
        let change = ModeChange::parse(change).unwrap();
        let actual = (change.apply(file, false), change.apply(directory, true));
        assert_eq!(actual, (expected_file, expected_directory), "{:o} and {:o}", actual.0, actual.1);
    }

    #[test]
    fn octal_modes_replace() {
        check("644", 0o755, 0o644, 0o755, 0o644);
        check("4755", 0o600, 0o4755, 0o700, 0o4755);
        check("0", 0o755, 0, 0o755, 0);
    }

    // Spec 63.
    #[test]
    fn symbolic_modes_change() {
        check("+x", 0o640, 0o751, 0o640, 0o751);
        check("u=rwX,go=rX", 0o600, 0o644, 0o700, 0o755);
        check("u=rwX,go=rX", 0o700, 0o755, 0o600, 0o755);
        check("go-rwx", 0o777, 0o700, 0o777, 0o700);
        check("a=r", 0o4777, 0o444, 0o1777, 0o444);
        check("u+s,g+s,+t", 0o755, 0o7755, 0o755, 0o7755);
        check("g=u", 0o640, 0o660, 0o750, 0o770);
        check("u=rw+x-w", 0o000, 0o500, 0o000, 0o500);
    }

    #[test]
    fn what_is_no_mode_is_refused() {
        for text in ["888", "10000", "foo", "u", "q+x", "+z", ""] {
            assert!(ModeChange::parse(text).is_none() || text.is_empty(), "{text}");
        }
    }
}
