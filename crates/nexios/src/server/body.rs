//! A request's body, whose peer has to keep to a least rate.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use axum::response::{IntoResponse, Response};
use http::{Request, StatusCode};
use hyper::body::{Body as _, Frame, Incoming, SizeHint};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::data_rate::MinDataRate;
use super::pace::Pace;

/// Has the application answer a request. A body that comes too slowly is an error to whoever reads it, and the answer is
/// 408 (RFC 9110 §15.5.9), unless there is one on its way already. `on_read` is told how many bytes of it were read.
pub(super) async fn answer<F: FnMut(usize) + Send + Unpin + 'static>(
    router: axum::Router,
    request: Request<Incoming>,
    rate: Option<MinDataRate>,
    on_read: F,
) -> Response {
    if request.body().is_end_stream() {
        let Ok(response) = router.oneshot(request.map(Body::new)).await;
        return response;
    }
    let late = CancellationToken::new();
    let of_body = late.clone();
    let request = request.map(|body| Body::new(TimedBody { body, pace: Pace::new(rate), late: of_body, on_read }));
    tokio::select! {
        biased;
        Ok(response) = router.oneshot(request) => if late.is_cancelled() { too_slow() } else { response },
        () = late.cancelled() => too_slow(),
    }
}

fn too_slow() -> Response {
    (StatusCode::REQUEST_TIMEOUT, "the request's body comes too slowly\n").into_response()
}

struct TimedBody<F> {
    body: Incoming,
    pace: Pace,
    late: CancellationToken,
    on_read: F,
}

impl<F: FnMut(usize) + Unpin> hyper::body::Body for TimedBody<F> {
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                let bytes = frame.data_ref().map_or(0, Bytes::len);
                self.pace.moved(bytes);
                (self.on_read)(bytes);
            }
            Poll::Ready(_) => self.pace.pause(),
            Poll::Pending if self.pace.poll_late(cx).is_ready() => {
                self.late.cancel();
                let error = io::Error::new(io::ErrorKind::TimedOut, "the request's body comes too slowly");
                return Poll::Ready(Some(Err(error.into())));
            }
            Poll::Pending => {}
        }
        polled.map(|frame| frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
