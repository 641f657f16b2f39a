//! Frames as they come in: cut out of the stream of bytes, and compared with the messages they may be.

use crate::wire::{self, Opcode};
use crate::{Result, deflate};

/// Frames of one connection: keeps the start of one that is not whole yet.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    partial: Vec<u8>,
}

impl Inbox {
    /// Hands over every frame that these bytes complete.
    pub(super) fn receive(&mut self, bytes: &[u8], mut frame: impl FnMut(&[u8]) -> Result) -> Result {
        let joined;
        let mut rest = bytes;
        if !self.partial.is_empty() {
            self.partial.extend_from_slice(bytes);
            joined = std::mem::take(&mut self.partial);
            rest = &joined;
        }
        while let Some((_, end)) = wire::extent(rest)
            && end <= rest.len()
        {
            frame(&rest[..end])?;
            rest = &rest[end..];
        }
        self.partial.extend_from_slice(rest);
        Ok(())
    }
}

/// The messages that can come in, and the frames that are known to carry them.
///
/// Plain frames are known beforehand. A compressed one is inflated when it is first seen; as nothing is taken over
/// from message to message, all later ones are equal, and comparing costs the generator no more than plain frames.
#[derive(Debug)]
pub(super) struct Known {
    opcode: Opcode,
    deflate: bool,
    messages: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl Known {
    pub(super) fn new(opcode: Opcode, deflate: bool, payloads: Vec<Vec<u8>>) -> Self {
        let frame = |payload: &Vec<u8>| (!deflate).then(|| wire::answer(opcode, payload));
        let messages = payloads.into_iter().map(|payload| (frame(&payload), payload));
        Known { opcode, deflate, messages: messages.map(|(frame, payload)| (payload, frame)).collect() }
    }

    /// Which of the messages in question this frame is.
    pub(super) fn recognise(
        &mut self,
        frame: &[u8],
        mut in_question: impl Iterator<Item = usize> + Clone,
    ) -> Result<usize> {
        let known = in_question.clone().find(|index| self.messages[*index].1.as_deref() == Some(frame));
        if let Some(index) = known {
            return Ok(index);
        }
        if !self.deflate {
            return Err("an answer differs from the message".into());
        }
        if !wire::is_compressed(self.opcode, frame) {
            return Err("an answer is not compressed".into());
        }
        let payload_at = wire::extent(frame).map_or(0, |(payload_at, _)| payload_at);
        let longest = self.messages.iter().map(|(payload, _)| payload.len()).max().unwrap_or(0);
        let payload = deflate::inflate(&frame[payload_at..], longest).ok_or("an answer does not inflate")?;
        let index = in_question.find(|index| self.messages[*index].0 == payload);
        let index = index.ok_or("a compressed answer differs from the message")?;
        self.messages[index].1 = Some(frame.to_vec());
        Ok(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_whole_out_of_any_split() {
        let frames = [wire::answer(Opcode::Text, b"one"), wire::answer(Opcode::Text, &[b'x'; 300])];
        let stream = frames.concat().repeat(3);
        for size in 1..stream.len() {
            let (mut inbox, mut seen) = (Inbox::default(), Vec::new());
            for chunk in stream.chunks(size) {
                inbox
                    .receive(chunk, |frame| {
                        seen.push(frame.to_vec());
                        Ok(())
                    })
                    .unwrap();
            }
            assert_eq!(seen, frames.iter().cycle().take(6).cloned().collect::<Vec<_>>(), "{size} bytes at once");
        }
    }

    #[test]
    fn a_compressed_answer_is_known_by_its_content() {
        let payloads = vec![b"aaaaaaaaaa".to_vec(), b"bbbbbbbbbb".to_vec()];
        let mut known = Known::new(Opcode::Text, true, payloads.clone());
        let compressed = deflate::compress(&payloads[1]);
        let frame = [vec![0xc1, u8::try_from(compressed.len()).unwrap()], compressed].concat();
        for _ in 0..2 {
            assert_eq!(known.recognise(&frame, 0..2).unwrap(), 1);
        }
        assert!(known.recognise(&frame, 0..1).is_err());
        assert!(known.recognise(&wire::answer(Opcode::Text, &payloads[1]), 0..2).is_err());
    }
}
