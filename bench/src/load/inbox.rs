//! Frames as they come in: cut out of the stream of bytes, and compared with the messages they may be.

use crate::Result;
use crate::cell::{Deflate, Message};
use crate::deflate::Inflater;
use crate::wire::{self, Agreed};

/// Frames of one connection: keeps the start of one that is not whole yet.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    partial: Vec<u8>,
}

/// The window of a server that keeps one for this connection.
pub(super) fn window(agreed: Agreed) -> Option<Inflater> {
    (agreed == Agreed::DeflateWithTakeover).then(Inflater::with_takeover)
}

impl Inbox {
    /// Hands over every frame that these bytes complete.
    pub(crate) fn receive(&mut self, bytes: &[u8], mut frame: impl FnMut(&[u8]) -> Result) -> Result {
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
/// Plain frames are known beforehand. A compressed one is inflated when it is first seen; where nothing is taken over
/// from message to message, all later ones are equal, and comparing costs the generator no more than plain frames.
#[derive(Debug)]
pub(super) struct Known {
    expected: Message,
    deflate: Option<Deflate>,
    inflater: Inflater,
    messages: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    frames: u64,
    bytes: u64,
}

impl Known {
    pub(super) fn new(expected: Message, deflate: Option<Deflate>, payloads: Vec<Vec<u8>>) -> Self {
        let frame = |payload: &Vec<u8>| deflate.is_none().then(|| wire::answer(expected.opcode, payload));
        let messages = payloads.into_iter().map(|payload| (frame(&payload), payload));
        Known {
            expected,
            deflate,
            inflater: Inflater::without_takeover(),
            messages: messages.map(|(frame, payload)| (payload, frame)).collect(),
            frames: 0,
            bytes: 0,
        }
    }

    /// Which of the messages in question this frame is. The window is that of its connection, if the server keeps one.
    pub(super) fn recognise(
        &mut self,
        frame: &[u8],
        window: Option<&mut Inflater>,
        mut in_question: impl Iterator<Item = usize> + Clone,
    ) -> Result<usize> {
        self.frames += 1;
        self.bytes += frame.len() as u64;
        if window.is_none()
            && let Some(index) = in_question.clone().find(|index| self.messages[*index].1.as_deref() == Some(frame))
        {
            return Ok(index);
        }
        let deflate = self.deflate.ok_or("an answer differs from the message")?;
        let reusable = window.is_none();
        let payload = content(frame, self.expected, deflate, window.unwrap_or(&mut self.inflater))?;
        let index = in_question.find(|index| self.messages[*index].0 == payload);
        let index = index.ok_or("an answer differs from the message")?;
        if reusable {
            self.messages[index].1 = Some(frame.to_vec());
        }
        Ok(index)
    }

    /// The mean length of the frames so far, where it is not known beforehand.
    pub(super) fn bytes_each(&self) -> Option<f64> {
        self.deflate.map(|_| self.bytes as f64 / self.frames.max(1) as f64)
    }
}

/// The inflated content of a frame.
fn content(frame: &[u8], expected: Message, deflate: Deflate, inflater: &mut Inflater) -> Result<Vec<u8>> {
    let payload = &frame[wire::extent(frame).map_or(0, |(payload_at, _)| payload_at)..];
    if wire::is_compressed(expected.opcode, frame) {
        Ok(inflater.inflate(payload, expected.length).ok_or("an answer does not inflate")?)
    } else if wire::is_plain(expected.opcode, frame) && deflate.plain_answers {
        Ok(payload.to_vec())
    } else {
        Err("an answer is not compressed".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deflate;
    use crate::payload::Content;
    use crate::wire::Opcode;

    const EXPECTED: Message = Message { length: 10, opcode: Opcode::Text, content: Content::Letters };
    const COMPRESSED: Deflate = Deflate { takeover: false, plain_answers: false };

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

    fn payloads() -> Vec<Vec<u8>> {
        vec![b"aaaaaaaaaa".to_vec(), b"bbbbbbbbbb".to_vec()]
    }

    fn compressed_frame(payload: &[u8]) -> Vec<u8> {
        let compressed = deflate::compress(payload);
        [vec![0xc1, u8::try_from(compressed.len()).unwrap()], compressed].concat()
    }

    #[test]
    fn a_compressed_answer_is_known_by_its_content() {
        let frame = compressed_frame(&payloads()[1]);
        let mut known = Known::new(EXPECTED, Some(COMPRESSED), payloads());
        for _ in 0..2 {
            assert_eq!(known.recognise(&frame, None, 0..2).unwrap(), 1);
        }
        assert!(known.recognise(&frame, None, 0..1).is_err());
        let mut window = Inflater::with_takeover();
        for _ in 0..2 {
            assert_eq!(known.recognise(&frame, Some(&mut window), 0..2).unwrap(), 1);
        }
    }

    #[test]
    fn a_plain_answer_fails_where_it_must_be_compressed() {
        let frame = wire::answer(Opcode::Text, &payloads()[1]);
        let mut strict = Known::new(EXPECTED, Some(COMPRESSED), payloads());
        assert!(strict.recognise(&frame, None, 0..2).is_err());
        let either = Some(Deflate { plain_answers: true, ..COMPRESSED });
        let mut lenient = Known::new(EXPECTED, either, payloads());
        assert_eq!(lenient.recognise(&frame, None, 0..2).unwrap(), 1);
        assert_eq!(lenient.bytes_each(), Some(12.0));
    }
}
