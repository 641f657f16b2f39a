//! A connection that is not taken is told why, and a probe of `/healthz` that the process lives.

use std::collections::VecDeque;
use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::Server;
use super::admission::Refused;

/// How many refused connections are told why at the same time. One more takes the place of the oldest: a probe, which asks at
/// once, has its answer also in a flood.
const REFUSALS: usize = 256;

/// How long a refused connection may take to read why, and how much of what it sends is read meanwhile.
const REFUSAL: (Duration, usize) = (Duration::from_secs(1), 64 * 1024);

/// How long a request is waited for that may be one for `/healthz`.
const PROBE: Duration = Duration::from_millis(500);

const HEALTHY: &[u8] = b"HTTP/1.1 200 OK\r\ncache-control: no-store\r\nconnection: close\r\n\
    content-type: text/plain; charset=utf-8\r\ncontent-length: 3\r\n\r\nok\n";

impl Server {
    /// Says why, before a request is handled.
    pub(super) fn refuse(&self, stream: TcpStream, refused: Refused) {
        #[cfg(feature = "tls")]
        if let Some(tls) = self.tls.clone() {
            // Nothing can be said before a handshake, which costs what the refusal was to save: for few, and for probes only.
            if self.answers_health && tls_refusal_is_due() {
                self.handle.spawn_http(until_evicted(async move {
                    let stream = tls.accept_http1(stream).await?;
                    answer_and_close(stream, refused, true).await
                }));
            }
            return;
        }
        self.handle.spawn_http(until_evicted(answer_and_close(stream, refused, self.answers_health)));
    }
}

/// At most ten in a second, twenty at once.
#[cfg(feature = "tls")]
fn tls_refusal_is_due() -> bool {
    use std::time::Instant;

    use crate::rate::{Bucket, Rate};

    static BUCKET: Mutex<Option<Bucket>> = Mutex::new(None);
    let now = Instant::now();
    let mut bucket = BUCKET.lock().unwrap_or_else(PoisonError::into_inner);
    let bucket = bucket.get_or_insert_with(|| Bucket::new(Rate::per_second(10).burst(20), now));
    let is_due = bucket.check(now).is_ok();
    if is_due {
        bucket.take(1);
    }
    is_due
}

/// Ends it when it takes too long, or others need its place.
fn until_evicted(answer: impl Future<Output = io::Result<()>>) -> impl Future<Output = ()> {
    static PLACES: Mutex<VecDeque<oneshot::Sender<()>>> = Mutex::new(VecDeque::new());
    let (place, evicted) = oneshot::channel();
    let mut places = PLACES.lock().unwrap_or_else(PoisonError::into_inner);
    let oldest = if places.len() < REFUSALS { None } else { places.pop_front() };
    places.push_back(place);
    drop(places);
    drop(oldest);
    async move {
        tokio::select! {
            _ = timeout(REFUSAL.0, answer) => {}
            _ = evicted => {}
        }
    }
}

/// A socket that is closed with unread bytes is reset, and its peer would not see the answer: they are read, for a while.
async fn answer_and_close<S>(mut stream: S, refused: Refused, answers_health: bool) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let is_probe = answers_health && timeout(PROBE, is_probe(&mut stream)).await.unwrap_or(false);
    if is_probe {
        stream.write_all(HEALTHY).await?;
    } else {
        stream.write_all(&refused.as_bytes()).await?;
    }
    stream.shutdown().await?;
    let mut buffer = [0; 1024];
    let mut left = REFUSAL.1;
    while left > 0 {
        match stream.read(&mut buffer).await? {
            0 => return Ok(()),
            read => left = left.saturating_sub(read),
        }
    }
    Ok(())
}

/// Whether what comes is a request for `/healthz`.
async fn is_probe(stream: &mut (impl AsyncRead + Unpin)) -> bool {
    const TARGET: &[u8] = b"GET /healthz";
    let mut start = [0; TARGET.len() + 1];
    let mut filled = 0;
    while filled < start.len() {
        match stream.read(&mut start[filled..]).await {
            Ok(read) if read > 0 => filled += read,
            _ => return false,
        }
        let known = filled.min(TARGET.len());
        if start[..known] != TARGET[..known] {
            return false;
        }
    }
    matches!(start[TARGET.len()], b' ' | b'?')
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn answer(request: &[u8], answers_health: bool) -> String {
        let (mut ours, theirs) = tokio::io::duplex(4096);
        let answered = tokio::spawn(answer_and_close(theirs, Refused::TooFast, answers_health));
        for byte in request {
            ours.write_all(&[*byte]).await.unwrap();
        }
        let mut text = String::new();
        ours.read_to_string(&mut text).await.unwrap();
        drop(ours);
        answered.await.unwrap().unwrap();
        text.lines().next().unwrap_or_default().to_owned()
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_probe_is_told_that_the_process_lives() {
        let refused = "HTTP/1.1 503 Service Unavailable";
        assert_eq!(answer(b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n", true).await, "HTTP/1.1 200 OK");
        assert_eq!(answer(b"GET /healthz?x HTTP/1.1\r\n", true).await, "HTTP/1.1 200 OK");
        assert_eq!(answer(b"GET /healthz HTTP/1.1\r\n", false).await, refused);
        for other in
            [&b"GET /healthzz"[..], b"GET / HTTP/1.1\r\n\r\n", b"POST /healthz HTTP/1.1\r\n", b"GET /health", b""]
        {
            assert_eq!(answer(other, true).await, refused);
        }
    }
}
