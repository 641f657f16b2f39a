//! One message to several groups, or to everybody.

use std::collections::HashSet;
use std::sync::Arc;

use nexios_proto::Message;

use super::Groups;
use super::group::GroupInner;
use super::members::Distributed;
use crate::Result;
use crate::connection::{Coding, Publication, catch_up};
use crate::sender::give_way;

impl Groups {
    /// Sends a message to the members of several groups. Who is in more than one of them gets it once.
    ///
    /// In each of the groups it has its place in the order that all members see.
    ///
    /// # Cancel safety
    ///
    /// Safe: it does its work at the first poll, or not at all.
    ///
    /// # Errors
    ///
    /// [`GroupError::InvalidName`](crate::GroupError::InvalidName), and then nobody is sent anything.
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
        let groups = names.into_iter().map(|name| self.group(name)).collect::<Vec<_>>();
        groups.iter().try_for_each(super::Group::check_name)?;
        let mut found: Vec<_> = groups.iter().filter_map(|group| self.inner.find(group.name())).collect();
        // Whoever holds several of these locks has taken them in one order.
        found.sort_by_key(Arc::as_ptr);
        found.dedup_by(|a, b| Arc::ptr_eq(a, b));
        let message = message.into();
        // What this task sent before, to these and to other groups.
        catch_up();
        let codings = Coding::distinct(found.iter().flat_map(|group| group.members().codings()));
        let publication = Publication::new(&message, codings);
        distribute(&found, &publication).finish();
        give_way(message.len()).await;
        Ok(())
    }

    /// Sends a message to every open connection of the app, in a group or not.
    ///
    /// # Cancel safety
    ///
    /// Safe: it does its work at the first poll, or not at all.
    ///
    /// # Errors
    ///
    /// None today; a backplane between several nodes may have some.
    pub async fn broadcast(&self, message: impl Into<Message>) -> Result {
        let message = message.into();
        catch_up();
        let links = self.inner.connections.all();
        let codings = Coding::distinct(links.iter().filter_map(|link| link.any_coding()));
        let publication = Publication::new(&message, codings);
        let mut after = Distributed::default();
        for link in &links {
            after.enqueue(link, &publication);
        }
        after.finish();
        give_way(message.len()).await;
        Ok(())
    }
}

/// Under the locks of all groups, so that no other message comes before it in one and behind it in another.
fn distribute(groups: &[Arc<GroupInner>], publication: &Publication) -> Distributed {
    let mut locked: Vec<_> = groups.iter().map(|group| group.members()).collect();
    let mut after = Distributed::default();
    for members in &mut locked {
        after.append(members.distribute());
    }
    let mut reached = HashSet::new();
    for link in locked.iter().flat_map(|members| members.iter()) {
        if reached.insert(link.id()) {
            after.enqueue(link, publication);
        }
    }
    after
}
