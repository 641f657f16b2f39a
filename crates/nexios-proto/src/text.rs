use alloc::{borrow::Cow, boxed::Box, string::String, vec::Vec};
use core::{
    borrow::Borrow,
    cmp::Ordering,
    fmt,
    hash::{Hash, Hasher},
    ops::Deref,
    str::Utf8Error,
};

use bytes::Bytes;

/// Text in shared memory: [`Bytes`] that are valid UTF-8.
///
/// A clone copies no text. It derefs to [`str`], compares with strings, and is made from them; a `String` is converted
/// without a copy.
///
/// ```
/// use nexios_proto::Utf8Bytes;
///
/// let text = Utf8Bytes::from("hello");
/// assert_eq!(text, "hello");
/// assert_eq!(text.to_uppercase(), "HELLO");
/// ```
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Utf8Bytes(
    /// Invariant: valid UTF-8. Every constructor checks it, or takes a type that guarantees it.
    Bytes,
);

impl Utf8Bytes {
    /// A text with the lifetime of the program, without a copy.
    pub const fn from_static(text: &'static str) -> Self {
        Self(Bytes::from_static(text.as_bytes()))
    }

    /// The text.
    #[inline]
    pub fn as_str(&self) -> &str {
        #[expect(unsafe_code, reason = "a check here would read every message twice")]
        // SAFETY: the invariant of the only field.
        unsafe {
            core::str::from_utf8_unchecked(&self.0)
        }
    }

    /// The text's bytes, without a copy.
    pub fn into_bytes(self) -> Bytes {
        self.0
    }

    /// Checks and copies; `None` when the bytes are not UTF-8.
    #[inline]
    pub(crate) fn copy_from_slice(bytes: &[u8]) -> Option<Self> {
        simdutf8::basic::from_utf8(bytes).ok().map(Self::from)
    }

    /// Wraps bytes that are known to be UTF-8.
    ///
    /// # Safety
    ///
    /// `bytes` must be UTF-8.
    #[expect(unsafe_code, reason = "texts are checked while they are unmasked, or as they arrive")]
    #[inline]
    pub(crate) unsafe fn from_checked(bytes: Bytes) -> Self {
        Self(bytes)
    }

    /// The first `end` bytes, which must end at a character's boundary; otherwise nothing is cut.
    pub(crate) fn truncated(mut self, end: usize) -> Self {
        if self.is_char_boundary(end) {
            self.0.truncate(end);
        }
        self
    }
}

impl Deref for Utf8Bytes {
    type Target = str;

    #[inline]
    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl AsRef<str> for Utf8Bytes {
    fn as_ref(&self) -> &str {
        self
    }
}

impl AsRef<[u8]> for Utf8Bytes {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Borrow<str> for Utf8Bytes {
    fn borrow(&self) -> &str {
        self
    }
}

/// As `str` does, which `Borrow<str>` requires.
impl Hash for Utf8Bytes {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl fmt::Debug for Utf8Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for Utf8Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.as_str(), f)
    }
}

impl From<String> for Utf8Bytes {
    fn from(text: String) -> Self {
        Self(Bytes::from(text))
    }
}

impl From<&String> for Utf8Bytes {
    fn from(text: &String) -> Self {
        Self::from(text.as_str())
    }
}

impl From<&str> for Utf8Bytes {
    #[inline]
    fn from(text: &str) -> Self {
        Self(Bytes::copy_from_slice(text.as_bytes()))
    }
}

impl From<Box<str>> for Utf8Bytes {
    fn from(text: Box<str>) -> Self {
        Self::from(String::from(text))
    }
}

impl From<Cow<'_, str>> for Utf8Bytes {
    fn from(text: Cow<'_, str>) -> Self {
        match text {
            Cow::Borrowed(text) => Self::from(text),
            Cow::Owned(text) => Self::from(text),
        }
    }
}

impl From<char> for Utf8Bytes {
    fn from(character: char) -> Self {
        Self::from(&*character.encode_utf8(&mut [0; 4]))
    }
}

impl TryFrom<Bytes> for Utf8Bytes {
    type Error = Utf8Error;

    fn try_from(bytes: Bytes) -> Result<Self, Utf8Error> {
        match simdutf8::basic::from_utf8(&bytes) {
            Ok(_) => Ok(Self(bytes)),
            // The fast check does not locate the error: the second pass does.
            Err(_) => core::str::from_utf8(&bytes).map(Self::from),
        }
    }
}

impl TryFrom<Vec<u8>> for Utf8Bytes {
    type Error = Utf8Error;

    fn try_from(bytes: Vec<u8>) -> Result<Self, Utf8Error> {
        Self::try_from(Bytes::from(bytes))
    }
}

impl From<Utf8Bytes> for Bytes {
    fn from(text: Utf8Bytes) -> Self {
        text.0
    }
}

/// Reuses the memory if nothing else shares it.
impl From<Utf8Bytes> for String {
    fn from(text: Utf8Bytes) -> Self {
        #[expect(unsafe_code, reason = "as in `as_str`")]
        // SAFETY: the invariant of the only field.
        unsafe {
            Self::from_utf8_unchecked(Vec::from(text.0))
        }
    }
}

/// Comparison with the other string types, both ways round.
macro_rules! compares_with {
    ($($other:ty),*) => {$(
        impl PartialEq<$other> for Utf8Bytes {
            fn eq(&self, other: &$other) -> bool {
                let other: &str = other;
                self.as_str() == other
            }
        }

        impl PartialEq<Utf8Bytes> for $other {
            fn eq(&self, other: &Utf8Bytes) -> bool {
                other == self
            }
        }
    )*};
}

compares_with!(str, &str, String);

impl PartialOrd<str> for Utf8Bytes {
    fn partial_cmp(&self, other: &str) -> Option<Ordering> {
        self.as_str().partial_cmp(other)
    }
}
