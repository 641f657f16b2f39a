//! Small programs that many tests serve.

use nexios::prelude::*;

/// Answers every message with itself.
pub(crate) async fn echo(mut websocket: WebSocket) -> nexios::Result {
    websocket.accept().await?;
    loop {
        let message = websocket.receive().await?;
        websocket.send(message).await?;
    }
}

/// An app with this handler at `/ws`.
pub(crate) fn app<F, R>(handler: F) -> App
where
    F: FnOnce(WebSocket) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = nexios::Result> + Send + 'static,
{
    App::new().websocket_route("/ws", handler)
}
