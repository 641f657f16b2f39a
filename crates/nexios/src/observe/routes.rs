//! What an app answers to those who watch it.

use super::health::{self, Checks};
use crate::App;
use crate::server::AppHandle;

/// What the app was asked to show.
#[derive(Debug, Default)]
pub(crate) struct Observed {
    has_health: bool,
    checks: Checks,
    #[cfg(feature = "metrics")]
    metrics: Option<String>,
}

/// # What an operator sees
impl<S> App<S>
where
    S: Clone + Send + Sync + 'static,
{
    /// Answers at `/healthz` and `/readyz`, for whoever restarts the process and whoever sends connections to it.
    ///
    /// `GET /healthz` is 200 as long as the process answers. `GET /readyz` is 200 while it wants more connections, and
    /// 503 from the moment of [`AppHandle::shutdown`](crate::AppHandle::shutdown) or a signal, also while
    /// [`ServerConfig::drain_delay`](crate::ServerConfig::drain_delay) still takes some, and while one of the
    /// [`readiness`](Self::readiness) checks fails. Its text names the reasons, a line for each.
    ///
    /// Whoever reaches the port can ask, and the app's [layers](Self::layer) are around both.
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
    /// Whoever reaches the port can ask: put it under a path that the proxy in front does not forward.
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

    pub(crate) fn router(self, handle: &AppHandle) -> axum::Router {
        let mut router = axum::Router::new();
        if self.has_health {
            router = router.merge(health::router(self.checks, handle.clone()));
        }
        #[cfg(feature = "metrics")]
        if let Some(path) = self.metrics {
            router = router.merge(super::scrape::router(&path));
        }
        router
    }
}
