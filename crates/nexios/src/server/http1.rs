//! HTTP/1.1 on one connection, until it ends or becomes a WebSocket.

use std::convert::Infallible;
use std::pin::pin;
use std::time::Duration;

use axum::body::Body;
use http::header::{CONNECTION, HeaderValue};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;
use tower::ServiceExt;

use super::answer::Answer;
use super::config::ServerConfig;
use super::head::HeadDeadline;
use super::stage::{Serving, Stage, StageCell};
use super::{Arrival, Server};

/// How long a connection that was taken just before a shutdown has for its first request.
const FIRST_REQUEST: Duration = Duration::from_millis(500);

pub(super) fn builder(server: &ServerConfig) -> http1::Builder {
    let mut http = http1::Builder::new();
    // The deadline for heads is kept by `HeadDeadline`, which can answer 408.
    http.header_read_timeout(None).max_buf_size(server.head_size).max_headers(server.head_lines);
    http
}

impl Server {
    /// Speaks HTTP/1.1. The first request's head is due at the arrival's deadline.
    pub(super) async fn serve_http1<S>(self, stream: S, arrival: Arrival)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let Self { router, http1, handle, handshake_timeout, .. } = self;
        let (stage, refused) = (StageCell::default(), handle.clone());
        let is_new = stage.clone();
        let io = TokioIo::new(HeadDeadline::new(stream, arrival.deadline, handshake_timeout, stage.clone()));
        let service = service_fn(move |mut request: Request<Incoming>| {
            let serving = stage.serving();
            arrival.note(request.extensions_mut());
            let upgrade = request.extensions().get::<OnUpgrade>().cloned();
            let response = respond(router.clone(), request, serving);
            let handle = refused.clone();
            async move {
                let mut response = response.await?;
                if let Some(upgrade) = upgrade
                    && response.status() != StatusCode::SWITCHING_PROTOCOLS
                {
                    // Also on a path that is no route: what follows was meant for a socket, not for HTTP.
                    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                    handle.spawn_http(end_refused::<S>(upgrade));
                }
                Ok::<_, Infallible>(response)
            }
        });
        let mut connection = pin!(http1.serve_connection(io, service).with_upgrades());
        let result = tokio::select! {
            result = connection.as_mut() => result,
            () = handle.stops_accepting() => {
                // The request of a newcomer is on its way: if the connection ended now, it would have no answer at all.
                let newcomer = if is_new.get() == Stage::Head { FIRST_REQUEST } else { Duration::ZERO };
                if let Ok(result) = timeout(newcomer, connection.as_mut()).await {
                    result
                } else {
                    // A request that is being answered is answered; an idle connection ends.
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            }
        };
        if let Err(error) = result {
            tracing::debug!(%error, "http connection ended");
        }
    }
}

async fn respond(
    router: axum::Router,
    request: Request<Incoming>,
    mut serving: Serving,
) -> Result<Response<Answer<Serving>>, Infallible> {
    let (mut parts, body) = request.into_parts();
    let response = match super::doors::check(&mut parts) {
        Ok(()) => router.oneshot(Request::from_parts(parts, Body::new(body))).await?,
        Err(refusal) => refusal,
    };
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        serving.is_last();
    }
    Ok(response.map(|body| Answer::new(body, serving)))
}

/// Ends a connection whose upgrade was refused: at its end hyper hands the socket over all the same, and nobody else is
/// there to take it.
async fn end_refused<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(upgrade: OnUpgrade) {
    let Ok(upgraded) = upgrade.await else { return };
    if let Ok(parts) = upgraded.downcast::<TokioIo<HeadDeadline<S>>>() {
        // It reads what is still on its way, so that the answer is not lost.
        let _ = parts.io.into_inner().shutdown().await;
    }
}
