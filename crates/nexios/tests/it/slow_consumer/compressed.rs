//! Dropping among compressed messages: what is left can be inflated, with each kind of window.

use flate2::{Decompress, FlushDecompress};
use nexios::SlowConsumer::{Conflate, DropOldest};
use nexios::prelude::*;

use super::stage::{Order, Peer, Stage, assert_rising, of, read_label};
use crate::wire::Frame;

const ROUNDS: usize = 8;
const OFFER: &str = "Sec-WebSocket-Extensions: permessage-deflate";

/// Text that refers to what came before it, as much as it can.
fn text(source: &str, number: usize) -> String {
    format!("{source} {number} {}", ".".repeat(600 + number % 7))
}

/// Inflates one message after the other, as a peer with one window does.
struct Inflater(Decompress);

impl Inflater {
    fn inflate(&mut self, frame: &Frame) -> Vec<u8> {
        if !frame.compressed {
            return frame.payload.clone();
        }
        let input = [&frame.payload[..], b"\x00\x00\xff\xff"].concat();
        let mut out = Vec::with_capacity(64 * 1024);
        self.0.decompress_vec(&input, &mut out, FlushDecompress::Sync).expect("it refers to what was dropped");
        out
    }

    fn labels(&mut self, frames: &[Frame]) -> Vec<(String, usize)> {
        frames.iter().map(|frame| read_label(&self.inflate(frame))).collect()
    }
}

async fn flood(stage: &Stage, numbers: std::ops::Range<usize>) {
    for number in numbers {
        let group = stage.groups.group("drop");
        group.send_keyed((number % 4).to_string(), text("drop", number)).await.unwrap();
    }
}

fn say(peer: &Peer, numbers: std::ops::Range<usize>) {
    peer.order(Order::Say(numbers.map(|number| text("own", number).into()).collect()));
}

#[tokio::test]
async fn what_is_left_inflates_with_the_handlers_own_messages_between() {
    for compression in [Compression::shared(), Compression::dedicated()] {
        for choice in [DropOldest, Conflate] {
            let config = Config::new().outbound_queue(4096).compression(compression.threshold(0));
            let each = GroupsConfig::new().each(GroupConfig::new().slow_consumer(choice).member_queue(2048));
            let mut stage = Stage::new(config, each);
            let mut peer = stage.join_on("drop", 16, &[OFFER]).await;
            let mut inflater = Inflater(Decompress::new(false));
            let mut heard = Vec::new();
            for round in 0..ROUNDS {
                say(&peer, round * 4..round * 4 + 2);
                crate::serving::pause(1).await;
                flood(&stage, round * 60..round * 60 + 40).await;
                say(&peer, round * 4 + 2..round * 4 + 4);
                crate::serving::pause(1).await;
                peer.sender.send_text(text("sender", round)).await.unwrap();
                flood(&stage, round * 60 + 40..round * 60 + 60).await;
                if round % 3 > 0 {
                    heard.extend(inflater.labels(&peer.read_all().await));
                }
            }
            heard.extend(inflater.labels(&peer.read_all().await));
            let came = of(&heard, "drop");
            assert_rising(&came);
            assert_eq!(came.last(), Some(&(ROUNDS * 60 - 1)), "{compression:?}, {choice:?}");
            assert_eq!(stage.stats("drop").await.dropped, (ROUNDS * 60 - came.len()) as u64);
            assert!(stage.stats("drop").await.dropped > 100, "little was dropped");
            assert_eq!(of(&heard, "own"), (0..ROUNDS * 4).collect::<Vec<_>>());
            assert_eq!(of(&heard, "sender"), (0..ROUNDS).collect::<Vec<_>>());
        }
    }
}

#[tokio::test]
async fn the_bound_counts_the_compressed_bytes() {
    let config = Config::new().outbound_queue(8192).compression(Compression::shared().threshold(0));
    let mut stage = Stage::new(config, GroupsConfig::new().each(GroupConfig::new().slow_consumer(DropOldest)));
    let mut peer = stage.join_on("drop", 16, &[OFFER]).await;
    flood(&stage, 0..1000).await;
    let held = stage.groups.stats().queued_bytes;
    assert!((4096..=8192).contains(&held), "{held}");
    let frames = peer.read_all().await;
    let labels = Inflater(Decompress::new(false)).labels(&frames);
    assert!(labels.len() > 20, "{} messages of a few bytes each", labels.len());
    assert_eq!(labels.last(), Some(&("drop".to_owned(), 999)));
}
