//! A bound on memory that holds byte for byte, where a fuzzer's own sees megabytes.

use std::alloc::System;

use cap::Cap;

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

/// Runs with room for so many bytes more than are allocated now. One byte too many ends the process, which is what a
/// fuzzer notices.
pub fn within<T>(bytes: usize, run: impl FnOnce() -> T) -> T {
    set_limit(ALLOCATOR.allocated().saturating_add(bytes));
    let result = run();
    set_limit(usize::MAX);
    result
}

fn set_limit(bytes: usize) {
    ALLOCATOR.set_limit(bytes).expect("the limit is above what is allocated");
}
