//! The accept loop.

use std::io::{self, ErrorKind};
use std::time::Duration;

use tokio::net::TcpListener;

use super::Server;

/// How long the loop rests after an error that is not one connection's own, such as no descriptors left.
const REST: Duration = Duration::from_millis(100);

/// Accepts connections until the app shuts down.
pub(super) async fn accept_all(server: &Server, listener: &TcpListener) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = server.handle.shutting_down() => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                server.handle.spawn_http(server.clone().serve_tcp(stream, peer));
            }
            Err(error) if concerns_one_connection(&error) => {}
            Err(error) => {
                tracing::error!(%error, "cannot accept connections");
                tokio::time::sleep(REST).await;
            }
        }
    }
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
