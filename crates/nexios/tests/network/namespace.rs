//! Networks of a test's own, which need no cleaning up: they end with their processes.

use std::io;
use std::process::Command;

use rustix::process::geteuid;

use crate::child::{in_front_of_this_binary, missing};
use crate::waiting::alone;

const SCENARIO: &str = "NEXIOS_NETWORK_SCENARIO";

/// Runs a scenario, which is one of this binary's tests, in a network namespace with nothing but a loopback interface. What
/// it prints in lines that begin with its name is printed.
pub(crate) fn in_a_network_of_its_own(role: &str, name: &str) {
    let _alone = alone();
    let root = geteuid().is_root();
    let words: &[&str] = if root { &["unshare", "--net"] } else { &["unshare", "--user", "--map-root-user", "--net"] };
    let mut command = in_front_of_this_binary(words, role);
    let output = match command.env(SCENARIO, name).output() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => missing("unshare", "util-linux"),
        output => output.unwrap(),
    };
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(
        !text.contains("unshare failed"),
        "this test needs the right to make network namespaces (be root, or allow user namespaces): {text}"
    );
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{told}\n{text}");
    told.lines().filter(|line| line.starts_with(name)).for_each(|line| println!("{line}"));
}

/// The name of the scenario that this process is to run, if it is to run one: its loopback interface is up.
pub(crate) fn scenario() -> Option<String> {
    let name = std::env::var(SCENARIO).ok()?;
    ip(&["link", "set", "lo", "up"]);
    Some(name)
}

pub(crate) fn ip(words: &[&str]) {
    run(Command::new("ip").args(words));
}

/// Runs a program that is `ip`, or ends in it.
pub(crate) fn run(command: &mut Command) {
    match command.output() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => missing("ip", "iproute2"),
        output => {
            let output = output.unwrap();
            assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
        }
    }
}
