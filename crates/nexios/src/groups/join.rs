//! Becoming a member, and what a client that was here before has missed.

use std::sync::Arc;

use serde::Serialize;
use tokio::time::Instant;

use super::history::{NotRecovered, Stream};
use super::inner::{GroupInner, Leaving};
use super::members::{Distributed, Members, Membership};
use super::policy::GroupAction;
use super::position::Position;
use super::presence::Info;
use super::{Group, GroupError};
use crate::Result;
use crate::backplane::{Node, Wait};
use crate::connection::{Link, Publication, Terms};
use crate::slow_consumer::SlowConsumer;
use crate::websocket::{JsonError, WebSocket};

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
    /// The first is sent once, with everybody there, the newcomer included, as [`Present`](crate::Present) has it; `present`
    /// is left out if it would take more than half of the room in the connection's queue. Then `event` is `join`, `leave`,
    /// or `update` when a user's info changes; a member without a user's key has `"connection":7` in place of `user`. Each
    /// change costs one message to everybody who asked for this: it is meant for groups whose members can be shown in a
    /// list.
    pub fn notices(mut self) -> Self {
        self.notices = true;
        self
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
    /// [`GroupError`] for a bad name, one group too many, or a policy that does not allow it;
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
        let group = self.find_or_create();
        join.check_len(group.config.member_info)?;
        match self.groups().node() {
            Some(node) if group.has_to_wait(&join) => {
                let (node, link) = (Arc::clone(node), Arc::clone(link));
                Ok(Joining::Waits(Box::pin(async move { group.join_later(&node, &link, join).await })))
            }
            _ => group.join(link, join).map(Joining::Done),
        }
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
        link.add_membership(Membership { group: Arc::clone(self) })?;
        // It has no part in what was published before, but by the history.
        let mut after = self.distribute(&mut members);
        let replay = members.replay(link, join.replay);
        members.insert(Arc::clone(link));
        members.keep_position();
        let (missed, reason) = replay;
        self.replay(&mut after, link, &missed);
        let user = join.user.clone();
        let change = members.introduce(link, join.user, join.info, join.notices);
        let change = members.beside_others(change);
        after.append(members.notify(change, self.name(), link.id()));
        if join.notices {
            members.tell_who_is_there(&mut after, self.name(), link);
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
        // What was published before is told before.
        let mut after = self.distribute(&mut members);
        let change = join.info.and_then(|info| members.update(link.id(), info));
        let change = members.beside_others(change);
        after.append(members.notify(change, self.name(), link.id()));
        let key = members.key_of(link.id());
        let untold = members.note_untold(key);
        drop(members);
        after.finish();
        self.will_tell(untold);
        Ok(())
    }

    fn replay(&self, after: &mut Distributed, link: &Arc<Link>, missed: &[Publication]) {
        // There was room for all of it: none of it is dropped for the rest.
        let terms = Terms { slow: Some(SlowConsumer::Close), queue: usize::MAX, ..self.terms() };
        for publication in missed {
            after.enqueue(link, publication, terms);
        }
    }
}

impl Members {
    /// What a newcomer is sent first, and why it is not what it has missed.
    fn replay(&self, link: &Link, replay: Replay) -> (Vec<Publication>, Option<NotRecovered>) {
        let room = link.room();
        let missed = replay.since.map(|since| self.missed(since, room));
        match missed {
            Some(Ok(missed)) => (missed, None),
            Some(Err(reason)) => (self.newest(replay.newest, room), Some(reason)),
            None => (self.newest(replay.newest, room), None),
        }
    }

    fn missed(&self, since: Position, (room, each): (usize, usize)) -> Result<Vec<Publication>, NotRecovered> {
        let missed = self.stream().ok_or(NotRecovered::NoHistory)?.since(since)?;
        let missed: Vec<_> = missed.cloned().collect();
        let size: usize = missed.iter().map(|publication| publication.len() + each).sum();
        if size > room { Err(NotRecovered::TooMuch) } else { Ok(missed) }
    }

    fn newest(&self, count: usize, (room, each): (usize, usize)) -> Vec<Publication> {
        let newest: Vec<_> = self.stream().map(|stream| stream.newest(count).cloned().collect()).unwrap_or_default();
        let mut size = 0;
        let fitting = newest.iter().rev().take_while(|publication| {
            size += publication.len() + each;
            size <= room
        });
        let skipped = newest.len() - fitting.count();
        newest.into_iter().skip(skipped).collect()
    }
}
