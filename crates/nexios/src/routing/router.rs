//! Routers: routes and routers under a prefix, with middleware around them.

use std::fmt;
use std::sync::Arc;

use super::handshake::{AppContext, BoundRoute};
use super::route::{IntoRoute, WebSocketRoute};
use crate::config::Config;
use crate::handler::Handler;
use crate::middleware::{Chain, IntoMiddleware, Middleware, MiddlewareShape};

/// Routes that belong together, to be mounted in an app or another router.
///
/// ```
/// # use nexios::prelude::*;
/// # async fn chat(websocket: WebSocket) {}
/// # async fn notifications(websocket: WebSocket) {}
/// let router = WsRouter::new().ws_route("/chat", chat).ws_route("/notifications", notifications);
/// let app = App::new().mount_ws_router_at("/api", router); // /api/chat, /api/notifications
/// ```
#[doc(alias = "WSRouter")]
#[doc(alias = "WebsocketRoutes")]
pub struct WsRouter<S = ()> {
    routes: Vec<WebSocketRoute<S>>,
    mounted: Vec<(String, WsRouter<S>)>,
    middleware: Vec<Middleware<S>>,
}

impl<S> WsRouter<S>
where
    S: Clone + Send + Sync + 'static,
{
    /// A router without routes.
    pub fn new() -> Self {
        Self { routes: Vec::new(), mounted: Vec::new(), middleware: Vec::new() }
    }

    /// Adds a handler at a path; see [`Handler`] for what a handler is.
    #[doc(alias = "websocket_route")]
    pub fn ws_route<T, H>(self, path: impl Into<String>, handler: H) -> Self
    where
        H: Handler<T, S>,
        T: 'static,
    {
        self.add_ws_route(WebSocketRoute::new(path, handler))
    }

    /// Adds a route: of an endpoint, of the attribute, or with middleware and limits of its own.
    pub fn add_ws_route<T>(mut self, route: impl IntoRoute<S, T>) -> Self {
        self.routes.push(route.into_route());
        self
    }

    /// Mounts a router's routes under their own paths.
    #[doc(alias = "include_ws_router")]
    pub fn mount_ws_router(self, router: WsRouter<S>) -> Self {
        self.mount_ws_router_at("", router)
    }

    /// Mounts a router's routes under a prefix, which may hold parameters: `/rooms/{room}`.
    pub fn mount_ws_router_at(mut self, prefix: impl Into<String>, router: WsRouter<S>) -> Self {
        self.mounted.push((prefix.into(), router));
        self
    }

    /// Adds middleware for all routes of this router and of those mounted in it, whether they were added before or
    /// after. Middleware of one router runs in the order of adding.
    pub fn add_ws_middleware<T>(mut self, middleware: impl MiddlewareShape<T> + IntoMiddleware<T, S>) -> Self {
        self.middleware.push(middleware.into_middleware());
        self
    }

    /// All routes with their whole paths, their state and the middleware around them, outermost first.
    pub(crate) fn bind(&self, app: &Arc<AppContext>, config: &Config, state: &S) -> Vec<BoundRoute> {
        let mut bound = Vec::new();
        self.bind_below("", &[], &mut |path, route, outer| {
            let middleware = outer.iter().chain(&route.middleware).map(|one| one.bind(state.clone())).collect();
            let chain = Chain { middleware, handler: (route.bind)(state.clone()) };
            let config = route.config.as_ref().unwrap_or(config).clone();
            bound.push(BoundRoute::new(path, config, chain, app));
        });
        bound
    }

    fn bind_below(
        &self,
        prefix: &str,
        outer: &[Middleware<S>],
        add: &mut impl FnMut(String, &WebSocketRoute<S>, &[Middleware<S>]),
    ) {
        let middleware = [outer, &self.middleware].concat();
        for route in &self.routes {
            add(join(prefix, &route.path), route, &middleware);
        }
        for (below, router) in &self.mounted {
            router.bind_below(&join(prefix, below), &middleware, add);
        }
    }
}

/// `/api/` and `/chat` make `/api/chat`; `/` under a prefix is the prefix itself.
fn join(prefix: &str, path: &str) -> String {
    let prefix = prefix.trim_end_matches('/');
    match path {
        "" | "/" if !prefix.is_empty() => prefix.to_owned(),
        "" => String::new(),
        path if path.starts_with('/') => format!("{prefix}{path}"),
        path => format!("{prefix}/{path}"),
    }
}

impl<S> Default for WsRouter<S>
where
    S: Clone + Send + Sync + 'static,
{
    fn default() -> Self {
        Self::new()
    }
}

impl<S> fmt::Debug for WsRouter<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WsRouter")
            .field("routes", &self.routes)
            .field("mounted", &self.mounted)
            .field("middleware", &self.middleware.len())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefix_and_path_are_joined_by_one_slash() {
        let check = |prefix, path, expected: &str| assert_eq!(join(prefix, path), expected, "{prefix:?} + {path:?}");
        check("", "/chat", "/chat");
        check("/", "/chat", "/chat");
        check("/api", "/chat", "/api/chat");
        check("/api/", "/chat", "/api/chat");
        check("/api", "chat", "/api/chat");
        check("/api", "/", "/api");
        check("", "/", "/");
    }
}
