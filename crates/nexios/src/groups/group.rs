//! A group's handle: what it is, who is in it, what was said.

use std::fmt;
use std::sync::Arc;

use tokio::time::Instant;

use super::history::{HistoryPage, Published};
use super::inner::GroupInner;
use super::policy::{Asker, GroupAction, check};
use super::position::Position;
use super::presence::Present;
use super::stats::GroupStats;
use super::{GroupError, Groups, GroupsInner};
use crate::Result;
use crate::backplane::{Channel, Missed, Node, Placed};
use crate::sender::{ConnectionId, Sender};

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
/// has no room is closed with 4430 and the cause [`SlowConsumer`](crate::Cause::SlowConsumer), or what
/// [`GroupConfig::slow_consumer`](crate::GroupConfig::slow_consumer) says; the others do not notice.
///
/// The methods are `async` and fallible because a backplane between several nodes may stand behind them. They are
/// cancel-safe: without one they do their work at the first poll, or not at all. With one, a message is on its way from
/// the first poll on; what they then wait for, at most for [`BackplaneConfig::timeout`](crate::BackplaneConfig::timeout), is
/// the engine's answer, and a join that is dropped before has not happened.
///
/// # Several nodes
///
/// With a [backplane](crate::App::backplane) a group is one on all nodes. Without a history, members on this node get a message
/// at once and in this node's order, others a little later; the order of each publisher holds everywhere. With a
/// [`History`](crate::History) the engine orders the messages, so that all members of all nodes see one order, and a position is
/// good on every node.
#[derive(Clone)]
pub struct Group {
    groups: Groups,
    name: Arc<str>,
}

impl Group {
    pub(super) fn new(groups: Groups, name: Arc<str>) -> Self {
        Self { groups, name }
    }

    /// The group's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How many connections are in the group, on all nodes. With a [backplane](crate::App::backplane) and nobody of the group
    /// on this node, the others are asked, and those that have not answered after a second are not counted.
    ///
    /// # Errors
    ///
    /// [`GroupError`] for a bad name, or a policy that does not allow it.
    pub async fn len(&self) -> Result<usize> {
        let group = self.look(GroupAction::SeePresence)?;
        if let Some(node) = self.groups().node()
            && !group.as_ref().is_some_and(|group| group.is_introduced())
        {
            let answers = node.ask(self.name(), false).await;
            let here = group.map_or(0, |group| group.members().len());
            return Ok(answers.iter().fold(here, |sum, answer| sum.saturating_add(answer.members)));
        }
        Ok(group.map_or(0, |group| group.members().everywhere()))
    }

    /// True when nobody is in the group.
    ///
    /// # Errors
    ///
    /// As for [`len`](Self::len).
    pub async fn is_empty(&self) -> Result<bool> {
        Ok(self.len().await? == 0)
    }

    /// The connections to this node in the group, in no order.
    ///
    /// # Errors
    ///
    /// As for [`len`](Self::len).
    pub async fn members(&self) -> Result<Vec<Sender>> {
        let group = self.look(GroupAction::SeePresence)?;
        let senders =
            |group: Arc<GroupInner>| group.members().iter().map(|link| Sender::new(Arc::clone(link))).collect();
        Ok(group.map(senders).unwrap_or_default())
    }

    /// The member with this id, to send to it alone; `None` when it is not in the group. For members on other nodes there is
    /// [`AppHandle::send_to_connection`](crate::AppHandle::send_to_connection).
    ///
    /// # Errors
    ///
    /// As for [`len`](Self::len).
    pub async fn member(&self, id: ConnectionId) -> Result<Option<Sender>> {
        let group = self.look(GroupAction::SeePresence)?;
        Ok(group.and_then(|group| group.members().find(id).map(|link| Sender::new(Arc::clone(link)))))
    }

    /// Who is in the group: users, each with all of its connections, then the connections that joined without a user's
    /// key ([`Join::user`](crate::Join::user)). Their number is that of people, where [`len`](Self::len) counts tabs.
    ///
    /// With a [backplane](crate::App::backplane) it is who is there on all nodes, as far as those on others have told a key or an
    /// info; the rest of those is only counted, by [`len`](Self::len). What has changed on another node is known here about
    /// 50 ms later; a node that crashes is forgotten after
    /// [`node_ttl`](crate::BackplaneConfig::node_ttl).
    ///
    /// For a client that is to follow it, [`Join::notices`](crate::Join::notices) sends the list itself: in its place among
    /// the notices.
    ///
    /// # Errors
    ///
    /// As for [`len`](Self::len).
    pub async fn presence(&self) -> Result<Vec<Present>> {
        let group = self.look(GroupAction::SeePresence)?;
        if let Some(node) = self.groups().node()
            && !group.as_ref().is_some_and(|group| group.is_introduced())
        {
            let answers = node.ask(self.name(), true).await;
            return Ok(GroupInner::present_with(group.as_deref(), answers));
        }
        Ok(group.map(|group| group.members().present()).unwrap_or_default())
    }

    /// What was published: at most `limit` messages behind the position, the oldest first; or the newest, without one.
    ///
    /// When [`recovered`](HistoryPage::recovered) is false, messages between the position and the first of these are lost.
    ///
    /// # Errors
    ///
    /// [`GroupError`] for a bad name, a policy that does not allow it, or a group without a
    /// [`History`](crate::History).
    pub async fn history(&self, since: impl Into<Option<Position>>, limit: usize) -> Result<HistoryPage> {
        self.check_name()?;
        self.check(self.asker(), GroupAction::SeeHistory)?;
        let since = since.into();
        if let Some(node) = self.groups().node()
            && let Some(page) = self.history_of_engine(node, since, limit).await
        {
            return Ok(page?);
        }
        let group = self.try_find_or_create()?;
        let mut members = group.members();
        let freed = members.trim(&group.config, Instant::now());
        let page = members.stream().map(|stream| stream.page(since, limit));
        members.keep_position();
        group.look_after(&mut members);
        drop(members);
        group.freed(freed);
        Ok(page.ok_or(GroupError::NoHistory)?)
    }

    /// What the group has done and holds. It looks at every member.
    ///
    /// # Errors
    ///
    /// As for [`len`](Self::len).
    pub async fn stats(&self) -> Result<GroupStats> {
        let group = self.look(GroupAction::SeePresence)?;
        Ok(group.map(|group| group.stats()).unwrap_or_default())
    }

    /// What the engine has, which may be more than is here; `None` when it does not answer.
    async fn history_of_engine(
        &self,
        node: &Node,
        since: Option<Position>,
        limit: usize,
    ) -> Option<Result<HistoryPage, GroupError>> {
        let config = self.groups().config.of(&self.name);
        let Some(history) = &config.history else { return Some(Err(GroupError::NoHistory)) };
        let channel = Channel::group(&self.name);
        // Many may read: the wait for a turn counts.
        let page = tokio::time::timeout(node.timeout(), node.read_channel(&channel, history.keep(), since)).await;
        let mut page = page.ok().flatten()?;
        let kept = node.readable(std::mem::take(&mut page.messages));
        let is_loss = |one: &Missed| matches!(one.placed, Placed::Loss);
        let recovered = page.missing.is_none() && (since.is_none() || !kept.iter().any(is_loss));
        let published = |one: Missed| match one.placed {
            Placed::Message(posted) => Some(Published { position: one.position, message: posted.message }),
            Placed::Loss => None,
        };
        let mut publications: Vec<_> = kept.into_iter().filter_map(published).collect();
        if since.is_none() {
            publications.drain(..publications.len().saturating_sub(limit));
        }
        publications.truncate(limit);
        Some(Ok(HistoryPage { publications, position: page.end, recovered }))
    }

    // ---- for the other files

    pub(super) fn check_name(&self) -> Result<(), GroupError> {
        let (len, limit) = (self.name.len(), self.groups().config.name_len);
        if (1..=limit).contains(&len) { Ok(()) } else { Err(GroupError::InvalidName { len, limit }) }
    }

    /// Asks the app's policy.
    pub(super) fn check(&self, asker: Option<&Asker>, action: GroupAction) -> Result<(), GroupError> {
        check(self.groups().config.policy.as_ref(), asker, action, &self.name)
    }

    pub(super) fn has_policy(&self) -> bool {
        self.groups().config.policy.is_some()
    }

    /// For whom this handle acts.
    pub(super) fn asker(&self) -> Option<&Asker> {
        self.groups.asker()
    }

    pub(super) fn groups(&self) -> &Arc<GroupsInner> {
        self.groups.inner()
    }

    pub(super) fn find(&self) -> Option<Arc<GroupInner>> {
        self.groups().names.find(&self.name)
    }

    /// The group, which comes into being while there is room for it.
    pub(super) fn try_find_or_create(&self) -> Result<Arc<GroupInner>, GroupError> {
        let groups = self.groups();
        if let Some(group) = self.find() {
            return Ok(group);
        }
        let cost = groups.memory.try_take(GroupInner::cost(&self.name)).ok_or(GroupError::Overloaded)?;
        Ok(groups.names.find_or_create(&self.name, || groups.create(&self.name, cost)))
    }

    /// A group that nobody is in takes a message only for its history.
    pub(super) fn find_for_publishing(&self) -> Result<Option<Arc<GroupInner>>, GroupError> {
        if let Some(group) = self.find() {
            return Ok(Some(group));
        }
        let has_history = self.groups().config.of(&self.name).history.is_some();
        if has_history { self.try_find_or_create().map(Some) } else { Ok(None) }
    }

    fn look(&self, action: GroupAction) -> Result<Option<Arc<GroupInner>>, GroupError> {
        self.check_name()?;
        self.check(self.asker(), action)?;
        Ok(self.find())
    }
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group").field("name", &self.name).finish_non_exhaustive()
    }
}
