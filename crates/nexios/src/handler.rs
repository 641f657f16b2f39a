//! Functions as handlers.
//!
//! The trait is built in two stages so that the compiler names the cause of an error: [`HandlerFn`] holds nothing but
//! the shape of a call, and the one blanket implementation of [`Handler`] adds the bounds. A handler that fails one of
//! them is then told which.

use std::future::{Future, Ready, ready};
use std::pin::Pin;

use axum::extract::FromRequestParts;
use axum::response::{IntoResponse, Response};

use crate::error::BoxError;
use crate::websocket::WebSocket;
use crate::{Error, Result};

/// A future in a box, as handlers are run.
pub(crate) type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What can serve a route: an `async` function or closure that takes a [`WebSocket`] and then any number (up to eight) of
/// axum's extractors (`Path`, `Query`, `State`, `HeaderMap`, `Extension`, [`Groups`](crate::Groups), or your own
/// `FromRequestParts`), and returns `()`, [`nexios::Result`](crate::Result) or `Result<(), E>` with any error.
///
/// The extractors run after the middleware and before the function. One that rejects answers the handshake with its
/// response. The function is cloned for each connection.
///
/// A handler shares its thread with other connections, and must not block it: under [`App::run`](crate::App::run), whose runtimes have
/// one thread each, `tokio::task::block_in_place` panics and `tokio::task::spawn_blocking` is what works.
///
/// ```
/// # use nexios::prelude::*;
/// # #[derive(Clone)] struct Db;
/// async fn chat(mut websocket: WebSocket, Path(room): Path<String>, State(db): State<Db>) -> anyhow::Result<()> {
///     websocket.accept().await?;
///     websocket.send_text(format!("welcome to {room}")).await?;
///     Ok(())
/// }
/// let app = App::with_state(Db).websocket_route("/chat/{room}", chat);
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a WebSocket handler",
    label = "not a handler",
    note = "a handler is an `async fn(WebSocket, extractors…)` that returns `()` or a `Result<(), E>`",
    note = "extractors implement `axum::extract::FromRequestParts<{S}>`; those that read a body do not fit a WebSocket"
)]
pub trait Handler<T, S>: Clone + Send + Sync + Sized + 'static {
    /// Runs the extractors, then the handler.
    fn call(self, websocket: WebSocket, state: S) -> impl Future<Output = Result> + Send;
}

/// The shape of a handler's call: what it takes after the socket, and what it gives.
pub trait HandlerFn<T> {
    /// The extractors' values, as a tuple.
    type Arguments;
    /// The future that it returns.
    type Future;

    /// Calls it.
    fn invoke(self, websocket: WebSocket, arguments: Self::Arguments) -> Self::Future;
}

/// A tuple of extractors.
pub trait Arguments<S>: Sized {
    /// Runs them in their order; the first rejection ends it.
    fn extract(websocket: &mut WebSocket, state: &S) -> impl Future<Output = Result<Self, Response>> + Send;
}

/// What a handler or middleware may return: `()`, or a `Result<(), E>` with any error.
#[diagnostic::on_unimplemented(
    message = "a handler cannot return `{Self}`",
    label = "should return `()`, `nexios::Result`, or `Result<(), E>` with an error type",
    note = "`E` converts into `Box<dyn Error + Send + Sync>`: `anyhow::Error`, your own error type, a `String`",
    note = "for a handler that loops for ever, write the return type: `-> nexios::Result`"
)]
pub trait IntoResult {
    /// Makes one kind of result of it.
    fn into_result(self) -> Result;
}

impl IntoResult for () {
    fn into_result(self) -> Result {
        Ok(())
    }
}

impl<E: Into<BoxError>> IntoResult for Result<(), E> {
    fn into_result(self) -> Result {
        self.map_err(|error| Error::from(error.into()))
    }
}

impl<F, T, S> Handler<T, S> for F
where
    F: HandlerFn<T> + Clone + Send + Sync + 'static,
    F::Arguments: Arguments<S> + Send,
    F::Future: Future<Output: IntoResult> + Send,
    S: Send + Sync,
{
    async fn call(self, mut websocket: WebSocket, state: S) -> Result {
        // Not one `match` around it all: the rejection's room would be the future's for as long as the handler runs.
        let arguments = match F::Arguments::extract(&mut websocket, &state).await {
            Ok(arguments) => arguments,
            Err(rejection) => return refuse(websocket, rejection).into_inner(),
        };
        websocket.handler_begins();
        self.invoke(websocket, arguments).await.into_result()
    }
}

/// An extractor's rejection answers the handshake; after a middleware's `accept` it is an error like any other.
///
/// Ready at once: as an `async fn` it would make room for a response in every handler's future.
pub(crate) fn refuse(mut websocket: WebSocket, rejection: Response) -> Ready<Result> {
    let status = rejection.status();
    ready(match websocket.refuse(rejection) {
        Err(Error::State(_)) => Err(Error::other(format!("an extractor rejected the accepted connection: {status}"))),
        result => result,
    })
}

macro_rules! shapes {
    ($($extractor:ident),*) => {
        impl<F, R, $($extractor),*> HandlerFn<($($extractor,)*)> for F
        where
            F: FnOnce(WebSocket, $($extractor),*) -> R,
        {
            type Arguments = ($($extractor,)*);
            type Future = R;

            #[allow(non_snake_case, reason = "a type parameter's name serves for its value")]
            fn invoke(self, websocket: WebSocket, ($($extractor,)*): Self::Arguments) -> R {
                self(websocket, $($extractor),*)
            }
        }

        impl<S, $($extractor),*> Arguments<S> for ($($extractor,)*)
        where
            S: Send + Sync,
            $($extractor: FromRequestParts<S> + Send,)*
        {
            #[allow(unused_variables, reason = "a handler without extractors uses neither argument")]
            #[allow(non_snake_case, reason = "a type parameter's name serves for its value")]
            async fn extract(websocket: &mut WebSocket, state: &S) -> Result<Self, Response> {
                $(
                    let $extractor =
                        websocket.extract::<$extractor, S>(state).await.map_err(IntoResponse::into_response)?;
                )*
                Ok(($($extractor,)*))
            }
        }
    };
}

shapes!();
shapes!(A1);
shapes!(A1, A2);
shapes!(A1, A2, A3);
shapes!(A1, A2, A3, A4);
shapes!(A1, A2, A3, A4, A5);
shapes!(A1, A2, A3, A4, A5, A6);
shapes!(A1, A2, A3, A4, A5, A6, A7);
shapes!(A1, A2, A3, A4, A5, A6, A7, A8);
