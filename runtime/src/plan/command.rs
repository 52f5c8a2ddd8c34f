//! The program, its arguments, its environment, and where to look for it.

use std::ffi::{CString, OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use crate::error::CreateError;
use crate::syscall::StringArray;

/// Where programs are looked for when the environment has no `PATH`; what Docker sets then.
const PATH_DEFAULT: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The program, ready to be run.
pub(crate) struct CommandPlan {
    /// What the caller named it.
    pub(crate) name: String,
    /// Where it may be, in order.
    pub(crate) candidates: Vec<CString>,
    /// Whether the name was looked for in `PATH`.
    pub(crate) searched: bool,
    pub(crate) args: StringArray,
    pub(crate) env: StringArray,
}

/// Prepares a program.
pub(super) fn plan(args: Vec<OsString>, env: Vec<OsString>) -> Result<CommandPlan, CreateError> {
    let name = args.first().ok_or(CreateError::NoCommand)?.clone();
    let searched = !name.as_bytes().contains(&b'/');
    let candidates = if searched { candidates(&name, search_path(&env)) } else { vec![name.clone()] };
    Ok(CommandPlan {
        args: StringArray::new(c_strings(args, "an argument")?),
        name: name.to_string_lossy().into_owned(),
        candidates: c_strings(candidates, "an argument")?,
        searched,
        env: StringArray::new(c_strings(env, "an environment variable")?),
    })
}

/// Returns a text as the kernel takes it.
pub(super) fn c_string(text: OsString, what: &'static str) -> Result<CString, CreateError> {
    CString::new(text.into_vec()).map_err(|err| {
        let text = String::from_utf8_lossy(&err.into_vec()).into_owned();
        CreateError::ZeroByte { what, text }
    })
}

fn c_strings(texts: Vec<OsString>, what: &'static str) -> Result<Vec<CString>, CreateError> {
    texts.into_iter().map(|text| c_string(text, what)).collect()
}

/// Returns the value of the last `PATH`, which is the one that counts for a shell too.
fn search_path(env: &[OsString]) -> &[u8] {
    let value = env.iter().rev().find_map(|entry| entry.as_bytes().strip_prefix(b"PATH="));
    value.unwrap_or(PATH_DEFAULT.as_bytes())
}

fn candidates(name: &OsStr, path: &[u8]) -> Vec<OsString> {
    if name.is_empty() {
        return Vec::new();
    }
    let in_dir = |dir: &[u8]| {
        // An empty entry is the current directory: POSIX, "Other Environment Variables".
        let dir = if dir.is_empty() { b"." } else { dir };
        OsString::from_vec([dir, b"/", name.as_bytes()].concat())
    };
    path.split(|byte| *byte == b':').map(in_dir).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, env: &[&str], expected: &str) {
        let env = env.iter().map(OsString::from).collect();
        let planned = plan(vec![name.into()], env).map(|plan| {
            let candidates = plan.candidates.iter().map(|it| it.to_string_lossy()).collect::<Vec<_>>();
            candidates.join(" ")
        });
        assert_eq!(planned.unwrap_or_else(|err| err.to_string()), expected);
    }

    #[test]
    fn names_are_looked_for_in_the_path_of_the_sandbox() {
        check("sh", &["PATH=/a:/b"], "/a/sh /b/sh");
        check("sh", &["PATH=/a", "PATH=/b"], "/b/sh");
        check("sh", &["PATH=:/a:"], "./sh /a/sh ./sh");
        check("./sh", &["PATH=/a"], "./sh");
        check("/bin/sh", &[], "/bin/sh");
        check("", &[], "");
        check("sh", &["A=b"], "/usr/local/sbin/sh /usr/local/bin/sh /usr/sbin/sh /usr/bin/sh /sbin/sh /bin/sh");
    }

    #[test]
    fn zero_bytes_are_refused() {
        check("a\0b", &["PATH=/"], "cannot pass an argument with a zero byte: `a\\0b`");
        check("a", &["A=\0"], "cannot pass an environment variable with a zero byte: `A=\\0`");
    }
}
