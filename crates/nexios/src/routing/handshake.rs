//! A request becomes a connection: the opening handshake is checked, and the connection's task started.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{ConnectInfo, Request};
use axum::response::{IntoResponse, Response};
use http::header::{CONNECTION, HOST, HeaderName, HeaderValue, ORIGIN};
use http::{StatusCode, Version, request};
use hyper::upgrade::OnUpgrade;
use nexios_proto::Role;
use nexios_proto::handshake::{HttpVersion, server, server::HandshakeError};
use tokio::sync::oneshot;

use crate::auth::Users;
use crate::config::Config;
use crate::connection::{ConnectionTask, Link, OnError, Registry, Settings};
use crate::groups::Groups;
use crate::host;
use crate::memory_budget::Budget;
use crate::middleware::Chain;
use crate::observe::{ConnectionSpan, Meter, connection_refused};
use crate::origin::{Asked, Found};
#[cfg(feature = "tls")]
use crate::server::StreamGuard;
use crate::server::{AppHandle, HeadMemory, InProcess, OverTls, Refused, Seat, SocketSeat, TrustedProxies};
use crate::websocket::{Handshake, Opening, WebSocket, header_pairs};

/// What all connections of an app share.
pub(crate) struct AppContext {
    pub(crate) groups: Groups,
    pub(crate) connections: Arc<Registry>,
    pub(crate) handle: AppHandle,
    pub(crate) on_error: Option<OnError>,
    pub(crate) budget: Arc<Budget>,
    /// Whether [`App::metrics`](crate::App) was asked for.
    pub(crate) is_metered: bool,
    pub(crate) proxies: TrustedProxies,
    pub(crate) users: Arc<Users>,
}

/// A route with everything around it, ready for connections.
pub(crate) struct BoundRoute {
    settings: Arc<Settings>,
    chain: Arc<Chain>,
    app: Arc<AppContext>,
}

impl BoundRoute {
    pub(super) fn new(path: String, config: Config, chain: Chain, app: &Arc<AppContext>) -> Self {
        let on_error = app.on_error.clone();
        let budget = Arc::clone(&app.budget);
        let meter = Meter::of_route(&path, app.is_metered);
        let (proxies, users) = (app.proxies.clone(), Some(Arc::clone(&app.users)));
        let (route, log_sums) = (path.into(), app.handle.log_sums().clone());
        let settings =
            Settings { role: Role::Server, route, config, on_error, budget, meter, proxies, users, log_sums };
        Self { settings: Arc::new(settings), chain: Arc::new(chain), app: Arc::clone(app) }
    }

    pub(crate) fn path(&self) -> &str {
        &self.settings.route
    }

    /// Answers a request: by the handler's word when it is a valid opening handshake, else by RFC 6455 §4.2 or RFC 8441.
    pub(crate) async fn respond(self: Arc<Self>, request: Request) -> Result<Response, Infallible> {
        let (mut parts, _body) = request.into_parts();
        let version = parts.version;
        #[cfg(feature = "http2")]
        super::http2::unify(&mut parts);
        let counted = self.settings.meter.handshake();
        let client = self.client(&parts);
        let mut is_refused_for_load = false;
        let answer = match self.validate(&mut parts) {
            Ok(handshake) => match self.admit(&mut parts, client) {
                Ok(seat) => {
                    let (respond, answer) = oneshot::channel();
                    self.start(parts, client, handshake, seat, respond);
                    let limit = self.settings.config.handshake_timeout;
                    match tokio::time::timeout(limit, answer).await {
                        // A handler that ended without an answer refuses.
                        Ok(answer) => {
                            answer.unwrap_or_else(|_| closing(version, StatusCode::FORBIDDEN.into_response()))
                        }
                        // This ends the wait for an answer, which cancels the handler.
                        Err(_) => self.undecided(version),
                    }
                }
                Err(refused) => {
                    is_refused_for_load = true;
                    connection_refused(refused.word());
                    closing(version, refused.into_response())
                }
            },
            Err(refusal) => closing(version, refusal),
        };
        // Over HTTP/2 a WebSocket begins with 200, and nothing else here does (RFC 8441 §5).
        let is_accepted = version == Version::HTTP_2 && answer.status() == StatusCode::OK;
        if answer.status().is_client_error()
            && !is_refused_for_load
            && let Some(client) = client.filter(|client| !self.app.proxies.trusts(*client))
        {
            self.app.connections.admission().note_refusal(client);
        }
        counted.answered(if is_accepted { StatusCode::SWITCHING_PROTOCOLS } else { answer.status() });
        Ok(answer)
    }

    /// The handshake, or the refusal.
    #[expect(clippy::result_large_err, reason = "it is built once and answered at once")]
    fn validate(&self, parts: &mut request::Parts) -> Result<Handshake, Response> {
        let opening = opening(parts).map_err(|error| {
            connection_refused("handshake");
            refusal(error)
        })?;
        host::settle(parts).map_err(|invalid| {
            connection_refused("host");
            (StatusCode::BAD_REQUEST, invalid.reason()).into_response()
        })?;
        self.check_origin(parts)?;
        let Some(upgrade) = parts.extensions.remove::<OnUpgrade>() else {
            // A server, or a layer, that cannot hand over its connection.
            return Err(StatusCode::INTERNAL_SERVER_ERROR.into_response());
        };
        let deflate = self.settings.config.compression.options(Role::Server);
        let deflate = deflate.and_then(|options| options.answer(header_pairs(&parts.headers)));
        Ok(Handshake { upgrade, opening, deflate })
    }

    /// Counts the connection, or says why there may be none.
    fn admit(&self, parts: &mut request::Parts, client: Option<IpAddr>) -> Result<Seat, Refused> {
        if self.app.handle.is_closed() {
            return Err(Refused::ShuttingDown);
        }
        HeadMemory::reserve(&self.app.budget, parts)?;
        let socket = parts.extensions.remove::<SocketSeat>();
        if let Some(client) = client.filter(|client| !self.app.proxies.trusts(*client)) {
            self.app.connections.admission().begin_handshake(client)?;
        }
        // Of several WebSockets on one socket the first one has the socket's seat.
        let seat = if parts.version == Version::HTTP_2 { None } else { socket };
        match seat.map(|seat| seat.take_for(client)).transpose()?.flatten() {
            Some(seat) => Ok(seat),
            None => self.app.connections.admission().admit(client),
        }
    }

    /// The address of the client, where it is known.
    fn client(&self, parts: &request::Parts) -> Option<IpAddr> {
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>()?.0.ip();
        // Those of a server of ours were looked at before: this is for an app that is mounted.
        self.app.handle.note_forwarding(peer, || parts.headers.keys().map(HeaderName::as_str));
        let pairs = || parts.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
        Some(self.app.proxies.client_ip(peer, pairs))
    }

    #[expect(clippy::result_large_err, reason = "it is built once and answered at once")]
    fn check_origin(&self, parts: &mut request::Parts) -> Result<(), Response> {
        // It has done its work: what stands beside a request is kept as long as the connection.
        let is_over_tls = parts.extensions.remove::<OverTls>().is_some();
        parts.extensions.remove::<InProcess>();
        let headers = &parts.headers;
        let mut origins = headers.get_all(ORIGIN).iter();
        let origin = match (origins.next(), origins.next()) {
            (None, _) => Found::None,
            (Some(origin), None) => Found::One(origin.as_bytes()),
            (Some(_), Some(_)) => Found::Several,
        };
        let scheme = || {
            let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>()?.0.ip();
            let pairs = || headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
            self.app.proxies.scheme(peer, pairs)
        };
        let asked = Asked {
            origin,
            host: headers.get(HOST).map(HeaderValue::as_bytes),
            scheme: if is_over_tls { Some("https") } else { scheme() },
        };
        if self.settings.config.origins.allow(&asked) {
            return Ok(());
        }
        connection_refused("origin");
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0);
        self.app.handle.log_sums().add("origin", || {
            let (route, origin) = (Arc::clone(&self.settings), origin.to_string());
            move |count| tracing::info!(count, route = &*route.route, %origin, ?peer, "origin not allowed")
        });
        Err((StatusCode::FORBIDDEN, "origin not allowed\n").into_response())
    }

    /// The handler did not decide in time: nothing is wrong with the request, which may be made again (RFC 9110 §15.6.4).
    #[cold]
    fn undecided(&self, version: Version) -> Response {
        tracing::warn!(route = self.path(), "the handler neither accepted nor refused in time");
        closing(version, (StatusCode::SERVICE_UNAVAILABLE, "the handshake took too long\n").into_response())
    }

    /// Starts the connection's task. When the client leaves before the answer, the receiving end of `respond` is dropped,
    /// and the task cancels the handler; what surrounds it cleans up by `Drop`.
    fn start(
        &self,
        mut parts: request::Parts,
        client: Option<IpAddr>,
        handshake: Handshake,
        seat: Seat,
        respond: oneshot::Sender<Response>,
    ) {
        let link = Link::new(Arc::clone(&self.settings), Some(respond));
        if let Some(messages) = client.and_then(|client| self.app.connections.admission().messages_of(client)) {
            link.share_rate(messages);
        }
        let groups = self.app.groups.of_connection(link.id());
        parts.extensions.insert(groups.clone());
        let websocket = WebSocket::new(Arc::clone(&link), groups, handshake, parts);
        let span = ConnectionSpan::new(self.path(), &websocket);
        let handler = self.chain.start(websocket);
        tokio::spawn(ConnectionTask::serve(link, handler, &self.app.connections, seat, span));
    }
}

/// Checks the request by the rules of its version of HTTP.
fn opening(parts: &mut request::Parts) -> Result<Opening, HandshakeError> {
    let version = match parts.version {
        #[cfg(feature = "http2")]
        Version::HTTP_2 => {
            super::http2::validate(parts)?;
            return Ok(Opening::Http2 {
                #[cfg(feature = "tls")]
                guard: parts.extensions.remove::<StreamGuard>(),
            });
        }
        #[cfg(not(feature = "http2"))]
        Version::HTTP_2 => HttpVersion::Http2,
        Version::HTTP_11 => HttpVersion::Http11,
        _ => HttpVersion::Http10,
    };
    let request = server::Request { method: parts.method.as_str(), version, headers: header_pairs(&parts.headers) };
    Ok(Opening::Http1(server::validate(&request)?.accept))
}

fn refusal(error: HandshakeError) -> Response {
    let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::BAD_REQUEST);
    let mut response = (status, format!("{error}\n")).into_response();
    for &(name, value) in error.response_headers() {
        if let Ok(name) = HeaderName::from_bytes(name.as_bytes()) {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
    }
    response
}

/// Nothing that follows a refused upgrade is taken for another request. Over HTTP/2 nothing can.
fn closing(version: Version, mut response: Response) -> Response {
    #[cfg(feature = "http2")]
    if version == Version::HTTP_2 {
        return super::http2::without_connection(response);
    }
    #[cfg(not(feature = "http2"))]
    let _ = version;
    response.headers_mut().append(CONNECTION, HeaderValue::from_static("close"));
    response
}
