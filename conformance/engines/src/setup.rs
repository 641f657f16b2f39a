//! How a server is started.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr};

use crate::Engine;
use crate::program::Program;

/// A server that is not started yet.
#[must_use]
#[derive(Clone, Debug)]
pub struct Setup {
    pub(crate) program: Program,
    pub(crate) ip: IpAddr,
    pub(crate) port: Option<u16>,
    pub(crate) arguments: Vec<OsString>,
    pub(crate) configuration: Option<String>,
}

impl Setup {
    /// A Redis server at 127.0.0.1 that keeps its data when it is killed.
    pub fn redis() -> Self {
        Self::new(Program::Redis)
    }

    /// A NATS server at 127.0.0.1 with JetStream.
    pub fn nats() -> Self {
        Self::new(Program::Nats)
    }

    fn new(program: Program) -> Self {
        Self { program, ip: Ipv4Addr::LOCALHOST.into(), port: None, arguments: Vec::new(), configuration: None }
    }

    /// Another address of this machine.
    pub fn ip(mut self, ip: impl Into<IpAddr>) -> Self {
        self.ip = ip.into();
        self
    }

    /// This port, which [`free_port`](crate::free_port) may have found. Without it one is found that is free.
    pub fn port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// One more word of the command line, behind those that the server always has: `--requirepass`, `secret`.
    pub fn argument(mut self, word: impl Into<OsString>) -> Self {
        self.arguments.push(word.into());
        self
    }

    /// Several words at once.
    pub fn arguments<W: Into<OsString>>(mut self, words: impl IntoIterator<Item = W>) -> Self {
        self.arguments.extend(words.into_iter().map(Into::into));
        self
    }

    /// The text of a file of configuration, for a NATS server. The command line counts more.
    pub fn configuration(mut self, text: impl Into<String>) -> Self {
        self.configuration = Some(text.into());
        self
    }

    /// Starts it and waits until it answers.
    ///
    /// # Panics
    ///
    /// When the program is not installed, or does not answer within 15 s.
    pub fn start(self) -> Engine {
        Engine::start(&self)
    }
}
