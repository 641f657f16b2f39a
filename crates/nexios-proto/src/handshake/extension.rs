//! `Sec-WebSocket-Extensions`, the list in which extensions are negotiated (RFC 6455 §9.1).

use alloc::{borrow::Cow, string::ToString, vec::Vec};

use thiserror::Error;

use super::token::{is_token, is_token_byte};

/// Maximum length of a value in bytes. Several offers of permessage-deflate with all parameters take a few hundred.
const VALUE_MAX: usize = 4096;

/// An extension with its parameters, in the order of the header.
///
/// An extension may be offered several times, with other parameters: the server selects the first acceptable one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer<'a> {
    /// The extension's name, a token.
    pub name: &'a str,
    /// The parameters, a token each, and their values; quoted values are unescaped.
    pub params: Vec<(&'a str, Option<Cow<'a, str>>)>,
}

/// The reason for which a list of extensions is malformed. Positions are bytes from its beginning.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ExtensionError {
    /// The value is longer than 4,096 bytes.
    #[error("the list of extensions is longer than 4096 bytes")]
    TooLong,
    /// A name or a value is expected at this position.
    #[error("a token is due at byte {0} of the list of extensions")]
    TokenExpected(usize),
    /// A separator is expected at this position.
    #[error("a separator is due at byte {0} of the list of extensions")]
    SeparatorExpected(usize),
    /// A quoted value has no closing quote.
    #[error("the quoted value at byte {0} of the list of extensions does not end")]
    UnclosedQuote(usize),
    /// A quoted value is not a token once it is unescaped, which RFC 6455 §9.1 requires.
    #[error("the quoted value at byte {0} of the list of extensions is not a token")]
    QuotedValue(usize),
}

/// Parses the value of one header line, without empty elements (RFC 9110 §5.6.1).
///
/// It reads the value once, without backtracking: the time is linear in its length.
///
/// ```
/// use nexios_proto::handshake::extension;
///
/// let offers = extension::parse(b"permessage-deflate; client_max_window_bits; server_max_window_bits=\"10\", x-other")?;
/// assert_eq!(offers[0].name, "permessage-deflate");
/// assert_eq!(offers[0].params[0], ("client_max_window_bits", None));
/// assert_eq!(offers[0].params[1], ("server_max_window_bits", Some("10".into())));
/// assert_eq!(offers[1].name, "x-other");
/// # Ok::<(), extension::ExtensionError>(())
/// ```
///
/// # Errors
///
/// The first deviation from the grammar of RFC 6455 §9.1.
pub fn parse(value: &[u8]) -> Result<Vec<Offer<'_>>, ExtensionError> {
    if value.len() > VALUE_MAX {
        return Err(ExtensionError::TooLong);
    }
    let mut scanner = Scanner { value, position: 0 };
    let mut offers = Vec::new();
    loop {
        scanner.skip_blanks();
        match scanner.peek() {
            None => return Ok(offers),
            Some(b',') => scanner.position += 1,
            Some(_) => offers.push(scanner.offer()?),
        }
    }
}

/// A cursor in the value, which only moves forward.
struct Scanner<'a> {
    value: &'a [u8],
    position: usize,
}

impl<'a> Scanner<'a> {
    fn peek(&self) -> Option<u8> {
        self.value.get(self.position).copied()
    }

    /// Consumes the next byte if it is this one.
    fn accept(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.position += usize::from(found);
        found
    }

    fn skip_blanks(&mut self) {
        self.take_while(|byte| matches!(byte, b' ' | b'\t'));
    }

    fn take_while(&mut self, wanted: impl Fn(u8) -> bool) -> &'a [u8] {
        let rest = &self.value[self.position..];
        let end = rest.iter().position(|&byte| !wanted(byte)).unwrap_or(rest.len());
        self.position += end;
        &rest[..end]
    }

    fn token(&mut self) -> Result<&'a str, ExtensionError> {
        let start = self.position;
        match core::str::from_utf8(self.take_while(is_token_byte)) {
            Ok(token) if !token.is_empty() => Ok(token),
            _ => Err(ExtensionError::TokenExpected(start)),
        }
    }

    /// Parses a name and its parameters, up to the comma or the end.
    fn offer(&mut self) -> Result<Offer<'a>, ExtensionError> {
        let mut offer = Offer { name: self.token()?, params: Vec::new() };
        loop {
            self.skip_blanks();
            match self.peek() {
                None | Some(b',') => return Ok(offer),
                Some(b';') => self.position += 1,
                Some(_) => return Err(ExtensionError::SeparatorExpected(self.position)),
            }
            self.skip_blanks();
            offer.params.push(self.param()?);
        }
    }

    fn param(&mut self) -> Result<(&'a str, Option<Cow<'a, str>>), ExtensionError> {
        let name = self.token()?;
        self.skip_blanks();
        if !self.accept(b'=') {
            return Ok((name, None));
        }
        self.skip_blanks();
        let value = if self.accept(b'"') { self.quoted()? } else { Cow::Borrowed(self.token()?) };
        Ok((name, Some(value)))
    }

    /// Parses the rest of a quoted string, behind its opening quote.
    fn quoted(&mut self) -> Result<Cow<'a, str>, ExtensionError> {
        let start = self.position;
        let plain = self.take_while(is_token_byte);
        if self.accept(b'"') {
            return as_value(plain, start).map(Cow::Borrowed);
        }
        let mut unescaped = plain.to_vec();
        loop {
            // A backslash escapes the next byte (RFC 9110 §5.6.4).
            let escaped = self.accept(b'\\');
            match self.peek() {
                None => return Err(ExtensionError::UnclosedQuote(start)),
                Some(b'"') if !escaped => break,
                Some(byte) => unescaped.push(byte),
            }
            self.position += 1;
        }
        self.position += 1;
        as_value(&unescaped, start).map(|value| Cow::Owned(value.to_string()))
    }
}

/// "The value after quoted-string unescaping MUST conform to the 'token' ABNF" (RFC 6455 §9.1).
fn as_value(value: &[u8], start: usize) -> Result<&str, ExtensionError> {
    match core::str::from_utf8(value) {
        Ok(text) if is_token(value) => Ok(text),
        _ => Err(ExtensionError::QuotedValue(start)),
    }
}
