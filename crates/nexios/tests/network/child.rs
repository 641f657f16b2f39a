//! Other processes: started, read through `/proc`, sent signals, and killed when their test is over.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::waiting::wait_until;

/// Another process and what it writes to standard error.
pub(crate) struct Child {
    process: std::process::Child,
    log: Arc<Mutex<Vec<String>>>,
}

/// This binary once more, to run one of its tests: those that are no tests, but what another process does.
pub(crate) fn this_binary(role: &str) -> Command {
    in_front_of_this_binary(&[], role)
}

/// The same behind words such as `unshare --net`.
pub(crate) fn in_front_of_this_binary(words: &[&str], role: &str) -> Command {
    let exe = std::env::current_exe().unwrap();
    let mut command = match words {
        [] => Command::new(exe),
        [program, rest @ ..] => {
            let mut command = Command::new(program);
            command.args(rest).arg(exe);
            command
        }
    };
    command.args(["--exact", role, "--nocapture", "--test-threads=1"]);
    command
}

/// What is to be said when a program is not there.
pub(crate) fn missing(program: &str, package: &str) -> ! {
    panic!("this test needs the program `{program}`: on Debian, apt-get install {package}")
}

impl Child {
    pub(crate) fn start(command: &mut Command) -> Self {
        Self::try_start(command).unwrap_or_else(|error| panic!("{command:?}: {error}"))
    }

    pub(crate) fn try_start(command: &mut Command) -> std::io::Result<Self> {
        let mut process = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let log = Arc::<Mutex<Vec<String>>>::default();
        let (errors, lines) = (BufReader::new(process.stderr.take().unwrap()), Arc::clone(&log));
        std::thread::spawn(move || {
            for line in errors.lines().map_while(Result::ok) {
                lines.lock().unwrap().push(line);
            }
        });
        Ok(Self { process, log })
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.process)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// What it has written so far.
    pub(crate) fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    /// The line it wrote that holds these words, once it is there.
    pub(crate) fn line(&mut self, words: &str) -> String {
        let find = |log: &[String]| log.iter().find(|line| line.contains(words)).cloned();
        let began = Instant::now();
        loop {
            if let Some(line) = find(&self.log()) {
                return line;
            }
            let ended = self.process.try_wait().unwrap();
            let late = began.elapsed() > Duration::from_secs(15);
            assert!(ended.is_none() && !late, "no {words:?} ({ended:?}): {:#?}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits for its end, for so long.
    pub(crate) fn ended(&mut self, limit: Duration) -> ExitStatus {
        let mut status = None;
        wait_until(limit, "the process ended", || {
            status = self.process.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }

    pub(crate) fn is_alive(&mut self) -> bool {
        self.process.try_wait().unwrap().is_none()
    }

    // ---- what it holds and has used

    /// CPU time of all threads that it has.
    pub(crate) fn cpu(&self) -> Duration {
        let threads = fs::read_dir(format!("/proc/{}/task", self.id())).unwrap();
        // A thread may have ended since.
        let nanos = threads.filter_map(|thread| {
            let line = fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
            line.split_whitespace().next()?.parse::<u64>().ok()
        });
        Duration::from_nanos(nanos.sum())
    }

    /// How many threads of this name it has.
    pub(crate) fn threads(&self, name: &str) -> usize {
        let threads = fs::read_dir(format!("/proc/{}/task", self.id())).unwrap();
        let names = threads.filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("comm")).ok());
        names.filter(|comm| comm.trim_end() == name).count()
    }

    pub(crate) fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.id())).unwrap().count()
    }

    /// A line of `/proc/PID/status` in KiB: `VmRSS`, `VmHWM`.
    pub(crate) fn memory_kib(&self, name: &str) -> usize {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Both fail when it has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
