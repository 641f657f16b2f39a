//! Inflation of the peer's compressed messages.

use alloc::vec::Vec;
use core::mem;

use super::{TAIL, inflater::Inflater, output::Output, pool};
use crate::{ProtocolError, Role, handshake::deflate::DeflateParams};

/// Number of bytes of a message that are collected before they are inflated, and its inflater is held.
const COLLECTED_MAX: usize = 32 * 1024;

/// An empty stored block that is the last of its stream: behind the end of a block its last byte ends the stream. In
/// the middle of a block it does not.
const FINAL_PROBE: &[u8] = b"\x01\x00\x00\xff\xff";

/// As [`FINAL_PROBE`], for a stream that continues: empty stored blocks. There are many because the code lengths at the
/// beginning of a block (RFC 1951 §3.2.7) consume bytes without an error until they are complete: the slowest of all
/// prefix codes for them consumes 37 of these blocks, and its own lengths consume two more.
const PROBE: [[u8; 5]; 40] = [*b"\x00\x00\x00\xff\xff"; 40];

/// Number of streams that a message may have, with one more for every such number of bytes: each costs the time of a
/// new window.
const STREAMS_MIN: u64 = 64;

/// The settings of the peer's compression.
#[derive(Clone, Copy)]
pub(crate) struct Incoming {
    /// True with context takeover. The size of the window does not matter: zlib takes the same memory for all.
    keeps_context: bool,
}

/// The state of the peer's compression between messages.
#[derive(Default)]
pub(crate) struct Context(Inflater);

/// An unfinished compressed message.
pub(crate) struct Compressed {
    incoming: Incoming,
    inflater: Inflater,
    /// Number of compressed bytes that were inflated, without those that are still collected.
    arrived: u64,
    output: Vec<u8>,
    /// True until a byte follows the last block of a stream (or of an earlier message).
    at_boundary: bool,
    streams: u64,
}

impl Incoming {
    /// The negotiated parameters of the peer, for this end's `role`.
    pub(crate) fn new(role: Role, params: DeflateParams) -> Self {
        let no_context_takeover = match role {
            Role::Server => params.client_no_context_takeover,
            Role::Client => params.server_no_context_takeover,
        };
        Self { keeps_context: !no_context_takeover }
    }

    pub(crate) fn begin(self) -> Compressed {
        Compressed {
            incoming: self,
            inflater: Inflater::default(),
            arrived: 0,
            output: Vec::new(),
            at_boundary: true,
            streams: 0,
        }
    }
}

impl Context {
    /// Memory in bytes.
    pub(crate) fn size(&self) -> usize {
        self.0.size()
    }
}

impl Compressed {
    /// Number of compressed bytes that were inflated.
    pub(crate) fn arrived(&self) -> u64 {
        self.arrived
    }

    /// Memory in bytes.
    pub(crate) fn size(&self) -> usize {
        self.output.len() + self.inflater.size()
    }

    /// Number of bytes to collect in addition.
    #[expect(clippy::unused_self, reason = "only a message that is compressed has one")]
    pub(crate) fn append_limit(&self, collected: usize) -> usize {
        COLLECTED_MAX.saturating_sub(collected)
    }

    /// The output so far.
    pub(crate) fn output(&self) -> &[u8] {
        &self.output
    }

    pub(crate) fn into_output(self) -> Vec<u8> {
        self.output
    }

    /// Inflates the collected bytes.
    pub(crate) fn inflate(
        &mut self,
        collected: &[u8],
        last: bool,
        message_size: usize,
        context: &mut Context,
    ) -> Result<(), ProtocolError> {
        if self.arrived == 0 {
            self.inflater = mem::take(&mut context.0);
        }
        self.arrived += collected.len() as u64;
        let mut message = mem::take(&mut self.output);
        let result = pool::with_scratch(|scratch| {
            let mut output = Output::new(scratch, &mut message, message_size);
            self.take(collected, &mut output)?;
            if last {
                self.finish(&mut output)?;
            }
            output.settle();
            Ok(())
        });
        self.output = message;
        result?;
        if last {
            let inflater = mem::take(&mut self.inflater);
            // Without context takeover it returns to the thread's pool.
            context.0 = if self.incoming.keeps_context { inflater } else { Inflater::default() };
        }
        Ok(())
    }

    fn take(&mut self, mut input: &[u8], output: &mut Output<'_>) -> Result<(), ProtocolError> {
        while !input.is_empty() {
            self.at_boundary = false;
            let Some(rest) = self.inflater.run(input, output)? else { break };
            self.restart(output)?;
            input = rest;
        }
        Ok(())
    }

    /// Begins a new stream, which may follow a block with BFINAL set (RFC 7692 §7.2.3.4).
    ///
    /// With context takeover it may refer to this message; earlier ones are forgotten, as by zlib at the other end.
    fn restart(&mut self, output: &Output<'_>) -> Result<(), ProtocolError> {
        self.at_boundary = true;
        self.streams += 1;
        if self.streams > STREAMS_MIN + self.arrived / STREAMS_MIN {
            return Err(ProtocolError::InvalidDeflate);
        }
        self.inflater.restart(if self.incoming.keeps_context { output.window() } else { &[] })
    }

    /// Appends the tail that the sender has removed (RFC 7692 §7.2.2), and checks that the message ended with a block.
    fn finish(&mut self, output: &mut Output<'_>) -> Result<(), ProtocolError> {
        if self.at_boundary {
            return Ok(());
        }
        let len = output.len();
        let is_complete = match self.inflater.run(TAIL, output)? {
            Some(rest) => {
                self.restart(output)?;
                rest.is_empty()
            }
            None if self.incoming.keeps_context => self.inflater.run(PROBE.as_flattened(), output)?.is_none(),
            None => self.inflater.run(FINAL_PROBE, output)?.is_some_and(<[u8]>::is_empty),
        };
        if is_complete && output.len() == len { Ok(()) } else { Err(ProtocolError::InvalidDeflate) }
    }
}
