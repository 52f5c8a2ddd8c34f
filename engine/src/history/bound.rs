//! How much history is kept: the newest builds, up to a number and a size.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// How many builds are kept.
pub(super) const BUILDS_MAX: usize = 500;
/// How much room all of them may take.
pub(super) const BYTES_MAX: u64 = 1 << 30;
/// How much the commands of one build may write into its history; what comes after is left out.
pub(super) const BUILD_BYTES_MAX: u64 = 256 << 20;
/// How many listings of build contexts are kept, and how much room they may take.
const LISTINGS_MAX: usize = 2000;
const LISTINGS_BYTES_MAX: u64 = 256 << 20;

/// A file, by what decides whether it stays.
struct Kept<K> {
    age: K,
    path: PathBuf,
    size_bytes: u64,
}

/// Removes the oldest builds and listings beyond what is kept.
pub(super) fn trim(history: &Path) -> io::Result<()> {
    let builds = files(history, |path, _| path.file_name().map(|name| name.to_owned()))?;
    remove_oldest(builds, BUILDS_MAX, BYTES_MAX)?;
    let listings = files(&history.join("files"), |_, metadata| metadata.modified().ok())?;
    remove_oldest::<SystemTime>(listings, LISTINGS_MAX, LISTINGS_BYTES_MAX)
}

fn files<K>(dir: &Path, age: impl Fn(&Path, &fs::Metadata) -> Option<K>) -> io::Result<Vec<Kept<K>>> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry?;
        // Somebody else may be trimming too.
        let Ok(metadata) = entry.metadata() else { continue };
        if let Some(age) = age(&entry.path(), &metadata).filter(|_| metadata.is_file()) {
            files.push(Kept { age, path: entry.path(), size_bytes: metadata.len() });
        }
    }
    Ok(files)
}

fn remove_oldest<K: Ord>(mut files: Vec<Kept<K>>, count_max: usize, bytes_max: u64) -> io::Result<()> {
    files.sort_by(|a, b| b.age.cmp(&a.age));
    let mut bytes = 0;
    for (place, file) in files.iter().enumerate() {
        bytes += file.size_bytes;
        // The newest stays, however large.
        if place > 0 && (place >= count_max || bytes > bytes_max) {
            match fs::remove_file(&file.path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_go_first() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a", "b", "c", "d"] {
            fs::write(dir.path().join(name), "12345").unwrap();
        }
        let left = |count_max, bytes_max| {
            let found = files(dir.path(), |path, _| path.file_name().map(|name| name.to_owned())).unwrap();
            remove_oldest(found, count_max, bytes_max).unwrap();
            let mut names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|it| it.unwrap().file_name()).collect();
            names.sort();
            names.into_iter().map(|name| name.into_string().unwrap()).collect::<String>()
        };
        assert_eq!(left(3, 100), "bcd");
        assert_eq!(left(3, 10), "cd");
        assert_eq!(left(3, 1), "d");
    }
}
