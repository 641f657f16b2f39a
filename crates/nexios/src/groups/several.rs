//! One message to several groups, or to everybody.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::{Arc, PoisonError};

use nexios_proto::Message;
use serde::Serialize;

use super::draft::{Draft, Sent};
use super::inner::GroupInner;
use super::members::Distributed;
use super::policy::{GroupAction, check};
use super::{Group, Groups, GroupsInner};
use crate::Result;
use crate::backplane::{Node, Posted};
use crate::connection::{Coding, Publication, Terms, catch_up};
use crate::sender::give_way;
use crate::websocket::JsonError;

impl Groups {
    /// Sends a message to the members of several groups. Who is in more than one of them gets it once.
    ///
    /// In each of the groups it has its place in the order that all members see, and in the history. With a
    /// [backplane](crate::App::backplane) the groups are published to one after the other, by their names: a message of
    /// somebody else may come between, and who gets it late, after an outage, may get it once for each of the groups.
    ///
    /// # Cancel safety
    ///
    /// Safe: it does its work at the first poll, or not at all.
    ///
    /// # Errors
    ///
    /// As for [`Group::send`], and then nobody is sent anything.
    ///
    /// ```
    /// # use nexios::prelude::*;
    /// # async fn example(groups: Groups) -> nexios::Result {
    /// groups.send_to(["admins", "room 7"], "the room closes in five minutes").await
    /// # }
    /// ```
    pub async fn send_to<N: AsRef<str>>(
        &self,
        names: impl IntoIterator<Item = N>,
        message: impl Into<Message>,
    ) -> Result {
        self.publish_to(names, &Draft::new(message))?.finish().await
    }

    /// Sends a value as JSON, which is serialised once, to the members of several groups: see [`send_to`](Self::send_to).
    ///
    /// # Errors
    ///
    /// As for [`Group::send_json`], and then nobody is sent anything.
    pub async fn send_json_to<N: AsRef<str>>(
        &self,
        names: impl IntoIterator<Item = N>,
        value: &(impl Serialize + ?Sized),
    ) -> Result {
        self.publish_to(names, &Draft::json(value)?)?.finish().await
    }

    fn publish_to<N: AsRef<str>>(&self, names: impl IntoIterator<Item = N>, draft: &Draft) -> Result<Sent> {
        let groups = names.into_iter().map(|name| self.group(name)).collect::<Vec<_>>();
        for group in &groups {
            group.check_name()?;
            group.check(self.asker(), GroupAction::Publish)?;
        }
        if let Some(node) = self.inner().node() {
            return publish_to_nodes(groups, draft, node);
        }
        let found = groups.iter().filter_map(|group| group.find_for_publishing().transpose());
        let mut found = found.collect::<Result<Vec<_>, _>>()?;
        // Whoever holds several of these locks has taken them in one order.
        found.sort_by_key(Arc::as_ptr);
        found.dedup_by(|a, b| Arc::ptr_eq(a, b));
        // What this task sent before, to these and to other groups.
        catch_up();
        distribute(&found, draft, self.inner())?.finish();
        Ok(Sent::here(draft.message.len()))
    }

    /// Sends a message to every open connection of the app, in a group or not, on all of its nodes.
    ///
    /// # Cancel safety
    ///
    /// Safe: it does its work at the first poll, or not at all.
    ///
    /// # Errors
    ///
    /// [`GroupError::Forbidden`](crate::GroupError::Forbidden) when the app's policy does not allow it.
    pub async fn broadcast(&self, message: impl Into<Message>) -> Result {
        let sent = self.publish_to_all(&message.into(), false)?;
        give_way(sent).await;
        Ok(())
    }

    /// Sends a value as JSON, which is serialised once, to every open connection of the app: see
    /// [`broadcast`](Self::broadcast).
    ///
    /// # Errors
    ///
    /// As for [`broadcast`](Self::broadcast), and [`Error::Json`](crate::Error::Json) when it cannot be written as JSON.
    pub async fn broadcast_json(&self, value: &(impl Serialize + ?Sized)) -> Result {
        let sent = self.publish_to_all(&JsonError::encode(value)?.into(), true)?;
        give_way(sent).await;
        Ok(())
    }

    fn publish_to_all(&self, message: &Message, is_json: bool) -> Result<usize> {
        check(self.inner().config.policy.as_ref(), self.asker(), GroupAction::Broadcast, "")?;
        self.inner().check_sealed()?;
        catch_up();
        self.inner().send_to_all(message, is_json);
        if let Some(node) = self.inner().node() {
            node.broadcast(Posted { is_json, ..Posted::new(message.clone()) });
        }
        Ok(message.len())
    }
}

impl GroupsInner {
    /// Sends to every connection of this node.
    pub(super) fn send_to_all(&self, message: &Message, is_json: bool) {
        let links = self.connections.all();
        let codings = Coding::distinct(links.iter().filter_map(|link| link.any_coding()));
        let mut publication = Cow::Owned(Publication::new(message, codings).relayed(is_json));
        let mut after = Distributed::default();
        for link in &links {
            // It is no group's.
            after.enqueue_in_form(link, &mut publication, Terms::OF_CONNECTION, "");
        }
        self.past.add(after.counts());
        after.finish();
    }
}

/// One after the other: there is no lock over several nodes. Each node knows by the message's number whom it has reached.
fn publish_to_nodes(mut groups: Vec<Group>, draft: &Draft, node: &Node) -> Result<Sent> {
    groups.sort_by(|a, b| a.name().cmp(b.name()));
    groups.dedup_by(|a, b| a.name() == b.name());
    for group in &groups {
        group.check_place(draft)?;
    }
    let draft = if groups.len() > 1 { draft.clone().for_several() } else { draft.clone() };
    node.check_room(&draft.posted(), groups.len())?;
    let mut sent = Sent::here(draft.message.len());
    for group in groups {
        sent.also(group.publish_to_nodes(&draft, node)?);
    }
    Ok(sent)
}

/// Under the locks of all groups, so that no other message comes before it in one and behind it in another.
fn distribute(groups: &[Arc<GroupInner>], draft: &Draft, all: &Arc<GroupsInner>) -> Result<Distributed> {
    let numbered = groups.iter().filter(|group| group.tells_positions());
    let _numbering: Vec<_> =
        numbered.map(|group| group.numbering.lock().unwrap_or_else(PoisonError::into_inner)).collect();
    let codings = Coding::distinct(groups.iter().flat_map(|group| group.members().codings()));
    let encoded = groups.iter().map(|group| group.encode(draft, codings.iter().copied(), None));
    let encoded = encoded.collect::<Result<Vec<_>, _>>()?;
    let mut locked: Vec<_> = groups.iter().map(|group| group.members()).collect();
    all.check_sealed()?;
    // What was published to any of them before comes before: a member may be in all.
    let mut after = Distributed::default();
    for (group, members) in groups.iter().zip(&mut locked) {
        after.append(group.distribute(members));
    }
    let (mut reached, mut over) = (HashSet::new(), Vec::new());
    for ((group, members), (publication, data)) in groups.iter().zip(&mut locked).zip(encoded) {
        over.extend(group.record(members, None, &publication, data, all));
        after.append(members.send_now(&publication, group.terms(), group.name(), |member| reached.insert(member)));
    }
    drop(locked);
    for publisher in over {
        publisher.thin();
    }
    Ok(after)
}
