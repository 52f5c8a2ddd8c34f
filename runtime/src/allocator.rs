//! The allocator of the C library, but that what is long begins at a multiple of 64 bytes.
//!
//! The kernel copies what is read with `rep movsb`, and on some processors (AMD's Zen 3) that takes 3.4 times as long to a place that is not a multiple of 32: 0.79 s in place of
//! 0.23 s for 1 GiB. The C library begins all that is long 16 bytes behind a page.

#![expect(unsafe_code, reason = "there is no safe allocator")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr;

/// What is at least this long is placed.
const LONG_BYTES_MIN: usize = 1024;
/// Where it begins: at a multiple of this.
const PLACE_BYTES: usize = 64;
/// Where the C library begins everything: at a multiple of this (malloc(3)).
const SYSTEM_ALIGN_BYTES: usize = 16;

/// The allocator, for `#[global_allocator]`.
///
/// What is long has between 16 and 64 bytes before it, the last of which says how many they are.
#[derive(Clone, Copy, Debug, Default)]
pub struct PlacingAllocator;

/// Returns the layout of what is allocated for something long; `None` if it is left to the system as it is.
fn outer(layout: Layout) -> Option<Layout> {
    if layout.size() < LONG_BYTES_MIN || layout.align() > SYSTEM_ALIGN_BYTES {
        return None;
    }
    Layout::from_size_align(layout.size() + PLACE_BYTES, SYSTEM_ALIGN_BYTES).ok()
}

/// Returns how far behind the start of an allocation its place is: between 16 and 64 bytes.
fn distance(start: *mut u8) -> usize {
    PLACE_BYTES - start.addr() % PLACE_BYTES
}

/// Returns the place in an allocation, and notes there how far its start is.
///
/// # Safety
/// `start` is null, or begins what was allocated with an outer layout.
unsafe fn place(start: *mut u8) -> *mut u8 {
    if start.is_null() {
        return start;
    }
    let distance = distance(start);
    // WHY: an allocator deals in raw pointers.
    // SAFETY: the outer layout has 64 bytes more than what is placed, and the start is a multiple of 16, so that the distance is between 16 and 64.
    unsafe {
        let place = start.add(distance);
        place.sub(1).write(distance as u8);
        place
    }
}

/// Returns the start of the allocation that a place is in.
///
/// # Safety
/// `place` comes from [`place`] and is not null.
unsafe fn start(place: *mut u8) -> *mut u8 {
    // WHY: see `place`.
    // SAFETY: the byte before a place says how far its start is.
    unsafe { place.sub(usize::from(place.sub(1).read())) }
}

// WHY: there is no safe allocator.
// SAFETY: memory comes from the system's allocator, which keeps the rules; what is placed in it has all the bytes asked for, at a multiple of 64, and is given back by the start that
// the system gave. Whether something is placed follows from its layout alone, so that what is given back is treated as it was when it was allocated.
unsafe impl GlobalAlloc for PlacingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match outer(layout) {
            // SAFETY: an outer layout is not empty.
            Some(outer) => unsafe { place(System.alloc(outer)) },
            // SAFETY: the caller keeps the rules of the system's.
            None => unsafe { System.alloc(layout) },
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        match outer(layout) {
            // SAFETY: an outer layout is not empty.
            Some(outer) => unsafe { place(System.alloc_zeroed(outer)) },
            // SAFETY: the caller keeps the rules of the system's.
            None => unsafe { System.alloc_zeroed(layout) },
        }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        match outer(layout) {
            // SAFETY: it was placed, since its layout is the one it was allocated with.
            Some(outer) => unsafe { System.dealloc(start(memory), outer) },
            // SAFETY: it was not, for the same reason.
            None => unsafe { System.dealloc(memory, layout) },
        }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // The caller sees to it that the size is allowed.
        let Ok(new_layout) = Layout::from_size_align(new_size, layout.align()) else { return ptr::null_mut() };
        match (outer(layout), outer(new_layout)) {
            // SAFETY: it was placed before and is so again; if the system moved it to where its place is another one, what is in it is moved within.
            (Some(outer), Some(new_outer)) => unsafe {
                let old_start = start(memory);
                let before = distance(old_start);
                let moved = System.realloc(old_start, outer, new_outer.size());
                if moved.is_null() {
                    return moved;
                }
                let placed = moved.add(distance(moved));
                if distance(moved) != before {
                    ptr::copy(moved.add(before), placed, layout.size().min(new_size));
                }
                place(moved)
            },
            // SAFETY: the caller keeps the rules of the system's.
            (None, None) => unsafe { System.realloc(memory, layout, new_size) },
            // SAFETY: the new memory is another, and both have room for what is copied.
            _ => unsafe {
                let new = self.alloc(new_layout);
                if !new.is_null() {
                    ptr::copy_nonoverlapping(memory, new, layout.size().min(new_size));
                    self.dealloc(memory, layout);
                }
                new
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Something that was allocated, whose bytes count from a number.
    struct Held {
        memory: *mut u8,
        layout: Layout,
        first: u8,
    }

    impl Held {
        #[track_caller]
        fn check(&self, bytes: usize) {
            assert!(!self.memory.is_null());
            let align = if self.layout.size() >= LONG_BYTES_MIN { PLACE_BYTES } else { self.layout.align() };
            assert_eq!(self.memory.addr() % align.max(self.layout.align()), 0, "{:?}", self.layout);
            for at in 0..bytes {
                // SAFETY: as many bytes were allocated.
                let byte = unsafe { self.memory.add(at).read() };
                assert_eq!(byte, self.first.wrapping_add(at as u8), "byte {at} of {:?}", self.layout);
            }
        }

        fn fill(&mut self, first: u8) {
            self.first = first;
            for at in 0..self.layout.size() {
                // SAFETY: as many bytes were allocated.
                unsafe { self.memory.add(at).write(first.wrapping_add(at as u8)) }
            }
        }
    }

    #[test]
    fn what_is_long_begins_at_a_multiple_of_64_and_keeps_its_bytes_when_it_grows_and_shrinks() {
        let sizes = [1, 100, 1023, 1024, 1025, 4000, 70_000, 300_000];
        let mut held = Vec::new();
        for (number, from) in sizes.iter().enumerate() {
            for to in sizes {
                for align in [1, 16, 64, 4096] {
                    let layout = Layout::from_size_align(*from, align).unwrap();
                    // SAFETY: nothing here is empty; what is read was written.
                    unsafe {
                        let zeroed = PlacingAllocator.alloc_zeroed(layout);
                        assert!((0..*from).all(|at| zeroed.add(at).read() == 0));
                        PlacingAllocator.dealloc(zeroed, layout);
                        let mut it = Held { memory: PlacingAllocator.alloc(layout), layout, first: 0 };
                        it.fill(number as u8);
                        it.check(*from);
                        it.memory = PlacingAllocator.realloc(it.memory, layout, to);
                        it.layout = Layout::from_size_align(to, align).unwrap();
                        it.check(to.min(*from));
                        it.fill(number as u8 + 1);
                        held.push(it);
                    }
                }
            }
            // What lies between moves others when they grow.
            for it in held.extract_if(.., |it| it.layout.size() % 2 == 0) {
                it.check(it.layout.size());
                // SAFETY: it was allocated with this layout.
                unsafe { PlacingAllocator.dealloc(it.memory, it.layout) };
            }
        }
        for it in held {
            it.check(it.layout.size());
            // SAFETY: it was allocated with this layout.
            unsafe { PlacingAllocator.dealloc(it.memory, it.layout) };
        }
    }
}
