//! What every fuzz target has: the function of the same name in `kinolog_eventstore::fuzzing`,
//! and an allocator that takes a request for too much for a bug.

use std::alloc::{GlobalAlloc, Layout, System};

/// What no input may make the node ask for at once, though inputs have a few kilobytes: room
/// for the largest message (65 MiB), which the gRPC library reserves on a frame's word.
const BYTES_MAX: usize = 66 * 1024 * 1024;

#[global_allocator]
static ALLOCATOR: Bounded = Bounded;

struct Bounded;

// SAFETY: everything is passed on as it came, or the process ends.
unsafe impl GlobalAlloc for Bounded {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        check(layout.size());
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        check(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        check(size);
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

fn check(bytes: usize) {
    if bytes > BYTES_MAX {
        eprintln!("{bytes} bytes were asked for at once");
        std::process::abort();
    }
}

/// The program of one target.
#[macro_export]
macro_rules! target {
    ($name:ident) => {
        libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kinolog_eventstore::fuzzing::$name(bytes));
    };
}
