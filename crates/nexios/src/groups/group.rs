//! One group: join, leave, send.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use bytes::Bytes;
use nexios_proto::{Message, Utf8Bytes};
use serde::Serialize;

use super::members::{Members, Membership, Published};
use super::{GroupError, GroupsInner, MAX_NAME};
use crate::Result;
use crate::connection::{Form, Publication, PutOff, catch_up_on_others, put_off};
use crate::sender::{ConnectionId, Sender, give_way};
use crate::websocket::{JsonError, WebSocket};

/// A group of connections under a name, from [`Groups::group`](super::Groups::group). Cheap to clone and to keep.
///
/// A connection leaves by itself when it begins to close or is lost. A message is encoded once, and compressed once for all
/// members that agreed on the same parameters, whatever their number.
///
/// # Order
///
/// All members see the messages of a group in the same order, and those of one task in the order of sending, whether it
/// sends to groups or to single connections. What is published to a group of 16 or more in one turn of the runtime is
/// distributed once, at the end of that turn or before anything that the same thread sends, joins or closes then: it
/// costs a publisher the same for any number of members, and reaches each of them in one write.
///
/// # Backpressure
///
/// Sending never waits for a member. One whose queue ([`Config::outbound_queue`](crate::Config::outbound_queue), 1 MiB)
/// has no room is closed with 1008 and the cause [`SlowConsumer`](crate::Cause::SlowConsumer); the others do not notice.
///
/// The methods are `async` and fallible because a backplane between several nodes may stand behind them. They are
/// cancel-safe: they do their work at the first poll, or not at all.
#[derive(Clone)]
pub struct Group {
    groups: Arc<GroupsInner>,
    name: Arc<str>,
}

pub(crate) struct GroupInner {
    groups: Weak<GroupsInner>,
    name: Arc<str>,
    members: Mutex<Members>,
}

impl Group {
    pub(super) fn new(groups: Arc<GroupsInner>, name: Arc<str>) -> Self {
        Self { groups, name }
    }

    /// The group's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Adds a connection. Joining twice is joining once.
    ///
    /// # Errors
    ///
    /// [`GroupError`] for a bad name or one group too many; [`Error::State`](crate::Error::State) before `accept` and
    /// [`Error::Disconnect`](crate::Error::Disconnect) after the end: nothing can be sent to such a connection.
    pub async fn join(&self, websocket: &WebSocket) -> Result {
        self.check_name()?;
        let link = websocket.link();
        let group = self.groups.find_or_create(&self.name);
        // A group that is found here may lose its last member before the next line; this handle keeps it alive, and the
        // members' lock decides between a join and the connection's end, which removes what the link lists.
        let mut members = group.members();
        if members.contains(link.id()) {
            return Ok(());
        }
        link.add_membership(Membership { group: Arc::clone(&group) })?;
        // It has no part in what was published before.
        let before = members.distribute();
        members.insert(Arc::clone(link));
        drop(members);
        before.finish();
        Ok(())
    }

    /// Removes a connection; one that is not a member is none afterwards either.
    pub async fn leave(&self, websocket: &WebSocket) -> Result {
        self.check_name()?;
        if let Some(group) = self.groups.find(&self.name) {
            let link = websocket.link();
            group.remove(link.id());
            link.remove_membership(|membership| Arc::ptr_eq(&membership.group, &group));
        }
        Ok(())
    }

    /// Sends a message to every member.
    pub async fn send(&self, message: impl Into<Message>) -> Result {
        self.publish(message.into(), None, Form::Any).await
    }

    /// Sends a message that must not be compressed, because it holds a secret, to every member: see
    /// [`Compression`](crate::Compression).
    pub async fn send_uncompressed(&self, message: impl Into<Message>) -> Result {
        self.publish(message.into(), None, Form::Plain).await
    }

    /// Sends a text message to every member.
    pub async fn send_text(&self, text: impl Into<Utf8Bytes>) -> Result {
        self.publish(Message::Text(text.into()), None, Form::Any).await
    }

    /// Sends a binary message to every member.
    pub async fn send_bytes(&self, bytes: impl Into<Bytes>) -> Result {
        self.publish(Message::Binary(bytes.into()), None, Form::Any).await
    }

    /// Sends a value as JSON to every member; it is serialised once.
    ///
    /// # Errors
    ///
    /// [`Error::Json`](crate::Error::Json) when the value cannot be written as JSON.
    pub async fn send_json(&self, value: &(impl Serialize + ?Sized)) -> Result {
        self.send_text(JsonError::encode(value)?).await
    }

    /// Sends a message to every member but this connection, which need not be a member.
    pub async fn send_except(&self, except: &WebSocket, message: impl Into<Message>) -> Result {
        self.publish(message.into(), Some(except.id()), Form::Any).await
    }

    /// Sends a text message to every member but this connection.
    pub async fn send_text_except(&self, except: &WebSocket, text: impl Into<Utf8Bytes>) -> Result {
        self.publish(Message::Text(text.into()), Some(except.id()), Form::Any).await
    }

    /// Sends a binary message to every member but this connection.
    pub async fn send_bytes_except(&self, except: &WebSocket, bytes: impl Into<Bytes>) -> Result {
        self.publish(Message::Binary(bytes.into()), Some(except.id()), Form::Any).await
    }

    /// Sends a value as JSON to every member but this connection.
    ///
    /// # Errors
    ///
    /// [`Error::Json`](crate::Error::Json) when the value cannot be written as JSON.
    pub async fn send_json_except(&self, except: &WebSocket, value: &(impl Serialize + ?Sized)) -> Result {
        self.send_text_except(except, JsonError::encode(value)?).await
    }

    /// How many connections are in the group.
    pub async fn len(&self) -> Result<usize> {
        self.check_name()?;
        Ok(self.groups.find(&self.name).map_or(0, |group| group.members().len()))
    }

    /// True when nobody is in the group.
    pub async fn is_empty(&self) -> Result<bool> {
        Ok(self.len().await? == 0)
    }

    /// The connections in the group, in no order.
    pub async fn members(&self) -> Result<Vec<Sender>> {
        self.check_name()?;
        let Some(group) = self.groups.find(&self.name) else {
            return Ok(Vec::new());
        };
        let members = group.members().iter().map(|link| Sender::new(Arc::clone(link))).collect();
        Ok(members)
    }

    /// The member with this id, to send to it alone; `None` when it is not in the group.
    pub async fn member(&self, id: ConnectionId) -> Result<Option<Sender>> {
        self.check_name()?;
        let group = self.groups.find(&self.name);
        Ok(group.and_then(|group| group.members().find(id).map(|link| Sender::new(Arc::clone(link)))))
    }

    async fn publish(&self, message: Message, except: Option<ConnectionId>, form: Form) -> Result {
        self.check_name()?;
        let Some(group) = self.groups.find(&self.name) else {
            return Ok(());
        };
        let this = Arc::downgrade(&group);
        let this: Weak<dyn PutOff> = this;
        // What this task published to other groups comes first.
        catch_up_on_others(&this);
        // Compressed before the lock is taken for sending: others publish meanwhile.
        let codings = if form == Form::Any { group.members().codings() } else { Vec::new() };
        let publication = Publication::new(&message, codings);
        // The lock makes one order for all members; nothing under it waits.
        let published = group.members().publish(publication, except);
        match published {
            Published::PutOff if !put_off(this) => group.catch_up(),
            Published::PutOff | Published::Joined => {}
            Published::Distributed(distributed) => distributed.finish(),
        }
        give_way(message.len()).await;
        Ok(())
    }

    pub(super) fn check_name(&self) -> Result<(), GroupError> {
        let len = self.name.len();
        if (1..=MAX_NAME).contains(&len) { Ok(()) } else { Err(GroupError::InvalidName { len }) }
    }
}

impl GroupInner {
    pub(super) fn new(groups: Weak<GroupsInner>, name: Arc<str>) -> Self {
        Self { groups, name, members: Mutex::default() }
    }

    pub(super) fn members(&self) -> MutexGuard<'_, Members> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn remove(&self, id: ConnectionId) {
        let mut members = self.members();
        // What was published before is for it, too.
        let before = members.distribute();
        let link = members.remove(id);
        drop(members);
        before.finish();
        drop(link);
    }
}

impl PutOff for GroupInner {
    fn catch_up(&self) {
        let distributed = self.members().distribute();
        distributed.finish();
    }
}

impl Drop for GroupInner {
    fn drop(&mut self) {
        if let Some(groups) = self.groups.upgrade() {
            groups.forget(&self.name);
        }
    }
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group").field("name", &self.name).finish_non_exhaustive()
    }
}

impl fmt::Debug for GroupInner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupInner").field("name", &self.name).finish_non_exhaustive()
    }
}
