//! How much memory the process may use.

use std::fs;

/// The limit of the control group (`cgroup` version 2) or the machine's memory, in bytes, whichever is less; `None` where
/// neither is told.
pub(super) fn limit() -> Option<usize> {
    control_group().into_iter().chain(machine()).min()
}

/// A limit may stand at the process's own group or at any above it.
fn control_group() -> Option<usize> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    let mut path = own.trim_end_matches('/');
    let mut least = None;
    loop {
        let file = fs::read_to_string(format!("/sys/fs/cgroup{path}/memory.max"));
        // The text is "max" where there is none.
        let limit = file.ok().and_then(|text| text.trim().parse::<usize>().ok());
        least = least.into_iter().chain(limit).min();
        match path.rfind('/') {
            Some(at) => path = &path[..at],
            None => return least,
        }
    }
}

fn machine() -> Option<usize> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes = total.trim().strip_suffix("kB")?.trim().parse::<usize>().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    #[test]
    fn this_machine_has_memory() {
        let limit = super::limit().unwrap();
        assert!(limit >= 64 * 1024 * 1024, "{limit}");
    }
}
