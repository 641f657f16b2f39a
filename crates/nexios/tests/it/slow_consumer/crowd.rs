//! Nobody else notices: fifty members that read, and one that does not.

use std::time::{Duration, Instant};

use nexios::SlowConsumer::{Close, Conflate, DropNewest, DropOldest};
use nexios::prelude::*;

use super::stage::{PIPE, Stage, numbered};
use crate::serving::within;

const READERS: usize = 50;
const MESSAGES: usize = 50;

/// How long a message takes to all who read: the median.
async fn latency(choice: SlowConsumer, with_silent: bool) -> Duration {
    let mut stage = Stage::of_groups(choice, 32 * 1024);
    let silent = if with_silent { Some(stage.join_on("a", PIPE, &[]).await) } else { None };
    let mut readers = Vec::new();
    for _ in 0..READERS {
        readers.push(stage.join_on("a", 64 * 1024, &[]).await);
    }
    let mut times = Vec::new();
    for number in 0..MESSAGES {
        let began = Instant::now();
        stage.groups.group("a").send_text(numbered("a", number, 1000)).await.unwrap();
        for reader in &mut readers {
            let frame = reader.wire.frame().await.expect("a member that reads was closed");
            assert_eq!(super::stage::label(&frame).1, number);
        }
        times.push(began.elapsed());
    }
    assert_eq!(stage.groups.stats().members, READERS + usize::from(with_silent && choice != Close));
    drop(silent);
    times.sort();
    times[MESSAGES / 2]
}

#[tokio::test]
async fn fifty_that_read_do_not_notice_one_that_does_not() {
    for choice in [Close, DropNewest, DropOldest, Conflate] {
        let without = within(latency(choice, false)).await;
        let with = within(latency(choice, true)).await;
        // The figure itself is the benchmark's: this machine may be busy with something else.
        assert!(with < without * 5 + Duration::from_millis(5), "{choice:?}: {with:?} instead of {without:?}");
    }
}
