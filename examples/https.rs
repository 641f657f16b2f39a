//! TLS, and WebSockets over HTTP/2. Make a certificate and run it:
//!
//! ```sh
//! openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -subj /CN=localhost \
//!     -addext subjectAltName=DNS:localhost,IP:127.0.0.1 -keyout key.pem -out certificate.pem
//! cargo run --example https -- certificate.pem key.pem
//! ```
//!
//! Then open <https://127.0.0.1:8000>, and tell the browser to trust the certificate. `kill -HUP` reads it again.

use axum::response::Html;
use http::Version;
use nexios::Tls;
use nexios::prelude::*;

/// Says what it was asked over, then answers every message with itself.
async fn echo(mut websocket: WebSocket, version: Version) -> nexios::Result {
    websocket.accept().await?;
    let peer = websocket.peer_addr().map(|peer| peer.to_string()).unwrap_or_default();
    websocket.send_text(format!("{version:?} from {peer}")).await?;
    loop {
        let message = websocket.receive().await?;
        websocket.send(message).await?;
    }
}

fn main() -> nexios::Result {
    let mut files = std::env::args().skip(1);
    let (Some(certificate), Some(key)) = (files.next(), files.next()) else {
        return Err(Error::other("usage: https CERTIFICATE.pem KEY.pem"));
    };
    let page = axum::Router::new().route("/", axum::routing::get(async || Html(include_str!("https.html"))));
    App::new()
        .websocket_route("/ws", echo)
        .http(page)
        .config(Config::new().compression(Compression::shared()))
        .tls(Tls::from_files(certificate, key)?)
        .run()
}
