//! A naive inflater, by the letter of RFC 1951 and RFC 7692 §7.2.2, bit by bit.

/// The messages that came so far of a stream, in which later ones may look back.
#[derive(Clone, Default)]
pub(super) struct Twin {
    window: Vec<u8>,
    /// Where in the window the current message begins.
    start: usize,
    /// The farthest that any message looked back, in bytes.
    pub(super) farthest: usize,
    /// The last block was a stored one without a byte, as the last one of a message is.
    ended_empty: bool,
}

struct Bits<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl Bits<'_> {
    fn bit(&mut self) -> Option<usize> {
        let byte = self.bytes.get(self.position / 8)?;
        let bit = byte >> (self.position % 8) & 1;
        self.position += 1;
        Some(bit.into())
    }

    /// The first bit is the lowest.
    fn number(&mut self, bits: usize) -> Option<usize> {
        let mut number = 0;
        for index in 0..bits {
            number |= self.bit()? << index;
        }
        Some(number)
    }

    fn align(&mut self) {
        self.position = self.position.next_multiple_of(8);
    }
}

/// A prefix code: the length and the number of each symbol's code, in this order.
struct Code(Vec<(usize, usize, usize)>);

impl Code {
    /// `None` when it is no code, as zlib sees it: one of a single symbol may be incomplete.
    fn new(lengths: &[usize]) -> Option<Self> {
        let (mut codes, mut next, mut left) = (Vec::new(), 0, 1 << 15);
        for length in 1..16 {
            for (symbol, _) in lengths.iter().enumerate().filter(|(_, found)| **found == length) {
                codes.push((length, next, symbol));
                next += 1;
                left -= 1 << (15 - length);
            }
            next <<= 1;
        }
        let is_single = matches!(codes[..], [] | [(1, ..)]);
        (left == 0 || left > 0 && is_single).then_some(Self(codes))
    }

    fn symbol(&self, bits: &mut Bits<'_>) -> Option<usize> {
        let mut code = 0;
        for length in 1..16 {
            code = code << 1 | bits.bit()?;
            if let Ok(found) = self.0.binary_search_by_key(&(length, code), |(length, code, _)| (*length, *code)) {
                return Some(self.0[found].2);
            }
        }
        None
    }
}

impl Twin {
    /// `None` when the payload is not what a sender makes of any message.
    pub(super) fn inflate(&mut self, payload: &[u8], keeps_context: bool) -> Option<Vec<u8>> {
        if !keeps_context {
            self.window.clear();
        }
        self.start = self.window.len();
        let whole = [payload, b"\x00\x00\xff\xff"].concat();
        let mut bits = Bits { bytes: &whole, position: 0 };
        let mut message = Vec::new();
        let mut at_boundary = true;
        // A message may end without the tail behind the last block of a stream.
        while bits.position != whole.len() * 8 && !(at_boundary && bits.position == payload.len() * 8) {
            at_boundary = self.block(&mut bits)?;
            if at_boundary {
                bits.align();
                message.extend(self.window.drain(..).skip(self.start));
                self.window.extend(&message[..if keeps_context { message.len() } else { 0 }]);
                self.start = self.window.len();
            }
        }
        message.extend(&self.window[self.start..]);
        (bits.position < whole.len() * 8 || self.ended_empty).then_some(message)
    }

    /// One block; whether it was the last of its stream.
    fn block(&mut self, bits: &mut Bits<'_>) -> Option<bool> {
        let last = bits.bit()? == 1;
        self.ended_empty = false;
        match bits.number(2)? {
            0 => self.stored(bits)?,
            1 => {
                let lengths = [&[8; 144][..], &[9; 112], &[7; 24], &[8; 8]].concat();
                self.symbols(bits, &Code::new(&lengths)?, &Code::new(&[5; 32])?)?;
            }
            2 => {
                let (literals, distances) = dynamic_codes(bits)?;
                self.symbols(bits, &literals, &distances)?;
            }
            _ => return None,
        }
        Some(last)
    }

    fn stored(&mut self, bits: &mut Bits<'_>) -> Option<()> {
        bits.align();
        let (length, complement) = (bits.number(16)?, bits.number(16)?);
        if length != !complement & 0xffff {
            return None;
        }
        self.ended_empty = length == 0;
        for _ in 0..length {
            self.window.push(u8::try_from(bits.number(8)?).ok()?);
        }
        Some(())
    }

    fn symbols(&mut self, bits: &mut Bits<'_>, literals: &Code, distances: &Code) -> Option<()> {
        loop {
            match literals.symbol(bits)? {
                literal @ 0..256 => self.window.push(u8::try_from(literal).ok()?),
                256 => return Some(()),
                285 => self.copy(258, distance(bits, distances)?)?,
                length @ 257..265 => self.copy(length - 254, distance(bits, distances)?)?,
                length @ 265..285 => {
                    let extra = (length - 261) / 4;
                    let base = (4 + (length - 265) % 4) << extra;
                    let length = 3 + base + bits.number(extra)?;
                    self.copy(length, distance(bits, distances)?)?;
                }
                _ => return None,
            }
        }
    }

    fn copy(&mut self, mut length: usize, distance: usize) -> Option<()> {
        self.farthest = self.farthest.max(distance);
        let from = self.window.len().checked_sub(distance)?;
        // What was copied may be copied again.
        while length > 0 {
            let part = length.min(self.window.len() - from);
            self.window.extend_from_within(from..from + part);
            length -= part;
        }
        Some(())
    }
}

fn distance(bits: &mut Bits<'_>, distances: &Code) -> Option<usize> {
    match distances.symbol(bits)? {
        symbol @ 0..4 => Some(symbol + 1),
        symbol @ 4..30 => {
            let extra = symbol / 2 - 1;
            Some(1 + ((2 + symbol % 2) << extra) + bits.number(extra)?)
        }
        _ => None,
    }
}

fn dynamic_codes(bits: &mut Bits<'_>) -> Option<(Code, Code)> {
    const ORDER: [usize; 19] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];
    let (literals, distances) = (257 + bits.number(5)?, 1 + bits.number(5)?);
    let given = 4 + bits.number(4)?;
    if literals > 286 || distances > 30 {
        return None;
    }
    let mut lengths = [0; 19];
    for &symbol in &ORDER[..given] {
        lengths[symbol] = bits.number(3)?;
    }
    let code = Code::new(&lengths)
        .filter(|_| lengths.iter().map(|&l| if l > 0 { 128 >> l } else { 0 }).sum::<usize>() == 128)?;
    let mut lengths = Vec::new();
    while lengths.len() < literals + distances {
        let (length, times) = match code.symbol(bits)? {
            16 => (*lengths.last()?, 3 + bits.number(2)?),
            17 => (0, 3 + bits.number(3)?),
            18 => (0, 11 + bits.number(7)?),
            length => (length, 1),
        };
        lengths.extend(std::iter::repeat_n(length, times));
    }
    if lengths.len() > literals + distances || lengths[256] == 0 {
        return None;
    }
    Some((Code::new(&lengths[..literals])?, Code::new(&lengths[literals..])?))
}
