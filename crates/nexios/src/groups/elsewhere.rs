//! Who is in a group on other nodes, and what this node has to tell them.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::inner::GroupInner;
use super::members::Members;
use super::presence::{Change, Info, Present, Who};
use crate::backplane::{Answer, ConnectionAddress, Entry, MessageId, Node, NodeId, Presence};
use crate::sender::ConnectionId;

/// Changes of those who tell something of themselves are told together after this time, and mere numbers after that.
const SOON: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// So many bytes are told in one message, or one who tells more: engines have a limit (NATS 1 MiB).
const PART: usize = 64 * 1024;

/// What other nodes have told.
#[derive(Debug, Default)]
pub(super) struct Elsewhere {
    nodes: HashMap<NodeId, There>,
}

#[derive(Debug, Default)]
struct There {
    members: usize,
    known: HashMap<Key, Told>,
    /// What was known before the node began to tell anew.
    before: Option<HashSet<Key>>,
    /// What it has told since may not have come.
    is_doubted: bool,
}

/// A user, or a connection without one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Key {
    User(Arc<str>),
    Connection(u64),
}

#[derive(Debug)]
struct Told {
    info: Option<Info>,
    connections: Vec<u64>,
}

/// What other nodes do not know yet.
#[derive(Debug, Default)]
pub(super) struct Untold {
    keys: HashSet<Key>,
    number: bool,
    everything: Everything,
    /// They know something.
    is_known: bool,
}

/// Whether the others are to be told everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Everything {
    #[default]
    No,
    Told,
    /// And to tell theirs.
    Exchanged,
}

impl Elsewhere {
    /// How many connections.
    pub(super) fn len(&self) -> usize {
        // They are another node's word.
        self.nodes.values().fold(0, |sum, there| sum.saturating_add(there.members))
    }

    /// What is told of a user, as JSON or empty, if there is such a one.
    pub(super) fn user(&self, user: &str) -> Option<&str> {
        self.known(&Key::User(user.into()), None)
    }

    /// The same of anybody, on other nodes than this.
    fn known(&self, key: &Key, except: Option<NodeId>) -> Option<&str> {
        let others = self.nodes.iter().filter(|(node, _)| Some(**node) != except);
        let mut told = others.filter_map(|(_, there)| there.known.get(key));
        told.next().map(|told| text(told.info.as_ref()))
    }

    /// Takes what a node tells; returns who has come, changed or gone by it.
    fn hear(&mut self, node: NodeId, presence: Presence) -> Vec<(Key, Heard)> {
        let there = self.nodes.entry(node).or_default();
        there.members = presence.members;
        if presence.begin {
            there.is_doubted = false;
            there.before = Some(there.known.keys().cloned().collect());
        }
        let mut heard = Vec::new();
        for entry in presence.entries {
            let key = match (&entry.user, entry.connections.first()) {
                (Some(user), _) => Key::User(Arc::from(&**user)),
                (None, Some(connection)) => Key::Connection(*connection),
                (None, None) => continue,
            };
            if let Some(before) = &mut there.before {
                before.remove(&key);
            }
            let is_there = match key {
                Key::User(_) => !entry.connections.is_empty() || entry.awaited,
                Key::Connection(_) => entry.info.is_some(),
            };
            let info = entry.info.map(Info::from);
            if !is_there {
                heard.extend(there.known.remove(&key).map(|known| (key, Heard::Gone(known.info))));
                continue;
            }
            let told = Told { info: info.clone(), connections: entry.connections };
            match there.known.insert(key.clone(), told) {
                None => heard.push((key, Heard::New(info))),
                Some(known) if text(known.info.as_ref()) != text(info.as_ref()) => {
                    heard.push((key, Heard::Changed(info)));
                }
                Some(_) => {}
            }
        }
        if presence.end {
            for key in there.before.take().into_iter().flatten() {
                heard.extend(there.known.remove(&key).map(|known| (key, Heard::Gone(known.info))));
            }
        }
        if there.members == 0 && there.known.is_empty() {
            self.nodes.remove(&node);
        }
        heard
    }

    /// A node is gone.
    fn bury(&mut self, node: NodeId) -> Vec<(Key, Heard)> {
        let known = self.nodes.remove(&node).map(|there| there.known).unwrap_or_default();
        known.into_iter().map(|(key, told)| (key, Heard::Gone(told.info))).collect()
    }

    fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Adds who is there on other nodes to a list of those here.
    pub(super) fn add_to(&self, list: &mut Vec<Present>) {
        let mut at: HashMap<Arc<str>, usize> =
            list.iter().zip(0..).filter_map(|(present, at)| Some((present.user.clone()?, at))).collect();
        for (node, there) in &self.nodes {
            for (key, told) in &there.known {
                let addresses = told.connections.iter().map(|id| ConnectionAddress::new(*node, ConnectionId::new(*id)));
                let known = match key {
                    Key::User(user) => *at.entry(Arc::clone(user)).or_insert_with(|| {
                        list.push(Present::elsewhere(Some(Arc::clone(user))));
                        list.len() - 1
                    }),
                    Key::Connection(_) => {
                        list.push(Present::elsewhere(None));
                        list.len() - 1
                    }
                };
                let present = &mut list[known];
                present.elsewhere.extend(addresses);
                present.info_or(told.info.as_ref());
            }
        }
    }
}

/// What was heard of somebody.
#[derive(Debug)]
enum Heard {
    New(Option<Info>),
    Changed(Option<Info>),
    Gone(Option<Info>),
}

/// No JSON is empty.
fn text(info: Option<&Info>) -> &str {
    info.map_or("", |info| info.get())
}

impl Members {
    /// What those who watch here are told of what was heard: a user who is here, or on a third node, was there before and
    /// is there still.
    fn heard(&mut self, node: NodeId, hear: impl FnOnce(&mut Elsewhere) -> Vec<(Key, Heard)>) -> Vec<Change> {
        let mut elsewhere = self.elsewhere.take().unwrap_or_default();
        let heard = hear(&mut elsewhere);
        let mut changes = Vec::new();
        for (key, what) in heard {
            let who = match &key {
                Key::User(user) => Who::User(Arc::clone(user)),
                Key::Connection(id) => Who::Elsewhere(ConnectionAddress::new(node, ConnectionId::new(*id))),
            };
            let here = if let Key::User(user) = &key { self.user(user) } else { None };
            let known = here.or_else(|| elsewhere.known(&key, Some(node)));
            changes.extend(match (what, known) {
                (Heard::New(info), None) => Some(Change::join(who, info)),
                (Heard::Gone(info), None) => Some(Change::leave(who, info)),
                (Heard::Changed(info), _) => Some(Change::update(who, info)),
                (Heard::New(Some(info)), Some(known)) if known != info.get() => Some(Change::update(who, Some(info))),
                (Heard::New(_) | Heard::Gone(_), Some(_)) => None,
            });
        }
        self.elsewhere = Some(elsewhere).filter(|elsewhere| !elsewhere.is_empty());
        changes
    }

    /// Who a connection is for other nodes: nobody, if it tells nothing.
    pub(super) fn key_of(&self, connection: ConnectionId) -> Option<Key> {
        match self.user_of(connection) {
            Some(user) => Some(Key::User(user)),
            None => self.has_info(connection).then(|| Key::Connection(connection.as_u64())),
        }
    }

    /// Somebody has come, changed or gone, which other nodes are to know: after this time, unless they are told anyway.
    pub(super) fn note_untold(&mut self, key: Option<Key>) -> Option<Duration> {
        let untold = self.untold.as_deref_mut()?;
        let had_keys = !untold.keys.is_empty() || untold.everything > Everything::No;
        let had_number = std::mem::replace(&mut untold.number, true);
        match key {
            Some(key) => {
                untold.keys.insert(key);
                (!had_keys).then_some(SOON.0)
            }
            None => (!had_number && !had_keys).then_some(SOON.1),
        }
    }
}

/// What a node asks of a group.
impl GroupInner {
    /// Takes what another node tells of its members.
    pub(crate) fn hear(self: &Arc<Self>, id: MessageId, presence: Presence) {
        if self.is_double(id) {
            return;
        }
        let node = id.node;
        if presence.ask {
            self.tell_everything(Everything::Told);
        }
        self.notice(node, |elsewhere| elsewhere.hear(node, presence));
    }

    /// A node is gone.
    pub(crate) fn bury(self: &Arc<Self>, node: NodeId) {
        self.notice(node, |elsewhere| elsewhere.bury(node));
    }

    /// What is known of others may be out of date, until they tell it anew. False when nothing is known.
    pub(crate) fn doubt_others(&self) -> bool {
        let mut members = self.members();
        let Some(elsewhere) = members.elsewhere.as_deref_mut() else { return false };
        elsewhere.nodes.values_mut().for_each(|there| there.is_doubted = true);
        true
    }

    /// Of those who have not told it, these have nobody here any more. True when others are left.
    pub(crate) fn bury_doubted(self: &Arc<Self>, these: &HashSet<NodeId>) -> bool {
        let doubted = |elsewhere: &Elsewhere| {
            let doubted = elsewhere.nodes.iter().filter(|(_, there)| there.is_doubted);
            doubted.map(|(node, _)| *node).collect::<Vec<_>>()
        };
        let doubted = self.members().elsewhere.as_deref().map(doubted).unwrap_or_default();
        let (silent, others): (Vec<_>, Vec<_>) = doubted.into_iter().partition(|node| these.contains(node));
        for node in silent {
            self.bury(node);
        }
        !others.is_empty()
    }

    fn notice(self: &Arc<Self>, node: NodeId, hear: impl FnOnce(&mut Elsewhere) -> Vec<(Key, Heard)>) {
        let mut members = self.members();
        let changes = members.heard(node, hear);
        if changes.is_empty() {
            return;
        }
        let mut after = self.distribute(&mut members);
        for change in changes {
            after.append(members.notify(Some(change), self.name(), None));
        }
        drop(members);
        after.finish();
    }

    /// Tells the other nodes who is here, and asks them the same.
    pub(crate) fn ask_who_is_there(self: &Arc<Self>) {
        self.tell_everything(Everything::Exchanged);
    }

    fn tell_everything(self: &Arc<Self>, everything: Everything) {
        let Some(groups) = self.groups.upgrade() else { return };
        let Some(node) = groups.node() else { return };
        let mut members = self.members();
        let Some(untold) = members.untold.as_deref_mut() else { return };
        untold.everything = untold.everything.max(everything);
        drop(members);
        node.will_tell(self, if everything == Everything::Exchanged { Duration::ZERO } else { SOON.0 });
    }

    /// Not all of it could be told: it is told anew, a little later.
    pub(crate) fn tell_again(self: &Arc<Self>) {
        if let Some(untold) = self.members().untold.as_deref_mut() {
            untold.everything = Everything::Exchanged;
        }
        self.will_tell(Some(SOON.1));
    }

    /// A connection has come, changed or gone.
    pub(super) fn will_tell(self: &Arc<Self>, due: Option<Duration>) {
        if let Some(due) = due
            && let Some(groups) = self.groups.upgrade()
            && let Some(node) = groups.node()
        {
            node.will_tell(self, due);
        }
    }

    /// What other nodes do not know yet.
    pub(crate) fn untold(&self) -> Vec<Presence> {
        let mut members = self.members();
        let len = members.len();
        let Some(untold) = members.untold.as_deref_mut() else { return Vec::new() };
        let Untold { keys, number, everything, is_known } = std::mem::take(untold);
        let (everything, ask) = (everything > Everything::No, everything == Everything::Exchanged);
        untold.is_known = is_known || len > 0;
        let entries = if everything { members.all_entries() } else { members.entries(keys) };
        if let Some(untold) = members.untold.as_deref_mut() {
            untold.is_known |= !entries.is_empty();
        }
        if entries.is_empty() && !number && !everything {
            return Vec::new();
        }
        let mut told = Presence::parts(len, entries);
        if everything {
            if let Some(first) = told.first_mut() {
                (first.begin, first.ask) = (true, ask);
            }
            if let Some(last) = told.last_mut() {
                last.end = true;
            }
        }
        told
    }

    /// Whether all that other nodes have to tell is known here.
    pub(super) fn is_introduced(&self) -> bool {
        self.remote.as_ref().is_some_and(|remote| remote.is_introduced())
    }

    /// Who is here, and who is there according to these answers.
    pub(super) fn present_with(here: Option<&Self>, answers: Vec<Answer>) -> Vec<Present> {
        let mut elsewhere = Elsewhere::default();
        for Answer { node, members, present } in answers {
            elsewhere.hear(node, Presence::of(members, present));
        }
        let mut present = here.map(|group| group.members().present_here()).unwrap_or_default();
        elsewhere.add_to(&mut present);
        present
    }

    /// For another node that asks.
    pub(super) fn who_is_here(&self, list: bool) -> (usize, Vec<Entry>) {
        let members = self.members();
        (members.len(), if list { members.all_entries() } else { Vec::new() })
    }

    /// The group is no longer here.
    pub(super) fn say_goodbye(&mut self, node: &Node) {
        let Some(channel) = self.channel().cloned() else { return };
        let is_known = self.members_mut().untold.as_ref().is_some_and(|untold| untold.is_known);
        node.detach(&channel, self, is_known);
        if let Some(entry) = self.remote.as_ref().and_then(|remote| remote.looked_at()) {
            node.forget_to_look(entry);
        }
    }
}

impl Presence {
    fn of(members: usize, entries: Vec<Entry>) -> Self {
        Self { members, entries, ..Self::default() }
    }

    /// At least one.
    fn parts(members: usize, entries: Vec<Entry>) -> Vec<Self> {
        let (mut parts, mut part, mut size) = (Vec::new(), Vec::new(), 0);
        for entry in entries {
            size += entry.size();
            if size > PART && !part.is_empty() {
                parts.push(Self::of(members, std::mem::take(&mut part)));
                size = entry.size();
            }
            part.push(entry);
        }
        parts.push(Self::of(members, part));
        parts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presence_is_told_in_parts_that_an_engine_takes() {
        let entry = |number: u64| Entry {
            user: Some(format!("user {number}").into()),
            info: serde_json::value::to_raw_value(&"x".repeat(4000)).ok(),
            connections: (0..number % 5).collect(),
            awaited: false,
        };
        let parts = Presence::parts(500, (0..500).map(entry).collect());
        assert_eq!(parts.iter().map(|part| part.entries.len()).sum::<usize>(), 500);
        for part in &parts {
            let written = serde_json::to_vec(part).unwrap().len();
            assert!(written < 2 * PART && part.members == 500, "{written}");
        }
        assert_eq!(Presence::parts(0, Vec::new()).len(), 1);
    }
}
