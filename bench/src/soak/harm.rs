//! Those who mean harm, or are merely broken. The server may end any of them in any way: what counts is that each one
//! ends, and that those who behave do not notice.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustix::net::sockopt::{set_socket_linger, set_socket_recv_buffer_size};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::{Town, again, pause};
use crate::wire::{Opcode, masked, request, upgrade_request};
use crate::{Result, deflate};

/// Names of the clients in the report.
pub(super) const KINDS: &[&str] = &[
    "resets",
    "half a handshake",
    "garbage",
    "pings, and reads nothing",
    "empty fragments",
    "a burst of messages, and reads nothing",
    "a deflate bomb",
    "an announced gigabyte",
    "reads slowly",
    "never answers",
    "a message that never ends",
];

/// The longest that one of them waits for the server to end it.
const PATIENCE: Duration = Duration::from_secs(25);

pub(super) fn spawn(town: &Arc<Town>, all: &mut JoinSet<()>) {
    again(all, town, KINDS[0], 10, |town| ended(reset(town)));
    again(all, town, KINDS[1], 10, |town| ended(half_a_handshake(town)));
    again(all, town, KINDS[2], 5, |town| ended(garbage(town)));
    again(all, town, KINDS[3], 1, |town| ended(flood(town, masked(0x89, &[1; 100]), 20_000)));
    again(all, town, KINDS[4], 1, |town| ended(fragments(town)));
    again(all, town, KINDS[5], 1, |town| ended(flood(town, request(Opcode::Text, &[b'z'; 500], false), 10_000)));
    again(all, town, KINDS[6], 1, |town| ended(bomb(town)));
    again(all, town, KINDS[7], 2, |town| ended(announced(town)));
    again(all, town, KINDS[8], 6, |town| ended(read_slowly(town)));
    again(all, town, KINDS[9], 10, |town| ended(wait_for_the_end(town, &[])));
    again(all, town, KINDS[10], 5, |town| ended(wait_for_the_end(town, &[0x01, 0x8A, 1, 2, 3, 4])));
}

/// However it ends: by an error, the end of the connection, or its own patience.
async fn ended(act: impl Future<Output = io::Result<()>>) -> Result {
    let _: std::result::Result<io::Result<()>, _> = tokio::time::timeout(PATIENCE, act).await;
    pause(500).await;
    Ok(())
}

async fn connect(town: &Town) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(town.server).await?;
    // One in two goes with a reset: so there are no more ports waiting than the machine has.
    if fastrand::bool() {
        set_socket_linger(&stream, Some(Duration::ZERO))?;
    }
    Ok(stream)
}

/// A socket that has been upgraded.
async fn upgraded(town: &Town, path: &str, compressed: bool) -> io::Result<TcpStream> {
    let mut stream = connect(town).await?;
    let offer = compressed.then_some(crate::cell::Deflate { takeover: false, plain_answers: true });
    stream.write_all(upgrade_request(path, "soak", offer).as_bytes()).await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    Ok(stream)
}

async fn read_to_the_end(stream: &mut TcpStream) -> io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    while stream.read(&mut buffer).await? > 0 {}
    Ok(())
}

/// At any point of the handshake or a message.
async fn reset(town: Arc<Town>) -> io::Result<()> {
    let mut stream = connect(&town).await?;
    set_socket_linger(&stream, Some(Duration::ZERO))?;
    let mut bytes = upgrade_request("/room/reset?user=reset", "soak", None).into_bytes();
    bytes.extend(request(Opcode::Text, &[b'a'; 2_000], false));
    bytes.truncate(fastrand::usize(..=bytes.len()));
    stream.write_all(&bytes).await?;
    pause(20).await;
    Ok(())
}

/// Some wait until they are told to go.
async fn half_a_handshake(town: Arc<Town>) -> io::Result<()> {
    let mut stream = connect(&town).await?;
    let text = upgrade_request("/echo", "soak", None);
    let until = fastrand::usize(..text.len());
    for byte in &text.as_bytes()[..until] {
        stream.write_u8(*byte).await?;
        if fastrand::u8(..20) == 0 {
            pause(50).await;
        }
    }
    if fastrand::bool() {
        return Ok(());
    }
    read_to_the_end(&mut stream).await
}

async fn garbage(town: Arc<Town>) -> io::Result<()> {
    let mut stream = upgraded(&town, "/echo", fastrand::bool()).await?;
    for _ in 0..fastrand::u8(1..20) {
        let bytes: Vec<u8> = (0..fastrand::usize(1..5_000)).map(|_| fastrand::u8(..)).collect();
        stream.write_all(&bytes).await?;
    }
    read_to_the_end(&mut stream).await
}

/// The same again and again, and never reads.
async fn flood(town: Arc<Town>, frame: Vec<u8>, times: usize) -> io::Result<()> {
    let mut stream = upgraded(&town, "/echo", false).await?;
    for _ in 0..times {
        stream.write_all(&frame).await?;
    }
    pause(2_000).await;
    Ok(())
}

async fn fragments(town: Arc<Town>) -> io::Result<()> {
    let mut stream = upgraded(&town, "/echo", false).await?;
    stream.write_all(&masked(0x01, b"")).await?;
    let many = masked(0x00, b"").repeat(100);
    for _ in 0..1_000 {
        stream.write_all(&many).await?;
    }
    read_to_the_end(&mut stream).await
}

/// 16 MiB in 16 KiB.
async fn bomb(town: Arc<Town>) -> io::Result<()> {
    let mut stream = upgraded(&town, "/echo", true).await?;
    let bomb = deflate::compress(&vec![0; 16 * 1024 * 1024]);
    stream.write_all(&masked(0xC1, &bomb)).await?;
    read_to_the_end(&mut stream).await?;
    // It takes this side longer to make one than the server to refuse it.
    pause(5_000).await;
    Ok(())
}

/// A gigabyte at a server that takes a mebibyte, and just less than that.
async fn announced(town: Arc<Town>) -> io::Result<()> {
    let mut stream = upgraded(&town, "/echo", false).await?;
    let length: u64 = if fastrand::bool() { 1 << 30 } else { 1_000_000 };
    let mut frame = vec![0x82, 0x80 | 127];
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(&[1, 2, 3, 4]);
    frame.resize(frame.len() + 10_000, 0);
    stream.write_all(&frame).await?;
    read_to_the_end(&mut stream).await
}

async fn read_slowly(town: Arc<Town>) -> io::Result<()> {
    let mut stream = upgraded(&town, "/firehose", false).await?;
    set_socket_recv_buffer_size(&stream, 4_096)?;
    let mut buffer = [0; 512];
    while stream.read(&mut buffer).await? > 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// Reads, and says nothing but this.
async fn wait_for_the_end(town: Arc<Town>, bytes: &'static [u8]) -> io::Result<()> {
    let mut stream = upgraded(&town, "/room/silent?user=silent", false).await?;
    stream.write_all(bytes).await?;
    read_to_the_end(&mut stream).await
}
