//! Masking (RFC 6455 §5.3), by which a client's application cannot choose the bytes on the wire.

use alloc::boxed::Box;
use core::mem::MaybeUninit;

/// The most significant bits of eight bytes, which no ASCII character has.
const NOT_ASCII: u64 = 0x8080_8080_8080_8080;

/// A mask key: four bytes, which a client draws at random for every frame.
///
/// This crate has no source of randomness: take the keys from a generator that the peer cannot predict
/// (RFC 6455 §10.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MaskKey([u8; 4]);

impl MaskKey {
    /// Masks or unmasks `bytes`, which begin at `offset` in the payload of their frame.
    ///
    /// ```
    /// use nexios_proto::mask::MaskKey;
    ///
    /// let key = MaskKey::from([0x37, 0xfa, 0x21, 0x3d]);
    /// let mut bytes = *b"Hello";
    /// key.apply(&mut bytes, 0);
    /// assert_eq!(bytes, [0x7f, 0x9f, 0x4d, 0x51, 0x58]);
    /// key.apply(&mut bytes[..2], 0);
    /// key.apply(&mut bytes[2..], 2);
    /// assert_eq!(&bytes, b"Hello");
    /// ```
    #[inline]
    pub fn apply(self, bytes: &mut [u8], offset: usize) {
        self.rotated(offset).apply_checking_ascii(bytes);
    }

    /// As [`apply`](Self::apply), from the key's first byte. Returns true if all bytes are ASCII afterwards: that costs
    /// nothing here, and a second pass elsewhere.
    #[inline]
    pub(crate) fn apply_checking_ascii(self, bytes: &mut [u8]) -> bool {
        let key = self.doubled();
        let mut seen = 0;
        let (words, tail) = bytes.as_chunks_mut::<8>();
        for word in words {
            let unmasked = u64::from_ne_bytes(*word) ^ key;
            seen |= unmasked;
            *word = unmasked.to_ne_bytes();
        }
        for (byte, key) in tail.iter_mut().zip(key.to_ne_bytes()) {
            *byte ^= key;
            seen |= u64::from(*byte);
        }
        seen & NOT_ASCII == 0
    }

    /// As [`apply_checking_ascii`](Self::apply_checking_ascii), into new memory.
    #[inline]
    pub(crate) fn copy_checking_ascii(self, bytes: &[u8]) -> (Box<[u8]>, bool) {
        let key = self.doubled();
        let mut seen = 0;
        let mut copy = Box::new_uninit_slice(bytes.len());
        let (words, tail) = bytes.as_chunks::<8>();
        let (copied_words, copied_tail) = copy.as_chunks_mut::<8>();
        for (to, word) in copied_words.iter_mut().zip(words) {
            let unmasked = u64::from_ne_bytes(*word) ^ key;
            seen |= unmasked;
            *to = unmasked.to_ne_bytes().map(MaybeUninit::new);
        }
        for ((to, byte), key) in copied_tail.iter_mut().zip(tail).zip(key.to_ne_bytes()) {
            seen |= u64::from(byte ^ key);
            to.write(byte ^ key);
        }
        #[expect(
            unsafe_code,
            reason = "to copy first and unmask then takes an eighth longer at 64 bytes, twice as long at 16 KiB"
        )]
        // SAFETY: both slices have the same length, hence as many words and the same tail, which is shorter than a
        // word: the two loops have written each byte of the copy.
        let copy = unsafe { copy.assume_init() };
        (copy, seen & NOT_ASCII == 0)
    }

    /// The key repeated to the size of a word. Its byte order is that of memory, on every machine.
    #[inline]
    fn doubled(self) -> u64 {
        let key = u64::from(u32::from_ne_bytes(self.0));
        key | key << 32
    }

    /// The key for a position `offset` bytes further in the payload.
    #[inline]
    pub(crate) fn rotated(self, offset: usize) -> Self {
        let bits = [0, 8, 16, 24][offset % 4];
        Self(u32::from_le_bytes(self.0).rotate_right(bits).to_le_bytes())
    }

    /// The bytes in the order of the frame's header.
    #[inline]
    pub(crate) fn to_bytes(self) -> [u8; 4] {
        self.0
    }
}

impl From<[u8; 4]> for MaskKey {
    fn from(key: [u8; 4]) -> Self {
        Self(key)
    }
}

/// Takes the bytes in network order.
impl From<u32> for MaskKey {
    fn from(key: u32) -> Self {
        Self(key.to_be_bytes())
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    const KEY: MaskKey = MaskKey([0x37, 0xfa, 0x21, 0x3d]);

    /// Masking as RFC 6455 §5.3 defines it.
    fn naive(bytes: &[u8], offset: usize) -> Vec<u8> {
        bytes.iter().enumerate().map(|(i, byte)| byte ^ KEY.0[(i + offset) % 4]).collect()
    }

    #[test]
    fn all_forms_agree_with_the_definition_at_every_length() {
        for len in 0..200 {
            let bytes: Vec<u8> = (0..=255).take(len).collect();
            for offset in 0..5 {
                let mut masked = bytes.clone();
                KEY.apply(&mut masked, offset);
                assert_eq!(masked, naive(&bytes, offset));
            }
            assert_eq!(&*KEY.copy_checking_ascii(&bytes).0, naive(&bytes, 0));
        }
    }

    #[test]
    fn a_single_byte_that_is_not_ascii_is_noted_wherever_it_stands() {
        for len in 1..100 {
            let mut masked = naive(&[b'a'].repeat(len), 0);
            assert!(KEY.copy_checking_ascii(&masked).1);
            assert!(KEY.apply_checking_ascii(&mut masked.clone()));
            for at in 0..len {
                masked[at] ^= 0x80;
                assert!(!KEY.copy_checking_ascii(&masked).1, "byte {at} of {len}");
                assert!(!KEY.apply_checking_ascii(&mut masked.clone()), "byte {at} of {len}");
                masked[at] ^= 0x80;
            }
        }
    }
}
