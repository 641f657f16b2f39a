//! Whether the app lives, and whether it wants more connections.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use axum::Extension;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::StatusCode;
use http::header::CACHE_CONTROL;

use super::guard::FromOperator;
use crate::server::AppHandle;

/// The check of the app's own engine.
pub(crate) const BACKPLANE: &str = "backplane";

/// What has to be well for the app to be ready, by name.
#[derive(Clone, Default)]
pub(super) struct Checks(Vec<(Arc<str>, Arc<Check>)>);

type Check = dyn Fn() -> Result<(), String> + Send + Sync;

impl Checks {
    pub(super) fn add(&mut self, name: &str, check: impl Fn() -> Result<(), String> + Send + Sync + 'static) {
        self.0.push((name.into(), Arc::new(check)));
    }

    /// What is not well, a line for each.
    fn reasons(&self, handle: &AppHandle, is_operator: bool) -> Vec<String> {
        let draining = handle.is_shutting_down().then(|| "shutting down".to_owned());
        let failed = self.0.iter().filter_map(|(name, check)| {
            let outcome = catch_unwind(AssertUnwindSafe(|| check())).unwrap_or_else(|_| Err("panicked".to_owned()));
            let reason = outcome.err()?;
            // An engine's own words have its address.
            let is_short = &**name == BACKPLANE && !is_operator;
            let reason = if is_short { reason.split(": ").next().unwrap_or_default() } else { &*reason };
            Some(format!("{name}: {reason}"))
        });
        draining.into_iter().chain(failed).collect()
    }
}

/// `/healthz`.
pub(super) fn liveness() -> axum::Router {
    axum::Router::new().route("/healthz", get(async || answer(StatusCode::OK, "ok\n".to_owned())))
}

/// `/readyz`, on the operator's own listener or on the public's.
pub(super) fn readiness(checks: Checks, handle: AppHandle, has_own: bool) -> axum::Router {
    let readiness = move |operator: Option<Extension<FromOperator>>| {
        let reasons = checks.reasons(&handle, has_own || operator.is_some());
        async move {
            match reasons.as_slice() {
                [] => answer(StatusCode::OK, "ready\n".to_owned()),
                reasons => answer(StatusCode::SERVICE_UNAVAILABLE, reasons.join("\n") + "\n"),
            }
        }
    };
    axum::Router::new().route("/readyz", get(readiness))
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
