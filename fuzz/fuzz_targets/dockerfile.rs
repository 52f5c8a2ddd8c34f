//! Any bytes as a Dockerfile: parsed, checked, described and lowered. Whatever they are, nothing panics, and it ends.
#![no_main]

use frontend::known::{Known, KnownImage, Need};
use frontend::plan::{LowerError, Lowered};
use frontend::request::LowerRequest;
use libfuzzer_sys::fuzz_target;
use oci::{Digest, ImageConfig, Platform};

/// Far more rounds than any file takes.
const ROUNDS_MAX: usize = 64;

fuzz_target!(|text: &[u8]| {
    let parse = frontend::parse(text);
    let request = LowerRequest::new(Platform::new("linux", "amd64", None));
    let _ = rounds(|known| Ok(frontend::check(&parse, "Dockerfile", &request, known)));
    if parse.diagnostics.is_empty() {
        let _ = rounds(|known| frontend::outline(&parse.file, &request, known));
        let _ = rounds(|known| frontend::lower(&parse.file, &request, known));
        frontend::targets(&parse.file);
    }
});

/// Lowers until nothing more must be known: every image is there and has no layers, and no file is ignored.
fn rounds<T>(lower: impl Fn(&Known) -> Result<Lowered<T>, LowerError>) -> Result<T, LowerError> {
    let mut known = Known::default();
    for _ in 0..ROUNDS_MAX {
        match lower(&known)? {
            Lowered::Done(done) => return Ok(done),
            Lowered::Needs(needs) => needs.into_iter().for_each(|need| answer(need, &mut known)),
        }
    }
    panic!("lowering asks again and again");
}

fn answer(need: Need, known: &mut Known) {
    match need {
        Need::Image(query) => {
            let (digest, platform) = (Digest::of(b"image"), query.platform.clone());
            let image = KnownImage { digest, manifest: digest, platform, config: ImageConfig::default() };
            known.images.insert(query, Ok(image));
        }
        Need::IgnoreFile(name) => drop(known.ignore_files.insert(name, None)),
        Need::Time(query) => drop(known.times.insert(query, None)),
    }
}
