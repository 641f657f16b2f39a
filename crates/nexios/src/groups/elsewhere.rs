//! Who is in a group on other nodes, and what this node has to tell them.

use std::collections::{HashMap, HashSet};
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use super::inner::GroupInner;
use super::members::{Distributed, Members};
use super::presence::{Change, Event, Info, PERSON, Present, Who};
use crate::backplane::{Answer, ConnectionAddress, Entry, MessageId, Node, NodeId, Presence};
use crate::sender::ConnectionId;

/// Changes of those who tell something of themselves are told together after this time, and mere numbers after that.
const SOON: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// So many bytes are told in one message, or one who tells more: engines have a limit (NATS 1 MiB).
const PART: usize = 64 * 1024;

/// What is gathered for other nodes under one lock at a time.
const SLICE: usize = 256;

/// What other nodes have told.
#[derive(Debug, Default)]
pub(super) struct Elsewhere {
    nodes: HashMap<NodeId, There>,
    /// Users and connections that are told of and are not on this node, each once.
    others: usize,
    /// How many are told of by all nodes, and with how many bytes.
    entries: usize,
    told: usize,
}

#[derive(Debug, Default)]
struct There {
    members: usize,
    known: HashMap<Key, Told>,
    /// What was known before the node began to tell anew, and was not told again yet.
    before: HashMap<Key, Told>,
    /// What it has told since may not have come.
    is_doubted: bool,
}

/// A user, or a connection without one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
        let mut told = others.filter_map(|(_, there)| there.known.get(key).or_else(|| there.before.get(key)));
        told.next().map(|told| text(told.info.as_ref()))
    }

    /// Takes what a node tells; returns who has come, changed or gone by it.
    fn hear(&mut self, node: NodeId, presence: Presence) -> Vec<(Key, Heard)> {
        let there = self.nodes.entry(node).or_default();
        there.members = presence.members;
        if presence.begin {
            there.is_doubted = false;
            let again = mem::take(&mut there.known);
            if there.before.is_empty() {
                there.before = again;
            } else {
                // It begins again before it came to an end.
                there.before.extend(again);
            }
        }
        let mut heard = Vec::new();
        for entry in presence.entries {
            let key = match (&entry.user, entry.connections.first()) {
                (Some(user), _) => Key::User(Arc::from(&**user)),
                (None, Some(connection)) => Key::Connection(*connection),
                (None, None) => continue,
            };
            let is_there = match key {
                Key::User(_) => !entry.connections.is_empty() || entry.awaited,
                Key::Connection(_) => entry.info.is_some(),
            };
            let info = entry.info.map(Info::from);
            let told = is_there.then(|| Told { info: info.clone(), connections: entry.connections });
            let before = there.before.remove(&key);
            (self.entries, self.told) = match &told {
                Some(told) => (self.entries + 1, self.told + told.size(&key)),
                None => (self.entries, self.told),
            };
            let before = match told {
                Some(told) => there.known.insert(key.clone(), told).or(before),
                None => there.known.remove(&key).or(before),
            };
            if let Some(before) = &before {
                (self.entries, self.told) = (self.entries - 1, self.told - before.size(&key));
            }
            match (before, is_there) {
                (None, true) => heard.push((key, Heard::New(info))),
                (Some(before), true) if text(before.info.as_ref()) != text(info.as_ref()) => {
                    heard.push((key, Heard::Changed(info)));
                }
                (Some(before), false) => heard.push((key, Heard::Gone(before.info))),
                (Some(_), true) | (None, false) => {}
            }
        }
        if presence.end {
            let gone = mem::take(&mut there.before);
            let is_nobody = there.members == 0 && there.known.is_empty();
            heard.extend(self.gone(gone));
            if is_nobody {
                self.nodes.remove(&node);
            }
        } else if there.members == 0 && there.known.is_empty() && there.before.is_empty() {
            self.nodes.remove(&node);
        }
        heard
    }

    fn gone(&mut self, gone: HashMap<Key, Told>) -> Vec<(Key, Heard)> {
        self.entries -= gone.len();
        self.told -= gone.iter().map(|(key, told)| told.size(key)).sum::<usize>();
        gone.into_iter().map(|(key, told)| (key, Heard::Gone(told.info))).collect()
    }

    /// A node is gone.
    fn bury(&mut self, node: NodeId) -> Vec<(Key, Heard)> {
        let There { mut known, before, .. } = self.nodes.remove(&node).unwrap_or_default();
        known.extend(before);
        self.gone(known)
    }

    /// Users and connections that are told of, and are not on this node.
    pub(super) fn others(&self) -> usize {
        self.others
    }

    /// How many are told of by all nodes.
    pub(super) fn entries(&self) -> usize {
        self.entries
    }

    /// Keys, infos and lists of connections, in bytes.
    pub(super) fn told(&self) -> usize {
        self.told
    }

    /// What it takes, in bytes.
    pub(super) fn size(&self) -> usize {
        self.entries * PERSON + self.told
    }

    fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Adds who is there on other nodes to a list of those here.
    pub(super) fn add_to(&self, list: &mut Vec<Present>) {
        let mut at: HashMap<Arc<str>, usize> =
            list.iter().zip(0..).filter_map(|(present, at)| Some((present.user.clone()?, at))).collect();
        for (node, there) in &self.nodes {
            for (key, told) in there.known.iter().chain(&there.before) {
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

impl Told {
    fn size(&self, key: &Key) -> usize {
        let key = if let Key::User(user) = key { user.len() } else { 0 };
        key + text(self.info.as_ref()).len() + size_of::<u64>() * self.connections.len()
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
            match (&what, known) {
                (Heard::New(_), None) => elsewhere.others += 1,
                (Heard::Gone(_), None) => elsewhere.others -= 1,
                _ => {}
            }
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

    /// What is to be told of a change on this node: a user who is on others as well has neither come nor gone.
    pub(super) fn beside_others(&mut self, change: Option<Change>) -> Option<Change> {
        let Some(elsewhere) = self.elsewhere.as_deref_mut() else { return change };
        change.and_then(|change| {
            if change.key().is_some_and(|key| elsewhere.known(&key, None).is_some()) {
                if change.is_of_user(Event::Join) {
                    elsewhere.others -= 1;
                } else if change.is_of_user(Event::Leave) {
                    elsewhere.others += 1;
                }
            }
            change.beside(|user| elsewhere.user(user))
        })
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
        let had_number = mem::replace(&mut untold.number, true);
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
        let mut after = Distributed::default();
        for change in changes {
            after.append(self.notify(&mut members, Some(change), None));
        }
        after.append(self.size_up(&mut members));
        self.look_after(&mut members);
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
        let Untold { keys, number, everything, is_known } = mem::take(untold);
        let (everything, ask) = (everything > Everything::No, everything == Everything::Exchanged);
        untold.is_known = is_known || len > 0;
        let (len, entries) = if everything {
            drop(members);
            self.everybody()
        } else {
            let entries = members.entries(keys);
            drop(members);
            (len, entries)
        };
        if let Some(untold) = self.members().untold.as_deref_mut() {
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

    /// How many there are, and who tells something: piece by piece, so that others come, go and publish in between. Who has
    /// changed since a piece was gathered comes again behind all of them.
    fn everybody(&self) -> (usize, Vec<Entry>) {
        let (mut entries, mut last) = (Vec::new(), None);
        loop {
            let mut members = self.members();
            let keys = members.keys_behind(last.as_ref(), SLICE);
            last = keys.last().cloned();
            entries.extend(members.entries(keys));
            if last.is_none() {
                let changed = members.untold.as_deref_mut().map(|untold| mem::take(&mut untold.keys));
                entries.extend(members.entries(changed.into_iter().flatten()));
                return (members.len(), entries);
            }
        }
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
        let mut present: Vec<_> = here.map(|group| group.members().present_here().collect()).unwrap_or_default();
        elsewhere.add_to(&mut present);
        present
    }

    /// For another node that asks: of so many at most, and of about so many bytes.
    pub(super) fn who_is_here(&self, (most, bytes): (usize, usize)) -> (usize, Vec<Entry>) {
        let (mut entries, mut last, mut size) = (Vec::new(), None, 0);
        loop {
            let members = self.members();
            let keys = members.keys_behind(last.as_ref(), SLICE.min(most - entries.len()));
            last = keys.last().cloned();
            for entry in members.entries(keys) {
                size += entry.size();
                if size > bytes {
                    return (members.len(), entries);
                }
                entries.push(entry);
            }
            if last.is_none() {
                return (members.len(), entries);
            }
        }
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
                parts.push(Self::of(members, mem::take(&mut part)));
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
