//! A program that is started for a step, waited for, and stopped.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use crate::step::Problem;
use crate::{probe, process};

const START: Duration = Duration::from_secs(20);
/// The closing deadline of the framework is 5 s; a server that drains needs no more than twice that.
const STOP: Duration = Duration::from_secs(10);

pub(crate) struct Server {
    child: Child,
    name: String,
    log: PathBuf,
}

impl Server {
    /// Starts a program that listens on `port`; what it prints goes to the log file.
    pub(crate) fn start(command: &mut Command, port: u16, log: &Path) -> Result<Self, Problem> {
        let mut server = Self::spawn(command, log)?;
        let deadline = Instant::now() + START;
        while !probe::is_listening(port) {
            let ended = !matches!(server.child.try_wait(), Ok(None));
            if ended || Instant::now() > deadline {
                return Err(server.failed("does not listen on its port"));
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(server)
    }

    fn spawn(command: &mut Command, log: &Path) -> Result<Self, Problem> {
        let open = |log: &Path| {
            fs::create_dir_all(log.parent().unwrap_or(log))?;
            let file = File::create(log)?;
            Ok::<_, std::io::Error>((file.try_clone()?, file))
        };
        let (out, err) = open(log).map_err(|error| Problem::failed(format!("{}: {error}", log.display())))?;
        let name = Path::new(command.get_program()).file_name();
        let name = name.unwrap_or_default().to_string_lossy().into_owned();
        let child = process::spawn(command.stdout(out).stderr(err))?;
        Ok(Self { child, name, log: log.to_owned() })
    }

    /// SIGTERM: a server must drain and end with exit code 0.
    pub(crate) fn stop(mut self) -> Result<(), Problem> {
        process::terminate(&self.child);
        self.wait(STOP)
    }

    /// SIGHUP: a server reads its certificate again and logs that.
    pub(crate) fn reload(&mut self, expected: &str) -> Result<(), Problem> {
        process::hang_up(&self.child);
        let deadline = Instant::now() + STOP;
        while !self.log().contains(expected) {
            if Instant::now() > deadline || !matches!(self.child.try_wait(), Ok(None)) {
                return Err(self.failed(&format!("does not log {expected:?} after SIGHUP")));
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Waits for a program that ends by itself.
    pub(crate) fn wait(&mut self, limit: Duration) -> Result<(), Problem> {
        match process::wait(&mut self.child, limit) {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(self.failed(&format!("ended with {status}"))),
            Err(why) => Err(self.failed(&why)),
        }
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn failed(&self, why: &str) -> Problem {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        let tail = lines[lines.len().saturating_sub(20)..].join("\n  ");
        Problem::failed(format!("{} {why}\n  {tail}", self.name))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // One that has ended already is only collected.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn free_port() -> Result<u16, Problem> {
    let bind = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr();
    bind().map(|address| address.port()).map_err(|error| Problem::failed(format!("no free port: {error}")))
}
