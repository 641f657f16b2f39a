//! What the server holds, each second.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::within;
use crate::Result;
use crate::process::Server;

/// At one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample {
    pub(super) at: Duration,
    /// Resident memory in KiB.
    pub(super) memory: u64,
    pub(super) descriptors: usize,
    pub(super) connections: u64,
    pub(super) tasks: u64,
    pub(super) groups: u64,
    pub(super) members: u64,
    pub(super) history_bytes: u64,
    pub(super) queued_bytes: u64,
    /// Closed so far because they did not read.
    pub(super) slow_consumers: u64,
    /// CPU time in milliseconds since the server was started.
    pub(super) cpu: u128,
}

/// Asks the kernel, and the server itself.
pub(super) async fn take(server: &Server, began: Instant) -> Result<Sample> {
    let told = within(10, "/stats", ask(server)).await?;
    let mut numbers = told.split_whitespace().map(|word| word.parse::<u64>().unwrap_or_default());
    let mut next = || numbers.next().ok_or("/stats has told too little");
    Ok(Sample {
        at: began.elapsed(),
        memory: server.resident()? / 1024,
        descriptors: server.descriptors()?,
        connections: next()?,
        tasks: next()?,
        groups: next()?,
        members: next()?,
        history_bytes: next()?,
        queued_bytes: next()?,
        slow_consumers: next()?,
        cpu: server.cpu_time()?.total.as_millis(),
    })
}

async fn ask(server: &Server) -> Result<String> {
    let mut stream = TcpStream::connect(server.address()).await?;
    stream.write_all(b"GET /stats HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("/stats has no answer")?;
    if head.starts_with("HTTP/1.1 200 ") { Ok(body.to_owned()) } else { Err(head.into()) }
}

/// All of them as a table.
pub(super) fn write(path: &Path, samples: &[Sample]) -> Result {
    let mut text = String::from(
        "seconds,memory_kib,descriptors,connections,tasks,groups,members,history_bytes,queued_bytes,slow_consumers,cpu_ms\n",
    );
    for s in samples {
        let (memory, descriptors, connections, tasks) = (s.memory, s.descriptors, s.connections, s.tasks);
        let (groups, members, history, queued) = (s.groups, s.members, s.history_bytes, s.queued_bytes);
        let (slow, cpu) = (s.slow_consumers, s.cpu);
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{:.1},{memory},{descriptors},{connections},{tasks},{groups},{members},{history},{queued},{slow},{cpu}",
            s.at.as_secs_f64()
        );
    }
    Ok(fs::write(path, text)?)
}
