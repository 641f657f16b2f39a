//! Runs the cases of an Autobahn fuzzing server through the client, so many at the same time:
//! `cargo run --release --example conformance_client -- ws://127.0.0.1:9001 4` (`cargo xtask autobahn` does it all).
//!
//! The server counts its cases at `/getCaseCount`; a case is a connection to `/runCase` on which every message is echoed
//! until the server ends it, properly or not. `/updateReports` ends the run.
//!
//! `NEXIOS_COMPRESSION` is `off` (the default), `shared` or `dedicated`.

use nexios::client::Connect;
use nexios::prelude::*;
use tokio::task::JoinSet;

/// The largest message of the cases is 16 MiB, in fragments of 64 bytes upwards.
const LARGEST: usize = 64 << 20;

async fn run_all(server: String, together: usize) -> nexios::Result {
    let mut counting = connect(&server, "/getCaseCount").await?;
    let cases: usize = counting.receive_json().await?;
    drop(counting);
    let mut running = JoinSet::new();
    for case in 1..=cases {
        if running.len() == together {
            running.join_next().await;
        }
        running.spawn(run_case(server.clone(), case));
    }
    while running.join_next().await.is_some() {}
    connect(&server, "/updateReports?agent=nexios").await?.close(1000, "").await
}

/// How the case ends is for the server to judge: many end with an error on purpose.
async fn run_case(server: String, case: usize) -> nexios::Result {
    let mut websocket = connect(&server, &format!("/runCase?case={case}&agent=nexios")).await?;
    loop {
        let message = websocket.receive().await?;
        websocket.send(message).await?;
    }
}

async fn connect(server: &str, path: &str) -> nexios::Result<WebSocket> {
    let compression = std::env::var("NEXIOS_COMPRESSION").map_or(Ok(Compression::off()), |word| word.parse());
    let compression = compression.map_err(|error| Error::other(format!("NEXIOS_COMPRESSION: {error}")))?;
    let config = Config::new().message_size(LARGEST).fragments(1 << 20).outbound_queue(LARGEST);
    let config = config.compression(compression);
    Connect::new(format!("{server}{path}")).config(config).connect().await
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> nexios::Result {
    let usage = || Error::other("usage: conformance_client ws://HOST:PORT CASES_TOGETHER");
    let mut arguments = std::env::args().skip(1);
    let server = arguments.next().ok_or_else(usage)?;
    let together = arguments.next().and_then(|number| number.parse().ok()).filter(|n| *n > 0).ok_or_else(usage)?;
    run_all(server, together).await
}
