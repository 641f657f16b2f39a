//! Connections without sockets or clients, as many as memory holds: what the server writes to them is compared with
//! what it must be, counted, and forgotten.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::wire::{self, Opcode};
use crate::{Error, Result};

/// Handshakes at the same time, so that their buffers do not add up.
const UNDER_WAY: u64 = 64;
/// The longest wait for anything.
const STALLED: Duration = Duration::from_secs(30);
const CHECK: Duration = Duration::from_millis(1);

/// The peers of one thread's connections. Each thread has its own, on a cache line that no other thread writes to.
#[derive(Debug)]
#[repr(align(128))]
pub(super) struct Audience {
    frame: Vec<u8>,
    open: AtomicU64,
    deliveries: AtomicU64,
    wrong: AtomicBool,
    has_left: AtomicBool,
    waiting: Mutex<Vec<Waker>>,
}

impl Audience {
    /// Peers who expect this text and nothing else.
    pub(super) fn new(text: &str) -> Arc<Self> {
        Arc::new(Audience {
            frame: wire::answer(Opcode::Text, text.as_bytes()),
            open: AtomicU64::default(),
            deliveries: AtomicU64::default(),
            wrong: AtomicBool::default(),
            has_left: AtomicBool::default(),
            waiting: Mutex::default(),
        })
    }

    /// Messages that have come, to all together.
    pub(super) fn deliveries(&self) -> u64 {
        self.deliveries.load(Ordering::Relaxed)
    }

    /// Ends every connection, as a peer does that is gone.
    pub(super) fn leave(&self) {
        self.has_left.store(true, Ordering::SeqCst);
        let waiting = std::mem::take(&mut *lock(&self.waiting));
        waiting.into_iter().for_each(Waker::wake);
    }

    fn take(&self, bytes: &[u8]) {
        let frames = bytes.chunks(self.frame.len());
        self.deliveries.fetch_add(frames.len() as u64, Ordering::Relaxed);
        if frames.into_iter().any(|frame| frame != self.frame) {
            self.wrong.store(true, Ordering::Relaxed);
        }
    }
}

fn lock(waiting: &Mutex<Vec<Waker>>) -> MutexGuard<'_, Vec<Waker>> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits until it is so; fails when that takes too long or something else than the message has come.
pub(super) async fn until(audiences: &[Arc<Audience>], is_so: impl Fn() -> bool) -> Result<Instant> {
    let deadline = Instant::now() + STALLED;
    while !is_so() {
        if audiences.iter().any(|audience| audience.wrong.load(Ordering::Relaxed)) {
            return Err("a delivery differs from the message".into());
        }
        if Instant::now() > deadline {
            return Err(Error::from("nothing moves any more"));
        }
        tokio::time::sleep(CHECK).await;
    }
    Ok(Instant::now())
}

/// Where such connections come from, for `axum::serve`.
#[derive(Debug)]
pub(super) struct InProcess {
    pub(super) audience: Arc<Audience>,
    /// The numbers of those that are to come; each is the last part of its request's path.
    pub(super) numbers: std::vec::IntoIter<usize>,
    accepted: u64,
}

impl InProcess {
    pub(super) fn new(audience: &Arc<Audience>, numbers: impl Iterator<Item = usize>) -> Self {
        InProcess { audience: Arc::clone(audience), numbers: numbers.collect::<Vec<_>>().into_iter(), accepted: 0 }
    }
}

impl axum::serve::Listener for InProcess {
    type Io = Wire;
    type Addr = ();

    async fn accept(&mut self) -> (Wire, ()) {
        while self.accepted - self.audience.open.load(Ordering::Relaxed) >= UNDER_WAY {
            tokio::task::yield_now().await;
        }
        let Some(number) = self.numbers.next() else { return std::future::pending().await };
        self.accepted += 1;
        let request = wire::upgrade_request(&format!("/member/{number}"), "bench", None).into_bytes();
        (Wire { audience: Arc::clone(&self.audience), request, is_open: false, waiting: None }, ())
    }

    fn local_addr(&self) -> io::Result<()> {
        Ok(())
    }
}

/// One such connection, as the server sees it.
#[derive(Debug)]
pub(super) struct Wire {
    audience: Arc<Audience>,
    /// The unsent rest of the request.
    request: Vec<u8>,
    is_open: bool,
    /// The waker to call when the peer leaves, and its index.
    waiting: Option<(usize, Waker)>,
}

impl Wire {
    /// One place for each connection: a waker that stays would keep the task of the handshake in memory.
    fn wait(&mut self, waker: &Waker) {
        let mut all = lock(&self.audience.waiting);
        let at = self.waiting.as_ref().map_or(all.len(), |(at, _)| *at);
        match all.get_mut(at) {
            Some(known) => known.clone_from(waker),
            None => all.push(waker.clone()),
        }
        drop(all);
        self.waiting = Some((at, waker.clone()));
    }
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.request.is_empty() {
            let len = buffer.remaining().min(self.request.len());
            buffer.put_slice(&self.request[..len]);
            let rest = self.request.split_off(len);
            self.request = rest;
            return Poll::Ready(Ok(()));
        }
        if self.audience.has_left.load(Ordering::SeqCst) {
            return Poll::Ready(Ok(()));
        }
        if self.is_open && !self.waiting.as_ref().is_some_and(|(_, waker)| waker.will_wake(cx.waker())) {
            self.wait(cx.waker());
        }
        Poll::Pending
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.is_open {
            self.audience.take(bytes);
        } else if bytes.starts_with(b"HTTP/1.1 101") && bytes.ends_with(b"\r\n\r\n") {
            self.is_open = true;
            self.audience.open.fetch_add(1, Ordering::Relaxed);
        } else {
            return Poll::Ready(Err(io::Error::other("the handshake was refused, or came in pieces")));
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
