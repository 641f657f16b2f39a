//! The operator's listener: pages that are not the public's, also when the public's doors are full.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::ConnectInfo;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tower::ServiceExt;

use super::{AppHandle, Doors};
use crate::Result;

/// How many connections are served at a time; others wait to be accepted.
const CONNECTIONS: usize = 64;

/// How long a request's head may take to arrive.
const HEAD: Duration = Duration::from_secs(5);

/// The most bytes of a request's head.
const HEAD_SIZE: usize = 16 * 1024;

/// How long a connection may last, whatever happens on it: whoever keeps one asks again on another.
const CONNECTION: Duration = Duration::from_mins(1);

/// How long the listener rests after an error.
const REST: Duration = Duration::from_millis(100);

/// What is served, and where.
#[derive(Clone, Debug)]
pub(super) struct Operator {
    address: Arc<str>,
    router: axum::Router,
    handle: AppHandle,
}

/// The listener, until it is dropped.
#[derive(Debug)]
pub(super) struct Listening(JoinHandle<()>);

impl Operator {
    pub(super) fn new(address: String, router: axum::Router, handle: &AppHandle) -> Self {
        Self { address: address.into(), router, handle: handle.clone() }
    }

    /// Listens from now on, in a task.
    pub(super) async fn begin(&self) -> Result<Listening> {
        let in_context = |error: io::Error| {
            io::Error::new(error.kind(), format!("cannot listen for the operator on {}: {error}", self.address))
        };
        let listener = TcpListener::bind(&*self.address).await.map_err(in_context)?;
        let address = listener.local_addr()?;
        self.handle.operator_listens(address);
        tracing::info!("the operator's pages are on http://{address}");
        let doors = Arc::new(Doors::of_operator(&self.handle, address));
        Ok(Listening(tokio::spawn(accept_all(listener, self.router.clone(), doors))))
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn accept_all(listener: TcpListener, router: axum::Router, doors: Arc<Doors>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    // They end with the listener.
    let mut connections = JoinSet::new();
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let Ok((stream, peer)) = listener.accept().await else {
            sleep(REST).await;
            continue;
        };
        while connections.try_join_next().is_some() {}
        let (router, doors) = (router.clone(), Arc::clone(&doors));
        connections.spawn(async move {
            let serve = serve(stream, move |mut request: Request<Incoming>| {
                request.extensions_mut().insert(ConnectInfo(peer));
                answer(router.clone(), Arc::clone(&doors), request)
            });
            if timeout(CONNECTION, serve).await.is_err() {
                tracing::debug!(%peer, "a connection of the operator's has lasted long enough");
            }
            drop(place);
        });
    }
}

async fn serve<A>(stream: TcpStream, answer: impl Fn(Request<Incoming>) -> A)
where
    A: Future<Output = Result<Response<Body>, Infallible>>,
{
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD).max_buf_size(HEAD_SIZE);
    if let Err(error) = http.serve_connection(TokioIo::new(stream), service_fn(answer)).await {
        tracing::debug!(%error, "a connection of the operator's ended");
    }
}

async fn answer(
    router: axum::Router,
    doors: Arc<Doors>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let (mut parts, body) = request.into_parts();
    match doors.check(&mut parts) {
        Ok(()) => router.oneshot(Request::from_parts(parts, Body::new(body))).await,
        Err(refusal) => Ok(refusal),
    }
}
