//! The measured window: warm-up first, then the server's CPU time and the messages between two moments.

use std::time::{Duration, Instant};

use crate::Result;
use crate::process::{CpuTime, Server};
use crate::syscalls::{Calls, Tracer};

/// The duration of a load, and the option to count its system calls.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    /// Not measured.
    pub warm_up: Duration,
    /// Measured.
    pub measured: Duration,
    /// Ends the window earlier, after so many messages; an echo load sends exactly these, and hears them all.
    pub messages: Option<u64>,
    /// Count the server's system calls: slows it down many times over.
    pub trace: bool,
}

/// Watches one server while one load runs. The load calls `connected` once and then `tick` in its loop.
#[derive(Debug)]
pub struct Probe<'a> {
    server: &'a Server,
    window: Window,
    tracer: Option<Tracer>,
    connected: Instant,
    begin: Option<Mark>,
}

/// The next step of the load, as `tick` returns it.
#[derive(Debug)]
pub enum Step {
    /// Go on.
    Continue,
    /// The window begins: what was counted before does not matter.
    Begin,
    /// The window is over.
    End(Measured),
}

/// The measurements of the server's process.
#[derive(Debug)]
pub struct Measured {
    /// Messages in the window.
    pub messages: u64,
    /// Length of the window.
    pub elapsed: Duration,
    /// CPU time in user mode.
    pub user: Duration,
    /// CPU time in the kernel.
    pub system: Duration,
    /// System calls since `connected` and the messages since then, if they were asked for.
    pub calls: Option<(Calls, u64)>,
}

#[derive(Debug, Clone, Copy)]
struct Mark {
    at: Instant,
    messages: u64,
    cpu: CpuTime,
}

impl<'a> Probe<'a> {
    /// A probe for one load.
    pub fn new(server: &'a Server, window: Window) -> Self {
        Probe { server, window, tracer: None, connected: Instant::now(), begin: None }
    }

    /// The server under load.
    pub fn server(&self) -> &Server {
        self.server
    }

    /// After how many messages the window ends.
    pub fn limit(&self) -> Option<usize> {
        self.window.messages.and_then(|messages| usize::try_from(messages).ok())
    }

    /// All connections are open and nothing was sent yet: from now on time runs and system calls count.
    pub fn connected(&mut self) -> Result {
        if self.window.trace {
            self.tracer = Some(Tracer::attach(self.server.pid())?);
        }
        self.connected = Instant::now();
        Ok(())
    }

    /// Takes the count of messages so far; called about once for each wait of the load.
    pub fn tick(&mut self, now: Instant, messages: u64) -> Result<Step> {
        match self.begin {
            None if now.duration_since(self.connected) >= self.window.warm_up => {
                self.begin = Some(self.mark(messages)?);
                Ok(Step::Begin)
            }
            Some(begin) if self.is_over(begin, now, messages) => self.end(begin, messages),
            None | Some(_) => Ok(Step::Continue),
        }
    }

    fn is_over(&self, begin: Mark, now: Instant, messages: u64) -> bool {
        let enough = self.window.messages.is_some_and(|limit| messages - begin.messages >= limit);
        enough || now.duration_since(begin.at) >= self.window.measured
    }

    fn mark(&self, messages: u64) -> Result<Mark> {
        Ok(Mark { at: Instant::now(), messages, cpu: self.server.cpu_time()? })
    }

    fn end(&mut self, begin: Mark, messages: u64) -> Result<Step> {
        let end = self.mark(messages)?;
        let calls = self.tracer.take().map(Tracer::finish).transpose()?;
        let total = end.cpu.total.saturating_sub(begin.cpu.total);
        let user_ticks = (end.cpu.user_ticks - begin.cpu.user_ticks) as f64;
        let system_ticks = (end.cpu.system_ticks - begin.cpu.system_ticks) as f64;
        let user = total.mul_f64(user_ticks / (user_ticks + system_ticks).max(1.0));
        Ok(Step::End(Measured {
            messages: end.messages - begin.messages,
            elapsed: end.at - begin.at,
            user,
            system: total.saturating_sub(user),
            calls: calls.map(|calls| (calls, messages)),
        }))
    }
}
