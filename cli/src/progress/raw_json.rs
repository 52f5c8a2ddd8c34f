//! Progress as JSON, one object a line, in the fields of BuildKit's solve status (`--progress=rawjson` of buildx).

use std::io::{self, Write};

use engine::event::{Event, Excerpt, Outcome, StepOutput, StepProgress, Stream, Warning};
use oci::{Digest, Timestamp};
use serde::Serialize;

use crate::progress::renderer::Renderer;
use crate::progress::trace::{Step, Trace};

/// Progress as JSON. Every event is written at once; output is never clipped.
pub(super) struct RawJson<W> {
    out: W,
    trace: Trace,
}

impl<W: Write + Send> RawJson<W> {
    /// Writes to `out`.
    pub(super) fn new(out: W) -> Self {
        Self { out, trace: Trace::new() }
    }
}

impl<W: Write + Send> Renderer for RawJson<W> {
    fn event(&mut self, event: &Event) -> io::Result<()> {
        let Some(change) = self.trace.apply(event) else {
            return Ok(());
        };
        let status = match event {
            Event::Started(_) | Event::Finished(_) => Status::Vertexes([Vertex::new(&self.trace.steps[change.step])]),
            Event::Progress(progress) => Status::Statuses([VertexStatus::new(progress)]),
            Event::Output(output) => Status::Logs([VertexLog::new(output)]),
            Event::Warning(warning) => Status::Warnings([VertexWarning::new(warning)]),
            Event::Reason(_) | Event::Usage(_) => return Ok(()),
        };
        let mut line = serde_json::to_vec(&status)?;
        line.push(b'\n');
        self.out.write_all(&line)?;
        self.out.flush()
    }

    fn tick(&mut self, _now: Timestamp) -> io::Result<()> {
        Ok(())
    }

    fn finish(self: Box<Self>, _now: Timestamp) -> io::Result<()> {
        Ok(())
    }
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Status<'e> {
    Vertexes([Vertex<'e>; 1]),
    Statuses([VertexStatus<'e>; 1]),
    Logs([VertexLog; 1]),
    Warnings([VertexWarning<'e>; 1]),
}

#[derive(Serialize)]
struct Vertex<'e> {
    digest: Digest,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    inputs: &'e [Digest],
    name: &'e str,
    #[serde(skip_serializing_if = "Option::is_none")]
    started: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    completed: Option<Timestamp>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    cached: bool,
    #[serde(skip_serializing_if = "str::is_empty")]
    error: &'e str,
}

impl<'e> Vertex<'e> {
    fn new(step: &'e Step) -> Self {
        let outcome = step.ended.as_ref().map(|(outcome, _)| outcome);
        let error = match outcome {
            Some(Outcome::Failed(reason)) => reason,
            // By these words readers of the stream tell a cancelled step from a failed one.
            Some(Outcome::Cancelled) => "context canceled",
            _ => "",
        };
        // A vertex that never ran has neither time in BuildKit's stream.
        let completed = step.ended.as_ref().filter(|(outcome, _)| *outcome != Outcome::NotRun).map(|(_, at)| *at);
        Self {
            digest: step.digest,
            inputs: &step.inputs,
            name: &step.name,
            started: step.started,
            completed,
            cached: outcome == Some(&Outcome::Cached),
            error,
        }
    }
}

#[derive(Serialize)]
struct VertexStatus<'e> {
    id: &'e str,
    vertex: Digest,
    #[serde(skip_serializing_if = "Option::is_none")]
    total: Option<u64>,
    current: u64,
    timestamp: Timestamp,
    started: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    completed: Option<Timestamp>,
}

impl<'e> VertexStatus<'e> {
    fn new(progress: &'e StepProgress) -> Self {
        Self {
            id: &progress.id,
            vertex: progress.step,
            total: progress.total_bytes.filter(|total| *total > 0),
            current: progress.current_bytes,
            timestamp: progress.at,
            started: progress.started,
            completed: progress.completed,
        }
    }
}

#[derive(Serialize)]
struct VertexLog {
    vertex: Digest,
    stream: u8,
    data: String,
    timestamp: Timestamp,
}

impl VertexLog {
    fn new(output: &StepOutput) -> Self {
        let stream = match output.stream {
            Stream::Stdout => 1,
            Stream::Stderr => 2,
        };
        Self { vertex: output.step, stream, data: base64(&output.bytes), timestamp: output.at }
    }
}

/// Returns warnings as they stand in BuildKit's status messages.
pub(crate) fn warnings_json(warnings: &[Warning]) -> serde_json::Result<serde_json::Value> {
    serde_json::to_value(warnings.iter().map(VertexWarning::new).collect::<Vec<_>>())
}

#[derive(Serialize)]
struct VertexWarning<'e> {
    vertex: Digest,
    level: u8,
    short: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    detail: Vec<String>,
    #[serde(skip_serializing_if = "str::is_empty")]
    url: &'e str,
    #[serde(rename = "sourceInfo", skip_serializing_if = "Option::is_none")]
    source_info: Option<SourceInfo<'e>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    range: Option<[Range; 1]>,
}

#[derive(Serialize)]
struct SourceInfo<'e> {
    filename: &'e str,
    data: String,
    language: &'static str,
}

#[derive(Serialize)]
struct Range {
    start: Position,
    end: Position,
}

#[derive(Serialize)]
struct Position {
    line: u32,
}

impl<'e> VertexWarning<'e> {
    fn new(warning: &'e Warning) -> Self {
        let detail = Some(&warning.detail).filter(|detail| !detail.is_empty());
        let range = |excerpt: &Excerpt| {
            [Range { start: Position { line: excerpt.marked_start }, end: Position { line: excerpt.marked_end } }]
        };
        Self {
            vertex: warning.step,
            level: 1,
            short: base64(warning.short.as_bytes()),
            detail: detail.map(|detail| base64(detail.as_bytes())).into_iter().collect(),
            url: &warning.url,
            source_info: warning.excerpt.as_ref().map(SourceInfo::new),
            range: warning.excerpt.as_ref().map(range),
        }
    }
}

impl<'e> SourceInfo<'e> {
    fn new(excerpt: &'e Excerpt) -> Self {
        // Readers count lines from the start of the file, of which only an excerpt is at hand: empty lines stand for those before it.
        let before = "\n".repeat(excerpt.first_line.saturating_sub(1) as usize);
        let data = base64((before + &excerpt.lines.join("\n")).as_bytes());
        Self { filename: &excerpt.file, data, language: "Dockerfile" }
    }
}

/// Bytes in the standard base64 alphabet (RFC 4648, section 4), with padding.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group = chunk.iter().fold(0, |group, byte| group << 8 | usize::from(*byte)) << (8 * (3 - chunk.len()));
        for at in 0..4 {
            let digit = ALPHABET[group >> (18 - 6 * at) & 63];
            text.push(if at <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::base64;

    #[test]
    fn base64_is_that_of_the_rfc() {
        let encoded = ["", "f", "fo", "foo", "foob", "fooba", "foobar"].map(|text| base64(text.as_bytes()));
        assert_eq!(encoded, ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"]);
        assert_eq!(base64(&[0xff, 0xfe, 0xfb]), "//77");
    }
}
