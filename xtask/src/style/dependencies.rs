//! Invariant: nothing that does I/O, reads a clock or makes random numbers stands below `nexios-proto`.

use std::time::Duration;

use crate::process;
use crate::step::Problem;
use crate::workspace::Workspace;

const FORBIDDEN: [&str; 12] =
    ["async-std", "axum", "futures", "getrandom", "http", "hyper", "mio", "nexios", "rand", "smol", "socket2", "tokio"];

pub(super) fn check(workspace: &Workspace) -> Result<Vec<String>, Problem> {
    let mut command =
        workspace.cargo(&["tree", "-p", "nexios-proto", "-e", "normal", "--prefix", "none", "--all-features"]);
    let captured = process::capture(&mut command, Duration::from_mins(2))?;
    if !captured.success {
        return Err(Problem::failed(format!("cargo tree: {}", captured.stderr)));
    }
    Ok(forbidden(&captured.stdout))
}

fn forbidden(tree: &str) -> Vec<String> {
    let names = tree.lines().filter_map(|line| line.split(' ').next());
    names.filter(|name| FORBIDDEN.contains(name)).map(|name| format!("nexios-proto depends on {name}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runtime_below_proto_is_found() {
        assert_eq!(forbidden("nexios-proto v0.1.0 (/x)\nbytes v1.12.2\n"), [""; 0]);
        assert_eq!(forbidden("nexios-proto v0.1.0\ntokio v1.54.0\n"), ["nexios-proto depends on tokio"]);
    }
}
