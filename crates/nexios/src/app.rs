//! The application: routes, middleware, limits, and how it is served.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Extension;
use tokio::net::TcpListener;
use tower::{Layer, Service};

use crate::backplane::{Backplane, BackplaneConfig};
use crate::config::Config;
use crate::connection::{OnError, Registry};
use crate::groups::{Groups, GroupsConfig};
use crate::handler::Handler;
use crate::host::AllowedHosts;
use crate::memory_budget::Budget;
use crate::middleware::{IntoMiddleware, MiddlewareShape};
use crate::observe::{self, Observed};
use crate::routing::{AppContext, IntoRoute, WsRouter};
use crate::server::{AppHandle, Doors, Server, ServerConfig};
use crate::{Error, Result};

/// An application: built by value, then [run](Self::run), [served](Self::serve), or mounted in an axum application
/// with [`into_router`](Self::into_router).
///
/// ```no_run
/// use nexios::prelude::*;
///
/// async fn echo(mut websocket: WebSocket) -> nexios::Result {
///     websocket.accept().await?;
///     loop {
///         let message = websocket.receive().await?;
///         websocket.send(message).await?;
///     }
/// }
///
/// fn main() -> nexios::Result {
///     App::new().websocket_route("/ws", echo).run()
/// }
/// ```
///
/// The order of calls does not matter, with these exceptions:
///
/// - the state comes first ([`with_state`](Self::with_state));
/// - [`groups_config`](Self::groups_config) comes before the first call of [`groups`](Self::groups), and panics behind it;
/// - of [middleware](Self::add_ws_middleware) the first that is added is the outermost, of [layers](Self::layer) the last;
/// - of two calls of [`config`](Self::config), [`server_config`](Self::server_config), [`bind`](Self::bind) and the like the last
///   one counts, for routes that were added before as well.
///
/// A [`handle`](Self::handle) may be taken at any time: it learns of the settings when the app is built.
#[doc(alias = "Nexios")]
#[doc(alias = "NexiosApp")]
pub struct App<S = ()> {
    state: S,
    routes: WsRouter<S>,
    http: axum::Router,
    layers: Vec<Box<dyn FnOnce(axum::Router) -> axum::Router + Send>>,
    config: Config,
    server: ServerConfig,
    address: Option<String>,
    hosts: Option<AllowedHosts>,
    workers: Option<usize>,
    groups: Groups,
    /// Whether anybody was given a handle to the groups: from then on their settings stay.
    groups_are_shared: AtomicBool,
    on_error: Option<OnError>,
    handle: AppHandle,
    backplane: Option<Arc<dyn Backplane>>,
    backplane_config: BackplaneConfig,
    pub(crate) observed: Observed,
    #[cfg(feature = "tls")]
    tls: Option<crate::Tls>,
}

impl App<()> {
    /// An app without state.
    pub fn new() -> Self {
        Self::with_state(())
    }
}

impl<S> App<S>
where
    S: Clone + Send + Sync + 'static,
{
    /// An app whose handlers and middleware may take the state, or a part of it (`FromRef`), with axum's `State<T>`.
    pub fn with_state(state: S) -> Self {
        let connections = Arc::<Registry>::default();
        Self {
            state,
            routes: WsRouter::new(),
            http: axum::Router::new(),
            layers: Vec::new(),
            config: Config::default(),
            server: ServerConfig::default(),
            address: None,
            hosts: None,
            workers: None,
            groups: Groups::new(Arc::clone(&connections), GroupsConfig::default()),
            groups_are_shared: AtomicBool::new(false),
            on_error: None,
            handle: AppHandle::new(connections),
            backplane: None,
            backplane_config: BackplaneConfig::default(),
            observed: Observed::default(),
            #[cfg(feature = "tls")]
            tls: None,
        }
    }

    // ---- routes

    /// Adds a handler at a path, in axum's syntax: `/chat/{room}`. See [`Handler`] for what a handler is.
    pub fn websocket_route<T, H>(mut self, path: impl Into<String>, handler: H) -> Self
    where
        H: Handler<T, S>,
        T: 'static,
    {
        self.routes = self.routes.ws_route(path, handler);
        self
    }

    /// Adds a route: a [`WebSocketRoute`](crate::WebSocketRoute), a [`WebSocketEndpoint`](crate::WebSocketEndpoint)'s, or a function with the
    /// attribute `#[websocket_route]`.
    pub fn add_ws_route<T>(mut self, route: impl IntoRoute<S, T>) -> Self {
        self.routes = self.routes.add_ws_route(route);
        self
    }

    /// Mounts a router's routes under their own paths.
    #[doc(alias = "include_ws_router")]
    pub fn mount_ws_router(mut self, router: WsRouter<S>) -> Self {
        self.routes = self.routes.mount_ws_router(router);
        self
    }

    /// Mounts a router's routes under a prefix.
    pub fn mount_ws_router_at(mut self, prefix: impl Into<String>, router: WsRouter<S>) -> Self {
        self.routes = self.routes.mount_ws_router_at(prefix, router);
        self
    }

    /// Adds middleware for all WebSocket routes of the app, whether they were added before or after: the outermost of
    /// all, in the order of adding.
    ///
    /// ```
    /// # use nexios::auth::secret_eq;
    /// # use nexios::prelude::*;
    /// async fn auth(websocket: WebSocket, call_next: Next) -> nexios::Result {
    ///     if websocket.query_params().get("token").is_some_and(|token| secret_eq(token, "valid-token")) {
    ///         call_next.run(websocket).await
    ///     } else {
    ///         let mut websocket = websocket;
    ///         websocket.close(1008, "Unauthorized").await
    ///     }
    /// }
    /// let app = App::new().add_ws_middleware(auth);
    /// ```
    pub fn add_ws_middleware<T>(mut self, middleware: impl MiddlewareShape<T> + IntoMiddleware<T, S>) -> Self {
        self.routes = self.routes.add_ws_middleware(middleware);
        self
    }

    /// Serves HTTP beside the WebSocket routes: pages, files, an API, whose handlers may take [`Groups`] to publish. May be
    /// called more than once.
    ///
    /// # Panics
    ///
    /// When two routers have the same route, as axum's `merge` does.
    pub fn http(mut self, router: axum::Router) -> Self {
        self.http = self.http.merge(router);
        self
    }

    /// Wraps every request, those of WebSocket handshakes and of HTTP, in a tower layer. A layer that is added later is
    /// outside of those before.
    ///
    /// A layer runs **after** routing, as those of [`axum::Router::layer`] do: it sees the request with its path as the router
    /// has matched it, the handshake before any middleware, and the response: a handshake's 101 when the handler
    /// accepts. Of messages it sees nothing, nor of how the connection ends; [middleware](Self::add_ws_middleware) is for that.
    /// Requests for which there is no route pass through it, too, and are answered with 404 whatever it makes of their path:
    /// what rewrites paths goes into [`layer_before_routing`](Self::layer_before_routing).
    pub fn layer<L>(mut self, layer: L) -> Self
    where
        L: Layer<axum::routing::Route> + Clone + Send + Sync + 'static,
        L::Service:
            Service<axum::extract::Request, Error: Into<std::convert::Infallible>> + Clone + Send + Sync + 'static,
        <L::Service as Service<axum::extract::Request>>::Response: axum::response::IntoResponse + 'static,
        <L::Service as Service<axum::extract::Request>>::Future: Send + 'static,
    {
        self.layers.push(Box::new(move |router| router.layer(layer)));
        self
    }

    /// Wraps all of the app, its routing included, in a tower layer: it may change the path that is looked up. Beside
    /// [`layer`](Self::layer) the order is one: what is added later is outside.
    ///
    /// ```
    /// use axum::extract::Request;
    /// use nexios::prelude::*;
    /// use tower::util::MapRequestLayer;
    ///
    /// /// `/v1/chat` is `/chat`.
    /// fn without_version(mut request: Request) -> Request {
    ///     let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
    ///     if let Some(Ok(rest)) = target.strip_prefix("/v1").map(str::parse) {
    ///         *request.uri_mut() = rest;
    ///     }
    ///     request
    /// }
    ///
    /// # async fn chat(mut websocket: WebSocket) -> nexios::Result { websocket.accept().await }
    /// let app = App::new().websocket_route("/chat", chat).layer_before_routing(MapRequestLayer::new(without_version));
    /// # use nexios::testing::TestClient;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn check(app: App) {
    /// # let client = TestClient::new(app);
    /// # client.connect("/v1/chat?q=1").await.unwrap();
    /// # client.connect("/chat").await.unwrap();
    /// # assert!(client.connect("/v2/chat").await.is_err());
    /// # }
    /// # check(app);
    /// ```
    pub fn layer_before_routing<L>(mut self, layer: L) -> Self
    where
        L: Layer<axum::Router> + Send + 'static,
        L::Service: Service<axum::extract::Request, Error = std::convert::Infallible> + Clone + Send + Sync + 'static,
        <L::Service as Service<axum::extract::Request>>::Response: axum::response::IntoResponse,
        <L::Service as Service<axum::extract::Request>>::Future: Send + 'static,
    {
        self.layers.push(Box::new(move |router| axum::Router::new().fallback_service(layer.layer(router))));
        self
    }

    // ---- settings

    /// Sets limits and deadlines for all routes that have none of their own.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Sets limits on the server as a whole, and how it goes down.
    pub fn server_config(mut self, config: ServerConfig) -> Self {
        self.server = config;
        self
    }

    /// Serves `https://` and `wss://` instead of `http://` and `ws://`, when it is [run](Self::run) or
    /// [served](Self::serve): HTTP/1.1 and HTTP/2, with many `WebSocket`s on one connection (RFC 8441). An app that
    /// is [mounted](Self::into_router) has the TLS of what it is mounted in.
    ///
    /// All of a TLS handshake and the head of the first request are due within
    /// [`Config::handshake_timeout`](crate::Config::handshake_timeout) (10 s).
    #[cfg(feature = "tls")]
    pub fn tls(mut self, tls: crate::Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Sets what groups may hold, who may do what in them, and hooks on joins and leaves.
    ///
    /// # Panics
    ///
    /// After the first call of [`groups`](Self::groups), whatever has become of that handle since: what was done with it
    /// was done under the old settings.
    pub fn groups_config(mut self, config: GroupsConfig) -> Self {
        let is_in_time = !*self.groups_are_shared.get_mut() && self.groups.configure(config);
        assert!(is_in_time, "groups_config comes before the first call of groups()");
        self
    }

    /// Joins the app's groups to those of other nodes: processes of the same program that use the same engine, on this machine
    /// or others. The crates `nexios-redis` and `nexios-nats` have one each; [`backplane`](crate::backplane) tells how to
    /// write another.
    ///
    /// ```
    /// use nexios::backplane::Memory;
    /// use nexios::prelude::*;
    ///
    /// let engine = Memory::new();
    /// let one = App::new().backplane(engine.node());
    /// let another = App::new().backplane(engine.node());
    /// # drop((one, another));
    /// ```
    ///
    /// Everything that is done with [`Groups`] then concerns all nodes, and so do
    /// [`AppHandle::close_user`] and [`AppHandle::send_to_user`]. It has a thread of its own. The engine need not be there when
    /// the app starts, and may go and come back: members of this node reach each other in any case, what is for others
    /// waits ([`BackplaneConfig::outbox`]), and whoever may have missed something is told
    /// ([`GroupsConfig::on_gap`]). `/readyz` and the metrics show it, and [`AppHandle::backplane`].
    ///
    /// An app that cannot use its backplane at all does not [`run`](Self::run) or [`serve`](Self::serve).
    pub fn backplane(mut self, backplane: impl Backplane) -> Self {
        self.backplane = Some(Arc::new(backplane));
        self
    }

    /// Sets timeouts and limits for the work with other nodes.
    pub fn backplane_config(mut self, config: BackplaneConfig) -> Self {
        self.backplane_config = config;
        self
    }

    /// Sees every error that a handler or middleware lets out, panics included, after it was logged. Disconnects are no
    /// errors.
    pub fn on_error(mut self, hook: impl Fn(&Error) + Send + Sync + 'static) -> Self {
        self.on_error = Some(Arc::new(hook));
        self
    }

    /// The address that [`run`](Self::run) listens on, as `host:port`. Without it: `NEXIOS_HOST` and `NEXIOS_PORT`, or
    /// 127.0.0.1:8000.
    ///
    /// A name stands for all its addresses, `localhost` for 127.0.0.1 and `::1` on most machines: `run` listens on each, on
    /// one port, and logs each. Of several addresses those that this machine does not have are left out with a warning.
    pub fn bind(mut self, address: impl fmt::Display) -> Self {
        self.address = Some(format!("{address}"));
        self
    }

    /// The hosts that the app answers to: names (`app.example`), all names below one (`*.app.example`), addresses (`10.0.0.1`,
    /// `::1`), each with a port or with any, or `*` for all. Others are answered with 403 before any handler, HTTP routes
    /// included, over HTTP/1.1 and HTTP/2; a request that names no host, or a malformed one, with 400.
    ///
    /// It is a protection from DNS rebinding: a page of any site may have its own name resolved to an address that only its
    /// visitor can reach, and is then of the same origin as what answers there.
    ///
    /// Without this call an app that listens on a loopback address, under [`run`](Self::run) or [`serve`](Self::serve), answers
    /// to this machine's own hosts: `localhost` and names below it, 127.0.0.0/8, `[::1]`, and the name that it was
    /// [bound](Self::bind) to. Requests with an absolute target (`GET http://app.example/ HTTP/1.1`) are answered, too: no browser
    /// sends them to what is not its proxy. With [`trusted_proxies`](crate::ServerConfig::trusted_proxies), on other addresses and
    /// [mounted](Self::into_router) it answers to every host. A [`TestClient`](crate::testing::TestClient) is always let in, as
    /// `test`.
    ///
    /// ```
    /// use nexios::App;
    ///
    /// let app = App::new().hosts(["app.example", "*.app.example", "localhost"]);
    /// # drop(app);
    /// ```
    ///
    /// # Panics
    ///
    /// When an entry is no host: a URL, a path, a wildcard elsewhere than in front.
    pub fn hosts<I>(mut self, hosts: I) -> Self
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        let hosts = AllowedHosts::parse(hosts);
        assert!(hosts.is_ok(), "{:?} is no host", hosts.as_ref().err().map_or("", String::as_str));
        self.hosts = hosts.ok();
        self
    }

    /// How many threads [`run`](Self::run) serves with, instead of one for each core.
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = Some(workers.max(1));
        self
    }

    /// The app's groups, for sending from outside of a connection. What is done with this handle is done by the app
    /// itself: its [`GroupPolicy`](crate::GroupPolicy) is not asked. [`groups_config`](Self::groups_config) comes before.
    pub fn groups(&self) -> Groups {
        self.groups_are_shared.store(true, Ordering::Relaxed);
        self.groups.clone()
    }

    /// A handle that shuts the app down and counts its connections.
    pub fn handle(&self) -> AppHandle {
        self.handle.clone()
    }

    // ---- serving

    /// Runs the app until Ctrl-C or SIGTERM, on all cores: each has a runtime and a listener of its own. Then it drains:
    /// no more connections are taken, the open ones are closed with 1001, and their handlers awaited, for at most 10 s
    /// ([`AppHandle::shutdown`] has the details). A second signal ends it at once.
    ///
    /// Each of these runtimes has a single thread, which all of its connections share: a handler that blocks (a synchronous
    /// database client, a long computation, `std::thread::sleep`) holds up every other connection of that core, their pings
    /// and deadlines included. `tokio::task::block_in_place` is for runtimes of several threads, and panics here;
    /// [`tokio::task::spawn_blocking`] works.
    ///
    /// Sockets that a service manager passes (systemd's socket activation, `LISTEN_FDS`) are taken instead of an address.
    /// The limit of open files is raised as far as the system allows.
    ///
    /// # Errors
    ///
    /// When the address cannot be used, and when it is called inside of an async runtime, where
    /// [`serve`](Self::serve) belongs.
    pub fn run(self) -> Result {
        let (address, workers) = (self.address.clone(), self.workers);
        crate::server::begin_to_log();
        let server = self.into_server();
        crate::server::run(&server, address, workers)
    }

    /// Serves the app on a listener, inside of a runtime of yours, until [`AppHandle::shutdown`] is called; then drains
    /// as [`run`](Self::run) does.
    ///
    /// # Cancel safety
    ///
    /// Dropping it stops accepting; connections go on.
    ///
    /// # Errors
    ///
    /// When the listener fails for good. Errors of single connections are not such.
    pub fn serve(self, listener: TcpListener) -> impl Future<Output = Result> + Send {
        let server = self.into_server();
        async move { server.serve(vec![listener]).await }
    }

    /// The app as an axum router, to be nested in or merged with others.
    ///
    /// # Panics
    ///
    /// When two routes have the same path, or a path is no valid one.
    pub fn into_router<S2>(self) -> axum::Router<S2>
    where
        S2: Clone + Send + Sync + 'static,
    {
        let handle = self.handle();
        let built = self.build();
        Doors::around(built.router, &handle).with_state(())
    }

    /// Its routes, and those of the operator's listener with its address.
    fn build(mut self) -> Built {
        if self.hosts.is_some() {
            self.server.hosts = self.hosts.take();
        }
        self.handle.configure(self.server.clone(), self.groups.clone());
        if let Some(backplane) = self.backplane.take() {
            let users = Arc::clone(self.handle.users());
            let node = self.groups.join_nodes(backplane, self.backplane_config.clone(), users);
            let checked = Arc::clone(&node);
            self.observed.check(observe::BACKPLANE, move || checked.check());
            self.handle.join_nodes(&node);
            node.run();
        }
        let (groups, proxies) = (self.groups.clone(), self.server.proxies.clone());
        let budget = Arc::new(Budget::new(self.server.buffered()));
        self.groups.account_to(&budget);
        let context = Arc::new(AppContext {
            groups: self.groups,
            connections: self.handle.connections(),
            handle: self.handle.clone(),
            on_error: self.on_error,
            users: Arc::clone(self.handle.users()),
            proxies: self.server.proxies.clone(),
            budget: Arc::clone(&budget),
            is_metered: self.observed.is_metered(),
        });
        observe::observe_app(&context);
        let mut router = axum::Router::new();
        for route in self.routes.bind(&context, &self.config, &self.state) {
            let route = Arc::new(route);
            let path = route.path().to_owned();
            let service = move |request| Arc::clone(&route).respond(request);
            router = router.route_service(&path, tower::service_fn(service));
        }
        let http = self.http.layer(Extension(groups)).layer(Extension(proxies));
        let (pages, operator) = self.observed.pages(&self.handle);
        let router = router.merge(http).merge(pages);
        let router = self.layers.into_iter().fold(router, |router, layer| layer(router));
        Built { router, operator, budget }
    }

    pub(crate) fn into_server(self) -> Server {
        let (config, server, handle) = (self.config.clone(), self.server.clone(), self.handle.clone());
        #[cfg(feature = "tls")]
        let tls = self.tls.clone();
        let answers_health = self.observed.has_health();
        let Built { router, operator, budget } = self.build();
        let server = Server::new(router, &config, &server, budget, handle);
        let server = server.with_operator(operator).with_health(answers_health);
        #[cfg(feature = "tls")]
        let server = server.with_tls(tls);
        server
    }
}

/// What an app is built into.
struct Built {
    router: axum::Router,
    /// The operator's pages and the address of their listener.
    operator: Option<(String, axum::Router)>,
    budget: Arc<Budget>,
}

impl Default for App<()> {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> fmt::Debug for App<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App").field("routes", &self.routes).field("config", &self.config).finish_non_exhaustive()
    }
}
