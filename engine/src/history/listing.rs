//! What a step saw of a build context: a line for each file, in a file named by the pin, written the first time that a build has this pin.
//!
//! A line is kind, mode in octal, content and path, apart by blanks; line feeds in paths are written as `\\n`.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use executor::SeenFile;
use oci::Digest;

/// How many files of one pin are listed; of a larger context it is only said that something changed.
const LISTED_FILES_MAX: usize = 200_000;

/// The lines of a listing, sorted by path.
#[derive(Default)]
struct Lines {
    text: String,
    /// Where each line is, and where in it the path begins.
    places: Vec<(Range<usize>, usize)>,
}

impl Lines {
    fn push(&mut self, file: &SeenFile<'_>) {
        let start = self.text.len();
        self.text.push_str(file.kind);
        self.text.push(' ');
        digits(&mut self.text, file.mode.into(), 3, 1);
        self.text.push(' ');
        match file.content {
            Some(content) => digits(&mut self.text, content, 4, 16),
            None => self.text.push('-'),
        }
        self.text.push(' ');
        let path = self.text.len();
        if file.path.contains('\n') {
            self.text.push_str(&file.path.replace('\n', "\\n"));
        } else {
            self.text.push_str(&file.path);
        }
        self.places.push((start..self.text.len(), path));
        self.text.push('\n');
    }

    fn path(&self, (line, path): &(Range<usize>, usize)) -> &str {
        &self.text[*path..line.end]
    }

    /// Returns the text, each path once.
    fn finish(mut self) -> String {
        if self.places.is_sorted_by(|one, other| self.path(one) < self.path(other)) {
            return self.text;
        }
        let mut places = std::mem::take(&mut self.places);
        places.sort_by(|one, other| self.path(one).cmp(self.path(other)));
        places.dedup_by(|one, other| self.path(one) == self.path(other));
        places.iter().fold(String::with_capacity(self.text.len()), |mut sorted, (line, _)| {
            sorted.push_str(&self.text[line.start..=line.end]);
            sorted
        })
    }
}

/// Writes a number with digits of so many bits, and as many digits at least: what stands on every line of a large listing is not worth the way through `fmt`.
fn digits(text: &mut String, number: u64, bits: u32, digits_min: u32) {
    let used = (u64::BITS - number.leading_zeros()).div_ceil(bits).max(digits_min);
    let digit = |place: u32| char::from_digit((number >> (place * bits)) as u32 & ((1 << bits) - 1), 1 << bits);
    text.extend((0..used).rev().filter_map(digit));
}

/// Returns where the listing of a pin lies.
pub(crate) fn path(history: &Path, pin: &Digest) -> PathBuf {
    history.join("files").join(pin.hex())
}

/// Writes the listing of a pin, unless it is there. Whoever reads it meanwhile sees none. `files` hands out the files, and says whether it could.
pub(crate) fn put(
    history: &Path,
    pin: &Digest,
    files: impl FnOnce(&mut dyn FnMut(SeenFile<'_>)) -> bool,
) -> std::io::Result<()> {
    let path = path(history, pin);
    if path.exists() {
        return Ok(());
    }
    let (mut lines, mut count) = (Lines::default(), 0);
    let is_known = files(&mut |file| {
        count += 1;
        if count <= LISTED_FILES_MAX {
            lines.push(&file);
        }
    });
    if !is_known || count > LISTED_FILES_MAX {
        return Ok(());
    }
    let draft = path.with_extension(format!("{}", std::process::id()));
    fs::create_dir_all(history.join("files"))?;
    fs::write(&draft, lines.finish())?;
    fs::rename(&draft, &path)
}

/// Reads the listing of a pin; `None` where there is none.
pub(crate) fn get(history: &Path, pin: &Digest) -> Option<String> {
    fs::read_to_string(path(history, pin)).ok()
}

/// Says what is different between two listings: the first file in their order, and how many more. `None` where nothing is.
pub(crate) fn difference(before: &str, now: &str) -> Option<String> {
    // Nearly all of two large listings is the same.
    let (before, now) = without_common_lines(before, now);
    let (before, now) = (by_path(before), by_path(now));
    let paths: std::collections::BTreeSet<&str> = before.keys().chain(now.keys()).copied().collect();
    let mut changes = paths.into_iter().filter_map(|path| Some((path, change(before.get(path), now.get(path))?)));
    let (path, change) = changes.next()?;
    Some(match changes.count() {
        0 => format!("{path}: {change}"),
        1 => format!("{path}: {change} (and 1 more)"),
        more => format!("{path}: {change} (and {more} more)"),
    })
}

/// Takes away the lines that two texts begin with, and those that they end with.
fn without_common_lines<'a>(one: &'a str, other: &'a str) -> (&'a str, &'a str) {
    let common = one.bytes().zip(other.bytes()).take_while(|(one, other)| one == other).count();
    let start = one.as_bytes()[..common].iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    let (one, other) = (&one[start..], &other[start..]);
    let common = one.bytes().rev().zip(other.bytes().rev()).take_while(|(one, other)| one == other).count();
    // A line that only ends alike is not the same: what stays behind the first line feed in there is.
    let ending = &one.as_bytes()[one.len() - common..];
    let whole = ending.iter().position(|byte| *byte == b'\n').map_or(0, |at| ending.len() - at - 1);
    (&one[..one.len() - whole], &other[..other.len() - whole])
}

/// Returns the lines of a listing by their paths, each with what counts of the file.
fn by_path(text: &str) -> BTreeMap<&str, &str> {
    let line = |line: &'_ str| line.match_indices(' ').nth(2).map(|(at, _)| at);
    text.lines().filter_map(|it| line(it).map(|at| (&it[at + 1..], &it[..at]))).collect()
}

fn change(before: Option<&&str>, now: Option<&&str>) -> Option<String> {
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
        let listing =
            |files: &[(&str, &str)]| files.iter().map(|(path, line)| format!("{line} {path}\n")).collect::<String>();
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
        check(&[("a", one), ("b", two), ("c", one)], &[("a", one), ("b", one), ("c", one)], Some("b: content changed"));
        check(&[("a", one), ("xb", one), ("c", one)], &[("a", one), ("c", one)], Some("xb: removed"));
        check(
            &[("b", one), ("c", one)],
            &[("b", two), ("c", one), ("d", one)],
            Some("b: content changed (and 1 more)"),
        );
    }

    #[test]
    fn numbers_are_written_as_elsewhere() {
        for number in [0, 1, 7, 8, 0o644, 0o4755, u64::from(u16::MAX), u64::MAX, 1 << 63] {
            let written = |bits, digits_min| {
                let mut text = String::new();
                digits(&mut text, number, bits, digits_min);
                text
            };
            assert_eq!((written(3, 1), written(4, 16)), (format!("{number:o}"), format!("{number:016x}")));
        }
    }

    #[test]
    fn a_listing_is_sorted_and_read_as_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let pin = Digest::of(b"pin");
        let written = put(dir.path(), &pin, |take| {
            let mut take =
                |path: &str, content| take(SeenFile { path: path.into(), kind: "file", mode: 0o644, content });
            take("a b/c\n", Some(0x1_23ab));
            take("a b-", None);
            take("a b-", None);
            true
        });
        written.unwrap();
        let expected = "file 644 - a b-\nfile 644 00000000000123ab a b/c\\n\n";
        assert_eq!(get(dir.path(), &pin).as_deref(), Some(expected));
        let other = Digest::of(b"other");
        put(dir.path(), &other, |_| false).unwrap();
        assert_eq!(get(dir.path(), &other), None);
    }
}
