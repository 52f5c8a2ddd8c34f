//! Buffers that are used again: allocating a large one for each of 50,000 files would cost more than reading them.

use std::cell::Cell;

/// How many bytes are read at once; large enough for hashing in parallel to pay.
pub(crate) const BUFFER_BYTES: usize = 4 << 20;

thread_local! {
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Calls `use_it` with a buffer of `bytes`, whose content is arbitrary.
///
/// The buffer is taken out of the thread's storage meanwhile: hashing in parallel can run another task on this thread, which then gets its own.
pub(crate) fn with<T>(bytes: usize, use_it: impl FnOnce(&mut [u8]) -> T) -> T {
    let mut buffer = SPARE.take();
    if buffer.len() < bytes {
        buffer.resize(bytes, 0);
    }
    let result = use_it(&mut buffer[..bytes]);
    SPARE.set(buffer);
    result
}
