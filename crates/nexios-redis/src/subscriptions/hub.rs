//! The task that keeps the topology up to date and the subscribers connected.

use std::sync::Arc;
use std::time::{Duration, Instant};

use nexios::backplane::{Channel, Events};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::sync::watch;
use tokio::task::{self, JoinSet};
use tokio::time::MissedTickBehavior;

use super::backoff::Backoff;
use super::commands::{Discovery, Request};
use super::completion::Part;
use super::rebalance::Subscribers;
use crate::address::Kind;
use crate::command_connections::CommandConnections;
use crate::connector::Connector;
use crate::topology::{Topology, discover};

/// Interval of discoveries without a cause: a master that was replaced may not know it.
const REFRESH: Duration = Duration::from_secs(15);
/// The same for sentinels: after a failover that an operator has requested, the old master goes on for about ten
/// seconds, and the nodes must not be on two masters for that long.
const REFRESH_OF_SENTINELS: Duration = Duration::from_secs(2);

/// Time after a wrong topology during which a complete one does not reset the backoff: members of a cluster learn of a
/// slot's move one after the other.
const UNSTABLE: Duration = Duration::from_secs(5);

/// The start of the hub: its task begins with [`run`](Self::run).
pub(crate) struct Hub {
    pub(crate) connector: Arc<Connector>,
    pub(crate) commands: Arc<CommandConnections>,
    pub(crate) events: Events,
    /// Number of subscribers of a server that is not in a cluster.
    pub(crate) spread: usize,
    pub(crate) discovery: watch::Sender<Discovery>,
    pub(crate) requests: UnboundedReceiver<Request>,
    /// The sender of `requests`, for the hub's tasks.
    pub(crate) reports: UnboundedSender<Request>,
}

struct State {
    connector: Arc<Connector>,
    commands: Arc<CommandConnections>,
    events: Events,
    discovery: watch::Sender<Discovery>,
    reports: UnboundedSender<Request>,
    subscribers: Subscribers,
    /// The running discovery.
    discoveries: JoinSet<()>,
    is_discovering: bool,
    /// The topology may have changed since the running discovery began.
    is_outdated: bool,
    backoff: Backoff,
    /// The time at which a topology that had looked complete was last found to be wrong.
    wrong_since: Option<Instant>,
    /// The failure that was logged last.
    last_failure: Option<String>,
    is_connected: bool,
}

impl Hub {
    /// Runs until all senders of requests are gone, or it is aborted; the subscribers end with it.
    pub(crate) async fn run(self) {
        let Self { connector, commands, events, spread, discovery, mut requests, reports } = self;
        let has_sentinels = matches!(connector.address.kind, Kind::Sentinel { .. });
        let mut state = State {
            subscribers: Subscribers::new(connector.clone(), events.clone(), spread, reports.clone()),
            connector,
            commands,
            events,
            discovery,
            reports,
            discoveries: JoinSet::new(),
            is_discovering: false,
            is_outdated: false,
            backoff: Backoff::new(),
            wrong_since: None,
            last_failure: None,
            is_connected: false,
        };
        state.discover(Duration::ZERO);
        let mut refresh = tokio::time::interval(if has_sentinels { REFRESH_OF_SENTINELS } else { REFRESH });
        refresh.set_missed_tick_behavior(MissedTickBehavior::Delay);
        refresh.reset();
        loop {
            tokio::select! {
                request = requests.recv() => match request {
                    Some(request) => state.handle(request),
                    None => return,
                },
                _ = refresh.tick() => state.refresh(),
                Some(ended) = state.discoveries.join_next() => {
                    if ended.is_err_and(|error| error.is_panic()) {
                        state.discovery_panicked();
                    }
                }
                Some(ended) = state.subscribers.next_ended() => {
                    if let Err(error) = ended && error.is_panic() {
                        state.subscriber_panicked(error.id());
                    }
                }
            }
        }
    }
}

impl State {
    fn handle(&mut self, request: Request) {
        match request {
            Request::Subscribe(channels, part) => self.subscribe(channels, part),
            Request::Unsubscribe(channels, part) => self.subscribers.unsubscribe(&channels, part),
            Request::Abandoned(channels) => self.subscribers.abandoned(&channels),
            Request::Rediscover => self.rediscover(),
            Request::Up(id) => {
                if self.subscribers.set_up(&id, true).is_some() {
                    tracing::debug!(server = %id.server, "subscriber connected to Redis");
                }
                self.check_connected();
            }
            Request::Down(id, reason) => {
                let Some(was_up) = self.subscribers.set_up(&id, false) else { return };
                if was_up {
                    tracing::warn!(server = %id.server, reason, "subscriber disconnected from Redis");
                }
                self.disconnected(&reason);
                self.rediscover();
            }
            Request::Moved { subscriber, channels, is_refused } => {
                if is_refused {
                    self.wrong_since = Some(Instant::now());
                }
                self.subscribers.unassign(&subscriber, &channels);
                self.disconnected("slots have moved");
                self.rediscover();
            }
            Request::Discovered(result) => self.discovered(result),
        }
    }

    fn subscribe(&mut self, channels: Vec<Channel>, part: Part) {
        let is_pending = matches!(*self.discovery.borrow(), Discovery::Pending);
        self.subscribers.subscribe(channels, part, is_pending);
    }

    fn refresh(&mut self) {
        if !self.is_discovering {
            self.discover(Duration::ZERO);
        }
    }

    fn rediscover(&mut self) {
        if self.is_discovering {
            self.is_outdated = true;
        } else {
            let delay = self.backoff.next();
            self.discover(delay);
        }
    }

    fn discover(&mut self, delay: Duration) {
        self.is_outdated = false;
        let (connector, commands) = (Arc::clone(&self.connector), Arc::clone(&self.commands));
        let reports = self.reports.clone();
        let known = self.subscribers.topology().map(|topology| topology.masters().to_vec()).unwrap_or_default();
        self.discoveries.spawn(async move {
            tokio::time::sleep(delay).await;
            let result = discover(&connector, &commands, &known).await;
            // The task is aborted when the hub ends.
            let _ = reports.send(Request::Discovered(result));
        });
        self.is_discovering = true;
    }

    /// A panicked discovery is repeated: a node that waits for it for ever would be worse.
    fn discovery_panicked(&mut self) {
        tracing::error!("the discovery of the Redis servers has panicked");
        self.discovered(Err("the discovery of the servers has panicked".to_owned()));
    }

    /// A panicked subscriber is replaced.
    fn subscriber_panicked(&mut self, task: task::Id) {
        tracing::error!("a subscriber of Redis has panicked");
        if self.subscribers.remove(task) {
            self.wrong_since = Some(Instant::now());
            self.disconnected("a subscriber has panicked");
            self.rediscover();
        }
    }

    fn discovered(&mut self, result: Result<Topology, String>) {
        self.is_discovering = false;
        match result {
            Ok(topology) => {
                self.last_failure = None;
                self.rebalance(topology);
                if !self.subscribers.are_all_assigned() || self.is_outdated {
                    self.rediscover();
                } else if self.wrong_since.is_none_or(|since| since.elapsed() >= UNSTABLE) {
                    self.backoff.reset();
                }
            }
            Err(reason) => {
                if self.subscribers.topology().is_none() {
                    self.discovery.send_replace(Discovery::Failed(reason.as_str().into()));
                    self.subscribers.fail_waiting();
                }
                // While all subscribers are connected, only the sentinels are unreachable.
                if !self.subscribers.are_all_up() {
                    self.disconnected(&reason);
                }
                if self.last_failure.as_deref() != Some(&*reason) {
                    tracing::warn!(reason, "Redis cannot be reached");
                    self.last_failure = Some(reason);
                }
                self.rediscover();
            }
        }
    }

    fn rebalance(&mut self, topology: Topology) {
        let Some(topology) = self.subscribers.rebalance(topology) else { return };
        self.discovery.send_replace(Discovery::Servers(topology));
        if self.is_connected && !self.subscribers.are_all_up() {
            self.disconnected("the topology has changed");
        }
        self.check_connected();
    }

    fn check_connected(&mut self) {
        if self.subscribers.are_all_up() && !self.is_connected {
            self.is_connected = true;
            tracing::info!("connected to Redis");
            self.events.connected();
        }
    }

    fn disconnected(&mut self, reason: &str) {
        self.is_connected = false;
        self.events.disconnected(reason);
    }
}
