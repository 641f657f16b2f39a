//! The accept loop.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use super::Server;
use super::admission::Refused;
use crate::observe::{accept_failed, connection_refused};

/// How long the loop rests after an error that is not one connection's own, such as no descriptors left: at first, and
/// after many.
const REST: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(500));

/// How often such errors are logged.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// How many refused connections are told why at the same time; others are just closed.
const REFUSALS: usize = 64;

/// How long a refused connection may take to read why, and how much of what it sends is read meanwhile.
const REFUSAL: (Duration, usize) = (Duration::from_secs(1), 64 * 1024);

/// Accepts connections until the app shuts down, and then those that the kernel had accepted already.
pub(super) async fn accept_all(server: &Server, listener: &TcpListener) {
    let mut trouble = Trouble::default();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = server.handle.stops_accepting() => break,
        };
        if let Err(error) = admit(server, accepted) {
            tokio::time::sleep(trouble.note(&error)).await;
        } else {
            trouble.rest = None;
        }
    }
    while let Some(accepted) = listener.accept().now_or_never() {
        if admit(server, accepted).is_err() {
            return;
        }
    }
}

/// An error is the listener's, not the connection's.
fn admit(server: &Server, accepted: io::Result<(TcpStream, SocketAddr)>) -> io::Result<()> {
    match accepted {
        Ok((stream, peer)) => match server.admit(peer.ip()) {
            Ok(seat) => server.handle.spawn_http(server.clone().serve_tcp(stream, peer, seat)),
            Err(refused) => refuse(server, stream, peer, refused),
        },
        Err(error) if concerns_one_connection(&error) => {}
        Err(error) => return Err(error),
    }
    Ok(())
}

/// The connection was gone before it was accepted: `accept(2)` hands such errors on.
fn concerns_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionAborted
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionRefused
            | ErrorKind::PermissionDenied
            | ErrorKind::TimedOut
    )
}

/// Errors that come again at once, as long as nothing is given back.
#[derive(Debug, Default)]
struct Trouble {
    rest: Option<Duration>,
}

impl Trouble {
    /// How long to rest.
    fn note(&mut self, error: &io::Error) -> Duration {
        accept_failed();
        if is_to_be_logged() {
            tracing::error!(%error, "cannot accept connections; trying again");
        }
        let rest = self.rest.map_or(REST.0, |rest| (rest * 2).min(REST.1));
        self.rest = Some(rest);
        rest
    }
}

/// What one worker has no descriptors for, the others have none for either: one line for all.
fn is_to_be_logged() -> bool {
    static LOGGED: Mutex<Option<Instant>> = Mutex::new(None);
    let mut logged = LOGGED.lock().unwrap_or_else(PoisonError::into_inner);
    let is_due = logged.is_none_or(|at| at.elapsed() >= LOG_EVERY);
    if is_due {
        *logged = Some(Instant::now());
    }
    is_due
}

/// Says why, before a request was read. Under TLS nothing can be said before a handshake.
fn refuse(server: &Server, stream: TcpStream, peer: SocketAddr, refused: Refused) {
    static REFUSING: AtomicUsize = AtomicUsize::new(0);
    tracing::debug!(%peer, reason = refused.reason(), "connection refused");
    connection_refused(refused.word());
    if server.scheme() == "https" {
        // What would be said in plain text is no TLS.
        return;
    }
    if REFUSING.fetch_add(1, Ordering::Relaxed) >= REFUSALS {
        REFUSING.fetch_sub(1, Ordering::Relaxed);
        return;
    }
    server.handle.spawn_http(async move {
        let _ = tokio::time::timeout(REFUSAL.0, answer_and_close(stream, refused)).await;
        REFUSING.fetch_sub(1, Ordering::Relaxed);
    });
}

/// A socket that is closed with unread bytes is reset, and its peer would not see the answer: they are read, for a while.
async fn answer_and_close(mut stream: TcpStream, refused: Refused) -> io::Result<()> {
    stream.write_all(&refused.as_bytes()).await?;
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
