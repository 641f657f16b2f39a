//! What a member that does not read may hold.

use nexios::SlowConsumer::{Close, Conflate, DropNewest, DropOldest};
use nexios::prelude::*;

use super::stage::{PIPE, Peer, Stage, assert_rising, label, numbered, of, publish};
use crate::serving::within;

const ALL: [SlowConsumer; 4] = [Close, DropNewest, DropOldest, Conflate];

#[tokio::test]
async fn no_choice_lets_more_wait_than_the_bound_and_one_message() {
    for choice in ALL {
        for len in [20, 500, 3000, 70_000] {
            let mut stage = Stage::of_groups(choice, 8192);
            let _peer = stage.join_stalled("a").await;
            for number in 0..100 {
                let text = numbered("a", number, len);
                stage.groups.group("a").send_keyed((number % 7).to_string(), text).await.unwrap();
                let held = stage.groups.stats().queued_bytes;
                assert!(held <= 8192.max(len + 10), "{choice:?}, {len}: {held} bytes wait");
            }
        }
    }
}

#[tokio::test]
async fn a_groups_bound_stands_before_a_larger_one_of_the_connection_and_not_before_a_smaller() {
    for choice in [DropNewest, DropOldest, Conflate] {
        for (of_group, of_connection) in [(2000, 100_000), (100_000, 2000)] {
            let each = GroupConfig::new().slow_consumer(choice).member_queue(of_group);
            let mut stage = Stage::new(Config::new().outbound_queue(of_connection), GroupsConfig::new().each(each));
            let mut peer = stage.join_stalled("a").await;
            publish(&stage.groups, "a", 0..500, 100).await;
            let held = stage.groups.stats().queued_bytes;
            assert!((1000..=2000).contains(&held), "{choice:?}: {held} bytes");
            assert_eq!(stage.stats("a").await.queued_bytes, held);
            let heard = of(&peer.heard().await, "a");
            assert_eq!(heard.len() as u64, 500 - stage.stats("a").await.dropped);
            assert_eq!(stage.groups.stats().queued_bytes, 0);
        }
    }
}

/// Each has its own bound: what may be dropped, and what must arrive.
#[tokio::test]
async fn with_what_must_arrive_it_is_at_most_twice_the_bound() {
    for choice in [DropOldest, Conflate] {
        let mut stage = Stage::of_groups(choice, 8192);
        let mut peer = stage.join_stalled("a").await;
        let mut taken = 0;
        for round in 0..100 {
            publish(&stage.groups, "a", round * 10..round * 10 + 10, 200).await;
            taken += usize::from(peer.sender.try_send(numbered("sender", taken, 200)).is_ok());
            let held = stage.groups.stats().queued_bytes;
            assert!(held <= 2 * 8192, "{choice:?}: {held} bytes");
        }
        assert!((15..40).contains(&taken), "{choice:?}: {taken} messages of 200 bytes in 8,192");
        let heard = peer.heard().await;
        assert!(of(&heard, "sender").into_iter().eq(0..taken));
        assert_rising(&of(&heard, "a"));
    }
}

/// Small messages cost more than their bytes: what they cost is counted.
#[tokio::test]
async fn many_small_messages_do_not_hide_what_they_take() {
    let mut stage = Stage::of_groups(DropOldest, 64 * 1024);
    let mut peer = stage.join_stalled("a").await;
    for number in 0..10_000 {
        stage.groups.group("a").send_text(format!("a {number} ")).await.unwrap();
    }
    let heard = peer.heard().await;
    assert!(of(&heard, "a").len() < 64 * 1024 / 100, "{} messages waited", heard.len());
}

/// 10,000 messages in one turn of the runtime to a crowd, for which they are put together. One member does not read.
async fn burst(choice: SlowConsumer) {
    const MESSAGES: usize = 10_000;
    const QUEUE: usize = 16 * 1024;
    let each = GroupsConfig::new().each(GroupConfig::new().slow_consumer(choice));
    let mut stage = Stage::with_small(Config::new(), Config::new().outbound_queue(QUEUE), each);
    let mut silent = stage.join_at("/small?groups=a,alone", PIPE, &[]).await;
    // Who was not offered anything yet is not judged: `offered.rs`.
    silent.stall().await;
    let mut reading = Vec::new();
    for _ in 0..20 {
        let peer = stage.join_on("a", 1 << 20, &[]).await;
        reading.push(tokio::spawn(read(peer, MESSAGES)));
    }
    let (group, alone) = (stage.groups.group("a"), stage.groups.group("alone"));
    let mut most = 0;
    let all_at_once = async {
        for number in 0..MESSAGES {
            group.send_keyed((number % 10).to_string(), numbered("a", number, 30)).await.unwrap();
            most = most.max(alone.stats().await.unwrap().queued_bytes);
        }
    };
    tokio::task::unconstrained(all_at_once).await;
    for reader in reading {
        let numbers = within(reader).await.unwrap();
        assert!(numbers.iter().copied().eq(0..MESSAGES), "{choice:?}: a member that reads missed something");
    }
    most = most.max(alone.stats().await.unwrap().queued_bytes);
    assert!(most <= QUEUE + 100, "{choice:?}: {most} bytes waited for a member with a queue of {QUEUE}");
    let stats = stage.groups.stats();
    if choice == Close {
        assert_eq!((stats.slow_consumers, stats.dropped), (1, 0));
        let (heard, code) = silent.heard_until_close().await;
        let came = of(&heard, "a");
        assert!(code == 4430 && came.iter().copied().eq(0..came.len()));
        return;
    }
    let heard = silent.heard().await;
    let came = of(&heard, "a");
    assert_rising(&came);
    assert_eq!((stats.slow_consumers, stats.dropped), (0, (MESSAGES - came.len()) as u64), "{choice:?}");
    match choice {
        DropNewest => assert!(came.len() > 30 && came.iter().copied().eq(0..came.len()), "{came:?}"),
        _ => assert!(came.ends_with(&(MESSAGES - 10..MESSAGES).collect::<Vec<_>>()), "{came:?}"),
    }
    if choice == DropOldest {
        assert!(came.ends_with(&(MESSAGES - 40..MESSAGES).collect::<Vec<_>>()), "{came:?}");
    }
}

async fn read(mut peer: Peer, messages: usize) -> Vec<usize> {
    let mut numbers = Vec::new();
    while numbers.len() < messages {
        let frame = peer.wire.frame().await.expect("a member that reads was closed");
        numbers.push(label(&frame).1);
    }
    numbers
}

#[tokio::test]
async fn a_burst_closes_who_does_not_read_and_reaches_all_others() {
    burst(Close).await;
}

#[tokio::test]
async fn a_burst_leaves_its_beginning_to_who_does_not_read_and_reaches_all_others() {
    burst(DropNewest).await;
}

#[tokio::test]
async fn a_burst_leaves_its_end_to_who_does_not_read_and_reaches_all_others() {
    burst(DropOldest).await;
}

#[tokio::test]
async fn a_burst_leaves_the_newest_of_each_key_to_who_does_not_read_and_reaches_all_others() {
    burst(Conflate).await;
}
