//! The Python environment that `conformance/requirements.txt` pins, and the Autobahn case definitions.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::install::debian;
use crate::process;
use crate::step::Problem;
use crate::workspace::Workspace;

const CASES: &str = "autobahntestsuite";
const CASES_VERSION: &str = "25.10.1";
const CASES_SHA256: &str = "b083d6e15330fc16f3e5f0975cce2b15f21bfa0c6db09547316b1852c6dbd6df";
const LIMIT: Duration = Duration::from_mins(5);

/// Makes the virtual environment when it is not there or not of today's requirements; returns its `python`.
pub(crate) fn environment(workspace: &Workspace) -> Result<PathBuf, Problem> {
    debian::ensure("python3 with venv", &["python3", "python3-venv"], || {
        debian::runs("python3", &["-c", "import venv, ensurepip"])
    })?;
    let folder = workspace.work("venv");
    let python = folder.join("bin/python");
    let requirements = workspace.conformance("requirements.txt");
    let wanted = fs::read_to_string(&requirements)
        .map_err(|error| Problem::failed(format!("{}: {error}", requirements.display())))?;
    // A copy of the requirements is written last: it shows that all of them were installed.
    let stamp = folder.join("installed-requirements.txt");
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(python);
    }
    let missing = |why: Problem| Problem::missing(format!("Python packages: {why}"));
    let mut venv = Command::new("python3");
    process::run(venv.args(["-m", "venv", "--clear"]).arg(&folder), LIMIT).map_err(missing)?;
    let mut pip = pip(&python);
    process::run(pip.args(["install", "-r"]).arg(&requirements), LIMIT).map_err(missing)?;
    fs::write(&stamp, wanted).map_err(|error| Problem::failed(format!("{}: {error}", stamp.display())))?;
    Ok(python)
}

/// The sdist that holds the case definitions, verified.
pub(crate) fn autobahn_cases(workspace: &Workspace) -> Result<PathBuf, Problem> {
    let python = environment(workspace)?;
    let folder = workspace.work("autobahn");
    let sdist = folder.join(format!("{CASES}-{CASES_VERSION}.tar.gz"));
    if !is_intact(&python, &sdist) {
        let mut pip = pip(&python);
        pip.args(["download", "--no-deps", "--no-binary", ":all:", "-d"]);
        pip.arg(&folder).arg(format!("{CASES}=={CASES_VERSION}"));
        process::run(&mut pip, LIMIT).map_err(|why| Problem::missing(format!("Autobahn cases: {why}")))?;
    }
    if is_intact(&python, &sdist) {
        Ok(sdist)
    } else {
        Err(Problem::failed(format!("{} has not the pinned checksum", sdist.display())))
    }
}

fn is_intact(python: &PathBuf, sdist: &PathBuf) -> bool {
    let script = "import hashlib, sys\n\
                  print(hashlib.sha256(open(sys.argv[1], 'rb').read()).hexdigest())";
    let mut command = Command::new(python);
    command.args(["-c", script]).arg(sdist);
    process::capture(&mut command, LIMIT).is_ok_and(|c| c.stdout.trim() == CASES_SHA256)
}

fn pip(python: &PathBuf) -> Command {
    let mut command = Command::new(python);
    command.args(["-m", "pip", "--quiet", "--disable-pip-version-check"]);
    command
}
