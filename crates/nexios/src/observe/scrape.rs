//! The route that shows metrics, and the recorder behind it.

use std::fmt::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, OnceLock};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio::sync::Mutex;

use super::meter::{self, CONNECTION, HANDLER};
use super::publish::{self, CONNECTION_HELP, CONNECTION_SECONDS, HANDLER_HELP, HANDLER_SECONDS, Histograms};

/// Prometheus' text format.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// How often a recorder of the program's own is told, and ours tidied up.
const INTERVAL: Duration = Duration::from_secs(5);

/// Ours, or `None` when the program has one.
static RECORDER: OnceLock<Option<PrometheusHandle>> = OnceLock::new();

/// The route. The recorder is installed now, unless there is one.
pub(super) fn router(path: &str) -> axum::Router {
    recorder();
    axum::Router::new().route(path, get(show))
}

fn recorder() -> Option<&'static PrometheusHandle> {
    let recorder = RECORDER.get_or_init(|| {
        let recorder = PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        let is_ours = metrics::set_global_recorder(recorder).is_ok();
        publish::describe();
        is_ours.then_some(handle)
    });
    recorder.as_ref()
}

async fn show() -> Response {
    let Some(recorder) = recorder() else {
        return (StatusCode::NOT_FOUND, "the program has a metrics recorder of its own\n").into_response();
    };
    match page(recorder).await {
        Some(text) => ([(CONTENT_TYPE, TEXT)], text).into_response(),
        None => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// The page that was made last.
#[derive(Default)]
struct Page {
    begun: Option<Instant>,
    text: Bytes,
}

/// A page that was begun after it was asked for. It is a look at every connection: one is made at a time, on a thread that
/// serves nobody, and those who ask meanwhile share the next one.
async fn page(recorder: &'static PrometheusHandle) -> Option<Bytes> {
    static LAST: LazyLock<Arc<Mutex<Page>>> = LazyLock::new(Arc::default);
    let asked = Instant::now();
    let mut last = Arc::clone(&LAST).lock_owned().await;
    if last.begun.is_some_and(|begun| begun > asked) {
        return Some(last.text.clone());
    }
    // The thread holds the lock: whoever asks and goes away cannot have another page made beside this one.
    let made = tokio::task::spawn_blocking(move || {
        let begun = Instant::now();
        let text = Bytes::from(render(recorder).ok()?);
        *last = Page { begun: Some(begun), text: text.clone() };
        Some(text)
    });
    made.await.ok().flatten()
}

fn render(recorder: &PrometheusHandle) -> Result<String, fmt::Error> {
    publish::publish(Histograms::Ours);
    let mut text = recorder.render();
    let totals: Vec<_> = meter::all().into_iter().map(|meter| (meter.route, publish::totals(meter))).collect();
    head(&mut text, HANDLER_SECONDS, HANDLER_HELP)?;
    for (route, (handler, _)) in &totals {
        handler.write(&mut text, HANDLER_SECONDS, route, &HANDLER)?;
    }
    head(&mut text, CONNECTION_SECONDS, CONNECTION_HELP)?;
    for (route, (_, connection)) in &totals {
        connection.write(&mut text, CONNECTION_SECONDS, route, &CONNECTION)?;
    }
    Ok(text)
}

fn head(out: &mut String, name: &str, help: &str) -> fmt::Result {
    writeln!(out, "# HELP {name} {help}\n# TYPE {name} histogram")
}

/// Starts what is done every few seconds, unless some runtime does it already.
pub(super) fn keep_up() {
    static RUNS: AtomicBool = AtomicBool::new(false);

    /// Its runtime may end before others do.
    struct Run;

    impl Drop for Run {
        fn drop(&mut self) {
            RUNS.store(false, Ordering::Release);
        }
    }

    if !RUNS.load(Ordering::Relaxed) && !RUNS.swap(true, Ordering::AcqRel) {
        let run = Run;
        tokio::spawn(async move {
            let _run = run;
            while publish::has_apps() {
                tokio::time::sleep(INTERVAL).await;
                // An error means that a recorder has panicked; it may do better the next time.
                let _ = tokio::task::spawn_blocking(tend).await;
            }
        });
    }
}

fn tend() {
    match recorder() {
        Some(recorder) => recorder.run_upkeep(),
        None => publish::publish(Histograms::Theirs),
    }
}
