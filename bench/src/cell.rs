//! What is measured: one cell is one kind of load.

use crate::wire::Opcode;

/// One row of measurements: a name for the command line, a title for the table, and the load.
#[derive(Debug, Clone, Copy)]
pub struct Cell {
    /// The name that `--only` takes.
    pub name: &'static str,
    /// The heading in the report.
    pub title: &'static str,
    /// What the generator does.
    pub load: Load,
}

/// The kinds of load.
#[derive(Debug, Clone, Copy)]
pub enum Load {
    /// Connections that send, and send again for every answer.
    Echo {
        /// Bytes in one message.
        payload: usize,
        /// Connections that talk.
        talking: usize,
        /// Connections that stay silent beside them.
        silent: usize,
        /// Messages that each talking connection has under way.
        in_flight: usize,
        /// Text or binary.
        opcode: Opcode,
        /// With permessage-deflate (RFC 7692).
        deflate: bool,
    },
    /// Members who all receive what a few of them publish; a publisher goes on when everybody has its message.
    Fanout {
        /// Bytes in one message.
        payload: usize,
        /// Connections that receive, publishers included.
        members: usize,
        /// Members that publish, one message under way each.
        publishers: usize,
        /// With permessage-deflate (RFC 7692).
        deflate: bool,
    },
    /// Connections that do nothing: what is measured is the server's memory.
    Idle {
        /// How many.
        connections: usize,
    },
    /// Connections that are opened and dropped as fast as the server answers.
    Handshakes {
        /// How many are under way at once.
        under_way: usize,
    },
}

impl Load {
    /// Whether the server must compress.
    pub fn deflates(&self) -> bool {
        matches!(self, Load::Echo { deflate: true, .. } | Load::Fanout { deflate: true, .. })
    }
}

const fn echo(payload: usize, talking: usize, in_flight: usize, opcode: Opcode) -> Load {
    Load::Echo { payload, talking, silent: 0, in_flight, opcode, deflate: false }
}

const fn fan_out(payload: usize, publishers: usize, deflate: bool) -> Load {
    Load::Fanout { payload, members: 1000, publishers, deflate }
}

/// Every cell, in the order of the report.
pub const CELLS: &[Cell] = &[
    Cell { name: "echo-64", title: "Echo 64 B × 100, 1 in flight", load: echo(64, 100, 1, Opcode::Text) },
    Cell { name: "echo-64-pipelined", title: "Echo 64 B × 100, 16 in flight", load: echo(64, 100, 16, Opcode::Text) },
    Cell { name: "echo-16k", title: "Echo 16 KiB × 50", load: echo(16 << 10, 50, 1, Opcode::Binary) },
    Cell { name: "echo-1m", title: "Echo 1 MiB × 4", load: echo(1 << 20, 4, 1, Opcode::Binary) },
    Cell {
        name: "echo-4k-deflate",
        title: "Compressed echo of 4 KiB JSON × 100",
        load: Load::Echo {
            payload: 4 << 10,
            talking: 100,
            silent: 0,
            in_flight: 1,
            opcode: Opcode::Text,
            deflate: true,
        },
    },
    Cell { name: "fanout-1", title: "Fan-out of 64 B to 1,000, 1 publisher", load: fan_out(64, 1, false) },
    Cell { name: "fanout-8", title: "Fan-out of 64 B to 1,000, 8 publishers", load: fan_out(64, 8, false) },
    Cell {
        name: "fanout-1-deflate",
        title: "Compressed fan-out of 1 KiB JSON to 1,000, 1 publisher",
        load: fan_out(1 << 10, 1, true),
    },
    Cell {
        name: "fanout-8-deflate",
        title: "Compressed fan-out of 1 KiB JSON to 1,000, 8 publishers",
        load: fan_out(1 << 10, 8, true),
    },
    Cell {
        name: "mostly-idle",
        title: "10,000 connections, 1 % of them echo 64 B",
        load: Load::Echo {
            payload: 64,
            talking: 100,
            silent: 9900,
            in_flight: 1,
            opcode: Opcode::Text,
            deflate: false,
        },
    },
    Cell { name: "idle", title: "19,900 idle connections", load: Load::Idle { connections: 19_900 } },
    Cell { name: "handshakes", title: "Handshakes", load: Load::Handshakes { under_way: 64 } },
];
