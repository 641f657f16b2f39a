//! What an app answers to those who watch it.

use std::fmt;

use super::guard::guard;
use super::health::{self, Checks};
use crate::App;
use crate::server::AppHandle;

/// What the app was asked to show.
#[derive(Debug, Default)]
pub(crate) struct Observed {
    has_health: bool,
    checks: Checks,
    /// Where the operator's pages are, instead of on the public's listener.
    operator: Option<String>,
    #[cfg(feature = "metrics")]
    metrics: Option<String>,
}

/// # What an operator sees
impl<S> App<S>
where
    S: Clone + Send + Sync + 'static,
{
    /// Puts the pages that are not the public's on a listener of their own, such as `127.0.0.1:9000`: `/readyz`, and the
    /// [metrics](Self::metrics) if there are any. The public's listener then has neither (404), and `/healthz` is on both if
    /// there are [`health_checks`](Self::health_checks).
    ///
    /// It speaks plain HTTP/1.1 to 64 connections at a time, 60 s each, without the app's [layers](Self::layer), and is there
    /// until the end of the drain, also when the public's listener is full or nobody gets in because of a rate. Under
    /// [`run`](Self::run) it is on a thread that serves nobody else. On a loopback address it answers to the hosts of this
    /// machine only; on another (`0.0.0.0:9000`, for probes from outside of a container) whoever reaches the port can ask, so
    /// that port stays inside. With port 0, [`AppHandle::operator_addr`](crate::AppHandle::operator_addr) tells which it is.
    ///
    /// Without this call the pages are on the public's listener and answer this machine only: peers at a loopback address that
    /// forward for nobody, and ask for a loopback host. Others get 403, and a line in the log names this setting.
    ///
    /// An app that is [mounted](Self::into_router) has no listener, and with this setting none of these pages. Without it,
    /// what was said holds where the server tells who asks (axum's `ConnectInfo`); where it does not, `/readyz` is answered
    /// and the metrics are not.
    ///
    /// # Errors
    ///
    /// [`run`](Self::run) and [`serve`](Self::serve) fail when the address cannot be used.
    pub fn operator(mut self, address: impl fmt::Display) -> Self {
        self.observed.operator = Some(address.to_string());
        self
    }

    /// Answers at `/healthz` and `/readyz`, for whoever restarts the process and whoever sends connections to it.
    ///
    /// `GET /healthz` is 200 as long as the process answers. `GET /readyz` is 200 while it wants more connections, and
    /// 503 from the moment of [`AppHandle::shutdown`](crate::AppHandle::shutdown) or a signal, also while
    /// [`ServerConfig::drain_delay`](crate::ServerConfig::drain_delay) still takes some, and while one of the
    /// [`readiness`](Self::readiness) checks fails. Its text names the reasons, a line for each.
    ///
    /// Whoever reaches the port can ask for `/healthz`, under any [`accept_rate`](crate::ServerConfig::accept_rate) and when
    /// the server is full; `/readyz` is [the operator's](Self::operator). The app's [layers](Self::layer) are around both.
    ///
    /// A connection that is refused is waited for up to 500 ms, to see whether it asks for `/healthz`.
    ///
    /// # Panics
    ///
    /// When the app is served, if [`http`](Self::http) has one of these routes.
    ///
    /// ```
    /// # use nexios::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> nexios::Result {
    /// let app = App::new().health_checks().readiness("cache", || Err("still warming up".to_owned()));
    /// let client = nexios::testing::TestClient::new(app);
    /// assert_eq!(client.get("/healthz").await?.status(), 200);
    /// assert_eq!(client.get("/readyz").await?.status(), 503); // cache: still warming up
    /// # Ok(())
    /// # }
    /// ```
    pub fn health_checks(mut self) -> Self {
        self.observed.has_health = true;
        self
    }

    /// Adds a check to `/readyz`, under a name that stands before its reason. It is called for each request, on the
    /// thread that serves connections: it looks at what is known and waits for nothing. One that panics has failed.
    pub fn readiness(mut self, name: &str, check: impl Fn() -> Result<(), String> + Send + Sync + 'static) -> Self {
        self.observed.checks.add(name, check);
        self
    }

    /// Counts what the app's connections do, and shows it at this path in Prometheus' text format.
    ///
    /// The numbers go through the [`metrics`](https://docs.rs/metrics) facade, under names that begin with `nexios_`:
    /// `docs/operating.md` lists them and says what to watch. The route shows what the program itself gives to the facade,
    /// too. Labels are the routes as they were declared, causes, codes and outcomes: nothing that a client wrote.
    /// Apps of one process are counted together, as the facade's recorder is the process's.
    ///
    /// When the program has installed a recorder of its own before it serves the app, that one is given the numbers every
    /// 5 s, histograms with each time rounded up to its bucket, and the route answers 404.
    ///
    /// Without this call nothing is counted. With it a message costs some 100 instructions more, and once or twice a look
    /// at the clock.
    ///
    /// The page is [the operator's](Self::operator), not the public's. One is made at a time, and shared by all who have
    /// asked before it was begun.
    ///
    /// # Panics
    ///
    /// When the app is served, if the path is no valid one, or [`http`](Self::http) has it.
    #[cfg(feature = "metrics")]
    pub fn metrics(mut self, path: impl Into<String>) -> Self {
        self.observed.metrics = Some(path.into());
        self
    }
}

impl Observed {
    /// Adds a check that is part of being ready.
    pub(crate) fn check(&mut self, name: &str, check: impl Fn() -> Result<(), String> + Send + Sync + 'static) {
        self.checks.add(name, check);
    }

    /// Whether the app's connections are counted.
    #[cfg(feature = "metrics")]
    pub(crate) fn is_metered(&self) -> bool {
        self.metrics.is_some()
    }

    /// Nobody's are.
    #[cfg(not(feature = "metrics"))]
    #[expect(clippy::unused_self, reason = "it has the shape of what it stands for")]
    pub(crate) fn is_metered(&self) -> bool {
        false
    }

    pub(crate) fn has_health(&self) -> bool {
        self.has_health
    }

    /// The pages for the public's listener, and those for the operator's with its address.
    pub(crate) fn pages(self, handle: &AppHandle) -> (axum::Router, Option<(String, axum::Router)>) {
        let mut public = axum::Router::new();
        let mut own = axum::Router::new();
        let has_own = self.operator.is_some();
        if self.has_health {
            public = public.merge(health::liveness());
            own = own.merge(health::liveness());
        }
        if self.has_health || has_own {
            let readiness = health::readiness(self.checks, handle.clone(), has_own);
            if has_own {
                own = own.merge(readiness);
            } else {
                public = public.merge(guard(readiness, handle, true));
            }
        }
        #[cfg(feature = "metrics")]
        if let Some(path) = self.metrics {
            if has_own {
                own = own.merge(super::scrape::router(&path));
            } else {
                public = public.merge(guard(super::scrape::router(&path), handle, false));
            }
        }
        (public, self.operator.map(|address| (address, own)))
    }
}
