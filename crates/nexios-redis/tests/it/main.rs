//! Against real servers.

mod cluster;
mod conformance;
mod failover;
mod outages;
mod proxy;
mod servers;
mod settings;
mod streams;
#[cfg(feature = "tls")]
mod tls;
mod users;
