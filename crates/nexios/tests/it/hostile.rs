//! Clients that mean no good: noise, floods, and what they would like to see in a log.

use std::io::{Read, Write};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use nexios::prelude::*;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tracing::Level;

use crate::logs::Logs;
use crate::programs::echo;
use crate::serving::{pause, serve, within};
use crate::wire::{TEXT, Wire, frame, text, upgrade_request};

/// Notes the panics of the whole process while it lives.
fn watch_for_panics() -> Arc<AtomicBool> {
    let panicked = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&panicked);
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let inside = info.location().is_some_and(|at| at.file().contains("nexios") && at.file().contains("/src/"));
        seen.fetch_or(inside, Ordering::SeqCst);
        before(info);
    }));
    panicked
}

#[tokio::test]
async fn broken_handshakes_leave_the_server_as_it_was() {
    let panicked = watch_for_panics();
    let server = serve(App::new().websocket_route("/ws", echo)).await;
    let mut random = fastrand::Rng::with_seed(7);
    let extras =
        ["Sec-WebSocket-Protocol: a,,b;\"", "Sec-WebSocket-Extensions: permessage-deflate; x=\"", "Cookie: \u{e9}"];
    for _ in 0..400 {
        let mut request = crate::wire::request("/ws", &[extras[random.usize(..extras.len())]]).into_bytes();
        for _ in 0..random.usize(1..4) {
            let at = random.usize(..request.len());
            match random.u8(..4) {
                0 => request[at] = random.u8(..),
                1 => drop(request.remove(at)),
                2 => request.insert(at, random.u8(..)),
                _ => request.truncate(at),
            }
            if request.is_empty() {
                break;
            }
        }
        let mut wire = Wire::connect(server.address).await;
        // What was half a request stays one: nobody waits for its answer.
        let _ = tokio::io::AsyncWriteExt::write_all(&mut wire.stream, &request).await;
        let _ = tokio::time::timeout(Duration::from_millis(2), wire.fill()).await;
    }
    server.wait_for_connections(0).await;
    let mut wire = server.upgrade("/ws").await;
    wire.send(text("still here")).await;
    assert_eq!(wire.text().await, "still here");
    assert!(!panicked.load(Ordering::SeqCst), "the framework panicked");
}

#[tokio::test]
async fn noise_instead_of_frames_ends_its_own_connection_only() {
    let panicked = watch_for_panics();
    let server = serve(App::new().websocket_route("/ws", echo)).await;
    let mut bystander = server.upgrade("/ws").await;
    let mut random = fastrand::Rng::with_seed(8);
    for i in 0..300 {
        let mut wire = server.upgrade("/ws").await;
        let mut noise: Vec<u8> =
            if i % 2 == 0 { Vec::new() } else { [frame(TEXT, "good"), frame(0x2, [0; 300])].concat() };
        noise.extend((0..random.usize(1..200)).map(|_| random.u8(..)));
        // Some of it is valid frames with something broken in them.
        let at = random.usize(..noise.len());
        noise[at] ^= 1 << random.u8(..8);
        wire.send(&noise).await;
        drop(wire);
        if i % 50 == 0 {
            bystander.send(text("unharmed")).await;
            assert_eq!(bystander.text().await, "unharmed");
        }
    }
    server.wait_for_connections(1).await;
    assert!(!panicked.load(Ordering::SeqCst), "the framework panicked");
}

/// A client in a thread of its own that writes as fast as it can, and reads or not, until it is told to stop.
fn flood(address: std::net::SocketAddr, message: Vec<u8>, reads: bool) -> Flood {
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let thread = std::thread::spawn(move || {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        stream.write_all(upgrade_request("/ws").as_bytes()).unwrap();
        stream.set_nonblocking(true).unwrap();
        let batch = message.repeat(1 + 16_384 / message.len());
        let mut rest: &[u8] = &batch;
        let mut buffer = vec![0; 64 * 1024];
        while !stopped.load(Ordering::Relaxed) {
            match stream.write(rest) {
                Ok(written) => rest = &rest[written..],
                Err(_) => std::thread::sleep(Duration::from_micros(50)),
            }
            if rest.is_empty() {
                rest = &batch;
            }
            while reads && stream.read(&mut buffer).is_ok_and(|read| read > 0) {}
        }
    });
    Flood { stop, thread: Some(thread) }
}

struct Flood {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
    }
}

#[tokio::test]
async fn a_flood_does_not_starve_the_neighbours_of_its_thread() {
    let server = serve(App::new().websocket_route("/ws", echo)).await;
    for (what, message, reads) in [
        ("tiny messages", text("x"), true),
        ("pings", frame(0x9, "x"), true),
        ("messages of a peer that never reads", text(&"x".repeat(1_000)), false),
    ] {
        let flood = flood(server.address, message, reads);
        let mut neighbour = server.upgrade("/ws").await;
        pause(50).await;
        let mut slowest = Duration::ZERO;
        for _ in 0..10 {
            let began = Instant::now();
            neighbour.send(text("may I?")).await;
            assert_eq!(within(neighbour.text()).await, "may I?", "{what}");
            slowest = slowest.max(began.elapsed());
        }
        assert!(slowest < Duration::from_millis(500), "{what}: a neighbour waited for {slowest:?}");
        drop(flood);
    }
}

/// How much an [`Endless`] peer sends before it ends.
const ENOUGH: usize = 8 * 1024 * 1024;

/// A peer that never has to be waited for: one request, and then the same frame again and again, up to 8 MiB.
struct Endless {
    request: Vec<u8>,
    frames: Vec<u8>,
    read: Arc<AtomicUsize>,
}

impl AsyncRead for Endless {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        if !self.request.is_empty() {
            let n = buffer.remaining().min(self.request.len());
            buffer.put_slice(&self.request.drain(..n).collect::<Vec<_>>());
        } else if self.read.load(Ordering::Relaxed) < ENOUGH {
            let before = self.read.load(Ordering::Relaxed);
            while buffer.remaining() > 0 {
                let at = self.read.load(Ordering::Relaxed) % self.frames.len();
                let n = buffer.remaining().min(self.frames.len() - at);
                buffer.put_slice(&self.frames[at..at + n]);
                self.read.fetch_add(n, Ordering::Relaxed);
            }
            assert!(self.read.load(Ordering::Relaxed) > before);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Endless {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[tokio::test]
async fn whatever_a_peer_sends_its_thread_turns_to_others_within_4_mib() {
    let fragment = crate::wire::raw_frame(0x00, &[b'x'; 10]);
    for (what, frames) in [
        ("pings", frame(0x9, "x").repeat(1_000)),
        ("pongs", frame(0xA, "").repeat(1_000)),
        ("tiny messages", text("x").repeat(1_000)),
        ("fragments", [crate::wire::raw_frame(0x01, b""), fragment.repeat(1_000), frame(0x0, "")].concat()),
        ("large messages", frame(0x2, vec![0; 1024 * 1024])),
        ("one message after another of the largest size in pieces", {
            let piece = crate::wire::raw_frame(0x00, &vec![0; 60_000]);
            [crate::wire::raw_frame(0x02, b""), piece.repeat(16), frame(0x0, "")].concat()
        }),
    ] {
        let app = App::new().websocket_route("/ws", async |mut websocket: WebSocket| -> nexios::Result {
            websocket.accept().await?;
            loop {
                websocket.receive().await?;
            }
        });
        let read = Arc::new(AtomicUsize::new(0));
        let io = Endless { request: upgrade_request("/ws").into_bytes(), frames, read: Arc::clone(&read) };
        let handle = app.handle();
        crate::serving::serve_on(io, app);
        let (mut last, mut most) = (0, 0);
        while last < ENOUGH {
            tokio::task::yield_now().await;
            let now = read.load(Ordering::Relaxed);
            most = most.max(now - last);
            last = now;
        }
        assert!(most <= 4 * 1024 * 1024, "{what}: {most} bytes were read in one turn");
        crate::serving::wait_for_connections(&handle, 0).await;
    }
}

#[tokio::test]
async fn many_empty_fragments_close_1008() {
    let server = serve(App::new().websocket_route("/ws", echo)).await;
    let mut wire = server.upgrade("/ws").await;
    wire.send(crate::wire::raw_frame(0x01, b"")).await;
    wire.send(crate::wire::raw_frame(0x00, b"").repeat(16_383)).await;
    wire.send(frame(0x9, "still allowed")).await;
    assert_eq!(wire.frame().await.unwrap().payload, b"still allowed");
    wire.send(crate::wire::raw_frame(0x00, b"")).await;
    assert_eq!(wire.close_frame().await.0, 1008);
}

#[tokio::test]
async fn neither_secrets_nor_control_characters_of_a_request_reach_the_log() {
    let (logs, _guard) = Logs::capture();
    let server = serve(App::new().websocket_route("/{*path}", async |mut websocket: WebSocket| -> nexios::Result {
        websocket.accept().await?;
        let path = websocket.path_params().get("path").unwrap_or_default().to_owned();
        Err(Error::other(format!("no page {path}")))
    }))
    .await;
    let mut wire = Wire::connect(server.address).await;
    wire.send(upgrade_request("/%1b[2J%0aFAKE?token=SECRET")).await;
    assert_eq!(wire.head().await.status, 101);
    assert_eq!(wire.close_frame().await.0, 1011);
    drop(wire);
    let mut wire = Wire::connect(server.address).await;
    wire.send("GET /%1b%0aFAKE?token=SECRET HTTP/1.1\r\nHost: \u{1b}x\r\n\r\n").await;
    assert!(wire.head().await.status >= 400);
    drop(wire);
    server.wait_for_connections(0).await;
    let lines = logs.at(Level::TRACE);
    assert!(lines.iter().any(|line| line.contains("no page")), "{lines:?}");
    for line in lines {
        assert!(!line.contains("SECRET") && !line.contains('\n') && !line.contains('\u{1b}'), "{line:?}");
    }
}

#[tokio::test]
async fn a_thousand_connections_that_come_and_go_leave_nothing() {
    let app = App::new().websocket_route("/ws", echo);
    let server = serve(app).await;
    let descriptors = || std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    let before = descriptors();
    for round in 0..10 {
        let mut sockets = Vec::new();
        for i in 0..100 {
            let mut wire = server.upgrade("/ws").await;
            if i % 2 == 0 {
                wire.send(&text("half a frame")[..5]).await;
            }
            sockets.push(wire);
        }
        for (i, wire) in sockets.into_iter().enumerate() {
            if (i + round) % 3 == 0 { wire.abort() } else { drop(wire) }
        }
    }
    server.wait_for_connections(0).await;
    // Other tests of this process have sockets too: only a leak of all of ours would show, and it would be large.
    assert!(descriptors() < before + 500, "{} descriptors instead of {before}", descriptors());
}
