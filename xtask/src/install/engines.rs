//! The servers that nodes are joined through.

use std::process::Command;
use std::time::Duration;

use crate::install::debian;
use crate::process;
use crate::step::Problem;

/// Debian's `redis-server` and `nats-server`. Their packages may start them as services, which no test wants: each
/// starts its own, on a port of its own.
pub(crate) fn present() -> Result<(), Problem> {
    for name in ["redis-server", "nats-server"] {
        let is_here = || debian::runs(name, &["--version"]);
        if is_here() {
            continue;
        }
        debian::ensure(name, &[name], is_here)?;
        switch_off(name);
    }
    Ok(())
}

/// As root or through sudo; where services are managed by nobody, as in a container, there is nothing to switch off.
fn switch_off(service: &str) {
    let off = format!("systemctl disable --now {service} || service {service} stop");
    let script = format!("if test $(id -u) = 0; then {off}; else sudo -n sh -c '{off}'; fi");
    let _ = process::capture(Command::new("sh").args(["-c", &script]), Duration::from_secs(30));
}
