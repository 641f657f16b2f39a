//! The compressed messages of the peer.

use alloc::vec::Vec;
use core::mem;

use super::{TAIL, inflater::Inflater, output::Output, pool};
use crate::{ProtocolError, Role, handshake::deflate::DeflateParams, rules::Rules};

/// So many bytes of a message are collected before they are inflated, and its inflater is held from then on.
const COLLECTED_MAX: usize = 32 * 1024;

/// An empty stored block that is the last of its stream: behind the end of a block it ends the stream with its last byte.
/// In the middle of one it does anything but that.
const FINAL_PROBE: &[u8] = b"\x01\x00\x00\xff\xff";

/// As [`FINAL_PROBE`], for a stream that shall go on: empty stored blocks. There are so many because the list of codes at
/// the beginning of a block (RFC 1951 §3.2.7) takes bytes without a sign, until it is whole: of all prefix codes that it may
/// be written in, the slowest takes 37 of these blocks, and its own lengths take two more.
const PROBE: [[u8; 5]; 40] = [*b"\x00\x00\x00\xff\xff"; 40];

/// A message may have so many streams, and one more for every so many bytes: each costs the time of a new window.
const STREAMS_MIN: u64 = 64;

/// How the peer compresses.
#[derive(Clone, Copy)]
pub(crate) struct Incoming {
    /// Its messages refer to earlier ones. The size of its window does not matter: zlib takes the same memory for all.
    keeps_context: bool,
}

/// What is kept of the peer's compression between messages.
#[derive(Default)]
pub(crate) struct Context(Inflater);

/// A compressed message that is unfinished.
pub(crate) struct Compressed {
    incoming: Incoming,
    inflater: Inflater,
    /// Bytes that were inflated; those that are collected are not.
    arrived: u64,
    output: Vec<u8>,
    /// No byte has come since the last block ended that was the last of its stream (or of an earlier message).
    at_boundary: bool,
    streams: u64,
}

impl Incoming {
    /// What was agreed on, seen from `role`.
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
    /// Bytes of memory.
    pub(crate) fn size(&self) -> usize {
        self.0.size()
    }
}

impl Compressed {
    /// Bytes on the wire that are no longer collected.
    pub(crate) fn arrived(&self) -> u64 {
        self.arrived
    }

    /// Bytes of memory.
    pub(crate) fn size(&self) -> usize {
        self.output.len() + self.inflater.size()
    }

    /// How many bytes to collect beyond those that are.
    #[expect(clippy::unused_self, reason = "only a message that is compressed has one")]
    pub(crate) fn appetite(&self, collected: usize) -> usize {
        COLLECTED_MAX.saturating_sub(collected)
    }

    /// What was inflated so far.
    pub(crate) fn output(&self) -> &[u8] {
        &self.output
    }

    pub(crate) fn into_output(self) -> Vec<u8> {
        self.output
    }

    /// Inflates what was collected.
    pub(crate) fn inflate(
        &mut self,
        collected: &[u8],
        last: bool,
        rules: &Rules,
        context: &mut Context,
    ) -> Result<(), ProtocolError> {
        if self.arrived == 0 {
            self.inflater = mem::take(&mut context.0);
        }
        self.arrived += collected.len() as u64;
        let mut message = mem::take(&mut self.output);
        let result = pool::with_scratch(|scratch| {
            let mut output = Output::new(scratch, &mut message, rules.message_size);
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
            // Without context takeover it goes back to the thread.
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

    /// Behind a block with BFINAL set there may be a new stream (RFC 7692 §7.2.3.4).
    ///
    /// With context takeover it may refer to this message; what was before it is forgotten, as by zlib at the other end.
    fn restart(&mut self, output: &Output<'_>) -> Result<(), ProtocolError> {
        self.at_boundary = true;
        self.streams += 1;
        if self.streams > STREAMS_MIN + self.arrived / STREAMS_MIN {
            return Err(ProtocolError::InvalidDeflate);
        }
        self.inflater.restart(if self.incoming.keeps_context { output.window() } else { &[] })
    }

    /// Adds what the sender took off the end (RFC 7692 §7.2.2), and sees whether it ended with a block.
    fn finish(&mut self, output: &mut Output<'_>) -> Result<(), ProtocolError> {
        if self.at_boundary {
            return Ok(());
        }
        let len = output.len();
        let is_whole = match self.inflater.run(TAIL, output)? {
            Some(rest) => {
                self.restart(output)?;
                rest.is_empty()
            }
            None if self.incoming.keeps_context => self.inflater.run(PROBE.as_flattened(), output)?.is_none(),
            None => self.inflater.run(FINAL_PROBE, output)?.is_some_and(<[u8]>::is_empty),
        };
        if is_whole && output.len() == len { Ok(()) } else { Err(ProtocolError::InvalidDeflate) }
    }
}
