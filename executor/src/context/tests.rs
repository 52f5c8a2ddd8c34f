//! What is read of a directory, what is remembered of it, and what becomes of files that change.

use std::cell::Cell;
use std::fs;
use std::os::unix::fs::{FileExt, symlink};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use layer::{ContentHash, EntryPathBuf};
use llb::CopySelection;
use tempfile::TempDir;

use super::*;

/// As much is kept of each file in the scope of a step: what was seen, what is remembered, and its entry, without their paths.
const FILE_MEMORY_BYTES_MAX: usize = 600;

/// A directory, and a store that remembers it.
struct World {
    dir: TempDir,
    store: Store,
}

impl World {
    fn new(files: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("store")).unwrap();
        let world = Self { dir, store };
        fs::create_dir(world.path("")).unwrap();
        files.iter().for_each(|(name, content)| world.write(name, content));
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("context").join(name)
    }

    fn write(&self, name: &str, content: &str) {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        fs::write(self.path(name), content).unwrap();
    }

    fn open(&self, ignore: &[&str]) -> Context {
        let ignore: Vec<String> = ignore.iter().map(ToString::to_string).collect();
        Context::open(&self.path(""), &ignore, self.store.clone()).unwrap()
    }

    /// Scans as a build of its own that begins long after the last change, and returns what was read and the digest.
    fn build(&self, ignore: &[&str]) -> (String, Digest) {
        let context = self.open(ignore);
        let scan = context.scan_at(Some(&everything()), later, &|| None).unwrap();
        let digest = digest(&context, &scan);
        context.remember().unwrap();
        (context.memory().were_read(), digest)
    }
}

fn everything() -> Selection {
    Selection::Copy(CopySelection::default())
}

fn digest(context: &Context, scan: &Scan) -> Digest {
    let compute = || Ok(crate::select::digest(scan.stack()?, &everything()).unwrap());
    context.digest(scan, &everything(), compute).unwrap()
}

/// A time at which nothing that was written before is racy.
fn later() -> Mtime {
    Mtime { seconds: now().seconds + 3600, nanoseconds: 0 }
}

fn listing(scan: &Scan) -> Vec<String> {
    let stack = scan.stack().unwrap();
    stack
        .walk(layer::EntryPath::ROOT)
        .skip(1)
        .map(|found| format!("{} {}", found.entry.kind.name(), found.entry.path))
        .collect()
}

#[test]
fn unchanged_files_are_not_read_again() {
    let world = World::new(&[("a", "1"), ("d/b", "2"), ("d/c", "3")]);
    let (read, first) = world.build(&[]);
    assert_eq!(read, "a d/b d/c");
    assert_eq!(world.build(&[]), (String::new(), first));
    world.write("d/b", "two");
    let (read, second) = world.build(&[]);
    assert_eq!(read, "d/b");
    assert_ne!(first, second);
}

#[test]
fn directories_that_did_not_change_are_not_listed_again() {
    let world = World::new(&[("a", "1"), ("d/b", "2"), ("d/drop", "3"), ("e/f/c", "4")]);
    let known = |ignore: &[&str]| {
        let context = world.open(ignore);
        let scan = context.scan_at(Some(&everything()), later, &|| None).unwrap();
        digest(&context, &scan);
        context.remember().unwrap();
        (context.memory().known_directories(), listing(&scan).join(", "))
    };
    let all = "file /a, directory /d, file /d/b, file /d/drop, directory /e, directory /e/f, file /e/f/c";
    assert_eq!(known(&[]), (0, all.to_owned()));
    assert_eq!(known(&[]), (4, all.to_owned()));
    // What an ignore file leaves out is a matter of the build, not of the directory.
    assert_eq!(known(&["d/drop", "e"]), (2, "file /a, directory /d, file /d/b".to_owned()));
    // A name that comes, one that goes, and one that means another file.
    world.write("e/f/new", "");
    fs::remove_file(world.path("d/drop")).unwrap();
    assert_eq!(
        known(&[]),
        (1, "file /a, directory /d, file /d/b, directory /e, directory /e/f, file /e/f/c, file /e/f/new".to_owned())
    );
    fs::rename(world.path("a"), world.path("d/b")).unwrap();
    assert_eq!(known(&[]).1, "directory /d, file /d/b, directory /e, directory /e/f, file /e/f/c, file /e/f/new");
}

/// The directories of which nothing has changed, by their paths.
fn unchanged(found: &[Directory]) -> Vec<String> {
    let is_unchanged = |directory: &&Directory| matches!(directory.files, Files::AsIndexed(_));
    found.iter().filter(is_unchanged).map(|directory| directory.itself.path.to_string()).collect()
}

#[test]
fn a_directory_of_which_nothing_changed_is_what_a_closer_look_finds() {
    let world = World::new(&[("a", "1"), ("d/b", "2"), ("d/c", "3"), ("d/e/f", ""), ("e-", "5"), ("z/y", "6")]);
    symlink("b", world.path("d/link")).unwrap();
    fs::create_dir(world.path("empty")).unwrap();
    let look = |ignore: &[&str]| {
        let context = world.open(ignore);
        let (mut found, index) = context.look(&mut Scope::of(Some(&everything())), later()).unwrap();
        context.hash(&mut found, &|| None).unwrap();
        let unchanged = unchanged(&found);
        let scan = Scan::new(context.tree.clone(), found, index, None);
        context.keep(&scan, later());
        let (fingerprint, digest) = (scan.fingerprint(), digest(&context, &scan));
        context.remember().unwrap();
        let all = look::all(&scan.directories, &scan.index).into_iter();
        let files = format!("{:#?}", all.map(|it| Seen { place: None, is_read: false, ..it }).collect::<Vec<_>>());
        (unchanged.join(" "), scan.len(), fingerprint, digest, files)
    };
    let all = "/ /d /d/e /empty /z";
    let first = look(&[]);
    assert_eq!(first.0, "");
    let second = look(&[]);
    assert_eq!(second.0, all);
    assert_eq!((second.1, second.2, second.3), (first.1, first.2, first.3));
    assert!(second.4 == first.4, "{}\n{}", second.4, first.4);
    // The third name in a directory has changed: the first two are taken as they were.
    let touch =
        |name: &str, time| File::options().write(true).open(world.path(name)).unwrap().set_modified(time).unwrap();
    touch("d/c", SystemTime::UNIX_EPOCH);
    let touched = look(&[]);
    assert_eq!((touched.0.as_str(), touched.2, touched.3), ("/ /d/e /empty /z", first.2, first.3));
    world.write("d/c", "other");
    let changed = look(&[]);
    assert!(changed.2 != first.2 && changed.3 != first.3);
    assert_eq!(look(&[]).0, all, "what was found out then is remembered");
    // A mode is seen, a name that is left out, and a link that leads elsewhere.
    fs::set_permissions(world.path("z/y"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let with_mode = look(&[]);
    assert_eq!(with_mode.0, "/ /d /d/e /empty");
    assert_ne!(with_mode.2, changed.2);
    fs::set_permissions(world.path("empty"), std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let with_modes = look(&[]);
    assert_eq!(with_modes.0, "/ /d /d/e /z");
    assert_ne!(with_modes.2, with_mode.2);
    assert_eq!(look(&["d/b"]).0, "/ /d/e /empty /z");
    assert_eq!(look(&["d"]).0, "/empty /z");
    fs::remove_file(world.path("d/link")).unwrap();
    symlink("c", world.path("d/link")).unwrap();
    let linked = look(&[]);
    assert_eq!(linked.0, "/ /d/e /empty /z");
    assert_ne!(linked.2, with_modes.2);
}

/// Changes something in a directory, by numbers that `next` gives below a limit.
fn change(world: &World, next: &mut dyn FnMut(usize) -> usize) -> String {
    let name = |next: &mut dyn FnMut(usize) -> usize| {
        format!("{}{}", ["", "d/", "d/e/", "f/"][next(4)], ["a", "b", "c", "g.h", "i"][next(5)])
    };
    let (one, other) = (name(next), name(next));
    let (path, target) = (world.path(&one), world.path(&other));
    // What cannot be done is not done: a file is not there, or something else is.
    let (what, _) = match next(9) {
        0 => ("write", fs::write(&path, other.repeat(next(3)))),
        1 => ("overwrite", File::options().write(true).open(&path).and_then(|file| file.write_all_at(b"x", 0))),
        2 => ("remove", fs::remove_file(&path)),
        3 => ("rename", fs::rename(&path, &target)),
        4 => ("link", symlink(&other, &path)),
        5 => ("hard link", fs::hard_link(&target, &path)),
        6 => {
            ("mode", fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode([0o600, 0o755][next(2)])))
        }
        7 => ("directory", fs::create_dir_all(&path)),
        _ => ("time", File::open(&path).and_then(|file| file.set_modified(SystemTime::UNIX_EPOCH))),
    };
    format!("{what} {one} {other}")
}

#[test]
fn whatever_changes_a_build_that_remembers_sees_what_one_sees_that_does_not() {
    let world = World::new(&[("a", "1"), ("b", "2"), ("d/a", "3"), ("d/e/b", "4"), ("f/c", "5")]);
    let mut state = 1_u32;
    // Numerical Recipes, 7.1.
    let mut next = |limit: usize| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 16) as usize % limit
    };
    let mut changes = Vec::new();
    for _ in 0..150 {
        for _ in 0..=next(3) {
            changes.push(change(&world, &mut next));
        }
        let ignore: &[&str] = [&[][..], &["d/a", "**/g.h"], &["d", "!d/e"]][next(3)];
        let scan = |store: &Store| {
            let patterns = ignore.iter().map(ToString::to_string).collect::<Vec<_>>();
            let context = Context::open(&world.path(""), &patterns, store.clone()).unwrap();
            let scan = context.scan_at(Some(&everything()), later, &|| None).unwrap();
            let digest = digest(&context, &scan);
            context.remember().unwrap();
            (digest, scan.fingerprint(), scan.len(), listing(&scan))
        };
        let fresh = tempfile::tempdir().unwrap();
        let expected = scan(&Store::open(fresh.path()).unwrap());
        assert_eq!(scan(&world.store), expected, "{ignore:?} {:?}", changes.last());
    }
}

#[test]
fn files_with_several_names_are_always_looked_at() {
    let world = World::new(&[("a/one", "1"), ("b/other", "2")]);
    fs::hard_link(world.path("a/one"), world.path("b/two")).unwrap();
    let look = || {
        let context = world.open(&[]);
        let scan = context.scan_at(Some(&everything()), later, &|| None).unwrap();
        let digest = digest(&context, &scan);
        context.remember().unwrap();
        (unchanged(&scan.directories).join(" "), scan.fingerprint(), digest, listing(&scan).join(", "))
    };
    let first = look();
    assert_eq!(first.3, "directory /a, file /a/one, directory /b, file /b/other, hard link /b/two");
    let second = look();
    assert_eq!(second.0, "/");
    assert_eq!((second.1, second.2), (first.1, first.2));
    // The other name goes: what is left is the same file, and in one directory nothing changed but the number of its names.
    fs::remove_file(world.path("b/two")).unwrap();
    world.write("b/two", "1");
    let apart = look();
    assert!(apart.1 != first.1 && apart.2 != first.2);
}

#[test]
fn a_directory_that_changed_just_now_is_listed_again_the_next_time() {
    let world = World::new(&[("d/a", "1")]);
    let changed = fs::metadata(world.path("d")).unwrap().modified().unwrap();
    let since = changed.duration_since(SystemTime::UNIX_EPOCH).unwrap() + Duration::from_millis(1);
    let just_after = || Mtime { seconds: since.as_secs().cast_signed(), nanoseconds: since.subsec_nanos() };
    let known = |clock: &dyn Fn() -> Mtime| {
        let context = world.open(&[]);
        let scan = context.scan_at(Some(&everything()), clock, &|| None).unwrap();
        digest(&context, &scan);
        // Whatever is known of directories is written down, as after a look at many of them.
        context.memory().has_news();
        context.remember().unwrap();
        context.memory().known_directories()
    };
    assert_eq!(known(&just_after), 0);
    assert_eq!(known(&later), 0);
    assert_eq!(known(&later), 2);
}

#[test]
fn a_file_that_is_touched_is_read_and_changes_nothing() {
    let world = World::new(&[("a", "1"), ("b", "2")]);
    let (_, first) = world.build(&[]);
    File::options().write(true).open(world.path("a")).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
    let context = world.open(&[]);
    let scan = context.scan_at(Some(&everything()), later, &|| None).unwrap();
    assert_eq!(context.memory().were_read(), "a");
    let is_computed = Cell::new(false);
    let again = context.digest(&scan, &everything(), || {
        is_computed.set(true);
        Ok(first)
    });
    assert_eq!((again.unwrap(), is_computed.get()), (first, false));
}

#[test]
fn a_file_whose_modification_time_was_put_back_is_read_again() {
    let world = World::new(&[("a", "old")]);
    let (_, first) = world.build(&[]);
    let modified = fs::metadata(world.path("a")).unwrap().modified().unwrap();
    let file = File::options().write(true).open(world.path("a")).unwrap();
    file.write_all_at(b"new", 0).unwrap();
    file.set_modified(modified).unwrap();
    let (read, second) = world.build(&[]);
    assert_eq!(read, "a");
    assert_ne!(first, second);
}

/// A time so soon after `a` was written that another write might leave the same one.
fn just_after(world: &World) -> Mtime {
    let changed = fs::metadata(world.path("a")).unwrap().modified().unwrap();
    let since = changed.duration_since(SystemTime::UNIX_EPOCH).unwrap() + Duration::from_millis(1);
    Mtime { seconds: since.as_secs().cast_signed(), nanoseconds: since.subsec_nanos() }
}

#[test]
fn a_file_that_changed_just_now_is_read_again_the_next_time() {
    let world = World::new(&[("a", "1")]);
    let context = world.open(&[]);
    let scan = context.scan_at(Some(&everything()), || just_after(&world), &|| None).unwrap();
    digest(&context, &scan);
    context.remember().unwrap();
    assert_eq!(world.build(&[]).0, "a");
    assert_eq!(world.build(&[]).0, "");
    // That another step looks at it later does not make it one that was read later.
    let world = World::new(&[("a", "1")]);
    let context = world.open(&[]);
    let scan = context.scan_at(Some(&everything()), || just_after(&world), &|| None).unwrap();
    digest(&context, &scan);
    context.scan_at(Some(&everything()), later, &|| None).unwrap();
    context.remember().unwrap();
    assert_eq!(world.build(&[]).0, "a");
}

#[test]
fn a_file_that_takes_the_place_of_another_is_read() {
    let world = World::new(&[("a", "1"), ("other", "2")]);
    let (_, first) = world.build(&["other"]);
    fs::rename(world.path("other"), world.path("a")).unwrap();
    let (read, second) = world.build(&["other"]);
    assert_eq!(read, "a");
    assert_ne!(first, second);
}

#[test]
fn files_that_go_away_before_they_are_read_are_not_there() {
    let world = World::new(&[("a", "1"), ("b", "2")]);
    let context = world.open(&[]);
    let mut scope = Scope::of(None);
    let (mut found, _) = context.look(&mut scope, later()).unwrap();
    fs::remove_file(world.path("a")).unwrap();
    assert!(matches!(context.hash(&mut found, &|| None), Err(LookError::Gone(path)) if path == "/a"));
    // The look is repeated, and a directory in place of a file is seen too.
    fs::remove_file(world.path("b")).unwrap();
    fs::create_dir(world.path("b")).unwrap();
    assert!(matches!(context.hash(&mut found, &|| None), Err(LookError::Gone(_))));
    assert_eq!(listing(&context.scan(None).unwrap()), ["directory /b"]);
    // After a few such looks, what is gone is left out.
    world.write("c", "3");
    let (mut found, index) = context.look(&mut scope, later()).unwrap();
    fs::remove_file(world.path("c")).unwrap();
    context.hash_what_stays(&mut found).unwrap();
    assert_eq!(listing(&Scan::new(context.tree.clone(), found, index, None)), ["directory /b"]);
}

#[test]
fn a_file_that_changed_since_the_look_is_remembered_as_it_was_read() {
    let world = World::new(&[("a", "1")]);
    let context = world.open(&[]);
    let mut scope = Scope::of(None);
    let (mut found, index) = context.look(&mut scope, later()).unwrap();
    world.write("a", "longer");
    context.hash(&mut found, &|| None).unwrap();
    let scan = Scan::new(context.tree.clone(), found, index, None);
    context.keep(&scan, later());
    let content = ContentHash::of(b"longer");
    assert_eq!(scan.directories[0].seen()[0].kind, KindBuf::File { size_bytes: 6, content });
    context.remember().unwrap();
    assert_eq!(world.build(&[]).0, "");
}

#[test]
fn what_is_left_out_or_not_selected_is_never_read() {
    let world = World::new(&[("a", "1"), ("skip/b", "2"), ("skip/keep", "3"), ("c.log", "4")]);
    assert_eq!(world.build(&["skip", "!skip/keep", "*.log"]).0, "a skip/keep");
    let context = world.open(&[]);
    let selection = Selection::Copy(CopySelection { pattern: "skip/b".to_owned(), ..CopySelection::default() });
    context.scan(Some(&selection)).unwrap();
    assert_eq!(context.memory().were_read(), "skip/b");
}

#[test]
fn other_ignore_patterns_are_other_digests() {
    let world = World::new(&[("a", "1"), ("b", "2")]);
    assert_ne!(world.build(&[]).1, world.build(&["b"]).1);
    assert_eq!(world.build(&["b"]), (String::new(), world.build(&["b", "nothing"]).1));
}

#[test]
fn hard_links_devices_and_links_are_kept_and_sockets_are_empty_files() {
    testkit::require_root();
    let world = World::new(&[("a", "1")]);
    fs::hard_link(world.path("a"), world.path("b")).unwrap();
    symlink("nowhere", world.path("link")).unwrap();
    std::os::unix::net::UnixListener::bind(world.path("socket")).unwrap();
    let mode = rustix::fs::Mode::RUSR;
    let make =
        |name: &str, kind, device| rustix::fs::mknodat(rustix::fs::CWD, world.path(name), kind, mode, device).unwrap();
    make("fifo", FileType::Fifo, 0);
    make("null", FileType::CharacterDevice, rustix::fs::makedev(1, 3));
    let expected = ["file /a", "hard link /b", "fifo /fifo", "symlink /link", "character device /null", "file /socket"];
    assert_eq!(listing(&world.open(&[]).scan(None).unwrap()), expected);
}

#[test]
fn paths_longer_than_the_kernel_takes_are_read() {
    let world = World::new(&[]);
    let name = "d".repeat(200);
    let mut directory: std::os::fd::OwnedFd = File::open(world.path("")).unwrap().into();
    for _ in 0..30 {
        rustix::fs::mkdirat(&directory, &name, rustix::fs::Mode::RWXU).unwrap();
        directory =
            rustix::fs::openat(&directory, &name, rustix::fs::OFlags::DIRECTORY, rustix::fs::Mode::empty()).unwrap();
    }
    let flags = rustix::fs::OFlags::CREATE | rustix::fs::OFlags::WRONLY;
    let file = rustix::fs::openat(&directory, "file", flags, rustix::fs::Mode::RUSR).unwrap();
    rustix::io::write(&file, b"deep").unwrap();
    let (read, first) = world.build(&[]);
    assert_eq!(read.len(), 30 * 201 + 4);
    assert_eq!(world.build(&[]), (String::new(), first));
}

#[test]
fn a_damaged_index_costs_time_only() {
    let world = World::new(&[("a", "1")]);
    let (_, first) = world.build(&[]);
    let index = fs::read_dir(world.dir.path().join("store/contexts")).unwrap().next().unwrap().unwrap().path();
    let mut bytes = fs::read(&index).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&index, bytes).unwrap();
    assert_eq!(world.build(&[]), ("a".to_owned(), first));
}

#[test]
fn what_is_gone_is_forgotten() {
    let world = World::new(&[("a", "1"), ("b", "2")]);
    world.build(&[]);
    fs::remove_file(world.path("b")).unwrap();
    world.write("c", "3");
    world.build(&[]);
    let file = world.store.open_context_index(&world.path("").canonicalize().unwrap()).unwrap();
    let index = Index::load(memory::read(&file).unwrap());
    let names: Vec<&[u8]> = (0..index.len()).map(|place| index.file_name(place)).collect();
    assert_eq!(names, [b"a", b"c"]);
}

#[test]
fn a_survey_says_what_is_taken_and_what_hides_the_rest() {
    let world = World::new(&[("a.c", "12"), ("b.log", "1"), ("deps/x/one", "123"), ("deps/two", "4"), ("d/keep", "")]);
    world.write("d/drop", "55555");
    let context = world.open(&["*.log", "deps", "d", "!d/keep"]);
    let hidden: Vec<String> = context
        .hidden()
        .unwrap()
        .into_iter()
        .map(|it| format!("{} {} files {} bytes by {}", it.path, it.files, it.size_bytes, it.pattern))
        .collect();
    assert_eq!(hidden, ["b.log 1 files 1 bytes by 0", "d/drop 1 files 5 bytes by 2", "deps 2 files 4 bytes by 1"]);
    let taken = |selection: Selection| -> Vec<String> {
        let files = context.taken(Some(&selection)).unwrap();
        files.into_iter().map(|it| format!("{} {} {}", it.kind, it.path, it.size_bytes)).collect()
    };
    assert_eq!(taken(everything()), ["file a.c 2", "directory d 0", "file d/keep 0"]);
    let wildcard = CopySelection { pattern: "*.c".to_owned(), wildcard: true, ..CopySelection::default() };
    assert_eq!(taken(Selection::Copy(wildcard)), ["file a.c 2"]);
    assert_eq!(taken(Selection::Path("d".to_owned())), ["directory d 0", "file d/keep 0"]);
    assert_eq!(context.memory().were_read(), "");
}

#[test]
fn files_of_a_directory_that_nothing_is_known_of_are_kept_while_they_are_read() {
    let world = World::new(&[("small", "small"), ("large", &"x".repeat(1 << 20))]);
    let pack = || world.store.draft_pack().ok();
    let context = world.open(&[]);
    let scan = context.scan_at(Some(&everything()), later, &pack).unwrap();
    assert_eq!(scan.kept().map(layer::KeptFiles::size_bytes), Some((1 << 20) + 512));
    context.remember().unwrap();
    // The next look knows them, and of what is new it does not know whether any layer will need it.
    world.write("large", &"y".repeat(1 << 20));
    let scan = world.open(&[]).scan_at(Some(&everything()), later, &pack).unwrap();
    assert!(scan.kept().is_none());
}

// `docs/budgets.md` states it.
#[test]
fn what_is_kept_in_memory_of_a_file_is_bounded() {
    let of_a_file = size_of::<Seen>() + size_of::<(EntryPathBuf, index::Known)>() + size_of::<layer::EntryBuf>();
    assert!(of_a_file <= FILE_MEMORY_BYTES_MAX, "{of_a_file}");
}
