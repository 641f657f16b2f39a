//! What a client may send, and what ends the connection.

use nexios::Compression;

use super::payload::{bomb, deflate_alone, noise, prose};
use super::peer::{FIN, Peer, RSV1, config, connect, echoing};
use crate::programs::{app, echo};
use crate::serving::pipe;
use crate::wire::{BINARY, PING, PONG, TEXT, frame, raw_frame, text};

const MIB: usize = 1024 * 1024;
const CONTINUATION: u8 = 0;
const BOTH: [Compression; 2] = [Compression::shared(), Compression::dedicated()];

/// Sends frames to the echo program and expects the connection to be closed with this code.
async fn closes(compression: Compression, what: &str, frames: &[Vec<u8>], code: u16) {
    let mut peer = echoing(compression).await;
    peer.wire.send(frames.concat()).await;
    assert_eq!(peer.wire.close_frame().await.0, code, "{compression:?}: {what}");
}

#[tokio::test]
async fn a_compressed_message_is_inflated_in_the_context_of_those_before() {
    for compression in BOTH {
        let mut peer = echoing(compression).await;
        for len in [0, 1, 10, 2000, 2000, 2000, 40_000, 40_000, 1000] {
            peer.send_compressed(&prose(len)).await;
            assert!(peer.message().await.payload == prose(len).as_bytes(), "{len} bytes");
        }
    }
}

#[tokio::test]
async fn a_client_that_keeps_no_context_is_understood() {
    let mut peer = echoing(Compression::dedicated()).await;
    for _ in 0..3 {
        peer.wire.send(raw_frame(FIN | RSV1 | TEXT, &deflate_alone(prose(3000).as_bytes()))).await;
        peer.message().await.assert_compressed(&prose(3000));
    }
}

#[tokio::test]
async fn pings_may_come_between_the_fragments_of_a_compressed_message() {
    for compression in BOTH {
        let mut peer = echoing(compression).await;
        for size in [1, 7, 100, 5000] {
            let payload = peer.deflate(prose(20_000).as_bytes());
            let mut pings = 0;
            for (n, piece) in payload.chunks(size).enumerate() {
                let first = if n == 0 { RSV1 | TEXT } else { CONTINUATION };
                peer.wire.send(raw_frame(first, piece)).await;
                if n % 50 == 0 {
                    peer.wire.send(frame(PING, [n as u8])).await;
                    pings += 1;
                }
            }
            // The end may be a frame without a payload.
            peer.wire.send(raw_frame(FIN | CONTINUATION, b"")).await;
            for _ in 0..pings {
                assert_eq!(peer.wire.frame().await.unwrap().opcode, PONG);
            }
            peer.message().await.assert_compressed(&prose(20_000));
        }
    }
}

#[tokio::test]
async fn an_empty_message_may_be_compressed() {
    // The payload of RFC 7692 §7.2.3.6, whole and behind a first frame without any.
    for frames in [
        raw_frame(FIN | RSV1 | TEXT, &[0]),
        [raw_frame(RSV1 | TEXT, b""), raw_frame(CONTINUATION, &[0]), raw_frame(FIN | CONTINUATION, b"")].concat(),
    ] {
        for compression in BOTH {
            let mut peer = echoing(compression).await;
            for _ in 0..2 {
                peer.wire.send(&frames).await;
                peer.message().await.assert_plain("");
            }
        }
    }
}

#[tokio::test]
async fn a_client_that_agreed_may_still_send_plain() {
    for compression in BOTH {
        let mut peer = echoing(compression).await;
        for n in 0..3 {
            peer.wire.send(text(&prose(3000))).await;
            peer.message().await.assert_compressed(&prose(3000));
            peer.wire.send([raw_frame(TEXT, b"frag"), raw_frame(FIN | CONTINUATION, b"ments")].concat()).await;
            peer.message().await.assert_plain("fragments");
            peer.send_compressed(&format!("{n}")).await;
            peer.message().await.assert_plain(&format!("{n}"));
        }
    }
}

#[tokio::test]
async fn rsv1_without_an_agreement_closes_1002() {
    let payload = deflate_alone(b"hello");
    closes(Compression::off(), "declined", &[raw_frame(FIN | RSV1 | TEXT, &payload)], 1002).await;
    let (mut wire, _) = pipe(app(echo).config(config(Compression::shared())));
    wire.handshake("/ws").await;
    wire.send(raw_frame(FIN | RSV1 | TEXT, &payload)).await;
    assert_eq!(wire.close_frame().await.0, 1002);
}

#[tokio::test]
async fn rsv1_where_it_may_not_be_closes_1002() {
    let payload = deflate_alone(b"hello");
    let first = raw_frame(RSV1 | TEXT, &payload[..2]);
    for compression in BOTH {
        let late = raw_frame(FIN | RSV1 | CONTINUATION, &payload[2..]);
        closes(compression, "on a continuation", &[first.clone(), late.clone()], 1002).await;
        closes(compression, "on a plain message's continuation", &[raw_frame(TEXT, b"a"), late], 1002).await;
        closes(compression, "on a ping", &[raw_frame(FIN | RSV1 | PING, b"")], 1002).await;
        closes(compression, "RSV2", &[raw_frame(FIN | 0x20 | TEXT, &payload)], 1002).await;
        closes(compression, "RSV3", &[raw_frame(FIN | RSV1 | 0x10 | TEXT, &payload)], 1002).await;
    }
}

#[tokio::test]
async fn corrupt_data_closes_1007() {
    let whole = deflate_alone(prose(3000).as_bytes());
    for compression in BOTH {
        let broken: [(&str, &[u8]); 5] = [
            ("a block type that is none", &[0x07, 0xff, 0xff]),
            ("noise", &noise(1, 500)),
            ("cut off", &whole[..whole.len() / 2]),
            ("a stored block whose length is wrong", &[0x00, 0x05, 0x00, 0x00, 0x00, b'h']),
            ("what refers to nothing", &[0x02, 0x41, 0x01, 0x00]),
        ];
        for (what, payload) in broken {
            closes(compression, what, &[raw_frame(FIN | RSV1 | BINARY, payload)], 1007).await;
        }
    }
}

#[tokio::test]
async fn text_that_inflates_to_no_utf8_closes_1007() {
    let mut bytes = prose(3000).into_bytes();
    bytes[2900] = 0xff;
    for compression in BOTH {
        closes(compression, "UTF-8", &[raw_frame(FIN | RSV1 | TEXT, &deflate_alone(&bytes))], 1007).await;
        let mut peer = echoing(compression).await;
        peer.wire.send(raw_frame(FIN | RSV1 | BINARY, &deflate_alone(&bytes))).await;
        assert!(peer.message().await.payload == bytes);
    }
}

#[tokio::test]
async fn the_limit_counts_what_was_inflated() {
    for compression in BOTH {
        let mut peer = echoing(compression).await;
        for _ in 0..2 {
            peer.send_compressed(&prose(MIB)).await;
            peer.message().await.assert_compressed(&prose(MIB));
        }
        let payload = peer.deflate(prose(MIB + 1).as_bytes());
        peer.wire.send(raw_frame(FIN | RSV1 | TEXT, &payload)).await;
        assert_eq!(peer.wire.close_frame().await.0, 1009);
    }
}

#[tokio::test]
async fn the_limit_counts_over_all_fragments() {
    let payload = deflate_alone(prose(5000).as_bytes());
    for (limit, code) in [(4999, Some(1009)), (5000, None)] {
        let config = config(Compression::dedicated()).message_size(limit);
        let mut peer = connect(app(echo).config(config)).await;
        for (n, byte) in payload.iter().enumerate() {
            peer.wire.send(raw_frame(if n == 0 { RSV1 | TEXT } else { CONTINUATION }, &[*byte])).await;
        }
        peer.wire.send(raw_frame(FIN | CONTINUATION, b"")).await;
        match code {
            Some(code) => assert_eq!(peer.wire.close_frame().await.0, code),
            None => peer.message().await.assert_compressed(&prose(5000)),
        }
    }
}

#[tokio::test]
async fn a_message_that_inflates_to_a_gibibyte_closes_1009() {
    let bomb = bomb();
    let fragments = |size: usize| {
        let last = raw_frame(FIN | CONTINUATION, b"");
        let first = |n| if n == 0 { RSV1 | BINARY } else { CONTINUATION };
        let frames = bomb.chunks(size).enumerate().map(|(n, piece)| raw_frame(first(n), piece));
        frames.chain([last]).collect::<Vec<_>>()
    };
    for compression in BOTH {
        closes(compression, "in fragments", &fragments(MIB / 16), 1009).await;
        closes(compression, "in small fragments", &fragments(500), 1009).await;
        closes(compression, "in one frame", &[raw_frame(FIN | RSV1 | BINARY, &bomb)], 1009).await;
    }
}

#[tokio::test]
async fn a_client_that_disagrees_with_its_own_offer_is_understood_if_zlib_does() {
    // Offers a small window, and compresses with the largest: nothing is lost by taking it.
    let app = app(echo).config(config(Compression::dedicated()));
    let mut peer = Peer::upgrade(pipe(app).0, "/ws", "permessage-deflate; client_max_window_bits=9").await;
    for _ in 0..2 {
        peer.send_compressed(&prose(30_000)).await;
        peer.message().await.assert_compressed(&prose(30_000));
    }
}
