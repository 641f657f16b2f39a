//! What can be wrong with a certificate's files.

use std::io;
use std::path::Path;

/// Why [`Tls`](crate::Tls) has no certificate, or no new one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{file:?} cannot be read: {source}")]
    Read {
        /// Which one.
        file: Box<Path>,
        /// Why.
        source: io::Error,
    },
    /// A file is no PEM, or what is in it is not valid.
    #[error("{file:?} is not valid: {reason}")]
    Invalid {
        /// Which one.
        file: Box<Path>,
        /// Why.
        reason: Box<str>,
    },
    /// There is no certificate in the file for certificates.
    #[error("there is no certificate in {0:?}")]
    NoCertificate(Box<Path>),
    /// There is no private key in the file for the key, or none that is not encrypted.
    #[error("there is no private key in {0:?}, or it is encrypted")]
    NoKey(Box<Path>),
    /// The key is another certificate's.
    #[error("the key in {key:?} does not belong to the first certificate in {certificates:?}")]
    KeyMismatch {
        /// The file with the certificates.
        certificates: Box<Path>,
        /// The file with the key.
        key: Box<Path>,
    },
}
