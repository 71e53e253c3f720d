//! An allocator that counts. Counts Rust's allocations only: librdkafka has its own.
#![expect(
    unsafe_code,
    reason = "an allocator is unsafe to implement; this one only counts and passes on"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// After so many allocations a thread adds its own count to that of all.
const STEP: u64 = 256;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// Counted by this thread and not yet in `ALLOCATIONS`. Without a destructor, so that it can be
    /// used at any time in a thread's life.
    static PENDING: Cell<u64> = const { Cell::new(0) };
}

/// The system's allocator, counting.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counting;

/// Return how many allocations, and growths of one, there were in the process; at most 256 a thread
/// are missing.
#[must_use]
pub fn allocations() -> u64 {
    ALLOCATIONS.load(Relaxed) + PENDING.get()
}

fn count() {
    let pending = PENDING.get() + 1;
    if pending == STEP {
        ALLOCATIONS.fetch_add(STEP, Relaxed);
    }
    PENDING.set(pending % STEP);
}

// SAFETY: every call is passed on to the system's allocator as it is; counting does not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are those that the system's allocator asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}
