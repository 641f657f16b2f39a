//! Threads like those of `App::run`: a core, and a runtime of its own.

use std::thread::{self, JoinHandle};

use tokio::runtime::Builder;

use crate::Result;
use crate::process::pin;

/// Runs a future on a thread of its own; the connections that it spawns stay there.
pub(super) fn on_core<T, F>(core: usize, work: impl FnOnce() -> F + Send + 'static) -> JoinHandle<Result<T>>
where
    F: Future<Output = Result<T>>,
    T: Send + 'static,
{
    thread::spawn(move || {
        pin(&[core])?;
        Builder::new_current_thread().enable_all().build()?.block_on(work())
    })
}

/// The result of a thread.
pub(super) fn join<T>(thread: JoinHandle<Result<T>>) -> Result<T> {
    thread.join().map_err(|_| "a thread has panicked")?
}
