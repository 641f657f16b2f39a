//! One route.

use std::fmt;
use std::sync::Arc;

use crate::config::Config;
use crate::handler::Handler;
use crate::middleware::{BoundHandler, IntoMiddleware, Middleware, MiddlewareShape};

/// A path with its handler, its own middleware and, if it needs them, its own limits.
///
/// ```
/// # use nexios::prelude::*;
/// # async fn upload(websocket: WebSocket) {}
/// # async fn auth(websocket: WebSocket, next: Next) -> nexios::Result { next.run(websocket).await }
/// let route = WebSocketRoute::new("/upload", upload)
///     .middleware(auth)
///     .config(Config::new().message_size(64 * 1024 * 1024));
/// let app = App::new().add_ws_route(route);
/// ```
pub struct WebSocketRoute<S = ()> {
    pub(super) path: String,
    pub(super) bind: Arc<dyn Fn(S) -> BoundHandler + Send + Sync>,
    pub(super) middleware: Vec<Middleware<S>>,
    pub(super) config: Option<Config>,
}

impl<S> WebSocketRoute<S>
where
    S: Clone + Send + Sync + 'static,
{
    /// A route. The path begins with `/` and has axum's syntax: `/chat/{room}`, `/files/{*path}`.
    pub fn new<T, H>(path: impl Into<String>, handler: H) -> Self
    where
        H: Handler<T, S>,
        T: 'static,
    {
        let bind = move |state: S| {
            let handler = handler.clone();
            let bound: BoundHandler =
                Arc::new(move |websocket| Box::pin(handler.clone().call(websocket, state.clone())));
            bound
        };
        Self { path: path.into(), bind: Arc::new(bind), middleware: Vec::new(), config: None }
    }

    /// Adds middleware for this route alone: inside of the routers' and the app's, in the order of adding.
    pub fn middleware<T>(mut self, middleware: impl MiddlewareShape<T> + IntoMiddleware<T, S>) -> Self {
        self.middleware.push(middleware.into_middleware());
        self
    }

    /// Sets limits and deadlines for this route, in place of the app's.
    pub fn config(mut self, config: Config) -> Self {
        self.config = Some(config);
        self
    }

    /// The path as it was given.
    pub fn path(&self) -> &str {
        &self.path
    }
}

/// What [`App::add_ws_route`](crate::App::add_ws_route) takes: a [`WebSocketRoute`], or a function that makes one, as the
/// attribute `#[websocket_route]` makes of a handler.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a WebSocket route",
    label = "expected a `WebSocketRoute`",
    note = "a handler becomes a route with `WebSocketRoute::new(\"/path\", handler)` or the attribute `#[websocket_route(\"/path\")]`",
    note = "an endpoint becomes one with `MyEndpoint::as_route(\"/path\")`"
)]
pub trait IntoRoute<S, T> {
    /// The route.
    fn into_route(self) -> WebSocketRoute<S>;
}

impl<S> IntoRoute<S, ()> for WebSocketRoute<S> {
    fn into_route(self) -> WebSocketRoute<S> {
        self
    }
}

impl<S, F: FnOnce() -> WebSocketRoute<S>> IntoRoute<S, F> for F {
    fn into_route(self) -> WebSocketRoute<S> {
        self()
    }
}

impl<S> fmt::Debug for WebSocketRoute<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebSocketRoute")
            .field("path", &self.path)
            .field("middleware", &self.middleware.len())
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}
