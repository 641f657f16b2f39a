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
#[proc_macro_attribute]
pub fn websocket_route(attribute: TokenStream, item: TokenStream) -> TokenStream {
    route::expand(attribute.into(), item.into()).unwrap_or_else(syn::Error::into_compile_error).into()
}
