//! What an engine alone takes to hand a publication on, without any node: the bound of what goes through one.

use std::fmt::Write as _;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::setup::{Folder, Through, engine as program};
use crate::Result;
use crate::peer::LOAD_CORE;
use crate::process::Server;
use crate::table::grouped;

/// Numbers of subscribers.
const SUBSCRIBERS: [usize; 4] = [0, 1, 5, 20];
/// Published at once, as a busy node does.
const BATCH: usize = 64;
const LENGTH: usize = 100;
const DEADLINE: Duration = Duration::from_secs(5);

/// A Markdown table: CPU time of the engine for one publication of 100 B, by the number of nodes that subscribe.
pub fn engines(measured: Duration) -> Result<String> {
    let mut text =
        String::from("| CPU µs of the engine each, subscribing nodes: | 0 | 1 | 5 | 20 |\n|---|---:|---:|---:|---:|\n");
    for through in [Through::Redis, Through::Nats] {
        let _ = write!(text, "| {through:?} |");
        for subscribers in SUBSCRIBERS {
            let _ = write!(text, " {} |", grouped(each(through, subscribers, measured)?, 2));
        }
        text.push('\n');
    }
    Ok(text)
}

fn each(through: Through, subscribers: usize, measured: Duration) -> Result<f64> {
    let folder = Folder::new()?;
    let server = Server::start(&program(through, Some(&folder)).ok_or("no engine")?, LOAD_CORE)?;
    let subscribe = if through == Through::Nats { "SUB room 1\r\nPING\r\n" } else { "SUBSCRIBE room\r\n" };
    let mut listening = Vec::new();
    for _ in 0..subscribers {
        let mut socket = connect(through, server.address())?;
        socket.write_all(subscribe.as_bytes())?;
        let _ = socket.read(&mut [0; 1024])?;
        socket.set_nonblocking(true)?;
        listening.push(socket);
    }
    let mut source = connect(through, server.address())?;
    let (batch, answers) = publications(through);
    let (before, began, mut published) = (server.cpu_time()?.total, Instant::now(), 0);
    let mut buffer = vec![0; 64 << 10];
    while began.elapsed() < measured {
        source.write_all(&batch)?;
        let mut lines = 0;
        while lines < answers {
            let count = source.read(&mut buffer)?;
            // The last piece has no end yet.
            lines += buffer[..count].split(|byte| *byte == b'\n').count() - 1;
        }
        for socket in &mut listening {
            drain(socket, &mut buffer)?;
        }
        published += BATCH;
    }
    let used = server.cpu_time()?.total.saturating_sub(before);
    Ok(used.as_secs_f64() * 1e6 / published as f64)
}

/// A batch, and how many lines answer it.
fn publications(through: Through) -> (Vec<u8>, usize) {
    let payload = "x".repeat(LENGTH);
    if through == Through::Nats {
        let batch = format!("PUB room {LENGTH}\r\n{payload}\r\n").repeat(BATCH) + "PING\r\n";
        return (batch.into_bytes(), 1);
    }
    let one = format!("*3\r\n$7\r\nPUBLISH\r\n$4\r\nroom\r\n${LENGTH}\r\n{payload}\r\n");
    (one.repeat(BATCH).into_bytes(), BATCH)
}

fn connect(through: Through, server: SocketAddr) -> Result<TcpStream> {
    let mut socket = TcpStream::connect(server)?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(DEADLINE))?;
    if through == Through::Nats {
        socket.write_all(b"CONNECT {\"verbose\":false}\r\nPING\r\n")?;
        let (mut heard, mut buffer) = (Vec::new(), [0; 1024]);
        while !heard.ends_with(b"PONG\r\n") {
            let count = socket.read(&mut buffer)?;
            heard.extend_from_slice(&buffer[..count]);
        }
    }
    Ok(socket)
}

fn drain(socket: &mut TcpStream, buffer: &mut [u8]) -> Result {
    loop {
        match socket.read(buffer) {
            Ok(0) => return Err("the engine closed a subscriber".into()),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}
