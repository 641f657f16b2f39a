//! What the messages say: content that differs from message to message, so that a lost, doubled or swapped one is seen.

use std::fmt::Write;

/// The content of a message.
#[derive(Debug, Clone, Copy)]
pub enum Content {
    /// Printable bytes without a pattern.
    Letters,
    /// A list of readings, which compresses as such lists do.
    Json,
}

impl Content {
    /// A content of an exact length; another seed, another content.
    pub fn generate(self, length: usize, seed: usize) -> Vec<u8> {
        match self {
            Content::Letters => letters(length, seed),
            Content::Json => json(length, seed),
        }
    }
}

fn letters(length: usize, seed: usize) -> Vec<u8> {
    let mut random = Random::new(seed);
    std::iter::repeat_with(|| random.letter()).take(length).map(|letter| letter as u8).collect()
}

/// Readings until there is no room for one more, and padding to the exact length.
fn json(length: usize, seed: usize) -> Vec<u8> {
    const END: &str = "],\"padding\":\"\"}";
    let mut random = Random::new(seed);
    let mut text = format!("{{\"sequence\":{seed},\"readings\":[{}", random.reading());
    loop {
        let reading = random.reading();
        if text.len() + 1 + reading.len() + END.len() > length {
            break;
        }
        text.push(',');
        text.push_str(&reading);
    }
    text.push_str("],\"padding\":\"");
    let padding = length.saturating_sub(text.len() + 2);
    text.extend(std::iter::repeat_with(|| random.letter()).take(padding));
    text.push_str("\"}");
    text.into_bytes()
}

/// A small generator (xorshift), the same in every run.
struct Random(u64);

impl Random {
    fn new(seed: usize) -> Self {
        Random((seed as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    fn letter(&mut self) -> char {
        char::from(b'a' + u8::try_from(self.below(26)).unwrap_or(0))
    }

    fn reading(&mut self) -> String {
        let (id, celsius, percent) = (self.below(10_000), self.below(400), self.below(100));
        let state = ["idle", "active", "offline"][usize::try_from(self.below(3)).unwrap_or(0)];
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = write!(
            text,
            "{{\"id\":{id},\"sensor\":\"room-{}\",\"temperature\":{}.{},\"humidity\":{percent},\"state\":\"{state}\"}}",
            id % 40,
            celsius / 10,
            celsius % 10
        );
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_have_the_length_asked_for_and_differ() {
        for length in [64, 1024, 4096] {
            assert_eq!(letters(length, 1).len(), length);
            assert_ne!(letters(length, 1), letters(length, 2));
        }
        for length in [1024, 4096] {
            assert_eq!(json(length, 1).len(), length);
            assert_ne!(json(length, 1), json(length, 2));
        }
    }
}
