//! Streams of events for tests, as text: a time in seconds, what happens, to which step.
//!
//! ```text
//! 0.0 start a [1/2] RUN make
//! 0.1 out a one\ntwo
//! 0.2 part a 5/10 0.1 sha256:ab        (bytes done/all, when it began, or began-ended)
//! 0.3 usage a 210000 50000 12300000 4100000 1    (CPU in µs: user, system; bytes: memory, layer; attempts)
//! 0.3 end a failed exit code: 3
//! 0.4 tick
//! ```

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use engine::event::{
    Event, Excerpt, Outcome, StepFinished, StepOutput, StepProgress, StepStarted, StepUsage, Stream, Warning,
};
use oci::{Digest, Timestamp};

use crate::progress::renderer::Renderer;

/// The start of all streams.
const START_SECONDS: i64 = 1_700_000_000;

/// A writer that keeps what is written where a test can see it.
#[derive(Clone, Default)]
pub(super) struct Written(Arc<Mutex<Vec<u8>>>);

impl Written {
    /// Returns what was written since it was last asked for.
    pub(super) fn take(&self) -> Vec<u8> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// One line of a script.
pub(super) enum Moment {
    Event(Event),
    Tick(Timestamp),
}

impl Moment {
    /// Reads a line.
    pub(super) fn parse(line: &str) -> Self {
        let mut words = line.trim_start().splitn(4, ' ');
        let mut word = || words.next().unwrap_or_default().to_owned();
        let (time, verb, step, rest) = (word(), word(), word(), word());
        let at = time_of(&time);
        let id = Digest::of(step.as_bytes());
        let bytes = || rest.replace("\\n", "\n").replace("\\r", "\r").replace("\\e", "\u{1b}").into_bytes();
        let output = |stream| Event::Output(StepOutput { step: id, stream, bytes: bytes(), at });
        Self::Event(match verb.as_str() {
            "start" => Event::Started(StepStarted { step: id, name: rest, inputs: Vec::new(), at }),
            "out" => output(Stream::Stdout),
            "err" => output(Stream::Stderr),
            "part" => Event::Progress(part(id, &rest, at)),
            "usage" => Event::Usage(usage(id, &rest)),
            "warn" => Event::Warning(warning(id, rest)),
            "end" => Event::Finished(finished(id, &step, &rest, at)),
            "tick" => return Self::Tick(at),
            other => panic!("no such verb: {other}"),
        })
    }

    /// Tells a renderer.
    pub(super) fn tell(&self, renderer: &mut dyn Renderer) {
        match self {
            Self::Event(event) => renderer.event(event),
            Self::Tick(now) => renderer.tick(*now),
        }
        .unwrap();
    }
}

/// A time in seconds since the start of the stream.
pub(super) fn time_of(seconds: &str) -> Timestamp {
    let millis = (seconds.parse::<f64>().unwrap() * 1000.0).round() as i64;
    Timestamp::from_unix(START_SECONDS + millis / 1000, (millis % 1000) as u32 * 1_000_000).unwrap()
}

fn part(step: Digest, rest: &str, at: Timestamp) -> StepProgress {
    let mut words = rest.splitn(3, ' ');
    let (done, all) = words.next().unwrap().split_once('/').unwrap();
    let (started, completed) = match words.next().unwrap().split_once('-') {
        Some((started, completed)) => (time_of(started), Some(time_of(completed))),
        None => (time_of(rest.split(' ').nth(1).unwrap()), None),
    };
    StepProgress {
        step,
        id: words.next().unwrap().to_owned(),
        current_bytes: done.parse().unwrap(),
        total_bytes: all.parse().ok(),
        started,
        completed,
        at,
    }
}

fn usage(step: Digest, rest: &str) -> StepUsage {
    let numbers: Vec<u64> = rest.split(' ').map(|word| word.parse().unwrap()).collect();
    StepUsage {
        step,
        cpu_user_micros: numbers[0],
        cpu_system_micros: numbers[1],
        memory_peak_bytes: Some(numbers[2]).filter(|bytes| *bytes > 0),
        written_bytes: Some(numbers[3]).filter(|bytes| *bytes > 0),
        attempts: numbers[4] as u32,
    }
}

fn warning(step: Digest, short: String) -> Warning {
    let excerpt = Excerpt {
        file: "Dockerfile".to_owned(),
        first_line: 2,
        lines: vec!["MAINTAINER me".to_owned(), "RUN make".to_owned()],
        marked_start: 2,
        marked_end: 2,
        part: None,
    };
    Warning {
        step,
        short,
        detail: "Why.".to_owned(),
        url: "https://example.com".to_owned(),
        excerpt: Some(excerpt),
        diagnostic: None,
    }
}

fn finished(id: Digest, step: &str, rest: &str, at: Timestamp) -> StepFinished {
    let (outcome, reason) = rest.split_once(' ').unwrap_or((rest, ""));
    let outcome = match outcome {
        "done" => Outcome::Done,
        "cached" => Outcome::Cached,
        "failed" => Outcome::Failed(reason.to_owned()),
        "cancelled" => Outcome::Cancelled,
        "notrun" => Outcome::NotRun,
        other => panic!("no such outcome: {other}"),
    };
    StepFinished { step: id, name: format!("[{step}] RUN {step}"), outcome, at }
}

/// A build of two stages with everything in it that can happen: parallel steps, transfers, warnings, cached steps, a failure and what follows from it.
pub(super) const FAILING_BUILD: &str = r#"
    0.00 start def [internal] load build definition from Dockerfile
    0.00 part def 0/- 0.00 transferring dockerfile:
    0.01 part def 208/- 0.00-0.01 transferring dockerfile:
    0.01 warn def MaintainerDeprecated: Maintainer instruction is deprecated in favor of using label (line 2)
    0.02 end def done
    0.02 start base [base 1/2] FROM docker.io/library/debian:12@sha256:0123
    0.02 start cached [final 1/3] WORKDIR /src
    0.02 end cached cached
    0.03 part base 0/3400000 0.03 sha256:4abc
    0.20 part base 1048576/3400000 0.03 sha256:4abc
    0.30 part base 3400000/3400000 0.03-0.30 sha256:4abc
    0.40 end base done
    0.41 start make [base 2/2] RUN make
    0.41 start test [final 2/3] RUN make test
    0.52 out make cc -c a.c\ncc -c
    0.60 out test checking …
    0.70 out make  b.c\n
    0.81 err test ok\n
    1.00 out make warning: \e[31munused\e[0m\n 10%\r 50%
    1.20 out test all good\n
    1.30 end test done
    1.40 out make \r100%\nld: error\n
    1.50 start other [other 1/1] RUN sleep 100
    1.55 end make failed process "/bin/sh -c make" did not complete successfully: exit code: 2
    1.56 end other cancelled
    1.56 end last notrun
"#;

/// Numbers that look random and are the same in every run: a linear congruential sequence.
pub(super) struct Numbers(pub(super) u64);

impl Numbers {
    /// Returns a number below `limit`.
    pub(super) fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }

    fn pick<'w>(&mut self, words: &[&'w str]) -> &'w str {
        words[self.below(words.len())]
    }

    /// Returns a stream of events of any kind in any order, also impossible ones, with times that may go back.
    pub(super) fn moments(&mut self, count: usize) -> Vec<Moment> {
        let verbs = ["start", "start", "out", "out", "out", "err", "part", "warn", "end", "tick"];
        let words = [
            "x",
            "word ",
            "\\n",
            "\\n",
            "\\r",
            "日本",
            "\\e[31m",
            "\\e[2J",
            "\\e]0;t",
            "\u{7}",
            "\t",
            "\u{202e}",
            "👩‍👧",
            "e\u{301}",
        ];
        let line = |numbers: &mut Self| {
            let (verb, step) = (numbers.pick(&verbs), numbers.pick(&["a", "b", "c", "d", "e", "f"]));
            let text: String = (0..numbers.below(12)).map(|_| numbers.pick(&words)).collect();
            let rest = match verb {
                "end" => format!("{} {text}", numbers.pick(&["done", "cached", "failed", "cancelled", "notrun"])),
                "part" => format!("{}/{} 1.0 {text}", numbers.below(5_000_000), numbers.below(5_000_000)),
                _ => text,
            };
            format!("{}.{} {verb} {step} {rest}", numbers.below(20), numbers.below(10))
        };
        (0..count).map(|_| Moment::parse(&line(self))).collect()
    }
}
