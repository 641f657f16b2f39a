//! Against real servers.

mod cluster;
mod conformance;
mod failover;
mod outages;
mod servers;
mod settings;
