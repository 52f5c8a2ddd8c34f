//! The terminal that `kiln run -it` itself runs on: raw mode, sizes.
//!
//! **Invariant:** whatever happens to the program short of SIGKILL, the terminal is left as it was found.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::termios::{OptionalActions, Termios, Winsize, isatty, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize};

/// How large a terminal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowSize {
    /// Lines.
    pub rows: u16,
    /// Characters in a line.
    pub columns: u16,
}

impl Default for WindowSize {
    /// Returns the size that programs assume of a terminal that does not say.
    fn default() -> Self {
        Self { rows: 24, columns: 80 }
    }
}

/// Returns whether the descriptor is a terminal.
pub fn is_terminal(terminal: impl AsFd) -> bool {
    isatty(terminal)
}

/// Reads the size of a terminal.
pub fn window_size(terminal: impl AsFd) -> io::Result<WindowSize> {
    let size = tcgetwinsize(terminal)?;
    Ok(WindowSize { rows: size.ws_row, columns: size.ws_col })
}

/// Changes the size of a terminal; given the master's end, the processes on the other end are told by SIGWINCH.
pub fn set_window_size(terminal: impl AsFd, size: WindowSize) -> io::Result<()> {
    let size = Winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 };
    Ok(tcsetwinsize(terminal, size)?)
}

/// A terminal in raw mode: what is typed arrives byte by byte, and no byte has a meaning. Dropped, it is as it was before.
#[derive(Debug)]
pub struct RawMode {
    terminal: OwnedFd,
    before: Termios,
}

impl RawMode {
    /// Puts a terminal into raw mode.
    ///
    /// What a process prints passes through two terminals, its own and this one. Its own already turns `\n` into `\r\n`, so this one leaves output alone.
    pub fn enter(terminal: impl AsFd) -> io::Result<Self> {
        let terminal = terminal.as_fd().try_clone_to_owned()?;
        let before = tcgetattr(&terminal)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(&terminal, OptionalActions::Drain, &raw)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        // Nothing can be done when the terminal is gone, and then nothing needs to be.
        let _ = tcsetattr(&self.terminal, OptionalActions::Drain, &self.before);
    }
}

#[cfg(test)]
mod tests {
    use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
    use rustix::termios::LocalModes;

    use super::*;

    /// Returns both ends of a new terminal.
    fn terminal() -> (OwnedFd, OwnedFd) {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY;
        let master = openpt(flags).unwrap();
        unlockpt(&master).unwrap();
        let terminal = ioctl_tiocgptpeer(&master, flags).unwrap();
        (master, terminal)
    }

    fn echoes(terminal: &OwnedFd) -> bool {
        tcgetattr(terminal).unwrap().local_modes.contains(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG)
    }

    #[test]
    fn a_terminal_is_left_as_it_was_found_also_by_a_panic() {
        let (_master, terminal) = terminal();
        let before = format!("{:?}", tcgetattr(&terminal).unwrap());
        let raw = RawMode::enter(&terminal).unwrap();
        assert!(!echoes(&terminal));
        drop(raw);
        assert!(echoes(&terminal));

        let panicked = std::thread::scope(|scope| {
            let panicking = scope.spawn(|| {
                let _raw = RawMode::enter(&terminal).unwrap();
                std::panic::resume_unwind(Box::new(()));
            });
            panicking.join().is_err()
        });
        assert!(panicked);
        assert_eq!(format!("{:?}", tcgetattr(&terminal).unwrap()), before);
    }

    #[test]
    fn a_size_that_is_set_on_one_end_is_read_from_the_other() {
        let (master, terminal) = terminal();
        let size = WindowSize { rows: 40, columns: 132 };
        set_window_size(&master, size).unwrap();
        assert_eq!(window_size(&terminal).unwrap(), size);
    }

    #[test]
    fn what_is_no_terminal_is_refused() {
        let null = std::fs::File::open("/dev/null").unwrap();
        assert!(!is_terminal(&null));
        assert!(RawMode::enter(&null).is_err());
        assert!(window_size(&null).is_err());
    }
}
