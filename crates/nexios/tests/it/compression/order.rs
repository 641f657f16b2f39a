//! Compressed and plain messages between each other, waiting senders, and sends that were given up.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use nexios::Compression;
use nexios::prelude::*;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::payload::{noise, prose};
use super::peer::{config, connect, echoing};
use crate::programs::app;
use crate::serving::{pause, within};
use crate::wire::text;

const BOTH: [Compression; 2] = [Compression::shared(), Compression::dedicated()];

/// A message that shows its number: every third is too short to be compressed, every fourth does not become smaller.
fn numbered(n: usize) -> String {
    let body = match n {
        _ if n.is_multiple_of(3) => String::new(),
        _ if n.is_multiple_of(4) => noise(n as u64, 1500).iter().map(|byte| char::from(byte & 0x7f)).collect(),
        _ => prose(1500 + n * 100),
    };
    format!("{n} {body}")
}

#[tokio::test]
async fn the_answers_to_pipelined_messages_keep_their_order() {
    for compression in BOTH {
        let mut peer = echoing(compression).await;
        for _ in 0..3 {
            peer.wire.send((0..60).flat_map(|n| text(&numbered(n))).collect::<Vec<_>>()).await;
            for n in 0..60 {
                assert!(peer.message().await.payload == numbered(n).as_bytes(), "{compression:?}, message {n}");
            }
        }
    }
}

#[tokio::test]
async fn a_handler_that_waits_for_room_loses_nothing() {
    for compression in BOTH {
        let program = async |mut websocket: WebSocket| -> nexios::Result {
            websocket.accept().await?;
            for n in 0..300 {
                websocket.send_text(numbered(n)).await?;
            }
            Ok(())
        };
        let mut peer = connect(app(program).config(config(compression).outbound_queue(4096))).await;
        pause(50).await;
        for n in 0..300 {
            assert!(peer.message().await.payload == numbered(n).as_bytes(), "{compression:?}, message {n}");
        }
        assert_eq!(peer.wire.close_frame().await.0, 1000);
    }
}

#[tokio::test]
async fn a_send_that_was_given_up_leaves_the_window_whole() {
    for compression in BOTH {
        let (full, is_full) = oneshot::channel();
        let full = Arc::new(Mutex::new(Some(full)));
        let program = async move |mut websocket: WebSocket| -> nexios::Result {
            websocket.accept().await?;
            let mut given_up = 0;
            for n in 0..100_000 {
                let send = websocket.send_text(numbered(n % 100));
                given_up += usize::from(timeout(Duration::from_millis(1), send).await.is_err());
                if given_up == 10 {
                    break;
                }
            }
            full.lock().unwrap().take().unwrap().send(()).unwrap();
            websocket.send_text("the last").await
        };
        let mut peer = connect(app(program).config(config(compression).outbound_queue(4096))).await;
        within(is_full).await.unwrap();
        for i in 0.. {
            let text = String::from_utf8(peer.message().await.payload).unwrap();
            if text == "the last" {
                break;
            }
            let n: usize = text.split(' ').next().unwrap().parse().unwrap();
            assert!(text == numbered(n), "{compression:?}, {i}: message {n}");
        }
        assert_eq!(peer.wire.close_frame().await.0, 1000);
    }
}
