//! Pages for the operator on the public's listener: for whoever is on this machine, and for nobody else.

use std::net::SocketAddr;

use axum::extract::{ConnectInfo, Request};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{HOST, HeaderName};
use http::request::Parts;

use crate::host::Host;
use crate::server::{AppHandle, InProcess};

/// Beside a request that comes from the operator, as far as can be told.
#[derive(Clone, Copy, Debug)]
pub(super) struct FromOperator;

/// How well the other end of a request is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum From {
    /// A process of this machine, and nobody for whom it forwards.
    Here,
    Elsewhere,
    /// The app is mounted in a server that does not tell (`axum::serve` without `ConnectInfo`).
    Unknown,
}

/// Answers with these pages on this machine only.
///
/// `unknown`: also where the app is mounted in a server that does not tell who asks.
pub(super) fn guard(pages: axum::Router, handle: &AppHandle, unknown: bool) -> axum::Router {
    let handle = handle.clone();
    pages.route_layer(axum::middleware::from_fn(move |request: Request, next: Next| {
        let handle = handle.clone();
        async move { admit(request, next, &handle, unknown).await }
    }))
}

async fn admit(request: Request, next: Next, handle: &AppHandle, unknown: bool) -> Response {
    let (mut parts, body) = request.into_parts();
    match from(&parts, handle) {
        From::Here => {
            parts.extensions.insert(FromOperator);
        }
        From::Unknown if unknown => {}
        From::Elsewhere | From::Unknown => return refuse(&parts, handle),
    }
    next.run(Request::from_parts(parts, body)).await
}

fn from(parts: &Parts, handle: &AppHandle) -> From {
    if parts.extensions.get::<InProcess>().is_some() {
        return From::Here;
    }
    let Some(ConnectInfo(peer)) = parts.extensions.get::<ConnectInfo<SocketAddr>>() else { return From::Unknown };
    let proxies = &handle.config().proxies;
    let pairs = || parts.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    let is_forwarded = proxies.is_unheeded(peer.ip(), parts.headers.keys().map(HeaderName::as_str));
    // A page whose name was made to lead here is not the operator.
    let host = parts.headers.get(HOST).and_then(|host| Host::parse(host.as_bytes()));
    let is_here = proxies.client_ip(peer.ip(), pairs).is_loopback();
    if is_here && !is_forwarded && host.is_none_or(|host| host.is_loopback()) { From::Here } else { From::Elsewhere }
}

fn refuse(parts: &Parts, handle: &AppHandle) -> Response {
    let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0);
    handle.log_sums().add("operator pages", || {
        move |count| {
            tracing::warn!(
                count,
                ?peer,
                "the operator's pages are for this machine only: App::operator puts them on an address of their own"
            );
        }
    });
    (StatusCode::FORBIDDEN, "this page is for the operator\n").into_response()
}
