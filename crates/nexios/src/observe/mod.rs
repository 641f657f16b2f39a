//! What an operator sees: metrics, health checks, and a span around each connection.
//!
//! The code that serves connections calls what is here in any case: without the feature `metrics` it is `unmetered.rs`,
//! of types without a size and functions that do nothing.

mod guard;
mod health;
#[cfg(feature = "metrics")]
mod histogram;
mod log_sums;
#[cfg(feature = "metrics")]
mod meter;
#[cfg(feature = "metrics")]
mod publish;
mod routes;
#[cfg(feature = "metrics")]
mod scrape;
mod span;
#[cfg(feature = "metrics")]
mod tally;
#[cfg(not(feature = "metrics"))]
mod unmetered;

pub(crate) use health::BACKPLANE;
pub(crate) use log_sums::LogSums;
#[cfg(feature = "metrics")]
pub(crate) use meter::{Meter, Sent, Watch, accept_failed, connection_refused};
#[cfg(feature = "metrics")]
pub(crate) use publish::observe_app;
pub(crate) use routes::Observed;
pub(crate) use span::ConnectionSpan;
#[cfg(feature = "metrics")]
pub(crate) use tally::Tally;
#[cfg(not(feature = "metrics"))]
pub(crate) use unmetered::{Meter, Sent, Tally, Watch, accept_failed, connection_refused, observe_app};
