//! The accept loop.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
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

/// Accepts connections until the app shuts down, and then those that the kernel had accepted already.
pub(super) async fn accept_all(server: Server, listener: &TcpListener) {
    let server = &server;
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
            Err(refused) => {
                note_refused(server, peer, refused);
                server.refuse(stream, refused);
            }
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

fn note_refused(server: &Server, peer: SocketAddr, refused: Refused) {
    connection_refused(refused.word());
    server.handle.log_sums().add(
        refused.word(),
        || move |count| tracing::info!(count, %peer, reason = refused.reason(), "connection refused"),
    );
}
