//! A tree on a virtual terminal, and builds to show there.

use std::sync::{Arc, Mutex, PoisonError};

use crate::progress::open::open;
use crate::progress::renderer::Renderer;
use crate::progress::script::{FAILING_BUILD, Moment, Written, time_of};
use crate::progress::settings::Mode;
use crate::progress::terminal::{Screen, Size};
use crate::progress::virtual_terminal::VirtualTerminal;
use crate::progress::warnings::Detail;

/// A tree on a terminal.
pub(super) struct Session {
    pub(super) renderer: Option<Box<dyn Renderer>>,
    pub(super) written: Written,
    pub(super) terminal: VirtualTerminal,
    size: Arc<Mutex<Size>>,
}

impl Session {
    pub(super) fn new(columns: usize, rows: usize) -> Self {
        let size = Arc::new(Mutex::new(Size { columns, rows }));
        let asked = Arc::clone(&size);
        let ask = move || Some(*asked.lock().unwrap_or_else(PoisonError::into_inner));
        let written = Written::default();
        let renderer = open(Mode::Tty, written.clone(), Screen::Terminal(Box::new(ask)), &|_| None, Detail::Brief)
            .unwrap()
            .renderer;
        let terminal = VirtualTerminal::new(Size { columns, rows });
        Self { renderer: Some(renderer), written, terminal, size }
    }

    pub(super) fn play(&mut self, script: &str) {
        for line in script.lines().filter(|line| !line.trim().is_empty()) {
            Moment::parse(line).tell(self.renderer.as_deref_mut().unwrap());
            self.terminal.write(&self.written.take());
        }
    }

    pub(super) fn resize(&mut self, columns: usize, rows: usize) {
        *self.size.lock().unwrap() = Size { columns, rows };
        self.terminal.resize(Size { columns, rows });
    }

    pub(super) fn finish(&mut self, end: &str) {
        self.renderer.take().unwrap().finish(time_of(end)).unwrap();
        // After the tree come lines that may wrap, ended by a plain line feed, which the terminal driver completes.
        let text = String::from_utf8(self.written.take()).unwrap().replace("\r\n", "\n").replace('\n', "\r\n");
        self.terminal.write(text.as_bytes());
    }

    pub(super) fn shown(&self) -> String {
        self.terminal.shown()
    }
}

/// The lines of [`FAILING_BUILD`] up to a time.
pub(super) fn until(end: &str) -> String {
    let is_before =
        |line: &&str| !line.trim().is_empty() && time_of(line.trim().split(' ').next().unwrap()) <= time_of(end);
    let mut script: String = FAILING_BUILD.lines().filter(is_before).map(|line| format!("{line}\n")).collect();
    script.push_str(&format!("{end} tick\n"));
    script
}

/// A build with more to show than a small screen can.
pub(super) const MANY: &str = "
    0.0 start a [1/9] RUN a
    0.1 end a done
    0.1 start b [2/9] RUN b
    0.2 end b done
    0.2 start c [3/9] RUN c
    0.2 start d [4/9] RUN d
    0.2 part c 5/10 0.2 sha256:aa
    0.2 part c 5/10 0.2 sha256:bb
    0.3 out c c1\\nc2\\nc3\\nc4\\nc5\\nc6\\nc7\\nc8\\n
    0.3 out d d1\\nd2\\n
    0.3 start e [5/9] RUN e
    0.3 end e done
    0.6 tick
";
