//! The attribute `#[websocket_route("/path")]` of [`nexios`](https://docs.rs/nexios), which re-exports it.

mod route;

use proc_macro::TokenStream;

/// Turns a handler into a route: `fn name(…)` becomes `fn name<S>() -> WebSocketRoute<S>`, for `app.add_ws_route(name)`.
///
/// ```
/// use nexios::prelude::*;
///
/// #[websocket_route("/chat/{room}")]
/// async fn chat(mut websocket: WebSocket, Path(room): Path<String>) -> nexios::Result {
///     websocket.accept().await?;
///     websocket.send_text(format!("welcome to {room}")).await
/// }
///
/// let app = App::new().add_ws_route(chat);
/// ```
///
/// Inside of the handler all names are yours, and nothing has to be in scope. Where the crate has another name in
/// `Cargo.toml` (`nx = { package = "nexios", … }`), or is found through another crate, the attribute is told its path, as text
/// or as it is: `#[websocket_route("/chat", crate = nx)]`, `#[websocket_route("/chat", crate = "my_framework::nexios")]`.
///
/// ```
/// mod framework {
///     pub use nexios;
/// }
/// use nexios::prelude::*;
///
/// #[websocket_route("/echo", crate = framework::nexios)]
/// async fn echo(mut websocket: WebSocket) -> nexios::Result {
///     websocket.accept().await?;
///     let message = websocket.receive().await?;
///     websocket.send(message).await
/// }
///
/// let app = App::new().add_ws_route(echo);
/// ```
#[proc_macro_attribute]
pub fn websocket_route(attribute: TokenStream, item: TokenStream) -> TokenStream {
    route::expand(attribute.into(), item.into()).unwrap_or_else(syn::Error::into_compile_error).into()
}
