//! What a step saw of a build context: a line for each file, in a file named by the pin, written the first time that a build has this pin.
//!
//! A line is kind, mode in octal, content and path, apart by blanks; line feeds in paths are written as `\\n`.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use executor::SeenFile;
use oci::Digest;

/// How many files of one pin are listed; of a larger context it is only said that something changed.
const LISTED_FILES_MAX: usize = 200_000;

/// The files of one pin by their paths, each with what counts of it.
pub(crate) type Listing = BTreeMap<String, String>;

/// Returns where the listing of a pin lies.
pub(crate) fn path(history: &Path, pin: &Digest) -> PathBuf {
    history.join("files").join(pin.hex())
}

/// Writes the listing of a pin, unless it is there. Whoever reads it meanwhile sees none.
pub(crate) fn put(
    history: &Path,
    pin: &Digest,
    files: impl FnOnce() -> Option<BTreeMap<String, SeenFile>>,
) -> std::io::Result<()> {
    let path = path(history, pin);
    if path.exists() {
        return Ok(());
    }
    let Some(files) = files().filter(|files| files.len() <= LISTED_FILES_MAX) else { return Ok(()) };
    let mut text = String::new();
    for (path, SeenFile { kind, mode, content }) in files {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{kind} {mode:o} {content} {}", path.replace('\n', "\\n"));
    }
    let draft = path.with_extension(format!("{}", std::process::id()));
    fs::create_dir_all(history.join("files"))?;
    fs::write(&draft, text)?;
    fs::rename(&draft, &path)
}

/// Reads the listing of a pin; `None` where there is none.
pub(crate) fn get(history: &Path, pin: &Digest) -> Option<Listing> {
    let text = fs::read_to_string(path(history, pin)).ok()?;
    let line = |line: &str| {
        let (rest, path) = line.match_indices(' ').nth(2).map(|(at, _)| line.split_at(at))?;
        Some((path[1..].to_owned(), rest.to_owned()))
    };
    Some(text.lines().filter_map(line).collect())
}

/// Says what is different between two listings: the first file in their order, and how many more. `None` where nothing is.
pub(crate) fn difference(before: &Listing, now: &Listing) -> Option<String> {
    let paths: std::collections::BTreeSet<&String> = before.keys().chain(now.keys()).collect();
    let mut changes = paths.into_iter().filter_map(|path| Some((path, change(before.get(path), now.get(path))?)));
    let (path, change) = changes.next()?;
    Some(match changes.count() {
        0 => format!("{path}: {change}"),
        1 => format!("{path}: {change} (and 1 more)"),
        more => format!("{path}: {change} (and {more} more)"),
    })
}

fn change(before: Option<&String>, now: Option<&String>) -> Option<String> {
    let (before, now) = match (before, now) {
        (None, Some(_)) => return Some("added".to_owned()),
        (Some(_), None) => return Some("removed".to_owned()),
        (before, now) => (before?, now?),
    };
    if before == now {
        return None;
    }
    let fields = |line: &'_ str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let (before, now) = (fields(before), fields(now));
    Some(if before[0] != now[0] {
        format!("{} → {}", before[0], now[0])
    } else if before.get(2) != now.get(2) {
        match now[0].as_str() {
            "symlink" | "link" => "leads elsewhere".to_owned(),
            _ => "content changed".to_owned(),
        }
    } else {
        format!("mode {} → {}", before.get(1).map_or("", String::as_str), now.get(1).map_or("", String::as_str))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(before: &[(&str, &str)], now: &[(&str, &str)], expected: Option<&str>) {
        let listing = |files: &[(&str, &str)]| {
            files.iter().map(|(path, line)| ((*path).to_owned(), (*line).to_owned())).collect::<Listing>()
        };
        assert_eq!(difference(&listing(before), &listing(now)).as_deref(), expected);
    }

    #[test]
    fn the_first_difference_is_named_and_the_others_counted() {
        let (one, two) = ("file 644 aa", "file 644 bb");
        check(&[("a", one)], &[("a", one)], None);
        check(&[("a", one)], &[("a", two)], Some("a: content changed"));
        check(&[("a", one)], &[("a", "file 755 aa")], Some("a: mode 644 → 755"));
        check(&[("a", one)], &[("a", "symlink 777 cc")], Some("a: file → symlink"));
        check(&[("a", one)], &[("a", one), ("b", two)], Some("b: added"));
        check(&[("a", one), ("b", two), ("c", two)], &[], Some("a: removed (and 2 more)"));
    }

    #[test]
    fn a_listing_is_read_as_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let pin = Digest::of(b"pin");
        let file = SeenFile { kind: "file", mode: 0o644, content: "0123456789abcdef".to_owned() };
        put(dir.path(), &pin, || Some([("a b/c".to_owned(), file)].into())).unwrap();
        let listing = get(dir.path(), &pin).unwrap();
        assert_eq!(listing, [("a b/c".to_owned(), "file 644 0123456789abcdef".to_owned())].into());
        assert_eq!(get(dir.path(), &Digest::of(b"other")), None);
    }
}
