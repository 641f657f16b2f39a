//! Whether the app lives, and whether it wants more connections.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::StatusCode;
use http::header::CACHE_CONTROL;

use crate::server::AppHandle;

/// What has to be well for the app to be ready, by name.
#[derive(Clone, Default)]
pub(super) struct Checks(Vec<(Arc<str>, Arc<Check>)>);

type Check = dyn Fn() -> Result<(), String> + Send + Sync;

impl Checks {
    pub(super) fn add(&mut self, name: &str, check: impl Fn() -> Result<(), String> + Send + Sync + 'static) {
        self.0.push((name.into(), Arc::new(check)));
    }

    /// What is not well, a line for each.
    fn reasons(&self, handle: &AppHandle) -> Vec<String> {
        let draining = handle.is_shutting_down().then(|| "shutting down".to_owned());
        let failed = self.0.iter().filter_map(|(name, check)| {
            let outcome = catch_unwind(AssertUnwindSafe(|| check())).unwrap_or_else(|_| Err("panicked".to_owned()));
            outcome.err().map(|reason| format!("{name}: {reason}"))
        });
        draining.into_iter().chain(failed).collect()
    }
}

/// `/healthz` and `/readyz`.
pub(super) fn router(checks: Checks, handle: AppHandle) -> axum::Router {
    let readiness = move || {
        let reasons = checks.reasons(&handle);
        async move {
            match reasons.as_slice() {
                [] => answer(StatusCode::OK, "ready\n".to_owned()),
                reasons => answer(StatusCode::SERVICE_UNAVAILABLE, reasons.join("\n") + "\n"),
            }
        }
    };
    let liveness = || async { answer(StatusCode::OK, "ok\n".to_owned()) };
    axum::Router::new().route("/healthz", get(liveness)).route("/readyz", get(readiness))
}

/// What was true a second ago helps nobody.
fn answer(status: StatusCode, text: String) -> Response {
    (status, [(CACHE_CONTROL, "no-store")], text).into_response()
}

impl fmt::Debug for Checks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}
