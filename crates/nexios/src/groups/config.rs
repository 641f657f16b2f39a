//! What groups may hold, and how they behave.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::gap::GapEvent;
use super::history::History;
use super::hooks::{Hook, MemberEvent};
use super::policy::GroupPolicy;
use crate::slow_consumer::SlowConsumer;

/// Settings for all groups of an app ([`App::groups_config`](crate::App::groups_config)).
///
/// | setting | default |
/// |---|---|
/// | [`name_len`](Self::name_len) | 200 bytes |
/// | [`histories`](Self::histories) | 64 MiB together |
/// | [`history_per_group`](Self::history_per_group) | an eighth of that, at least 1 MiB |
/// | [`history_per_publisher`](Self::history_per_publisher) | an eighth of that, at least 1 MiB |
/// | [`history_per_address`](Self::history_per_address) | a quarter of that, at least 1 MiB |
/// | [`each`](Self::each), [`by_name`](Self::by_name) | [`GroupConfig`]'s defaults |
/// | [`policy`](Self::policy) | everything is allowed |
///
/// ```
/// use std::time::Duration;
/// use nexios::{App, GroupConfig, GroupsConfig, History, SlowConsumer};
///
/// let groups = GroupsConfig::new()
///     .each(GroupConfig::new().history(History::new().messages(100).age(Duration::from_mins(10))))
///     .by_name(|name| name.starts_with("prices/").then(|| GroupConfig::new().slow_consumer(SlowConsumer::Conflate)))
///     .on_join(|event| println!("{} joined {}", event.connection(), event.group()));
/// let app = App::new().groups_config(groups);
/// # drop(app);
/// ```
#[derive(Clone)]
pub struct GroupsConfig {
    pub(super) name_len: usize,
    pub(super) histories: usize,
    history_per_group: Option<usize>,
    history_per_publisher: Option<usize>,
    history_per_address: Option<usize>,
    each: Arc<GroupConfig>,
    by_name: Option<ByName>,
    pub(super) policy: Option<Arc<dyn GroupPolicy>>,
    pub(super) on_join: Option<Hook>,
    pub(super) on_leave: Option<Hook>,
    pub(super) on_gap: Option<Hook<GapEvent>>,
}

type ByName = Arc<dyn Fn(&str) -> Option<GroupConfig> + Send + Sync>;

/// Settings for one group, or for all that have none of their own.
///
/// | setting | default |
/// |---|---|
/// | [`slow_consumer`](Self::slow_consumer) | as the member's connection has it: close with 4430 |
/// | [`member_queue`](Self::member_queue) | as the member's connection has it: 1 MiB |
/// | [`history`](Self::history) | none |
/// | [`grace`](Self::grace) | 5 s |
/// | [`member_info`](Self::member_info) | 4 KiB |
/// | [`listed`](Self::listed) | 1,000 connections |
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupConfig {
    pub(super) slow_consumer: Option<SlowConsumer>,
    pub(super) member_queue: usize,
    pub(super) history: Option<History>,
    pub(super) grace: Duration,
    pub(super) member_info: usize,
    pub(super) listed: usize,
}

impl Default for GroupsConfig {
    fn default() -> Self {
        Self {
            name_len: 200,
            histories: 64 * 1024 * 1024,
            history_per_group: None,
            history_per_publisher: None,
            history_per_address: None,
            each: Arc::default(),
            by_name: None,
            policy: None,
            on_join: None,
            on_leave: None,
            on_gap: None,
        }
    }
}

impl GroupsConfig {
    /// The defaults of the table above.
    pub fn new() -> Self {
        Self::default()
    }

    /// The longest name of a group, in bytes.
    pub fn name_len(mut self, bytes: usize) -> Self {
        self.name_len = bytes;
        self
    }

    /// The most memory that the histories of all groups take together, in bytes, each message with 160 more for its
    /// place, each group with 512. Beyond seven eighths of it the oldest messages of all groups go, until three quarters are
    /// left.
    pub fn histories(mut self, bytes: usize) -> Self {
        self.histories = bytes;
        self
    }

    /// The most memory that the history of one group takes, in bytes and counted as for [`histories`](Self::histories). Beyond
    /// it the group's own oldest messages go.
    pub fn history_per_group(mut self, bytes: usize) -> Self {
        self.history_per_group = Some(bytes);
        self
    }

    /// The most memory that histories of all groups keep of what one publisher has published, in bytes. A publisher is the
    /// user of [`WebSocket::authenticate`](crate::WebSocket::authenticate), or else the connection. Beyond it, its own
    /// oldest messages go, in those of its groups first that keep most of it; what others published is kept.
    ///
    /// It counts what a connection's handler publishes in its own turn; what the application publishes by tasks of its own is
    /// only bounded by [`history_per_group`](Self::history_per_group) and [`histories`](Self::histories). With a
    /// [backplane](crate::App::backplane) the engine keeps the histories, and what is here is a copy.
    pub fn history_per_publisher(mut self, bytes: usize) -> Self {
        self.history_per_publisher = Some(bytes);
        self
    }

    /// The same for all publishers behind one address, as it is counted for
    /// [`ServerConfig::connections_per_address`](crate::ServerConfig::connections_per_address): of those who have most, the
    /// oldest go. Behind a proxy the clients' addresses are known with
    /// [`ServerConfig::trusted_proxies`](crate::ServerConfig::trusted_proxies).
    pub fn history_per_address(mut self, bytes: usize) -> Self {
        self.history_per_address = Some(bytes);
        self
    }

    pub(super) fn group_quota(&self) -> usize {
        self.history_per_group.unwrap_or_else(|| self.share(8))
    }

    pub(super) fn publisher_quota(&self) -> usize {
        self.history_per_publisher.unwrap_or_else(|| self.share(8))
    }

    pub(super) fn address_quota(&self) -> usize {
        self.history_per_address.unwrap_or_else(|| self.share(4))
    }

    /// A part of what histories may keep. Where that is little, a mebibyte is nobody's to be kept from.
    fn share(&self, parts: usize) -> usize {
        const LEAST: usize = 1024 * 1024;
        (self.histories / parts).max(LEAST)
    }

    /// The settings of every group for which [`by_name`](Self::by_name) has none.
    pub fn each(mut self, config: GroupConfig) -> Self {
        self.each = Arc::new(config);
        self
    }

    /// Chooses the settings of a group by its name, whenever it comes into being: the same name must always get the
    /// same. `None` stands for those of [`each`](Self::each). It is called often, and must not use the app's groups.
    pub fn by_name(mut self, choose: impl Fn(&str) -> Option<GroupConfig> + Send + Sync + 'static) -> Self {
        self.by_name = Some(Arc::new(choose));
        self
    }

    /// Who may join, publish, see who is there and what was said; asked on each call.
    pub fn policy(mut self, policy: impl GroupPolicy) -> Self {
        self.policy = Some(Arc::new(policy));
        self
    }

    /// Is called after a connection has joined a group.
    ///
    /// The calls for one connection come in their order as long as one task joins and leaves. A panic is logged and
    /// harms nobody.
    pub fn on_join(mut self, hook: impl Fn(&MemberEvent) + Send + Sync + 'static) -> Self {
        self.on_join = Some(Hook::new(hook));
        self
    }

    /// Is called after a connection has left a group, in whichever way. As [`on_join`](Self::on_join).
    pub fn on_leave(mut self, hook: impl Fn(&MemberEvent) + Send + Sync + 'static) -> Self {
        self.on_leave = Some(Hook::new(hook));
        self
    }

    /// Is called when members of a group on this node may have missed messages of other nodes that cannot be had any more:
    /// for applications that tell their clients in words of their own. Members of a group
    /// [with positions](crate::History::with_positions), and those who asked for [`notices`](crate::Join::notices), have been
    /// sent
    ///
    /// ```json
    /// {"group":"room","event":"gap","recovered":false,"position":"9f3c2a0de1b45c77-17"}
    /// ```
    ///
    /// by then, without the position where the group has no history. Once for each gap of each group; a panic is
    /// logged and harms nobody. Without a [backplane](crate::App::backplane) there are none.
    pub fn on_gap(mut self, hook: impl Fn(&GapEvent) + Send + Sync + 'static) -> Self {
        self.on_gap = Some(Hook::new(hook));
        self
    }

    pub(super) fn of(&self, name: &str) -> Arc<GroupConfig> {
        let own = self.by_name.as_ref().and_then(|by_name| by_name(name));
        own.map_or_else(|| Arc::clone(&self.each), Arc::new)
    }
}

impl Default for GroupConfig {
    fn default() -> Self {
        Self {
            slow_consumer: None,
            member_queue: usize::MAX,
            history: None,
            grace: Duration::from_secs(5),
            member_info: 4096,
            listed: 1_000,
        }
    }
}

impl GroupConfig {
    /// The defaults of the table above.
    pub fn new() -> Self {
        Self::default()
    }

    /// What becomes of the group's messages for a member that does not keep up.
    pub fn slow_consumer(mut self, choice: SlowConsumer) -> Self {
        self.slow_consumer = Some(choice);
        self
    }

    /// The most bytes that may wait for a member when the group sends to it, if that is less than
    /// [`Config::outbound_queue`](crate::Config::outbound_queue).
    pub fn member_queue(mut self, bytes: usize) -> Self {
        self.member_queue = bytes;
        self
    }

    /// Keeps what was published, for those who come later or come back.
    pub fn history(mut self, history: History) -> Self {
        self.history = Some(history);
        self
    }

    /// How long a user whose last connection was lost still counts as present, so that a reload of a page is no leaving
    /// and joining. It needs a key to know the user by: [`Join::user`](crate::Join::user). A call of
    /// [`leave`](crate::Group::leave) takes effect at once.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// The most bytes that a member's key and info take: [`Join::user`](crate::Join::user),
    /// [`Join::info`](crate::Join::info).
    pub fn member_info(mut self, bytes: usize) -> Self {
        self.member_info = bytes;
        self
    }

    /// The most connections of a group, on all nodes, of which those who asked for [`notices`](crate::Join::notices) are told
    /// one by one. Beyond, and beyond 512 KiB of keys and infos in any case, they are told only how many there are: what
    /// members cost each other would grow with the square of their number.
    pub fn listed(mut self, connections: usize) -> Self {
        self.listed = connections;
        self
    }
}

impl fmt::Debug for GroupsConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("GroupsConfig");
        debug.field("name_len", &self.name_len).field("histories", &self.histories).field("each", &self.each);
        debug.finish_non_exhaustive()
    }
}
