//! Runs programs for a bounded time.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::step::Problem;

const POLL: Duration = Duration::from_millis(20);

/// Runs to the end, with this process's output. Past the limit the program and all that it started are killed.
pub(crate) fn run(command: &mut Command, limit: Duration) -> Result<(), Problem> {
    println!("$ {}", shown(command));
    let mut child = spawn(command.process_group(0))?;
    let status = wait(&mut child, limit)
        .inspect_err(|_| kill_group(&mut child))
        .map_err(|why| Problem::failed(format!("{} {why}", shown(command))))?;
    if status.success() { Ok(()) } else { Err(Problem::failed(format!("{} ended with {status}", shown(command)))) }
}

pub(crate) struct Captured {
    pub(crate) success: bool,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Like [`run`], but keeps what the program prints and leaves its exit code to the caller.
pub(crate) fn capture(command: &mut Command, limit: Duration) -> Result<Captured, Problem> {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = spawn(command.process_group(0))?;
    let stdout = collect(child.stdout.take());
    let stderr = collect(child.stderr.take());
    let status = wait(&mut child, limit)
        .inspect_err(|_| kill_group(&mut child))
        .map_err(|why| Problem::failed(format!("{} {why}", shown(command))))?;
    Ok(Captured {
        success: status.success(),
        stdout: stdout.join().unwrap_or_default(),
        stderr: stderr.join().unwrap_or_default(),
    })
}

/// Runs programs that mostly wait side by side, each to its end, and then shows what they have printed.
pub(crate) fn run_together(commands: &mut [Command], limit: Duration) -> Result<(), Problem> {
    let shown: Vec<_> = commands.iter().map(shown).collect();
    let ended: Vec<_> = thread::scope(|threads| {
        let running: Vec<_> =
            commands.iter_mut().map(|command| threads.spawn(move || capture(command, limit))).collect();
        running.into_iter().map(thread::ScopedJoinHandle::join).collect()
    });
    let mut outcome = Ok(());
    for (shown, ended) in shown.into_iter().zip(ended) {
        println!("$ {shown}");
        let ended = ended.unwrap_or_else(|_| Err(Problem::failed(format!("{shown} was lost"))));
        let passed = ended.and_then(|captured| {
            println!("{}{}", captured.stdout, captured.stderr);
            if captured.success { Ok(()) } else { Err(Problem::failed(format!("{shown} failed"))) }
        });
        outcome = outcome.and(passed);
    }
    outcome
}

/// Starts a program; one that is not there is a thing that is missing.
pub(crate) fn spawn(command: &mut Command) -> Result<Child, Problem> {
    command.stdin(Stdio::null());
    command.spawn().map_err(|error| Problem::missing(format!("{}: {error}", shown(command))))
}

pub(crate) fn wait(child: &mut Child, limit: Duration) -> Result<ExitStatus, String> {
    let deadline = Instant::now() + limit;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Ok(status),
            Ok(None) if Instant::now() < deadline => thread::sleep(POLL),
            Ok(None) => return Err(format!("took longer than {} s", limit.as_secs())),
            Err(error) => return Err(format!("cannot be waited for: {error}")),
        }
    }
}

/// Sends SIGTERM to one process.
pub(crate) fn terminate(child: &Child) {
    signal(&format!("kill -s TERM {}", child.id()));
}

/// Sends SIGHUP to one process.
pub(crate) fn hang_up(child: &Child) {
    signal(&format!("kill -s HUP {}", child.id()));
}

fn kill_group(child: &mut Child) {
    signal(&format!("kill -s KILL -- -{}", child.id()));
    // The exit status is of no interest any more; this only takes the zombie away.
    let _ = child.wait();
}

/// The shell's built-in `kill`: the standard library sends no signals, and `/bin/kill` is not on every machine.
fn signal(kill: &str) {
    let _ = Command::new("sh").args(["-c", kill]).stderr(Stdio::null()).status();
}

fn collect(pipe: Option<impl Read + Send + 'static>) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            // What could be read until the error is still worth showing.
            let _ = pipe.read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

fn shown(command: &Command) -> String {
    let name = std::path::Path::new(command.get_program()).file_name().unwrap_or_default();
    let words = std::iter::once(name).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_program_that_fails_is_a_failure_with_its_exit_code() {
        let problem = run(&mut sh("exit 3"), Duration::from_secs(10)).unwrap_err();
        assert!(problem.to_string().contains("exit status: 3"), "{problem}");
    }

    #[test]
    fn a_program_that_takes_too_long_is_killed_with_what_it_started() {
        let began = Instant::now();
        let captured = capture(&mut sh("sleep 30 & sleep 30"), Duration::from_millis(100));
        assert!(captured.is_err());
        assert!(began.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn of_programs_side_by_side_one_that_fails_is_a_failure() {
        let limit = Duration::from_secs(10);
        assert!(run_together(&mut [sh("true"), sh("true")], limit).is_ok());
        assert!(run_together(&mut [sh("exit 1"), sh("true")], limit).is_err());
        assert!(run_together(&mut [sh("true"), Command::new("no-such-program-anywhere")], limit).is_err());
    }

    #[test]
    fn what_a_program_prints_is_kept() {
        let captured = capture(&mut sh("echo out; echo err >&2"), Duration::from_secs(10)).unwrap();
        assert!(captured.success);
        assert_eq!((captured.stdout.as_str(), captured.stderr.as_str()), ("out\n", "err\n"));
    }

    #[test]
    fn a_program_that_is_not_there_is_missing() {
        let mut command = Command::new("no-such-program-anywhere");
        let problem = run(&mut command, Duration::from_secs(1)).unwrap_err();
        assert!(matches!(problem, Problem::Missing(_)));
    }
}
