//! Members that may have missed something, and how they are told.

use std::sync::Arc;

use nexios_proto::Message;
use serde::Serialize;

use super::GroupsInner;
use super::history::{NotRecovered, Stream};
use super::hooks::HookEvent;
use super::inner::GroupInner;
use super::members::{Distributed, Members};
use super::position::Position;
use crate::connection::Publication;

/// Members of a group on this node may have missed messages of other nodes, which cannot be had any more
/// ([`GroupsConfig::on_gap`](crate::GroupsConfig::on_gap)).
#[derive(Clone, Debug)]
pub struct GapEvent {
    group: Arc<str>,
    position: Option<Position>,
    reason: Option<NotRecovered>,
}

impl GapEvent {
    /// The group's name.
    pub fn group(&self) -> &str {
        &self.group
    }

    /// Where the stream goes on, for a group with a history.
    pub fn position(&self) -> Option<Position> {
        self.position
    }

    /// Why it could not be recovered, for a group with a history.
    pub fn reason(&self) -> Option<NotRecovered> {
        self.reason
    }
}

impl HookEvent for GapEvent {
    fn log_panic(&self) {
        tracing::error!(group = self.group(), "a hook on gaps panicked");
    }
}

/// What a member is sent.
#[derive(Debug, Serialize)]
struct Notice<'a> {
    group: &'a str,
    event: &'static str,
    recovered: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<Position>,
}

impl GroupInner {
    /// Messages that would stand before this place are lost. True when members were told, and the application is to be: under
    /// no lock. Whoever calls this holds `numbering`.
    pub(super) fn break_at(self: &Arc<Self>, position: Position, groups: &Arc<GroupsInner>) -> bool {
        let mut members = self.members();
        let before = members.history_size();
        // What was published before is for those who were members before.
        let mut after = self.distribute(&mut members);
        if let Some(stream) = members.stream_mut() {
            stream.break_at(position.offset());
        }
        after.append(self.tell_gap(&mut members));
        let shrunk = before.saturating_sub(members.history_size());
        let has_members = members.len() > 0;
        drop(members);
        groups.count_history(-shrunk.cast_signed());
        after.finish();
        has_members
    }

    /// Tells all members of a group whose messages tell their positions; of others, those who want notices.
    pub(super) fn tell_gap(&self, members: &mut Members) -> Distributed {
        let position = members.stream().map(Stream::position);
        let notice = Notice { group: self.name(), event: "gap", recovered: false, position };
        let Ok(text) = serde_json::to_string(&notice) else { return Distributed::default() };
        let publication = Publication::new(&Message::from(text), []);
        members.tell(&publication, self.tells_positions())
    }
}

impl GroupsInner {
    /// Members were told of a gap; so are the operator and the application.
    pub(super) fn gap(&self, group: &GroupInner, position: Option<Position>, reason: Option<NotRecovered>) {
        if let Some(node) = self.node() {
            node.count_gap();
        }
        tracing::debug!(group = &**group.name(), ?reason, "members may have missed messages of other nodes");
        if let Some(hook) = &self.config.on_gap {
            hook.call(&GapEvent { group: Arc::clone(group.name()), position, reason });
        }
    }
}
