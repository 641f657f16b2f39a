//! Middleware around connections.

use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;

use crate::error::HandlerPanic;
use crate::handler::{Arguments, BoxFuture, IntoResult, refuse};
use crate::websocket::WebSocket;
use crate::{Error, Result};

/// Middleware as a type of its own.
///
/// It wraps the whole life of a connection: it runs before the handshake is answered, may accept, refuse or leave
/// something in the [`extensions`](WebSocket::extensions_mut), and sees how the handler ended. A function does as well:
/// see [`App::add_ws_middleware`](crate::App::add_ws_middleware). It is dropped where it waits when the client leaves before
/// `accept`, or when the handshake takes too long: what it has to clean up then, a value's `Drop` does.
///
/// ```
/// # use nexios::prelude::*;
/// struct Timing;
///
/// impl WebSocketMiddleware for Timing {
///     async fn handle(&self, websocket: WebSocket, next: Next) -> nexios::Result {
///         let began = std::time::Instant::now();
///         let result = next.run(websocket).await;
///         println!("a connection of {:?}: {result:?}", began.elapsed());
///         result
///     }
/// }
/// let app = App::new().add_ws_middleware(Timing);
/// ```
pub trait WebSocketMiddleware: Send + Sync + 'static {
    /// Handles a connection, usually by passing it on to [`next`](Next::run).
    fn handle(&self, websocket: WebSocket, next: Next) -> impl Future<Output = Result> + Send;
}

/// What comes after a middleware: the next one, or the handler.
pub struct Next {
    chain: Arc<Chain>,
    at: usize,
}

impl Next {
    /// Runs the rest of the chain with this connection, to its end.
    ///
    /// # Cancel safety
    ///
    /// Dropping it drops the handler where it stands; the connection then closes with 1000.
    ///
    /// # Errors
    ///
    /// What the handler or an inner middleware returned; a panic comes as [`Error::Panic`].
    pub async fn run(self, websocket: WebSocket) -> Result {
        let Self { chain, at } = self;
        let link = Arc::clone(websocket.link());
        let result = caught(chain.start_at(at, websocket)).await;
        if result.is_err() {
            link.handler_failed();
        }
        result
    }
}

impl fmt::Debug for Next {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Next({} of {})", self.at, self.chain.middleware.len())
    }
}

async fn caught(future: BoxFuture<Result>) -> Result {
    // A panic ends this connection only: what it may have left half-changed is dropped with its handler.
    match AssertUnwindSafe(future).catch_unwind().await {
        Ok(result) => result,
        Err(payload) => Err(Error::Panic(HandlerPanic::new(&*payload))),
    }
}

/// A route's middleware, outermost first, and its handler, with the app's state in them.
pub(crate) struct Chain {
    pub(crate) middleware: Vec<BoundMiddleware>,
    pub(crate) handler: BoundHandler,
}

impl Chain {
    /// The whole chain, as a future that does nothing until it is polled.
    pub(crate) fn start(self: &Arc<Self>, websocket: WebSocket) -> BoxFuture<Result> {
        self.start_at(0, websocket)
    }

    fn start_at(self: &Arc<Self>, at: usize, websocket: WebSocket) -> BoxFuture<Result> {
        match self.middleware.get(at) {
            Some(middleware) => middleware(websocket, Next { chain: Arc::clone(self), at: at + 1 }),
            None => (self.handler)(websocket),
        }
    }
}

/// A middleware that knows its state.
pub(crate) type BoundMiddleware = Arc<dyn Fn(WebSocket, Next) -> BoxFuture<Result> + Send + Sync>;

/// A handler that knows its state.
pub(crate) type BoundHandler = Arc<dyn Fn(WebSocket) -> BoxFuture<Result> + Send + Sync>;

/// A middleware of an app with state `S`, before the state is there.
pub struct Middleware<S> {
    bind: Arc<dyn Fn(S) -> BoundMiddleware + Send + Sync>,
}

impl<S> Middleware<S> {
    pub(crate) fn bind(&self, state: S) -> BoundMiddleware {
        (self.bind)(state)
    }
}

impl<S> Clone for Middleware<S> {
    fn clone(&self) -> Self {
        Self { bind: Arc::clone(&self.bind) }
    }
}

impl<S> fmt::Debug for Middleware<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Middleware")
    }
}

/// The shape of middleware, without the bounds: it fixes what `T` is, so that the compiler can name what else is missing.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a WebSocket middleware",
    label = "not a middleware",
    note = "a middleware is an `async fn(WebSocket, extractors…, Next)` that returns `()` or a `Result<(), E>`, or a type that implements `WebSocketMiddleware`"
)]
pub trait MiddlewareShape<T> {}

impl<M: WebSocketMiddleware> MiddlewareShape<ByType> for M {}

impl<T, F: MiddlewareFn<T>> MiddlewareShape<ByFunction<T>> for F {}

/// What can be added as middleware: a [`WebSocketMiddleware`], or an `async` function that takes a [`WebSocket`], any
/// number (up to four) of axum's extractors, and [`Next`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a WebSocket middleware",
    label = "not a middleware",
    note = "a middleware is an `async fn(WebSocket, extractors…, Next)` that returns `()` or a `Result<(), E>`, or a type that implements `WebSocketMiddleware`"
)]
pub trait IntoMiddleware<T, S> {
    /// Makes one kind of middleware of it.
    fn into_middleware(self) -> Middleware<S>;
}

/// Marks middleware that is a type.
#[derive(Debug)]
pub struct ByType;

/// Marks middleware that is a function.
#[derive(Debug)]
pub struct ByFunction<T>(T);

impl<M: WebSocketMiddleware, S> IntoMiddleware<ByType, S> for M {
    fn into_middleware(self) -> Middleware<S> {
        let this = Arc::new(self);
        let bound: BoundMiddleware = Arc::new(move |websocket, next| {
            let this = Arc::clone(&this);
            Box::pin(async move { this.handle(websocket, next).await })
        });
        Middleware { bind: Arc::new(move |_| Arc::clone(&bound)) }
    }
}

/// The shape of a function middleware's call.
pub trait MiddlewareFn<T> {
    /// The extractors' values, as a tuple.
    type Arguments;
    /// The future that it returns.
    type Future;

    /// Calls it.
    fn invoke(self, websocket: WebSocket, arguments: Self::Arguments, next: Next) -> Self::Future;
}

impl<F, T, S> IntoMiddleware<ByFunction<T>, S> for F
where
    F: MiddlewareFn<T> + Clone + Send + Sync + 'static,
    F::Arguments: Arguments<S> + Send,
    F::Future: Future<Output: IntoResult> + Send,
    T: 'static,
    S: Clone + Send + Sync + 'static,
{
    fn into_middleware(self) -> Middleware<S> {
        let bind = move |state: S| {
            let function = self.clone();
            let bound: BoundMiddleware =
                Arc::new(move |websocket, next| Box::pin(call(function.clone(), websocket, state.clone(), next)));
            bound
        };
        Middleware { bind: Arc::new(bind) }
    }
}

async fn call<F, T, S>(function: F, mut websocket: WebSocket, state: S, next: Next) -> Result
where
    F: MiddlewareFn<T>,
    F::Arguments: Arguments<S>,
    F::Future: Future<Output: IntoResult>,
{
    match F::Arguments::extract(&mut websocket, &state).await {
        Ok(arguments) => function.invoke(websocket, arguments, next).await.into_result(),
        Err(rejection) => refuse(websocket, rejection).await,
    }
}

macro_rules! shapes {
    ($($extractor:ident),*) => {
        impl<F, R, $($extractor),*> MiddlewareFn<($($extractor,)*)> for F
        where
            F: FnOnce(WebSocket, $($extractor,)* Next) -> R,
        {
            type Arguments = ($($extractor,)*);
            type Future = R;

            #[allow(non_snake_case, reason = "a type parameter's name serves for its value")]
            fn invoke(self, websocket: WebSocket, ($($extractor,)*): Self::Arguments, next: Next) -> R {
                self(websocket, $($extractor,)* next)
            }
        }
    };
}

shapes!();
shapes!(A1);
shapes!(A1, A2);
shapes!(A1, A2, A3);
shapes!(A1, A2, A3, A4);
