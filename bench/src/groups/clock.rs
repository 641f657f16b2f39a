//! CPU time and memory of the process that measures itself.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::Result;
use crate::process::resident;

/// CPU time of the calling thread.
pub(super) fn of_thread() -> Duration {
    read(ClockId::ThreadCPUTime)
}

/// CPU time of all threads.
pub(super) fn of_process() -> Duration {
    read(ClockId::ProcessCPUTime)
}

/// Resident memory in bytes.
pub(super) fn memory() -> Result<f64> {
    Ok(resident(std::process::id())? as f64)
}

/// The most resident memory that there ever was, in bytes.
pub(super) fn most_memory() -> Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
    let kib: f64 = line.split_whitespace().next().ok_or("no VmHWM")?.parse()?;
    Ok(kib * 1024.0)
}

pub(super) fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

pub(super) fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn read(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    // A clock of CPU time is never negative.
    Duration::try_from(time).unwrap_or_default()
}
