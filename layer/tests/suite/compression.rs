//! Compressed streams, as the usual programs write them.

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use layer::compression::{Compression, Decoder};

fn compress(program: &[&str], input: &[u8]) -> Vec<u8> {
    let mut child =
        Command::new(program[0]).args(&program[1..]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(input).unwrap());
        child.wait_with_output().unwrap().stdout
    })
}

fn decompress(bytes: &[u8]) -> (Compression, Result<Vec<u8>, String>) {
    let mut decoder = Decoder::new(bytes).unwrap();
    let mut text = Vec::new();
    let read = decoder.read_to_end(&mut text).map(|_| text);
    (decoder.compression(), read.map_err(|error| error.to_string()))
}

#[test]
fn each_is_known_by_its_content_and_may_have_several_parts() {
    let text = b"the same bytes again and again ".repeat(1000);
    let programs: [(&[&str], Compression); 4] = [
        (&["gzip", "-c"], Compression::Gzip),
        (&["bzip2", "-c"], Compression::Bzip2),
        (&["xz", "-c"], Compression::Xz),
        (&["zstd", "-qc"], Compression::Zstd),
    ];
    for (program, compression) in programs {
        let compressed = compress(program, &text);
        assert!(compressed.len() < text.len());
        assert_eq!(decompress(&compressed), (compression, Ok(text.clone())));
        let twice = [compressed.as_slice(), &compressed].concat();
        assert_eq!(decompress(&twice), (compression, Ok(text.repeat(2))), "{compression} in two parts");
        let cut = decompress(&compressed[..compressed.len() / 2]).1;
        assert_eq!(cut.unwrap_err(), format!("cannot decompress the {compression} stream"), "cut");
    }
    assert_eq!(decompress(&text), (Compression::None, Ok(text.clone())));
    assert_eq!(decompress(b""), (Compression::None, Ok(Vec::new())));
    assert_eq!(decompress(b"B"), (Compression::None, Ok(b"B".to_vec())));
}

#[test]
fn a_zstd_stream_may_begin_with_a_skippable_frame() {
    let frame = [0x51, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, b'a', b'b', b'c'];
    let stream = [frame.as_slice(), &compress(&["zstd", "-qc"], b"text")].concat();
    assert_eq!(decompress(&stream), (Compression::Zstd, Ok(b"text".to_vec())));
}

#[test]
fn a_stream_that_asks_for_too_much_memory_is_refused() {
    let text = b"x".repeat(10_000);
    let greedy = compress(&["xz", "-c", "--lzma2=dict=1GiB"], &text);
    assert_eq!(decompress(&greedy).1, Err("cannot decompress the xz stream".to_owned()));
    // Streams of unknown length keep the window that was asked for.
    let greedy = compress(&["zstd", "-qc", "--ultra", "--long=30"], &text);
    assert_eq!(decompress(&greedy).1, Err("cannot decompress the zstd stream".to_owned()));
}
