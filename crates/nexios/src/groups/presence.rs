//! Who is in a group, and what they tell of themselves.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use nexios_proto::Message;
use serde::de::DeserializeOwned;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use tokio::time::Instant;

use super::elsewhere::Key;
use crate::backplane::{ConnectionAddress, Entry};
use crate::connection::{Link, Publication};
use crate::sender::ConnectionId;
use crate::{Error, Result};

/// Somebody in a group ([`Group::presence`](crate::Group::presence)): a user with all of its connections, or a connection
/// that joined without a user's key.
///
/// As JSON: `{"user":"ann","info":{"name":"Ann"},"connections":[7,12]}`; what there is none of is left out.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Present {
    /// The key of [`Join::user`](crate::Join::user).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<Arc<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    info: Option<Info>,
    /// The connections to this node, the oldest first; none while a user that was lost is waited for
    /// ([`GroupConfig::grace`](crate::GroupConfig::grace)).
    #[serde(serialize_with = "numbers")]
    pub connections: Vec<ConnectionId>,
    /// Its connections on other nodes, in no order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub elsewhere: Vec<ConnectionAddress>,
}

impl Present {
    /// What it joined with: [`Join::info`](crate::Join::info).
    ///
    /// # Errors
    ///
    /// [`Error::Other`] when it is no JSON of this type.
    pub fn info<T: DeserializeOwned>(&self) -> Result<Option<T>> {
        self.info_json().map(serde_json::from_str).transpose().map_err(Error::other)
    }

    /// The same as JSON text.
    pub fn info_json(&self) -> Option<&str> {
        self.info.as_ref().map(|info| info.get())
    }

    /// About how much it takes as JSON, in bytes.
    pub(super) fn size(&self) -> usize {
        /// A number of 64 bits and what is around it.
        const NUMBER: usize = 21;
        let told = self.user.as_ref().map_or(0, |user| user.len()) + len(self.info.as_ref());
        64 + told + NUMBER * (self.connections.len() + 2 * self.elsewhere.len())
    }

    /// A connection that tells nothing.
    pub(super) fn of_connection(id: ConnectionId) -> Self {
        Self { user: None, info: None, connections: vec![id], elsewhere: Vec::new() }
    }

    /// Somebody who is on other nodes only.
    pub(super) fn elsewhere(user: Option<Arc<str>>) -> Self {
        Self { user, info: None, connections: Vec::new(), elsewhere: Vec::new() }
    }

    /// What is told on this node counts.
    pub(super) fn info_or(&mut self, info: Option<&Info>) {
        if self.info.is_none() {
            self.info = info.cloned();
        }
    }
}

fn numbers<S: Serializer>(connections: &[ConnectionId], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(connections.iter().map(|connection| connection.as_u64()))
}

/// A small value that a member has brought, as JSON.
pub(super) type Info = Arc<RawValue>;

/// Memory of a user or a member in the maps, beside keys and infos: measured, with what the allocator adds.
pub(super) const PERSON: usize = 320;

/// Memory of a connection in a list of connections, or among those who asked for notices.
const PLACE: usize = 48;

/// Those who have told something of themselves, and those who ask for notices.
///
/// The maps are in order, so that whoever lists all of a large group can do it piece by piece.
#[derive(Debug, Default)]
pub(super) struct Roster {
    users: BTreeMap<Arc<str>, User>,
    connections: BTreeMap<ConnectionId, Member>,
    watchers: BTreeMap<ConnectionId, Arc<Link>>,
    /// Users whose last connection was lost, by when they count as gone.
    waiting: BTreeMap<(Instant, u64), Arc<str>>,
    waits: u64,
    /// Connections with a user's key.
    with_user: usize,
    /// Keys and infos, in bytes.
    told: usize,
}

#[derive(Debug)]
struct User {
    info: Option<Info>,
    /// In their order.
    connections: Vec<ConnectionId>,
    /// The last connection was lost: its place among those who are waited for.
    waiting: Option<(Instant, u64)>,
}

#[derive(Debug, Default)]
struct Member {
    user: Option<Arc<str>>,
    info: Option<Info>,
}

/// Something that those who watch a group are told.
#[derive(Debug, Serialize)]
pub(super) struct Notice<'a> {
    group: &'a str,
    event: Event,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<Arc<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    connection: Option<Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    info: Option<Info>,
}

#[derive(Clone, Copy, Debug, Serialize)]
#[serde(untagged)]
enum Number {
    Here(u64),
    Elsewhere(ConnectionAddress),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Event {
    Join,
    Leave,
    Update,
}

/// What those who watch are told of.
#[derive(Debug)]
pub(super) struct Change {
    event: Event,
    who: Who,
    info: Option<Info>,
}

#[derive(Debug)]
pub(super) enum Who {
    User(Arc<str>),
    Connection(ConnectionId),
    /// A connection to another node.
    Elsewhere(ConnectionAddress),
}

/// What somebody who wants notices is told first, and whenever it begins anew.
#[derive(Debug, Serialize)]
struct Everybody<'a> {
    group: &'a str,
    event: &'static str,
    count: usize,
    /// There are more than those that are listed, and changes are not told one by one.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    more: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    present: Option<&'a [Present]>,
}

/// The message that lists everybody.
pub(super) fn everybody(group: &str, present: &[Present]) -> Option<Publication> {
    written(&Everybody { group, event: "present", count: present.len(), more: false, present: Some(present) })
}

/// The message that lists a first page of a crowd.
pub(super) fn first_page(group: &str, count: usize, page: &[Present]) -> Option<Publication> {
    written(&Everybody { group, event: "present", count, more: true, present: Some(page) })
}

/// The message that tells how many there are, where no list is.
pub(super) fn only_count(group: &str, count: usize, more: bool) -> Option<Publication> {
    written(&Everybody { group, event: "present", count, more, present: None })
}

fn written(everybody: &Everybody<'_>) -> Option<Publication> {
    let text = serde_json::to_string(everybody).ok()?;
    Some(Publication::new(&Message::from(text), []))
}

impl Change {
    pub(super) fn join(who: Who, info: Option<Info>) -> Self {
        Self { event: Event::Join, who, info }
    }

    pub(super) fn leave(who: Who, info: Option<Info>) -> Self {
        Self { event: Event::Leave, who, info }
    }

    pub(super) fn update(who: Who, info: Option<Info>) -> Self {
        Self { event: Event::Update, who, info }
    }

    pub(super) fn is(&self, event: Event) -> bool {
        self.event == event
    }

    /// Whether a user has come or gone.
    pub(super) fn is_of_user(&self, event: Event) -> bool {
        self.event == event && matches!(self.who, Who::User(_))
    }

    /// Whom other nodes are to be told of.
    pub(super) fn key(&self) -> Option<Key> {
        match &self.who {
            Who::User(user) => Some(Key::User(Arc::clone(user))),
            Who::Connection(_) | Who::Elsewhere(_) => None,
        }
    }

    /// What is left of it to be told, when the user may be on other nodes as well and tell this there: who is has neither
    /// come nor gone.
    pub(super) fn beside<'a>(self, elsewhere: impl FnOnce(&str) -> Option<&'a str>) -> Option<Self> {
        let Who::User(user) = &self.who else { return Some(self) };
        match (self.event, elsewhere(user)) {
            (Event::Update, _) | (_, None) => Some(self),
            (Event::Join, Some(told)) if self.info.as_ref().is_some_and(|info| info.get() != told) => {
                Some(Self { event: Event::Update, ..self })
            }
            (Event::Join | Event::Leave, Some(_)) => None,
        }
    }

    /// The notice as a message, if it can be written.
    pub(super) fn publication(self, group: &str) -> Option<Publication> {
        let (user, connection) = match self.who {
            Who::User(user) => (Some(user), None),
            Who::Connection(connection) => (None, Some(Number::Here(connection.as_u64()))),
            Who::Elsewhere(address) => (None, Some(Number::Elsewhere(address))),
        };
        let notice = Notice { group, event: self.event, user, connection, info: self.info };
        let text = serde_json::to_string(&notice).ok()?;
        Some(Publication::new(&Message::from(text), []))
    }
}

impl Roster {
    /// Nobody is known, waited for or told of anything.
    pub(super) fn is_empty(&self) -> bool {
        self.users.is_empty() && self.connections.is_empty() && self.watchers.is_empty() && self.waiting.is_empty()
    }

    /// When the next one who is waited for is given up.
    pub(super) fn next_gone(&self) -> Option<Instant> {
        self.waiting.first_key_value().map(|((at, _), _)| *at)
    }

    pub(super) fn watchers(&self) -> impl Iterator<Item = &Arc<Link>> {
        self.watchers.values()
    }

    /// Some of those who ask for notices, behind this one.
    pub(super) fn watchers_behind(&self, last: Option<ConnectionId>) -> impl Iterator<Item = &Arc<Link>> {
        let behind = last.map_or(Bound::Unbounded, Bound::Excluded);
        self.watchers.range((behind, Bound::Unbounded)).map(|(_, link)| link)
    }

    pub(super) fn is_watched(&self) -> bool {
        !self.watchers.is_empty()
    }

    pub(super) fn watches(&self, connection: ConnectionId) -> bool {
        self.watchers.contains_key(&connection)
    }

    pub(super) fn watch(&mut self, link: &Arc<Link>) {
        self.watchers.insert(link.id(), Arc::clone(link));
    }

    /// Users, and connections of which no user is known, if there are so many connections.
    pub(super) fn count(&self, connections: usize) -> usize {
        self.users.len() + connections.saturating_sub(self.with_user)
    }

    /// Users who are waited for.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Keys and infos, in bytes.
    pub(super) fn told(&self) -> usize {
        self.told
    }

    /// What it takes, in bytes.
    pub(super) fn size(&self) -> usize {
        (self.users.len() + self.connections.len()) * PERSON
            + (self.watchers.len() + self.with_user + self.waiting.len()) * PLACE
            + self.told
    }

    /// The key that a connection joined with.
    pub(super) fn user_of(&self, connection: ConnectionId) -> Option<&Arc<str>> {
        self.connections.get(&connection)?.user.as_ref()
    }

    /// A connection has joined.
    pub(super) fn join(
        &mut self,
        connection: ConnectionId,
        user: Option<Arc<str>>,
        info: Option<Info>,
    ) -> Option<Change> {
        let Some(key) = user else {
            if info.is_some() {
                self.told += len(info.as_ref());
                self.connections.insert(connection, Member { user: None, info: info.clone() });
            }
            return Some(Change { event: Event::Join, who: Who::Connection(connection), info });
        };
        let Some(known) = self.users.get_mut(&key) else {
            self.with_user += 1;
            self.told += key.len() + len(info.as_ref());
            self.connections.insert(connection, Member { user: Some(Arc::clone(&key)), info: None });
            let newcomer = User { info: info.clone(), connections: vec![connection], waiting: None };
            self.users.insert(Arc::clone(&key), newcomer);
            return Some(Change { event: Event::Join, who: Who::User(key), info });
        };
        self.with_user += 1;
        if let Err(at) = known.connections.binary_search(&connection) {
            known.connections.insert(at, connection);
        }
        if let Some(place) = known.waiting.take() {
            self.waiting.remove(&place);
        }
        // One copy of the key for all of its connections.
        let key = self.users.get_key_value(&key).map_or(key, |(key, _)| Arc::clone(key));
        self.connections.insert(connection, Member { user: Some(Arc::clone(&key)), info: None });
        let known = &mut self.users.get_mut(&key)?.info;
        if info.is_none() || text(info.as_ref()) == text(known.as_ref()) {
            return None;
        }
        self.told = self.told + len(info.as_ref()) - len(known.as_ref());
        known.clone_from(&info);
        Some(Change { event: Event::Update, who: Who::User(key), info })
    }

    /// A member tells something new of itself.
    pub(super) fn update(&mut self, connection: ConnectionId, info: Info) -> Option<Change> {
        let (who, known) = match self.user_of(connection).cloned() {
            Some(key) => {
                let known = &mut self.users.get_mut(&key)?.info;
                (Who::User(key), known)
            }
            None => (Who::Connection(connection), &mut self.connections.entry(connection).or_default().info),
        };
        if text(known.as_ref()) == Some(info.get()) {
            return None;
        }
        self.told = self.told + info.get().len() - len(known.as_ref());
        *known = Some(Arc::clone(&info));
        Some(Change { event: Event::Update, who, info: Some(info) })
    }

    /// A connection has left; if it was a user's last one, the user is waited for until `gone_at`.
    pub(super) fn leave(&mut self, connection: ConnectionId, gone_at: Option<Instant>) -> Option<Change> {
        self.watchers.remove(&connection);
        let Member { user, info } = self.connections.remove(&connection).unwrap_or_default();
        let Some(key) = user else {
            self.told -= len(info.as_ref());
            return Some(Change { event: Event::Leave, who: Who::Connection(connection), info });
        };
        self.with_user -= 1;
        let user = self.users.get_mut(&key)?;
        if let Ok(at) = user.connections.binary_search(&connection) {
            user.connections.remove(at);
        }
        if !user.connections.is_empty() {
            return None;
        }
        if let Some(at) = gone_at {
            let place = (at, self.waits);
            self.waits += 1;
            user.waiting = Some(place);
            self.waiting.insert(place, key);
            return None;
        }
        Some(self.remove(key))
    }

    /// A user is gone.
    fn remove(&mut self, key: Arc<str>) -> Change {
        let user = self.users.remove(&key);
        let info = user.and_then(|user| user.info);
        self.told -= key.len() + len(info.as_ref());
        Change { event: Event::Leave, who: Who::User(key), info }
    }

    /// Those who were waited for until now.
    pub(super) fn give_up(&mut self, now: Instant) -> Vec<Change> {
        let mut gone = Vec::new();
        while let Some(first) = self.waiting.first_entry()
            && first.key().0 <= now
        {
            let key = first.remove();
            gone.push(self.remove(key));
        }
        gone
    }

    /// What is told of a user, as JSON or empty, if there is such a one.
    pub(super) fn user(&self, user: &str) -> Option<&str> {
        self.users.get(user).map(|user| text(user.info.as_ref()).unwrap_or_default())
    }

    pub(super) fn has_info(&self, connection: ConnectionId) -> bool {
        self.connections.get(&connection).is_some_and(|member| member.info.is_some())
    }

    /// Who has told something, or was known to, behind this one: users first. For other nodes.
    pub(super) fn keys_behind(&self, last: Option<&Key>) -> impl Iterator<Item = Key> {
        use Bound::{Excluded, Unbounded};
        let users = match last {
            None => Some((Unbounded, Unbounded)),
            Some(Key::User(user)) => Some((Excluded(&**user), Unbounded)),
            Some(Key::Connection(_)) => None,
        };
        let others = match last {
            Some(Key::Connection(id)) => Excluded(ConnectionId::new(*id)),
            _ => Unbounded,
        };
        let users = users.into_iter().flat_map(|range| self.users.range::<str, _>(range));
        let others = self.connections.range((others, Unbounded)).filter(|(_, member)| member.info.is_some());
        let users = users.map(|(user, _)| Key::User(Arc::clone(user)));
        users.chain(others.map(|(id, _)| Key::Connection(id.as_u64())))
    }

    /// Somebody as other nodes are told.
    pub(super) fn entry(&self, key: Key) -> Entry {
        let raw = |info: Option<&Info>| info.map(|info| (**info).to_owned());
        match key {
            Key::User(key) => {
                let user = self.users.get(&key);
                let connections = user.map(|user| user.connections.iter().map(|id| id.as_u64()).collect());
                Entry {
                    user: Some(Box::from(&*key)),
                    info: raw(user.and_then(|user| user.info.as_ref())),
                    connections: connections.unwrap_or_default(),
                    awaited: user.is_some_and(|user| user.waiting.is_some()),
                }
            }
            Key::Connection(id) => {
                let member = self.connections.get(&ConnectionId::new(id));
                let info = raw(member.and_then(|member| member.info.as_ref()));
                Entry { user: None, info, connections: vec![id], awaited: false }
            }
        }
    }

    /// Everybody, of these connections: users first, then who has none.
    pub(super) fn list(&self, connections: impl Iterator<Item = ConnectionId>) -> impl Iterator<Item = Present> {
        let users = self.users.iter().map(|(key, user)| Present {
            user: Some(Arc::clone(key)),
            info: user.info.clone(),
            connections: user.connections.clone(),
            elsewhere: Vec::new(),
        });
        let others = connections.filter(|connection| self.user_of(*connection).is_none());
        let others = others.map(move |connection| Present {
            user: None,
            info: self.connections.get(&connection).and_then(|member| member.info.clone()),
            connections: vec![connection],
            elsewhere: Vec::new(),
        });
        users.chain(others)
    }
}

fn len(info: Option<&Info>) -> usize {
    info.map_or(0, |info| info.get().len())
}

fn text(info: Option<&Info>) -> Option<&str> {
    info.map(|info| info.get())
}
