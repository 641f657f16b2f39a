//! Errors, and how connections end. Run it: `cargo run --example errors`, then connect to ws://127.0.0.1:8000/ws/error
//! (errors are answered) or ws://127.0.0.1:8000/ws/unhandled (they end the connection), and send `error` or numbers.

use nexios::prelude::*;

/// Answers an error and goes on; looks at how the connection ended.
async fn handled(mut websocket: WebSocket) -> nexios::Result {
    websocket.accept().await?;
    loop {
        match websocket.receive_text().await {
            Ok(text) => match double(&text) {
                Ok(number) => websocket.send_text(format!("Message: {number}")).await?,
                Err(error) => websocket.send_text(format!("Error: {error}")).await?,
            },
            Err(Error::Disconnect(end)) => {
                println!("Client disconnected: {} {:?} ({:?})", u16::from(end.code()), end.reason(), end.cause());
                return Ok(());
            }
            // A binary message: this one is ignored, and the connection lives on.
            Err(error) => println!("Error: {error}"),
        }
    }
}

/// Lets every error out: the client sees 1011, `on_error` sees the error. A disconnect is none.
async fn unhandled(mut websocket: WebSocket) -> anyhow::Result<()> {
    websocket.accept().await?;
    loop {
        let text = websocket.receive_text().await?;
        websocket.send_text(format!("Message: {}", double(&text)?)).await?;
    }
}

fn double(text: &str) -> anyhow::Result<i64> {
    anyhow::ensure!(text != "error", "simulated error");
    let number: i64 = text.trim().parse()?;
    number.checked_mul(2).ok_or_else(|| anyhow::anyhow!("{number} is too large"))
}

fn main() -> nexios::Result {
    App::new()
        .websocket_route("/ws/error", handled)
        .websocket_route("/ws/unhandled", unhandled)
        .on_error(|error| println!("on_error: {error}"))
        .run()
}
