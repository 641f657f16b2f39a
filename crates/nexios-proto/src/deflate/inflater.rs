use alloc::boxed::Box;

use flate2::{Decompress, FlushDecompress, Status};

use super::{
    output::{Output, WINDOW},
    pool,
};
use crate::ProtocolError;

/// Memory of an inflater in bytes: the window, and the code tables.
const INFLATER_SIZE: usize = WINDOW + 8 * 1024;

/// One of the thread's inflaters, taken from the pool at its first use and returned when it is dropped.
#[derive(Default)]
pub(super) struct Inflater(Option<Box<Decompress>>);

impl Inflater {
    /// Memory in bytes.
    pub(super) fn size(&self) -> usize {
        if self.0.is_some() { INFLATER_SIZE } else { 0 }
    }

    /// Inflates `input` up to the end of the stream, if there is one, and returns the rest behind it.
    pub(super) fn run<'a>(
        &mut self,
        mut input: &'a [u8],
        output: &mut Output<'_>,
    ) -> Result<Option<&'a [u8]>, ProtocolError> {
        let state = self.0.get_or_insert_with(pool::take_inflater);
        loop {
            let room = output.room();
            let before = state.total_in();
            let status = state.decompress_vec(input, room, FlushDecompress::Sync);
            let is_full = room.len() == room.capacity();
            let n = usize::try_from(state.total_in() - before).unwrap_or(input.len());
            input = &input[n..];
            output.check()?;
            match status {
                Ok(Status::StreamEnd) => return Ok(Some(input)),
                Ok(_) if is_full => {}
                // With spare capacity it stops only for lack of input.
                Ok(_) if input.is_empty() => return Ok(None),
                _ => return Err(ProtocolError::InvalidDeflate),
            }
        }
    }

    /// Begins a new stream, which may refer to the dictionary.
    pub(super) fn restart(&mut self, dictionary: &[u8]) -> Result<(), ProtocolError> {
        let Some(state) = &mut self.0 else { return Ok(()) };
        state.reset(false);
        if !dictionary.is_empty() {
            state.set_dictionary(dictionary).map_err(|_| ProtocolError::InvalidDeflate)?;
        }
        Ok(())
    }
}

impl Drop for Inflater {
    fn drop(&mut self) {
        if let Some(state) = self.0.take() {
            pool::return_inflater(state);
        }
    }
}
