//! Our server under measurement, written as the README shows it: `server --port N [--workers N] [--mounted]
//! [--compression off|shared|dedicated]`.
//!
//! `/echo` answers every message with itself, and so does `/endpoint`, written as an endpoint; on `/fanout` every
//! message goes unchanged to all connected, its sender included. `--mounted`: inside of an axum application.

use std::net::Ipv4Addr;

use nexios::prelude::*;
use tokio::net::TcpListener;

async fn echo(mut websocket: WebSocket) -> nexios::Result {
    websocket.accept().await?;
    loop {
        let message = websocket.receive().await?;
        websocket.send(message).await?;
    }
}

async fn fan_out(mut websocket: WebSocket, groups: Groups) -> nexios::Result {
    websocket.accept().await?;
    let everybody = groups.group("everybody");
    everybody.join(&websocket).await?;
    loop {
        let message = websocket.receive().await?;
        everybody.send(message).await?;
    }
}

#[derive(Default)]
struct Echo;

impl WebSocketEndpoint for Echo {
    type Message = Message;

    async fn on_receive(&mut self, websocket: &mut WebSocket, message: Message) -> nexios::Result {
        websocket.send(message).await
    }
}

fn main() -> nexios::Result {
    let arguments = Arguments::parse(std::env::args().skip(1))?;
    let app = App::new()
        .config(Config::new().compression(arguments.compression))
        .websocket_route("/echo", echo)
        .websocket_route("/fanout", fan_out)
        .add_ws_route(Echo::as_route("/endpoint"))
        .bind(format!("127.0.0.1:{}", arguments.port));
    if arguments.mounted {
        return mounted(app, arguments.port);
    }
    match arguments.workers {
        Some(workers) => app.workers(workers).run(),
        None => app.run(),
    }
}

/// The same routes inside of an axum application, which does the listening, on one thread.
fn mounted(app: App, port: u16) -> nexios::Result {
    let router = axum::Router::new().merge(app.into_router());
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async move {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        Ok(axum::serve(listener, router).await?)
    })
}

/// The command line.
#[derive(Default)]
struct Arguments {
    port: u16,
    workers: Option<usize>,
    mounted: bool,
    compression: Compression,
}

impl Arguments {
    fn parse(mut words: impl Iterator<Item = String>) -> nexios::Result<Self> {
        let mut arguments = Arguments { port: 8000, ..Arguments::default() };
        while let Some(option) = words.next() {
            let mut value = || words.next().ok_or_else(|| Error::other(format!("{option} needs a value")));
            match option.as_str() {
                "--port" => arguments.port = value()?.parse().map_err(Error::other)?,
                "--workers" => arguments.workers = Some(value()?.parse().map_err(Error::other)?),
                "--mounted" => arguments.mounted = true,
                "--compression" => arguments.compression = value()?.parse().map_err(Error::other)?,
                _ => return Err(Error::other(format!("unknown option {option}"))),
            }
        }
        Ok(arguments)
    }
}
