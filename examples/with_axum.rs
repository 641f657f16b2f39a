//! A Nexios app inside of an axum application. Run it: `cargo run --example with_axum`, then open http://127.0.0.1:8000
//! and connect to ws://127.0.0.1:8000/live/echo/you. (The other way round is shorter: `app.http(axum_router).run()`.)

use std::time::Duration;

use axum::Router;
use axum::http::header::{HeaderName, HeaderValue};
use axum::routing::get;
use nexios::prelude::*;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tower_http::set_header::SetResponseHeaderLayer;

async fn echo(mut websocket: WebSocket, Path(name): Path<String>) -> nexios::Result {
    websocket.accept().await?;
    loop {
        let text = websocket.receive_text().await?;
        websocket.send_text(format!("{name}: {text}")).await?;
    }
}

fn live() -> App {
    let server = HeaderValue::from_static("nexios");
    let app = App::new().websocket_route("/echo/{name}", echo);
    let handle = app.handle();
    // Routes of HTTP that belong to the app come with it, and so do tower layers around all of it.
    let count = move || async move { format!("{} connections\n", handle.connection_count()) };
    app.http(Router::new().route("/count", get(count)))
        .layer(SetResponseHeaderLayer::overriding(HeaderName::from_static("server"), server))
}

#[tokio::main]
async fn main() -> nexios::Result {
    let app = live();
    let handle = app.handle();
    let index = get(|| async { "connect to /live/echo/you; who is connected: /live/count\n" });
    let router = Router::new().route("/", index).nest("/live", app.into_router());

    let port = std::env::var("NEXIOS_PORT").unwrap_or_else(|_| "8000".to_owned());
    let listener = TcpListener::bind(format!("127.0.0.1:{port}")).await?;
    println!("listening on http://{}", listener.local_addr()?);

    let mut terminate = signal(SignalKind::terminate())?;
    let stopped = async move {
        tokio::select! { _ = terminate.recv() => {}, _ = tokio::signal::ctrl_c() => {} }
    };
    axum::serve(listener, router).with_graceful_shutdown(stopped).await?;
    // axum waits for its requests, but knows nothing of sockets: those are closed here, with 1001.
    handle.shutdown();
    let _ = tokio::time::timeout(Duration::from_secs(10), handle.drained()).await;
    Ok(())
}
