//! Names of channels and keys, and the headers of published messages.

use bytes::Bytes;
use nexios::Position;
use nexios::backplane::{Place, Prefix};

/// The names of an app.
///
/// A channel and the key of its stream have the same name, `prefix:{channel}`: the text in braces determines the slot
/// in a cluster, so both are on the same server. Channels do not belong to databases, so a database other than 0 is
/// part of the name: `prefix:1:{channel}`.
#[derive(Debug)]
pub(crate) struct Names {
    start: String,
}

impl Names {
    pub(crate) fn new(prefix: &Prefix, database: i64) -> Self {
        let start = if database == 0 { format!("{prefix}:{{") } else { format!("{prefix}:{database}:{{") };
        Self { start }
    }

    /// The name of a channel on the server.
    pub(crate) fn full(&self, channel: &str) -> String {
        format!("{}{channel}}}", self.start)
    }

    /// The channel with a name on the server.
    pub(crate) fn channel<'a>(&self, full: &'a str) -> Option<&'a str> {
        full.strip_prefix(self.start.as_str())?.strip_suffix('}')
    }
}

/// A message that is not kept, in the published form.
pub(crate) fn plain(payload: &[u8]) -> Vec<u8> {
    let mut message = Vec::with_capacity(1 + payload.len());
    message.push(b'p');
    message.extend_from_slice(payload);
    message
}

/// A message that is kept, in the form that `append.lua` publishes.
pub(crate) fn kept(position: Position, payload: &[u8]) -> Vec<u8> {
    let mut message = format!("k{:016x} {} ", position.epoch(), position.offset()).into_bytes();
    message.extend_from_slice(payload);
    message
}

/// Parses a published message: its payload, and its place if it is kept.
pub(crate) fn received(message: Vec<u8>) -> Option<(Bytes, Option<Place>)> {
    match message.first()? {
        b'p' => Some((Bytes::from(message).slice(1..), None)),
        b'k' => {
            let epoch = hex(message.get(1..17)?)?;
            let behind = message.get(18..)?;
            let length = behind.iter().take(20).position(|byte| *byte == b' ')?;
            let offset = decimal(&behind[..length])?;
            let place = Place { position: Position::new(epoch, offset), previous: offset.checked_sub(1)? };
            Some((Bytes::from(message).slice(18 + length + 1..), Some(place)))
        }
        _ => None,
    }
}

/// Parses an epoch of the scripts.
pub(crate) fn hex(digits: &[u8]) -> Option<u64> {
    u64::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()
}

/// Parses a number of the scripts.
pub(crate) fn decimal(digits: &[u8]) -> Option<u64> {
    str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_is_parsed_from_its_name() {
        let names = Names::new(&Prefix::default(), 0);
        assert_eq!(names.full("g-room=207"), "nexios:{g-room=207}");
        assert_eq!(names.channel("nexios:{g-room=207}"), Some("g-room=207"));
        assert_eq!(names.channel("nexios2:{g-room}"), None);
        let others = Names::new(&Prefix::default(), 2);
        assert_eq!(others.full("g-room"), "nexios:2:{g-room}");
        assert_eq!(others.channel("nexios:2:{g-room}"), Some("g-room"));
        assert_eq!(others.channel("nexios:{g-room}"), None);
    }

    #[test]
    fn a_payload_is_parsed_from_a_message() {
        assert_eq!(received(plain(b"a b")), Some((Bytes::from_static(b"a b"), None)));
        let place = Place { position: Position::new(0xff, 17), previous: 16 };
        let message = kept(place.position, b"\0 x");
        assert_eq!(message, b"k00000000000000ff 17 \0 x");
        assert_eq!(received(message), Some((Bytes::from_static(b"\0 x"), Some(place))));
    }

    #[test]
    fn a_foreign_message_is_ignored() {
        for message in ["", "x", "k", "k00000000000000ff", "k00000000000000ff x y", "k00000000000000ff 0 ", "kß 1 "] {
            assert_eq!(received(message.as_bytes().to_vec()), None, "{message:?}");
        }
    }
}
