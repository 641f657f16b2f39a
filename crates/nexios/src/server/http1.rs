//! HTTP/1.1 on one connection, until it ends or becomes a WebSocket.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::response::IntoResponse;
use http::header::{CONNECTION, HeaderValue};
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::answer::Answer;
use super::behind::BodyLength;
use super::config::ServerConfig;
use super::data_rate::MinDataRate;
use super::head::{HeadDeadline, Terms};
use super::head_memory::HeadMemory;
use super::pace::Pace;
use super::stage::{Serving, Stage, StageCell};
use super::{Arrival, Server};
use crate::memory_budget::Budget;

/// How long a connection that was taken just before a shutdown has for its first request.
const FIRST_REQUEST: Duration = Duration::from_millis(500);

/// More lines than this are no limit: hyper makes room for all of them at once.
const MOST_LINES: usize = 65_536;

pub(super) fn builder(server: &ServerConfig) -> http1::Builder {
    let mut http = http1::Builder::new();
    // The deadline for heads is kept by `HeadDeadline`, which can answer 408.
    http.header_read_timeout(None).max_buf_size(server.head_size).max_headers(server.head_lines.min(MOST_LINES));
    http
}

impl Server {
    /// Speaks HTTP/1.1. The first request's head is due at the arrival's deadline.
    pub(super) async fn serve_http1<S>(self, stream: S, arrival: Arrival)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let Self { router, http1, handle, handshake_timeout, budget, .. } = self;
        let (stage, refused) = (StageCell::default(), handle.clone());
        let current = stage.clone();
        let (terms, pace, body_rate) = {
            let config = handle.config();
            let terms = Terms::new(config, handshake_timeout, Arc::clone(&budget));
            (terms, Pace::new(config.min_response_rate), config.min_request_rate)
        };
        let io = TokioIo::new(HeadDeadline::new(stream, arrival.deadline, terms, pace, stage.clone()));
        let service = service_fn(move |mut request: Request<Incoming>| {
            let upgrade = request.extensions().get::<OnUpgrade>().cloned();
            let serving = stage.serving(upgrade.is_some(), body_length(&request));
            arrival.note(request.extensions_mut());
            let response = respond(router.clone(), request, serving, Arc::clone(&budget), body_rate);
            let handle = refused.clone();
            async move {
                let mut response = response.await?;
                let is_upgraded = response.status() == StatusCode::SWITCHING_PROTOCOLS;
                // Hyper's own setting would say so in a 101 as well.
                let is_last = handle.is_closed() || handle.config().keep_alive.is_zero();
                if !is_upgraded && (upgrade.is_some() || is_last) {
                    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
                if let Some(upgrade) = upgrade
                    && !is_upgraded
                {
                    // Also on a path that is no route: what follows was meant for a socket, not for HTTP.
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
                let newcomer = if current.get() == Stage::Head { FIRST_REQUEST } else { Duration::ZERO };
                if let Ok(result) = timeout(newcomer, connection.as_mut()).await {
                    result
                } else if current.is_upgrading() {
                    // Its end is the answer's word: a 101 says nothing of a close, and a refusal does by itself.
                    connection.await
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

#[expect(clippy::result_large_err, reason = "a refusal is built once and answered at once")]
async fn respond(
    router: axum::Router,
    request: Request<Incoming>,
    mut serving: Serving,
    budget: Arc<Budget>,
    body_rate: Option<MinDataRate>,
) -> Result<Response<Answer<Serving>>, Infallible> {
    let (mut parts, body) = request.into_parts();
    let checked = super::doors::check(&mut parts);
    let mut reserved = || HeadMemory::reserve(&budget, &mut parts).map_err(IntoResponse::into_response);
    let mut response = match checked.and_then(|()| reserved()) {
        Ok(()) => super::body::answer(router, Request::from_parts(parts, body), body_rate, |_| ()).await,
        Err(refusal) => refusal,
    };
    match response.status() {
        StatusCode::SWITCHING_PROTOCOLS => serving.is_last(),
        StatusCode::REQUEST_TIMEOUT => {
            // RFC 9110 §15.5.9: the rest of the request is not waited for.
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        _ => {}
    }
    Ok(response.map(|body| Answer::new(body, serving)))
}

fn body_length(request: &Request<Incoming>) -> BodyLength {
    match request.body().size_hint().exact() {
        Some(length) => BodyLength::Known(length),
        None => BodyLength::Chunked,
    }
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
