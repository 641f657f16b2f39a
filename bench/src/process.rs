//! A server as a process: started on its cores, read through `/proc`, killed by its id.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{CpuSet, sched_setaffinity};

use crate::Result;

/// Timeout of a server's start, and of its end.
const START_DEADLINE: Duration = Duration::from_secs(20);

/// The command that starts a server: the port follows `before`, `after` follows the port.
#[derive(Debug, Clone)]
pub struct Program {
    /// The executable.
    pub path: PathBuf,
    /// Arguments before the port.
    pub before: Vec<String>,
    /// Arguments after the port.
    pub after: Vec<String>,
    /// The cores it may use.
    pub cores: Vec<usize>,
}

/// A running server, killed when dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
    address: SocketAddr,
}

/// CPU time used so far.
#[derive(Debug, Clone, Copy, Default)]
pub struct CpuTime {
    /// All of it, to the nanosecond.
    pub total: Duration,
    /// Clock ticks in user mode: coarse, good for the proportion.
    pub user_ticks: u64,
    /// Clock ticks in the kernel, likewise.
    pub system_ticks: u64,
}

impl Server {
    /// Starts the program on a free port of the loopback interface and waits until it accepts.
    pub fn start(program: &Program, load_core: usize) -> Result<Self> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
        // A child starts on the cores of the thread that starts it, so every thread of the server inherits them.
        pin(&program.cores)?;
        let child = Command::new(&program.path)
            .args(&program.before)
            .arg(address.port().to_string())
            .args(&program.after)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        pin(&[load_core])?;
        let child = child.map_err(|error| format!("{}: {error}", program.path.display()))?;
        let mut server = Server { child, address };
        server.wait_until_listening()?;
        Ok(server)
    }

    fn wait_until_listening(&mut self) -> Result {
        let deadline = Instant::now() + START_DEADLINE;
        while Instant::now() < deadline {
            if TcpStream::connect(self.address).is_ok() {
                // It has this connection to end and its first buffers to allocate.
                thread::sleep(Duration::from_millis(200));
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                return Err(format!("the server ended before it listened: {status}").into());
            }
            thread::sleep(Duration::from_millis(20));
        }
        Err("the server does not listen".into())
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// CPU time of all its threads.
    pub fn cpu_time(&self) -> Result<CpuTime> {
        let pid = self.pid();
        let mut nanos = 0;
        for task in fs::read_dir(format!("/proc/{pid}/task"))? {
            // A thread can end between the listing and the reading.
            let Ok(line) = fs::read_to_string(task?.path().join("schedstat")) else {
                continue;
            };
            nanos += number(&line, 0)?;
        }
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // proc(5): the second field, the name, may hold spaces; utime and stime are the 14th and 15th.
        let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        Ok(CpuTime {
            total: Duration::from_nanos(nanos),
            user_ticks: number(after_name, 11)?,
            system_ticks: number(after_name, 12)?,
        })
    }

    /// Resident memory in bytes: counted page by page, as `VmRSS` is only near it on a kernel that counts per core.
    pub fn resident(&self) -> Result<u64> {
        resident(self.pid())
    }

    /// Number of open file descriptors.
    pub fn descriptors(&self) -> Result<usize> {
        Ok(fs::read_dir(format!("/proc/{}/fd", self.pid()))?.count())
    }
}

impl Server {
    /// Asks it to end, and waits until it has.
    pub fn stop(mut self) -> Result {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw).ok_or("no process id")?;
        kill_process(pid, Signal::TERM)?;
        let deadline = Instant::now() + START_DEADLINE;
        while self.child.try_wait()?.is_none() {
            if Instant::now() > deadline {
                return Err("the server does not end".into());
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both only fail when it has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Resident memory of a process in bytes.
pub fn resident(pid: u32) -> Result<u64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Rss:")).ok_or("no Rss")?;
    Ok(number(line, 0)? * 1024)
}

/// Binds the calling thread, and what it starts from now on, to these cores.
pub fn pin(cores: &[usize]) -> Result {
    let mut set = CpuSet::new();
    for core in cores {
        set.set(*core);
    }
    sched_setaffinity(None, &set).map_err(|error| format!("cores {cores:?}: {error}"))?;
    Ok(())
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

fn number(text: &str, field: usize) -> Result<u64> {
    let word = text.split_whitespace().nth(field).ok_or("a field is missing in /proc")?;
    Ok(word.parse()?)
}
