//! Keys that signatures are verified with.
//!
//! Each algorithm is called as what it is. A library of tokens would choose an implementation for the whole process, or have
//! the program's other dependencies choose one for it.

use hmac::{Hmac, Mac};
use p256::ecdsa::signature::Verifier;
use p256::pkcs8::DecodePublicKey;
use rsa::RsaPublicKey;
use rsa::pkcs1::DecodeRsaPublicKey;
use rsa::traits::PublicKeyParts;
use sha2::Sha256;

/// What was given as a key is none. The text says why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no key to verify tokens with: {0}")]
pub struct InvalidKey(String);

/// RFC 7518 §3.3.
const LEAST_RSA_BITS: usize = 2048;

/// A key, with the one algorithm that goes with it (RFC 8725 §3.1).
pub(super) enum Key {
    Hs256(Box<Hmac<Sha256>>),
    Rs256(Box<rsa::pkcs1v15::VerifyingKey<Sha256>>),
    Es256(Box<p256::ecdsa::VerifyingKey>),
}

impl Key {
    pub(super) fn hs256(secret: &[u8]) -> Self {
        let key = Hmac::new_from_slice(secret).expect("HMAC takes secrets of any length (RFC 2104 §3)");
        Self::Hs256(Box::new(key))
    }

    pub(super) fn rs256(pem: &[u8]) -> Result<Self, InvalidKey> {
        let pem = public_pem(pem)?;
        let key = RsaPublicKey::from_public_key_pem(pem).map_err(|error| error.to_string());
        let key = key.or_else(|error| RsaPublicKey::from_pkcs1_pem(pem).map_err(|_| error)).map_err(InvalidKey)?;
        if key.n().bits() < LEAST_RSA_BITS {
            return Err(InvalidKey(format!(
                "it has {} bits, and at least {LEAST_RSA_BITS} are needed",
                key.n().bits()
            )));
        }
        Ok(Self::Rs256(Box::new(rsa::pkcs1v15::VerifyingKey::new(key))))
    }

    pub(super) fn es256(pem: &[u8]) -> Result<Self, InvalidKey> {
        let key = p256::PublicKey::from_public_key_pem(public_pem(pem)?);
        let key = key.map_err(|error| InvalidKey(format!("it is none on the curve P-256: {error}")))?;
        Ok(Self::Es256(Box::new(key.into())))
    }

    /// As a header names it (RFC 7518 §3.1).
    pub(super) fn algorithm(&self) -> &'static str {
        match self {
            Self::Hs256(_) => "HS256",
            Self::Rs256(_) => "RS256",
            Self::Es256(_) => "ES256",
        }
    }

    pub(super) fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            // In constant time.
            Self::Hs256(key) => Hmac::clone(key).chain_update(message).verify_slice(signature).is_ok(),
            Self::Rs256(key) => {
                rsa::pkcs1v15::Signature::try_from(signature).is_ok_and(|it| key.verify(message, &it).is_ok())
            }
            Self::Es256(key) => {
                p256::ecdsa::Signature::from_slice(signature).is_ok_and(|it| key.verify(message, &it).is_ok())
            }
        }
    }
}

fn public_pem(pem: &[u8]) -> Result<&str, InvalidKey> {
    let pem = std::str::from_utf8(pem).map_err(|_| InvalidKey("it is not in PEM".to_owned()))?;
    if pem.contains("PRIVATE KEY") {
        return Err(InvalidKey("it is the private one, which stays where tokens are made".to_owned()));
    }
    Ok(pem.trim())
}
