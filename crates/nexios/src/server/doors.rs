//! Which requests a listener lets in at all: those that name a host that it answers to (DNS rebinding).
//!
//! A page of any site can have its own name resolved to an address of the machine or the network that it is shown on. For the
//! browser its requests then are of the same origin; only the name that they carry tells.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, Request};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use http::header::{CONNECTION, HOST, HeaderValue};
use http::request::Parts;
use http::{StatusCode, Version};

use super::AppHandle;
use crate::host::{self, AllowedHosts, Host};
use crate::observe::connection_refused;

/// The most bytes of a host that are logged.
const LOGGED: usize = 256;

/// The host that a [`TestClient`](crate::testing::TestClient) names.
const IN_PROCESS: &str = "test";

/// What is asked of every request of a listener, before anything else sees it.
#[derive(Clone, Debug)]
pub(crate) struct Doors {
    hosts: Hosts,
    is_in_process: bool,
    handle: AppHandle,
}

/// Beside a request that came from within the process, a [`TestClient`](crate::testing::TestClient)'s.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InProcess;

#[derive(Clone, Debug)]
enum Hosts {
    All,
    /// Those that the app was told.
    Listed {
        list: AllowedHosts,
        also: Option<&'static str>,
    },
    /// Of this machine alone, and what a name was resolved to it for.
    Loopback {
        bound: Option<Arc<str>>,
    },
}

impl Doors {
    /// Those of a listener on this address, which was found by a name, perhaps.
    pub(super) fn of_listener(handle: &AppHandle, address: Option<SocketAddr>, bound: Option<&Arc<str>>) -> Self {
        let config = handle.config();
        let is_loopback = address.is_some_and(|address| address.ip().to_canonical().is_loopback());
        let hosts = match &config.hosts {
            Some(list) => Hosts::Listed { list: list.clone(), also: None },
            // Whatever a proxy was asked for: it has to know its own names.
            None if is_loopback && config.proxies.networks().is_empty() => Hosts::Loopback { bound: bound.cloned() },
            None => Hosts::All,
        };
        Self { hosts, is_in_process: false, handle: handle.clone() }
    }

    /// Those of connections within the process.
    pub(super) fn in_process(handle: &AppHandle) -> Self {
        let list = handle.config().hosts.clone();
        let hosts = list.map_or(Hosts::All, |list| Hosts::Listed { list, also: Some(IN_PROCESS) });
        Self { hosts, is_in_process: true, handle: handle.clone() }
    }

    /// Those of the operator's listener: what the public one is called is not its name.
    pub(super) fn of_operator(handle: &AppHandle, address: SocketAddr) -> Self {
        let is_loopback = address.ip().to_canonical().is_loopback();
        let hosts = if is_loopback { Hosts::Loopback { bound: None } } else { Hosts::All };
        Self { hosts, is_in_process: false, handle: handle.clone() }
    }

    /// Puts those of an app that is mounted in another server around it: that server has looked at the request already.
    pub(crate) fn around(router: axum::Router, handle: &AppHandle) -> axum::Router {
        let Some(list) = handle.config().hosts.clone() else { return router };
        let hosts = Hosts::Listed { list, also: None };
        let doors = Arc::new(Self { hosts, is_in_process: false, handle: handle.clone() });
        router.layer(from_fn(move |request: Request, next: Next| {
            let doors = Arc::clone(&doors);
            async move {
                let (mut parts, body) = request.into_parts();
                #[cfg(feature = "http2")]
                crate::routing::unify(&mut parts);
                match doors.check(&mut parts) {
                    Ok(()) => next.run(Request::from_parts(parts, body)).await,
                    Err(refusal) => refusal,
                }
            }
        }))
    }

    /// Settles the request's `Host`, or refuses the request: with 400 where it names no host, and with 403 where it names one
    /// that is not answered to. Not with 421 (RFC 9110 §15.5.20), which asks a client to try again on a connection of its
    /// own.
    #[expect(clippy::result_large_err, reason = "it is built once and answered at once")]
    pub(crate) fn check(&self, parts: &mut Parts) -> Result<(), Response> {
        if let Err(invalid) = host::settle(parts) {
            self.note(parts, "host");
            return Err(refusal(parts.version, StatusCode::BAD_REQUEST, invalid.reason()));
        }
        self.note_unheeded(parts);
        let host = parts.headers.get(HOST).map_or(&b""[..], HeaderValue::as_bytes);
        if self.answers_to(host, host::is_absolute(&parts.uri)) {
            return Ok(());
        }
        self.log_host(parts, host);
        self.note(parts, "host");
        Err(refusal(parts.version, StatusCode::FORBIDDEN, "host not allowed\n"))
    }

    /// A browser sends an absolute target to a proxy only, so by default such a request is nobody's rebound name.
    fn answers_to(&self, host: &[u8], is_absolute: bool) -> bool {
        let parsed = Host::parse(host);
        match &self.hosts {
            Hosts::All => true,
            Hosts::Listed { list, also } => {
                parsed.is_some_and(|host| list.allow(&host) || also.is_some_and(|also| host.is_named(also)))
            }
            Hosts::Loopback { bound } => parsed.is_none_or(|host| {
                is_absolute || host.is_loopback() || bound.as_ref().is_some_and(|bound| host.is_named(bound))
            }),
        }
    }

    fn note(&self, parts: &Parts, why: &'static str) {
        connection_refused(why);
        if let Some(peer) = peer(parts) {
            self.handle.connections().admission().note_refusal(peer.ip());
        }
    }

    fn log_host(&self, parts: &Parts, host: &[u8]) {
        let is_default = matches!(self.hosts, Hosts::Loopback { .. });
        self.handle.log_sums().add("host", || {
            let (peer, host) = (peer(parts), host[..host.len().min(LOGGED)].escape_ascii().to_string());
            move |count| {
                if is_default {
                    tracing::warn!(
                        count, ?peer, host,
                        "host not allowed: a loopback listener answers to localhost only; App::hosts lists other names, \
                         ServerConfig::trusted_proxies names a proxy in front"
                    );
                } else {
                    tracing::warn!(count, ?peer, host, "host not allowed: App::hosts does not list it");
                }
            }
        });
    }

    /// Once for an app: a proxy that nobody has named hides all of its clients.
    fn note_unheeded(&self, parts: &Parts) {
        let Some(peer) = peer(parts) else { return };
        self.handle.note_forwarding(peer.ip(), || parts.headers.keys().map(http::HeaderName::as_str));
    }
}

fn peer(parts: &Parts) -> Option<SocketAddr> {
    parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0)
}

/// Nothing that follows it on its connection is another request.
fn refusal(version: Version, status: StatusCode, reason: &'static str) -> Response {
    let mut response = (status, reason).into_response();
    if version != Version::HTTP_2 {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Checks a request by the doors that stand beside it.
#[expect(clippy::result_large_err, reason = "it is built once and answered at once")]
pub(super) fn check(parts: &mut Parts) -> Result<(), Response> {
    // It has done its work: what stands beside a request is kept as long as the connection.
    let Some(doors) = parts.extensions.remove::<Arc<Doors>>() else { return Ok(()) };
    if doors.is_in_process {
        parts.extensions.insert(InProcess);
    }
    doors.check(parts)
}
