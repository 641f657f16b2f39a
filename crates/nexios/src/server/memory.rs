//! How much memory the process may use.

use std::fs;

/// The limit of the control group or the machine's memory, in bytes, whichever is less; `None` where
/// neither is told.
pub(super) fn limit() -> Option<usize> {
    control_group().into_iter().chain(machine()).min()
}

/// Version 2 has one hierarchy; version 1 has one for memory, and a number that is no limit where there is none.
fn control_group() -> Option<usize> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let of = |line: &str| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?);
        match controllers {
            "" => least_above("/sys/fs/cgroup", path, "memory.max"),
            _ if controllers.split(',').any(|one| one == "memory") => {
                least_above("/sys/fs/cgroup/memory", path, "memory.limit_in_bytes")
            }
            _ => None,
        }
    };
    groups.lines().filter_map(of).min()
}

/// A limit may stand at the process's own group or at any above it.
fn least_above(root: &str, path: &str, file: &str) -> Option<usize> {
    let mut path = path.trim_end_matches('/');
    let mut least = None;
    loop {
        let text = fs::read_to_string(format!("{root}{path}/{file}"));
        // The text is "max" where there is none.
        let limit = text.ok().and_then(|text| text.trim().parse::<usize>().ok());
        least = least.into_iter().chain(limit).min();
        let Some(at) = path.rfind('/') else { return least };
        path = &path[..at];
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
