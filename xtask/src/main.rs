//! The checks of this repository. `cargo xtask ci` is what CI runs, `cargo xtask test` its quick half, and each
//! step can be called alone.
#![allow(clippy::print_stdout, reason = "what a command prints is what it is for")]

mod autobahn;
mod browser;
mod cargo_checks;
mod deny;
mod examples;
mod features;
mod fuzz;
mod install;
mod instructions;
mod interop;
mod model;
mod nodes;
mod probe;
mod process;
mod server;
mod step;
mod style;
mod workspace;

use std::process::ExitCode;

use step::{Problem, Step};
use workspace::Workspace;

const HELP: &str = "\
usage: cargo xtask COMMAND

  ci            everything below; installs what it needs on Debian
  test          the quick half: style, fmt, clippy, tests, docs

  check-style   sizes, names and invariants (also: style)
  fmt  clippy  unit-tests  docs
  deny          licences, bans and sources of the dependencies; advisories where the database can be reached
  features      the framework with each feature alone
  model         the races of groups, in thousands of schedules
  nodes         three nodes and 300 clients through Redis and NATS, each for a minute in which everything is cut
  fuzz [--seconds N]
                each fuzz target of nexios-proto for N seconds (20), two side by side
  examples      builds every example and talks to it once
  autobahn [--cases '1.*,2.3'] [--all] [--bless]
                the Autobahn cases in both roles, of compression those with messages up to 16 KiB or --all;
                --bless writes conformance/expected from a run that passes
  interop       Python websockets, Node ws and Chromium against the server; the client against the first two
  browser       the examples with a page, chat (on one node, on two with Redis and NATS, on three behind nginx) and
                notifications, in Chromium
  instructions [--bless]
                instructions for one echo, counted by valgrind: at most 5 % more than in bench/instructions.txt

  bench [OPTIONS]
                measures Nexios and its peers and prints a table (not a part of ci); --help lists the options
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some(steps) = arguments.first().and_then(|command| steps(command, &arguments[1..])) else {
        println!("{HELP}");
        return ExitCode::from(2);
    };
    match Workspace::load() {
        Ok(workspace) => step::run_all(&workspace, steps),
        Err(problem) => {
            println!("{problem}");
            ExitCode::FAILURE
        }
    }
}

fn steps(command: &str, options: &[String]) -> Option<Vec<Step>> {
    let quick = || {
        vec![
            Step::new("style", style::run),
            Step::new("fmt", cargo_checks::fmt),
            Step::new("clippy", cargo_checks::clippy),
            Step::new("unit-tests", cargo_checks::test),
            Step::new("docs", cargo_checks::doc),
        ]
    };
    let slow = || {
        vec![
            Step::new("features", features::run),
            Step::new("model", model::run),
            Step::new("nodes", nodes::run),
            Step::new("deny", deny::run),
            step_with("fuzz", fuzz::run, options),
            Step::new("examples", examples::run),
            step_with("autobahn-server", autobahn::server_role, options),
            step_with("autobahn-client", autobahn::client_role, options),
            Step::new("interop", interop::run),
            Step::new("browser", browser::run),
            step_with("instructions", instructions::run, options),
        ]
    };
    let pick = |wanted: &str| {
        let all = quick().into_iter().chain(slow());
        let found: Vec<Step> = all.filter(|step| step.name.starts_with(wanted)).collect();
        Some(found).filter(|steps| !steps.is_empty())
    };
    match command {
        "ci" => Some(quick().into_iter().chain(slow()).collect()),
        "test" => Some(quick()),
        "check-style" => pick("style"),
        "bench" => Some(vec![bench_step(options)]),
        "style" | "fmt" | "clippy" | "unit-tests" | "docs" | "features" | "model" | "deny" | "fuzz" | "examples"
        | "autobahn" | "interop" | "nodes" | "browser" | "instructions" => pick(command),
        _ => None,
    }
}

fn bench_step(options: &[String]) -> Step {
    let options = options.to_vec();
    Step::new("bench", move |workspace| cargo_checks::bench(workspace, &options))
}

fn step_with(
    name: &'static str,
    role: fn(&Workspace, &[String]) -> Result<String, Problem>,
    options: &[String],
) -> Step {
    let options = options.to_vec();
    Step::new(name, move |workspace| role(workspace, &options))
}
