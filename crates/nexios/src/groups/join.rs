//! Becoming a member, and what a client that was here before has missed.

use std::borrow::Cow;
use std::sync::Arc;

use serde::Serialize;
use tokio::time::Instant;

use super::envelope::enveloped;
use super::history::{NotRecovered, Stream};
use super::inner::{GroupInner, Leaving};
use super::members::{Distributed, MEMBER, Members, Membership};
use super::policy::GroupAction;
use super::position::Position;
use super::presence::{Info, PERSON};
use super::{Group, GroupError};
use crate::backplane::{Node, Wait};
use crate::connection::{Link, Publication, Terms};
use crate::slow_consumer::SlowConsumer;
use crate::websocket::{JsonError, WebSocket};
use crate::{Result, WebSocketDisconnect};

/// How a connection joins a group ([`Group::join_with`]).
///
/// ```
/// # use nexios::prelude::*;
/// async fn room(mut websocket: WebSocket, groups: Groups) -> nexios::Result {
///     websocket.accept().await?;
///     let room = groups.group("room");
///     let since = websocket.query_params().get("since").filter(|text| !text.is_empty());
///     let since = since.map(|text| text.parse().unwrap_or(Position::new(0, 0)));
///     let join = Join::new().user("ann").info(&serde_json::json!({"name": "Ann"}))?.since(since).newest(50).notices();
///     let joined = room.join_with(&websocket, join).await?;
///     websocket.send_json(&joined).await?;
///     loop {
///         room.send_text(websocket.receive_text().await?).await?;
///     }
/// }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Join {
    user: Option<Arc<str>>,
    info: Option<Info>,
    replay: Replay,
    notices: bool,
    enveloped: bool,
}

/// What is replayed to a newcomer.
#[derive(Clone, Copy, Debug, Default)]
struct Replay {
    since: Option<Position>,
    /// Without a position, or when it cannot be recovered from.
    newest: usize,
}

/// What a join came to.
///
/// As JSON: `{"recovered":true,"position":"9f3c2a0de1b45c77-17","replayed":3}`, and `"reason":"trimmed"` where it was not
/// recovered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Joined {
    /// Whether the client has got everything that it has missed. Never a part: when this is false, nothing was replayed
    /// but what [`Join::newest`] asked for, and the client begins anew. True for one that was never here.
    pub recovered: bool,
    /// Where the group's stream was when the connection became a member; what is live comes behind it. `None` for a
    /// group without a history.
    pub position: Option<Position>,
    /// How many messages were sent to it from the history.
    pub replayed: usize,
    /// Why it was not recovered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<NotRecovered>,
}

impl Join {
    /// A member of whom nothing is known, and that is replayed nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// The key that the application knows the member's user by: several connections of one user are one in
    /// [`presence`](Group::presence), and one that comes back in time was never gone
    /// ([`GroupConfig::grace`](crate::GroupConfig::grace)).
    pub fn user(mut self, key: impl AsRef<str>) -> Self {
        self.user = Some(key.as_ref().into());
        self
    }

    /// A small value that the others see in [`presence`](Group::presence) and notices. Of a user's connections, the one
    /// that joined last with a value decides.
    ///
    /// # Errors
    ///
    /// [`Error::Json`](crate::Error::Json) when it cannot be written as JSON.
    pub fn info(mut self, value: &(impl Serialize + ?Sized)) -> Result<Self> {
        self.info = Some(JsonError::encode_raw(value)?.into());
        Ok(self)
    }

    /// Replays what was published behind this position, if there is one: see [`Group::join_since`].
    pub fn since(mut self, position: impl Into<Option<Position>>) -> Self {
        self.replay.since = position.into();
        self
    }

    /// Replays the newest messages, at most so many and no more than the connection's queue has room for: for a client
    /// that was never here, or has a position that cannot be recovered from.
    pub fn newest(mut self, messages: usize) -> Self {
        self.replay.newest = messages;
        self
    }

    /// Tells the client who is there, and then who joins and leaves, in text messages:
    ///
    /// ```json
    /// {"group":"room","event":"present","count":1,"present":[{"user":"bob","connections":[3]}]}
    /// {"group":"room","event":"join","user":"ann","info":{"name":"Ann"}}
    /// ```
    ///
    /// The first has everybody there, the newcomer included, as [`Present`](crate::Present) has it; `present` is left out if
    /// it would take more than half of the room in the connection's queue. Then `event` is `join`, `leave`, or `update` when a
    /// user's info changes, once for each change and in the order of the changes; a member without a user's key has
    /// `"connection":7` in place of `user`. What changes in one turn of the runtime reaches a client in one write.
    ///
    /// # Crowds
    ///
    /// Each change costs one message to everybody who asked for this. So a group of more connections than
    /// [`GroupConfig::listed`](crate::GroupConfig::listed) (1,000), or with more than 512 KiB of keys and infos, tells only how
    /// many there are: to newcomers with a first page of up to 100 and 16 KiB, to others once in a second or less often, as long
    /// as the number changes.
    ///
    /// ```json
    /// {"group":"room","event":"present","count":2041,"more":true,"present":[{"user":"bob","connections":[3]}]}
    /// {"group":"room","event":"present","count":2103,"more":true}
    /// ```
    ///
    /// A client forgets what it knew with each `present`, which may come again at any time: one without `more` is complete, and
    /// every later change follows until the next one; behind one with `more` comes nothing but another. When half of the
    /// limit is left, everybody is told the list again. The rest of a list is [`Group::presence`]'s to tell, page by page as
    /// the application likes.
    ///
    /// # What others say
    ///
    /// A client that takes notices gets the group's texts [in envelopes](Self::enveloped), so that no member's text can be
    /// taken for a notice.
    pub fn notices(mut self) -> Self {
        self.notices = true;
        self
    }

    /// Sends the texts that are published to this and all other groups of the connection in envelopes, from now on:
    ///
    /// ```json
    /// {"group":"room","data":"the text"}
    /// ```
    ///
    /// `data` is a text as a JSON string, or the value of [`send_json`](Group::send_json); what is
    /// [broadcast](crate::Groups::broadcast) has no `group`. Groups whose messages tell their
    /// [positions](crate::History::with_positions) have such an envelope anyway; binary messages never. So what has an
    /// `event` at its outermost level is the framework's, and what has `data` is somebody's: a member that publishes
    /// `{"group":"room","event":"leave","user":"bob"}` cannot speak in its name.
    ///
    /// It is on for a connection that asked for [`notices`](Self::notices) in any of its groups, and for one that was asked
    /// something ([`Sender::request`](crate::Sender::request)) from the first question on: a client that answers questions is
    /// to be joined with this. What the application sends to the connection itself goes out as it is.
    pub fn enveloped(mut self) -> Self {
        self.enveloped = true;
        self
    }

    /// What it takes in memory at most, in bytes.
    fn cost(&self) -> usize {
        let told =
            self.user.as_ref().map_or(0, |user| user.len()) + self.info.as_ref().map_or(0, |info| info.get().len());
        let is_told = self.user.is_some() || self.info.is_some() || self.notices;
        MEMBER + told + if is_told { 3 * PERSON } else { 0 }
    }

    fn check_len(&self, limit: usize) -> Result<(), GroupError> {
        let len =
            self.user.as_ref().map_or(0, |user| user.len()) + self.info.as_ref().map_or(0, |info| info.get().len());
        if len > limit { Err(GroupError::InfoTooLong { len, limit }) } else { Ok(()) }
    }
}

impl Group {
    /// Adds a connection. Joining twice is joining once.
    ///
    /// # Errors
    ///
    /// [`GroupError`] for a bad name, one group too many, a policy that does not allow it, or a server that holds as much as
    /// it may;
    /// [`Error::State`](crate::Error::State) before `accept` and [`Error::Disconnect`](crate::Error::Disconnect) after the
    /// end: nothing can be sent to such a connection.
    pub async fn join(&self, websocket: &WebSocket) -> Result {
        self.join_with(websocket, Join::new()).await.map(drop)
    }

    /// Adds a connection whose client was here before, up to `position`: it is sent everything that was published
    /// since, and then goes on live, without a gap or a double. If that cannot be, nothing is replayed and
    /// [`recovered`](Joined::recovered) is false: the position's epoch is over, or what it missed is no longer kept, or more
    /// than the connection's queue takes. Without a position it is as [`join`](Self::join).
    ///
    /// The group needs a [`History`](crate::History), and its clients the positions:
    /// [`History::with_positions`](crate::History::with_positions).
    ///
    /// # Errors
    ///
    /// As for [`join`](Self::join).
    pub async fn join_since(&self, websocket: &WebSocket, position: impl Into<Option<Position>>) -> Result<Joined> {
        self.join_with(websocket, Join::new().since(position)).await
    }

    /// Adds a connection as [`Join`] says.
    ///
    /// # Errors
    ///
    /// As for [`join`](Self::join), and [`GroupError::InfoTooLong`].
    pub async fn join_with(&self, websocket: &WebSocket, join: Join) -> Result<Joined> {
        match self.begin_to_join(websocket, join)? {
            Joining::Done(joined) => Ok(joined),
            Joining::Waits(joining) => joining.await,
        }
    }

    fn begin_to_join(&self, websocket: &WebSocket, join: Join) -> Result<Joining> {
        self.check_name()?;
        self.check_join(websocket, &join)?;
        let link = websocket.link();
        let group = self.find_or_create_for(link, &join)?;
        match self.groups().node() {
            Some(node) if group.has_to_wait(&join) => {
                let (node, link) = (Arc::clone(node), Arc::clone(link));
                Ok(Joining::Waits(Box::pin(async move { group.join_later(&node, &link, join).await })))
            }
            _ => group.join(link, join).map(Joining::Done),
        }
    }

    /// The group, if the connection may join it: nothing comes into being, or is counted, for one that may not.
    fn find_or_create_for(&self, link: &Link, join: &Join) -> Result<Arc<GroupInner>> {
        if let Some(group) = self.find() {
            join.check_len(group.config.member_info)?;
            return Ok(group);
        }
        join.check_len(self.groups().config.of(self.name()).member_info)?;
        link.check_memberships()?;
        Ok(self.try_find_or_create()?)
    }

    fn check_join(&self, websocket: &WebSocket, join: &Join) -> Result<(), GroupError> {
        if websocket.link().is_client() {
            return Err(GroupError::ClientConnection);
        }
        let asker = self.has_policy().then(|| websocket.asker());
        let asker = asker.as_ref();
        self.check(asker, GroupAction::Join)?;
        if join.notices {
            self.check(asker, GroupAction::SeePresence)?;
        }
        if join.replay.since.is_some() || join.replay.newest > 0 {
            self.check(asker, GroupAction::SeeHistory)?;
        }
        Ok(())
    }

    /// Changes what a member tells of itself ([`Join::info`]): its user's, if it joined with a user's key. Others who asked
    /// for [`notices`](Join::notices) are told of an `update`, unless it is the same as before.
    ///
    /// # Errors
    ///
    /// [`GroupError`] for a bad name, a connection that is not a member, a value that is too long, or a policy that does
    /// not allow it to be a member any more; [`Error::Json`](crate::Error::Json) when it cannot be written as JSON.
    pub async fn set_info(&self, websocket: &WebSocket, value: &(impl Serialize + ?Sized)) -> Result {
        self.check_name()?;
        let join = Join::new().info(value)?;
        self.check_join(websocket, &join)?;
        let group = self.find().ok_or(GroupError::NotMember)?;
        Ok(group.set_info(websocket.link(), join)?)
    }

    /// Removes a connection; one that is not a member is none afterwards either.
    ///
    /// # Errors
    ///
    /// [`GroupError`] for a bad name.
    pub async fn leave(&self, websocket: &WebSocket) -> Result {
        self.check_name()?;
        if let Some(group) = self.find() {
            let link = websocket.link();
            group.remove(link.id(), Leaving::Asked);
            link.remove_membership(|membership| Arc::ptr_eq(&membership.group, &group));
        }
        Ok(())
    }
}

/// A connection on its way into a group. Only with a backplane does it have to wait, so only then it takes memory.
enum Joining {
    Done(Joined),
    Waits(Wait<Result<Joined>>),
}

impl GroupInner {
    /// Whether other nodes have to be asked first.
    fn has_to_wait(&self, join: &Join) -> bool {
        let Some(remote) = &self.remote else { return false };
        !remote.is_attached() || join.replay.since.is_some()
    }

    /// Joins once messages of other nodes come here, and what the client has missed is at hand; or without, when the
    /// engine does not answer in time.
    async fn join_later(self: Arc<Self>, node: &Node, link: &Arc<Link>, join: Join) -> Result<Joined> {
        self.begin_to_attach(node);
        let ready = async {
            if let Some(remote) = &self.remote {
                remote.wait_attached().await;
            }
            if let Some(since) = join.replay.since {
                self.reach_back(node, since).await;
            }
        };
        // Whoever waited long enough goes on without the others, and is told of it now or later.
        let _ = tokio::time::timeout(node.timeout(), ready).await;
        self.join(link, join)
    }

    fn join(self: &Arc<Self>, link: &Arc<Link>, join: Join) -> Result<Joined> {
        // A group that is found may lose its last member before the next line; this handle keeps it alive, and the
        // members' lock decides between a join and the connection's end, which removes what the link lists.
        let mut members = self.members();
        self.freed(members.trim(&self.config, Instant::now()));
        let position = members.stream().map(Stream::position);
        if members.contains(link.id()) {
            let reason = Some(NotRecovered::AlreadyMember);
            return Ok(Joined { recovered: false, position, replayed: 0, reason });
        }
        let groups = self.groups().ok_or_else(WebSocketDisconnect::lost)?;
        let cost = groups.memory.try_take(join.cost()).ok_or(GroupError::Overloaded)?;
        link.add_membership(Membership { group: Arc::clone(self) }, join.enveloped || join.notices)?;
        members.counted += cost.take();
        // It has no part in what was published before, but by the history.
        let (missed, reason) = self.replay_of(&members, link, join.replay);
        let user = join.user.clone();
        // The others are told of it, before it is one of those who are told.
        let change = members.introduce(link.id(), join.user, join.info, join.notices);
        let change = members.beside_others(change);
        let mut after = self.notify(&mut members, change, None);
        members.insert(Arc::clone(link));
        if join.notices {
            members.watch(link);
        }
        members.keep_position();
        self.replay(&mut after, link, &missed);
        after.append(self.size_up(&mut members));
        if join.notices {
            self.tell_who_is_there(&mut members, &mut after, link);
        }
        members.count(&mut after);
        let key = members.key_of(link.id());
        let untold = members.note_untold(key);
        self.look_after(&mut members);
        drop(members);
        after.finish();
        self.will_tell(untold);
        self.tell(|groups| groups.config.on_join.as_ref(), link, user);
        Ok(Joined { recovered: reason.is_none(), position, replayed: missed.len(), reason })
    }

    fn set_info(self: &Arc<Self>, link: &Arc<Link>, mut join: Join) -> Result<(), GroupError> {
        let mut members = self.members();
        if !members.contains(link.id()) {
            return Err(GroupError::NotMember);
        }
        join.user = members.user_of(link.id());
        join.check_len(self.config.member_info)?;
        if let Some(groups) = self.groups() {
            members.counted += groups.memory.try_take(join.cost()).ok_or(GroupError::Overloaded)?.take();
        }
        let change = join.info.and_then(|info| members.update(link.id(), info));
        let change = members.beside_others(change);
        let mut after = self.notify(&mut members, change, Some(link.id()));
        after.append(self.size_up(&mut members));
        let key = members.key_of(link.id());
        let untold = members.note_untold(key);
        self.look_after(&mut members);
        drop(members);
        after.finish();
        self.will_tell(untold);
        Ok(())
    }

    fn replay(&self, after: &mut Distributed, link: &Arc<Link>, missed: &[Publication]) {
        // There was room for all of it: none of it is dropped for the rest.
        let terms = Terms { slow: Some(SlowConsumer::Close), queue: usize::MAX, ..self.terms() };
        for publication in missed {
            after.enqueue_in_form(link, &mut Cow::Borrowed(publication), terms, self.name());
        }
    }

    /// What a newcomer is sent first, and why it is not what it has missed.
    fn replay_of(&self, members: &Members, link: &Link, replay: Replay) -> (Vec<Publication>, Option<NotRecovered>) {
        if replay.since.is_none() && replay.newest == 0 {
            return (Vec::new(), None);
        }
        let room = Room { left: link.room(), envelope: link.is_enveloped().then_some(self.name()) };
        let missed = replay.since.map(|since| members.missed(since, &room));
        match missed {
            Some(Ok(missed)) => (missed, None),
            Some(Err(reason)) => (members.newest(replay.newest, &room), Some(reason)),
            None => (members.newest(replay.newest, &room), None),
        }
    }
}

/// What a newcomer's queue has room for.
struct Room<'a> {
    /// In bytes, and what each message takes besides its frame.
    left: (usize, usize),
    /// The group whose texts it gets in envelopes.
    envelope: Option<&'a str>,
}

impl Room<'_> {
    /// These, as they are sent, as long as there is room for them; and whether that was all.
    fn take<'a>(&self, publications: impl Iterator<Item = &'a Publication>) -> (Vec<Publication>, bool) {
        let (mut left, each) = self.left;
        let mut taken = Vec::new();
        for publication in publications {
            let publication = match self.envelope {
                Some(group) => enveloped(publication.clone(), Some(group), &[]),
                None => publication.clone(),
            };
            let sent = publication.form_for(self.envelope.is_some()).unwrap_or(&publication).len();
            match left.checked_sub(sent + each) {
                Some(rest) => left = rest,
                None => return (taken, false),
            }
            taken.push(publication);
        }
        (taken, true)
    }
}

impl Members {
    fn missed(&self, since: Position, room: &Room<'_>) -> Result<Vec<Publication>, NotRecovered> {
        let missed = self.stream().ok_or(NotRecovered::NoHistory)?.since(since)?;
        let (missed, is_all) = room.take(missed);
        if is_all { Ok(missed) } else { Err(NotRecovered::TooMuch) }
    }

    fn newest(&self, count: usize, room: &Room<'_>) -> Vec<Publication> {
        let newest = self.stream().into_iter().flat_map(|stream| stream.newest(count).rev());
        let (mut newest, _) = room.take(newest);
        newest.reverse();
        newest
    }
}
