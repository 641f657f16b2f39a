//! The server as a process: started on a free port, read through `/proc`, killed by its id.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::client::Client;
use super::served::{ADDRESS, PROFILE, SERVES};
use super::wire::text;

/// How long the process may take to listen.
const START: Duration = Duration::from_secs(20);

/// How many lines of its log are kept.
const LINES: usize = 100_000;

#[derive(Debug)]
pub(crate) struct Victim {
    child: Child,
    pub(crate) address: SocketAddr,
    log: Arc<Mutex<Vec<String>>>,
}

impl Victim {
    /// This test binary once more, which serves the app of that profile with one worker: then whoever is attacked shares
    /// its thread with the attacker.
    pub(crate) fn start(profile: &str) -> Self {
        let address = free_address();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", SERVES, "--nocapture"])
            .env(PROFILE, profile)
            .env(ADDRESS, address.to_string())
            // The lines of one backtrace, of a handler that panics, take 60 MiB.
            .env("RUST_BACKTRACE", "0")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Arc::default();
        let stderr = child.stderr.take().unwrap();
        let lines = Arc::clone(&log);
        thread::spawn(move || collect(stderr, &lines));
        let mut victim = Self { child, address, log };
        victim.wait_until_listening();
        victim.warm_up();
        victim
    }

    fn wait_until_listening(&mut self) {
        let deadline = Instant::now() + START;
        while TcpStream::connect(self.address).is_err() {
            assert!(self.is_alive(), "the server ended before it listened: {:?}", self.log());
            assert!(Instant::now() < deadline, "the server does not listen");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// What the first connections allocate for all that follow them, and the largest message of one, is no attack's.
    fn warm_up(&self) {
        let mut clients: Vec<_> = (0..10).map(|_| Client::upgrade(self.address, "/ws")).collect();
        for client in &mut clients {
            for len in [10, 100_000] {
                client.send(text(&"x".repeat(len)));
                assert_eq!(client.text().len(), len);
            }
        }
        for mut client in clients {
            client.send(super::wire::close(1000, ""));
            assert_eq!(client.close_code(), 1000);
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn is_alive(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// What it has written to standard error.
    pub(crate) fn log(&self) -> Vec<String> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A fresh connection echoes; returns how long that took.
    pub(crate) fn echo(&self) -> Duration {
        let began = Instant::now();
        let mut client = Client::upgrade(self.address, "/ws");
        client.send(text("still here"));
        assert_eq!(client.text(), "still here");
        began.elapsed()
    }

    /// Resident memory in bytes: counted page by page, as `VmRSS` is only near it on a kernel that counts per core.
    pub(crate) fn memory(&self) -> u64 {
        self.kib("smaps_rollup", "Rss:")
    }

    /// Resident memory once it is the same for 50 ms: what ends is freed a little later.
    pub(crate) fn settled_memory(&self) -> u64 {
        let mut last = self.memory();
        for _ in 0..40 {
            thread::sleep(Duration::from_millis(50));
            let now = self.memory();
            if now == last {
                break;
            }
            last = now;
        }
        last
    }

    /// The most that was resident since [`forget_peak`](Self::forget_peak), in bytes.
    pub(crate) fn peak(&self) -> u64 {
        self.kib("status", "VmHWM:")
    }

    pub(crate) fn forget_peak(&self) {
        // proc(5): 5 resets the peak to what is resident now.
        fs::write(format!("/proc/{}/clear_refs", self.pid()), "5").unwrap();
    }

    /// The time that all its threads were on a core.
    pub(crate) fn cpu(&self) -> Duration {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.pid())).unwrap();
        let lines = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("schedstat")).ok());
        Duration::from_nanos(lines.map(|line| first_number(&line)).sum())
    }

    /// The same, since it was `before`.
    pub(crate) fn cpu_since(&self, before: Duration) -> Duration {
        self.cpu().saturating_sub(before)
    }

    /// How often its threads went to sleep.
    pub(crate) fn sleeps(&self) -> usize {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.pid())).unwrap();
        let statuses = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("status")).ok());
        let counts = statuses.map(|status| {
            let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).unwrap();
            first_number(line) as usize
        });
        counts.sum()
    }

    pub(crate) fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.pid())).unwrap().count()
    }

    /// How many threads it has.
    pub(crate) fn threads(&self) -> usize {
        fs::read_dir(format!("/proc/{}/task", self.pid())).unwrap().count()
    }

    fn kib(&self, file: &str, name: &str) -> u64 {
        let text = fs::read_to_string(format!("/proc/{}/{file}", self.pid())).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        first_number(line) * 1024
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn collect(stderr: ChildStderr, lines: &Mutex<Vec<String>>) {
    for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
        let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() < LINES {
            lines.push(String::from_utf8_lossy(&line).into_owned());
        }
    }
}

fn free_address() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}

fn first_number(line: &str) -> u64 {
    line.split_whitespace().next().unwrap().parse().unwrap()
}
