//! What is different about the two servers.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Program {
    Redis,
    Nats,
}

impl Program {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Redis => "redis-server",
            Self::Nats => "nats-server",
        }
    }

    pub(crate) fn scheme(self) -> &'static str {
        match self {
            Self::Redis => "redis",
            Self::Nats => "nats",
        }
    }

    /// The command that serves at this address with data in this folder.
    ///
    /// Redis writes each change to its log before it answers, so a kill loses nothing (only the machine's end would).
    pub(crate) fn command(self, address: SocketAddr, data: &Path) -> Command {
        let (ip, port) = (address.ip().to_string(), address.port().to_string());
        let mut command = Command::new(self.name());
        match self {
            Self::Redis => {
                command.args(["--bind", &ip, "--port", &port, "--protected-mode", "no"]);
                command.args(["--save", "", "--appendonly", "yes", "--appendfsync", "no"]);
                command.arg("--dir").arg(data);
            }
            Self::Nats => {
                command.args(["--addr", &ip, "--port", &port, "--jetstream", "--store_dir"]).arg(data);
            }
        }
        command
    }

    /// Returns true if it serves: a Redis that loads its data does not.
    pub(crate) fn answers(self, address: SocketAddr) -> io::Result<bool> {
        let patience = Duration::from_secs(1);
        let mut stream = TcpStream::connect_timeout(&address, patience)?;
        stream.set_read_timeout(Some(patience))?;
        if self == Self::Redis {
            stream.write_all(b"PING\r\n")?;
        }
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line)?;
        let expected = match self {
            Self::Redis => ["+PONG", "-NOAUTH"],
            Self::Nats => ["INFO ", "INFO "],
        };
        Ok(expected.iter().any(|begin| line.starts_with(begin)))
    }
}
