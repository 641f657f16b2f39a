//! A node as a process.

use std::fs::File;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Timeout of the start.
const PATIENCE: Duration = Duration::from_secs(15);

pub(crate) struct NodeProcess {
    pub(crate) address: SocketAddr,
    /// In front of the program: `unshare --net`.
    words: Vec<String>,
    arguments: [String; 2],
    log: PathBuf,
    process: Option<Child>,
}

impl NodeProcess {
    /// A node that is not started yet.
    pub(crate) fn new(words: &[&str], arguments: [String; 2], address: SocketAddr) -> Self {
        let name = format!("nexios-node-{}-{}.log", std::process::id(), address.port());
        let words = words.iter().map(|word| (*word).to_owned()).collect();
        Self { address, words, arguments, log: std::env::temp_dir().join(name), process: None }
    }

    pub(crate) fn start(&mut self) {
        let node = env!("CARGO_BIN_EXE_storm-node").to_owned();
        let mut line = self.words.clone();
        line.push(node);
        let log = File::options().create(true).append(true).open(&self.log).unwrap();
        let mut command = Command::new(&line[0]);
        command.args(&line[1..]).args(&self.arguments);
        command.env("NEXIOS_HOST", self.address.ip().to_string()).env("NEXIOS_PORT", self.address.port().to_string());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.process = Some(command.spawn().unwrap());
    }

    pub(crate) fn wait_until_it_listens(&self) {
        let began = Instant::now();
        while TcpStream::connect_timeout(&self.address, Duration::from_millis(200)).is_err() {
            assert!(began.elapsed() < PATIENCE, "no node at {}: {}", self.address, self.log_text());
            thread::sleep(Duration::from_millis(10));
        }
    }

    pub(crate) fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    pub(crate) fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    fn signal(&self, signal: Signal) {
        if let Some(process) = &self.process {
            kill_process(Pid::from_child(process), signal).unwrap();
        }
    }

    fn log_text(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for NodeProcess {
    fn drop(&mut self) {
        self.kill();
        // What a node has to say is of interest when its test fails.
        if thread::panicking() {
            let text = self.log_text();
            let last = text.lines().rev().take(30).collect::<Vec<_>>();
            println!("the last lines of the node at {}:", self.address);
            last.iter().rev().for_each(|line| println!("  {line}"));
        }
        let _ = std::fs::remove_file(&self.log);
    }
}
