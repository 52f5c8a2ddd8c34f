//! What the forms of a layer cost: 50,000 files of 200 MB in all, beside what `cp` and `tar` take for the same in the same run.
//!
//! `cargo bench -p layer [DIRECTORY]` works in a new directory under `DIRECTORY` (or the temporary one) and removes it at the end. On ext4, creating
//! files is many times slower for a minute after many were deleted: run it on a file system that was not used for that just before.

use std::error::Error;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use layer::tar::{Limits, TarOptions, export_layer};
use layer::tree::{Tree, scan_tree};
use layer::unpack::unpack_layer;
use layer::{
    Content, Entries, EntryPath, EntryPathBuf, FileRange, FileSource, Layer, Metadata, Stack, TreeWriter, digest, hash,
};
use rayon::iter::{IntoParallelRefIterator, ParallelIterator};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

const FILES: u64 = 50_000;
const DIRECTORIES: u64 = 1_000;
const LARGE_BYTES: u64 = 1 << 30;

fn main() -> Result<()> {
    let parent = std::env::args().nth(1).filter(|argument| !argument.starts_with('-'));
    let parent = parent.map_or_else(std::env::temp_dir, PathBuf::from);
    let work = tempfile::Builder::new().prefix("layer-figures-").tempdir_in(parent)?;
    let at = |name: &str| work.path().join(name);
    let paths = make_source(&at("source"))?;
    report("cp -a", || run(Command::new("cp").arg("-a").arg(at("source")).arg(at("copied"))))?;

    let layer = report("write a tree, hashing on the way", || write_tree(&at("source"), &at("tree"), &paths))?;
    report("scan a tree, hashing it", || Ok(scan_tree(&tree(&at("tree"))?)?))?;
    report("export: diffID only", || Ok(export_layer(&layer, TarOptions::LAYER, io::sink())?))?;
    report("export: diffID and file", || Ok(export_layer(&layer, TarOptions::LAYER, File::create(at("layer.tar"))?)?))?;
    fs::create_dir(at("tar-x"))?;
    report("tar -x", || run(Command::new("tar").arg("-xf").arg(at("layer.tar")).arg("-C").arg(at("tar-x"))))?;
    fs::create_dir(at("unpacked"))?;
    report("unpack, hashing on the way", || {
        Ok(unpack_layer(File::open(at("layer.tar"))?, File::open(at("unpacked"))?.into(), Limits::default())?)
    })?;

    let bytes = layer.entries.as_bytes().to_vec();
    say(&format!("list of entries: {} bytes", bytes.len()))?;
    fs::write(at("entries"), &bytes)?;
    report("load the list from its file", || Ok(Entries::from_bytes(fs::read(at("entries"))?)?))?;
    report("content digest of the list", || Ok(digest::of_layer(&layer.entries)))?;
    let stack = Stack::new(vec![layer; 20]);
    report("walk 20 such layers", || Ok(stack.walk(EntryPath::ROOT).count()))?;
    report("look up every path in 20 such layers", || {
        Ok(paths.iter().filter(|path| stack.lookup(path.as_path()).is_some()).count())
    })?;
    report("look up as many missing paths there", || {
        let missing = paths.iter().map(|path| EntryPathBuf::clean(&[path.as_path().as_bytes(), b".missing"].concat()));
        Ok(missing.flatten().filter(|path| stack.lookup(path.as_path()).is_some()).count())
    })?;

    let large = File::create_new(at("large"))?;
    io::copy(&mut io::Read::take(io::repeat(1), LARGE_BYTES), &mut &large)?;
    let large = FileRange::whole(File::open(at("large"))?)?;
    report("hash 1 GiB", || Ok(hash::hash_range(&large)?))?;
    say("removing it all")
}

/// Makes files of 0 to 16 KiB, 4 KiB on average, with arbitrary content.
fn make_source(root: &Path) -> Result<Vec<EntryPathBuf>> {
    let mut random = 1u64;
    let mut next = move || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        random >> 33
    };
    let noise: Vec<u8> = (0..1 << 20).map(|_| next() as u8).collect();
    let mut paths = Vec::new();
    for number in 0..FILES {
        let directory = number % DIRECTORIES;
        let name = format!("package-{}/src/module-{directory}/source-file-{number}.ext", directory % 50);
        let size = (next() % 128 * (next() % 128)) as usize;
        let start = next() as usize % (noise.len() - size);
        let path = root.join(&name);
        fs::create_dir_all(path.parent().unwrap_or(root))?;
        fs::write(path, &noise[start..start + size])?;
        paths.push(EntryPathBuf::clean(name.as_bytes())?);
    }
    paths.sort();
    Ok(paths)
}

fn write_tree(source: &Path, target: &Path, paths: &[EntryPathBuf]) -> Result<Layer> {
    fs::create_dir(target)?;
    let source = Tree::new(File::open(source)?.into());
    let writer = TreeWriter::new(File::open(target)?.into(), Stack::default())?;
    let metadata = Metadata { mode: 0o644, ..Metadata::IMPLIED_DIRECTORY };
    for path in paths {
        writer.make_parents(path.as_path(), &Metadata::IMPLIED_DIRECTORY)?;
    }
    paths.par_iter().try_for_each(|path| -> Result<()> {
        let range = source.open_file(path.as_path())?;
        writer.make_file(path.as_path(), &metadata, FileSource::Range { range: &range, content: None })?;
        Ok(())
    })?;
    Ok(Layer { entries: writer.finish()?.entries, content: Content::Tree(tree(target)?) })
}

fn tree(path: &Path) -> Result<Tree> {
    Ok(Tree::new(File::open(path)?.into()))
}

fn run(command: &mut Command) -> Result<()> {
    if command.status()?.success() { Ok(()) } else { Err(format!("{command:?} failed").into()) }
}

/// Measures once; three times and the best where that is over in a moment.
fn report<T>(what: &str, mut measured: impl FnMut() -> Result<T>) -> Result<T> {
    let mut once = || -> Result<(Duration, T)> {
        let start = Instant::now();
        let result = measured()?;
        Ok((start.elapsed(), result))
    };
    let (mut best, result) = once()?;
    if best < Duration::from_millis(50) {
        best = best.min(once()?.0).min(once()?.0);
    }
    say(&format!("{:8.2} ms  {what}", best.as_secs_f64() * 1e3))?;
    Ok(result)
}

fn say(line: &str) -> Result<()> {
    writeln!(io::stdout(), "{line}")?;
    Ok(())
}
