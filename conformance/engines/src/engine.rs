//! A server that runs.

use std::fs::{self, File};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::folder::Folder;
use crate::port::free_port;
use crate::setup::Setup;

/// Timeout of a server's replies.
const PATIENCE: Duration = Duration::from_secs(15);

/// Number of attempts to find a free port: another process may take it between the search and the start.
const ATTEMPTS: u32 = 5;

/// A server, which is killed when this is dropped, with its data.
#[derive(Debug)]
pub struct Engine {
    setup: Setup,
    address: SocketAddr,
    folder: Folder,
    process: Option<Child>,
}

impl Engine {
    /// Starts a Redis server: [`Setup::redis`] with nothing changed.
    pub fn redis() -> Self {
        Setup::redis().start()
    }

    /// Starts a NATS server with JetStream: [`Setup::nats`] with nothing changed.
    pub fn nats() -> Self {
        Setup::nats().start()
    }

    pub(crate) fn start(setup: &Setup) -> Self {
        let mut attempt = 1;
        loop {
            let port = setup.port.unwrap_or_else(|| free_port(setup.ip));
            let address = SocketAddr::new(setup.ip, port);
            let mut engine = Self { setup: setup.clone(), address, folder: Folder::new(), process: None };
            match engine.launch() {
                Ok(()) => return engine,
                Err(why) if attempt == ATTEMPTS || setup.port.is_some() => panic!("{why}"),
                Err(_) => attempt += 1,
            }
        }
    }

    /// `redis://127.0.0.1:PORT`, or `nats://…`.
    pub fn url(&self) -> String {
        format!("{}://{}", self.setup.program.scheme(), self.address)
    }

    /// Where it listens; the same after a restart.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The port of [`address`](Self::address).
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// The number of its process, while it has one.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Child::id)
    }

    /// Where it keeps its data.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The log of the server since its last start.
    pub fn log(&self) -> String {
        fs::read(self.log_file()).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// Stops it in the middle of what it does (SIGSTOP): connections stay, and nobody answers.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on after [`freeze`](Self::freeze).
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// Kills it (SIGKILL), frozen or not. Its data stay.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            // Both fail when it has ended already.
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Starts it again on the same port with the data that it had; kills it first if it runs. Waits until it answers.
    ///
    /// # Panics
    ///
    /// When it does not answer within 15 s.
    pub fn restart(&mut self) {
        self.kill();
        self.launch().unwrap_or_else(|why| panic!("{why}"));
    }

    /// As [`restart`](Self::restart), without its data: another server at the same address.
    ///
    /// # Panics
    ///
    /// As [`restart`](Self::restart).
    pub fn restart_empty(&mut self) {
        self.kill();
        self.folder.empty();
        self.restart();
    }

    fn signal(&self, signal: Signal) {
        let Some(process) = &self.process else { return };
        // A process that has ended is seen by whoever wants something of it.
        let _ = kill_process(Pid::from_child(process), signal);
    }

    fn log_file(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    fn launch(&mut self) -> Result<(), String> {
        let program = self.setup.program;
        let child = self.spawn().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => format!("this test needs {0}: on Debian, apt-get install {0}", program.name()),
            _ => format!("{}: {error}", program.name()),
        })?;
        self.process = Some(child);
        self.wait_until_it_answers().map_err(|why| {
            self.kill();
            format!("{} at {} {why}: {}", program.name(), self.address, self.log())
        })
    }

    fn spawn(&self) -> io::Result<Child> {
        let data = self.data();
        fs::create_dir_all(&data)?;
        let log = File::create(self.log_file())?;
        let mut command = self.setup.program.command(self.address, Path::new(&data));
        command.args(&self.setup.arguments).current_dir(&data);
        if let Some(text) = &self.setup.configuration {
            let file = self.folder.path().join("configuration");
            fs::write(&file, text)?;
            command.arg("--config").arg(file);
        }
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()
    }

    fn wait_until_it_answers(&mut self) -> Result<(), String> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(status) = self.process.as_mut().and_then(|process| process.try_wait().ok().flatten()) {
                return Err(format!("ended with {status}"));
            }
            if self.setup.program.answers(self.address).unwrap_or(false) {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(5));
        }
        Err(format!("does not answer within {} s", PATIENCE.as_secs()))
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.kill();
    }
}
