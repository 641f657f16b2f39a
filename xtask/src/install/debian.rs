//! Debian packages, as root or through sudo.

use std::process::Command;
use std::time::Duration;

use crate::process;
use crate::step::Problem;

/// Does nothing when `present` says so, or else installs the packages and asks again.
pub(crate) fn ensure(what: &str, packages: &[&str], present: impl Fn() -> bool) -> Result<(), Problem> {
    if present() {
        return Ok(());
    }
    println!("{what} is not here, installing {}", packages.join(" "));
    install(packages).map_err(|why| Problem::missing(format!("{what}: {why}")))?;
    if present() {
        Ok(())
    } else {
        Err(Problem::missing(format!("{what}, also after installing {}", packages.join(" "))))
    }
}

/// Returns true if a program can be run.
pub(crate) fn runs(program: &str, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(arguments);
    process::capture(&mut command, Duration::from_secs(30)).is_ok_and(|c| c.success)
}

fn install(packages: &[&str]) -> Result<(), String> {
    if !runs("apt-get", &["--version"]) {
        return Err(format!("install {} by hand, this is no Debian", packages.join(" ")));
    }
    let prefix: &[&str] = match (runs("sh", &["-c", "test $(id -u) = 0"]), runs("sudo", &["-n", "true"])) {
        (true, _) => &[],
        (false, true) => &["sudo", "-n"],
        (false, false) => {
            return Err(format!("run apt-get install {} as root", packages.join(" ")));
        }
    };
    let apt = |arguments: &[&str], limit: u64| {
        let options = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq"];
        let words: Vec<&str> = [prefix, &options, arguments].concat();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]);
        process::run(&mut command, Duration::from_secs(limit)).map_err(|why| why.to_string())
    };
    apt(&["update"], 180)?;
    let arguments = [&["install", "-y", "--no-install-recommends"], packages].concat();
    apt(&arguments, 600)
}
