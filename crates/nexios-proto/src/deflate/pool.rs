//! The states of inflaters and compressors that the connections of a thread share.

use alloc::{boxed::Box, vec::Vec};
use core::{cell::RefCell, mem};
use std::thread_local;

use flate2::{Compress, Compression, Decompress};

/// Maximum number of idle states of each kind: in most programs, a thread does not use more at once.
const KEPT: usize = 4;

/// Capacity of the scratch memory in bytes: messages up to this size are inflated without growing their own memory.
const SCRATCH: usize = 64 * 1024;

#[derive(Default)]
struct Pool {
    #[expect(clippy::vec_box, reason = "they are in boxes where they are held, and so change hands without a copy")]
    inflaters: Vec<Box<Decompress>>,
    compressors: Vec<(Settings, Box<Compress>)>,
    scratch: Vec<u8>,
}

/// The fixed settings of a compressor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Settings {
    pub(super) level: u8,
    pub(super) window_bits: u8,
}

thread_local! {
    static POOL: RefCell<Pool> = RefCell::default();
}

/// `None` at the end of a thread, when the pool no longer exists: everything works without it.
fn with<T>(use_pool: impl FnOnce(&mut Pool) -> T) -> Option<T> {
    POOL.try_with(|pool| pool.try_borrow_mut().ok().map(|mut pool| use_pool(&mut pool))).ok().flatten()
}

/// An inflater at the beginning of a stream.
pub(super) fn take_inflater() -> Box<Decompress> {
    let kept = with(|pool| pool.inflaters.pop()).flatten();
    kept.unwrap_or_else(|| Box::new(Decompress::new(false)))
}

pub(super) fn return_inflater(mut state: Box<Decompress>) {
    with(|pool| {
        if pool.inflaters.len() < KEPT {
            // Nothing of one peer's messages may be seen in another's.
            state.reset(false);
            pool.inflaters.push(state);
        }
    });
}

/// A compressor at the beginning of a stream.
pub(super) fn take_compressor(settings: Settings) -> Box<Compress> {
    let kept = with(|pool| {
        let index = pool.compressors.iter().position(|(made_for, _)| *made_for == settings)?;
        Some(pool.compressors.swap_remove(index).1)
    });
    kept.flatten().unwrap_or_else(|| {
        let level = Compression::new(settings.level.into());
        Box::new(Compress::new_with_window_bits(level, false, settings.window_bits))
    })
}

/// Returns a compressor that was reset to the pool.
pub(super) fn return_compressor(settings: Settings, state: Box<Compress>) {
    with(|pool| {
        if pool.compressors.len() < KEPT {
            pool.compressors.push((settings, state));
        }
    });
}

/// Lends empty memory with some capacity for the time of a call.
pub(super) fn with_scratch<T>(use_scratch: impl FnOnce(&mut Vec<u8>) -> T) -> T {
    let mut scratch = with(|pool| mem::take(&mut pool.scratch)).unwrap_or_default();
    scratch.clear();
    scratch.reserve_exact(SCRATCH);
    let result = use_scratch(&mut scratch);
    with(|pool| pool.scratch = scratch);
    result
}
