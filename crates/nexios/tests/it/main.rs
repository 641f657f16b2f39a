//! The framework as its users and its attackers meet it: through `TestClient`, over real sockets, and byte by byte.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, and so do the functions that serve it")]
#![allow(clippy::cast_possible_truncation, reason = "the numbers are the tests' own, and small")]
#![allow(clippy::items_after_statements, reason = "a handler stands where its test uses it")]

mod accept;
mod admission;
mod asking;
mod axum_mount;
mod backplane;
mod building;
#[cfg(feature = "tls")]
mod certificates;
mod churn;
mod client;
mod client_ip;
mod closing;
#[cfg(feature = "macros")]
// Its texts list what is there with all features.
#[cfg(feature = "jwt")]
mod compile_fail;
mod compression;
mod contract;
mod crowd;
mod data_rate;
mod endings;
mod endpoint;
mod errors;
mod exchange;
mod extractors;
mod forgery;
mod group_memory;
mod groups;
mod handshake;
mod head_budget;
mod head_deadline;
mod health;
mod history;
mod hostile;
mod hosts;
#[cfg(feature = "tls")]
mod http2;
mod identity;
#[cfg(feature = "jwt")]
mod jwt;
mod keepalive;
mod limits;
mod logs;
#[cfg(feature = "macros")]
mod macro_route;
#[cfg(feature = "metrics")]
mod metrics;
mod middleware;
mod nodes;
mod operator;
mod origin;
mod outcome;
mod policy;
mod presence;
mod programs;
mod receive;
mod request_head;
mod routing;
mod send;
mod sender;
mod serving;
mod several;
mod shutdown;
mod slow_consumer;
mod spans;
mod stats;
mod threads;
mod tick;
#[cfg(feature = "tls")]
mod tls;
mod tokens;
mod wire;
