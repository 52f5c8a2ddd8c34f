//! Copying streams in large pieces: each is a system call or two.

use std::io::{self, Read, Write};

/// How long the pieces are.
const PIECE_BYTES: usize = 256 << 10;

/// Copies a stream to its end.
pub(crate) fn copy(from: &mut dyn Read, to: &mut dyn Write) -> io::Result<()> {
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        match from.read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(count) => to.write_all(&piece[..count])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
