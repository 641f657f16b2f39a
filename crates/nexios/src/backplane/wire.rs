//! What nodes say to each other, in bytes.
//!
//! Every frame begins with a version, its kind, and its [`MessageId`]. A node that finds a version or a kind that it does
//! not know ignores the frame: it may be older than the others, while they are being replaced one by one.

use std::mem;

use bytes::Bytes;
use nexios_proto::{Message, Utf8Bytes};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::lost::{Loss, Missing};
use super::{MessageId, NodeId};
use crate::connection::Form;
use crate::sender::ConnectionId;

const VERSION: u8 = 1;

/// Version, kind, node, number.
const HEADER: usize = 18;

/// Where the number stands: it is known last.
const NUMBER: usize = 10;

/// A frame that came from a node.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) id: MessageId,
    pub(crate) body: Body,
}

/// What a frame says.
#[derive(Debug)]
pub(crate) enum Body {
    /// To a group, on its channel.
    Group(Posted),
    /// To every connection.
    Everybody(Posted),
    /// To a user's connections.
    User(Box<str>, Posted),
    /// To one connection of the node whose channel it is.
    Connection(u64, Posted),
    /// Who is in a group, on its channel.
    Presence(Presence),
    /// Anything else.
    Control(Control),
}

/// A message, and how it is to be sent.
#[derive(Clone, Debug)]
pub(crate) struct Posted {
    pub(crate) message: Message,
    pub(crate) is_json: bool,
    pub(crate) form: Form,
    pub(crate) key: Option<Box<str>>,
    /// A connection of the node that published it, which does not get it.
    pub(crate) except: Option<ConnectionId>,
    /// It is sent to several groups under this number, and who is in more than one of them gets it once.
    pub(crate) several: Option<u64>,
}

/// What is said rarely.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Control {
    /// The node is there.
    Here,
    /// The node goes. Who was there counts as gone after so many milliseconds, if they are not elsewhere by then.
    Gone { after: u64 },
    /// Something of this node for the channel's group, or on the channel of all nodes for any group, was lost.
    Lost(Missing),
    /// All connections of a user are to be closed: those, if it is said again, that there were so many milliseconds ago.
    CloseUser {
        user: Box<str>,
        code: u16,
        reason: Box<str>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ago: Option<u64>,
    },
    /// The node could not be reached for a moment: whose connections were closed meanwhile? To be said again on its channel.
    Missed,
    /// How many, and perhaps who, are in a group? To be answered to the node's channel.
    Ask { question: u64, group: Box<str>, list: bool },
    /// The answer.
    Answer { question: u64, members: usize, present: Vec<Entry> },
}

/// What stands in a place of a stream.
#[derive(Debug)]
pub(crate) enum Placed {
    Message(Posted),
    /// Messages that would stand before this place are lost.
    Loss,
}

/// Who of one node is in a group: a part of it, or what has changed.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Presence {
    /// All connections, those included that nothing is told of.
    pub(crate) members: usize,
    /// What was known before and is not told again until [`end`](Self::end) is over.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) begin: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) end: bool,
    /// The others are to tell theirs.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) ask: bool,
    /// Who is there, as they are now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) entries: Vec<Entry>,
}

impl Presence {
    /// Nobody is there any more.
    pub(crate) fn goodbye() -> Self {
        Self { begin: true, end: true, ..Self::default() }
    }

    fn is_goodbye(&self) -> bool {
        self.begin && self.end && self.members == 0 && self.entries.is_empty()
    }
}

/// A user, or a connection without one, of one node. Without connections, and not awaited, it is gone.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Entry {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) user: Option<Box<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) info: Option<Box<RawValue>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) connections: Vec<u64>,
    /// The user was lost, and is waited for.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) awaited: bool,
}

impl Entry {
    /// About how much it takes, as JSON.
    pub(crate) fn size(&self) -> usize {
        let user = self.user.as_ref().map_or(0, |user| user.len());
        let info = self.info.as_ref().map_or(0, |info| info.get().len());
        // A number of 64 bits has 20 digits.
        64 + user + info + 21 * self.connections.len()
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
pub(super) fn is_false(value: &bool) -> bool {
    !*value
}

/// Why bytes are no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// Of a later version of Nexios.
    Unknown,
    /// Not ours.
    Malformed,
}

mod kind {
    pub(super) const GROUP: u8 = 1;
    pub(super) const EVERYBODY: u8 = 2;
    pub(super) const USER: u8 = 3;
    pub(super) const CONNECTION: u8 = 4;
    pub(super) const PRESENCE: u8 = 5;
    pub(super) const CONTROL: u8 = 6;
}

mod flag {
    pub(super) const TEXT: u8 = 1;
    pub(super) const JSON: u8 = 2;
    pub(super) const PLAIN: u8 = 4;
    pub(super) const KEY: u8 = 8;
    pub(super) const EXCEPT: u8 = 16;
    pub(super) const SEVERAL: u8 = 32;
    /// What a version that is later than this one may have set, and bytes of which nothing is known.
    pub(super) const UNKNOWN: u8 = !(TEXT | JSON | PLAIN | KEY | EXCEPT | SEVERAL);
}

/// A frame that has no number yet.
#[derive(Debug)]
pub(crate) struct Unsent {
    bytes: Vec<u8>,
    /// What others miss without it.
    pub(crate) missing: Missing,
    /// It takes a right away, or keeps a node from being taken for dead: there is room for it when there is none for others.
    pub(crate) is_urgent: bool,
}

impl Unsent {
    pub(crate) fn new(body: &Body) -> Self {
        let mut bytes = Vec::with_capacity(HEADER + 64 + body.message().map_or(0, Message::len));
        bytes.extend([VERSION, body.kind()]);
        bytes.resize(HEADER, 0);
        body.encode(&mut bytes);
        let is_urgent = matches!(body, Body::Control(Control::CloseUser { .. } | Control::Here | Control::Gone { .. }));
        Self { bytes, missing: body.missing(), is_urgent }
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether members of a group miss it when it does not arrive.
    pub(crate) fn is_to_group(frame: &[u8]) -> bool {
        frame.get(1) == Some(&kind::GROUP)
    }

    /// Whether it is neither of these, nor a message.
    pub(crate) fn is_control(frame: &[u8]) -> bool {
        frame.get(1) == Some(&kind::CONTROL)
    }

    /// Whether it says who is in a group.
    pub(crate) fn is_presence(frame: &[u8]) -> bool {
        frame.get(1) == Some(&kind::PRESENCE)
    }

    /// Another number for a frame that has one.
    pub(crate) fn renumbered(frame: &[u8], number: u64) -> Bytes {
        let mut bytes = frame.to_vec();
        bytes[NUMBER..HEADER].copy_from_slice(&number.to_be_bytes());
        bytes.into()
    }

    pub(crate) fn numbered(self, id: MessageId) -> Bytes {
        let mut bytes = self.bytes;
        bytes[NUMBER - 8..NUMBER].copy_from_slice(&id.node.as_u64().to_be_bytes());
        bytes[NUMBER..HEADER].copy_from_slice(&id.number.to_be_bytes());
        bytes.into()
    }
}

impl Body {
    fn kind(&self) -> u8 {
        match self {
            Self::Group(_) => kind::GROUP,
            Self::Everybody(_) => kind::EVERYBODY,
            Self::User(..) => kind::USER,
            Self::Connection(..) => kind::CONNECTION,
            Self::Presence(_) => kind::PRESENCE,
            Self::Control(_) => kind::CONTROL,
        }
    }

    /// What others miss without it. Who is there is told again by whoever finds no room for it, and what is left is only
    /// counted.
    fn missing(&self) -> Missing {
        match self {
            Self::Group(_) | Self::Everybody(_) => Loss::Placeless.into(),
            Self::Presence(presence) => Missing { goodbye: presence.is_goodbye(), ..Missing::default() },
            Self::User(..) | Self::Connection(..) | Self::Control(_) => Missing::default(),
        }
    }

    /// What it is in a place of a stream, if it is something there.
    pub(crate) fn placed(self) -> Option<Placed> {
        match self {
            Self::Group(posted) => Some(Placed::Message(posted)),
            Self::Control(Control::Lost(_)) => Some(Placed::Loss),
            _ => None,
        }
    }

    fn message(&self) -> Option<&Message> {
        match self {
            Self::Group(posted) | Self::Everybody(posted) | Self::User(_, posted) | Self::Connection(_, posted) => {
                Some(&posted.message)
            }
            Self::Presence(_) | Self::Control(_) => None,
        }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Group(posted) | Self::Everybody(posted) => posted.encode(out),
            Self::User(user, posted) => {
                text(user, out);
                posted.encode(out);
            }
            Self::Connection(id, posted) => {
                out.extend(id.to_be_bytes());
                posted.encode(out);
            }
            Self::Presence(presence) => json(presence, out),
            Self::Control(control) => json(control, out),
        }
    }
}

/// What these types are made of can always be written.
fn json(value: &impl Serialize, out: &mut Vec<u8>) {
    let written = serde_json::to_writer(out, value);
    debug_assert!(written.is_ok());
}

/// Names and keys are far shorter than what their length has room for; a longer one is cut.
fn text(text: &str, out: &mut Vec<u8>) {
    let text = &text[..text.floor_char_boundary(usize::from(u16::MAX))];
    out.extend(u16::try_from(text.len()).unwrap_or(u16::MAX).to_be_bytes());
    out.extend(text.as_bytes());
}

impl Posted {
    pub(crate) fn new(message: Message) -> Self {
        Self { message, is_json: false, form: Form::Any, key: None, except: None, several: None }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        let flags = [
            (self.message.is_text(), flag::TEXT),
            (self.is_json, flag::JSON),
            (self.form == Form::Plain, flag::PLAIN),
            (self.key.is_some(), flag::KEY),
            (self.except.is_some(), flag::EXCEPT),
            (self.several.is_some(), flag::SEVERAL),
        ];
        out.push(flags.iter().filter(|(is_set, _)| *is_set).fold(0, |flags, (_, flag)| flags | flag));
        if let Some(key) = &self.key {
            text(key, out);
        }
        if let Some(except) = self.except {
            out.extend(except.as_u64().to_be_bytes());
        }
        if let Some(several) = self.several {
            out.extend(several.to_be_bytes());
        }
        out.extend(self.message.as_bytes());
    }
}

impl Frame {
    /// Reads what [`Unsent`] wrote; the message's bytes are shared.
    pub(crate) fn read(bytes: Bytes) -> Result<Self, Unreadable> {
        let mut rest = Reader(bytes);
        if rest.byte()? != VERSION {
            return Err(Unreadable::Unknown);
        }
        let kind = rest.byte()?;
        let id = MessageId { node: NodeId::new(rest.number()?), number: rest.number()? };
        let body = match kind {
            kind::GROUP => Body::Group(rest.posted()?),
            kind::EVERYBODY => Body::Everybody(rest.posted()?),
            kind::USER => Body::User(rest.text()?, rest.posted()?),
            kind::CONNECTION => Body::Connection(rest.number()?, rest.posted()?),
            kind::PRESENCE => Body::Presence(rest.json()?),
            kind::CONTROL => Body::Control(rest.json()?),
            _ => return Err(Unreadable::Unknown),
        };
        Ok(Self { id, body })
    }
}

struct Reader(Bytes);

impl Reader {
    fn take(&mut self, len: usize) -> Result<Bytes, Unreadable> {
        if self.0.len() < len { Err(Unreadable::Malformed) } else { Ok(self.0.split_to(len)) }
    }

    fn byte(&mut self) -> Result<u8, Unreadable> {
        Ok(self.take(1)?[0])
    }

    fn short(&mut self) -> Result<usize, Unreadable> {
        let bytes = self.take(2)?;
        Ok(usize::from(u16::from_be_bytes([bytes[0], bytes[1]])))
    }

    fn number(&mut self) -> Result<u64, Unreadable> {
        let bytes = self.take(8)?;
        let bytes = <[u8; 8]>::try_from(&bytes[..]).map_err(|_| Unreadable::Malformed)?;
        Ok(u64::from_be_bytes(bytes))
    }

    fn text(&mut self) -> Result<Box<str>, Unreadable> {
        let len = self.short()?;
        let bytes = self.take(len)?;
        str::from_utf8(&bytes).map(Box::from).map_err(|_| Unreadable::Malformed)
    }

    /// All that is left, of a version that may say more than is known here.
    fn json<T: for<'de> Deserialize<'de>>(&mut self) -> Result<T, Unreadable> {
        serde_json::from_slice(&mem::take(&mut self.0)).map_err(|_| Unreadable::Unknown)
    }

    fn posted(&mut self) -> Result<Posted, Unreadable> {
        let flags = self.byte()?;
        if flags & flag::UNKNOWN != 0 {
            return Err(Unreadable::Unknown);
        }
        let has = |flag| flags & flag != 0;
        let key = if has(flag::KEY) { Some(self.text()?) } else { None };
        let except = if has(flag::EXCEPT) { Some(ConnectionId::new(self.number()?)) } else { None };
        let several = if has(flag::SEVERAL) { Some(self.number()?) } else { None };
        let bytes = mem::take(&mut self.0);
        let message = if has(flag::TEXT) {
            Message::Text(Utf8Bytes::try_from(bytes).map_err(|_| Unreadable::Malformed)?)
        } else {
            Message::Binary(bytes)
        };
        let form = if has(flag::PLAIN) { Form::Plain } else { Form::Any };
        Ok(Posted { message, is_json: has(flag::JSON), form, key, except, several })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: MessageId = MessageId { node: NodeId::new(0xabcd), number: 77 };

    fn written(body: &Body) -> Bytes {
        Unsent::new(body).numbered(ID)
    }

    fn posted() -> Posted {
        Posted {
            message: "{\"a\":\"ü\"}".into(),
            is_json: true,
            form: Form::Plain,
            key: Some("price:EURUSD".into()),
            except: Some(ConnectionId::new(9)),
            several: Some(12),
        }
    }

    #[test]
    fn a_frame_is_read_as_it_was_written() {
        let Ok(frame) = Frame::read(written(&Body::User("ann".into(), posted()))) else { panic!("not read") };
        assert_eq!(frame.id, ID);
        let Body::User(user, read) = frame.body else { panic!("another body") };
        assert_eq!(&*user, "ann");
        assert_eq!(format!("{read:?}"), format!("{:?}", posted()));

        let binary = Posted::new(Message::Binary(Bytes::from_static(&[0, 255])));
        let Ok(Frame { body: Body::Connection(7, read), .. }) = Frame::read(written(&Body::Connection(7, binary)))
        else {
            panic!("not read")
        };
        assert_eq!(read.message.as_bytes(), &[0, 255]);
    }

    #[test]
    fn what_is_cut_or_of_a_later_version_is_no_frame_and_no_panic() {
        let whole = written(&Body::Connection(7, posted()));
        for len in 0..HEADER + 8 {
            assert_eq!(Frame::read(whole.slice(..len)).err(), Some(Unreadable::Malformed), "{len}");
        }
        for at in 0..whole.len() {
            for value in [0, 1, 127, 255] {
                let mut bytes = whole.to_vec();
                bytes[at] = value;
                let _ = Frame::read(bytes.into());
            }
        }
        let mut later = whole.to_vec();
        later[0] = 2;
        assert_eq!(Frame::read(later.into()).err(), Some(Unreadable::Unknown));
        let mut unknown = whole.to_vec();
        unknown[1] = 99;
        assert_eq!(Frame::read(unknown.into()).err(), Some(Unreadable::Unknown));
    }

    #[test]
    fn a_message_with_something_that_is_not_known_is_not_read_as_text() {
        let mut bytes = written(&Body::Group(Posted::new("hello".into()))).to_vec();
        bytes[HEADER] |= 64;
        assert_eq!(Frame::read(bytes.into()).err(), Some(Unreadable::Unknown));
    }

    #[test]
    fn a_later_versions_word_is_unknown_and_not_an_error() {
        let mut bytes = written(&Body::Control(Control::Here))[..HEADER].to_vec();
        bytes.extend(br#"{"something_new":{"with":1}}"#);
        assert_eq!(Frame::read(bytes.into()).err(), Some(Unreadable::Unknown));
    }
}
