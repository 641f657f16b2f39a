//! Bounds on how long a test waits, and who may disturb whom.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// For what takes no time on a machine that does nothing else.
pub(crate) const PATIENCE: Duration = Duration::from_secs(15);

static MACHINE: Mutex<()> = Mutex::new(());

/// For tests that count CPU time or seconds: one at a time.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    // A test that failed has told so itself.
    MACHINE.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) async fn within<F: IntoFuture>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.expect("it takes too long")
}

/// Asks again and again until the answer is yes; returns how long that took.
pub(crate) fn wait_until(limit: Duration, what: &str, mut is_so: impl FnMut() -> bool) -> Duration {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < limit, "after {limit:?} still not: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
    began.elapsed()
}

/// As [`wait_until`], for a runtime whose tasks go on meanwhile.
pub(crate) async fn wait_until_async(limit: Duration, what: &str, mut is_so: impl FnMut() -> bool) -> Duration {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < limit, "after {limit:?} still not: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    began.elapsed()
}

/// A runtime for the test's own side.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}
