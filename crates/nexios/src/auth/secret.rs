//! Comparing secrets.

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// Whether two secrets are the same, in a time that does not tell where they differ.
///
/// Both are hashed (SHA-256) and the hashes compared in constant time, so that it does not tell how long the right one is
/// either. The time depends on the length of what is given.
///
/// ```
/// use nexios::auth::secret_eq;
///
/// assert!(secret_eq("correct horse", "correct horse"));
/// assert!(!secret_eq("correct horse", "battery staple"));
/// ```
pub fn secret_eq(a: impl AsRef<[u8]>, b: impl AsRef<[u8]>) -> bool {
    let (a, b) = (Sha256::digest(a), Sha256::digest(b));
    a.ct_eq(&b).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_equal_byte_by_byte() {
        assert!(secret_eq("", b""));
        assert!(secret_eq("abc", b"abc"));
        for other in ["", "ab", "abd", "bbc", "abc\0", "ABC"] {
            assert!(!secret_eq("abc", other), "{other}");
        }
    }
}
