//! The hot path: a message in a single frame that is completely in the input.

use bytes::Bytes;

use crate::{
    Message, Role, Utf8Bytes,
    decoder_config::DecoderConfig,
    frame::{KEY_SIZE, LENGTH_16, LENGTH_64, UNFRAGMENTED_BINARY, UNFRAGMENTED_TEXT, length_16, length_64},
    mask::MaskKey,
};

/// A message in a single frame, by its place in the input.
pub(crate) struct SingleFrameMessage {
    is_text: bool,
    /// The range of the payload.
    start: usize,
    pub(crate) end: usize,
}

impl SingleFrameMessage {
    /// Finds a message at the front of the input, and checks everything but its UTF-8.
    ///
    /// `None` leaves the input to the general path, which accepts it or returns the error.
    #[inline]
    pub(crate) fn find(input: &[u8], config: &DecoderConfig) -> Option<Self> {
        let &[first, second] = input.first_chunk()?;
        let is_text = match first {
            UNFRAGMENTED_TEXT => true,
            UNFRAGMENTED_BINARY => false,
            _ => return None,
        };
        let (mask_bit, key_size) = config.role.incoming_mask();
        let (length, size) = match second ^ mask_bit {
            short @ 0..LENGTH_16 => (u64::from(short), 2),
            LENGTH_16 => (length_16(input).ok()??, 4),
            LENGTH_64 => (length_64(input).ok()??, 10),
            _ => return None,
        };
        let start = size + key_size;
        let end = start.checked_add(usize::try_from(length).ok()?)?;
        let is_here = end <= input.len() && config.allow_unfragmented(end - start);
        is_here.then_some(Self { is_text, start, end })
    }

    /// Copies the message into its one allocation; `None` when a text is not UTF-8.
    #[inline]
    pub(crate) fn read(&self, input: &[u8], role: Role) -> Option<Message> {
        let (header, payload) = input[..self.end].split_at(self.start);
        match (role, header.last_chunk::<KEY_SIZE>()) {
            (Role::Server, Some(key)) => masked_message(self.is_text, (*key).into(), payload),
            _ => plain_message(self.is_text, payload),
        }
    }
}

#[inline]
fn masked_message(is_text: bool, key: MaskKey, payload: &[u8]) -> Option<Message> {
    let (bytes, is_ascii) = key.copy_checking_ascii(payload);
    if is_text && !is_ascii {
        simdutf8::basic::from_utf8(&bytes).ok()?;
    }
    let bytes = Bytes::from(bytes);
    Some(if is_text {
        #[expect(unsafe_code, reason = "checking again would double the cost of a long text")]
        // SAFETY: the bytes are ASCII, or were checked above.
        let text = unsafe { Utf8Bytes::from_checked(bytes) };
        Message::Text(text)
    } else {
        Message::Binary(bytes)
    })
}

fn plain_message(is_text: bool, payload: &[u8]) -> Option<Message> {
    if is_text {
        Utf8Bytes::copy_from_slice(payload).map(Message::Text)
    } else {
        Some(Message::Binary(Bytes::copy_from_slice(payload)))
    }
}
