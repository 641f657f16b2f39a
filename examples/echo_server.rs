//! Echoes messages unchanged at `/` and `/ws`, for other programs to test against:
//! `NEXIOS_PORT=9001 cargo run --release --example echo_server`.
//!
//! `NEXIOS_MAX_MESSAGE`, in bytes, raises the limit on messages, and the one on frames in a message to 1,048,576.
//! `NEXIOS_COMPRESSION` is `off` (the default), `shared` or `dedicated`.

use nexios::prelude::*;

async fn echo(mut websocket: WebSocket) -> nexios::Result {
    websocket.accept().await?;
    loop {
        let message = websocket.receive().await?;
        websocket.send(message).await?;
    }
}

fn config() -> nexios::Result<Config> {
    let mut config = Config::new();
    if let Ok(bytes) = std::env::var("NEXIOS_MAX_MESSAGE") {
        let bytes: usize = bytes.parse().map_err(|error| Error::other(format!("NEXIOS_MAX_MESSAGE: {error}")))?;
        config = config.message_size(bytes).fragments(1 << 20);
    }
    if let Ok(word) = std::env::var("NEXIOS_COMPRESSION") {
        let compression: Compression =
            word.parse().map_err(|error| Error::other(format!("NEXIOS_COMPRESSION: {error}")))?;
        config = config.compression(compression);
    }
    Ok(config)
}

fn main() -> nexios::Result {
    App::new().config(config()?).websocket_route("/", echo).websocket_route("/ws", echo).run()
}
