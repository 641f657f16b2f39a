//! The path of a message to a group: encoded once, its place in the order given by the members' lock, distributed at the
//! end of the tick.

use std::borrow::Cow;
use std::sync::{Arc, PoisonError, Weak};

use bytes::Bytes;
use nexios_proto::{Message, Utf8Bytes};
use serde::Serialize;

use super::draft::{Draft, Sent, Source};
use super::envelope::{envelope, enveloped};
use super::history::{Data, History, Stream};
use super::inner::GroupInner;
use super::members::{Members, Publishing};
use super::policy::GroupAction;
use super::position::Position;
use super::publishers::{Publisher, Tally};
use super::{Group, GroupError, GroupsInner};
use crate::Result;
use crate::backplane::{Channel, Node, Ordered};
use crate::connection::{
    Coding, Form, Publication, PutOff, catch_up, catch_up_on_others, connection_of_this_turn, put_off,
};
use crate::sync::atomic::Ordering;
use crate::websocket::WebSocket;

impl Group {
    /// Sends a message to every member.
    ///
    /// # Errors
    ///
    /// [`GroupError`] for a bad name, a policy that does not allow it, or a binary message to a group whose messages tell
    /// their positions. [`Error::Disconnect`](crate::Error::Disconnect) when the server goes down. A member that is gone or
    /// does not keep up is no error: it concerns nobody else.
    pub async fn send(&self, message: impl Into<Message>) -> Result {
        let sent = self.publish(&Draft::new(message))?;
        sent.finish().await
    }

    /// Sends a message that must not be compressed, because it holds a secret, to every member: see
    /// [`Compression`](crate::Compression).
    ///
    /// # Errors
    ///
    /// As for [`send`](Self::send).
    pub async fn send_uncompressed(&self, message: impl Into<Message>) -> Result {
        let sent = self.publish(&Draft { form: Form::Plain, ..Draft::new(message) })?;
        sent.finish().await
    }

    /// Sends a message that is the newest state of what `key` stands for, as in `"price:EURUSD"`. For a member that does not
    /// keep up, a group with [`SlowConsumer::Conflate`](crate::SlowConsumer::Conflate) sends only the newest of each key;
    /// otherwise the key has no meaning.
    ///
    /// # Errors
    ///
    /// As for [`send`](Self::send).
    pub async fn send_keyed(&self, key: impl AsRef<str>, message: impl Into<Message>) -> Result {
        let sent = self.publish(&Draft::new(message).keyed(key.as_ref()))?;
        sent.finish().await
    }

    /// Sends a value as JSON under a key: see [`send_keyed`](Self::send_keyed) and [`send_json`](Self::send_json).
    ///
    /// # Errors
    ///
    /// As for both.
    pub async fn send_json_keyed(&self, key: impl AsRef<str>, value: &(impl Serialize + ?Sized)) -> Result {
        let sent = self.publish(&Draft::json(value)?.keyed(key.as_ref()))?;
        sent.finish().await
    }

    /// Sends a text message to every member.
    ///
    /// # Errors
    ///
    /// As for [`send`](Self::send).
    pub async fn send_text(&self, text: impl Into<Utf8Bytes>) -> Result {
        let sent = self.publish(&Draft::new(text.into()))?;
        sent.finish().await
    }

    /// Sends a binary message to every member.
    ///
    /// # Errors
    ///
    /// As for [`send`](Self::send).
    pub async fn send_bytes(&self, bytes: impl Into<Bytes>) -> Result {
        let sent = self.publish(&Draft::new(bytes.into()))?;
        sent.finish().await
    }

    /// Sends a value as JSON to every member; it is serialised once.
    ///
    /// # Errors
    ///
    /// As for [`send`](Self::send), and [`Error::Json`](crate::Error::Json) when the value cannot be written as JSON.
    pub async fn send_json(&self, value: &(impl Serialize + ?Sized)) -> Result {
        let sent = self.publish(&Draft::json(value)?)?;
        sent.finish().await
    }

    /// Sends a message to every member but this connection, which need not be a member.
    ///
    /// # Errors
    ///
    /// As for [`send`](Self::send).
    pub async fn send_except(&self, except: &WebSocket, message: impl Into<Message>) -> Result {
        let sent = self.publish(&Draft::new(message).except(except))?;
        sent.finish().await
    }

    /// Sends a text message to every member but this connection.
    ///
    /// # Errors
    ///
    /// As for [`send`](Self::send).
    pub async fn send_text_except(&self, except: &WebSocket, text: impl Into<Utf8Bytes>) -> Result {
        let sent = self.publish(&Draft::new(text.into()).except(except))?;
        sent.finish().await
    }

    /// Sends a binary message to every member but this connection.
    ///
    /// # Errors
    ///
    /// As for [`send`](Self::send).
    pub async fn send_bytes_except(&self, except: &WebSocket, bytes: impl Into<Bytes>) -> Result {
        let sent = self.publish(&Draft::new(bytes.into()).except(except))?;
        sent.finish().await
    }

    /// Sends a value as JSON to every member but this connection.
    ///
    /// # Errors
    ///
    /// As for [`send_json`](Self::send_json).
    pub async fn send_json_except(&self, except: &WebSocket, value: &(impl Serialize + ?Sized)) -> Result {
        let sent = self.publish(&Draft::json(value)?.except(except))?;
        sent.finish().await
    }

    /// Does all of it but waiting. No draft lives in the futures above.
    fn publish(&self, draft: &Draft) -> Result<Sent> {
        self.check_name()?;
        self.check(self.asker(), GroupAction::Publish)?;
        if let Some(node) = self.groups().node() {
            return self.publish_to_nodes(draft, node);
        }
        match self.find_for_publishing()? {
            Some(group) => group.publish(draft, self.groups(), Source::Here)?,
            None => self.groups().check_sealed()?,
        }
        Ok(Sent::here(draft.message.len()))
    }

    /// Whether the message is one that this group can send.
    pub(super) fn check_place(&self, draft: &Draft) -> Result<(), GroupError> {
        if draft.message.is_text() {
            return Ok(());
        }
        let config = self.groups().config.of(self.name());
        config.history.as_ref().map_or(Ok(()), |history| check_text(history, draft))
    }

    /// Publishes to the members here and to those on other nodes.
    pub(super) fn publish_to_nodes(&self, draft: &Draft, node: &Node) -> Result<Sent> {
        let bytes = draft.message.len();
        let found = self.find();
        let config =
            found.as_ref().map_or_else(|| self.groups().config.of(self.name()), |group| Arc::clone(&group.config));
        let own = || Channel::group(self.name());
        let channel = || found.as_ref().and_then(|group| group.channel().cloned()).unwrap_or_else(own);
        let Some(history) = &config.history else {
            if let Some(group) = &found {
                group.publish(draft, self.groups(), Source::Here)?;
            } else {
                self.groups().check_sealed()?;
                node.publish(&channel(), draft.posted());
            }
            return Ok(Sent::here(bytes));
        };
        self.groups().check_sealed()?;
        check_text(history, draft)?;
        // What this task sent before comes before.
        catch_up();
        let channel = channel();
        let append = || node.append(&channel, draft.posted(), history.keep());
        let ordered = match &found {
            Some(group) => group.append(append, draft)?,
            None => append()?,
        };
        Ok(match ordered {
            Ordered::ByEngine(ordered) => Sent::ordered(bytes, ordered),
            Ordered::Here => Sent::here(bytes),
        })
    }
}

/// Only a text has a place for its position.
fn check_text(history: &History, draft: &Draft) -> Result<(), GroupError> {
    let has_place = !history.with_positions || draft.message.is_text();
    has_place.then_some(()).ok_or(GroupError::NoPlaceForPosition)
}

impl GroupInner {
    /// Makes a message known to all members.
    pub(super) fn publish(self: &Arc<Self>, draft: &Draft, groups: &Arc<GroupsInner>, source: Source) -> Result {
        // What this task published to other groups comes first.
        catch_up_on_others(&self.work());
        // Nobody else takes the next number while this message is encoded with it.
        let numbering = self.tells_positions().then(|| self.numbering.lock().unwrap_or_else(PoisonError::into_inner));
        self.publish_numbered(draft, groups, source)?;
        drop(numbering);
        Ok(())
    }

    /// The same for whoever holds `numbering`, if the group tells positions.
    pub(super) fn publish_numbered(
        self: &Arc<Self>,
        draft: &Draft,
        groups: &Arc<GroupsInner>,
        source: Source,
    ) -> Result {
        // Compressed before the members' lock is taken for sending: others publish, join and leave meanwhile.
        let (codings, wants_envelopes) = match draft.form {
            Form::Any => self.members().forms(),
            Form::Plain => (Vec::new(), false),
        };
        let except = draft.except;
        let at = if let Source::Engine(position) = source { Some(position) } else { None };
        let (mut publication, data) = self.encode(draft, codings.iter().copied(), at)?;
        if wants_envelopes {
            publication = enveloped(publication, Some(self.name()), &codings);
        }
        let mut reached = draft.several.map(|several| groups.reached.by(several));
        let mut members = self.members();
        if source == Source::Here {
            groups.check_sealed()?;
            if let (Some(node), Some(channel)) = (groups.node(), self.channel()) {
                // Under the lock, so that this node's messages have one order everywhere.
                node.publish(channel, draft.posted());
            }
        }
        let over = self.record(&mut members, at, &publication, data, groups);
        // The lock makes one order for all members; nothing under it waits.
        let published = match &mut reached {
            None => members.publish(publication, except, self.terms(), self.name()),
            Some(reached) => {
                let mut after = self.distribute(&mut members);
                after.append(members.send_now(&publication, self.terms(), self.name(), |id| reached.is_new(id)));
                Publishing::Distributed(after)
            }
        };
        drop(members);
        drop(reached);
        if let Some(publisher) = over {
            publisher.thin();
        }
        match published {
            Publishing::PutOff => self.put_off(self.work(), true),
            // Whoever published first sees to it; and so does this thread, before it goes on to something else.
            Publishing::Joined => self.put_off(self.work(), false),
            Publishing::Distributed(distributed) => distributed.finish(),
        }
        Ok(())
    }

    fn work(self: &Arc<Self>) -> Weak<dyn PutOff> {
        Arc::downgrade(self) as Weak<dyn PutOff>
    }

    fn put_off(&self, this: Weak<dyn PutOff>, is_new: bool) {
        if !put_off(this, is_new) {
            self.catch_up();
        }
    }

    pub(super) fn tells_positions(&self) -> bool {
        self.config.history.as_ref().is_some_and(|history| history.with_positions)
    }

    /// Encodes a message as this group sends it, in the next place or in the one that it was given. Whoever calls this for a group that tells positions holds `numbering`.
    pub(super) fn encode(
        &self,
        draft: &Draft,
        codings: impl IntoIterator<Item = Coding>,
        at: Option<Position>,
    ) -> Result<(Publication, Data), GroupError> {
        let (message, data) = if self.tells_positions() {
            let (text, data) = self.envelop(draft, at)?;
            (Cow::Owned(text.into()), data)
        } else {
            (Cow::Borrowed(&draft.message), Data::Whole)
        };
        let publication = Publication::new(&message, codings).keyed(draft.key.clone());
        // Where positions are told, all that members get is in envelopes.
        Ok((if self.tells_positions() { publication } else { publication.relayed(draft.is_json) }, data))
    }

    /// A message with its position: see [`History::with_positions`](super::History::with_positions).
    fn envelop(&self, draft: &Draft, at: Option<Position>) -> Result<(String, Data), GroupError> {
        let text = draft.message.as_text().ok_or(GroupError::NoPlaceForPosition)?;
        let position = at.or_else(|| self.members().stream().map(Stream::next_position));
        let position = position.as_ref().map(ToString::to_string).unwrap_or_default();
        Ok(envelope(Some(self.name()), Some(&position), text, draft.is_json))
    }

    /// Keeps a message, if the group has a history. It returns a publisher of whom too much is kept: to be thinned when no
    /// lock is held.
    pub(super) fn record(
        self: &Arc<Self>,
        members: &mut Members,
        at: Option<Position>,
        publication: &Publication,
        data: Data,
        groups: &Arc<GroupsInner>,
    ) -> Option<Arc<Publisher>> {
        self.config.history.as_ref()?;
        let grown = members.record(at, publication, data, &self.config, groups.config.group_quota());
        let connection = connection_of_this_turn();
        let over = connection.zip(members.stream_mut()).and_then(|(connection, stream)| {
            let tally = || Some(Tally::new(groups.publisher(connection)?, self, connection));
            stream.count_for(connection, tally)
        });
        let total = groups.count_history(grown);
        if total > groups.config.histories {
            // None of it is anybody else's to give, here.
            let mut over = total - groups.config.histories;
            while over > 0
                && let freed = members.drop_oldest()
                && freed > 0
            {
                groups.histories.fetch_sub(freed, Ordering::Relaxed);
                over = over.saturating_sub(freed);
            }
        }
        groups.check_room(total);
        self.look_after(members);
        over
    }
}
