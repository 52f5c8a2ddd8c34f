//! How long a sandbox takes: `cargo run --release -p runtime --example launch -- ROOT [RUNS [HEAP_MIB [LAYERS [old]]]]`, as root.
//!
//! With `old`, layers are stacked as on kernels before 6.15.
//!
//! `ROOT` is a directory with a static `/bin/true`; the program runs it on an overlay with a new upper directory each time, as a step of a build does.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use runtime::kernel::MountSupport;
use runtime::overlay::{Durability, Layer, Overlay, Upper};
use runtime::{Kernel, Launcher, Network, Root, Spec};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let root = PathBuf::from(args.next().ok_or("which root?")?);
    let mut number = |default: usize| args.next().map_or(Ok(default), |text| text.parse());
    let (runs, heap_mib, layers) = (number(200)?, number(0)?, number(1)?);
    let old = args.next().is_some();
    let heap = vec![1_u8; heap_mib << 20];
    let dir = std::env::temp_dir().join(format!("launch-{}", std::process::id()));
    fs::create_dir_all(&dir)?;
    let mut lowers = vec![root];
    for layer in 1..layers {
        let path = dir.join(format!("layer{layer}"));
        fs::create_dir(&path)?;
        lowers.push(path);
    }
    let begin = Instant::now();
    let mut kernel = Kernel::probe()?;
    print(&format!("asking the kernel: {:.2} ms", begin.elapsed().as_secs_f64() * 1e3));
    if old {
        kernel.mounts = MountSupport::Attached;
    }
    let launcher = Launcher::with_kernel(kernel);
    for (name, network) in [("network of the host", false), ("network of its own", true)] {
        let mut times: [Vec<Duration>; 4] = Default::default();
        for run in 0..runs {
            let (upper, work) = (dir.join(format!("upper{run}")), dir.join(format!("work{run}")));
            fs::create_dir(&upper)?;
            fs::create_dir(&work)?;
            let lowers = lowers.iter().cloned().map(Layer::Path).collect();
            let upper = Upper::Dirs { upper, work, durability: Durability::Volatile };
            let mut spec = Spec::new(Root::Overlay(Overlay { lowers, upper: Some(upper) }), ["/bin/true"]);
            if network {
                spec.network = Network::None;
            }
            let begin = Instant::now();
            let created = launcher.create(spec)?;
            let created_at = Instant::now();
            let running = created.start()?;
            let started_at = Instant::now();
            let exit = running.wait()?;
            let end = Instant::now();
            assert!(exit.status.is_success(), "{exit:?}");
            let parts = [created_at - begin, started_at - created_at, end - started_at, end - begin];
            times.iter_mut().zip(parts).for_each(|(times, part)| times.push(part));
        }
        let [create, start, wait, total] = times.map(describe);
        print(&format!(
            "{name}, {layers} layers, heap {heap_mib} MiB: {total} ms (create {create}, start {start}, wait {wait})"
        ));
        for run in 0..runs {
            fs::remove_dir_all(dir.join(format!("upper{run}")))?;
            fs::remove_dir_all(dir.join(format!("work{run}")))?;
        }
    }
    drop(heap);
    fs::remove_dir_all(&dir)?;
    Ok(())
}

/// Median and minimum.
fn describe(mut times: Vec<Duration>) -> String {
    times.sort();
    let millis = |time: &Duration| time.as_secs_f64() * 1e3;
    format!("{:.2} / {:.2}", times.get(times.len() / 2).map_or(0.0, millis), times.first().map_or(0.0, millis))
}

#[expect(clippy::print_stdout, reason = "what the program is for")]
fn print(line: &str) {
    println!("{line}");
}
