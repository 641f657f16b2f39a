//! What the table compares.

use std::time::Duration;

use super::{Loss, Pauses};

/// One row: how the node is lost, and what its clients do.
#[derive(Clone, Debug)]
pub struct Case {
    /// For the table.
    pub name: &'static str,
    /// The way in which the node is lost.
    pub loss: Loss,
    /// The delays of the clients.
    pub pauses: Pauses,
}

/// All of them, in the order of the table.
pub fn cases() -> Vec<Case> {
    let second = Duration::from_secs(1);
    let full = Pauses::FullJitter(second, 30 * second);
    let case = |name, loss, pauses| Case { name, loss, pauses };
    vec![
        case("killed; at once, then each second", Loss::Killed, Pauses::Fixed(second)),
        case("killed; 1 s, doubling to 30 s, all alike", Loss::Killed, Pauses::Doubling(second, 30 * second)),
        case(
            "killed; 1 s, doubling to 5 s, ± 50 % (socket.io's client)",
            Loss::Killed,
            Pauses::HalfJitter(second, 5 * second),
        ),
        case(
            "killed; 0.5 s, doubling to 20 s, from half of it on (docs/nodes.md)",
            Loss::Killed,
            Pauses::EqualJitter(second / 2, 20 * second),
        ),
        case("killed; full jitter, 1 s doubling to 30 s", Loss::Killed, full),
        case("killed; full jitter, 5 s doubling to 30 s", Loss::Killed, Pauses::FullJitter(5 * second, 30 * second)),
        case("killed; full jitter, 15 s doubling to 60 s", Loss::Killed, Pauses::FullJitter(15 * second, 60 * second)),
        case("silent, noticed within 40 s; full jitter, 1 s to 30 s", Loss::Silent(40 * second), full),
        case("drained as by default: in 5 s, back within 5 s", Loss::Drained(5 * second, 5 * second), full),
        case("drained in 15 s, back within 15 s", Loss::Drained(15 * second, 15 * second), full),
        case("drained in 60 s, back within 5 s", Loss::Drained(60 * second, 5 * second), full),
    ]
}
