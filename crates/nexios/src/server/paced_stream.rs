//! An answer over HTTP/2 whose peer has to take it at a least rate.

use std::cell::RefCell;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes};
use hyper::body::{Body as _, Frame, SizeHint};
use hyper::rt::Executor;

use super::data_rate::MinDataRate;
use super::pace::Pace;

/// The most that is handed to h2 at once, in bytes.
const PIECE: usize = 16 * 1024;

/// The last piece of an answer, in bytes: h2 keeps it for a peer that does not take it, and nothing here knows.
const LAST: usize = 1024;

/// How far an answer is: told by its body, asked by the task that sends it.
///
/// Hyper asks for the next piece once the peer's window takes some of it. So a piece that was handed over and is not
/// followed by a question waits for the peer; a question that has no answer waits for the application.
#[derive(Debug, Default)]
pub(super) struct Handed {
    /// Bytes of the piece that was handed over last, while it waits.
    waiting: AtomicUsize,
    /// Bytes of the piece before it. The peer's window has begun to take it, and takes all of it before the next.
    before: AtomicUsize,
    /// Bytes of all pieces before that one, since the task looked.
    taken: AtomicUsize,
}

thread_local! {
    /// The answer of the request that hyper has begun to serve, from the call of the service to that of the executor.
    static BEGUN: RefCell<Option<Arc<Handed>>> = const { RefCell::new(None) };
}

impl Handed {
    /// For a request that is given to the executor next.
    pub(super) fn begin() -> Arc<Self> {
        let handed = Arc::<Self>::default();
        BEGUN.set(Some(Arc::clone(&handed)));
        handed
    }

    fn asked(&self) {
        let bytes = self.waiting.swap(0, Ordering::Relaxed);
        if bytes > 0 {
            let before = self.before.swap(bytes, Ordering::Relaxed);
            self.taken.fetch_add(before, Ordering::Relaxed);
        }
    }
}

/// Spawns streams, each with its pace.
#[derive(Clone, Debug)]
pub(super) struct PacedExecutor(pub(super) Option<MinDataRate>);

impl<F> Executor<F> for PacedExecutor
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, stream: F) {
        match (self.0, BEGUN.take()) {
            (Some(rate), Some(handed)) => {
                // In a box: it is there from the first request on, and a page is soon answered.
                let mut stream = Box::pin(stream);
                let mut pace = Pace::new(Some(rate));
                drop(tokio::spawn(std::future::poll_fn(move |cx| poll(stream.as_mut(), &handed, &mut pace, cx))));
            }
            _ => drop(tokio::spawn(stream)),
        }
    }
}

/// Ready also when the peer is late: then the stream is dropped, which resets it.
fn poll<F: Future>(stream: Pin<&mut F>, handed: &Handed, pace: &mut Pace, cx: &mut Context<'_>) -> Poll<()> {
    if stream.poll(cx).is_ready() {
        return Poll::Ready(());
    }
    let taken = handed.taken.swap(0, Ordering::Relaxed);
    if taken > 0 {
        pace.moved(taken);
    }
    if handed.waiting.load(Ordering::Relaxed) == 0 {
        pace.pause();
        return Poll::Pending;
    }
    ready!(pace.poll_late(cx));
    tracing::debug!("http/2 stream reset: its peer takes the answer too slowly");
    Poll::Ready(())
}

/// A body in pieces, and a value that is dropped with it.
pub(super) struct PacedAnswer<G> {
    body: Body,
    rest: Option<Bytes>,
    handed: Arc<Handed>,
    _guard: G,
}

impl<G> PacedAnswer<G> {
    pub(super) fn new(body: Body, handed: Arc<Handed>, guard: G) -> Self {
        Self { body, rest: None, handed, _guard: guard }
    }

    fn piece(&mut self, mut data: Bytes) -> Bytes {
        let is_last = data.len() <= PIECE && self.body.is_end_stream();
        let size = if is_last && data.len() > LAST { data.len() - LAST } else { data.len().min(PIECE) };
        let rest = data.split_off(size);
        self.rest = Some(rest).filter(|rest| !rest.is_empty());
        self.handed.waiting.store(data.len(), Ordering::Relaxed);
        data
    }
}

impl<G: Unpin> hyper::body::Body for PacedAnswer<G> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        self.handed.asked();
        if let Some(rest) = self.rest.take() {
            return Poll::Ready(Some(Ok(Frame::data(self.piece(rest)))));
        }
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        let frame = frame.map(|frame| {
            frame.map(|frame| match frame.into_data() {
                Ok(data) => Frame::data(self.piece(data)),
                Err(trailers) => trailers,
            })
        });
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.rest.as_ref().map_or(0, |rest| u64::try_from(rest.len()).unwrap_or(u64::MAX));
        let mut hint = self.body.size_hint();
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper.saturating_add(rest));
        }
        hint.set_lower(hint.lower().saturating_add(rest));
        hint
    }
}
