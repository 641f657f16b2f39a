//! A client that compresses and inflates by itself.

use flate2::{Compress, Decompress};
use nexios::{App, Compression, Config};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream};

use super::payload::{compressor, deflate, inflate};
use crate::programs::{app, echo};
use crate::serving::{pipe, within};
use crate::wire::{CLOSE, Frame, PING, PONG, TEXT, Wire, raw_frame, request};

/// What browsers offer.
pub(super) const OFFER: &str = "permessage-deflate; client_max_window_bits";
pub(super) const FIN: u8 = 0x80;
pub(super) const RSV1: u8 = 0x40;

pub(super) struct Peer<S = DuplexStream> {
    pub(super) wire: Wire<S>,
    /// The server's `Sec-WebSocket-Extensions`.
    pub(super) answer: Option<String>,
    inflater: Decompress,
    compressor: Compress,
}

/// A message, inflated.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Received {
    pub(super) opcode: u8,
    pub(super) compressed: bool,
    pub(super) payload: Vec<u8>,
    /// The frame's payload.
    pub(super) on_wire: Vec<u8>,
}

/// The settings of an app that compresses.
pub(super) fn config(compression: Compression) -> Config {
    Config::new().compression(compression)
}

/// A client of the echo program.
pub(super) async fn echoing(compression: Compression) -> Peer {
    connect(app(echo).config(config(compression))).await
}

/// A client of an app at `/ws`, with the offer of a browser.
pub(super) async fn connect(app: App) -> Peer {
    Peer::upgrade(pipe(app).0, "/ws", OFFER).await
}

/// Does a handshake with further header lines; returns the server's answer to them.
pub(super) async fn negotiate<S>(wire: &mut Wire<S>, path: &str, headers: &[&str]) -> Option<String>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    wire.send(request(path, headers)).await;
    let head = wire.head().await;
    assert_eq!(head.status, 101, "{headers:?}: {}", head.text);
    let answers: Vec<_> =
        head.text.lines().filter_map(|line| line.strip_prefix("sec-websocket-extensions: ")).collect();
    assert!(answers.len() <= 1, "{answers:?}");
    answers.first().map(|answer| answer.trim().to_owned())
}

impl<S: AsyncRead + AsyncWrite + Unpin> Peer<S> {
    pub(super) async fn upgrade(mut wire: Wire<S>, path: &str, offer: &str) -> Self {
        let answer = negotiate(&mut wire, path, &[&format!("Sec-WebSocket-Extensions: {offer}")]).await;
        Self { wire, answer, inflater: Decompress::new(false), compressor: compressor() }
    }

    fn has_agreed(&self, parameter: &str) -> bool {
        self.answer.as_ref().is_some_and(|answer| answer.contains(parameter))
    }

    /// Sends a text in one compressed frame.
    pub(super) async fn send_compressed(&mut self, text: &str) {
        let payload = self.deflate(text.as_bytes());
        self.wire.send(raw_frame(FIN | RSV1 | TEXT, &payload)).await;
    }

    pub(super) fn deflate(&mut self, bytes: &[u8]) -> Vec<u8> {
        if self.has_agreed("client_no_context_takeover") {
            self.compressor = compressor();
        }
        deflate(&mut self.compressor, bytes)
    }

    /// The next message.
    pub(super) async fn message(&mut self) -> Received {
        within(self.read_message()).await
    }

    /// As [`message`](Self::message), without a deadline. Pings are answered.
    pub(super) async fn read_message(&mut self) -> Received {
        loop {
            let frame = self.wire.read_frame().await.expect("the connection ended");
            match frame.opcode {
                PING => self.wire.send(crate::wire::frame(PONG, frame.payload)).await,
                PONG => {}
                CLOSE => panic!("closed: {:?}", frame.into_close()),
                _ => return self.received(frame),
            }
        }
    }

    fn received(&mut self, frame: Frame) -> Received {
        assert!(frame.fin, "{frame:?}");
        if !frame.compressed {
            let Frame { opcode, payload, .. } = frame;
            return Received { opcode, compressed: false, on_wire: payload.clone(), payload };
        }
        assert!(self.answer.is_some(), "RSV1 without an agreement");
        if self.has_agreed("server_no_context_takeover") {
            self.inflater = Decompress::new(false);
        }
        let payload = inflate(&mut self.inflater, &frame.payload).unwrap();
        Received { opcode: frame.opcode, compressed: true, payload, on_wire: frame.payload }
    }
}

impl Received {
    #[track_caller]
    pub(super) fn assert_compressed(&self, text: &str) {
        self.assert_is(text);
        assert!(self.compressed, "{} bytes came plain", text.len());
        assert!(self.on_wire.len() < text.len());
    }

    #[track_caller]
    pub(super) fn assert_plain(&self, text: &str) {
        self.assert_is(text);
        assert!(!self.compressed, "{} bytes came compressed", text.len());
    }

    #[track_caller]
    fn assert_is(&self, text: &str) {
        assert_eq!(self.opcode, TEXT);
        let same = self.payload == text.as_bytes();
        assert!(same, "{} bytes came as {} or changed", text.len(), self.payload.len());
    }
}
