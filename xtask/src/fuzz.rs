//! The fuzz targets of `nexios-proto`, for a while each, from the committed corpus on.
//!
//! `RUSTC_BOOTSTRAP` lets the one toolchain of this repository instrument the code, and check addresses.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use crate::install::fuzzer;
use crate::process;
use crate::step::{Outcome, Problem};
use crate::workspace::Workspace;

const TARGETS: [&str; 4] = ["frames", "connection", "deflate", "handshake"];
/// Number of targets that run concurrently.
const AT_ONCE: usize = 2;
const SECONDS: u64 = 20;
const BUILD_LIMIT: Duration = Duration::from_mins(15);
/// Time for loading a corpus and writing a crash, beyond the time for running.
const GRACE: Duration = Duration::from_mins(3);
/// Lines of a crash that are shown.
const SHOWN: usize = 60;

pub(crate) fn run(workspace: &Workspace, options: &[String]) -> Outcome {
    let seconds = seconds(options)?;
    let fuzzer = Fuzzer { program: fuzzer::program(workspace)?, workspace, seconds };
    lint(workspace)?;
    process::run(&mut fuzzer.command("build"), BUILD_LIMIT)?;
    let results: Vec<Outcome> = TARGETS.chunks(AT_ONCE).flat_map(|targets| fuzzer.side_by_side(targets)).collect();
    let failed: Vec<String> = results.iter().filter_map(|result| Some(result.as_ref().err()?.to_string())).collect();
    if !failed.is_empty() {
        return Err(Problem::failed(failed.join("; ")));
    }
    Ok(results.into_iter().flatten().collect::<Vec<_>>().join("; "))
}

/// The targets are a workspace of their own, where the other steps do not come.
fn lint(workspace: &Workspace) -> Result<(), Problem> {
    const MANIFEST: [&str; 2] = ["--manifest-path", "fuzz/Cargo.toml"];
    let mut fmt = workspace.cargo(&["fmt"]);
    process::run(fmt.args(MANIFEST).args(["--", "--check"]), BUILD_LIMIT)?;
    let mut clippy = workspace.cargo(&["clippy"]);
    clippy.args(MANIFEST).arg("--target-dir").arg(workspace.target("fuzz"));
    process::run(clippy.args(["--", "-D", "warnings"]), BUILD_LIMIT)
}

/// The value of `--seconds`.
fn seconds(options: &[String]) -> Result<u64, Problem> {
    let Some(at) = options.iter().position(|option| option == "--seconds") else { return Ok(SECONDS) };
    let value = options.get(at + 1).map_or("nothing", String::as_str);
    let seconds = value.parse().ok().filter(|seconds| (1..=86_400).contains(seconds));
    seconds.ok_or_else(|| Problem::failed(format!("--seconds takes a number from 1 to 86400, here is {value}")))
}

struct Fuzzer<'a> {
    program: PathBuf,
    workspace: &'a Workspace,
    seconds: u64,
}

impl Fuzzer<'_> {
    fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.args(["fuzz", verb, "--sanitizer", "address", "--target-dir"]).arg(self.workspace.target("fuzz"));
        command.env("RUSTC_BOOTSTRAP", "1").current_dir(&self.workspace.root);
        command
    }

    fn side_by_side(&self, targets: &[&str]) -> Vec<Outcome> {
        thread::scope(|scope| {
            let threads: Vec<_> = targets.iter().map(|target| scope.spawn(|| self.fuzz(target))).collect();
            let ended = |thread: thread::ScopedJoinHandle<'_, Outcome>| {
                thread.join().unwrap_or(Err(Problem::failed("panicked")))
            };
            threads.into_iter().map(ended).collect()
        })
    }

    fn fuzz(&self, target: &str) -> Outcome {
        let mut command = self.command("run");
        // What is found goes to the first folder: the committed corpus stays as it is.
        let found = self.workspace.work("fuzz").join(target);
        fs::create_dir_all(&found).map_err(|error| Problem::failed(format!("{}: {error}", found.display())))?;
        command.arg(target).args([&found, &self.committed(target)]).arg("--");
        command.args(["-timeout=10", "-rss_limit_mb=1024", "-print_final_stats=1"]);
        command.arg(format!("-max_total_time={}", self.seconds));
        let dictionary = self.workspace.root.join(format!("fuzz/{target}.dict"));
        if dictionary.exists() {
            command.arg(format!("-dict={}", dictionary.display()));
        }
        let captured = process::capture(&mut command, Duration::from_secs(self.seconds) + GRACE)?;
        if !captured.success {
            println!("{}", report(target, &captured.stderr));
            return Err(Problem::failed(format!("{target} crashed, see above")));
        }
        let figures = format!("{target} {}", figures(&captured.stderr));
        println!("{figures}");
        Ok(figures)
    }

    fn committed(&self, target: &str) -> PathBuf {
        self.workspace.root.join("fuzz/corpus").join(target)
    }
}

/// Runs and edges of the code, from what libFuzzer prints last.
fn figures(stderr: &str) -> String {
    let after = |line: &str, mark: &str| Some(line.split_once(mark)?.1.split_whitespace().next()?.to_owned());
    let last = |mark: &str| stderr.lines().rev().find_map(|line| after(line, mark)).unwrap_or_else(|| "?".to_owned());
    format!("{} runs, {} edges", last("stat::number_of_executed_units:"), last(" cov: "))
}

/// A crash: what was said, the input, and how to see it again.
fn report(target: &str, stderr: &str) -> String {
    let lines: Vec<&str> = stderr.lines().collect();
    let marks = ["panicked at", "ERROR: ", "error: ", "memory allocation of"];
    let start = lines.iter().position(|line| marks.iter().any(|mark| line.contains(mark)));
    let start = start.unwrap_or(lines.len().saturating_sub(SHOWN));
    let said = lines[start..].iter().take(SHOWN).copied().collect::<Vec<_>>().join("\n");
    // The last: a slow one may have been written before.
    let Some(path) =
        lines.iter().rev().find_map(|line| line.split_once("Test unit written to ")).map(|(_, path)| path.trim())
    else {
        return format!("{target}:\n{said}");
    };
    let input = fs::read(Path::new(path)).unwrap_or_default();
    format!(
        "{target}:\n{said}\n\nThe input, which is in {path} too:\n\n    b\"{}\"\n\nTo see it again:\n\n    \
         RUSTC_BOOTSTRAP=1 cargo fuzz run {target} {path}\n",
        input.escape_ascii()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_a_number_that_ends() {
        let seconds =
            |options: &[&str]| seconds(&options.iter().map(|&option| option.to_owned()).collect::<Vec<_>>()).ok();
        assert_eq!(seconds(&[]), Some(SECONDS));
        assert_eq!(seconds(&["--seconds", "1200"]), Some(1200));
        for bad in [&["--seconds"][..], &["--seconds", "0"], &["--seconds", "-1"], &["--seconds", "long"]] {
            assert_eq!(seconds(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn the_last_figures_count() {
        let stderr = "#3\tINITED cov: 944 ft: 1098\n#296988\tDONE   cov: 1543 ft: 4130\n\
                      stat::number_of_executed_units: 296988\n";
        assert_eq!(figures(stderr), "296988 runs, 1543 edges");
        assert_eq!(figures(""), "? runs, ? edges");
    }

    #[test]
    fn a_report_has_what_was_said_and_the_input() {
        let path = std::env::temp_dir().join(format!("nexios-crash-{}", std::process::id()));
        fs::write(&path, b"\x81\"a").unwrap();
        let stderr = format!("INFO: Seed\nthread panicked at x.rs\n; Test unit written to {}\n", path.display());
        let text = report("frames", &stderr);
        fs::remove_file(&path).unwrap();
        assert!(text.starts_with("frames:\nthread panicked at x.rs"), "{text}");
        assert!(text.contains(r#"b"\x81\"a""#) && text.contains("cargo fuzz run frames "), "{text}");
    }
}
