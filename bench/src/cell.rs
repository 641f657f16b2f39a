//! What is measured: one cell is one kind of load.

use crate::payload::Content;
use crate::wire::Opcode;

/// One row of measurements: a name for the command line, a title for the table, and the load.
#[derive(Debug, Clone, Copy)]
pub struct Cell {
    /// The name that `--only` takes.
    pub name: &'static str,
    /// The heading in the report.
    pub title: &'static str,
    /// The load.
    pub load: Load,
}

/// The kinds of load.
#[derive(Debug, Clone, Copy)]
pub enum Load {
    /// Connections that send, and send again for every answer.
    Echo(Echo),
    /// Members who all receive what a few of them publish; a publisher goes on when everybody has its message.
    Fanout(Fanout),
    /// Connections that do nothing: what is measured is the server's memory.
    Idle {
        /// Number of connections.
        connections: usize,
        /// Where they connect to.
        path: &'static str,
    },
    /// Connections that are opened and dropped as fast as the server answers.
    Handshakes {
        /// Number of handshakes under way at once.
        under_way: usize,
    },
}

/// The numbers of an echo load.
#[derive(Debug, Clone, Copy)]
pub struct Echo {
    /// The message that is sent.
    pub message: Message,
    /// Connections that talk.
    pub talking: usize,
    /// Connections that stay silent beside them.
    pub silent: usize,
    /// Messages that each talking connection has under way.
    pub in_flight: usize,
    /// With permessage-deflate, and how.
    pub deflate: Option<Deflate>,
}

/// The numbers of a fan-out load.
#[derive(Debug, Clone, Copy)]
pub struct Fanout {
    /// The message that is sent.
    pub message: Message,
    /// Connections that receive, publishers included.
    pub members: usize,
    /// Members that publish, one message under way each.
    pub publishers: usize,
    /// With permessage-deflate, and how.
    pub deflate: Option<Deflate>,
}

/// The messages of a load: they differ in content, not in kind and length.
#[derive(Debug, Clone, Copy)]
pub struct Message {
    /// Bytes before compression.
    pub length: usize,
    /// Text or binary.
    pub opcode: Opcode,
    /// The content of the message.
    pub content: Content,
}

/// The compression that the generator offers and accepts, where permessage-deflate (RFC 7692) is negotiated.
#[derive(Debug, Clone, Copy)]
pub struct Deflate {
    /// Both ends may keep their windows from message to message.
    pub takeover: bool,
    /// True if the server may send uncompressed messages; otherwise one is a failure.
    pub plain_answers: bool,
}

impl Load {
    /// The compression that the server must use, if any.
    pub fn deflate(&self) -> Option<Deflate> {
        match self {
            Load::Echo(echo) => echo.deflate,
            Load::Fanout(fan_out) => fan_out.deflate,
            Load::Idle { .. } | Load::Handshakes { .. } => None,
        }
    }

    /// The same load, with context takeover wherever it compresses.
    pub fn with_takeover(mut self) -> Self {
        if let Load::Echo(Echo { deflate: Some(deflate), .. }) | Load::Fanout(Fanout { deflate: Some(deflate), .. }) =
            &mut self
        {
            deflate.takeover = true;
        }
        self
    }
}

const fn text(length: usize) -> Message {
    Message { length, opcode: Opcode::Text, content: Content::Letters }
}

const fn binary(length: usize) -> Message {
    Message { length, opcode: Opcode::Binary, content: Content::Letters }
}

const fn json(length: usize) -> Message {
    Message { length, opcode: Opcode::Text, content: Content::Json }
}

/// Every answer must be compressed.
const COMPRESSED: Option<Deflate> = Some(Deflate { takeover: false, plain_answers: false });
/// For messages that many servers hold too small to be worth it.
const AGREED: Option<Deflate> = Some(Deflate { takeover: false, plain_answers: true });

const fn echo(message: Message, talking: usize, in_flight: usize, deflate: Option<Deflate>) -> Load {
    Load::Echo(Echo { message, talking, silent: 0, in_flight, deflate })
}

const fn fan_out(message: Message, publishers: usize, deflate: Option<Deflate>) -> Load {
    Load::Fanout(Fanout { message, members: 1000, publishers, deflate })
}

const fn cell(name: &'static str, title: &'static str, load: Load) -> Cell {
    Cell { name, title, load }
}

/// A process here may hold 20,000 descriptors, and some are taken.
const IDLE: usize = 19_900;
const MOSTLY_IDLE: Echo = Echo { message: text(64), talking: 100, silent: 9_900, in_flight: 1, deflate: None };

/// Every cell, in the order of the report.
pub const CELLS: &[Cell] = &[
    cell("echo-64", "Echo 64 B × 100, 1 in flight", echo(text(64), 100, 1, None)),
    cell("echo-64-pipelined", "Echo 64 B × 100, 16 in flight", echo(text(64), 100, 16, None)),
    cell("echo-16k", "Echo 16 KiB × 50", echo(binary(16 << 10), 50, 1, None)),
    cell("echo-1m", "Echo 1 MiB × 4", echo(binary(1 << 20), 4, 1, None)),
    cell("echo-4k-deflate", "Compressed echo of 4 KiB JSON × 100", echo(json(4 << 10), 100, 1, COMPRESSED)),
    cell("fanout-1", "Fan-out of 64 B to 1,000, 1 publisher", fan_out(text(64), 1, None)),
    cell("fanout-8", "Fan-out of 64 B to 1,000, 8 publishers", fan_out(text(64), 8, None)),
    cell(
        "fanout-1-deflate",
        "Fan-out of 64 B to 1,000, 1 publisher, with permessage-deflate agreed on",
        fan_out(text(64), 1, AGREED),
    ),
    cell(
        "fanout-8-deflate",
        "Fan-out of 64 B to 1,000, 8 publishers, with permessage-deflate agreed on",
        fan_out(text(64), 8, AGREED),
    ),
    cell("fanout-1k-1", "Fan-out of 1 KiB JSON to 1,000, 1 publisher", fan_out(json(1 << 10), 1, None)),
    cell("fanout-1k-8", "Fan-out of 1 KiB JSON to 1,000, 8 publishers", fan_out(json(1 << 10), 8, None)),
    cell(
        "fanout-1k-1-deflate",
        "Compressed fan-out of 1 KiB JSON to 1,000, 1 publisher",
        fan_out(json(1 << 10), 1, COMPRESSED),
    ),
    cell(
        "fanout-1k-8-deflate",
        "Compressed fan-out of 1 KiB JSON to 1,000, 8 publishers",
        fan_out(json(1 << 10), 8, COMPRESSED),
    ),
    cell("mostly-idle", "10,000 connections, 1 % of them echo 64 B", Load::Echo(MOSTLY_IDLE)),
    cell("idle", "19,900 idle connections", Load::Idle { connections: IDLE, path: "/echo" }),
    cell("idle-endpoint", "19,900 idle connections of an endpoint", Load::Idle { connections: IDLE, path: ENDPOINT }),
    cell("handshakes", "Handshakes", Load::Handshakes { under_way: 64 }),
];

/// The path that only our own server has.
pub const ENDPOINT: &str = "/endpoint";
