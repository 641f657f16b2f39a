//! A simulation: one node of many is lost, and all its clients come back through a balancer to those that are left.
//!
//! Nothing is sent here. Clients, cores and the engine are numbers, time is an argument, and chance has a seed, so that
//! a run can be repeated. What a handshake and a recovery cost comes from measurements (`bench/RESULTS.md`). A core
//! takes handshakes one after the other, and its listener holds at most [`Plan::backlog`] of them; beyond that the
//! kernel drops the client's SYN, which the client's kernel sends again after 1 s, 2 s, 4 s (RFC 6298 §2). A client
//! that has waited for [`Plan::patience`] gives up and begins its next pause, but the core finds that out only when it
//! has done the work.

mod cases;
mod clients;
mod queue;
mod report;
mod world;

use std::time::Duration;

pub use cases::{Case, cases};
pub use clients::{Loss, Pauses};
pub use report::table;
pub use world::{Outcome, run};

/// The sizes of a storm. Cores are the nodes' spare capacity for new connections, besides the load of the existing
/// ones.
#[derive(Clone, Debug)]
pub struct Plan {
    /// On all nodes together.
    pub connections: usize,
    /// Before one is lost.
    pub nodes: usize,
    /// Of each node.
    pub cores: usize,
    /// CPU time of one opening handshake.
    pub handshake: Duration,
    /// Number of handshakes that wait for one core: the listener's backlog.
    pub backlog: usize,
    /// After how long a client gives up an attempt.
    pub patience: Duration,
    /// A round trip between client and node, on average; from half to one and a half of it.
    pub round_trip: Duration,
    /// For how long the balancer still sends clients to the node that is gone; they are refused at once.
    pub unnoticed: Duration,
    /// The engine's time for what one client missed and subscribes to.
    pub recovery: Duration,
    /// After how long a node stops waiting for it, and tells the client that it was not recovered.
    pub engine_timeout: Duration,
    /// The seed of the random numbers.
    pub seed: u64,
}

impl Default for Plan {
    fn default() -> Self {
        Plan {
            connections: 10_000_000,
            nodes: 20,
            cores: 4,
            handshake: Duration::from_micros(35),
            backlog: 4096,
            patience: Duration::from_secs(10),
            round_trip: Duration::from_millis(80),
            unnoticed: Duration::from_secs(5),
            recovery: Duration::from_micros(22),
            engine_timeout: Duration::from_secs(2),
            seed: 1,
        }
    }
}

impl Plan {
    /// Number of clients of the lost node.
    pub fn lost(&self) -> usize {
        self.connections / self.nodes.max(1)
    }
}
