//! What groups cost: the publisher's time, memory, threads, and who suffers from a peer that does not read.
//!
//! Each form of a cell runs in a process of its own, so that no memory is inherited, and measures itself: what a
//! publisher waits for can only be seen from the inside. Server and publishers are on core 0, unless a form has two
//! threads; clients with real sockets are a thread on core 1.

mod audience;
mod clock;
mod members;
mod million;
mod publish;
mod readers;
mod rounds;
mod slow_consumer;
mod spread;
mod worker;

pub use rounds::{Form, GroupCell, run};

use nexios::{History, SlowConsumer};

use crate::Result;

/// The results of a form, by name.
pub(crate) type Figures = Vec<(&'static str, f64)>;

/// The publication where only its length matters.
const TEXT: &str = "sixty-four bytes of text, which every member of a room gets once";
const _: () = assert!(TEXT.len() == 64);

/// Every cell, in the order of the report.
pub const CELLS: &[GroupCell] = &[
    GroupCell {
        name: "publish-1000",
        title: "Publishing 64 B to a group of 1,000",
        forms: &[
            Form { name: "1 per tick", run: || publish::run(1, None) },
            Form { name: "16 per tick", run: || publish::run(16, None) },
            Form { name: "1 per tick, with history", run: || publish::run(1, Some(History::new())) },
            Form { name: "16 per tick, with history", run: || publish::run(16, Some(History::new())) },
        ],
    },
    GroupCell {
        name: "members-100k",
        title: "100,000 members of one group, in one process",
        forms: &[
            Form { name: "in no group", run: || members::run(1, None) },
            Form { name: "1 thread", run: || members::run(1, Some("everybody")) },
            Form { name: "2 threads", run: || members::run(2, Some("everybody")) },
        ],
    },
    GroupCell {
        name: "test-client-10k",
        title: "10,000 members that are `TestClient`s",
        forms: &[Form { name: "1 thread", run: members::test_clients }],
    },
    GroupCell {
        name: "groups-spread",
        title: "10,000 groups of 10, a publisher on each thread",
        forms: &[
            Form { name: "1 thread, half as many groups", run: || spread::run(1, 5_000, spread::Reach::Own) },
            Form { name: "1 thread", run: || spread::run(1, 10_000, spread::Reach::Own) },
            Form { name: "2 threads, groups of their own", run: || spread::run(2, 10_000, spread::Reach::Own) },
            Form { name: "2 threads, all groups", run: || spread::run(2, 10_000, spread::Reach::All) },
        ],
    },
    GroupCell {
        name: "slow-consumer",
        title: "50 members that read, and beside them nobody, or one that does not, under each policy",
        forms: &[
            Form { name: "nobody", run: || slow_consumer::run(None) },
            Form { name: "`Close`", run: || slow_consumer::run(Some(SlowConsumer::Close)) },
            Form { name: "`DropNewest`", run: || slow_consumer::run(Some(SlowConsumer::DropNewest)) },
            Form { name: "`DropOldest`", run: || slow_consumer::run(Some(SlowConsumer::DropOldest)) },
            Form { name: "`Conflate`", run: || slow_consumer::run(Some(SlowConsumer::Conflate)) },
        ],
    },
    GroupCell {
        name: "million-groups",
        title: "1,000,000 groups of 3, over 3,000 connections",
        forms: &[Form { name: "1 thread", run: million::run }],
    },
];

/// Runs one form in this process and says what came out, a line for each figure.
pub fn run_once(cell: &str, form: &str) -> Result<String> {
    let cell = CELLS.iter().find(|known| known.name == cell).ok_or("no such cell")?;
    let form = cell.forms.iter().find(|known| known.name == form).ok_or("no such form")?;
    Ok(rounds::lines(&(form.run)()?))
}
